"""Loaders: which batches a run trains on and is judged by, made in this process or by workers."""

from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from emonet_lightning.data.inputs import FeatureInputs, Inputs
from emonet_lightning.data.labels import LabelTable
from emonet_lightning.data.pairs import SPARSE, BalancedPairs, RowPairs
from emonet_lightning.data.rows import PairBatches, RowBatches
from emonet_lightning.data.sampling import Position, Positions, Rows, TrainPlan
from emonet_lightning.errors import EmoNetError

Sampling = Literal["rows", "balanced"]


class _Asked(NamedTuple):
    """What a worker is asked for."""

    positions: list[Position]
    left_out: frozenset[int] | None
    """Heads that had finished when it was asked: its copy of the batches was made before; None: rows have all heads."""


class _ForEachCall(Sampler[_Asked]):
    """What workers are asked for: each call's positions, with the heads that are left out by then."""

    def __init__(self, positions: Positions, batches: RowBatches | PairBatches) -> None:
        self.positions = positions
        self.batches = batches

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch (the Trainer calls this)."""
        self.positions.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[_Asked]:
        for positions in self.positions:
            yield _Asked(positions, self.batches.left_out if isinstance(self.batches, PairBatches) else None)


class _ForWorkers(Dataset[Any]):
    """Batches made in other processes: an error of the project's comes back as it is, in one line."""

    def __init__(self, batches: RowBatches | PairBatches) -> None:
        self.batches = batches

    def __getitem__(self, asked: _Asked) -> Any:
        batches = self.batches
        if isinstance(batches, PairBatches) and asked.left_out not in (None, batches.left_out):
            batches.leave_out(asked.left_out or ())
        try:
            return batches[asked.positions]
        except EmoNetError as error:
            return error


class PlannedLoader(DataLoader[Any]):
    """Batches in the order of a plan, from any position on.

    Args:
        batches: of a plan.
        positions: of an epoch.
        num_workers: processes that make batches; 0 makes them here.
    """

    def __init__(self, batches: RowBatches | PairBatches, positions: Positions, num_workers: int = 0) -> None:
        self.positions = positions
        sampler: Iterable[Any] = _ForEachCall(positions, batches) if num_workers else positions
        super().__init__(
            _ForWorkers(batches) if num_workers else batches,
            batch_size=None,
            sampler=sampler,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            collate_fn=_as_is,
        )
        self.given = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        # begun at the first batch, and not before: by then the Trainer has set the epoch, for workers too
        self.given = self.positions.first_step
        for batches in super().__iter__():
            if isinstance(batches, EmoNetError):
                raise batches
            self.given += len(batches)
            yield batches

    def state_dict(self) -> dict[str, int]:
        """Return the position in the epoch: steps that were given out."""
        return {"epoch": self.positions.epoch, "step": self.given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a position: its epoch begins there."""
        self.positions.resumed = Position(state["epoch"], state["step"])


def train_batches(
    inputs: Inputs,
    labels: LabelTable,
    rows: Rows,
    *,
    batch_size: int,
    sampling: Sampling,
    seed: int,
    rank: int,
    world_size: int,
    blocks: Rows | None = None,
) -> RowBatches | PairBatches:
    """Return the batches of training.

    Args:
        inputs: features or images.
        labels: of all rows.
        rows: to train on.
        batch_size: rows (or pairs) of a global batch.
        sampling: `rows`: shuffled rows, each once an epoch; `balanced`: equally many pairs of each head.
        seed: of the order.
        rank: this process.
        world_size: processes that share each batch.
        blocks: block of features that each row lies in, to read block by block.
    """
    if sampling == "balanced":
        return PairBatches(inputs, labels, BalancedPairs(rows, labels.mask, batch_size, seed, rank, world_size))
    plan = TrainPlan(rows, batch_size, seed, rank, world_size, blocks)
    if isinstance(inputs, FeatureInputs) and labels.mask[rows].mean() < SPARSE:
        return PairBatches(inputs, labels, RowPairs(plan, labels.mask))
    return RowBatches(inputs, labels, plan)


def to_device(batch: Any, device: torch.device) -> Any:
    """Move the tensors of a batch, or of each in a list; what lies there already is not looked at one by one."""
    if isinstance(batch, list):
        return [to_device(each, device) for each in batch]
    if batch.inputs.device == device:
        return batch
    moved = (part.to(device, non_blocking=True) if isinstance(part, torch.Tensor) else part for part in batch)
    return type(batch)(*moved)


def _as_is(batches: Any) -> Any:
    return batches
