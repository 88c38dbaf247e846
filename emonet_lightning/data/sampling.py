"""Sample order as a pure function of (seed, epoch); position is (epoch, step).

Every process computes the same global batches and takes its own rows of them, so the order depends neither on the
number of processes nor on that of workers, and nothing about a loader needs saving but its position. Padding is -1.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.errors import UsageError

Rows = NDArray[np.int64]
EVAL_BLOCK = 64
"""Rows of one evaluation batch. Fixed, because a network's outputs differ in the last bit with the batch size."""
EVAL_BLOCKS = 32
"""Evaluation batches of cached features that one call of the model takes."""
WINDOW_BLOCKS = 32
"""Blocks of features that are mixed where order goes by blocks: 16,384 rows, 38 MB at 1,152 features."""


class Position(NamedTuple):
    """Which global batch."""

    epoch: int
    step: int


def hash64(*parts: int | NDArray[np.integer]) -> NDArray[np.uint64]:
    """Return a 64-bit hash of integers, element by element of their broadcast shape.

    SplitMix64's finaliser (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"), chained.
    """
    state = np.zeros((), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            value = np.uint64(part % 2**64) if isinstance(part, int) else part.astype(np.uint64)
            state = (state ^ value) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return np.asarray(state)


def choose_views(seed: int, epoch: int, rows: Rows, num_views: int) -> Rows:
    """Return which of `num_views` views of each row an epoch takes: whatever the other rows of the set are."""
    return (hash64(seed, epoch, rows) % np.uint64(num_views)).astype(np.int64)


def epoch_order(seed: int, epoch: int, num_rows: int) -> Rows:
    """Return the permutation of `num_rows` rows that an epoch follows."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch]))).permutation(num_rows)


def block_numbers(rows: Rows, set_sizes: Sequence[int], block_rows: int) -> Rows:
    """Return the number of the block that each row lies in [n].

    Args:
        rows: over sets that follow each other.
        set_sizes: rows of each set; a block holds rows of one set.
        block_rows: rows of a full block.
    """
    starts = np.cumsum([0, *set_sizes])
    first = np.cumsum([0, *(-(-size // block_rows) for size in set_sizes)])
    part = np.searchsorted(starts, rows, side="right") - 1
    return first[part] + (rows - starts[part]) // block_rows


def block_order(seed: int, epoch: int, blocks: Rows) -> Rows:
    """Return a permutation that reads blocks of rows together: blocks are shuffled, then rows in windows of blocks.

    Args:
        seed: of the order.
        epoch: of the order.
        blocks: number of the block that each row lies in.
    """
    used, block = np.unique(blocks, return_inverse=True)
    # a stream of its own: that of the rows would begin with the same numbers
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch, 1])))
    shuffled = generator.permutation(len(used))
    order = epoch_order(seed, epoch, len(blocks))
    window = (shuffled // WINDOW_BLOCKS)[block[order]]
    return order[np.argsort(window, kind="stable")]


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
    """Rows of every global batch of an epoch.

    Every global batch has the same padded size, the last one too, so that all processes take equal steps.

    Args:
        rows: to train on.
        batch_size: global.
        seed: of the order.
        rank: this process.
        world_size: processes that share each batch.
        blocks: block of features that each row lies in, to read block by block; None shuffles over all rows.
    """

    def __init__(
        self,
        rows: Rows,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        blocks: Rows | None = None,
    ) -> None:
        self.rows = np.asarray(rows)
        self.batch_size = check_batch_size(batch_size, len(self.rows), world_size)
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.blocks = blocks

    @property
    def num_steps(self) -> int:
        """Global batches of an epoch."""
        return -(-len(self.rows) // self.batch_size)

    def batches(self, epoch: int) -> Rows:
        """Return the rows of all global batches [S, B]; -1 is padding, in the last one."""
        if self.blocks is None:
            order = epoch_order(self.seed, epoch, len(self.rows))
        else:
            order = block_order(self.seed, epoch, self.blocks)
        padded = np.full(self.num_steps * self.batch_size, -1, dtype=np.int64)
        padded[: len(order)] = self.rows[order]
        return padded.reshape(self.num_steps, self.batch_size)

    def share(self, batches: NDArray[Any]) -> NDArray[Any]:
        """Return this process's part [S, B / processes, ...] of global batches [S, B, ...]; all get equal padding."""
        return batches[:, self.rank :: self.world_size]


class EvalPlan:
    """Fixed blocks of rows in manifest order, dealt whole to the processes; each row exactly once.

    All processes get the same number of batches (surplus ones are all padding): none waits for another.
    """

    def __init__(self, rows: Rows, rank: int = 0, world_size: int = 1) -> None:
        self.rows = np.asarray(rows)
        self.rank = rank
        self.world_size = world_size

    @property
    def num_steps(self) -> int:
        """Batches of this process."""
        return -(-len(self.rows) // (EVAL_BLOCK * self.world_size))

    def batches(self, epoch: int = 0) -> Rows:
        """Return the rows of this process's batches [S, 64]; -1 is padding."""
        padded = np.full(self.num_steps * self.world_size * EVAL_BLOCK, -1, dtype=np.int64)
        padded[: len(self.rows)] = self.rows
        return padded.reshape(-1, EVAL_BLOCK)[self.rank :: self.world_size]

    def share(self, batches: NDArray[Any]) -> NDArray[Any]:
        """Return the batches: none is shared."""
        return batches


class Positions:
    """Positions of an epoch, as many at a time as one call of the model takes; the sampler of a `DataLoader`.

    Args:
        num_steps: batches of an epoch.
        steps_per_call: positions that are given at once.
    """

    def __init__(self, num_steps: int, steps_per_call: int = 1) -> None:
        self.num_steps = num_steps
        self.steps_per_call = steps_per_call
        self.epoch = 0
        self.resumed: Position | None = None
        """Where a run goes on: its epoch begins at this step."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose positions are given next (the Trainer calls this)."""
        self.epoch = epoch

    @property
    def first_step(self) -> int:
        """Step that the epoch begins at."""
        return self.resumed.step if self.resumed is not None and self.resumed.epoch == self.epoch else 0

    def num_calls(self, first_step: int = 0) -> int:
        """Return how many calls take the steps of an epoch from one on."""
        return -(-(self.num_steps - first_step) // self.steps_per_call)

    def __len__(self) -> int:
        return self.num_calls()

    def __iter__(self) -> Iterator[list[Position]]:
        for start in range(self.first_step, self.num_steps, self.steps_per_call):
            stop = min(start + self.steps_per_call, self.num_steps)
            yield [Position(self.epoch, step) for step in range(start, stop)]
