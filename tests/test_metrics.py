"""`val/score`: against scipy and scikit-learn, what counts for the mean, and which emotions may choose an epoch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score

from emonet_lightning.metrics import MIN_SUPPORT, ScoreTable, named, val_score

LOW = np.zeros(4)
quick = settings(max_examples=40, deadline=None)


@quick
@given(st.integers(0, 10_000), st.integers(3, 60))
def test_spearman_is_scipys_on_the_labelled_rows(seed, count):
    rng = np.random.default_rng(seed)
    scores, truth = rng.normal(size=(count, 4)).round(1), rng.integers(0, 8, (count, 4)).astype(float)
    truth[rng.random((count, 4)) < 0.3] = np.nan
    found = val_score(scores, truth, "spearman", LOW, 4).per_head
    for k in range(4):
        rows = ~np.isnan(truth[:, k])
        if rows.sum() < 3 or np.ptp(truth[rows, k]) == 0 or np.ptp(scores[rows, k]) == 0:
            assert np.isnan(found[k])
        else:
            assert found[k] == pytest.approx(spearmanr(scores[rows, k], truth[rows, k]).statistic, abs=1e-12)


@quick
@given(st.integers(0, 10_000), st.integers(1, 60))
def test_average_precision_is_scikit_learns_on_the_questions_asked(seed, count):
    rng = np.random.default_rng(seed)
    scores, truth = rng.normal(size=(count, 4)).round(1), (rng.random((count, 4)) < 0.3).astype(float)
    truth[rng.random((count, 4)) < 0.4] = np.nan
    found = val_score(scores, truth, "average_precision", LOW, 4).per_head
    for k in range(4):
        rows = ~np.isnan(truth[:, k])
        if len(set(truth[rows, k])) < 2:
            assert np.isnan(found[k])
        else:
            assert found[k] == pytest.approx(average_precision_score(truth[rows, k], scores[rows, k]), abs=1e-12)


def test_undefined_emotions_and_extra_dimensions_are_left_out_of_the_mean():
    rng = np.random.default_rng(1)
    scores, truth = rng.normal(size=(30, 4)), rng.integers(0, 8, (30, 4)).astype(float)
    truth[:, 1] = 2.0  # constant: no correlation
    result = val_score(scores, truth, "spearman", LOW, 3)
    assert np.isnan(result.per_head[1])
    assert result.mean == pytest.approx(np.mean([result.per_head[0], result.per_head[2]]))
    assert result.per_head[3] == pytest.approx(spearmanr(scores[:, 3], truth[:, 3]).statistic)


def test_without_any_defined_emotion_the_mean_is_undefined():
    result = val_score(np.zeros((5, 4)), np.full((5, 4), np.nan), "spearman", LOW, 4)
    assert np.isnan(result.mean)
    assert not result.selectable.any()
    empty = val_score(np.zeros((0, 4)), np.zeros((0, 4)), "average_precision", LOW, 4)
    assert np.isnan(empty.mean)
    assert not empty.constant.any()


def columns_of_support(yes, no, rest, rng):
    """One column with so many yes, no and unanswered rows."""
    truth = np.array([1.0] * yes + [0.0] * no + [np.nan] * rest)
    return rng.permutation(truth)


def test_five_yes_and_five_no_choose_an_epoch_four_do_not():
    rng = np.random.default_rng(2)
    cases = [(5, 5, 20), (4, 26, 0), (26, 4, 0), (5, 4, 21)]
    truth = np.stack([columns_of_support(*case, rng) for case in cases], axis=1)
    result = val_score(rng.normal(size=(30, 4)), truth, "average_precision", LOW, 4)
    assert MIN_SUPPORT == 5
    assert result.selectable.tolist() == [True, False, False, False]
    assert not np.isnan(result.per_head).any()  # they count for the mean all the same


@pytest.mark.parametrize("low", [0.0, 1.0])
def test_a_rating_supports_an_emotion_where_it_is_above_the_resting_level(low):
    rng = np.random.default_rng(3)
    support = [(5, 5, 20), (4, 26, 0), (26, 4, 0), (5, 4, 21)]
    truth = np.stack([columns_of_support(*case, rng) for case in support], axis=1)
    above = np.where(truth == 1, rng.uniform(low + 0.25, 7, truth.shape), np.where(truth == 0, low, np.nan))
    result = val_score(rng.normal(size=(30, 4)), above, "spearman", np.full(4, low), 4)
    assert result.selectable.tolist() == [True, False, False, False]


def test_the_middle_of_a_signed_dimension_is_its_resting_level():
    truth = np.tile(np.array([[-3.0], [2.0]]), (5, 1))
    rng = np.random.default_rng(4)
    signed = val_score(rng.normal(size=(10, 1)), truth, "spearman", np.zeros(1), 0)
    assert signed.selectable.tolist() == [True]
    assert val_score(rng.normal(size=(10, 1)), abs(truth), "spearman", np.zeros(1), 0).selectable.tolist() == [False]


def test_a_head_that_diverged_has_no_figure_and_chooses_nothing():
    rng = np.random.default_rng(5)
    scores, truth = rng.normal(size=(30, 4)), rng.integers(0, 3, (30, 4)).astype(float)
    scores[3, 2] = np.nan
    result = val_score(scores, truth, "spearman", LOW, 4)
    assert np.isnan(result.per_head[2])
    assert result.selectable.tolist() == [True, True, False, True]
    assert result.mean == pytest.approx(result.per_head[[0, 1, 3]].mean())


def test_heads_that_answer_the_same_to_everybody_are_found():
    scores = np.random.default_rng(6).normal(size=(30, 4))
    scores[:, 1] = 3.0
    scores[:, 3] = 3.0 + 1e-8 * scores[:, 3]
    assert val_score(scores, scores, "spearman", LOW, 4).constant.tolist() == [False, True, False, True]


def test_only_defined_values_are_logged_under_their_emotion():
    assert named("val/score", [0.25, float("nan")], ["awe", "anger"]) == {"val/score/awe": 0.25}


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_score_table_sorts_rows_and_drops_padding():
    table = ScoreTable(2)
    table.update(torch.tensor([4, 2, -1]), torch.tensor([[4.0, 0.4], [2.0, 0.2], [9.0, 9.0]]))
    table.update(torch.tensor([-1, 3, -1]), torch.tensor([[9.0, 9.0], [3.0, 0.3], [8.0, 8.0]]))
    rows, scores = table.compute()
    assert rows.tolist() == [2, 3, 4]
    assert scores[:, 0].tolist() == [2.0, 3.0, 4.0]
    assert scores.dtype == np.float64
    table.reset()
    rows, scores = table.compute()
    assert (rows.shape, scores.shape) == ((0,), (0, 2))


def test_score_table_counts_a_row_seen_twice_once():
    table = ScoreTable(1)
    table.update(torch.tensor([1, 1, 0]), torch.tensor([[5.0], [5.0], [2.0]]))
    rows, scores = table.compute()
    assert rows.tolist() == [0, 1]
    assert scores[:, 0].tolist() == [2.0, 5.0]


def test_score_table_keeps_half_precision_scores_as_they_were():
    table = ScoreTable(1)
    half = torch.tensor([[0.1], [1e-4]], dtype=torch.bfloat16)
    table.update(torch.tensor([0, 1]), half)
    assert table.compute()[1].tolist() == half.double().tolist()
