"""Interval of a share whose cases share images and judges: two crossed clusterings, few of one of them perhaps."""

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from emonet_lightning.evaluation.shares import share


def clustered_interval(
    hits: NDArray[np.bool_], image: NDArray[np.int64], judge: NDArray[np.int64], level: float = 0.95
) -> tuple[float, float]:
    """Return the interval of a share that covers other images and other judges, too.

    Variances over images, over judges and of single cases add up (Cameron, Gelbach and Miller 2011); each part brings
    its degrees of freedom (Satterthwaite 1946), so that few judges widen the interval; ends are taken on the log-odds.
    Where all cases are alike, there is nothing to estimate a variance from: the Wilson interval with a case per image.
    One image tells nothing of others: 0 to 1.

    Args:
        hits: [n].
        image: of each case [n].
        judge: of each case [n].
        level: coverage.
    """
    n, value = len(hits), float(np.mean(hits))
    num_images = len(np.unique(image))
    if num_images < 2:
        return 0.0, 1.0
    if value in (0.0, 1.0):
        found = share(round(value * num_images), num_images, level)
        return float(found["low"] or 0.0), float(found["high"] or 0.0)
    error = hits - value
    single = float((error**2).sum() / n**2 * n / (n - 1))
    parts = [(single, n - 1.0)]
    for groups in (image, judge):
        names, place = np.unique(groups, return_inverse=True)
        if len(names) > 1:
            total = np.bincount(place, weights=error)
            variance = float((total**2).sum() / n**2 * len(names) / (len(names) - 1))
            parts.append((max(variance - single, 0.0), len(names) - 1.0))
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / sum(part**2 / df for part, df in parts)
    half = stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(variance) / (value * (1 - value))
    middle = special.logit(value)
    return float(special.expit(middle - half)), float(special.expit(middle + half))
