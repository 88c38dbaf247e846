"""HeadBlock: configurations whose heads are computed as one stack, and a step of them.

Layer 1 of all heads is one product. Each configuration has its own loss over its own columns, its own clipping, its own
AdamW over its own slice of the stacked tensors and its own schedule: what `HeadTraining` does with one.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim.lr_scheduler import LRScheduler

from emonet_lightning.batch import EmotionBatch, PairBatch
from emonet_lightning.heads import EmotionHeads
from emonet_lightning.objective import Kept, Objective
from emonet_lightning.optimizer import HeadwiseAdamW, clip_per_head
from emonet_lightning.schedule import warmup_cosine
from emonet_lightning.sweeping.configurations import Configuration
from emonet_lightning.sweeping.side_by_side import side_by_side, take_back


@dataclass
class Member:
    """One configuration's part of a block."""

    own: Configuration
    span: slice
    """Its heads among those of the block."""
    kept: Kept | None
    """None while all of its heads train."""
    objective: Objective
    parameters: list[torch.nn.Parameter]
    """Slices of the block's tensors."""
    optimizer: HeadwiseAdamW
    schedule: LRScheduler
    labelled: NDArray[np.float64]
    """Steps with labels of each of its heads in the block, since they were last written back."""

    def narrow(self, batch: EmotionBatch | PairBatch) -> EmotionBatch | PairBatch:
        """Return what its heads that train are given of a batch."""
        return batch if self.kept is None else self.kept.narrow(batch)

    @property
    def heads(self) -> list[int]:
        """Which of its heads are in the block."""
        if self.kept is None:
            return list(range(self.own.module.heads.num_heads))
        return [head for head, place in enumerate(self.kept.places) if place >= 0]


class HeadBlock:
    """Configurations of equal depth, ordinal biases, precision and scaling of features.

    Args:
        configurations: of one seed.
        num_steps: of the whole training; schedules are of so many, whatever ends earlier.
    """

    def __init__(self, configurations: Sequence[Configuration], num_steps: int) -> None:
        self.heads = side_by_side([each.module.heads for each in configurations])
        self.device = self.heads.stack[0].weight.device
        self.members: list[Member] = []
        start = 0
        for each in configurations:
            module, given = each.module, each.module.hparams
            module.train_loss = module.train_loss.to(self.device)
            span = slice(start, start + module.heads.num_heads)
            start = span.stop
            parameters = _slices(self.heads, span)
            optimizer = module.adamw(parameters)
            schedule = warmup_cosine(optimizer, num_steps, given["warmup_share"], given["final_lr_share"])
            counts = np.zeros(module.heads.num_heads)
            self.members.append(Member(each, span, None, module.objective, parameters, optimizer, schedule, counts))

    def step(self, batch: EmotionBatch | PairBatch) -> None:
        """Take one step of every configuration.

        Args:
            batch: whose inputs are features as the heads take them.
        """
        for parameter in self.heads.parameters():  # before the forward pass: old gradients would live through it
            parameter.grad = None
        batches = [member.narrow(batch) for member in self.members]
        losses = self._losses(batches)
        torch.cat(losses).sum().backward()
        finite = []
        for member, own, loss in zip(self.members, batches, losses, strict=True):
            module = member.own.module
            for parameter, whole in zip(member.parameters, self.heads.parameters(), strict=True):
                parameter.grad = None if whole.grad is None else whole.grad[member.span]
            finite.append(clip_per_head(member.parameters, module.hparams["clip_norm"]))
            member.optimizer.idle = own.idle
            columns = slice(None) if member.kept is None else member.kept.columns
            module.train_loss[0, columns] += loss.detach()
            member.labelled += 1
            member.labelled[list(own.idle)] -= 1
        if not bool(torch.cat(finite).all()):  # the one wait for the device
            self._skip(finite)
        for member in self.members:
            member.optimizer.step()
            member.schedule.step()

    def _losses(self, batches: Sequence[EmotionBatch | PairBatch]) -> list[torch.Tensor]:
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
            sizes = [member.span.stop - member.span.start for member in self.members]
            outputs = self.heads(batches[0].inputs).split(sizes, dim=1)
        return [
            member.objective.of_outputs(raw, None if thresholds is None else thresholds[member.span], own)
            for member, raw, own in zip(self.members, outputs, batches, strict=True)
        ]

    def _skip(self, finite: Sequence[torch.Tensor]) -> None:
        for member, own in zip(self.members, finite, strict=True):
            bad = torch.nonzero(~own).flatten()
            member.own.module.skipped.update((bad if member.kept is None else member.kept.columns[bad]).tolist())
            member.optimizer.idle = (*member.optimizer.idle, *bad.tolist())

    def write_back(self) -> None:
        """Bring each configuration's own heads, and its counts of steps, up to date."""
        for member in self.members:
            heads = member.own.module.heads
            columns = member.kept.columns if member.kept else torch.arange(heads.num_heads, device=self.device)
            take_back(self.heads, member.span, heads, columns)
            losses = member.own.module.train_loss
            losses[1].index_add_(0, columns, torch.from_numpy(member.labelled).to(losses))
            member.labelled = np.zeros_like(member.labelled)

    def compact(self, leaves: Callable[[Configuration], None]) -> None:
        """Let heads that have finished leave the stack.

        Args:
            leaves: is called with a configuration of which no head is left.
        """
        left = [member.own.remaining for member in self.members]
        if [member.heads for member in self.members] == left:
            return
        kept = [(member, member.heads, remaining) for member, remaining in zip(self.members, left, strict=True)]
        places = [member.span.start + heads.index(head) for member, heads, few in kept for head in few]
        for member, _, remaining in kept:
            if not remaining:
                leaves(member.own)
        self.members, start = [], 0
        if places:
            self.heads = self.heads.select(places)
        for member, heads, remaining in kept:
            if remaining:
                member.span = slice(start, start + len(remaining))
                start = member.span.stop
                self._keep(member, heads, remaining)
                self.members.append(member)

    def _keep(self, member: Member, before: Sequence[int], remaining: Sequence[int]) -> None:
        """Go on with some of a configuration's heads, which are in the new stack already."""
        module = member.own.module
        member.kept = Kept.of(remaining, module.heads.num_heads, self.device)
        member.objective = module.objective.select(member.kept.columns)
        member.parameters = _slices(self.heads, member.span)
        member.labelled = np.zeros(len(remaining))
        member.optimizer.select([before.index(head) for head in remaining], member.parameters)


def _slices(heads: EmotionHeads, span: slice) -> list[torch.nn.Parameter]:
    """Return one configuration's part of the stacked tensors: the same memory, as parameters of its own."""
    return [torch.nn.Parameter(parameter.data[span]) for parameter in heads.parameters()]
