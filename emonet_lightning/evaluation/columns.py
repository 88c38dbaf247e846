"""Columns of samples with gaps (NaN): means, ranks and correlations of all columns at once."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

Array = NDArray[np.float64]
MIN_VALUES = 3
"""A correlation of fewer values is undefined: two points always lie on a line."""


def float64(values: ArrayLike) -> Array:
    """Return values as float64."""
    return np.asarray(values, dtype=np.float64)


def ranks(values: ArrayLike) -> Array:
    """Return the average rank of each value within its column, 1 for the lowest [N, K]; NaN stays NaN."""
    values = float64(values)
    return np.asarray(rankdata(values, axis=0, nan_policy="omit"), dtype=np.float64).reshape(values.shape)


def paired(scores: ArrayLike, target: ArrayLike) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Blank the scores of unlabelled samples; say for which emotions [K] a labelled sample has no score."""
    scores, target = float64(scores), float64(target)
    if scores.shape != target.shape or scores.ndim != 2:
        raise ValueError(f"scores {scores.shape} and target {target.shape} must both be [N, K]")
    labelled = ~np.isnan(target)
    broken = np.asarray((np.isnan(scores) & labelled).any(axis=0))
    return np.where(labelled, scores, np.nan), target, broken


def column_mean(values: Array) -> Array:
    """Mean over the first axis of what is not NaN; NaN where nothing is."""
    given = ~np.isnan(values)
    count = given.sum(axis=0)
    return np.where(count > 0, np.where(given, values, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def correlation(a: Array, b: Array) -> Array:
    """Correlation per column over rows where both are given."""
    given = ~(np.isnan(a) | np.isnan(b))
    enough = given.sum(axis=0) >= MIN_VALUES
    if not enough.any():
        return np.full(a.shape[1], np.nan)
    (a, varied_a), (b, varied_b) = unit_columns(a, given), unit_columns(b, given)
    return np.where(enough & varied_a & varied_b, np.clip((a * b).sum(axis=0), -1.0, 1.0), np.nan)


def unit_columns(values: Array, given: NDArray[np.bool_]) -> tuple[Array, NDArray[np.bool_]]:
    """Centre columns and give them length 1 (not given: 0); say which vary at all.

    A column is constant if its values are equal, not if a sum of squares that is subject to rounding is 0.
    """
    high = np.where(given, values, -np.inf).max(axis=0)
    low = np.where(given, values, np.inf).min(axis=0)
    with np.errstate(invalid="ignore", over="ignore"):  # infinities: the correlation is undefined
        centred = np.where(given, values - column_mean(np.where(given, values, np.nan)), 0.0)
        # Dividing by the largest first keeps squares of tiny or huge values from underflow and overflow.
        scale = np.abs(centred).max(axis=0)
        centred = centred / np.where(scale > 0, scale, 1.0)
        length = np.sqrt((centred**2).sum(axis=0))
    return centred / np.where(length > 0, length, 1.0), (high > low) & (length > 0)
