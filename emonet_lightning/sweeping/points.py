"""Trials as points of an experiment: which factors they vary, and which of them differ in one factor alone."""

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from emonet_lightning.errors import DataError
from emonet_lightning.evaluation.columns import Array

SEED = "seed_everything"
"""The factor that is drawn, not chosen: trials that differ in nothing else are repetitions."""


class Scored(NamedTuple):
    """A finished trial and how it scored."""

    factors: dict[str, Hashable]
    """Level of each varied option, but for the seed."""
    seed: int
    values: Array
    """Score on the validation images [1+B]: as they are, then under each draw of them."""
    seconds: float = float("nan")
    num_parameters: int = 0


class Key(NamedTuple):
    """What two trials of a pair have in common."""

    others: tuple[tuple[str, Hashable], ...]
    seed: int


def factors_of(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the options that take more than one value over the points, the seed left out."""
    names = dict.fromkeys(name for point in points for name in point if name != SEED)
    return [name for name in names if len({level(point.get(name)) for point in points}) > 1]


def level(value: Any) -> Hashable:
    """Return a value as a level: lists and mappings become their JSON text."""
    return json.dumps(value, sort_keys=True) if isinstance(value, list | dict) else value


def comparable(factors: Sequence[Mapping[str, Hashable]], factor: str) -> list[int]:
    """Return places of trials whose other factors occur with every level of a factor; all trials if none do.

    Means of levels over these differ by the factor alone, also where only one factor is changed at a time.

    Args:
        factors: of each trial.
        factor: whose levels are to be compared.
    """
    others = [tuple(sorted((k, v) for k, v in one.items() if k != factor)) for one in factors]
    levels = {one[factor] for one in factors}
    seen: dict[Hashable, set[Hashable]] = {}
    for other, one in zip(others, factors, strict=True):
        seen.setdefault(other, set()).add(one[factor])
    return [place for place, other in enumerate(others) if seen[other] == levels] or list(range(len(factors)))


def pair_by(trials: Sequence[Scored], factor: str, first: Hashable, second: Hashable) -> dict[Key, Array]:
    """Return score differences [1+B] of trials that differ in one factor alone, by what they have in common.

    Raises:
        DataError: two trials are the same point with the same seed: one of them would be left out silently.
    """
    sides: tuple[dict[Key, Array], dict[Key, Array]] = ({}, {})
    for trial in trials:
        for side, wanted in zip(sides, (first, second), strict=True):
            if trial.factors[factor] == wanted:
                others = tuple(sorted((k, v) for k, v in trial.factors.items() if k != factor))
                key = Key(others, trial.seed)
                if key in side:
                    raise DataError(f"two trials have {factor} {wanted} and seed {trial.seed} and differ in nothing")
                side[key] = trial.values
    return {key: value - sides[1][key] for key, value in sides[0].items() if key in sides[1]}
