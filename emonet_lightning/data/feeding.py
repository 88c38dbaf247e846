"""FeedingModule: how batches reach the model; where features lie, who computes which share, how many steps a call.

The other half of the data module, `face_data`, knows the sets, their rows and labels.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule

from emonet_lightning.data.cache_blocks import BLOCK_ROWS
from emonet_lightning.data.feature_store import (
    FeaturesOn,
    FeatureStore,
    MappedFeatures,
    ResidentFeatures,
    cache_bytes,
    choose_place,
    feature_statistics,
    free_memory,
    load_features,
)
from emonet_lightning.data.inputs import FeatureInputs, ImageInputs, Inputs
from emonet_lightning.data.labels import LabelTable
from emonet_lightning.data.loading import PlannedLoader, Sampling, to_device, train_batches
from emonet_lightning.data.rows import PairBatches, RowBatches
from emonet_lightning.data.sampling import EVAL_BLOCKS, EvalPlan, Positions, block_numbers
from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.messages import say

NO_STATISTICS = "model.standardise needs data.mode: cached; set model.standardise: false"


class FeedingModule(LightningDataModule):
    """Loaders over rows and labels that the subclass has chosen."""

    batch_size: int
    seed: int
    num_workers: int
    num_threads: int | None
    sampling: Sampling
    features_on: FeaturesOn
    rows: dict[str, np.ndarray]
    labels: LabelTable | None

    def __init__(self) -> None:
        super().__init__()
        self.steps_per_call = 1
        """Batches that the train loader yields at once; set before `train_dataloader()` is called."""
        self.alone_on = torch.device("cpu")
        """Where the model is, if no Trainer says so."""
        self.opened: dict[tuple[Path, ...], FeatureStore] = {}
        """Features by the caches that they are of; given to another module, both use the same memory."""
        self.store: FeatureStore | None = None
        """Cached features; None where images are encoded in every step."""
        self.left_out: dict[int, str] = {}
        """Training rows whose image could not be encoded, with the reason: they are in no batch."""
        self._by_blocks = False
        self._train: RowBatches | PairBatches | None = None

    def image_inputs(self, train: bool) -> ImageInputs:
        """Return the pixels of all rows."""
        raise NotImplementedError

    def set_sizes(self) -> list[int]:
        """Return how many rows each set has."""
        raise NotImplementedError

    def plan_text(self) -> str:
        """Return the plan of training in a few lines."""
        raise NotImplementedError

    # -- features ----------------------------------------------------------------------------------------------------

    def open_features(self, folders: list[Path]) -> None:
        """Load or map complete feature caches, one a set, as `features_on` says."""
        if (opened := self.opened.get(tuple(folders))) is not None:
            self.store, self._by_blocks = opened, isinstance(opened, MappedFeatures)
            return
        device, local = self.device, self.trainer.num_devices if self.trainer else 1
        device_free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
        place = choose_place(self.features_on, cache_bytes(folders), device_free, free_memory() // local)
        if self.trainer:  # the order of the rows depends on it: one for all processes
            place = self.trainer.strategy.broadcast(place)
        self._by_blocks = place == "mapped"
        if self._by_blocks:
            self.store = MappedFeatures(folders)
        else:
            on = device if place == "device" else torch.device("cpu")
            self.store = ResidentFeatures(load_features(folders, on, self.num_threads))
        self.opened[tuple(folders)] = self.store

    @property
    def features(self) -> torch.Tensor | None:
        """Cached features [V, N, D] float16 where they are in memory, on a device or not; else None."""
        return self.store.features if isinstance(self.store, ResidentFeatures) else None

    def feature_statistics(self, l2_normalise: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and standard deviation [D] of the training rows' clean features.

        Raises:
            UsageError: in `mode: images` nothing is known of the features before training; one row has no deviation.
        """
        if self.store is None:
            raise UsageError(NO_STATISTICS)
        if len(self.rows["train"]) < 2:
            raise UsageError("model.standardise needs two training rows, there is one; set model.standardise: false")
        mean, std = feature_statistics(self.store, self.rows["train"], l2_normalise)
        return mean.float(), std.clamp(min=1e-6 * float(std.max().clamp(min=1e-12))).float()

    # -- processes ---------------------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.trainer.strategy.root_device if self.trainer else self.alone_on

    @property
    def process(self) -> tuple[int, int]:
        """Rank of this process, and how many there are."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    @property
    def share(self) -> tuple[int, int]:
        """Which part of each training batch is this process's, of how many; all of it where each trains the whole."""
        replicated = self.trainer is not None and getattr(self.trainer.strategy, "replicated", False)
        return (0, 1) if replicated else self.process

    # -- loaders -----------------------------------------------------------------------------------------------------

    @property
    def num_steps(self) -> int:
        """Optimiser steps of one epoch."""
        steps = self.train_batches().plan.num_steps
        limit = self.trainer.limit_train_batches if self.trainer else None
        # Lightning counts calls: with several steps a call, the limit has to be kept here
        return min(steps, limit) if self.steps_per_call > 1 and isinstance(limit, int) else steps

    def train_dataloader(self) -> PlannedLoader:
        """Shuffled by (seed, epoch); each item is a list of the batches of one call of `training_step`."""
        say(self.plan_text())
        return PlannedLoader(self.train_batches(), Positions(self.num_steps, self.steps_per_call), self._workers)

    def val_dataloader(self) -> PlannedLoader | list[Any]:
        """Validation rows in lists of fixed blocks, each once; an empty list where there are none."""
        return self._eval_loader("val") if len(self.rows["val"]) else []

    def test_dataloader(self) -> PlannedLoader:
        """Test rows in lists of fixed blocks, each once."""
        return self._eval_loader("test")

    def num_judged_steps(self, split: str) -> int:
        """Return how many batches this process judges of a split."""
        return EvalPlan(self.rows[split], *self.process).num_steps

    def leave_out(self, heads: Collection[int]) -> None:
        """Give pairs of finished heads no more, from the next batch on; steps stay as many as they are."""
        batches = self.train_batches()
        if isinstance(batches, PairBatches):
            batches.leave_out(heads)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move the tensors of a batch, or of each in a list."""
        return to_device(batch, device)

    def state_dict(self) -> dict[str, Any]:
        """Return what decides the order of the rows and may differ on another machine."""
        return {"by_blocks": self._by_blocks, "left_out": sorted(self.left_out.items())}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep to the order and the rows that a run began with, wherever its features lie now.

        Raises:
            DataError: rows that it has trained on cannot be read any more.
        """
        self._by_blocks = state_dict["by_blocks"]
        before = {int(row): str(reason) for row, reason in state_dict.get("left_out", ())}
        if gone := sorted(self.left_out.keys() - before.keys()):
            raise DataError(
                f"data: {len(gone)} images that this run trained on cannot be read any more (row {gone[0]}, "
                f"{self.left_out[gone[0]]}); copy their shard again, or begin a new run without them"
            )
        self.rows["train"] = np.setdiff1d(self.rows["train"], np.array(sorted(before), dtype=np.int64))
        self.left_out = before
        self._train = None

    def train_batches(self) -> RowBatches | PairBatches:
        """Return this process's batches of training."""
        if self._train is None:
            assert self.labels is not None
            rows, (rank, world) = self.rows["train"], self.share
            self._train = train_batches(
                self._inputs(train=True),
                self.labels,
                rows,
                batch_size=self.batch_size,
                sampling=self.sampling,
                seed=self.seed,
                rank=rank,
                world_size=world,
                blocks=block_numbers(rows, self.set_sizes(), BLOCK_ROWS) if self._by_blocks else None,
            )
        return self._train

    def _eval_loader(self, split: str) -> PlannedLoader:
        assert self.labels is not None
        plan = EvalPlan(self.rows[split], *self.process)
        batches = RowBatches(self._inputs(train=False), self.labels, plan)
        # a call of Lightning's takes longer than a block of cached rows
        return PlannedLoader(batches, Positions(plan.num_steps, EVAL_BLOCKS if self.store else 1), self._workers)

    def _inputs(self, train: bool) -> Inputs:
        if self.store is None:
            return self.image_inputs(train)
        return FeatureInputs(self.store, self.seed if train else None)

    @property
    def _workers(self) -> int:
        return self.num_workers if self.store is None else 0  # cached batches are cheaper than a queue
