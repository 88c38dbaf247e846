"""P values of many comparisons at once, corrected for their number."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from emonet_lightning.evaluation.columns import Array


def holm(p: Sequence[float]) -> Array:
    """Return p values that keep the chance of any false finding among all (Holm 1979); NaN stays and does not count.

    Args:
        p: two-sided, of all differences that a report shows.
    """
    values = np.asarray(p, dtype=np.float64)
    adjusted = np.full(len(values), np.nan)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * factors))
    return adjusted


def false_discovery(p: Sequence[float]) -> Array:
    """Return p values that keep the share of false findings (Benjamini and Hochberg 1995); NaN stays and counts not."""
    values = np.asarray(p, dtype=np.float64)
    adjusted, known = np.full(len(values), np.nan), ~np.isnan(values)
    if known.any():
        adjusted[known] = stats.false_discovery_control(values[known])
    return adjusted
