"""Draws: every weighted statistic equals the same statistic of the rows that were drawn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_binning import rows_of
from test_kappa import gappy

from emonet_lightning.evaluation import agreement

TOLERANCE = 1e-10


def of_scores(name, **options):
    return lambda scores, ratings, weights=None: getattr(agreement, name)(
        scores, agreement.mean_rating(ratings), weights=weights, **options
    )


def of_presence(name):
    def statistic(scores, ratings, weights=None):
        mean = agreement.mean_rating(ratings)
        return getattr(agreement, name)(scores, np.where(np.isnan(mean), np.nan, mean >= 1), weights=weights)

    return statistic


def of_raters(name, *options):
    return lambda scores, ratings, weights=None: getattr(agreement, name)(ratings, *options, weights=weights)


def of_both(name, *options):
    return lambda scores, ratings, weights=None: getattr(agreement, name)(scores, ratings, *options, weights=weights)


STATISTICS = {
    **{name: of_scores(name) for name in ("spearman", "pearson", "mae", "rmse")},
    **{name: of_presence(name) for name in ("average_precision", "auroc")},
    **{f"alpha {level}": of_raters("krippendorff_alpha", level) for level in ("nominal", "ordinal", "interval")},
    **{f"rater kappa {rule}": of_raters("rater_kappa", 0, 7, rule) for rule in agreement.RULES},
    **{f"mean rater kappa {rule}": of_raters("mean_rater_kappa", 0, 7, rule) for rule in agreement.RULES},
    **{f"system kappa {rule}": of_both("system_kappa", 0, 7, rule) for rule in agreement.RULES},
    "pooled rater kappa": of_raters("pooled_rater_kappa", 0, 7),
    "pooled system kappa": of_both("pooled_system_kappa", 0, 7),
    "oracle binned kappa": of_both("oracle_kappa_binned", 0, 7),
}


@pytest.mark.parametrize("statistic", STATISTICS.values(), ids=STATISTICS.keys())
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_weighted_draws_equal_the_statistic_of_the_resampled_rows(statistic, data):
    num_images, num_raters = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 4))
    ratings = gappy(data.draw, (num_images, num_raters, 2), st.integers(0, 7).map(float))
    scores = data.draw(st.sampled_from([0.25, 0.5])) * np.array(
        data.draw(
            st.lists(st.lists(st.integers(-4, 20), min_size=2, max_size=2), min_size=num_images, max_size=num_images)
        )
    )
    weights = agreement.draws(num_images, 5, data.draw(st.integers(0, 999)))
    found = statistic(scores, ratings, weights)
    np.testing.assert_allclose(found[0], statistic(scores, ratings), atol=TOLERANCE)
    for draw, counts in enumerate(weights):
        rows = rows_of(counts)
        np.testing.assert_allclose(found[draw], statistic(scores[rows], ratings[rows]), atol=TOLERANCE)


@pytest.mark.parametrize("statistic", STATISTICS.values(), ids=STATISTICS.keys())
def test_draws_of_many_images_in_several_blocks_equal_the_resampled_rows(statistic):
    rng = np.random.default_rng(4)
    truth = rng.random((900, 1)) * 6
    ratings = np.clip(np.rint(truth[:, None] + rng.normal(0, 2, (900, 4, 1))), 0, 7)
    ratings[rng.random(ratings.shape) < 0.3] = np.nan
    weights = agreement.draws(900, 200, 1)
    found = statistic(truth, ratings, weights)
    for draw in (0, 1, 177, 178, 200):
        rows = rows_of(weights[draw])
        np.testing.assert_allclose(found[draw], statistic(truth[rows], ratings[rows]), atol=TOLERANCE)


def test_draws_are_those_of_integers_from_one_generator_after_the_sample_itself():
    found = agreement.draws(10, 3, seed=0)
    rng = np.random.default_rng(0)
    expected = [np.ones(10)] + [np.bincount(rng.integers(0, 10, 10), minlength=10) for _ in range(3)]
    np.testing.assert_array_equal(found, expected)
    assert (found.sum(axis=1) == 10).all()


def test_whole_groups_are_drawn_and_samples_without_a_group_singly():
    groups = ["anna", "anna", None, "ben", "ben", "ben", None]
    found = agreement.draws(7, 500, 0, groups)
    assert agreement.num_units(7, groups) == 4
    assert (found[:, 0] == found[:, 1]).all()
    assert (found[:, 3:4] == found[:, 3:6]).all()
    assert (found[:, 2] != found[:, 6]).any()
    assert (found[1:, [0, 2, 3, 6]].sum(axis=1) == 4).all()
    np.testing.assert_array_equal(agreement.draws(7, 50, 3, [None] * 7), agreement.draws(7, 50, 3))
    with pytest.raises(ValueError, match="2 groups for 7 samples"):
        agreement.draws(7, 5, 0, ["a", "b"])


def test_drawing_persons_widens_the_interval_of_repeated_photographs():
    rng = np.random.default_rng(0)
    target = np.repeat(rng.random((40, 1)), 4, axis=0)
    scores = target + np.repeat(rng.normal(0, 0.3, (40, 1)), 4, axis=0)

    def width(groups):
        low, high = agreement.interval(agreement.spearman(scores, target, agreement.draws(160, 300, 0, groups)))
        return (high - low)[0]

    assert width([f"p{row // 4}" for row in range(160)]) > 1.5 * width(None)


def test_intervals_are_percentiles_of_defined_draws_without_the_point_estimate():
    values = np.random.default_rng(0).random((101, 2, 3))
    values[0] = 99
    values[5, 1, 2] = np.nan
    values[1:, 0, 0] = np.nan
    low, high = agreement.interval(values, level=0.9)
    assert np.isnan([low[0, 0], high[0, 0]]).all()
    assert low[0, 1] == pytest.approx(np.percentile(values[1:, 0, 1], 5))
    assert high[1, 2] == pytest.approx(np.nanpercentile(values[1:, 1, 2], 95))
    assert np.isnan(agreement.interval(values[:1])[0]).all()


def test_draws_of_raters_equal_means_over_the_raters_drawn():
    rng = np.random.default_rng(0)
    pairs = rng.random((5, 5, 2))
    pairs = (pairs + pairs.swapaxes(0, 1)) / 2
    pairs[0, 1] = pairs[1, 0] = np.nan
    pairs[2, :, 1] = pairs[:, 2, 1] = np.nan
    system = rng.random((5, 2))
    system[3, 0] = np.nan
    found = agreement.over_raters(pairs, {"model": system}, num_draws=40, seed=2)
    rng = np.random.default_rng(2)
    for draw in range(41):
        drawn = list(rng.integers(0, 5, 5)) if draw else list(range(5))
        for k in range(2):
            own = []
            for i in drawn:
                others = [pairs[i, j, k] for j in drawn if j != i and not np.isnan(pairs[i, j, k])]
                own += [np.mean(others)] if others else []
            expected = np.mean(own) if own else np.nan
            assert found["humans"][draw, k] == pytest.approx(expected, abs=TOLERANCE, nan_ok=True)
            with_system = [system[i, k] for i in drawn if not np.isnan(system[i, k])]
            expected = np.mean(with_system) if with_system else np.nan
            assert found["model"][draw, k] == pytest.approx(expected, abs=TOLERANCE, nan_ok=True)
