"""Paired bootstrap of systems: equal to resampling rows and ranking them again."""

import json
import warnings

import numpy as np
import pytest
from scipy import stats

from emonet_lightning.evaluation.comparison import PROMPTED, compare, reference_systems


@pytest.fixture
def rated():
    """40 samples, 4 raters, 5 emotions, gaps, ties; the third emotion was never given."""
    rng = np.random.default_rng(3)
    truth = rng.random((40, 5))
    ratings = np.clip(np.round(truth[:, None] * 5 + rng.normal(0, 1, (40, 4, 5))), 0, 7)
    ratings[rng.random(ratings.shape) < 0.2] = np.nan
    ratings[:, :, 2] = 0
    ratings[:7, :, 3] = np.nan  # a question not asked of some samples
    model = np.round(truth + rng.normal(0, 0.3, truth.shape), 1)
    return model, ratings


def by_resampling(scores, target, draws):
    """Mean over emotions of SciPy's Spearman on the rows of each draw; 0 where only the system is constant."""
    means = []
    for rows in draws:
        figures = []
        for a, b in zip(scores[rows].T, target[rows].T, strict=True):
            a, b = a[~np.isnan(b)], b[~np.isnan(b)]
            if len(b) >= 3 and len(set(b)) > 1:
                figures.append(stats.spearmanr(a, b).statistic if len(set(a)) > 1 else 0.0)
        means.append(np.mean(figures))
    return np.array(means)


def test_intervals_equal_those_of_resampled_rows_ranked_again(rated):
    model, ratings = rated
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        target = np.nanmean(ratings, axis=1)
    other = np.random.default_rng(9).integers(0, 3, model.shape).astype(float)
    found = compare({"model": model, "other": other}, ratings, num_draws=60, seed=5)
    counts = np.random.default_rng(5).multinomial(40, np.full(40, 1 / 40), size=60)
    draws = [np.repeat(np.arange(40), count) for count in counts]
    all_rows = [np.arange(40)]
    expected = {name: by_resampling(values, target, draws) for name, values in (("model", model), ("other", other))}
    for name, values in (("model", model), ("other", other)):
        system = found["systems"][name]
        assert system["spearman"] == pytest.approx(by_resampling(values, target, all_rows)[0], abs=1e-10)
        np.testing.assert_allclose(
            [system["low"], system["high"]], np.percentile(expected[name], [2.5, 97.5]), atol=1e-10
        )
    difference = found["differences"]["other"]
    np.testing.assert_allclose(
        [difference["low"], difference["high"]],
        np.percentile(expected["model"] - expected["other"], [2.5, 97.5]),
        atol=1e-10,
    )
    assert found["num_emotions"] == 4
    assert found["systems"]["model"]["per_emotion"]["spearman"][2] is None


def test_a_model_beats_the_reference_systems_and_constants_count_as_zero(rated):
    model, ratings = rated
    systems = {"model": model, **reference_systems(model, ratings, seed=1)}
    found = compare(systems, ratings, num_draws=200)
    assert list(systems) == ["model", "all-zero", "mean", "random", "permuted embeddings"]
    for name in ("all-zero", "mean"):
        assert found["systems"][name] == {**found["systems"][name], "spearman": 0.0, "low": 0.0, "high": 0.0}
        assert found["systems"][name]["num_undefined"] == 4
    assert all(difference["low"] > 0 for difference in found["differences"].values())
    assert "counts as 0" in found["method"]
    json.dumps(found, allow_nan=False)


def test_permuted_embeddings_keep_each_score_row_and_the_prompt_is_a_reference(rated):
    model, ratings = rated
    prompted = np.eye(5)[np.nan_to_num(ratings).mean(axis=1).argmax(axis=1)]
    systems = reference_systems(model, ratings, prompted, seed=1)
    np.testing.assert_array_equal(np.sort(systems["permuted embeddings"], axis=0), np.sort(model, axis=0))
    assert not np.array_equal(systems["permuted embeddings"], model)
    found = compare({"model": model, **systems}, ratings, num_draws=50)
    assert found["systems"][PROMPTED]["spearman"] > found["systems"]["random"]["spearman"]


def test_the_same_seed_gives_the_same_figures_and_another_seed_others(rated):
    model, ratings = rated
    first, again, other = (compare({"model": model}, ratings, num_draws=30, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first["systems"]["model"]["spearman"] == other["systems"]["model"]["spearman"]
    assert first["systems"]["model"]["low"] != other["systems"]["model"]["low"]


def test_drawing_whole_persons_widens_the_interval_of_repeated_photographs(rated):
    model, ratings = (np.repeat(part, 4, axis=0) for part in rated)
    persons = [f"p{row // 4}" for row in range(len(model))]

    def width(groups):
        system = compare({"model": model}, ratings, num_draws=200, groups=groups)["systems"]["model"]
        return system["high"] - system["low"]

    assert width(persons) > 1.5 * width(None)
    assert width([None] * len(model)) == width(None)


def test_a_diverged_head_counts_as_zero_and_is_named(rated):
    model, ratings = rated
    model[0, 0] = np.nan
    found = compare({"model": model}, ratings, num_draws=20)["systems"]["model"]
    assert found["num_undefined"] == 1
    assert found["per_emotion"]["spearman"][0] == 0.0


def test_nothing_rated_gives_nulls_not_a_crash():
    found = compare({"model": np.zeros((4, 2))}, np.full((4, 2), np.nan), num_draws=10)
    assert found["num_emotions"] == 0
    assert found["systems"]["model"]["spearman"] is None


def test_another_shape_is_refused_with_the_name_of_the_system(rated):
    model, ratings = rated
    with pytest.raises(ValueError, match=r"'other'.*\(40, 4\)"):
        compare({"model": model, "other": model[:, :4]}, ratings)
