"""Judging a run's heads on its test rows: figures for `results.json`, and `agreement.json` where raters are known.

Metric keys are `test/metric` for the mean over the emotions where it is defined, `test/metric/low` and `/high` for its
interval, and `test/metric/slug`; the raters' own figures are `test/rater_metric`. Extra dimensions have values of their
own and take no part in a mean. All in float64 on scores sorted by sample, so that equal scores give equal bytes.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.evaluation.agreement import average_precision, draws, judge_system
from emonet_lightning.evaluation.benchmark import LEVEL, NUM_DRAWS, judge
from emonet_lightning.evaluation.columns import Array, column_mean
from emonet_lightning.evaluation.estimates import summary
from emonet_lightning.evaluation.trivial import trivial_systems
from emonet_lightning.ratings.panel import Panel, SystemScores, slots
from emonet_lightning.taxonomy import Taxonomy

HEADS = "heads"


class TestRows(Protocol):
    """What a data module knows of its test rows."""

    keys: list[str]
    truth: NDArray[Any]
    ratings: NDArray[Any] | None
    raters: list[str]
    prompted: list[str | None]
    groups: list[str | None]


class Judgement(NamedTuple):
    """What a test found."""

    metrics: dict[str, float]
    """Keys as in `results.json`; NaN is left out."""
    agreement: dict[str, Any] | None
    """Content of `agreement.json`, for rated sets."""


def judge_heads(
    scores: Array,
    rows: TestRows,
    taxonomy: Taxonomy,
    *,
    name: str,
    train_mean: Array | None = None,
    num_draws: int = NUM_DRAWS,
) -> Judgement:
    """Judge heads beside their raters and trivial systems; against agreed yes and no where the set is binary.

    Args:
        scores: [N, K] on the taxonomy's scale. A head with a NaN has no figure: it diverged.
        rows: of the test.
        taxonomy: columns.
        name: of the set.
        train_mean: mean training target [K], the `training mean` system.
        num_draws: bootstrap draws of the intervals.
    """
    scores = np.where(np.isnan(scores).any(axis=0), np.nan, scores)
    metrics = {
        "test/num_constant_heads": float((np.ptp(scores, axis=0) < 1e-6).sum()) if len(scores) else 0.0,
        "test/num_samples": float(len(scores)),
    }
    if rows.ratings is None:
        return Judgement({**metrics, **_binary(scores, rows.truth, rows.groups, taxonomy, num_draws)}, None)
    panel = test_panel(rows, name)
    heads = SystemScores(HEADS, scores, on_scale=True)
    systems = [heads, *trivial_systems(panel, taxonomy.slugs, subject=heads, train_mean=train_mean)]
    found = judge(panel, systems, taxonomy, num_draws=num_draws)
    for prefix, part in (("", found["systems"][HEADS]), ("rater_", found["humans"])):
        for key, figures in part["metrics"].items():
            metrics |= _flat(f"test/{prefix}{key}", figures, taxonomy)
    for column in range(taxonomy.num_emotions, len(taxonomy)):
        dimension, own = taxonomy.dimensions[column], slice(column, column + 1)
        values = judge_system(
            scores[:, own], panel.values[..., own], slots(panel)[..., own], dimension.low, dimension.high, None
        )
        for key, value in values.items():  # presence means nothing on a dimension from minus to plus
            if key not in ("average_precision", "auroc") and not np.isnan(value[0, 0]):
                metrics[f"test/{key}/{dimension.slug}"] = float(value[0, 0])
    return Judgement(dict(sorted(metrics.items())), found)


def test_panel(rows: TestRows, name: str) -> Panel:
    """Return the raters of test rows as a panel; their order in an image is that of their names."""
    assert rows.ratings is not None
    values = np.asarray(rows.ratings, dtype=np.float64)
    given = np.asarray(~np.isnan(values).all(axis=2))
    by_name = np.argsort(rows.raters)
    order = np.full(given.shape, -1, dtype=np.int64)
    order[:, by_name] = np.where(given[:, by_name], np.cumsum(given[:, by_name], axis=1) - 1, -1)
    return Panel(name, rows.keys, list(rows.raters), values, order, rows.prompted, clusters(rows.groups))


def clusters(groups: list[str | None]) -> list[str | None] | None:
    """Return groups if any holds more than one sample: single samples need no draws of groups."""
    named = [group for group in groups if group is not None]
    return groups if len(set(named)) < len(named) else None


def _binary(
    scores: Array, positive: Array, groups: list[str | None], taxonomy: Taxonomy, num_draws: int
) -> dict[str, float]:
    """Average precision with its interval, beside the share of yes, which is the level of chance."""
    weights = draws(len(scores), num_draws, 0, clusters(groups))
    own = average_precision(scores, positive, weights)
    share = column_mean(positive)
    share = np.where((share > 0) & (share < 1), share, np.nan)
    num, emotions = (~np.isnan(positive)).sum(axis=0), np.arange(len(taxonomy)) < taxonomy.num_emotions
    metrics: dict[str, float] = {}
    for key, values in (("average_precision", own), ("positive_share", np.broadcast_to(share, own.shape))):
        metrics |= _flat(f"test/{key}", summary(values, values, num, {"all": emotions}, LEVEL), taxonomy)
    return metrics


def _flat(key: str, figures: Mapping[str, Any], taxonomy: Taxonomy) -> dict[str, float]:
    mean = figures["sets"]["all"]
    found = {key: mean["value"], f"{key}/low": mean["low"], f"{key}/high": mean["high"]}
    if mean["value"] is not None:
        found[f"{key}/num_defined"] = float(mean["num_emotions"])
    if "reliable" in figures["sets"]:
        found[f"{key}/reliable"] = figures["sets"]["reliable"]["value"]
    for slug, value in zip(taxonomy.slugs, figures["per_emotion"]["value"], strict=False):
        found[f"{key}/{slug}"] = value
    return {name: value for name, value in found.items() if value is not None}
