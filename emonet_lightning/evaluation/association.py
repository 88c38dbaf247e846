"""Association of scores with a target: correlations, errors, average precision and AUROC, per emotion and draw.

Scores and target are [N, K] with NaN for what was not asked; a labelled sample without a score leaves its emotion
without a figure (NaN), as a head that diverged. Weights are counts of samples [D, N] from `draws`: the answer is then
[D, K], equal to the statistic of the resampled rows, else [K].
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emonet_lightning.evaluation.columns import (
    MIN_VALUES,
    Array,
    Drawn,
    Ranking,
    as_asked,
    column_mean,
    counted,
    cumulative,
    float64,
    paired,
    ratio,
)

Mask = NDArray[np.bool_]


def spearman(scores: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Return the rank correlation per emotion, ties sharing their average rank.

    Args:
        scores: predictions [N, K], any scale.
        target: annotations [N, K]; NaN is a question not asked.
        weights: counts of samples [D, N].

    Returns:
        [K] or [D, K] in -1..1; NaN where either side is constant, fewer than 3 samples are labelled, or a labelled
        sample's score is NaN.
    """
    return _by_column(lambda x, y, weights: correlations(x, y, weights).spearman, scores, target, weights)


def pearson(scores: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Return the linear correlation per emotion; arguments and undefined cases as in `spearman`."""
    return _by_column(lambda x, y, weights: correlations(x, y, weights).pearson, scores, target, weights)


def mae(scores: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Return the mean absolute error per emotion, in units of the target; NaN where nothing is labelled."""
    return _mean_by_column(np.abs, scores, target, weights)


def rmse(scores: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Return the root mean squared error per emotion, in units of the target; NaN where nothing is labelled."""
    return np.sqrt(_mean_by_column(np.square, scores, target, weights))


def average_precision(scores: ArrayLike, positive: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Return the average precision per emotion: the sum of precision x step of recall over distinct thresholds.

    Args:
        scores: predictions [N, K], higher for yes.
        positive: 1 for yes, 0 for no, NaN for a question not asked [N, K].
        weights: counts of samples [D, N].

    Returns:
        [K] or [D, K] in 0..1, as `sklearn.metrics.average_precision_score` on the labelled rows (equal scores count
        together); NaN without a yes, without a no, or where a labelled score is NaN.
    """
    return _by_column(lambda x, y, weights: detection(x, y.column > 0, weights)[0], scores, positive, weights)


def auroc(scores: ArrayLike, positive: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Return the area under the ROC curve per emotion, ties counting half; arguments as in `average_precision`."""
    return _by_column(lambda x, y, weights: detection(x, y.column > 0, weights)[1], scores, positive, weights)


class Correlations(NamedTuple):
    """Of one column with one target, per draw [D]."""

    spearman: Array
    pearson: Array


def correlations(x: Ranking, y: Ranking, weights: Array) -> Correlations:
    """Return rank and linear correlation of two columns ranked over the same rows, under weights [D, N]."""
    found = Correlations(np.full(len(weights), np.nan), np.full(len(weights), np.nan))
    if len(x.order) < MIN_VALUES:
        return found
    group = np.zeros(len(y.column), dtype=np.intp)
    group[y.order] = y.code
    group = group[x.order]  # of the target's equal values, in the order of the scores
    # Dividing by the largest first keeps squares of tiny or huge values from underflow and overflow.
    scaled_x, scaled_y = _scaled(x.values), _scaled(y.column[x.order])
    for own, goal in zip(x.blocks(weights), y.blocks(weights), strict=True):
        total = own.below[:, -1:]
        spread_x, spread_y = x.spread(own.below), y.spread(goal.below)
        defined = (total[:, 0] >= MIN_VALUES) & (spread_x > 0) & (spread_y > 0)
        ranks_x = (x.doubled(own.below) - total).astype(np.float64)
        ranks_y = np.take((y.by_group(goal.below) - total).astype(np.float64), group, axis=1)
        both = np.einsum("dn,dn,dn->d", own.times, ranks_x, ranks_y)
        found.spearman[own.block] = _correlation(both, spread_x, spread_y, defined)
        with np.errstate(invalid="ignore"):  # infinities: the correlation is undefined
            found.pearson[own.block] = _correlation(*_moments(scaled_x, scaled_y, own.times), defined)
    return found


def detection(x: Ranking, yes: Mask, weights: Array) -> tuple[Array, Array]:
    """Return average precision and AUROC [D] of one column for yes [N], under weights [D, N]."""
    precision, area = np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    places = np.flatnonzero(yes[x.order])
    if not len(places):
        return precision, area
    # A threshold admits all rows of equal score, so a row is counted with those from the start of its group up.
    start = x.first[places]
    yes_before = np.searchsorted(places, start)
    for own in x.blocks(weights):
        times = np.take(own.times, places, axis=1)
        below = cumulative(np.take(own.counts, places, axis=1))
        num_yes = below[:, -1]
        num_no = own.below[:, -1] - num_yes
        admitted = own.below[:, -1:] - np.take(own.below, start, axis=1)
        hits = num_yes[:, None] - np.take(below, yes_before, axis=1)
        both = num_yes * num_no
        steps = np.einsum("dn,dn->d", times, hits / np.maximum(admitted, 1))
        precision[own.block] = np.where(both > 0, ratio(steps, num_yes), np.nan)
        ranks = _doubled_at(x, own, places)
        wins = np.einsum("dn,dn->d", times, ranks.astype(np.float64)) - num_yes.astype(np.float64) ** 2
        area[own.block] = ratio(wins, 2 * both)
    return precision, area


def weighted_mean(values: Array, times: Array) -> Array:
    """Mean of values [n] under counts [D, n]; NaN where there are none."""
    return ratio(np.einsum("dn,n->d", times, values), times.sum(axis=1))


def _doubled_at(x: Ranking, own: Drawn, places: NDArray[np.intp]) -> NDArray[np.int64]:
    ends = x.ends[x.code[places]]
    return np.take(own.below, x.first[places], axis=1) + np.take(own.below, ends, axis=1)


def _scaled(values: Array) -> Array:
    with np.errstate(invalid="ignore", over="ignore"):
        # The median keeps the digits of most values when a few are huge, and of all when their offset is.
        centred = values - np.median(values)
        largest = np.abs(centred).max()
        return centred / largest if largest > 0 else centred


def _moments(x: Array, y: Array, times: Array) -> tuple[Array, Array, Array]:
    """Centred product and squares [d] of columns [n], each draw about its own means."""
    x = x - weighted_mean(x, times)[:, None]
    y = y - weighted_mean(y, times)[:, None]
    return (
        np.einsum("dn,dn,dn->d", times, x, y),
        np.einsum("dn,dn,dn->d", times, x, x),
        np.einsum("dn,dn,dn->d", times, y, y),
    )


def _correlation(both: Array, square_x: Array, square_y: Array, defined: Mask) -> Array:
    product = np.sqrt(square_x) * np.sqrt(square_y)
    defined = defined & (product > 0)
    return np.where(defined, np.clip(both / np.where(defined, product, 1.0), -1.0, 1.0), np.nan)


def _by_column(
    statistic: Callable[[Ranking, Ranking, Array], Array],
    scores: ArrayLike,
    target: ArrayLike,
    weights: ArrayLike | None,
) -> Array:
    scores, target, broken = paired(scores, target)
    counts = counted(weights, len(scores))
    found = np.full((len(counts), scores.shape[1]), np.nan)
    for k in np.flatnonzero(~broken):
        rows = np.flatnonzero(~np.isnan(target[:, k]))
        if len(rows):
            found[:, k] = statistic(Ranking(scores[:, k], rows), Ranking(target[:, k], rows), counts)
    return as_asked(found, weights)


def _mean_by_column(
    error: Callable[[Array], Array], scores: ArrayLike, target: ArrayLike, weights: ArrayLike | None
) -> Array:
    scores, target, broken = paired(scores, target)
    errors = error(scores - target)
    if weights is None:
        return np.where(broken, np.nan, column_mean(errors))
    counts = counted(weights, len(scores))
    found = np.full((len(counts), scores.shape[1]), np.nan)
    for k in np.flatnonzero(~broken):
        rows = np.flatnonzero(~np.isnan(target[:, k]))
        found[:, k] = weighted_mean(errors[rows, k], np.take(float64(counts), rows, axis=1))
    return found
