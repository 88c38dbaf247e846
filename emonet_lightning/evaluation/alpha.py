"""Krippendorff's alpha for all emotions and bootstrap draws, with missing ratings, from sums over units.

Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability". Units with fewer than two ratings do not take part.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from emonet_lightning.evaluation.columns import (
    Array,
    as_asked,
    column_mean,
    counted,
    float64,
    mean_rating,
    narrow,
    sums,
)

LevelOfMeasurement = Literal["nominal", "ordinal", "interval"]
_LARGEST_DENOMINATOR = 5040  # keeps sums of whole numbers small enough to be exact


def krippendorff_alpha(
    values: ArrayLike,
    level_of_measurement: LevelOfMeasurement = "interval",
    weights: ArrayLike | None = None,
    levels: ArrayLike | None = None,
) -> Array:
    """Return Krippendorff's alpha of the raters per emotion.

    Args:
        values: ratings [N, R, K]; NaN is missing. Who rated does not matter, only how often an image was.
        level_of_measurement: difference of two ratings: `nominal` (equal or not), `ordinal` (by the ranks that the
            draw's own ratings give to levels), `interval` (squared difference).
        weights: counts of images [D, N], from `draws`.
        levels: values that occur, in order, for nominal and ordinal; those found in the ratings by default.

    Returns:
        [K], or [D, K] with weights, at most 1; NaN where fewer than two different values can be paired.

    Raises:
        ValueError: unknown level of measurement, or a rating that is not among the levels.
    """
    ratings = float64(values)
    counts = narrow(counted(weights, len(ratings)))
    if level_of_measurement not in ("nominal", "ordinal", "interval"):
        raise ValueError(f"level_of_measurement must be nominal, ordinal or interval, got {level_of_measurement!r}")
    number = (~np.isnan(ratings)).sum(axis=1)
    ratings = np.where((number >= 2)[:, None], ratings, np.nan)
    # Within a unit of m ratings a pair weighs 1 / (m - 1): in whole numbers over a common denominator, if it is small.
    denominator = float(np.lcm.reduce(np.unique(number[number >= 2] - 1).astype(object), initial=1))
    denominator = denominator if denominator <= _LARGEST_DENOMINATOR else 1.0
    share = np.where(number >= 2, denominator / np.maximum(number - 1, 1), 0.0)
    if level_of_measurement == "interval":
        return as_asked(_interval(ratings, counts, share, denominator), weights)
    ordinal = level_of_measurement == "ordinal"
    found = np.full((len(counts), ratings.shape[2]), np.nan)
    for k in range(ratings.shape[2]):
        found[:, k] = _categories(ratings[..., k], counts, share[:, k], denominator, levels, ordinal=ordinal)
    return as_asked(found, weights)


def _interval(ratings: Array, counts: Array, share: Array, denominator: float) -> Array:
    # Alpha does not change with the origin; near zero, sums of squares keep their digits (and whole numbers stay so).
    origin = np.rint(np.nan_to_num(column_mean(mean_rating(ratings))))
    given = ~np.isnan(ratings)
    unit = np.where(given, ratings - origin, 0.0)
    m, total, square = given.sum(axis=1), unit.sum(axis=1), (unit**2).sum(axis=1)
    disagreement = 2 * (m * square - total**2) * share
    n, s1, s2, observed = np.split(sums(counts, np.concatenate([m, total, square, disagreement], axis=1)), 4, axis=1)
    # Of ratings that are no whole numbers, equal ones leave a rounding error in place of 0.
    expected = 2 * n * s2 - 2 * s1**2
    return _alpha(n, observed / denominator, np.where(expected > 1e-12 * n * s2, expected, 0.0))


def _categories(
    ratings: Array, counts: Array, share: Array, denominator: float, levels: ArrayLike | None, *, ordinal: bool
) -> Array:
    """Alpha of one emotion [D] from how often the levels meet in units; ratings [N, R]."""
    given = ratings[~np.isnan(ratings)]
    known = np.unique(given) if levels is None else float64(levels)
    if not np.isin(given, known).all():
        raise ValueError(f"rating {given[~np.isin(given, known)][0]:g} is not among the levels {known.tolist()}")
    held = (ratings[:, :, None] == known).sum(axis=1).astype(np.float64)  # ratings of each level [N, L]
    c, d = np.triu_indices(len(known), k=1)
    if ordinal:
        crossed = held[:, c] * held[:, d] * share[:, None]
    else:
        crossed = (held.sum(axis=1) ** 2 - (held**2).sum(axis=1))[:, None] / 2 * share[:, None]
    found = sums(counts, np.concatenate([held, crossed], axis=1))
    of_level, met = found[:, : len(known)], found[:, len(known) :] / denominator
    n = of_level.sum(axis=1)
    if not ordinal:
        return _alpha(n, 2 * met[:, 0], n**2 - (of_level**2).sum(axis=1))
    middle = np.cumsum(of_level, axis=1) - of_level / 2  # ranks, in the middle of each level's ratings
    distance = (middle[:, c] - middle[:, d]) ** 2
    return _alpha(n, 2 * (met * distance).sum(axis=1), 2 * (of_level[:, c] * of_level[:, d] * distance).sum(axis=1))


def _alpha(n: Array, observed: Array, expected: Array) -> Array:
    """Alpha from sums over ordered pairs; without different values nothing can be expected by chance."""
    defined = (n > 1) & (expected > 0)
    return np.where(defined, 1.0 - (n - 1) * observed / np.where(defined, expected, 1.0), np.nan)
