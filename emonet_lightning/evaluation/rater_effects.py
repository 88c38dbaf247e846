"""What sets a rater apart from others who rated the same images: bias, use of the scale, and whether they looked."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from emonet_lightning.evaluation.columns import Array, column_mean, float64, ratio


class RaterEffects(NamedTuple):
    """Estimates per rater; NaN where a rater shares no images with others."""

    bias: Array
    """Mean of the rater's ratings minus that of the others on the same images [R, K], in levels."""
    scale: Array
    """Mean level of the rater over that of the others, where both are above the lowest level [R]."""
    num_present: Array
    """Emotions above the lowest level per image [R]."""
    sensitivity: Array
    """Correlation over images with the mean of the others, mean over emotions [R]."""
    p: Array
    """Chance that answers which ignore the image are as sensitive [R], see `rater_effects`."""


def rater_effects(values: ArrayLike, low: float = 0.0, num_permutations: int = 199, seed: int = 0) -> RaterEffects:
    """Estimate what sets each rater apart.

    The p value is that of a permutation test: the rater's answers are given to other images that the rater saw, whole,
    which keeps how many sliders a rater moves and how far. A careless rater's answers are no worse for it: p stays
    large. A large p of a rater with few images says nothing.

    Args:
        values: ratings [N, R, K]; NaN where a rater did not answer.
        low: lowest level.
        num_permutations: of the test; the smallest p is 1 / (number + 1).
        seed: of the permutations.
    """
    values = float64(values)
    _, num_raters, num_emotions = values.shape
    rng = np.random.default_rng(seed)
    bias = np.full((num_raters, num_emotions), np.nan)
    scale, num_present, sensitivity, p = (np.full(num_raters, np.nan) for _ in range(4))
    for r in range(num_raters):
        others = column_mean(np.delete(values, r, axis=1).swapaxes(0, 1))
        rows = np.flatnonzero((~np.isnan(values[:, r]) & ~np.isnan(others)).all(axis=1))
        if not len(rows):
            continue
        own, rest = values[rows, r], others[rows]
        bias[r] = own.mean(axis=0) - rest.mean(axis=0)
        both = (own > low) & (rest > low)
        present = np.delete(values[rows], r, axis=1)  # where others touched a slider, their mean level
        level = column_mean(np.where(present > low, present, np.nan).swapaxes(0, 1))
        scale[r] = ratio((own[both] - low).sum(), (level[both] - low).sum())
        num_present[r] = (own > low).sum(axis=1).mean()
        unit_own, unit_rest = _standardised(own), _standardised(rest)
        sensitivity[r] = _correlation(unit_own, unit_rest)
        drawn = [_correlation(rng.permutation(unit_own), unit_rest) for _ in range(num_permutations)]
        p[r] = (1 + np.sum(np.array(drawn) >= sensitivity[r])) / (1 + num_permutations)
    return RaterEffects(bias, scale, num_present, sensitivity, p)


def _standardised(values: Array) -> Array:
    """Columns with mean 0 and length 1; constant ones are NaN."""
    centred = values - values.mean(axis=0)
    length = np.sqrt((centred**2).sum(axis=0))
    return centred / np.where(length > 0, length, np.nan)


def _correlation(a: Array, b: Array) -> float:
    found = (a * b).sum(axis=0)
    return float(np.mean(found[~np.isnan(found)])) if (~np.isnan(found)).any() else np.nan
