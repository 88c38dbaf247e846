"""Whether a system tells two emotions apart: does the difference of its scores follow that of the ratings?

High correlation of two scores alone shows no confusion: scores have less noise than ratings, and noise hides that
emotions go together. The difference of two emotions is judged as a rater's is, against the other raters on the rater's
own images: like for like, all of them as ranks.
"""

from typing import NamedTuple

import numpy as np

from emonet_lightning.evaluation.columns import MIN_VALUES, Array, column_mean, sums
from emonet_lightning.evaluation.emotion_correlations import centred_ranks
from emonet_lightning.evaluation.left_out import MAX_RATERS


class ToldApart(NamedTuple):
    """Correlations of differences [D, P], P pairs of emotions in the order of `numpy.triu_indices(K, 1)`."""

    system: Array
    raters: Array
    """NaN where no rater rated all emotions of an image, and of more than 60 raters."""
    num_raters: int
    """Raters in the means; 0: the system is judged against the mean of all."""


def told_apart(ranks: Array, values: Array, weights: Array) -> ToldApart:
    """Return how the difference of two emotions follows the raters' difference.

    Args:
        ranks: scores of the system as centred ranks [N, K].
        values: ratings [N, R, K]; NaN where a rater did not answer.
        weights: counts of images [D, N].
    """
    num_pairs = ranks.shape[1] * (ranks.shape[1] - 1) // 2
    given = ~np.isnan(values)
    whole = np.asarray(given.all(axis=2))  # [N, R]
    total, count = np.where(given, values, 0.0).sum(axis=1), given.sum(axis=1)
    own, others = [], []
    usable = np.flatnonzero(whole.any(axis=0)).tolist()
    for rater in usable if values.shape[1] <= MAX_RATERS else ():
        rows = np.flatnonzero(whole[:, rater] & (count > 1).all(axis=1))
        if len(rows) < MIN_VALUES:
            continue
        rated = values[rows, rater]
        rest = (total[rows] - rated) / (count[rows] - 1)
        moments = _Moments(weights[:, rows], [ranks[rows], centred_ranks(rated), centred_ranks(rest)])
        own.append(moments.correlation(0, 2))
        others.append(moments.correlation(1, 2))
    if own:
        return ToldApart(column_mean(np.stack(own)), column_mean(np.stack(others)), len(own))
    found = _Moments(weights, [ranks, centred_ranks(total / count)]).correlation(0, 1)
    return ToldApart(found, np.full((len(weights), num_pairs), np.nan), 0)


class _Moments:
    """Covariances of parts of columns, all [n, K], each column in units of its spread, under draws [D, n]."""

    def __init__(self, weights: Array, parts: list[Array]) -> None:
        self.weights, self.parts = weights, parts
        spreads = [part.std(axis=0) for part in parts]
        self.scales = [np.where(spread > 0, spread, 1.0) for spread in spreads]
        self.n = weights.sum(axis=1)[:, None, None]
        self.means = [sums(weights, part) for part in parts]
        self.done: dict[tuple[int, int], Array] = {}

    def correlation(self, first: int, second: int) -> Array:
        """Correlation [D, P] of the differences of two emotions in one part with those in another."""
        product = np.sqrt(self._of(first, first)) * np.sqrt(self._of(second, second))
        # as a rest of rounding is no variance
        defined = product > 1e-9 * float(product.max(initial=0.0))
        return np.where(defined, np.clip(self._of(first, second) / np.where(defined, product, 1.0), -1.0, 1.0), np.nan)

    def _of(self, first: int, second: int) -> Array:
        """Covariance [D, P] of differences: of a with a, less a with b and b with a, plus b with b."""
        if (first, second) not in self.done:
            x, y = self.parts[first], self.parts[second]
            k = x.shape[1]
            product = sums(self.weights, (x[:, :, None] * y[:, None, :]).reshape(len(x), k * k)).reshape(-1, k, k)
            means = self.means[first][:, :, None] * self.means[second][:, None, :]
            covariance = (self.n * product - means) / (self.scales[first][:, None] * self.scales[second])
            i, j = np.triu_indices(k, 1)
            found = covariance[:, i, i] - covariance[:, i, j] - covariance[:, j, i] + covariance[:, j, j]
            self.done[first, second] = np.maximum(found, 0.0) if first == second else found
        return self.done[first, second]
