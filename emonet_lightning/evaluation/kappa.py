"""Cohen's kappa with quadratic weights, for all emotions, pairs of raters and bootstrap draws, from sums of levels.

kappa = 1 - sum (a - b)^2 / (sum a^2 + sum b^2 - 2 sum a sum b / n): sums of whole numbers, hence exact in any order. No
confusion table is built; the trade-off is that only quadratic weights can be had this way.
"""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emonet_lightning.evaluation.columns import Array, as_asked, column_mean, counted, float64, narrow, sums

Rule = Literal["truncate", "round"]
RULES: tuple[Rule, ...] = ("truncate", "round")
_FEW_RATERS = 32  # up to here all draws of a pair at once, above all pairs of a draw at once
_CELLS = 4_000_000  # samples (or draws) x pairs x sums held at once


def to_levels(values: ArrayLike, low: float, high: float, rule: Rule) -> Array:
    """Return values as levels, NaN where missing or, under `truncate`, off the scale (rules: `quadratic_kappa`)."""
    values = float64(values)
    if rule == "truncate":
        levels = np.trunc(values) + 0.0  # no negative zero
        return np.where((levels >= low) & (levels <= high), levels, np.nan)
    if rule == "round":
        return np.clip(np.rint(values), low, high)
    raise ValueError(f"rule must be 'truncate' or 'round', got {rule!r}")


def quadratic_kappa(
    a: ArrayLike, b: ArrayLike, low: float, high: float, rule: Rule = "truncate", weights: ArrayLike | None = None
) -> Array:
    """Return Cohen's kappa with quadratic weights per emotion.

    Args:
        a: first rater or system [N, K]; NaN is missing.
        b: second rater [N, K]; NaN is missing.
        low: lowest level of the scale.
        high: highest level of the scale.
        rule: how values become levels: `truncate` as the released analysis does (toward zero; a level outside
            low..high leaves the table with its pair), or `round` (nearest level, halves to even, then clipped).
        weights: counts of samples [D, N], from `draws`.

    Returns:
        [K], or [D, K] with weights; NaN with fewer than 2 samples or where both sides are the same constant (0/0).
    """
    first, second = to_levels(a, low, high, rule), to_levels(b, low, high, rule)
    found = _paired_kappa(first, second, counted(weights, len(first)))
    return as_asked(found, weights)


def rater_kappa(
    values: ArrayLike, low: float, high: float, rule: Rule = "truncate", weights: ArrayLike | None = None
) -> Array:
    """Return the kappa of every pair of raters on the samples that both rated.

    Args:
        values: ratings [N, R, K]; NaN where a rater did not answer.
        low: lowest level of the scale.
        high: highest level of the scale.
        rule: as in `quadratic_kappa`.
        weights: counts of samples [D, N].

    Returns:
        [R, R, K], or [D, R, R, K] with weights; NaN where undefined, and on the diagonal.
    """
    levels = to_levels(values, low, high, rule)
    counts = narrow(counted(weights, len(levels)))
    num_raters, num_emotions = levels.shape[1:]
    pairs = np.full((len(counts), num_raters, num_raters, num_emotions), np.nan)
    for k in range(num_emotions):
        active = _active(levels[:, :, k])
        for block, kappa in _pairs_of_emotion(levels[:, active, k], counts):
            pairs[block, active[:, None], active, k] = kappa
    return as_asked(pairs, weights)


def mean_rater_kappa(
    values: ArrayLike, low: float, high: float, rule: Rule = "truncate", weights: ArrayLike | None = None
) -> Array:
    """Return each rater's mean kappa with the others, over defined pairs: [R, K], or [D, R, K] with weights.

    Arguments as in `rater_kappa`, whose pairs are not held all at once here.
    """
    levels = to_levels(values, low, high, rule)
    counts = narrow(counted(weights, len(levels)))
    means = np.full((len(counts), *levels.shape[1:]), np.nan)
    for k in range(levels.shape[2]):
        active = _active(levels[:, :, k])
        for block, kappa in _pairs_of_emotion(levels[:, active, k], counts):
            means[block, active, k] = column_mean(kappa, axis=1)
    return as_asked(means, weights)


def system_kappa(
    scores: ArrayLike,
    values: ArrayLike,
    low: float,
    high: float,
    rule: Rule = "truncate",
    weights: ArrayLike | None = None,
) -> Array:
    """Return the kappa of a system with each rater.

    Args:
        scores: [N, K] on the scale of the ratings; NaN is missing.
        values: ratings [N, R, K]; NaN where a rater did not answer.
        low: lowest level of the scale.
        high: highest level of the scale.
        rule: as in `quadratic_kappa`; whole-number ratings are the same under both.
        weights: counts of samples [D, N].

    Returns:
        [R, K], or [D, R, K] with weights; NaN where undefined.
    """
    levels, ratings = to_levels(scores, low, high, rule), to_levels(values, low, high, rule)
    counts = narrow(counted(weights, len(levels)))
    found = np.full((len(counts), *ratings.shape[1:]), np.nan)
    rater, emotion = np.nonzero((~np.isnan(ratings)).any(axis=0))
    width = max(1, _CELLS // (6 * max(len(levels), len(counts))))
    for start in range(0, len(rater), width):
        r, k = rater[start : start + width], emotion[start : start + width]
        found[:, r, k] = _paired_kappa(levels[:, k], ratings[:, r, k], counts)
    return as_asked(found, weights)


def pooled_rater_kappa(slots: ArrayLike, low: float, high: float, weights: ArrayLike | None = None) -> Array:
    """Return one kappa per emotion over the concatenated ratings of all pairs of positions s < t: the human anchor.

    Args:
        slots: ratings by position [N, S, K], not by rater; NaN where an image has fewer.
        low: lowest level of the scale.
        high: highest level of the scale.
        weights: counts of images [D, N].

    Returns:
        [K], or [D, K] with weights.
    """
    levels = to_levels(slots, low, high, "round")
    given = ~np.isnan(levels)
    levels = np.where(given, levels, 0.0)
    later = given[:, ::-1].cumsum(axis=1)[:, ::-1] - given  # how many ratings follow; each pairs with this one
    earlier = given.cumsum(axis=1) - given
    total, square = levels.sum(axis=1), (levels**2).sum(axis=1)
    moments = np.stack(
        [
            (given * later).sum(axis=1).astype(np.float64),
            (levels * later).sum(axis=1),
            (levels * earlier).sum(axis=1),
            (levels**2 * later).sum(axis=1),
            (levels**2 * earlier).sum(axis=1),
            (total**2 - square) / 2,
        ],
        axis=1,
    )
    return as_asked(_kappa_of_moments(moments, counted(weights, len(levels))), weights)


def pooled_system_kappa(
    levels: ArrayLike, slots: ArrayLike, low: float, high: float, weights: ArrayLike | None = None
) -> Array:
    """Return one kappa per emotion over the concatenated pairs of a system's level and each rating of the image.

    Args:
        levels: [N, K], rounded to the nearest level here; NaN leaves the image out.
        slots: ratings [N, S, K]; NaN where an image has fewer.
        low: lowest level of the scale.
        high: highest level of the scale.
        weights: counts of images [D, N].

    Returns:
        [K], or [D, K] with weights.
    """
    a = to_levels(levels, low, high, "round")
    pooled = rating_sums(slots, low, high)
    rated = ~np.isnan(a)
    a = np.where(rated, a, 0.0)
    number, total, square = (np.where(rated, part, 0.0) for part in pooled)
    moments = np.stack([number, a * number, total, a**2 * number, square, a * total], axis=1)
    return as_asked(_kappa_of_moments(moments, counted(weights, len(a))), weights)


class RatingSums(NamedTuple):
    """Sums over the ratings of each image [N, K]."""

    number: Array
    total: Array
    square: Array


def rating_sums(slots: ArrayLike, low: float, high: float) -> RatingSums:
    """Return number, sum and sum of squares of the levels of each image's ratings [N, S, K]."""
    levels = to_levels(slots, low, high, "round")
    given = ~np.isnan(levels)
    levels = np.where(given, levels, 0.0)
    return RatingSums(given.sum(axis=1).astype(np.float64), levels.sum(axis=1), (levels**2).sum(axis=1))


def kappa_of(n: Array, sum_a: Array, sum_b: Array, sum_aa: Array, sum_bb: Array, sum_ab: Array) -> Array:
    """Return kappa from the number of pairs and the sums of their levels; NaN with n < 2 or no expected disagreement.

    Sums of levels are whole and exact, so n times the expected disagreement is 0 exactly where kappa is undefined.
    """
    expected = n * (sum_aa + sum_bb) - 2 * sum_a * sum_b
    observed = n * (sum_aa + sum_bb - 2 * sum_ab)
    defined = (n >= 2) & (expected > 0)
    return np.where(defined, 1.0 - observed / np.where(defined, expected, 1.0), np.nan)


def _active(levels: Array) -> NDArray[np.intp]:
    """Raters of one emotion [N, R] who rated it: thousands may each know one."""
    return np.flatnonzero((~np.isnan(levels)).any(axis=0))


def _pairs_of_emotion(levels: Array, counts: Array) -> Iterator[tuple[slice, Array]]:
    """Yield draws and their kappa of all pairs of columns [d, R, R] of levels [N, R]; NaN on the diagonal."""
    num_raters = levels.shape[1]
    given = (~np.isnan(levels)).astype(np.float64)
    if num_raters <= _FEW_RATERS:
        i, j = np.triu_indices(num_raters, k=1)
        found = np.full((len(counts), num_raters, num_raters), np.nan)
        if given.all():  # sums do not depend on the partner
            single = sums(
                counts, np.concatenate([given[:, :1], levels, levels**2, levels[:, i] * levels[:, j]], axis=1)
            )
            n, total, square, product = np.split(single, [1, 1 + num_raters, 1 + 2 * num_raters], axis=1)
            kappa = kappa_of(n, total[:, i], total[:, j], square[:, i], square[:, j], product)
        else:
            kappa = _paired_kappa(levels[:, i], levels[:, j], counts)
        found[:, i, j] = found[:, j, i] = kappa
        yield slice(None), found
        return
    levels = np.where(given > 0, levels, 0.0)
    for draw, row in enumerate(counts):
        times = row[:, None]
        # Row i, column j sums rater i's levels over the samples that rater j rated too.
        total, square = (levels * times).T @ given, (levels**2 * times).T @ given
        together = (given * times).T @ given
        kappa = kappa_of(together, total, total.T, square, square.T, (levels * times).T @ levels)
        np.fill_diagonal(kappa, np.nan)
        yield slice(draw, draw + 1), kappa[None]


def _paired_kappa(first: Array, second: Array, counts: Array) -> Array:
    """Kappa of paired columns of levels [N, P] under counts [D, N]: [D, P]."""
    both = ~(np.isnan(first) | np.isnan(second))
    a, b = np.where(both, first, 0.0), np.where(both, second, 0.0)
    return _kappa_of_moments(np.stack([both.astype(np.float64), a, b, a * a, b * b, a * b], axis=1), counts)


def _kappa_of_moments(moments: Array, counts: Array) -> Array:
    """Kappa [D, P] from each sample's number of pairs and sums of levels [N, 6, P]."""
    num_samples, *shape = moments.shape
    found = sums(counts, moments.reshape(num_samples, math.prod(shape))).reshape(len(counts), *shape)
    return kappa_of(*np.moveaxis(found, 1, 0))
