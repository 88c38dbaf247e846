"""Correlations, errors and detection equal SciPy and scikit-learn on random and degenerate columns."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn import metrics

from emonet_lightning.evaluation import agreement

TOLERANCE = 1e-10
FEW_LEVELS = st.sampled_from([0.0, 1.0, 2.0, 3.5, 7.0])  # many ties
ANY_SCORE = st.floats(-1e6, 1e6, allow_subnormal=False)
YES_OR_NO = st.sampled_from([0.0, 1.0])
SHAPES = st.tuples(st.integers(1, 25), st.integers(1, 4))


@st.composite
def scores_and_target(draw, values=FEW_LEVELS):
    shape = draw(SHAPES)
    scores = draw(hnp.arrays(np.float64, shape, elements=st.one_of(FEW_LEVELS, ANY_SCORE)))
    target = draw(hnp.arrays(np.float64, shape, elements=values))
    missing = draw(hnp.arrays(np.bool_, shape))
    return scores, np.where(missing, np.nan, target)


def per_column(function, scores, target, defined):
    """The oracle: one call per emotion on its labelled rows, NaN where `defined` says so."""
    found = []
    for a, b in zip(scores.T, target.T, strict=True):
        a, b = a[~np.isnan(b)], b[~np.isnan(b)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.append(function(a, b) if defined(a, b) else np.nan)
    return np.array(found)


def varied(a, b):
    return len(a) >= 3 and len(set(a)) > 1 and len(set(b)) > 1


def both_answers(a, b):
    return set(b) == {0.0, 1.0}


@given(scores_and_target())
@settings(max_examples=200, deadline=None)
def test_spearman_equals_scipy_with_ties_and_missing_targets(data):
    expected = per_column(lambda a, b: stats.spearmanr(a, b).statistic, *data, varied)
    np.testing.assert_allclose(agreement.spearman(*data), expected, atol=TOLERANCE, rtol=0)


@given(scores_and_target())
@settings(max_examples=200, deadline=None)
def test_pearson_equals_scipy(data):
    expected = per_column(lambda a, b: stats.pearsonr(a, b).statistic, *data, varied)
    np.testing.assert_allclose(agreement.pearson(*data), expected, atol=TOLERANCE, rtol=0)


@given(scores_and_target(values=YES_OR_NO))
@settings(max_examples=200, deadline=None)
def test_average_precision_and_auroc_equal_scikit_learn_with_tied_scores(data):
    precision = per_column(lambda a, b: metrics.average_precision_score(b, a), *data, both_answers)
    area = per_column(lambda a, b: metrics.roc_auc_score(b, a), *data, both_answers)
    np.testing.assert_allclose(agreement.average_precision(*data), precision, atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(agreement.auroc(*data), area, atol=TOLERANCE, rtol=0)


@given(scores_and_target())
@settings(max_examples=100, deadline=None)
def test_errors_equal_scikit_learn(data):
    def labelled(a, b):
        return len(a) > 0

    np.testing.assert_allclose(
        agreement.mae(*data), per_column(metrics.mean_absolute_error, *data, labelled), atol=TOLERANCE, rtol=1e-12
    )
    np.testing.assert_allclose(
        agreement.rmse(*data), per_column(metrics.root_mean_squared_error, *data, labelled), atol=TOLERANCE, rtol=1e-12
    )


METRICS = [
    agreement.spearman,
    agreement.pearson,
    agreement.mae,
    agreement.rmse,
    agreement.average_precision,
    agreement.auroc,
]


@pytest.mark.parametrize("metric", METRICS)
def test_a_head_with_a_nan_score_has_no_figure_but_its_neighbours_do(metric):
    rng = np.random.default_rng(0)
    target = (rng.random((20, 3)) > 0.5).astype(float)
    target[3, 1] = np.nan
    scores = rng.random((20, 3))
    expected = metric(scores, target)
    scores[3, 1] = np.nan  # not labelled: does not matter
    np.testing.assert_array_equal(metric(scores, target), expected)
    scores[4, 0] = np.nan
    assert np.isnan(metric(scores, target)).tolist() == [True, False, False]


def test_correlation_of_tiny_huge_and_far_off_values_keeps_its_digits():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 2**20, (2, 50, 1)) / 2**20
    expected = agreement.pearson(a, b)
    np.testing.assert_allclose(agreement.pearson(a * 1e-200, b * 1e200), expected, atol=TOLERANCE)
    np.testing.assert_allclose(agreement.pearson(a + 2**30, b - 2**30), expected, atol=TOLERANCE)
    weights = agreement.draws(50, 20, 0)
    np.testing.assert_allclose(
        agreement.pearson(a + 2**30, b, weights), agreement.pearson(a, b, weights), atol=TOLERANCE
    )


def test_a_draw_of_equal_scores_has_no_correlation():
    for copies in range(2, 40):
        scores, target = np.array([[0.0], [0.0], [0.0], [0.1], [0.1], [0.7]]), np.arange(6.0)[:, None]
        weights = np.array([[1.0] * 6, [0, 0, 0, copies, copies + 1, 0]])
        for metric in (agreement.spearman, agreement.pearson):
            for found in (metric(scores, target, weights), metric(target, scores / 3, weights)):
                assert np.isnan(found[:, 0]).tolist() == [False, True]


def test_an_infinite_score_has_a_rank_but_no_linear_correlation():
    scores, target = np.array([[1.0], [2.0], [3.0], [np.inf]]), np.array([[1.0], [2.0], [3.0], [4.0]])
    assert agreement.spearman(scores, target) == pytest.approx(1.0)
    assert np.isnan(agreement.pearson(scores, target)).all()


@pytest.mark.parametrize("num_samples", [0, 1, 2])
def test_too_few_samples_give_nan_for_every_metric_and_no_warning(num_samples):
    values = np.zeros((num_samples, 3))
    for metric in (agreement.spearman, agreement.pearson, agreement.average_precision, agreement.auroc):
        assert np.isnan(metric(values, values)).tolist() == [True] * 3
    assert np.isnan(agreement.quadratic_kappa(values, values, 0, 7)).all()
    assert np.isnan(agreement.mae(values, values)).all() == (num_samples == 0)
    ratings = np.zeros((num_samples, 4, 3))
    assert np.isnan(agreement.rater_kappa(ratings, 0, 7)).all()
    assert np.isnan(agreement.oracle_kappa_binned(values, ratings, 0, 7)).all()
    assert np.isnan(agreement.kappa_binned_heldout(values, ratings, 0, 7)).all()
    weights = agreement.draws(num_samples, 3, 0)
    for figures in (
        agreement.judge_system(values, ratings, ratings, 0, 7, weights),
        agreement.judge_raters(ratings, ratings, 0, 7, weights),
    ):
        assert {values.shape for values in figures.values()} == {(4, 3)}


def test_medians_over_raters_who_answered_equal_numpy():
    rng = np.random.default_rng(2)
    ratings = rng.integers(0, 8, (40, 5, 3)).astype(float)
    ratings[rng.random(ratings.shape) < 0.5] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_array_equal(agreement.median_rating(ratings), np.nanmedian(ratings, axis=1))
        np.testing.assert_allclose(agreement.mean_rating(ratings), np.nanmean(ratings, axis=1))
