"""Agreement of scores with targets, and of raters with each other, for all emotions at once.

Every function takes samples in rows and emotions in columns, works in float64 and answers one number per emotion; NaN
in the answer means undefined, never zero. The trade-off: columns are ranked and summed together, in place of one call
of scikit-learn or SciPy per emotion and pair of raters, which is what the tests compare with.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from emonet_lightning.evaluation.columns import Array, column_mean, correlation, float64, paired, ranks

Rule = Literal["truncate", "round"]


def spearman(scores: ArrayLike, target: ArrayLike) -> Array:
    """Return the rank correlation per emotion [K], ties sharing their average rank.

    Args:
        scores: predictions [N, K], any scale.
        target: annotations [N, K]; NaN is a question not asked.

    Returns:
        [K] in -1..1; NaN where either side is constant, fewer than 3 samples are labelled, or a labelled sample's score
        is NaN (a head that diverged has no figure).
    """
    scores, target, broken = paired(scores, target)
    return np.where(broken, np.nan, correlation(ranks(scores), ranks(target)))


def pearson(scores: ArrayLike, target: ArrayLike) -> Array:
    """Return the linear correlation per emotion [K]; arguments and undefined cases as in `spearman`."""
    scores, target, broken = paired(scores, target)
    return np.where(broken, np.nan, correlation(scores, target))


def mae(scores: ArrayLike, target: ArrayLike) -> Array:
    """Return the mean absolute error per emotion [K], in units of the target; NaN where nothing is labelled."""
    scores, target, broken = paired(scores, target)
    return np.where(broken, np.nan, column_mean(np.abs(scores - target)))


def rmse(scores: ArrayLike, target: ArrayLike) -> Array:
    """Return the root mean squared error per emotion [K], in units of the target; NaN where nothing is labelled."""
    scores, target, broken = paired(scores, target)
    return np.where(broken, np.nan, np.sqrt(column_mean((scores - target) ** 2)))


def average_precision(scores: ArrayLike, positive: ArrayLike) -> Array:
    """Return the average precision per emotion [K]: the sum of precision x step of recall over distinct thresholds.

    Args:
        scores: predictions [N, K], higher for yes.
        positive: 1 for yes, 0 for no, NaN for a question not asked [N, K].

    Returns:
        [K] in 0..1, as `sklearn.metrics.average_precision_score` on the labelled rows (equal scores count together);
        NaN without a yes, without a no, or where a labelled score is NaN.
    """
    scores, positive, broken = paired(scores, positive)
    if scores.shape[0] == 0:
        return np.full(scores.shape[1], np.nan)
    order = np.argsort(-scores, axis=0)  # highest first; NaN, which is not labelled, last
    scores = np.take_along_axis(scores, order, axis=0)
    positive = np.take_along_axis(positive, order, axis=0)
    labelled = ~np.isnan(positive)
    is_yes = np.where(labelled, positive, 0.0) > 0
    # A threshold admits all rows of equal score, so each row takes the counts at the last row of its group.
    last = np.ones(scores.shape, dtype=bool)
    last[:-1] = scores[:-1] != scores[1:]
    rows = np.where(last, np.arange(len(scores))[:, None], len(scores))
    group_end = np.minimum.accumulate(rows[::-1], axis=0)[::-1]
    num_yes = np.take_along_axis(np.cumsum(is_yes, axis=0), group_end, axis=0)
    precision = num_yes / (group_end + 1)
    total_yes = is_yes.sum(axis=0)
    undefined = broken | (total_yes == 0) | (total_yes == labelled.sum(axis=0))
    return np.where(undefined, np.nan, np.where(is_yes, precision, 0.0).sum(axis=0) / np.maximum(total_yes, 1))


def quadratic_kappa(a: ArrayLike, b: ArrayLike, low: float, high: float, rule: Rule = "truncate") -> Array:
    """Return Cohen's kappa with quadratic weights per emotion [K], from sums instead of confusion tables.

    kappa = 1 - sum (a - b)^2 / (sum a^2 + sum b^2 - 2 sum a sum b / n).

    Args:
        a: first rater or system [N, K]; NaN is missing.
        b: second rater [N, K]; NaN is missing.
        low: lowest level of the scale.
        high: highest level of the scale.
        rule: how values become levels: `truncate` as the released analysis does (toward zero; a level outside
            low..high leaves the table with its pair), or `round` (nearest level, halves to even, then clipped).

    Returns:
        [K]; NaN with fewer than 2 samples or where both sides are the same constant (0/0).
    """
    both = _levels(a, low, high, rule), _levels(b, low, high, rule)
    missing = np.isnan(both[0]) | np.isnan(both[1])
    first, second = (np.where(missing, 0.0, side) for side in both)
    return _kappa(
        n=(~missing).sum(axis=0).astype(np.float64),
        sum_a=first.sum(axis=0),
        sum_b=second.sum(axis=0),
        sum_aa=(first**2).sum(axis=0),
        sum_bb=(second**2).sum(axis=0),
        sum_ab=(first * second).sum(axis=0),
    )


class RaterAgreement(NamedTuple):
    """How raters agree with each other."""

    pairs: Array
    """Quadratic kappa of each pair of raters [R, R, K]; NaN where undefined, and on the diagonal."""
    per_rater: Array
    """Mean of a rater's defined pairs with the others [R, K]."""
    mean: Array
    """Mean over the defined pairs [K]: the human anchor of each emotion."""


class SystemAgreement(NamedTuple):
    """How a system agrees with raters, to be read beside `RaterAgreement`."""

    per_rater: Array
    """Quadratic kappa of the system with each rater [R, K]; NaN where undefined."""
    mean: Array
    """Mean over the raters with whom it is defined [K]."""


def rater_agreement(ratings: ArrayLike, low: float, high: float, rule: Rule = "truncate") -> RaterAgreement:
    """Return the quadratic kappa of every pair of raters, on the samples that both rated.

    Args:
        ratings: [N, R, K]; NaN where a rater did not answer.
        low: lowest level of the scale.
        high: highest level of the scale.
        rule: as in `quadratic_kappa`.
    """
    levels = _levels(ratings, low, high, rule)
    num_raters, num_emotions = levels.shape[1:]
    pairs = np.full((num_raters, num_raters, num_emotions), np.nan)
    per_rater = np.full((num_raters, num_emotions), np.nan)
    mean = np.full(num_emotions, np.nan)
    for k in range(num_emotions):
        # Thousands of raters may each know one emotion: only those who rated this one meet.
        active = np.flatnonzero(~np.isnan(levels[:, :, k]).all(axis=0))
        found = _pairwise_kappa(levels[:, active, k])
        pairs[active[:, None], active, k] = found
        per_rater[active, k] = column_mean(found)
        mean[k] = column_mean(found[np.triu_indices(len(active), k=1)][:, None])[0]
    return RaterAgreement(pairs, per_rater, mean)


def system_rater_agreement(
    scores: ArrayLike, ratings: ArrayLike, low: float, high: float, rule: Rule = "truncate"
) -> SystemAgreement:
    """Return the quadratic kappa of a system with each rater.

    Args:
        scores: [N, K] on the scale of the ratings.
        ratings: [N, R, K]; NaN where a rater did not answer.
        low: lowest level of the scale.
        high: highest level of the scale.
        rule: as in `quadratic_kappa`; whole-number ratings are the same under both.
    """
    ratings = float64(ratings)
    repeated = np.broadcast_to(float64(scores)[:, None, :], ratings.shape)
    per_rater = quadratic_kappa(_flat(repeated), _flat(ratings), low, high, rule).reshape(ratings.shape[1:])
    return SystemAgreement(per_rater, column_mean(per_rater))


def rater_spearman(ratings: ArrayLike) -> Array:
    """Return the rank correlation of each rater with the mean of the others [R, K].

    This is the human figure to read beside a system's Spearman against the mean of all raters. A sample counts where
    the rater and at least one other answered; NaN as in `spearman`.

    Args:
        ratings: [N, R, K]; NaN where a rater did not answer.
    """
    ratings = float64(ratings)
    given = ~np.isnan(ratings)
    known = np.where(given, ratings, 0.0)
    num_others = given.sum(axis=1, keepdims=True) - given
    others = np.where(
        given & (num_others > 0),
        (known.sum(axis=1, keepdims=True) - known) / np.maximum(num_others, 1),
        np.nan,
    )
    return spearman(_flat(ratings), _flat(others)).reshape(ratings.shape[1:])


def mean_rating(ratings: ArrayLike) -> Array:
    """Return the mean over the raters who answered [N, K] of ratings [N, R, K]; NaN where nobody did."""
    return column_mean(float64(ratings).swapaxes(0, 1))


def _flat(values: Array) -> Array:
    return values.reshape(len(values), -1)  # [N, R, K] -> [N, R*K]


def _levels(values: ArrayLike, low: float, high: float, rule: Rule) -> Array:
    values = float64(values)
    if rule == "truncate":
        levels = np.trunc(values)
        return np.where((levels >= low) & (levels <= high), levels, np.nan)
    if rule == "round":
        return np.clip(np.rint(values), low, high)
    raise ValueError(f"rule must be 'truncate' or 'round', got {rule!r}")


def _pairwise_kappa(levels: Array) -> Array:
    """Kappa of all pairs of columns [R, R] of one emotion's levels [N, R]; NaN on the diagonal."""
    given = (~np.isnan(levels)).astype(np.float64)
    levels = np.where(given > 0, levels, 0.0)
    # Row i, column j sums rater i's values over the samples that rater j rated too.
    sums, squares = levels.T @ given, (levels**2).T @ given
    kappa = _kappa(
        n=given.T @ given, sum_a=sums, sum_b=sums.T, sum_aa=squares, sum_bb=squares.T, sum_ab=levels.T @ levels
    )
    np.fill_diagonal(kappa, np.nan)
    return kappa


def _kappa(*, n: Array, sum_a: Array, sum_b: Array, sum_aa: Array, sum_bb: Array, sum_ab: Array) -> Array:
    # Sums of levels are whole numbers and exact, so the denominator times n is 0 exactly where kappa is undefined.
    expected = n * (sum_aa + sum_bb) - 2 * sum_a * sum_b
    observed = n * (sum_aa + sum_bb - 2 * sum_ab)
    defined = (n >= 2) & (expected > 0)
    return np.where(defined, 1.0 - observed / np.where(defined, expected, 1.0), np.nan)
