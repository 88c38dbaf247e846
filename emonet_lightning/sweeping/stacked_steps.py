"""HeadStack: the steps of configurations that see the same batches, all their heads in one stack.

A step gathers and normalises the features once and computes layer 1 of all heads in one product. Each configuration
has its own loss over its own columns, its own clipping, its own AdamW over its own slice of the stacked tensors and its
own schedule: what `HeadTraining` does with one. Heads that finish leave the stack after the epoch, so that they cost no
more time.
"""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch.optim.lr_scheduler import LRScheduler

from emonet_lightning import interruption
from emonet_lightning.batch import EmotionBatch, PairBatch
from emonet_lightning.data.face_data import FaceDataModule
from emonet_lightning.data.loading import PlannedLoader, to_device
from emonet_lightning.errors import DataError
from emonet_lightning.heads import EmotionHeads
from emonet_lightning.objective import Kept, Objective
from emonet_lightning.optimizer import HeadwiseAdamW, clip_per_head
from emonet_lightning.schedule import num_optimiser_steps, warmup_cosine
from emonet_lightning.sweeping.configurations import Configuration
from emonet_lightning.sweeping.side_by_side import side_by_side, take_back
from emonet_lightning.transforms import sample_seed, seed_step


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


@dataclass
class _Member:
    """One configuration's part of the stack."""

    own: Configuration
    span: slice
    kept: Kept | None
    """None while all of its heads train."""
    objective: Objective
    parameters: list[torch.nn.Parameter]
    optimizer: HeadwiseAdamW
    schedule: LRScheduler

    def narrow(self, batch: EmotionBatch | PairBatch) -> EmotionBatch | PairBatch:
        """Return what its heads that train are given of a batch."""
        return batch if self.kept is None else self.kept.narrow(batch)


class HeadStack:
    """Configurations of one seed whose heads are computed together.

    Args:
        configurations: of equal depth, ordinal biases, precision and scaling of features.
        feed: their batches.
        max_epochs: of the whole training; schedules are of so many, whatever ends earlier.
    """

    def __init__(self, configurations: Sequence[Configuration], feed: Feed, max_epochs: int) -> None:
        self.feed = feed
        self.features = configurations[0].module.features
        self.device = feed.data.device
        self.heads = side_by_side([each.module.heads for each in configurations])
        num_steps = num_optimiser_steps(feed.data.num_steps, None, max_epochs, -1)
        self.members: list[_Member] = []
        start = 0
        for each in configurations:
            module, given = each.module, each.module.hparams
            module.train_loss = module.train_loss.to(self.device)
            span = slice(start, start + module.heads.num_heads)
            start = span.stop
            parameters = _slices(self.heads, span)
            optimizer = module.adamw(parameters)
            schedule = warmup_cosine(optimizer, num_steps, given["warmup_share"], given["final_lr_share"])
            self.members.append(_Member(each, span, None, module.objective, parameters, optimizer, schedule))

    def train_epoch(self, epoch: int) -> None:
        """Take an epoch's steps, judge every configuration on the validation rows, and let finished heads leave."""
        self.feed.train.positions.set_epoch(epoch)
        idle = [np.zeros(member.span.stop - member.span.start) for member in self.members]
        steps, rows, started = 0, 0, time.perf_counter()
        for steps, batches in enumerate(self.feed.train, start=1):
            (batch,) = to_device(batches, self.device)
            rows += batch.num_rows if isinstance(batch, PairBatch) else len(batch.key)
            seed_step(sample_seed(self.feed.data.seed, epoch, steps - 1, 0), self.device)
            for counted, heads in zip(idle, self.step(batch), strict=True):
                counted[list(heads)] += 1
        for member, counted in zip(self.members, idle, strict=True):
            columns = slice(None) if member.kept is None else member.kept.columns
            member.own.module.train_loss[1, columns] += torch.from_numpy(steps - counted).to(self.device).float()
            member.own.epochs, member.own.steps = epoch + 1, member.own.steps + steps
        self._write_back()
        seconds = time.perf_counter() - started
        self._judge(epoch)
        for member in self.members:
            self._conclude(member, epoch)
            # of the whole stack: a configuration has no time of its own
            times = {"time/train_seconds": seconds, "time/rows_per_second": rows / max(seconds, 1e-9)}
            member.own.log_times(times, epoch)
        self.compact()
        interruption.check("stacked training")

    # -- a step ------------------------------------------------------------------------------------------------------

    def step(self, batch: EmotionBatch | PairBatch) -> list[tuple[int, ...]]:
        """Take one step of every configuration; returns the heads of each that had no label."""
        for parameter in self.heads.parameters():  # before the forward pass: old gradients would live through it
            parameter.grad = None
        features = self.features(batch.inputs)
        batches = [member.narrow(batch._replace(inputs=features)) for member in self.members]
        losses = self._losses(features, batches)
        torch.cat(losses).sum().backward()
        finite = []
        for member, own, loss in zip(self.members, batches, losses, strict=True):
            for parameter, whole in zip(member.parameters, self.heads.parameters(), strict=True):
                parameter.grad = None if whole.grad is None else whole.grad[member.span]
            finite.append(clip_per_head(member.parameters, member.own.module.hparams["clip_norm"]))
            member.optimizer.idle = own.idle
            module = member.own.module
            if member.kept is None:
                module.train_loss[0] += loss.detach()
            else:
                module.train_loss[0].index_add_(0, member.kept.columns, loss.detach())
        if not bool(torch.cat(finite).all()):  # the one wait for the device
            self._skip(finite)
        for member in self.members:
            member.optimizer.step()
            member.schedule.step()
        return [own.idle for own in batches]

    def _losses(self, features: torch.Tensor, batches: Sequence[EmotionBatch | PairBatch]) -> list[torch.Tensor]:
        """Return each configuration's mean losses of its heads."""
        thresholds = self.heads.ordered_thresholds()
        pairs = [batch for batch in batches if isinstance(batch, PairBatch)]
        if pairs:
            counts = [len(batch.head) for batch in pairs]
            starts = [0, *itertools.accumulate(counts)]
            outputs = self.heads.forward_pairs(
                torch.cat([batch.inputs for batch in pairs]),
                torch.cat([batch.head + member.span.start for batch, member in zip(pairs, self.members, strict=True)]),
                torch.cat([batch.offs + start for batch, start in zip(pairs, starts, strict=False)]),
            ).split(counts)
        else:
            outputs = self.heads(features).split([m.span.stop - m.span.start for m in self.members], dim=1)
        return [
            member.objective.of_outputs(raw, None if thresholds is None else thresholds[member.span], own)
            for member, raw, own in zip(self.members, outputs, batches, strict=True)
        ]

    def _skip(self, finite: Sequence[torch.Tensor]) -> None:
        for member, own in zip(self.members, finite, strict=True):
            bad = torch.nonzero(~own).flatten()
            member.own.module.skipped.update((bad if member.kept is None else member.kept.columns[bad]).tolist())
            member.optimizer.idle = (*member.optimizer.idle, *bad.tolist())

    # -- the epoch's end ---------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _judge(self, epoch: int) -> None:
        """Judge every configuration's heads on the validation rows, block by block, and keep the better ones."""
        if self.feed.val is None:
            return
        for batches in self.feed.val:
            moved = to_device(batches, self.device)
            for member in self.members:
                member.own.module.validation_step(moved, 0)
        for member in self.members:
            own = member.own
            own.log(own.module.judge(self.feed.data), epoch)
            own.best.choose(own.module, epoch)

    def _conclude(self, member: _Member, epoch: int) -> None:
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

    def _write_back(self) -> None:
        for member in self.members:
            heads = member.own.module.heads
            columns = member.kept.columns if member.kept else torch.arange(heads.num_heads, device=self.device)
            take_back(self.heads, member.span, heads, columns)

    def compact(self) -> None:
        """Let heads that have finished leave the stack; configurations without any others are saved and leave, too."""
        stacked = [self._stacked(member) for member in self.members]
        left = [member.own.remaining for member in self.members]
        if stacked == left:
            return
        places = [
            member.span.start + heads.index(head)
            for member, heads, remaining in zip(self.members, stacked, left, strict=True)
            for head in remaining
        ]
        for member, remaining in zip(self.members, left, strict=True):
            if not remaining:
                member.own.save(self.feed.data)
        if not places:
            self.members = []
            return
        self.heads = self.heads.select(places)
        members, start = [], 0
        for member, heads, remaining in zip(self.members, stacked, left, strict=True):
            if remaining:
                member.span = slice(start, start + len(remaining))
                start = member.span.stop
                self._keep(member, heads, remaining)
                members.append(member)
        self.members = members

    def _keep(self, member: _Member, stacked: Sequence[int], remaining: Sequence[int]) -> None:
        """Go on with some of a configuration's heads, which are in the new stack already."""
        module = member.own.module
        member.kept = Kept.of(remaining, module.heads.num_heads, self.device)
        member.objective = module.objective.select(member.kept.columns)
        member.parameters = _slices(self.heads, member.span)
        member.optimizer.select([stacked.index(head) for head in remaining], member.parameters)

    def _stacked(self, member: _Member) -> list[int]:
        if member.kept is None:
            return list(range(member.own.module.heads.num_heads))
        return [head for head, place in enumerate(member.kept.places) if place >= 0]


def _slices(heads: EmotionHeads, span: slice) -> list[torch.nn.Parameter]:
    """Return one configuration's part of the stacked tensors: the same memory, as parameters of its own."""
    return [torch.nn.Parameter(parameter.data[span]) for parameter in heads.parameters()]
