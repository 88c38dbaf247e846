"""A run's heads judged on its test rows: panel of raters, diverged heads, extra dimensions, binary sets."""

from typing import NamedTuple

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from emonet_lightning.evaluation import agreement
from emonet_lightning.evaluation.run_judgement import clusters, judge_heads, test_panel
from emonet_lightning.ratings.panel import slots
from emonet_lightning.taxonomy import Dimension, Taxonomy

PLAIN = Taxonomy("two", (Dimension("A", "a", 0.0, 7.0), Dimension("B", "b", 0.0, 7.0)), 2)
EXTRA = Taxonomy("more", (*PLAIN.dimensions, Dimension("Valence", "valence", -3.0, 3.0)), 2)
test_panel.__test__ = False  # the name is the package's


class Rows(NamedTuple):
    keys: list
    truth: np.ndarray
    ratings: np.ndarray | None
    raters: list
    prompted: list
    groups: list


def rows_of(num_images=40, num_dimensions=2, seed=0, groups=None):
    rng = np.random.default_rng(seed)
    ratings = rng.integers(0, 8, (num_images, 3, num_dimensions)).astype(float)
    ratings[rng.random((num_images, 3)) < 0.3] = np.nan
    ratings[:, 1] = np.where(np.isnan(ratings).all(1), 3.0, ratings[:, 1])
    keys = [f"{i:02d}" for i in range(num_images)]
    count = np.maximum((~np.isnan(ratings)).sum(1), 1)
    truth = np.nansum(ratings, axis=1) / count
    return Rows(keys, truth, ratings, ["zoe", "adam", "mia"], [None] * num_images, groups or [None] * num_images)


def test_raters_of_an_image_stand_in_the_order_of_their_names():
    rows = rows_of()
    panel = test_panel(rows, "made up")
    by_slot = slots(panel)
    for image in range(len(rows.keys)):
        given = [
            rows.ratings[image, rows.raters.index(name)]
            for name in sorted(rows.raters)
            if not np.isnan(rows.ratings[image, rows.raters.index(name)]).all()
        ]
        np.testing.assert_array_equal(by_slot[image, : len(given)], given)
        assert np.isnan(by_slot[image, len(given) :]).all()


def test_only_groups_of_several_images_are_drawn_whole():
    assert clusters(["p1", "p1", None]) == ["p1", "p1", None]
    assert clusters(["p1", "p2", None]) is None
    assert clusters([None, None]) is None


def test_a_diverged_head_has_no_figure_and_the_others_keep_theirs():
    rows = rows_of()
    scores = rows.truth + np.random.default_rng(1).normal(0, 1, rows.truth.shape)
    whole = judge_heads(scores, rows, PLAIN, name="made up").metrics
    broken = scores.copy()
    broken[7, 0] = np.nan
    found = judge_heads(broken, rows, PLAIN, name="made up").metrics
    assert "test/spearman/a" not in found
    assert found["test/spearman/b"] == whole["test/spearman/b"]
    assert found["test/spearman/num_defined"] == 1
    assert found["test/spearman/low"] <= found["test/spearman"] <= found["test/spearman/high"]


def test_extra_dimensions_are_judged_on_their_own_range_and_stay_out_of_means():
    rows = rows_of(num_dimensions=3)
    rows.ratings[..., 2] -= 3
    scores = np.nan_to_num(rows.truth) + np.random.default_rng(1).normal(0, 1, rows.truth.shape)
    found = judge_heads(scores, rows, EXTRA, name="made up")
    plain = judge_heads(scores[:, :2], rows._replace(ratings=rows.ratings[..., :2]), PLAIN, name="made up")
    assert found.metrics["test/spearman"] == plain.metrics["test/spearman"]
    expected = agreement.system_kappa(scores[:, 2:], rows.ratings[..., 2:], -3, 3, "round")
    assert found.metrics["test/kappa_round/valence"] == pytest.approx(np.nanmean(expected))
    assert "test/auroc/valence" not in found.metrics
    assert len(found.agreement["taxonomy"]["emotions"]) == 2


def test_average_precision_of_a_binary_set_has_an_interval_and_its_level_of_chance():
    rng = np.random.default_rng(0)
    positive = (rng.random((60, 2)) < 0.3).astype(float)
    scores = positive + rng.normal(0, 1, positive.shape)
    rows = Rows([str(i) for i in range(60)], positive, None, [], [None] * 60, [None] * 60)
    found = judge_heads(scores, rows, PLAIN, name="made up")
    assert found.agreement is None
    expected = [average_precision_score(positive[:, k], scores[:, k]) for k in range(2)]
    assert found.metrics["test/average_precision"] == pytest.approx(np.mean(expected))
    assert (
        found.metrics["test/average_precision/low"] < np.mean(expected) < found.metrics["test/average_precision/high"]
    )
    assert found.metrics["test/positive_share"] == pytest.approx(positive.mean())
