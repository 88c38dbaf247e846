"""Krippendorff's alpha equals the PyPI package's on random and degenerate ratings, and is NaN where that raises."""

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from emonet_lightning.evaluation.agreement import krippendorff_alpha

LEVELS = st.sampled_from(["nominal", "ordinal", "interval"])
WHOLE = st.integers(0, 7).map(float)
ANY = st.one_of(
    st.sampled_from([0.25, 1.1, 3.3]), st.floats(-1e3, 1e3, allow_subnormal=False).map(lambda x: round(x, 3))
)


def by_package(ratings, level):
    """Alpha of one emotion [N, R] by the package; it raises where nothing can differ."""
    paired = ratings[(~np.isnan(ratings)).sum(axis=1) >= 2]
    if len(np.unique(paired[~np.isnan(paired)])) < 2:
        return np.nan
    # Its domain is what occurs, paired or not, so unpaired values are taken out first.
    return krippendorff.alpha(reliability_data=paired.T, level_of_measurement=level)


@given(
    st.data(),
    st.tuples(st.integers(1, 12), st.integers(1, 5), st.integers(1, 3)),
    LEVELS,
    st.sampled_from([WHOLE, ANY]),
)
@settings(max_examples=300, deadline=None)
def test_alpha_equals_the_package_with_missing_ratings(data, shape, level, elements):
    ratings = data.draw(hnp.arrays(np.float64, shape, elements=elements))
    ratings = np.where(data.draw(hnp.arrays(np.bool_, shape)), np.nan, ratings)
    expected = [by_package(ratings[..., k], level) for k in range(shape[2])]
    np.testing.assert_allclose(krippendorff_alpha(ratings, level), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_a_thousand_images_equal_the_package_to_1e_12(level):
    rng = np.random.default_rng(0)
    ratings = np.clip(np.rint(rng.normal(3, 2, (1000, 1, 2)) + rng.normal(0, 1, (1000, 4, 2))), 0, 7)
    ratings[rng.random(ratings.shape) < 0.3] = np.nan
    expected = [by_package(ratings[..., k], level) for k in range(2)]
    np.testing.assert_allclose(krippendorff_alpha(ratings, level), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_alpha_is_undefined_without_two_different_paired_values(level):
    single = np.full((6, 3, 1), 0.1)
    one_rater = np.arange(6.0).reshape(6, 1, 1)
    one_image = np.array([1.0, 2.0, 2.0]).reshape(1, 3, 1)
    apart = np.full((2, 2, 1), np.nan)
    apart[0, 0], apart[1, 1] = 1, 2
    for undefined in (single, one_rater, apart, np.full((4, 3, 1), np.nan), np.zeros((0, 3, 1))):
        assert np.isnan(krippendorff_alpha(undefined, level)).tolist() == [True]
    with pytest.raises(ValueError, match="more than one value"):
        krippendorff.alpha(reliability_data=single[..., 0].T, level_of_measurement=level)
    np.testing.assert_allclose(krippendorff_alpha(one_image, level), by_package(one_image[..., 0], level), atol=1e-12)


def test_equal_ratings_that_are_no_whole_numbers_are_no_disagreement():
    for num_images in range(1, 60):
        ratings = np.full((num_images + 2, 3, 1), 0.1)
        ratings[-2:] = np.array([0.3, 1.7, 2.2])[:, None]
        weights = np.ones((2, num_images + 2))
        weights[1, -2:] = 0  # a draw without the two images that differ
        assert np.isnan(krippendorff_alpha(ratings, "interval", weights)[:, 0]).tolist() == [False, True]


def test_interval_alpha_keeps_its_digits_far_from_zero():
    rng = np.random.default_rng(0)
    ratings = rng.integers(0, 8, (50, 4, 1)) / 4
    near, far = (krippendorff_alpha(ratings + offset, "interval") for offset in (0, 2.0**30))
    np.testing.assert_allclose(far, near, atol=1e-12)


def test_ratings_off_the_named_levels_are_refused():
    ratings = np.array([[1.0, 9.0], [2.0, 2.0]])[..., None]
    with pytest.raises(ValueError, match="rating 9 is not among the levels"):
        krippendorff_alpha(ratings, "ordinal", levels=range(8))
    with pytest.raises(ValueError, match="must be nominal, ordinal or interval, got 'ratio'"):
        krippendorff_alpha(ratings, "ratio")
    np.testing.assert_array_equal(
        krippendorff_alpha(ratings % 8, "ordinal", levels=range(8)), krippendorff_alpha(ratings % 8, "ordinal")
    )
