"""Pooled kappa of continuous scores, cut into levels so that their shares are those of the raters' mean rating.

The published second estimator. Cutting to the shares found on the judged images themselves uses their ratings: the name
of that result says `oracle`. Its held-out variant learns the cuts on half of the images and judges the other half.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emonet_lightning.evaluation.columns import (
    Array,
    Counts,
    Drawn,
    Ranking,
    as_asked,
    counted,
    cumulative,
    float64,
    mean_rating,
)
from emonet_lightning.evaluation.kappa import RatingSums, kappa_of, rating_sums

HALVES_SEED = 3407


def gold_levels(slots: ArrayLike, low: float, high: float) -> Array:
    """Return the mean rating of each image, rounded half to even and clipped to the levels [N, K]; NaN: unrated."""
    return np.clip(np.rint(mean_rating(slots)), low, high)


def quantile_bin(scores: ArrayLike, gold: ArrayLike) -> Array:
    """Return scores as levels with the shares that levels have in gold: the lowest scores get the lowest level.

    Args:
        scores: [N, K], any scale; equal scores are told apart by their row.
        gold: levels [N, K].

    Returns:
        [N, K]; NaN where either is missing.
    """
    scores, gold = float64(scores), float64(gold)
    found = np.full(scores.shape, np.nan)
    for k in range(scores.shape[1]):
        rows = np.flatnonzero(~np.isnan(scores[:, k] + gold[:, k]))
        order = rows[np.argsort(scores[rows, k], kind="stable")]
        found[order, k] = np.sort(gold[rows, k])
    return found


def oracle_kappa_binned(
    scores: ArrayLike, slots: ArrayLike, low: float, high: float, weights: ArrayLike | None = None
) -> Array:
    """Return the kappa of quantile-binned scores with each single rating, pooled over rater positions.

    Binning (`quantile_bin`) is fitted anew in each draw; copies of an image stay together, and equal scores keep the
    order of the images.

    Args:
        scores: [N, K], any scale; NaN leaves the image out.
        slots: ratings [N, S, K]; NaN where an image has fewer.
        low: lowest level of the scale, a whole number.
        high: highest level of the scale, a whole number.
        weights: counts of images [D, N].

    Returns:
        [K], or [D, K] with weights; NaN with fewer than 2 pairs or without expected disagreement.
    """
    scores, gold, pooled = float64(scores), gold_levels(slots, low, high), rating_sums(slots, low, high)
    counts = counted(weights, len(scores))
    found = np.full((len(counts), scores.shape[1]), np.nan)
    for k in range(scores.shape[1]):
        rows = np.flatnonzero(~np.isnan(scores[:, k] + gold[:, k]))
        if len(rows):
            x = Ranking(scores[:, k], rows)
            found[:, k] = oracle_column(x, gold[:, k], _column(pooled, k), low, high, counts)
    return as_asked(found, weights)


def kappa_binned_heldout(
    scores: ArrayLike,
    slots: ArrayLike,
    low: float,
    high: float,
    weights: ArrayLike | None = None,
    seed: int = HALVES_SEED,
) -> Array:
    """Return the pooled kappa with cuts learnt on one half of the images and applied to the other, mean of both ways.

    The cuts are the quantiles (linear) of a half's scores at the cumulative shares of its gold levels. A draw counts
    the images of each half again: no image is in both.

    Args:
        scores: [N, K], any scale; NaN leaves the image out.
        slots: ratings [N, S, K]; NaN where an image has fewer.
        low: lowest level of the scale, a whole number.
        high: highest level of the scale, a whole number.
        weights: counts of images [D, N].
        seed: of the permutation of the images, of which the first half is one half.

    Returns:
        [K], or [D, K] with weights; NaN where either way is undefined.
    """
    scores, gold, pooled = float64(scores), gold_levels(slots, low, high), rating_sums(slots, low, high)
    counts, first = counted(weights, len(scores)), first_half(len(scores), seed)
    found = np.full((len(counts), scores.shape[1]), np.nan)
    for k in range(scores.shape[1]):
        known = ~np.isnan(scores[:, k] + gold[:, k])
        found[:, k] = heldout_column(scores[:, k], known, first, gold[:, k], _column(pooled, k), low, high, counts)
    return as_asked(found, weights)


def first_half(num_images: int, seed: int = HALVES_SEED) -> NDArray[np.bool_]:
    """Return which images are in the first half [N]."""
    first = np.zeros(num_images, dtype=bool)
    first[np.random.default_rng(seed).permutation(num_images)[: num_images // 2]] = True
    return first


def oracle_column(x: Ranking, gold: Array, pooled: RatingSums, low: float, high: float, weights: Array) -> Array:
    """As `oracle_kappa_binned`, of one column of scores ranked over the judged images; gold and sums [N]."""
    found = np.full(len(weights), np.nan)
    under, values = _under(gold[x.order], low, high), _in_order(pooled, x)
    for own in x.blocks(weights):
        cuts = (own.times @ under).astype(np.int64)  # copies that get a level up to l
        place = _place(own.below, cuts)
        rest = cuts - np.take_along_axis(own.below, place, axis=1)  # the image at the cut may be divided
        found[own.block] = _kappa_above(own, values, place, rest, low)
    return found


def heldout_column(
    scores: Array,
    known: NDArray[np.bool_],
    first: NDArray[np.bool_],
    gold: Array,
    pooled: RatingSums,
    low: float,
    high: float,
    weights: Array,
) -> Array:
    """As `kappa_binned_heldout`, of one column; all [N]; `known` says which images are judged."""
    found = np.full((2, len(weights)), np.nan)
    halves = [Ranking(scores, np.flatnonzero(known & half)) for half in (first, ~first)]
    if min(len(half.order) for half in halves) == 0:
        return found[0]
    for way, (fit, other) in enumerate((halves, halves[::-1])):
        under, values = _under(gold[fit.order], low, high), _in_order(pooled, other)
        for learnt, own in zip(fit.blocks(weights), other.blocks(weights), strict=True):
            cuts = _cuts(fit, learnt, (learnt.times @ under).astype(np.int64))
            place = np.searchsorted(other.values, cuts, side="left")
            kappa = _kappa_above(own, values, place, np.zeros_like(place), low)
            found[way, own.block] = np.where(learnt.below[:, -1] > 0, kappa, np.nan)
    return (found[0] + found[1]) / 2


def _cuts(fit: Ranking, learnt: Drawn, up_to: Counts) -> Array:
    """Scores [d, L - 1] from which a copy gets a higher level than l, `up_to` copies having at most l in the fit."""
    total = learnt.below[:, -1:]
    place = np.maximum(total - 1, 0) * (up_to / np.maximum(total, 1))
    floor = np.floor(place)
    part = place - floor
    lower = np.minimum(floor.astype(np.int64), np.maximum(total - 1, 0))
    upper = np.minimum(lower + 1, np.maximum(total - 1, 0))
    values = np.append(fit.values, fit.values[-1])  # for a draw without copies
    a, b = (values[_place(learnt.below, at)] for at in (lower, upper))
    # As numpy.quantile interpolates, to the last bit: a score may equal a cut.
    cut = np.where(part >= 0.5, b - (b - a) * (1 - part), a + (b - a) * part)
    return np.where(up_to == 0, -np.inf, np.where(up_to == total, np.inf, cut))


def _kappa_above(own: Drawn, values: Counts, place: Counts, rest: Counts, low: float) -> Array:
    """Kappa [d] where copies from `place` (and `rest` copies further) [d, L - 1] up get a level more each."""
    number, total, square = values
    below_number, below_total = cumulative(own.counts * number), cumulative(own.counts * total)
    steps = 2 * (low + np.arange(place.shape[1])) + 1  # (l + 1)^2 - l^2

    def above(below: Counts, value: Counts) -> Counts:
        at_cut = np.append(value, 0)[place] * rest
        return below[:, -1:] - np.take_along_axis(below, place, axis=1) - at_cut

    more_number, more_total = above(below_number, number), above(below_total, total)
    n, sum_b = below_number[:, -1].astype(np.float64), below_total[:, -1].astype(np.float64)
    return kappa_of(
        n=n,
        sum_a=low * n + more_number.sum(axis=1),
        sum_b=sum_b,
        sum_aa=low**2 * n + more_number @ steps,
        sum_bb=own.times @ square.astype(np.float64),
        sum_ab=low * sum_b + more_total.sum(axis=1),
    )


def _place(below: Counts, copies: Counts) -> Counts:
    """Last place [d, L] in the order with at most so many copies before it: a binary search in each row."""
    low, high = np.zeros_like(copies), np.full_like(copies, below.shape[1])
    for _ in range(below.shape[1].bit_length()):
        middle = (low + high) // 2
        fits = np.take_along_axis(below, np.minimum(middle, below.shape[1] - 1), axis=1) <= copies
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    return np.minimum(low, below.shape[1] - 1)


def _under(gold: Array, low: float, high: float) -> Array:
    """Whether a gold level [n] is at most l, for each level l but the highest [n, L - 1]."""
    return (gold[:, None] <= np.arange(low, high)).astype(np.float64)


def _in_order(pooled: RatingSums, x: Ranking) -> Counts:
    return np.stack([part[x.order] for part in pooled]).astype(np.int64)


def _column(pooled: RatingSums, k: int) -> RatingSums:
    return RatingSums(*(part[:, k] for part in pooled))
