"""Pooled kappa of continuous scores, cut into levels so that their shares are those of the raters' mean rating.

The published second estimator. Cutting to the shares found on the judged images themselves uses their ratings: the name
of that result says `oracle`. Its held-out variant learns the cuts on half of the images and judges the other half.
"""

import math
from typing import Any

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
    sums,
)
from emonet_lightning.evaluation.kappa import RatingSums, kappa_of, rating_sums

Mask = NDArray[np.bool_]
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
    counts, judged = counted(weights, len(scores)), ~np.isnan(scores + gold)
    up_to = gold_counts(gold, judged, low, high, counts)
    found = np.full((len(counts), scores.shape[1]), np.nan)
    for k in range(scores.shape[1]):
        x = Ranking(scores[:, k], np.flatnonzero(judged[:, k]))
        if len(x.order):
            binned = Binned(x, up_to[:, k], column_of(pooled, k), low)
            for own in x.blocks(counts):
                found[own.block, k] = binned.oracle(own)
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
    counts, first = counted(weights, len(scores)), first_half(len(scores), seed)[:, None]
    halves = [~np.isnan(scores + gold) & half for half in (first, ~first)]
    up_to = [gold_counts(gold, half, low, high, counts) for half in halves]
    found = np.full((len(counts), scores.shape[1]), np.nan)
    for k in range(scores.shape[1]):
        one, two = (
            Binned(Ranking(scores[:, k], np.flatnonzero(half[:, k])), copies[:, k], column_of(pooled, k), low)
            for half, copies in zip(halves, up_to, strict=True)
        )
        found[:, k] = heldout_column(one, two, counts)
    return as_asked(found, weights)


def first_half(num_images: int, seed: int = HALVES_SEED) -> Mask:
    """Return which images are in the first half [N]."""
    first = np.zeros(num_images, dtype=bool)
    first[np.random.default_rng(seed).permutation(num_images)[: num_images // 2]] = True
    return first


def gold_counts(gold: Array, judged: Mask, low: float, high: float, weights: Array) -> Counts:
    """Return how many copies of judged images [N, K] have a gold level of at most l, in each draw [D, K, L - 1]."""
    under = (gold[..., None] <= np.arange(low, high)) & judged[..., None]
    num_images, *shape = under.shape
    found = sums(weights, under.reshape(num_images, math.prod(shape)).astype(np.float64))
    return found.reshape(len(weights), *shape).astype(np.int64)


class Binned:
    """Kappa of one column of scores, cut into levels, with all ratings of each image.

    Args:
        x: the scores, ranked over the images that are judged.
        up_to: how many copies of them have a gold level of at most l, in each draw [D, L - 1]: `gold_counts`.
        pooled: sums over the ratings of each image [N].
        low: lowest level.
    """

    def __init__(self, x: Ranking, up_to: Counts, pooled: RatingSums, low: float) -> None:
        self.x = x
        self.low = low
        self.up_to = up_to
        self.steps = 2 * (low + np.arange(up_to.shape[1])) + 1  # what a level more adds to its square
        self.number, self.total, self.square = (part[x.order].astype(np.int64) for part in pooled)

    def oracle(self, own: Drawn) -> Array:
        """Kappa [d] with the draw's own shares."""
        cuts = self.up_to[own.block]
        place = own.place(cuts)
        return self._kappa(own, place, cuts - np.take_along_axis(own.below, place, axis=1))

    def from_cuts(self, own: Drawn, cuts: Array) -> Array:
        """Kappa [d] where a score gets a level more for each cut [d, L - 1] that it reaches."""
        place = np.searchsorted(self.x.values, cuts, side="left")
        return self._kappa(own, place, np.zeros_like(place))

    def cuts(self, own: Drawn) -> Array:
        """Scores [d, L - 1] at the cumulative shares of gold: infinite where all or no copies are at most l."""
        up_to, last = self.up_to[own.block], own.total[:, None] - 1
        at = np.maximum(last, 0) * (up_to / np.maximum(own.total[:, None], 1))
        lower = np.floor(at).astype(np.int64)
        part = at - lower
        places = own.place(np.concatenate([lower, np.minimum(lower + 1, last)], axis=1))
        values = np.append(self.x.values, np.nan)  # NaN: a draw without copies
        a, b = np.split(values[places], 2, axis=1)
        # As numpy.quantile interpolates, to the last bit: a score may equal a cut.
        cut = np.where(part >= 0.5, b - (b - a) * (1 - part), a + (b - a) * part)
        return np.where(up_to == 0, -np.inf, np.where(up_to == own.total[:, None], np.inf, cut))

    def _kappa(self, own: Drawn, place: Counts, rest: Counts) -> Array:
        """Kappa [d] where copies from `place` on [d, L - 1], less the first `rest`, get a level more each."""
        numbers, totals = cumulative(own.counts * self.number), cumulative(own.counts * self.total)

        def above(below: Counts, of_copy: Counts) -> NDArray[Any]:
            before = np.take_along_axis(below, place, axis=1) + np.append(of_copy, 0)[place] * rest
            return below[:, -1:] - before

        more = above(numbers, self.number)
        n, sum_b = numbers[:, -1].astype(np.float64), totals[:, -1].astype(np.float64)
        return kappa_of(
            n=n,
            sum_a=self.low * n + more.sum(axis=1),
            sum_b=sum_b,
            sum_aa=self.low**2 * n + (more * self.steps).sum(axis=1),
            sum_bb=np.einsum("dn,n->d", own.times, self.square.astype(np.float64)),
            sum_ab=self.low * sum_b + above(totals, self.total).sum(axis=1),
        )


def heldout_column(one: Binned, two: Binned, weights: Array) -> Array:
    """As `kappa_binned_heldout`, of one column of scores in two halves [D]."""
    found = np.full(len(weights), np.nan)
    if min(len(one.x.order), len(two.x.order)) == 0:
        return found
    for left, right in zip(one.x.blocks(weights), two.x.blocks(weights), strict=True):
        both = (two.from_cuts(right, one.cuts(left)) + one.from_cuts(left, two.cuts(right))) / 2
        found[left.block] = np.where((left.total > 0) & (right.total > 0), both, np.nan)
    return found


def column_of(pooled: RatingSums, k: int) -> RatingSums:
    """Return the sums of one emotion [N]."""
    return RatingSums(*(part[:, k] for part in pooled))
