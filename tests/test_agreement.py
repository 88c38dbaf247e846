"""Agreement metrics equal scikit-learn and SciPy on random and degenerate input."""

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


@given(scores_and_target(values=st.sampled_from([0.0, 1.0])))
@settings(max_examples=200, deadline=None)
def test_average_precision_equals_scikit_learn_with_tied_scores(data):
    expected = per_column(lambda a, b: metrics.average_precision_score(b, a), *data, lambda a, b: set(b) == {0.0, 1.0})
    np.testing.assert_allclose(agreement.average_precision(*data), expected, atol=TOLERANCE, rtol=0)


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


@pytest.mark.parametrize("metric", [agreement.spearman, agreement.pearson, agreement.mae, agreement.average_precision])
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


def test_correlation_of_tiny_and_huge_values_is_not_lost_to_underflow():
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 50, 1))
    np.testing.assert_allclose(agreement.pearson(a * 1e-200, b * 1e200), agreement.pearson(a, b), atol=TOLERANCE)
