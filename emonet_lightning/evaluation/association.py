"""Association of scores with a target: correlations, errors, average precision and AUROC, per emotion and draw.

Scores and target are [N, K] with NaN for what was not asked; a labelled sample without a score leaves its emotion
without a figure (NaN), as a head that diverged. Weights are counts of samples [D, N] from `draws`: the answer is then
[D, K], equal to the statistic of the resampled rows, else [K].
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emonet_lightning.evaluation.columns import (
    MIN_VALUES,
    Array,
    Drawn,
    Ranking,
    as_asked,
    counted,
    cumulative,
    paired,
    ratio,
    scaled,
)

Mask = NDArray[np.bool_]
Statistic = Callable[[Drawn], Array]
"""A statistic of one sorted column under some draws [d]."""


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
    return _by_column(lambda x, y, weights: Target(x, y, weights).spearman, scores, target, weights)


def pearson(scores: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Return the linear correlation per emotion; arguments and undefined cases as in `spearman`."""
    return _by_column(lambda x, y, weights: Target(x, y, weights).pearson, scores, target, weights)


def mae(scores: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Return the mean absolute error per emotion, in units of the target; NaN where nothing is labelled."""
    return _by_column(lambda x, y, _: mean_of(np.abs(x.values - y[x.order])), scores, target, weights)


def rmse(scores: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Return the root mean squared error per emotion, in units of the target; NaN where nothing is labelled."""
    return np.sqrt(_by_column(lambda x, y, _: mean_of((x.values - y[x.order]) ** 2), scores, target, weights))


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
    return _by_column(lambda x, y, _: Presence(x, y > 0).average_precision, scores, positive, weights)


def auroc(scores: ArrayLike, positive: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Return the area under the ROC curve per emotion, ties counting half; arguments as in `average_precision`."""
    return _by_column(lambda x, y, _: Presence(x, y > 0).auroc, scores, positive, weights)


class Target:
    """What a column of scores is compared with, under all draws.

    Args:
        x: the scores, ranked over the labelled samples.
        column: target [N].
        weights: counts of samples [D, N].
    """

    def __init__(self, x: Ranking, column: Array, weights: Array) -> None:
        y = Ranking(column, np.sort(x.order))
        group = np.zeros(len(column), dtype=np.intp)
        group[y.order] = y.code
        self.group = group[x.order]  # of equal values, in the order of the scores
        self.values = column[x.order]
        of_group = scaled(y.values)[y.starts]
        self.scaled = of_group[self.group]
        self.ranks = np.zeros((len(weights), len(y.starts)))
        self.spread, self.squares = np.zeros(len(weights)), np.zeros(len(weights))
        for own in y.blocks(weights):
            self.ranks[own.block], self.spread[own.block] = own.group_ranks, own.spread
            mean = ratio(np.einsum("dg,g->d", own.groups.astype(np.float64), of_group), own.total)
            deviation = of_group - mean[:, None]
            self.squares[own.block] = np.einsum("dg,dg,dg->d", own.groups.astype(np.float64), deviation, deviation)

    def spearman(self, own: Drawn) -> Array:
        """Rank correlation [d]."""
        both = np.einsum("dn,dn,dn->d", own.times, own.ranks, np.take(self.ranks[own.block], self.group, axis=1))
        return _correlation(both, own.spread, self.spread[own.block], self._defined(own))

    def pearson(self, own: Drawn) -> Array:
        """Linear correlation [d]."""
        with np.errstate(invalid="ignore"):  # infinities: the correlation is undefined
            deviations, squares = own.deviations
            both = np.einsum("dn,n->d", deviations, self.scaled)
            return _correlation(both, squares, self.squares[own.block], self._defined(own))

    def _defined(self, own: Drawn) -> Mask:
        return (own.total >= MIN_VALUES) & (own.spread > 0) & (self.spread[own.block] > 0)


class Presence:
    """Yes or no, that scores should tell apart.

    Args:
        x: the scores, ranked over the labelled samples.
        yes: which samples are a yes [N].
    """

    def __init__(self, x: Ranking, yes: Mask) -> None:
        self.yes = yes[x.order]
        self.places = np.flatnonzero(self.yes)
        # A threshold admits all rows of equal score, so a row is counted with those from the start of its group up.
        self.start = x.first[self.places]
        self.yes_before = np.searchsorted(self.places, self.start)

    def average_precision(self, own: Drawn) -> Array:
        """Sum of precision x step of recall [d]."""
        counts = np.take(own.counts, self.places, axis=1)
        below = cumulative(counts)
        num_yes = below[:, -1]
        admitted = own.total[:, None] - np.take(own.below, self.start, axis=1)
        hits = num_yes[:, None] - np.take(below, self.yes_before, axis=1)
        steps = (counts * (hits / np.maximum(admitted, 1))).sum(axis=1)
        return np.where(own.total > num_yes, ratio(steps, num_yes), np.nan)

    def auroc(self, own: Drawn) -> Array:
        """Share of pairs of a yes and a no that the scores put in order, ties half [d]."""
        counts = np.einsum("dn,n->d", own.times, self.yes.astype(np.float64))
        no = own.total - counts
        # Ranks are twice the average rank less its mean, (total + 1) / 2; in a sum over yes, yes with yes cancel out.
        ahead = np.einsum("dn,dn,n->d", own.times, own.ranks, self.yes.astype(np.float64))
        return ratio(ahead + counts * no, 2 * counts * no)


def over_draws(x: Ranking, weights: Array, statistics: Mapping[str, Statistic]) -> dict[str, Array]:
    """Return statistics [D] of one column under all draws, in one pass."""
    found = {key: np.full(len(weights), np.nan) for key in statistics}
    for own in x.blocks(weights) if len(x.order) else ():
        for key, statistic in statistics.items():
            found[key][own.block] = statistic(own)
    return found


def mean_of(values: Array) -> Statistic:
    """Return the statistic that is the mean of values in the order of the scores [n]."""
    return lambda own: ratio(np.einsum("dn,n->d", own.times, values), own.total)


def _correlation(both: Array, square_x: Array, square_y: Array, defined: Mask) -> Array:
    product = np.sqrt(square_x) * np.sqrt(square_y)
    defined = defined & (product > 0)
    return np.where(defined, np.clip(both / np.where(defined, product, 1.0), -1.0, 1.0), np.nan)


def _by_column(
    statistic: Callable[[Ranking, Array, Array], Statistic],
    scores: ArrayLike,
    target: ArrayLike,
    weights: ArrayLike | None,
) -> Array:
    scores, target, broken = paired(scores, target)
    counts = counted(weights, len(scores))
    found = np.full((len(counts), scores.shape[1]), np.nan)
    for k in np.flatnonzero(~broken):
        x = Ranking(scores[:, k], np.flatnonzero(~np.isnan(target[:, k])))
        if len(x.order):
            found[:, k] = over_draws(x, counts, {"": statistic(x, target[:, k], counts)})[""]
    return as_asked(found, weights)
