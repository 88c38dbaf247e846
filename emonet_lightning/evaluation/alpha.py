"""Krippendorff's alpha for all emotions and bootstrap draws, with missing ratings, from sums over units.

Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability". Units with fewer than two ratings do not take part.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from emonet_lightning.evaluation.columns import Array, as_asked, counted, float64, sums

LevelOfMeasurement = Literal["nominal", "ordinal", "interval"]


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
    counts = counted(weights, len(ratings))
    if level_of_measurement not in ("nominal", "ordinal", "interval"):
        raise ValueError(f"level_of_measurement must be nominal, ordinal or interval, got {level_of_measurement!r}")
    found = np.full((len(counts), ratings.shape[2]), np.nan)
    number = (~np.isnan(ratings)).sum(axis=1)
    for k in range(ratings.shape[2]):
        # Units as columns of their own ratings: images that nobody or one person rated are out.
        rows = np.flatnonzero(number[:, k] >= 2)
        if not len(rows):
            continue
        unit, times = ratings[rows, :, k], counts[:, rows]
        share = _shares(number[rows, k])
        if level_of_measurement == "interval":
            found[:, k] = _interval(unit, times, *share)
        else:
            found[:, k] = _categories(unit, times, *share, levels, ordinal=level_of_measurement == "ordinal")
    return as_asked(found, weights)


def _shares(number: np.ndarray) -> tuple[Array, float]:
    """Weight of a pair within units of m ratings, 1 / (m - 1), as whole numbers over a common denominator if small."""
    denominator = float(np.lcm.reduce(np.unique(number - 1).astype(object)))
    if denominator > 5040:
        denominator = 1.0
    return denominator / (number - 1), denominator


def _interval(unit: Array, times: Array, share: Array, denominator: float) -> Array:
    given = ~np.isnan(unit)
    # Alpha does not change with the origin; near zero, sums of squares keep their digits (and whole numbers stay so).
    unit = np.where(given, unit - np.rint(np.mean(unit[given])), 0.0)
    m, total, square = given.sum(axis=1), unit.sum(axis=1), (unit**2).sum(axis=1)
    disagreement = 2 * (m * square - total**2) * share
    n, s1, s2, observed = sums(times, np.stack([m, total, square, disagreement], axis=1)).T
    # Of ratings that are no whole numbers, equal ones leave a rounding error in place of 0.
    expected = 2 * n * s2 - 2 * s1**2
    return _alpha(n, observed / denominator, np.where(expected > 1e-12 * n * s2, expected, 0.0))


def _categories(
    unit: Array, times: Array, share: Array, denominator: float, levels: ArrayLike | None, *, ordinal: bool
) -> Array:
    given = unit[~np.isnan(unit)]
    known = np.unique(given) if levels is None else float64(levels)
    if not np.isin(given, known).all():
        raise ValueError(f"rating {given[~np.isin(given, known)][0]:g} is not among the levels {known.tolist()}")
    held = (unit[:, :, None] == known).sum(axis=1).astype(np.float64)  # ratings of each level [n, L]
    c, d = np.triu_indices(len(known), k=1)
    if ordinal:
        crossed = held[:, c] * held[:, d] * share[:, None]
    else:
        crossed = (held.sum(axis=1) ** 2 - (held**2).sum(axis=1))[:, None] / 2 * share[:, None]
    found = sums(times, np.concatenate([held, crossed], axis=1))
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
