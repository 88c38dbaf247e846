"""Sample order as a pure function of (seed, epoch); position is (epoch, global batch).

Every process computes the same global batch and takes its own rows of it, so the order depends neither on the number of
processes nor on that of workers, and nothing about a loader needs saving. Padding rows are -1.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from emonet_lightning.errors import UsageError

EVAL_BLOCK = 64
"""Rows of one evaluation batch. Fixed, because a network's outputs differ in the last bit with the batch size."""


class BatchIndex(NamedTuple):
    """Which rows one process loads for one global batch."""

    rows: np.ndarray
    """This process's rows [B], -1 is padding."""
    global_rows: np.ndarray
    """All processes' rows, without padding."""
    epoch: int


def epoch_order(seed: int, epoch: int, num_rows: int) -> np.ndarray:
    """Return the permutation of `num_rows` rows that an epoch follows."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch]))).permutation(num_rows)


def check_batch_size(batch_size: int, num_rows: int, world_size: int) -> int:
    """Return the global batch size to use: at most the number of rows, rounded up to a multiple of the processes.

    Raises:
        UsageError: the processes do not divide the batch; the two nearest sizes are offered.
    """
    if batch_size < 1:
        raise UsageError(f"data.batch_size: {batch_size} must be at least 1")
    if batch_size % world_size:
        below, above = batch_size // world_size * world_size, -(-batch_size // world_size) * world_size
        offer = f"{below} or {above}" if below else f"{above}"
        raise UsageError(
            f"data.batch_size: {batch_size} is the global batch, {world_size} processes do not divide it; use {offer}"
        )
    return min(batch_size, -(-num_rows // world_size) * world_size)


class TrainPlan:
    """Batches of one epoch for one process; a sampler for `DataLoader(batch_size=None)`.

    Every global batch has the same padded size, the last one too, so that all processes take equal steps.
    """

    def __init__(self, rows: np.ndarray, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.rows = np.asarray(rows)
        self.batch_size = check_batch_size(batch_size, len(self.rows), world_size)
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is given next (the Trainer calls this)."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[BatchIndex]:
        order = self.rows[epoch_order(self.seed, self.epoch, len(self.rows))]
        for start in range(0, len(order), self.batch_size):
            global_rows = order[start : start + self.batch_size]
            padded = np.full(self.batch_size, -1, dtype=np.int64)
            padded[: len(global_rows)] = global_rows
            yield BatchIndex(padded[self.rank :: self.world_size], global_rows, self.epoch)


class EvalPlan:
    """Fixed blocks of rows in manifest order, dealt whole to the processes; each row exactly once.

    All processes get the same number of batches (surplus ones are all padding): none waits for another.
    """

    def __init__(self, rows: np.ndarray, rank: int = 0, world_size: int = 1) -> None:
        self.rows = np.asarray(rows)
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        blocks = -(-len(self.rows) // EVAL_BLOCK)
        return -(-blocks // self.world_size)

    def __iter__(self) -> Iterator[BatchIndex]:
        for turn in range(len(self)):
            start = (turn * self.world_size + self.rank) * EVAL_BLOCK
            rows = self.rows[start : start + EVAL_BLOCK]
            padded = np.full(EVAL_BLOCK, -1, dtype=np.int64)
            padded[: len(rows)] = rows
            yield BatchIndex(padded, rows, 0)
