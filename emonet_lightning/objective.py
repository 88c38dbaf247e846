"""What the heads minimise, and which of them still do: finished heads leave the stack, so that steps get cheaper."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch

from emonet_lightning.batch import EmotionBatch, PairBatch
from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.heads import EmotionHeads
from emonet_lightning.losses import elementwise_loss, per_head_mean, per_head_sum_of_pairs
from emonet_lightning.metrics import named
from emonet_lightning.taxonomy import Taxonomy


@dataclass(frozen=True)
class HeadOptions:
    """What one emotion's head has of its own."""

    lr: float | None = None
    """Peak learning rate; default `model.lr`."""
    weight_decay: float | None = None
    """Decoupled weight decay; default `model.weight_decay`."""
    frozen: bool = False
    """Leave the head as it starts."""


def head_options(given: Mapping[str, Any], taxonomy: Taxonomy) -> dict[str, dict[str, Any]]:
    """Return options by slug, as primitives.

    Args:
        given: `HeadOptions`, or dictionaries of their fields, by emotion.
        taxonomy: whose emotions they are.

    Raises:
        UsageError: an unknown emotion, one named twice, or a rate that is no positive number.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, own in given.items():
        try:
            slug = taxonomy.slugs[taxonomy.index(name)]
        except DataError as error:
            raise UsageError(f"model.per_emotion: {error}") from None
        options = asdict(own if isinstance(own, HeadOptions) else HeadOptions(**own))
        for key, low in (("lr", 0.0), ("weight_decay", -1e-30)):
            if options[key] is not None and not low < options[key] < float("inf"):
                bound = "above" if key == "lr" else "not below"
                raise UsageError(f"model.per_emotion.{name}.{key}: {options[key]} must be a finite number {bound} 0")
        if slug in found:
            raise UsageError(f"model.per_emotion: '{name}' is named twice")
        found[slug] = options
    return found


def own_rates(
    options: Mapping[str, Mapping[str, Any]], slugs: Sequence[str], lr: float, weight_decay: float
) -> tuple[list[float], list[float]]:
    """Return each head's factor of the learning rate (0: frozen) and its weight decay, [K] each.

    Args:
        options: by slug, of `head_options`.
        slugs: of all heads.
        lr: peak learning rate of heads without one of their own.
        weight_decay: of heads without one of their own.
    """
    own = [options.get(slug, {}) for slug in slugs]
    rates = [0.0 if each.get("frozen") else (each.get("lr") or lr) / lr for each in own]
    decays = [each["weight_decay"] if each.get("weight_decay") is not None else weight_decay for each in own]
    return rates, decays


class Objective(NamedTuple):
    """Each head's mean loss over its labelled rows of the global batch: what a head would minimise alone."""

    loss: str
    huber_delta: float
    low: torch.Tensor
    """Lowest level [K]."""
    high: torch.Tensor
    """Highest level [K]."""
    positive_weight: torch.Tensor | None = None
    """Weight of labels at rest and above it [2, K]; None for equal weights."""

    def select(self, heads: torch.Tensor) -> "Objective":
        """Return the objective of some heads."""
        weight = None if self.positive_weight is None else self.positive_weight[:, heads]
        return self._replace(low=self.low[heads], high=self.high[heads], positive_weight=weight)

    def __call__(self, heads: EmotionHeads, features: torch.Tensor, batch: EmotionBatch | PairBatch) -> torch.Tensor:
        """Return this process's part of each head's mean loss [K]; the parts of all processes add up.

        Args:
            heads: K of them.
            features: as the heads take them, [B, D]; [P, D] for pairs.
            batch: the labels.
        """
        raw = heads.forward_pairs(features, batch.head, batch.offs) if isinstance(batch, PairBatch) else heads(features)
        return self.of_outputs(raw, heads.ordered_thresholds(), batch)

    def of_outputs(
        self, raw: torch.Tensor, thresholds: torch.Tensor | None, batch: EmotionBatch | PairBatch
    ) -> torch.Tensor:
        """Return what a call does [K], of the heads' outputs.

        Args:
            raw: [B, K]; [P] for pairs.
            thresholds: ordered biases [K, L]; None without CORAL.
            batch: the labels.
        """
        if isinstance(batch, PairBatch):
            own = self.select(batch.head)
            levels = thresholds if thresholds is None else thresholds.index_select(0, batch.head)
            return per_head_sum_of_pairs(own._each(raw, batch.target, levels), batch.head, batch.num_labels)
        return per_head_mean(self._each(raw, batch.target, thresholds), batch.mask, batch.num_labels)

    def _each(self, raw: torch.Tensor, target: torch.Tensor, thresholds: torch.Tensor | None) -> torch.Tensor:
        loss = elementwise_loss(self.loss, raw, target, self.low, self.high, thresholds, self.huber_delta)
        if self.positive_weight is None:
            return loss
        above = target > self.low.clamp(min=0.0)
        return loss * torch.where(above, self.positive_weight[1], self.positive_weight[0])


class Kept(NamedTuple):
    """Which of all heads still train, and what of a batch and of an optimiser's state is theirs."""

    columns: torch.Tensor
    """Where they are among all heads [A]."""
    place: torch.Tensor
    """Where each of all heads is among them [K]; -1 for finished ones."""
    places: list[int]
    """The same, known without asking a device."""

    @classmethod
    def of(cls, remaining: Sequence[int], num_heads: int, device: torch.device) -> "Kept":
        """Keep some heads of all."""
        places = [-1] * num_heads
        for place, head in enumerate(remaining):
            places[head] = place
        return cls(torch.tensor(remaining, device=device), torch.tensor(places, device=device), places)

    def narrow(self, batch: EmotionBatch | PairBatch) -> EmotionBatch | PairBatch:
        """Leave finished heads out of a batch."""
        idle = tuple(self.places[head] for head in batch.idle if self.places[head] >= 0)
        num_labels = batch.num_labels.index_select(0, self.columns)
        if isinstance(batch, PairBatch):
            head, offs = self.place.index_select(0, batch.head), batch.offs.index_select(0, self.columns)
            few = batch._replace(head=head, offs=offs, num_labels=num_labels, idle=idle)
            # as a rule, the data gives their pairs no more
            told = len(batch.idle) - len(idle) == len(self.places) - len(self.columns)
            return few if told else _without_finished(few, batch.offs, self.columns)
        target, mask = batch.target.index_select(1, self.columns), batch.mask.index_select(1, self.columns)
        return batch._replace(target=target, mask=mask, num_labels=num_labels, idle=idle)

    def widen(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return an optimiser's state of all K heads, zeros for finished ones, from that of the remaining."""
        wide: dict[int, dict[str, torch.Tensor]] = {}
        for key, moments in state["state"].items():
            wide[key] = {}
            for name, value in moments.items():
                full = value.new_zeros(len(self.place), *value.shape[1:])
                wide[key][name] = full.index_copy_(0, self.columns.to(value.device), value)
        return {**state, "state": wide, "param_groups": _own_values(state, self.places)}


class Remaining(NamedTuple):
    """The heads that still train, after others have finished: a smaller stack of their own, so steps are cheaper."""

    heads: EmotionHeads
    """Copies of A of the K heads."""
    objective: Objective
    kept: Kept

    @classmethod
    def of(cls, heads: EmotionHeads, objective: Objective, remaining: Sequence[int]) -> "Remaining":
        """Copy the heads that remain out of all."""
        kept = Kept.of(remaining, heads.num_heads, objective.low.device)
        own = heads.select(remaining).train()  # heads finish while the module is being evaluated
        return cls(own, objective.select(kept.columns), kept)


def narrow_state(state: dict[str, Any], remaining: Sequence[int]) -> dict[str, Any]:
    """Return an optimiser's state of the remaining heads from that of all."""
    kept = {
        key: {name: value[list(remaining)] for name, value in moments.items()}
        for key, moments in state["state"].items()
    }
    return {**state, "state": kept, "param_groups": _own_values(state, remaining)}


def _own_values(state: dict[str, Any], places: Sequence[int]) -> list[dict[str, Any]]:
    """Return an optimiser's groups with each head's rate and decay taken from a place; 0 where that is -1."""
    names = ("lr_scale", "weight_decay")
    return [
        {**group, **{name: [0.0 if place < 0 else group[name][place] for place in places] for name in names}}
        for group in state["param_groups"]
    ]


def _without_finished(batch: PairBatch, offs: torch.Tensor, columns: torch.Tensor) -> PairBatch:
    """Leave out pairs whose head had not finished when a worker made the batch."""
    kept = batch.head >= 0
    counts = offs.diff(prepend=offs.new_zeros(1)).index_select(0, columns)
    parts = {name: getattr(batch, name)[kept] for name in ("inputs", "target", "head", "key")}
    return batch._replace(**parts, offs=counts.cumsum(0, dtype=torch.int32))


def mean_losses(sums: torch.Tensor, slugs: list[str], epoch: int) -> dict[str, float]:
    """Return an epoch's `train/loss` over heads and of each, as they are logged.

    Args:
        sums: sum over steps of each head's loss, and in how many it had labels [2, K].
        slugs: of the heads.
        epoch: which.

    Raises:
        DataError: no head has a finite loss, though there were labels.
    """
    mean = sums[0] / sums[1]  # without any label 0 / 0
    mean = torch.where(mean.isfinite(), mean, torch.nan).cpu()
    if bool(sums[1].any()) and mean.isnan().all():
        raise DataError(f"epoch {epoch}: training diverged, no head has a finite loss; lower model.lr")
    return {"train/loss": mean.nanmean().item(), **named("train/loss", mean.tolist(), slugs)}


def own_losses(of_all: torch.Tensor, rank: int, world_size: int) -> torch.Tensor:
    """Return a process's own `train_loss` [2, K] of those of all processes [P, 2, K], which a checkpoint holds.

    Each has the losses of its part of the steps, and the number of all steps. Another number of processes than P goes
    on with all parts in the first one.
    """
    if len(of_all) == world_size:
        return of_all[rank]
    return torch.stack([of_all[:, 0].sum(0) * (rank == 0), of_all[0, 1]])
