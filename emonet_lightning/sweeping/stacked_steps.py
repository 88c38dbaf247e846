"""HeadStack: the epochs of configurations that see the same batches.

A step gathers and normalises the features once for all, and computes the heads of as many configurations at once as
their activations have room for. Heads that finish leave after the epoch, so that they cost no more time.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

import torch

from emonet_lightning import interruption
from emonet_lightning.batch import EmotionBatch, PairBatch
from emonet_lightning.data.face_data import FaceDataModule
from emonet_lightning.data.loading import PlannedLoader, to_device
from emonet_lightning.errors import DataError, InterruptedRunError
from emonet_lightning.schedule import num_optimiser_steps
from emonet_lightning.sweeping.configurations import Configuration
from emonet_lightning.sweeping.head_blocks import HeadBlock, Member
from emonet_lightning.transforms import sample_seed, seed_step

MAX_UNITS, MAX_UNITS_ON_CPU = 1 << 28, 1 << 21
"""Hidden units of all rows of a batch that are computed at once. On a device 1 GB, held about three times until the
gradients: few launches are what counts. On a CPU what stays in its cache: eight small heads at once took a sixth longer
there than one after the other, since activations and gradients went to fresh memory.
"""


class Feed(NamedTuple):
    """Batches of one seed: the order of the rows is a function of it."""

    data: FaceDataModule
    train: PlannedLoader
    val: PlannedLoader | None

    @classmethod
    def of(cls, data: FaceDataModule) -> "Feed":
        """Open the batches of a data module that is set up."""
        val = data.val_dataloader()
        return cls(data, data.train_dataloader(), val if isinstance(val, PlannedLoader) else None)


class HeadStack:
    """Configurations of one seed whose heads are of one kind.

    Args:
        configurations: of equal depth, ordinal biases, precision and scaling of features.
        feed: their batches.
        max_epochs: of the whole training; schedules are of so many, whatever ends earlier.
    """

    def __init__(self, configurations: Sequence[Configuration], feed: Feed, max_epochs: int) -> None:
        self.feed = feed
        self.features = configurations[0].module.features
        self.device = feed.data.device
        num_steps = num_optimiser_steps(feed.data.num_steps, None, max_epochs, -1)
        units = max(each.module.heads.num_heads * sum(each.module.heads.widths) for each in configurations)
        most = MAX_UNITS_ON_CPU if self.device.type == "cpu" else MAX_UNITS
        size = max(1, most // max(1, units * feed.data.batch_size))
        parts = [configurations[start : start + size] for start in range(0, len(configurations), size)]
        self.blocks = [HeadBlock(part, num_steps) for part in parts]

    @property
    def members(self) -> list[Member]:
        """Configurations of which some head still trains."""
        return [member for block in self.blocks for member in block.members]

    @property
    def num_heads(self) -> int:
        """Heads that a step computes."""
        return sum(len(member.heads) for member in self.members)

    def train_epoch(self, epoch: int) -> None:
        """Take an epoch's steps, judge every configuration on the validation rows, and let finished heads leave."""
        self.feed.train.positions.set_epoch(epoch)
        steps, rows, started = 0, 0, time.perf_counter()
        for batches in self.feed.train:
            (batch,) = to_device(batches, self.device)
            rows += batch.num_rows if isinstance(batch, PairBatch) else len(batch.key)
            self.step(batch, sample_seed(self.feed.data.seed, epoch, steps, 0))
            steps += 1
        for block in self.blocks:
            block.write_back()
        seconds = time.perf_counter() - started
        members = self.members
        for member in members:
            member.own.epochs, member.own.steps = epoch + 1, member.own.steps + steps
        self._judge(members, epoch)
        for member in members:
            _conclude(member, epoch)
            # of the whole stack: a configuration has no time of its own
            times = {"time/train_seconds": seconds, "time/rows_per_second": rows / max(seconds, 1e-9)}
            member.own.log_times(times, epoch)
        self.compact()
        if (signal := interruption.requested()) is not None:
            raise InterruptedRunError(
                f"stacked training: interrupted by {signal} after epoch {epoch}; the same command begins it anew, from "
                "the cached features"
            )

    def step(self, batch: EmotionBatch | PairBatch, seed: int) -> None:
        """Take one step of every configuration.

        Args:
            batch: on the heads' device.
            seed: of what the step draws; a configuration that is a block by itself draws what its own `fit` would.
        """
        prepared = batch._replace(inputs=self.features(batch.inputs))
        for block in self.blocks:
            seed_step(seed, self.device)
            block.step(prepared)

    @torch.no_grad()
    def _judge(self, members: Sequence[Member], epoch: int) -> None:
        """Judge every configuration's heads on the validation rows, block by block, and keep the better ones."""
        if self.feed.val is None:
            return
        for batches in self.feed.val:
            moved = to_device(batches, self.device)
            for member in members:
                member.own.module.validation_step(moved, 0)
        for member in members:
            own = member.own
            own.log(own.module.judge(self.feed.data), epoch)
            own.best.choose(own.module, epoch)

    def compact(self) -> None:
        """Let heads that have finished leave; configurations without any others are saved and leave, too."""
        for block in self.blocks:
            block.compact(lambda configuration: configuration.save(self.feed.data))
        self.blocks = [block for block in self.blocks if block.members]

    def save(self) -> None:
        """Write the best heads of every configuration that trained to the end."""
        for member in self.members:
            member.own.save(self.feed.data)


def _conclude(member: Member, epoch: int) -> None:
    """Log an epoch's losses; end the heads that ran out of patience, or the configuration where it diverged."""
    own = member.own
    try:
        own.log(own.module.epoch_losses(own.module.train_loss, epoch, member.optimizer), epoch)
    except DataError as error:
        own.fail(error)
        return
    if new := own.best.out_of_patience(epoch, own.module.finished):
        own.finish(new)
        if not own.remaining:
            own.ended = f"no head was better for {own.best.patience} epochs"
