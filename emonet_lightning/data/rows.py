"""Datasets that turn positions into batches: a whole batch per item, nothing is collated row by row.

What depends on the epoch alone (order, counts of labels, where the inputs lie) is made once an epoch and moved to where
the inputs are; a step only cuts slices of it and selects rows.
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from emonet_lightning.batch import EmotionBatch, PairBatch
from emonet_lightning.data.inputs import Inputs
from emonet_lightning.data.labels import LabelTable
from emonet_lightning.data.pairs import PairPlan, labels_of, with_padding
from emonet_lightning.data.sampling import EvalPlan, Position, Rows, TrainPlan


class _RowTables(NamedTuple):
    """An epoch's batches of rows, on the inputs' device."""

    epoch: int
    rows: torch.Tensor
    place: torch.Tensor
    real: list[int]
    num_labels: torch.Tensor
    idle: list[tuple[int, ...]]


class RowBatches(Dataset[list[EmotionBatch]]):
    """Rows with all heads. Padding rows get zeros and an all-False mask.

    Args:
        inputs: features or images.
        labels: of all rows.
        plan: which rows make a batch.
    """

    def __init__(self, inputs: Inputs, labels: LabelTable, plan: TrainPlan | EvalPlan) -> None:
        self.inputs = inputs
        self.plan = plan
        self.target = torch.from_numpy(labels.target).to(inputs.device)
        self.mask = torch.from_numpy(labels.mask).to(inputs.device)
        self._labelled = with_padding(labels.mask)
        self._tables: _RowTables | None = None

    def __getitem__(self, positions: list[Position]) -> list[EmotionBatch]:
        return [self._batch(position) for position in positions]

    def rows_per_step(self, epoch: int) -> list[int]:
        """Return how many rows this process is given in each step of an epoch."""
        return self._of(epoch).real

    def _of(self, epoch: int) -> _RowTables:
        tables = self._tables
        if tables is None or tables.epoch != epoch:
            tables = self._tables = self._epoch(epoch)
        return tables

    def _batch(self, position: Position) -> EmotionBatch:
        tables = self._of(position.epoch)
        step = position.step
        key, real = tables.rows[step], tables.real[step]
        rows = key[:real]  # padding is always at the end of a process's share
        inputs = self.inputs.take(tables.place[step, :real], position.epoch)
        target, mask = self.target.index_select(0, rows), self.mask.index_select(0, rows)
        bad = self.inputs.bad
        if bad:  # the row stays in the batch, with no question asked
            mask[list(bad)] = False
        skipped = tuple((int(rows[place]), reason) for place, reason in bad.items())
        if real < len(key):
            inputs, target, mask = (_pad(part, len(key)) for part in (inputs, target, mask))
        counts = (real - len(skipped), skipped)
        return EmotionBatch(inputs, target, mask, key, tables.num_labels[step], tables.idle[step], *counts)

    def _epoch(self, epoch: int) -> _RowTables:
        device = self.inputs.device
        batches = self.plan.batches(epoch)
        rows = np.ascontiguousarray(self.plan.share(batches))
        num_labels = labels_of(self._labelled, batches).sum(1)
        return _RowTables(
            epoch,
            torch.from_numpy(rows).to(device),
            torch.from_numpy(self.inputs.index(rows, epoch)).to(device),
            (rows >= 0).sum(1).tolist(),
            torch.from_numpy(num_labels.astype(np.float32)).to(device),
            _idle(num_labels),
        )


class _PairTables(NamedTuple):
    """An epoch's pairs, on the inputs' device."""

    epoch: int
    row: torch.Tensor
    place: torch.Tensor
    head: torch.Tensor
    starts: list[int]
    offs: torch.Tensor
    num_labels: torch.Tensor
    num_rows: list[int]
    idle: list[tuple[int, ...]]


class PairBatches(Dataset[list[PairBatch]]):
    """Rows with the heads that each is labelled for, and no others.

    Args:
        inputs: features or images.
        labels: of all rows.
        plan: which pairs make a batch.
    """

    def __init__(self, inputs: Inputs, labels: LabelTable, plan: PairPlan) -> None:
        self.inputs = inputs
        self.plan = plan
        self.num_heads = labels.target.shape[1]
        self.target = torch.from_numpy(labels.target).reshape(-1).to(inputs.device)
        self.left_out: frozenset[int] = frozenset()
        self._tables: _PairTables | None = None

    def leave_out(self, heads: Collection[int]) -> None:
        """Give pairs of these heads no more, from the next batch on; steps stay as many as they are."""
        self.left_out = frozenset(heads)
        self._tables = None

    def __getitem__(self, positions: list[Position]) -> list[PairBatch]:
        return [self._batch(position) for position in positions]

    def rows_per_step(self, epoch: int) -> list[int]:
        """Return how many rows this process is given in each step of an epoch."""
        return self._of(epoch).num_rows

    def _of(self, epoch: int) -> _PairTables:
        tables = self._tables
        if tables is None or tables.epoch != epoch:
            tables = self._tables = self._epoch(epoch)
        return tables

    def _batch(self, position: Position) -> PairBatch:
        tables = self._of(position.epoch)
        step = position.step
        own = slice(tables.starts[step], tables.starts[step + 1])
        row, head = tables.row[own], tables.head[own]
        batch = PairBatch(
            self.inputs.take(tables.place[own], position.epoch),
            self.target.index_select(0, row * self.num_heads + head),
            head,
            tables.offs[step],
            row,
            tables.num_labels[step],
            tables.num_rows[step],
            tables.idle[step],
        )
        return _without(batch, self.inputs.bad) if self.inputs.bad else batch

    def _epoch(self, epoch: int) -> _PairTables:
        device = self.inputs.device
        pairs = self.plan.pairs(epoch, self.left_out)
        return _PairTables(
            epoch,
            torch.from_numpy(pairs.row).to(device),
            torch.from_numpy(self.inputs.index(pairs.row, epoch)).to(device),
            torch.from_numpy(pairs.head).to(device),
            [0, *np.cumsum(pairs.per_head.sum(1)).tolist()],
            torch.from_numpy(pairs.per_head.cumsum(1, dtype=np.int32)).to(device),
            torch.from_numpy(pairs.num_labels.astype(np.float32)).to(device),
            pairs.num_rows.tolist(),
            _idle(pairs.num_labels),
        )


def _idle(num_labels: Rows) -> list[tuple[int, ...]]:
    """Heads without a label in each step."""
    steps, heads = np.nonzero(num_labels == 0)
    cuts = np.searchsorted(steps, np.arange(1, len(num_labels)))
    return [tuple(part.tolist()) for part in np.split(heads, cuts)]


def _without(batch: PairBatch, bad: dict[int, str]) -> PairBatch:
    """Drop pairs by place."""
    keep = torch.ones(len(batch.key), dtype=torch.bool)
    keep[list(bad)] = False
    per_head = torch.bincount(batch.head[keep], minlength=len(batch.offs))
    return batch._replace(
        inputs=batch.inputs[keep],
        target=batch.target[keep],
        head=batch.head[keep],
        offs=per_head.cumsum(0, dtype=torch.int32),
        key=batch.key[keep],
        num_rows=batch.num_rows - len(bad),
        skipped=tuple((int(batch.key[place]), reason) for place, reason in bad.items()),
    )


def _pad(part: torch.Tensor, length: int) -> torch.Tensor:
    return torch.cat([part, part.new_zeros(length - len(part), *part.shape[1:])])
