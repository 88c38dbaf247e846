"""Differences between groups of images: the worst group found among several, without taking luck for a difference.

Whoever looks for the worst of many groups finds one, also where there is none. So every comparison that could have been
picked counts: p values are corrected for all of them (Holm), and intervals are widened for as many (Bonferroni).
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats

from emonet_lightning.evaluation.columns import Array
from emonet_lightning.evaluation.estimates import number
from emonet_lightning.evaluation.multiple_comparisons import holm

ALL_OTHERS = "all others"


def p_value(differences: Array, units: Array | int) -> Array:
    """Return two-sided p [...] of differences [1+B, ...] from 0: the sample over the standard deviation of its draws.

    Student's t, with one degree of freedom less than the fewest units (images or persons) of a side; NaN where the
    difference is not defined or does not vary.
    """
    spread = _spread(differences)
    freedom = np.maximum(np.asarray(units) - 1, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Array = 2 * stats.t.sf(np.abs(differences[0]) / spread, freedom)
    return np.where(np.isnan(spread), np.nan, found)


def find_gaps(
    levels: Sequence[str], values: Array, images: Array, units: Array, level: float, by_size: bool = False
) -> list[dict[str, Any]]:
    """Return the worst level against the best, and against all others.

    Args:
        levels: names [L].
        values: a figure of each level under the same draws [1+B, L]; higher is better.
        images: of each level [L]; all others are their mean, each level counting with its images.
        units: images or persons of each level [L].
        level: coverage of the intervals, over all comparisons that could have been picked.
        by_size: the worst is the level with the largest absolute value, the best the one with the smallest (a bias).

    Returns:
        At most two entries of `worst`, `best` (`all others` in the second), `gap` (worst minus best), `low`, `high`,
        `p_holm`, `num_comparisons`. Levels without a value take no part; of fewer than two, or where all
        are equal, there is none.
    """
    known = np.flatnonzero(~np.isnan(values[0]))
    if len(known) < 2:
        return []
    rank = np.abs(values[0, known]) if by_size else -values[0, known]
    worst, best = int(known[rank.argmax()]), int(known[rank.argmin()])
    if worst == best:
        return []
    pairs = list(combinations(known.tolist(), 2))
    first, second = (np.array([pair[side] for pair in pairs]) for side in (0, 1))
    apart = values[:, first] - values[:, second]
    p = holm(p_value(apart, np.minimum(units[first], units[second])).tolist())
    chosen = pairs.index((min(worst, best), max(worst, best)))
    gap = values[:, worst] - values[:, best]
    entry = {
        "worst": levels[worst],
        "best": levels[best],
        **_interval(gap, min(units[worst], units[best]), level, len(pairs)),
    }
    found = [{**entry, "p_holm": number(p[chosen]), "num_comparisons": len(pairs)}]
    if len(known) > 2:
        others = np.stack([values[:, known] @ _without(images[known], i) for i in range(len(known))], axis=1)
        apart = values[:, known] - others
        rest = np.array([units[known].sum() - units[k] for k in known])
        p = holm(p_value(apart, np.minimum(units[known], rest)).tolist())
        place = known.tolist().index(worst)
        entry = {
            "worst": levels[worst],
            "best": ALL_OTHERS,
            **_interval(apart[:, place], units[worst], level, len(known)),
        }
        found.append({**entry, "p_holm": number(p[place]), "num_comparisons": len(known)})
    return found


def _without(images: Array, i: int) -> Array:
    """Weights of all levels but one [L], with sum 1."""
    kept = np.where(np.arange(len(images)) == i, 0.0, images)
    return kept / kept.sum()


def _interval(difference: Array, units: int, level: float, num_comparisons: int) -> dict[str, Any]:
    tail = (1 - level) / 2 / num_comparisons
    half = float(stats.t.isf(tail, max(int(units) - 1, 1)) * _spread(difference))
    return {"gap": number(difference[0]), "low": number(difference[0] - half), "high": number(difference[0] + half)}


def _spread(values: Array) -> Array:
    """Standard deviation of the draws, those that are defined [...]; NaN where fewer than two are, or none differ."""
    drawn = values[1:]
    count = (~np.isnan(drawn)).sum(axis=0)
    mean = np.where(np.isnan(drawn), 0.0, drawn).sum(axis=0) / np.maximum(count, 1)
    squares = np.where(np.isnan(drawn), 0.0, (drawn - mean) ** 2).sum(axis=0)
    spread = np.sqrt(squares / np.maximum(count - 1, 1))
    return np.where((count > 1) & (spread > 0), spread, np.nan)
