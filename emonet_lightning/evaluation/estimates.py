"""From draws to what is printed: means over sets of emotions with percentile intervals, and paired differences.

Values come as [1+B, K]: the sample itself first, then its draws. A mean over emotions is over those where the sample
has a value; a draw in which one of them has none is a mean over the others. How many are left out stands beside it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.evaluation.bootstrap import interval
from emonet_lightning.evaluation.columns import Array, column_mean

BIASED = 0.25
"""Draws whose mean lies further from the sample than this share of their standard deviation are biased (Efron)."""
Sets = dict[str, NDArray[np.bool_]]
"""Name -> which emotions [K]."""


def emotion_sets(alpha: Array, threshold: float) -> Sets:
    """Return `all`, `reliable` (alpha of the raters at least the threshold) and `rest`."""
    reliable = np.nan_to_num(alpha, nan=-np.inf) >= threshold
    return {"all": np.ones(len(alpha), dtype=bool), "reliable": reliable, "rest": ~reliable}


def varied(target: Array, weights: Array) -> NDArray[np.bool_]:
    """Return whether a target [N, K] takes more than one value in each draw [1+B, K]."""
    found = np.zeros((len(weights), target.shape[1]), dtype=bool)
    drawn = weights > 0
    for k in range(target.shape[1]):
        values = np.where(np.isnan(target[:, k]), -np.inf, target[:, k])
        highest = np.where(drawn, values, -np.inf).max(axis=1)
        lowest = np.where(drawn & np.isfinite(values), values, np.inf).min(axis=1)
        found[:, k] = highest > lowest
    return found


def count_constant_as_zero(values: Array, target_varied: NDArray[np.bool_], scored: NDArray[np.bool_]) -> Array:
    """Return values [1+B, K] in which an emotion without a value counts as 0, where target and scores would allow one.

    A system that gives every image the same score of an emotion has no correlation there; leaving it out would reward
    it for its dead heads.
    """
    return np.where(np.isnan(values) & target_varied & scored, 0.0, values)


def estimate(values: Array, chosen: NDArray[np.bool_], level: float, undefined: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the mean over the chosen emotions with its interval.

    Args:
        values: [1+B, K].
        chosen: the set of emotions [K].
        level: coverage of the interval.
        undefined: emotions without a value of their own [K], also those counted as 0.

    Returns:
        `value`, `low`, `high`, `bias`, `is_biased`, `num_emotions` in the mean, `num_undefined` in the set.
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


def point(values: Array, level: float) -> dict[str, Any]:
    """Return `value`, `low`, `high` and `bias` of one figure and its draws [1+B], None where undefined.

    `bias` is the mean of the draws minus the value; `is_biased` tells that it is more than a quarter of their standard
    deviation: the percentile interval is then off centre.
    """
    low, high = interval(values, level)
    drawn = values[1:][~np.isnan(values[1:])]
    bias = drawn.mean() - values[0] if len(drawn) else np.nan
    return {
        "value": number(values[0]),
        "low": number(low),
        "high": number(high),
        "bias": number(bias),
        "is_biased": bool(len(drawn) > 1 and abs(bias) > BIASED * drawn.std(ddof=1) + 1e-12),
    }


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
