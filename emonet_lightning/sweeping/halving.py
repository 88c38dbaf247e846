"""Successive halving: train many configurations for a while, go on with the better ones only.

Jamieson and Talwalkar 2016 (arXiv 1502.07943), with one difference: the learning rate's schedule is that of the full
length for all, so that the winner's training is that of a run of its own, to the last bit of its schedule. What is
dropped was judged at a high rate, which favours configurations that are fast at the beginning.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from emonet_lightning.errors import UsageError
from emonet_lightning.sweeping.configurations import Configuration


class Rung(NamedTuple):
    """How long a number of configurations is trained."""

    share: float
    """Of all epochs."""
    keep: int
    """How many go on afterwards."""


class Segment(NamedTuple):
    """Epochs between two decisions."""

    start: int
    stop: int
    keep: int | None
    """How many go on; None at the end."""


@dataclass(frozen=True)
class Halving:
    """When configurations are dropped, and by what.

    With 8 configurations the default trains 8 for 1/8 of the epochs, 2 for the next 1/8 and 1 for the rest: twice the
    work of one, where that divides the epochs.
    """

    rungs: tuple[Rung, ...] = (Rung(1 / 8, 2), Rung(1 / 8, 1))
    by: Literal["configuration", "emotion"] = "configuration"
    """`configuration`: the best by `val/score` over emotions go on; `emotion`: each emotion's best heads do."""

    def segments(self, max_epochs: int) -> list[Segment]:
        """Return how the epochs are cut; every rung has at least one epoch.

        Raises:
            UsageError: rungs that leave no epoch, or keep none or more than before.
        """
        found: list[Segment] = []
        start, passed = 0, 0.0
        for rung in self.rungs:
            if not 0 < rung.share < 1 or rung.keep < 1 or (found and rung.keep > (found[-1].keep or 0)):
                raise UsageError(
                    f"halving: {rung} needs a share in (0, 1), and to keep at least 1 and no more than before"
                )
            passed += rung.share
            stop = max(start + 1, math.floor(passed * max_epochs + 1e-9))
            found.append(Segment(start, stop, rung.keep))
            start = stop
        if start >= max_epochs:
            raise UsageError(f"halving: {len(self.rungs)} rungs leave none of {max_epochs} epochs; raise max_epochs")
        return [*found, Segment(start, max_epochs, None)]

    def drop(self, configurations: Sequence[Configuration], keep: int) -> None:
        """Let all but the best end: whole configurations, or single heads of them."""
        alive = [each for each in configurations if not each.error]
        if self.by == "configuration":
            ranked = sorted(alive, key=lambda each: _order(each.score, each.number))
            for each in ranked[keep:]:
                _end(each, [*range(each.module.heads.num_heads)], keep)
            return
        for head in range(alive[0].module.heads.num_heads) if alive else ():
            candidates = [each for each in alive if head not in each.dropped]
            ranked = sorted(candidates, key=lambda each: _order(each.head_score(head), each.number))
            for each in ranked[keep:]:
                _end(each, [head], keep)


def _end(configuration: Configuration, heads: Sequence[int], keep: int) -> None:
    was = bool(configuration.remaining)
    configuration.dropped.update(heads)
    configuration.finish(heads)
    if was and not configuration.remaining:
        configuration.ended = f"not among the best {keep} by val/score after epoch {configuration.epochs - 1}"


def _order(score: float, number: int) -> tuple[float, int]:
    """Best first; without a score last; equals in the order they were given."""
    return (math.inf if math.isnan(score) else -score, number)
