"""Datasets that turn positions into batches: a whole batch per item, nothing is collated row by row.

What depends on the epoch alone (order, counts of labels, where the inputs lie) is made once an epoch and moved to where
the inputs are; a step only cuts slices of it and selects rows.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset

from emonet_lightning.batch import EmotionBatch, PairBatch
from emonet_lightning.data.feature_store import FeatureStore
from emonet_lightning.data.labels import LabelTable
from emonet_lightning.data.pairs import PairPlan, labels_of, with_padding
from emonet_lightning.data.sampling import EvalPlan, Position, Rows, TrainPlan, choose_views
from emonet_lightning.decoding import decode_image
from emonet_lightning.transforms import Augmentation, EvalTransform, PreprocessSpec, TrainTransform, sample_seed


class Inputs(Protocol):
    """What batches take their inputs from."""

    device: torch.device

    def index(self, rows: Rows, epoch: int) -> Rows:
        """Return where the inputs of rows lie in an epoch, same shape."""
        ...

    def take(self, index: torch.Tensor, epoch: int) -> torch.Tensor:
        """Return the inputs [n, ...] of an index [n]."""
        ...


class FeatureInputs:
    """Cached features.

    Args:
        store: where they lie.
        seed: of the choice of a view, where there are several; None takes view 0 (evaluation).
    """

    def __init__(self, store: FeatureStore, seed: int | None = None) -> None:
        self.store = store
        self.seed = seed
        self.device = store.device

    def index(self, rows: Rows, epoch: int) -> Rows:
        """Return `view * N + row`; the view is a pure function of (seed, epoch, row)."""
        if self.seed is None or self.store.num_views == 1:
            return rows
        return choose_views(self.seed, epoch, rows, self.store.num_views) * self.store.num_rows + rows

    def take(self, index: torch.Tensor, epoch: int) -> torch.Tensor:
        """Return features [n, D] float16."""
        return self.store.take(index)


class ImageSource(Protocol):
    """What pixels are read from: a packed set."""

    num_samples: int

    def read_image(self, row: int) -> bytes:
        """Return the encoded image of a row."""


class ImageInputs:
    """Images, decoded and transformed; picklable for workers.

    Args:
        sets: packed sets, whose rows are numbered one set after the other.
        spec: preprocessing of the encoder.
        augmentation: random changes, a pure function of (seed, epoch, row); None for clean images.
        seed: of the augmentation.
    """

    def __init__(
        self, sets: Sequence[ImageSource], spec: PreprocessSpec, augmentation: Augmentation | None, seed: int
    ) -> None:
        self.sets = list(sets)
        self.starts = np.cumsum([0, *[packed.num_samples for packed in self.sets]])
        self.clean = EvalTransform(spec)
        self.changed = None if augmentation is None else TrainTransform(spec, augmentation)
        self.size = spec.size
        self.seed = seed
        self.device = torch.device("cpu")

    def index(self, rows: Rows, epoch: int) -> Rows:
        """Return the rows."""
        return rows

    def take(self, index: torch.Tensor, epoch: int) -> torch.Tensor:
        """Return pixels [n, 3, S, S] uint8."""
        pixels = np.zeros((len(index), self.size, self.size, 3), dtype=np.uint8)
        for place, row in enumerate(index.tolist()):
            part = int(np.searchsorted(self.starts, row, side="right")) - 1
            local = row - int(self.starts[part])
            image = decode_image(self.sets[part].read_image(local), f"row {local} of set {part}")
            changed = self.changed
            if changed is None:
                self.clean(image, out=pixels[place])
            else:
                changed(image, sample_seed(self.seed, epoch, row, 0), out=pixels[place])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)


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

    def _batch(self, position: Position) -> EmotionBatch:
        tables = self._tables
        if tables is None or tables.epoch != position.epoch:
            tables = self._tables = self._epoch(position.epoch)
        step = position.step
        key, real = tables.rows[step], tables.real[step]
        rows = key[:real]  # padding is always at the end of a process's share
        inputs = self.inputs.take(tables.place[step, :real], position.epoch)
        target, mask = self.target.index_select(0, rows), self.mask.index_select(0, rows)
        if real < len(key):
            inputs, target, mask = (_pad(part, len(key)) for part in (inputs, target, mask))
        return EmotionBatch(inputs, target, mask, key, tables.num_labels[step], tables.idle[step])

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

    def _batch(self, position: Position) -> PairBatch:
        tables = self._tables
        if tables is None or tables.epoch != position.epoch:
            tables = self._tables = self._epoch(position.epoch)
        step = position.step
        own = slice(tables.starts[step], tables.starts[step + 1])
        row, head = tables.row[own], tables.head[own]
        return PairBatch(
            self.inputs.take(tables.place[own], position.epoch),
            self.target.index_select(0, row * self.num_heads + head),
            head,
            tables.offs[step],
            row,
            tables.num_labels[step],
            tables.num_rows[step],
            tables.idle[step],
        )

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


def _pad(part: torch.Tensor, length: int) -> torch.Tensor:
    return torch.cat([part, part.new_zeros(length - len(part), *part.shape[1:])])
