"""Binned kappa against the published estimator, written out with plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from test_kappa import gappy, kappa_by_scikit_learn

from emonet_lightning.evaluation import agreement, binning
from emonet_lightning.evaluation.columns import Ranking

TOLERANCE = 1e-10
SHAPES = st.tuples(st.integers(2, 14), st.integers(1, 4))
SCORES = st.one_of(st.sampled_from([0.0, 0.5, 1.0, 2.5]), st.floats(-3, 9).map(lambda x: round(x, 2)))


def gold_of(ratings, low, high):
    given = [rating for rating in ratings if not np.isnan(rating)]
    return float(np.clip(round(sum(given) / len(given)), low, high)) if given else np.nan  # round: half to even


def pairs_with(levels, images):
    """Concatenate (level, rating) over all positions of all images."""
    together = [
        (level, rating)
        for level, ratings in zip(levels, images, strict=True)
        for rating in ratings
        if not np.isnan(rating)
    ]
    return np.array(together, dtype=float).reshape(-1, 2).T


def published_oracle(scores, slots, low, high):
    """One emotion: scores [N], slots [N, S], images in the order in which ties are broken."""
    images = [n for n in range(len(scores)) if not np.isnan(scores[n]) and not np.isnan(slots[n]).all()]
    gold = [gold_of(slots[n], low, high) for n in images]
    order = sorted(range(len(images)), key=lambda i: scores[images[i]])  # stable
    levels = [0.0] * len(images)
    place = 0
    for level in sorted(set(gold)):
        for _ in range(gold.count(level)):
            levels[order[place]] = level
            place += 1
    return kappa_by_scikit_learn(*pairs_with(levels, slots[images]), low, high, "round")


def published_heldout(scores, slots, low, high, first):
    known = ~np.isnan(scores) & ~np.isnan(slots).all(axis=1)
    found = []
    for half in (first, ~first):
        fit, other = known & half, known & ~half
        if not fit.any() or not other.any():
            return np.nan
        gold = np.array([gold_of(ratings, low, high) for ratings in slots[fit]])
        levels, counts = np.unique(gold, return_counts=True)
        shares = np.cumsum(counts) / counts.sum()
        cuts = np.quantile(scores[fit], shares[:-1])
        binned = levels[np.searchsorted(cuts, scores[other], side="right")]
        found.append(kappa_by_scikit_learn(*pairs_with(binned, slots[other]), low, high, "round"))
    return sum(found) / 2


def rows_of(counts):
    """Images of a draw in image order, copies of an image next to each other."""
    return np.repeat(np.arange(len(counts)), counts.astype(int))


@given(st.data(), SHAPES, st.sampled_from([(0, 7), (1, 7), (-3, 3)]))
@settings(max_examples=150, deadline=None)
def test_binned_kappa_equals_the_published_estimator_refitted_in_each_draw(data, shape, scale):
    slots = gappy(data.draw, (*shape, 1), st.integers(*scale).map(float))
    scores = gappy(data.draw, (shape[0], 1), SCORES)
    weights = agreement.draws(shape[0], 4, data.draw(st.integers(0, 99)))
    found = agreement.oracle_kappa_binned(scores, slots, *scale, weights)
    for draw, counts in enumerate(weights):
        rows = rows_of(counts)
        expected = published_oracle(scores[rows, 0], slots[rows, :, 0], *scale)
        np.testing.assert_allclose(found[draw, 0], expected, atol=TOLERANCE)


@given(st.data(), SHAPES, st.sampled_from([(0, 7), (1, 7), (-3, 3)]))
@settings(max_examples=150, deadline=None)
def test_heldout_kappa_equals_the_published_estimator_with_halves_of_images(data, shape, scale):
    slots = gappy(data.draw, (*shape, 1), st.integers(*scale).map(float))
    scores = gappy(data.draw, (shape[0], 1), SCORES)
    weights = agreement.draws(shape[0], 4, data.draw(st.integers(0, 99)))
    first = np.zeros(shape[0], dtype=bool)
    first[np.random.default_rng(3407).permutation(shape[0])[: shape[0] // 2]] = True
    found = agreement.kappa_binned_heldout(scores, slots, *scale, weights)
    for draw, counts in enumerate(weights):
        rows = rows_of(counts)
        expected = published_heldout(scores[rows, 0], slots[rows, :, 0], *scale, first[rows])
        np.testing.assert_allclose(found[draw, 0], expected, atol=TOLERANCE)


def test_a_large_set_equals_the_published_estimator():
    rng = np.random.default_rng(5)
    truth = rng.random((1500, 2)) * 6
    slots = np.clip(np.rint(truth[:, None] + rng.normal(0, 2, (1500, 4, 2))), 0, 7)
    scores = truth + rng.normal(0, 1, truth.shape)
    scores[:, 1] = np.rint(scores[:, 1])  # ties
    weights = agreement.draws(1500, 2, 0)
    first = np.zeros(1500, dtype=bool)
    first[np.random.default_rng(3407).permutation(1500)[:750]] = True
    oracle = agreement.oracle_kappa_binned(scores, slots, 0, 7, weights)
    heldout = agreement.kappa_binned_heldout(scores, slots, 0, 7, weights)
    for draw, counts in enumerate(weights):
        rows = rows_of(counts)
        for k in range(2):
            judged = scores[rows, k], slots[rows, :, k], 0, 7
            assert oracle[draw, k] == pytest.approx(published_oracle(*judged), abs=TOLERANCE)
            assert heldout[draw, k] == pytest.approx(published_heldout(*judged, first[rows]), abs=TOLERANCE)
    assert np.abs(oracle[0, 0] - heldout[0, 0]) < 0.05


def test_cuts_are_numpy_quantiles_to_the_last_bit():
    rng = np.random.default_rng(0)
    scores, gold = rng.normal(size=(301, 1)), rng.integers(0, 8, (301, 1)).astype(float)
    weights = agreement.draws(301, 600, 0)
    up_to = binning.gold_counts(gold, np.ones((301, 1), dtype=bool), 0, 7, weights)[:, 0]
    x = Ranking(scores[:, 0], np.arange(301))
    binned = binning.Binned(x, up_to, binning.column_of(binning.rating_sums(gold[:, None], 0, 7), 0), 0)
    found = np.concatenate([binned.cuts(own) for own in x.blocks(weights)])
    expected = [np.quantile(scores[rows_of(row), 0], cuts / 301) for row, cuts in zip(weights, up_to, strict=True)]
    np.testing.assert_array_equal(found, expected)


@given(hnp.arrays(np.float64, SHAPES, elements=SCORES), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_binned_scores_have_the_shares_of_gold_and_keep_the_order_of_scores(scores, random):
    gold = np.array([[float(random.randint(0, 7)) for _ in row] for row in scores])
    binned = agreement.quantile_bin(scores, gold)
    np.testing.assert_array_equal(np.sort(binned, axis=0), np.sort(gold, axis=0))
    for k in range(scores.shape[1]):
        assert (np.diff(binned[np.argsort(scores[:, k], kind="stable"), k]) >= 0).all()


def test_a_monotone_transformation_of_scores_changes_no_binned_kappa():
    rng = np.random.default_rng(0)
    slots = rng.integers(0, 8, (60, 4, 3)).astype(float)
    scores = rng.normal(size=(60, 3))
    np.testing.assert_array_equal(
        agreement.oracle_kappa_binned(scores, slots, 0, 7),
        agreement.oracle_kappa_binned(np.exp(scores) - 9, slots, 0, 7),
    )
