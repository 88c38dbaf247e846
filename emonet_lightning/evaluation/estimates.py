"""From draws to what is printed: means over sets of emotions with percentile intervals, and paired differences.

Values come as [1+B, K]: the sample itself first, then its draws. A mean over emotions is over those where the sample
has a value, the same in every draw; how many are left out stands beside it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.evaluation.bootstrap import interval
from emonet_lightning.evaluation.columns import Array, column_mean

Sets = dict[str, NDArray[np.bool_]]
"""Name -> which emotions [K]."""


def emotion_sets(alpha: Array, threshold: float) -> Sets:
    """Return `all`, `reliable` (alpha of the raters at least the threshold) and `rest`."""
    reliable = np.nan_to_num(alpha, nan=-np.inf) >= threshold
    return {"all": np.ones(len(alpha), dtype=bool), "reliable": reliable, "rest": ~reliable}


def count_constant_as_zero(values: Array, target_defined: NDArray[np.bool_], scored: NDArray[np.bool_]) -> Array:
    """Return values [1+B, K] in which an emotion without a value counts as 0, where target and scores would allow one.

    A system that gives every image the same score of an emotion has no correlation there; leaving it out would reward
    it for its dead heads.
    """
    constant = np.isnan(values[0]) & target_defined & scored
    return np.where(constant, 0.0, values)


def estimate(values: Array, chosen: NDArray[np.bool_], level: float, undefined: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the mean over the chosen emotions with its interval.

    Args:
        values: [1+B, K].
        chosen: the set of emotions [K].
        level: coverage of the interval.
        undefined: emotions without a value of their own [K], also those counted as 0.

    Returns:
        `value`, `low`, `high`, `num_emotions` in the mean, `num_undefined` in the set.
    """
    used = chosen & ~np.isnan(values[0])
    means = column_mean(values[:, used].T) if used.any() else np.full(len(values), np.nan)
    return {
        **point(means, level),
        "num_emotions": int(used.sum()),
        "num_undefined": int((chosen & undefined).sum()),
    }


def difference(first: Array, second: Array, chosen: NDArray[np.bool_], level: float) -> dict[str, Any]:
    """Return first minus second [1+B, K each], mean over the chosen emotions where both have a value, with interval."""
    used = chosen & ~np.isnan(first[0]) & ~np.isnan(second[0])
    means = column_mean((first - second)[:, used].T) if used.any() else np.full(len(first), np.nan)
    found = point(means, level)
    return {"difference": found.pop("value"), **found, "num_emotions": int(used.sum())}


def point(values: Array, level: float) -> dict[str, float | None]:
    """Return `value`, `low` and `high` of one figure and its draws [1+B]; None where undefined."""
    low, high = interval(values, level)
    return {"value": number(values[0]), "low": number(low), "high": number(high)}


def summary(values: Array, own: Array, num: Array, sets: Sets, level: float) -> dict[str, Any]:
    """Return a metric's means over sets of emotions, and its value of each emotion.

    Args:
        values: what goes into the means [1+B, K].
        own: the values themselves [1+B, K], undefined ones NaN.
        num: images behind each emotion's value [K].
        sets: of emotions.
        level: coverage of the intervals.
    """
    low, high = interval(own, level)
    undefined = np.isnan(own[0])
    return {
        "sets": {name: estimate(values, chosen, level, undefined) for name, chosen in sets.items()},
        "per_emotion": {
            "value": numbers(own[0]),
            "low": numbers(np.where(undefined, np.nan, low)),
            "high": numbers(np.where(undefined, np.nan, high)),
            "n": [int(n) for n in num],
        },
    }


def number(value: Any) -> float | None:
    """Return a float, None for NaN."""
    return None if np.isnan(value) else float(value)


def numbers(values: Array) -> list[float | None]:
    """Return floats, None for NaN."""
    return [number(value) for value in values.tolist()]
