"""Agreement metrics equal scikit-learn and SciPy on random and degenerate input."""

import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
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


SCALES = st.sampled_from([(0, 7), (1, 7), (-3, 3)])


def kappa_by_scikit_learn(a, b, low, high, rule):
    """The released analysis, one pair and emotion at a time: cast, table of the scale's levels, kappa."""
    both = ~(np.isnan(a) | np.isnan(b))
    a, b = a[both], b[both]
    if rule == "truncate":
        a, b = a.astype(int), b.astype(int)
        inside = (a >= low) & (a <= high) & (b >= low) & (b <= high)
        a, b = a[inside], b[inside]
    else:
        a, b = (np.clip(np.rint(side), low, high).astype(int) for side in (a, b))
    if len(a) < 2:
        return np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return metrics.cohen_kappa_score(a, b, weights="quadratic", labels=range(low, high + 1))


def gappy(draw, shape, elements):
    values = draw(hnp.arrays(np.float64, shape, elements=elements))
    return np.where(draw(hnp.arrays(np.bool_, shape)), np.nan, values)


@given(st.data(), SHAPES, SCALES, st.sampled_from(["truncate", "round"]))
@settings(max_examples=200, deadline=None)
def test_kappa_equals_scikit_learn_for_values_on_between_and_outside_the_levels(data, shape, scale, rule):
    elements = st.one_of(st.integers(*scale).map(float), st.floats(-5, 10))
    a, b = gappy(data.draw, shape, elements), gappy(data.draw, shape, elements)
    expected = [kappa_by_scikit_learn(a[:, k], b[:, k], *scale, rule) for k in range(shape[1])]
    np.testing.assert_allclose(agreement.quadratic_kappa(a, b, *scale, rule), expected, atol=TOLERANCE, rtol=0)


def test_kappa_truncates_toward_zero_and_drops_values_that_leave_the_scale():
    other = np.array([0.0, 1, 2, 3, 7, 7])
    a = np.array([-0.5, 1.99, 2.0, 3.9, 7.9, 8.0])  # -0.5 is level 0, 7.9 is level 7, 8 leaves
    kept = agreement.quadratic_kappa(a[:, None], other[:, None], 0, 7)
    assert kept == pytest.approx(1.0)
    assert agreement.quadratic_kappa(a[:, None], other[:, None], 0, 7, rule="round") < 1


def test_kappa_of_equal_constants_is_undefined_and_of_different_constants_zero():
    a, b = np.full((5, 2), 3.0), np.full((5, 2), 3.0)
    b[:, 1] = 4
    np.testing.assert_array_equal(agreement.quadratic_kappa(a, b, 0, 7), [np.nan, 0.0])


@given(st.data(), st.tuples(st.integers(1, 8), st.integers(1, 4), st.integers(1, 3)))
@settings(max_examples=100, deadline=None)
def test_rater_agreement_equals_one_kappa_per_pair_of_raters(data, shape):
    ratings = gappy(data.draw, shape, st.integers(0, 7).map(float))
    scores = data.draw(hnp.arrays(np.float64, (shape[0], shape[2]), elements=st.floats(-1, 9)))
    humans = agreement.rater_agreement(ratings, 0, 7)
    system = agreement.system_rater_agreement(scores, ratings, 0, 7)
    pairs = np.full((shape[1], shape[1], shape[2]), np.nan)
    with_system = np.full(shape[1:], np.nan)
    for k in range(shape[2]):
        for i in range(shape[1]):
            with_system[i, k] = kappa_by_scikit_learn(scores[:, k], ratings[:, i, k], 0, 7, "truncate")
            for j in range(shape[1]):
                if i != j:
                    pairs[i, j, k] = kappa_by_scikit_learn(ratings[:, i, k], ratings[:, j, k], 0, 7, "truncate")
    upper = pairs[np.triu_indices(shape[1], k=1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # means of nothing
        np.testing.assert_allclose(humans.pairs, pairs, atol=TOLERANCE)
        np.testing.assert_allclose(humans.per_rater, np.nanmean(pairs, axis=1), atol=TOLERANCE)
        np.testing.assert_allclose(system.per_rater, with_system, atol=TOLERANCE)
        np.testing.assert_allclose(system.mean, np.nanmean(with_system, axis=0), atol=TOLERANCE)
        if len(upper):
            np.testing.assert_allclose(humans.mean, np.nanmean(upper, axis=0), atol=TOLERANCE)
        else:
            assert np.isnan(humans.mean).all()


def test_rater_spearman_compares_each_rater_with_the_mean_of_the_others():
    rng = np.random.default_rng(2)
    ratings = rng.integers(0, 8, (30, 3, 2)).astype(float)
    ratings[rng.random(ratings.shape) < 0.3] = np.nan
    found = agreement.rater_spearman(ratings)
    for rater in range(3):
        others = agreement.mean_rating(np.delete(ratings, rater, axis=1))
        for k in range(2):
            both = ~(np.isnan(ratings[:, rater, k]) | np.isnan(others[:, k]))
            expected = stats.spearmanr(ratings[both, rater, k], others[both, k]).statistic
            assert found[rater, k] == pytest.approx(expected, abs=TOLERANCE)


def test_metrics_load_neither_torch_nor_lightning():
    code = (
        "import sys, emonet_lightning.evaluation.comparison; print('torch' in sys.modules, 'lightning' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]


def test_two_thousand_raters_who_each_know_one_trait_are_compared(real_data):
    table = pd.read_csv(real_data / "faces" / "ratings_3dsk.csv")
    codes = {column: table[column].factorize() for column in ("image", "rater", "trait")}
    shape = tuple(len(names) for _, names in codes.values())
    ratings = np.full(shape, np.nan)
    ratings[tuple(rows for rows, _ in codes.values())] = table["rating"]
    assert shape == (100, 2000, 5)
    found = agreement.rater_agreement(ratings, 1, 7)
    assert (~np.isnan(found.per_rater)).sum(axis=0).tolist() == [400] * 5  # raters rate one trait each
    one = np.flatnonzero(~np.isnan(found.per_rater[:, 0]))[:6]
    for i, j in zip(one[:3], one[3:], strict=True):
        expected = kappa_by_scikit_learn(ratings[:, i, 0], ratings[:, j, 0], 1, 7, "truncate")
        np.testing.assert_allclose(found.pairs[i, j, 0], expected, atol=TOLERANCE)
    leave_one_out = np.nanmean(agreement.rater_spearman(ratings), axis=0)
    print()
    for trait, kappa, rho in zip(codes["trait"][1], found.mean, leave_one_out, strict=True):
        print(
            f"{trait:>7}: raters with each other: kappa {kappa:.3f}; one rater with the mean of the others: {rho:.3f}"
        )
    assert ((found.mean > 0.1) & (found.mean < 0.3)).all()
    assert (leave_one_out > found.mean).all()


@pytest.mark.parametrize("num_samples", [0, 1, 2])
def test_too_few_samples_give_nan_for_every_metric_and_no_warning(num_samples):
    values = np.zeros((num_samples, 3))
    for metric in (agreement.spearman, agreement.pearson, agreement.average_precision):
        assert np.isnan(metric(values, values)).tolist() == [True] * 3
    assert np.isnan(agreement.quadratic_kappa(values, values, 0, 7)).all()
    assert np.isnan(agreement.mae(values, values)).all() == (num_samples == 0)
    assert np.isnan(agreement.rater_agreement(np.zeros((num_samples, 4, 3)), 0, 7).mean).all()
