"""Judging a system on a test set: agreement with its raters beside the raters' agreement with each other.

Metric keys are `test/metric` for the mean over the emotions where it is defined, and `test/metric/slug`. Extra
dimensions have values of their own and take no part in a mean. All in float64 on scores sorted by sample, so that equal
scores give equal bytes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.evaluation.agreement import (
    average_precision,
    mae,
    pearson,
    rater_agreement,
    rater_spearman,
    rmse,
    spearman,
    system_rater_agreement,
)
from emonet_lightning.evaluation.columns import column_mean
from emonet_lightning.evaluation.comparison import compare, reference_systems
from emonet_lightning.taxonomy import Taxonomy

Array = NDArray[np.float64]


class Judgement(NamedTuple):
    """What a test found."""

    metrics: dict[str, float]
    """Keys as in `results.json`; NaN is left out."""
    comparison: dict[str, Any] | None
    """What `compare` returned, for rated sets."""


def judge_ratings(
    scores: Array,
    ratings: Array,
    taxonomy: Taxonomy,
    *,
    prompted: Sequence[str | None] | None = None,
    groups: Sequence[str | None] | None = None,
    train_mean: Array | None = None,
    name: str = "heads",
    num_draws: int = 500,
    seed: int = 0,
) -> Judgement:
    """Judge scores against several raters kept apart.

    Args:
        scores: [N, K] on the taxonomy's scale.
        ratings: [N, R, K], NaN where a rater did not answer.
        taxonomy: columns.
        prompted: slug that the generator was asked for, per sample; shown as a reference of what was asked for.
        groups: person of each sample; the bootstrap then draws persons.
        train_mean: mean training target [K], the `mean` reference system.
        name: of the system in the comparison.
        num_draws: bootstrap draws.
        seed: of the draws and of the random reference systems.

    Returns:
        `spearman`, `pearson`, `mae`, `rmse` against the mean rating; `kappa` (quadratic, values truncated toward zero
        as released) and `kappa_round` of the system with each rater, mean over raters; `rater_kappa` of the raters with
        each other and `rater_spearman` of a rater with the mean of the others; and the comparison with reference
        systems.
    """
    metrics: dict[str, float] = {}
    target = column_mean(ratings.swapaxes(0, 1))
    for metric, values in (
        ("spearman", spearman(scores, target)),
        ("pearson", pearson(scores, target)),
        ("mae", mae(scores, target)),
        ("rmse", rmse(scores, target)),
        ("rater_spearman", column_mean(rater_spearman(ratings))),
    ):
        _add(metrics, metric, values, taxonomy)
    kappa, rounded, raters = (np.full(len(taxonomy), np.nan) for _ in range(3))
    for low, high in dict.fromkeys((d.low, d.high) for d in taxonomy.dimensions):
        k = np.array([(d.low, d.high) == (low, high) for d in taxonomy.dimensions])
        kappa[k] = system_rater_agreement(scores[:, k], ratings[..., k], low, high, "truncate").mean
        rounded[k] = system_rater_agreement(scores[:, k], ratings[..., k], low, high, "round").mean
        raters[k] = rater_agreement(ratings[..., k], low, high, "round").mean
    _add(metrics, "kappa", kappa, taxonomy)
    _add(metrics, "kappa_round", rounded, taxonomy)
    _add(metrics, "rater_kappa", raters, taxonomy)
    metrics["test/num_constant_heads"] = float((np.ptp(scores, axis=0) < 1e-6).sum()) if len(scores) else 0.0
    metrics["test/num_samples"] = float(len(scores))
    emotions = slice(taxonomy.num_emotions)
    one_hot = _one_hot(prompted, taxonomy) if prompted is not None and any(prompted) else None
    references = reference_systems(
        scores[:, emotions],
        ratings[..., emotions],
        prompted=one_hot,
        seed=seed,
        train_mean=None if train_mean is None else train_mean[emotions],
    )
    systems = {name: scores[:, emotions], **references}
    comparison = compare(
        systems, ratings[..., emotions], subject=name, num_draws=num_draws, seed=seed, groups=_repeated(groups)
    )
    return Judgement(metrics, comparison)


def judge_binary(scores: Array, positive: Array, taxonomy: Taxonomy) -> Judgement:
    """Judge scores against agreed yes (1) and no (0), NaN elsewhere: `average_precision` beside its chance level.

    Args:
        scores: [N, K].
        positive: [N, K].
        taxonomy: columns.
    """
    metrics: dict[str, float] = {}
    _add(metrics, "average_precision", average_precision(scores, positive), taxonomy)
    share = column_mean(positive)
    _add(metrics, "positive_share", np.where((share > 0) & (share < 1), share, np.nan), taxonomy)
    metrics["test/num_samples"] = float(len(scores))
    return Judgement(metrics, None)


def _add(metrics: dict[str, float], metric: str, values: Array, taxonomy: Taxonomy) -> None:
    emotions = values[: taxonomy.num_emotions]
    defined = emotions[~np.isnan(emotions)]
    if len(defined):
        metrics[f"test/{metric}"] = float(defined.mean())
        metrics[f"test/{metric}/num_defined"] = float(len(defined))
    for slug, value in zip(taxonomy.slugs, values, strict=True):
        if not np.isnan(value):
            metrics[f"test/{metric}/{slug}"] = float(value)


def _one_hot(prompted: Sequence[str | None], taxonomy: Taxonomy) -> Array:
    return np.array([[float(slug == own) for own in taxonomy.slugs[: taxonomy.num_emotions]] for slug in prompted])


def _repeated(groups: Sequence[str | None] | None) -> Sequence[str | None] | None:
    """Groups, if any holds more than one sample: single samples need no cluster draws."""
    named = [group for group in groups or [] if group is not None]
    return groups if len(set(named)) < len(named) else None
