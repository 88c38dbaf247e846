"""Systems against the raters but one, image by image as a rater is: the figures that may be compared with humans.

A rater is judged against the mean of the others, on the images that the rater saw. A system judged against the mean of
all has one rater more to average over, and comes out higher for that alone.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from emonet_lightning.evaluation.association import Presence, Target, over_draws
from emonet_lightning.evaluation.columns import (
    Array,
    Ranking,
    by_emotion,
    counted,
    float64,
    mean_rating,
    median_rating,
    ratio,
)

LEFT_OUT = ("spearman", "average_precision", "auroc")
"""Figures that exist in both forms; the key of the left-out one ends in `_left_out`."""
MAX_RATERS = 60
"""Of more raters than this, one more or less makes no difference, and none is left out."""


def others_of(ratings: Array) -> Iterator[tuple[int, Array, Array]]:
    """Yield each rater of one emotion [N, R] with mean and median [N] of the others on the rater's images, else NaN."""
    for rater in np.flatnonzero((~np.isnan(ratings)).any(axis=0)):
        rows = np.flatnonzero(~np.isnan(ratings[:, rater]))
        others = np.delete(ratings[rows], rater, axis=1)[..., None]
        mean, median = (np.full(len(ratings), np.nan) for _ in range(2))
        mean[rows], median[rows] = mean_rating(others)[:, 0], median_rating(others)[:, 0]
        yield int(rater), mean, median


def judge_left_out(
    scores: ArrayLike, values: ArrayLike, weights: ArrayLike | None = None, present_threshold: float = 1.0
) -> dict[str, Array]:
    """Return a system's figures against the mean of all raters but one, on that rater's images, mean over raters.

    Args:
        scores: [N, K]; NaN leaves the image out.
        values: ratings [N, R, K]; NaN where a rater did not answer.
        weights: counts of images [1 + B, N], from `draws`; the sample itself by default.
        present_threshold: an emotion is present where that mean is at least this.

    Returns:
        `spearman_left_out`, `average_precision_left_out`, `auroc_left_out` -> [1 + B, K]; raters with whom a figure is
        undefined are left out of its mean. Of more than 60 raters none is left out.
    """
    scores, values = float64(scores), float64(values)
    counts = counted(weights, len(scores))

    def of_emotion(k: int) -> dict[str, Array]:
        total = {key: np.zeros(len(counts)) for key in LEFT_OUT}
        number = {key: np.zeros(len(counts)) for key in LEFT_OUT}
        for mean in _targets(values[..., k]):
            x = Ranking(scores[:, k], np.flatnonzero(~np.isnan(mean) & ~np.isnan(scores[:, k])))
            if not len(x.order):
                continue
            presence = Presence(x, mean >= present_threshold)
            statistics = {
                "spearman": Target(x, mean, counts).spearman,
                "average_precision": presence.average_precision,
                "auroc": presence.auroc,
            }
            for key, figure in over_draws(x, counts, statistics).items():
                defined = ~np.isnan(figure)
                total[key][defined] += figure[defined]
                number[key] += defined
        return {f"{key}_left_out": ratio(total[key], number[key]) for key in LEFT_OUT}

    return by_emotion(of_emotion, scores.shape[1])


def rater_spearman(values: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Return the rank correlation of each rater with the mean of the others, mean over raters; as in `judge_raters`.

    Args:
        values: ratings [N, R, K]; NaN where a rater did not answer.
        weights: counts of images [1 + B, N], from `draws`; the sample itself by default.

    Returns:
        [1 + B, K]; raters with whom it is undefined are left out of its mean.
    """
    values = float64(values)
    counts = counted(weights, len(values))

    def of_emotion(k: int) -> dict[str, Array]:
        total, number = np.zeros(len(counts)), np.zeros(len(counts))
        for rater, mean, _ in others_of(values[..., k]):
            x = Ranking(values[:, rater, k], np.flatnonzero(~np.isnan(mean)))
            if not len(x.order):
                continue
            figure = over_draws(x, counts, {"": Target(x, mean, counts).spearman})[""]
            defined = ~np.isnan(figure)
            total[defined] += figure[defined]
            number += defined
        return {"": ratio(total, number)}

    return by_emotion(of_emotion, values.shape[2])[""]


def _targets(ratings: Array) -> Iterator[Array]:
    if (~np.isnan(ratings)).any(axis=0).sum() > MAX_RATERS:
        yield mean_rating(ratings[..., None])[:, 0]
        return
    for _, mean, _ in others_of(ratings):
        yield mean
