"""Agreement of systems with raters, and of raters with each other, for all emotions and bootstrap draws at once.

Samples in rows, emotions in columns, float64; NaN means undefined, never zero. `judge_system` and `judge_raters` give
the figures that stand beside each other in a report; the statistics that they are made of are importable from here too.
Equal input gives equal bytes on any number of threads.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from emonet_lightning.evaluation.alpha import krippendorff_alpha
from emonet_lightning.evaluation.association import (
    Presence,
    Statistic,
    Target,
    auroc,
    average_precision,
    mae,
    mean_of,
    over_draws,
    pearson,
    rmse,
    spearman,
)
from emonet_lightning.evaluation.binning import (
    Binned,
    column_of,
    first_half,
    gold_counts,
    gold_levels,
    heldout_column,
    kappa_binned_heldout,
    oracle_kappa_binned,
    quantile_bin,
)
from emonet_lightning.evaluation.bootstrap import draws, interval, num_units, over_raters
from emonet_lightning.evaluation.columns import (
    Array,
    Ranking,
    by_emotion,
    column_mean,
    counted,
    float64,
    mean_rating,
    median_rating,
    narrow,
    ratio,
)
from emonet_lightning.evaluation.kappa import (
    RULES,
    Rule,
    mean_rater_kappa,
    pooled_rater_kappa,
    pooled_system_kappa,
    quadratic_kappa,
    rater_kappa,
    rating_sums,
    system_kappa,
    to_levels,
)
from emonet_lightning.evaluation.left_out import judge_left_out, others_of

__all__ = [
    "RULES",
    "Rule",
    "UndefinedPairs",
    "auroc",
    "average_precision",
    "draws",
    "interval",
    "judge_left_out",
    "judge_raters",
    "judge_system",
    "kappa_binned_heldout",
    "krippendorff_alpha",
    "mae",
    "mean_rater_kappa",
    "mean_rating",
    "median_rating",
    "num_units",
    "oracle_kappa_binned",
    "over_raters",
    "pearson",
    "pooled_rater_kappa",
    "pooled_system_kappa",
    "quadratic_kappa",
    "quantile_bin",
    "rater_kappa",
    "rater_scores",
    "rmse",
    "spearman",
    "system_kappa",
    "undefined_pairs",
]

_ASSOCIATIONS = (
    "spearman",
    "pearson",
    "mae",
    "rmse",
    "spearman_median",
    "pearson_median",
    "average_precision",
    "auroc",
)


def judge_system(
    scores: ArrayLike,
    values: ArrayLike,
    slots: ArrayLike,
    low: float,
    high: float,
    weights: ArrayLike | None = None,
    present_threshold: float = 1.0,
) -> dict[str, Array]:
    """Return every figure of a system against raters.

    Args:
        scores: [N, K], on the scale of the ratings for kappa, mae and rmse; NaN leaves the image out.
        values: ratings [N, R, K]; NaN where a rater did not answer.
        slots: the same ratings by position [N, S, K].
        low: lowest level of the scale, a whole number.
        high: highest level of the scale, a whole number.
        weights: counts of images [1 + B, N], from `draws`; the sample itself by default.
        present_threshold: an emotion is present where the mean rating is at least this.

    Returns:
        Key -> [1 + B, K] (one row without weights). `kappa_truncate`, `kappa_round`: mean over the raters with whom
        kappa is defined. Pooled over positions: `kappa_pooled_round`, `oracle_kappa_binned`, `kappa_binned_heldout`.
        Against the mean rating: `spearman`, `pearson`, `mae`, `rmse`; against the median: `spearman_median`,
        `pearson_median`; for presence: `average_precision`, `auroc`.
    """
    scores, values, slots = float64(scores), float64(values), float64(slots)
    counts = counted(weights, len(scores))
    narrowed = narrow(counts)
    missing = np.isnan(scores)
    mean, median = mean_rating(values), median_rating(values)
    mean[missing] = median[missing] = np.nan
    gold, pooled = gold_levels(slots, low, high), rating_sums(slots, low, high)
    first = first_half(len(scores))[:, None]
    halves = [~np.isnan(mean) & half for half in (first, ~first)]
    up_to = [gold_counts(gold, half, low, high, narrowed) for half in halves]

    def of_emotion(k: int) -> dict[str, Array]:
        own = column_of(pooled, k)
        x = Ranking(scores[:, k], np.flatnonzero(~np.isnan(mean[:, k])))
        one, two = (
            Binned(Ranking(scores[:, k], np.flatnonzero(half[:, k])), copies[:, k], own, low)
            for half, copies in zip(halves, up_to, strict=True)
        )
        statistics = _associations(x, mean[:, k], median[:, k], counts, present_threshold)
        statistics["oracle_kappa_binned"] = Binned(x, up_to[0][:, k] + up_to[1][:, k], own, low).oracle
        return {"kappa_binned_heldout": heldout_column(one, two, counts), **_figures(x, counts, statistics)}

    found = {}
    for rule in RULES:
        found[f"kappa_{rule}"] = column_mean(system_kappa(scores, values, low, high, rule, narrowed), axis=1)
    found["kappa_pooled_round"] = pooled_system_kappa(scores, slots, low, high, narrowed)
    return found | by_emotion(of_emotion, scores.shape[1])


def judge_raters(
    values: ArrayLike,
    slots: ArrayLike,
    low: float,
    high: float,
    weights: ArrayLike | None = None,
    present_threshold: float = 1.0,
) -> dict[str, Array]:
    """Return the human figure beside each key of `judge_system`, and alpha; arguments as there.

    Returns:
        Key -> [1 + B, K]. `kappa_truncate`, `kappa_round`: mean over raters of a rater's mean with the others.
        `kappa_pooled`: the anchor, over all pairs of positions, beside `kappa_pooled_round`, `oracle_kappa_binned` and
        `kappa_binned_heldout`. Correlations, errors and detection: the leave-one-rater-out ceiling, each rater against
        the mean or median of the others, mean over the raters with whom it is defined. `alpha_nominal`,
        `alpha_ordinal`, `alpha_interval`.
    """
    values, slots = float64(values), float64(slots)
    counts = counted(weights, len(values))
    narrowed = narrow(counts)

    def of_emotion(k: int) -> dict[str, Array]:
        total = {key: np.zeros(len(counts)) for key in _ASSOCIATIONS}
        number = {key: np.zeros(len(counts)) for key in _ASSOCIATIONS}
        for _, figures in _leave_one_out(values[..., k], counts, present_threshold):
            for key, figure in figures.items():
                defined = ~np.isnan(figure)
                total[key][defined] += figure[defined]
                number[key] += defined
        return {key: ratio(total[key], number[key]) for key in _ASSOCIATIONS}

    found = {"kappa_truncate": column_mean(mean_rater_kappa(values, low, high, "truncate", narrowed), axis=1)}
    found["kappa_round"] = found["kappa_truncate"]
    # Whole ratings on the scale, as they should be, are the same levels under both rules.
    if not np.array_equal(
        to_levels(values, low, high, "truncate"), to_levels(values, low, high, "round"), equal_nan=True
    ):
        found["kappa_round"] = column_mean(mean_rater_kappa(values, low, high, "round", narrowed), axis=1)
    found["kappa_pooled"] = pooled_rater_kappa(slots, low, high, narrowed)
    found |= by_emotion(of_emotion, values.shape[2])
    for difference in ("nominal", "ordinal", "interval"):
        found[f"alpha_{difference}"] = krippendorff_alpha(values, difference, narrowed)
    return found


def rater_scores(values: ArrayLike, low: float, high: float, present_threshold: float = 1.0) -> dict[str, Array]:
    """Return the point figures of each rater against the others [R, K], keys as in `judge_raters`; NaN is undefined."""
    values = float64(values)
    found = {f"kappa_{rule}": mean_rater_kappa(values, low, high, rule) for rule in RULES}
    found |= {key: np.full(values.shape[1:], np.nan) for key in _ASSOCIATIONS}
    once = counted(None, len(values))
    for k in range(values.shape[2]):
        for rater, figures in _leave_one_out(values[..., k], once, present_threshold):
            for key, figure in figures.items():
                found[key][rater, k] = figure[0]
    return found


class UndefinedPairs(NamedTuple):
    """How many pairs of raters there are per emotion [K], and why some have no kappa."""

    num_pairs: Array
    apart: Array
    """They share fewer than two images."""
    constant: Array
    """Both gave one and the same level to all images that they share."""


def undefined_pairs(values: ArrayLike, low: float, high: float, rule: Rule = "truncate") -> UndefinedPairs:
    """Count the pairs of raters that have no kappa, among raters of the emotion; arguments as in `rater_kappa`."""
    levels = to_levels(values, low, high, rule)
    counts = np.zeros((3, levels.shape[2]))
    for k in range(levels.shape[2]):
        given = ~np.isnan(levels[..., k])
        active = given.any(axis=0)
        shared = given[:, active].astype(np.float64)
        upper = np.triu_indices(int(active.sum()), k=1)
        apart = (shared.T @ shared)[upper] < 2
        undefined = np.isnan(rater_kappa(levels[:, active][..., [k]], low, high, rule)[..., 0])[upper]
        counts[:, k] = len(apart), apart.sum(), (undefined & ~apart).sum()
    return UndefinedPairs(*counts)


def _leave_one_out(ratings: Array, counts: Array, threshold: float) -> Iterator[tuple[int, dict[str, Array]]]:
    """Yield each rater of one emotion [N, R] and the figures [D] against the others, where others rated too."""
    for rater, mean, median in others_of(ratings):
        x = Ranking(ratings[:, rater], np.flatnonzero(~np.isnan(mean)))
        yield rater, _figures(x, counts, _associations(x, mean, median, counts, threshold))


def _associations(x: Ranking, mean: Array, median: Array, counts: Array, threshold: float) -> dict[str, Statistic]:
    """Correlations, errors (their squares for rmse) and detection of one column with targets [N]."""
    with_mean, with_median = Target(x, mean, counts), Target(x, median, counts)
    presence = Presence(x, mean >= threshold)
    error = x.values - with_mean.values
    return {
        "spearman": with_mean.spearman,
        "pearson": with_mean.pearson,
        "mae": mean_of(np.abs(error)),
        "rmse": mean_of(error**2),
        "spearman_median": with_median.spearman,
        "pearson_median": with_median.pearson,
        "average_precision": presence.average_precision,
        "auroc": presence.auroc,
    }


def _figures(x: Ranking, counts: Array, statistics: dict[str, Statistic]) -> dict[str, Array]:
    found = over_draws(x, counts, statistics)
    return found | {"rmse": np.sqrt(found["rmse"])}
