"""What data and model share: the batch that every loader yields, and what the model asks of a data module."""

from collections.abc import Collection
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch


class EmotionBatch(NamedTuple):
    """One process's share of a global batch of `B` rows (a NamedTuple: dataclasses are neither collated nor pinned)."""

    inputs: torch.Tensor
    """Pooled features [B, D] float, or images [B, 3, H, W] uint8."""
    target: torch.Tensor
    """What the loss compares with, on the score scale [B, K] float32; arbitrary where `mask` is False."""
    mask: torch.Tensor
    """Which questions were asked [B, K] bool; an all-False row is padding."""
    key: torch.Tensor
    """Row of the sample in its data set [B] int64; -1 is padding."""
    num_labels: torch.Tensor
    """Labelled rows per head in the *global* batch [K] float32: the same on all processes."""
    idle: tuple[int, ...] = ()
    """Heads without a label in the global batch; plain integers, so that asking never waits for a device."""
    num_rows: int = -1
    """Rows of this process that are neither padding nor skipped; counted where the batch is made."""
    skipped: tuple[tuple[int, str], ...] = ()
    """Rows that are masked because their image cannot be read, with the reason."""


class PairBatch(NamedTuple):
    """One process's labelled (row, head) pairs of a global batch, sorted by head: `P` questions that were asked."""

    inputs: torch.Tensor
    """Pooled features of each pair's row [P, D] float, or its image [P, 3, H, W] uint8."""
    target: torch.Tensor
    """What the loss compares with, on the score scale [P] float32."""
    head: torch.Tensor
    """Head of each pair [P] int64, rising."""
    offs: torch.Tensor
    """Where each head's pairs end [K] int32: cumulative counts."""
    key: torch.Tensor
    """Row of the pair's sample in its data set [P] int64."""
    num_labels: torch.Tensor
    """Pairs per head in the *global* batch [K] float32: the same on all processes."""
    num_rows: int
    """Rows of this process that the pairs are of; in balanced sampling every pair draws its own."""
    idle: tuple[int, ...] = ()
    """Heads without a pair in the global batch."""
    skipped: tuple[tuple[int, str], ...] = ()
    """Rows whose image cannot be read, with the reason; their pairs are not here."""


class LabelSource(Protocol):
    """A data module, as far as the model knows it."""

    seed: int
    batch_size: int
    """Rows (or pairs) of a global batch."""
    steps_per_call: int
    """Batches that the train loader yields at once; set before `train_dataloader()` is called."""

    @property
    def score_metric(self) -> str:
        """`spearman` or `average_precision`."""
        ...

    @property
    def num_steps(self) -> int:
        """Optimiser steps of one epoch."""
        ...

    def leave_out(self, heads: Collection[int]) -> None:
        """Give no more pairs of heads that have finished."""
        ...

    def truth(self, rows: np.ndarray) -> np.ndarray:
        """Return what scores of these rows are compared with [n, K]; NaN where there is nothing."""
        ...

    def train_labels(self) -> Any:
        """Return the labels of the training rows."""
        ...

    def feature_statistics(self, l2_normalise: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and standard deviation [D] of the training rows' features."""
        ...
