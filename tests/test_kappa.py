"""Quadratic kappa equals scikit-learn's for every rule, pair of raters and draw; pooled kappa equals concatenation."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics

from emonet_lightning.evaluation import agreement

TOLERANCE = 1e-10
SHAPES = st.tuples(st.integers(1, 25), st.integers(1, 4))
SCALES = st.sampled_from([(0, 7), (1, 7), (-3, 3)])
RULES = st.sampled_from(["truncate", "round"])


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


def mean_of_defined(values, axis=0):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # means of nothing
        return np.nanmean(values, axis=axis)


@given(st.data(), SHAPES, SCALES, RULES)
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


def test_sums_of_a_long_scale_stay_exact():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 1001, (3000, 1)).astype(float)
    b = np.clip(a + rng.integers(-3, 4, a.shape), 0, 1000)
    expected = kappa_by_scikit_learn(a[:, 0], b[:, 0], 0, 1000, "round")
    np.testing.assert_allclose(agreement.quadratic_kappa(a, b, 0, 1000), [expected], atol=1e-14, rtol=0)


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="'truncate' or 'round', got 'floor'"):
        agreement.quadratic_kappa(np.zeros((3, 1)), np.zeros((3, 1)), 0, 7, "floor")


@given(st.data(), st.tuples(st.integers(1, 8), st.integers(1, 4), st.integers(1, 3)), RULES)
@settings(max_examples=100, deadline=None)
def test_raters_and_systems_get_one_kappa_per_pair_of_them(data, shape, rule):
    ratings = gappy(data.draw, shape, st.integers(0, 7).map(float))
    scores = gappy(data.draw, (shape[0], shape[2]), st.floats(-1, 9))
    pairs = np.full((shape[1], shape[1], shape[2]), np.nan)
    with_system = np.full(shape[1:], np.nan)
    for k in range(shape[2]):
        for i in range(shape[1]):
            with_system[i, k] = kappa_by_scikit_learn(scores[:, k], ratings[:, i, k], 0, 7, rule)
            for j in range(shape[1]):
                if i != j:
                    pairs[i, j, k] = kappa_by_scikit_learn(ratings[:, i, k], ratings[:, j, k], 0, 7, rule)
    np.testing.assert_allclose(agreement.rater_kappa(ratings, 0, 7, rule), pairs, atol=TOLERANCE)
    np.testing.assert_allclose(
        agreement.mean_rater_kappa(ratings, 0, 7, rule), mean_of_defined(pairs, axis=1), atol=TOLERANCE
    )
    np.testing.assert_allclose(agreement.system_kappa(scores, ratings, 0, 7, rule), with_system, atol=TOLERANCE)


@given(st.data(), st.tuples(st.integers(1, 8), st.integers(1, 4), st.integers(1, 2)))
@settings(max_examples=100, deadline=None)
def test_pooled_kappa_is_the_kappa_of_all_pairs_of_positions_in_one_list(data, shape):
    slots = gappy(data.draw, shape, st.integers(0, 7).map(float))
    system = gappy(data.draw, (shape[0], shape[2]), st.floats(-1, 9))
    for k in range(shape[2]):
        s, t = np.triu_indices(shape[1], k=1)
        between = kappa_by_scikit_learn(slots[:, s, k].ravel(), slots[:, t, k].ravel(), 0, 7, "round")
        repeated = np.repeat(system[:, k], shape[1])
        with_system = kappa_by_scikit_learn(repeated, slots[:, :, k].ravel(), 0, 7, "round")
        np.testing.assert_allclose(agreement.pooled_rater_kappa(slots, 0, 7)[k], between, atol=TOLERANCE)
        np.testing.assert_allclose(agreement.pooled_system_kappa(system, slots, 0, 7)[k], with_system, atol=TOLERANCE)


@pytest.mark.parametrize("rule", agreement.RULES)
def test_many_raters_have_the_kappas_that_they_have_in_small_company(rule):
    rng = np.random.default_rng(0)
    ratings = rng.uniform(-1, 9, (30, 40, 2))
    ratings[rng.random(ratings.shape) < 0.4] = np.nan
    weights = agreement.draws(30, 4, 0)
    many, few = (agreement.rater_kappa(part, 0, 7, rule, weights) for part in (ratings, ratings[:, :20]))
    np.testing.assert_array_equal(many[:, :20, :20], few)
    np.testing.assert_allclose(
        agreement.mean_rater_kappa(ratings, 0, 7, rule, weights), mean_of_defined(many, axis=1), atol=TOLERANCE
    )


def test_undefined_pairs_are_counted_by_their_reason():
    ratings = np.full((6, 4, 2), np.nan)
    ratings[:, 0, 0], ratings[:, 1, 0] = 3, 3  # constant together
    ratings[:, 2, 0] = [0, 1, 2, 3, 4, 5]
    ratings[:1, 3, 0] = 3  # shares one image with each other rater
    found = agreement.undefined_pairs(ratings, 0, 7)
    assert found.num_pairs.tolist() == [6, 0]
    assert found.apart.tolist() == [3, 0]
    assert found.constant.tolist() == [1, 0]
    assert np.isnan(agreement.rater_kappa(ratings, 0, 7)[..., 0][np.triu_indices(4, k=1)]).sum() == 4


def test_two_thousand_raters_who_each_know_one_trait_are_compared(real_data):
    table = pd.read_csv(real_data / "faces" / "ratings_3dsk.csv")
    codes = {column: table[column].factorize() for column in ("image", "rater", "trait")}
    shape = tuple(len(names) for _, names in codes.values())
    ratings = np.full(shape, np.nan)
    ratings[tuple(rows for rows, _ in codes.values())] = table["rating"]
    assert shape == (100, 2000, 5)
    means = agreement.mean_rater_kappa(ratings, 1, 7)
    assert (~np.isnan(means)).sum(axis=0).tolist() == [400] * 5  # raters rate one trait each
    one = np.flatnonzero(~np.isnan(means[:, 0]))
    for i in one[:2]:
        pairs = [kappa_by_scikit_learn(ratings[:, i, 0], ratings[:, j, 0], 1, 7, "truncate") for j in one if j != i]
        np.testing.assert_allclose(means[i, 0], mean_of_defined(np.array(pairs)), atol=TOLERANCE)
    assert ((np.nanmean(means, axis=0) > 0.1) & (np.nanmean(means, axis=0) < 0.3)).all()
