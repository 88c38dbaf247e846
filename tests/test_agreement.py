"""Figures of a system and of the raters stand beside each other, and do not depend on threads."""

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics
from test_kappa import mean_of_defined

from emonet_lightning.evaluation import agreement

TOLERANCE = 1e-10


@pytest.fixture
def rated():
    """Return scores and ratings by rater and by position: 60 images, 3 of 5 raters each, 3 emotions, gaps."""
    rng = np.random.default_rng(7)
    truth = rng.random((60, 3)) * 6
    slots = np.clip(np.rint(truth[:, None] + rng.normal(0, 1.5, (60, 3, 3))), 0, 7)
    values = np.full((60, 5, 3), np.nan)
    for n in range(60):
        values[n, rng.permutation(5)[:3]] = slots[n]
    scores = truth + rng.normal(0, 1, truth.shape)
    scores[:5, 0] = np.nan  # the system gave none
    values[10:20, :, 1] = slots[10:20, :, 1] = np.nan  # nobody was asked
    return scores, values, slots


def test_each_figure_of_a_system_is_the_statistic_that_its_name_says(rated):
    scores, values, slots = rated
    weights = agreement.draws(60, 6, 0)
    found = agreement.judge_system(scores, values, slots, 0, 7, weights)
    mean, median = agreement.mean_rating(values), agreement.median_rating(values)
    mean[np.isnan(scores)] = median[np.isnan(scores)] = np.nan
    present = np.where(np.isnan(mean), np.nan, mean >= 1)
    expected = {
        "kappa_pooled_round": agreement.pooled_system_kappa(scores, slots, 0, 7, weights),
        "oracle_kappa_binned": agreement.oracle_kappa_binned(scores, slots, 0, 7, weights),
        "kappa_binned_heldout": agreement.kappa_binned_heldout(scores, slots, 0, 7, weights),
        "spearman_median": agreement.spearman(scores, median, weights),
        "pearson_median": agreement.pearson(scores, median, weights),
        "average_precision": agreement.average_precision(scores, present, weights),
        "auroc": agreement.auroc(scores, present, weights),
    }
    for rule in agreement.RULES:
        kappa = agreement.system_kappa(scores, values, 0, 7, rule, weights)
        expected[f"kappa_{rule}"] = mean_of_defined(kappa, axis=1)
    for name in ("spearman", "pearson", "mae", "rmse"):
        expected[name] = getattr(agreement, name)(scores, mean, weights)
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        assert values.shape == (7, 3)
        assert not np.isnan(values[0]).any()
        np.testing.assert_allclose(found[key], values, atol=TOLERANCE, err_msg=key)


def test_the_human_figure_leaves_each_rater_out_of_what_it_is_compared_with(rated):
    _, values, slots = rated
    found = agreement.judge_raters(values, slots, 0, 7, agreement.draws(60, 3, 0), present_threshold=3)
    single = agreement.rater_scores(values, 0, 7, present_threshold=3)
    for rater in range(5):
        others = np.delete(values, rater, axis=1)
        mean, median = agreement.mean_rating(others), agreement.median_rating(others)
        for k in range(3):
            both = ~np.isnan(values[:, rater, k]) & ~np.isnan(mean[:, k])
            own, mean_k, median_k = values[both, rater, k], mean[both, k], median[both, k]
            expected = {
                "spearman": stats.spearmanr(own, mean_k).statistic,
                "pearson": stats.pearsonr(own, mean_k).statistic,
                "mae": np.abs(own - mean_k).mean(),
                "rmse": np.sqrt(((own - mean_k) ** 2).mean()),
                "spearman_median": stats.spearmanr(own, median_k).statistic,
                "pearson_median": stats.pearsonr(own, median_k).statistic,
                "average_precision": metrics.average_precision_score(mean_k >= 3, own),
                "auroc": metrics.roc_auc_score(mean_k >= 3, own),
            }
            for key, value in expected.items():
                assert single[key][rater, k] == pytest.approx(value, abs=TOLERANCE), key
    for key, values_of_raters in single.items():
        np.testing.assert_allclose(found[key][0], mean_of_defined(values_of_raters), atol=TOLERANCE, err_msg=key)
    np.testing.assert_allclose(found["kappa_pooled"][0], agreement.pooled_rater_kappa(slots, 0, 7))
    for level in ("nominal", "ordinal", "interval"):
        np.testing.assert_array_equal(found[f"alpha_{level}"][0], agreement.krippendorff_alpha(values, level))


def test_leave_one_out_figures_of_a_draw_are_those_of_the_resampled_images(rated):
    _, values, slots = rated
    weights = agreement.draws(60, 4, 1)
    found = agreement.judge_raters(values, slots, 0, 7, weights)
    for draw, counts in enumerate(weights):
        rows = np.repeat(np.arange(60), counts.astype(int))
        again = agreement.judge_raters(values[rows], slots[rows], 0, 7)
        assert found.keys() == again.keys()
        for key in found:
            np.testing.assert_allclose(found[key][draw], again[key][0], atol=TOLERANCE, err_msg=key)


def test_ratings_that_the_rules_see_differently_get_a_kappa_each(rated):
    _, values, slots = rated
    found = agreement.judge_raters(values, slots, 0, 7)
    np.testing.assert_array_equal(found["kappa_truncate"], found["kappa_round"])
    found = agreement.judge_raters(values + 0.6, slots, 0, 7)
    for rule in agreement.RULES:
        expected = mean_of_defined(agreement.mean_rater_kappa(values + 0.6, 0, 7, rule))
        np.testing.assert_allclose(found[f"kappa_{rule}"][0], expected, atol=TOLERANCE)


FIGURES = """
import hashlib, numpy as np
from emonet_lightning.evaluation import agreement
rng = np.random.default_rng(0)
truth = rng.random((700, 6)) * 6
slots = np.clip(np.rint(truth[:, None] + rng.normal(0, 2, (700, 4, 6))), 0, 7)
weights = agreement.draws(700, 60, 0)
found = agreement.judge_system(truth + rng.normal(0, 1, truth.shape), slots, slots, 0, 7, weights)
found |= agreement.judge_raters(slots + 0.25, slots, 0, 7, weights)
print(hashlib.sha256(b"".join(found[key].tobytes() for key in sorted(found))).hexdigest())
"""


def test_one_and_two_threads_give_equal_bytes():
    digests = set()
    for threads in ("1", "2"):
        limits = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        for _ in range(1 if threads == "1" else 2):
            run = subprocess.run(
                [sys.executable, "-c", FIGURES], env=os.environ | limits, capture_output=True, text=True, check=True
            )
            digests.add(run.stdout)
    assert len(digests) == 1


def test_metrics_load_neither_torch_nor_lightning():
    code = (
        "import sys, emonet_lightning.evaluation.benchmark; print('torch' in sys.modules, 'lightning' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]
