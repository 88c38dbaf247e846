"""What a factor does to the score: differences between its levels, paired by everything else, with their uncertainty.

A difference is uncertain for two reasons that do not shrink together: another seed trains other heads, and another set
of images ranks them otherwise. Every trial is scored on the same images, so draws of images are shared by all trials
and the second part is that of the difference, not of two scores. The two parts are added:

    se^2 = var over seeds / number of seeds + var over draws of images of the difference of means

and the interval is that of a t distribution whose degrees of freedom follow from both parts (Welch-Satterthwaite).
With three seeds the first part has two degrees of freedom: such intervals are wide, and they should be.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special, stats

from emonet_lightning.evaluation.columns import Array
from emonet_lightning.sweeping.points import Key, Scored, pair_by

MIN_SEEDS = 3
"""Fewer seeds give a difference, but no interval."""


class Difference(NamedTuple):
    """A level of a factor minus its baseline level."""

    factor: str
    level: Hashable
    baseline: Hashable
    value: float
    """Mean over seeds of the mean over pairs."""
    low: float
    high: float
    p: float
    """Two-sided; NaN without an interval."""
    effect: float
    """Hedges' g of paired differences: the mean in units of the differences' standard deviation over seeds, corrected
    for few seeds; NaN with one seed, or where they do not differ at all."""
    se_seeds: float
    se_images: float
    num_seeds: int
    num_pairs: int
    """Trials of the level that have a partner with equal other factors and seed."""


def differences(
    trials: Sequence[Scored], factor: str, baseline: Hashable, num_images: int, level: float = 0.95
) -> list[Difference]:
    """Return each level of a factor minus its baseline level, in order of first mention.

    Args:
        trials: with their factors, seeds and scores under the same draws of images.
        factor: whose levels are compared.
        baseline: its level that the others are compared with.
        num_images: that the draws were of (their degrees of freedom).
        level: coverage of the intervals.
    """
    found = []
    for other in dict.fromkeys(trial.factors[factor] for trial in trials):
        if other == baseline:
            continue
        pairs = pair_by(trials, factor, other, baseline)
        if pairs:
            found.append(_difference(factor, other, baseline, pairs, num_images, level))
    return found


def _difference(
    factor: str, other: Hashable, baseline: Hashable, pairs: Mapping[Key, Array], num_images: int, level: float
) -> Difference:
    seeds = list(dict.fromkeys(key.seed for key in pairs))
    # [S, 1+B]: one figure a seed, the mean over whatever else was varied
    by_seed = np.stack([np.mean([d for key, d in pairs.items() if key.seed == seed], axis=0) for seed in seeds])
    value, size = float(by_seed[:, 0].mean()), len(seeds)
    spread = float(by_seed[:, 0].std(ddof=1)) if size > 1 else np.nan
    drawn = by_seed.mean(axis=0)[1:]
    se_images = float(drawn.std(ddof=1)) if len(drawn) > 1 else np.nan
    se_seeds = spread / np.sqrt(size)
    low, high, p = t_interval(value, se_seeds, size - 1, se_images, num_images - 1, level)
    if size < MIN_SEEDS:
        low = high = p = np.nan
    effect = value / spread * hedges(size - 1) if size > 1 and spread > 0 else np.nan
    return Difference(
        factor, other, baseline, value, low, high, p, float(effect), float(se_seeds), se_images, size, len(pairs)
    )


def t_interval(
    value: float, se_first: float, df_first: int, se_second: float, df_second: int, level: float
) -> tuple[float, float, float]:
    """Return low, high and the two-sided p of a value whose variance is the sum of two estimates; NaN if undefined."""
    variance = se_first**2 + se_second**2
    if not np.isfinite(variance) or min(df_first, df_second) < 1:
        return np.nan, np.nan, np.nan
    if variance == 0:  # trials that are the same to the bit
        return value, value, float(value == 0)
    df = variance**2 / (se_first**4 / df_first + se_second**4 / df_second)
    error = np.sqrt(variance)
    half = stats.t.ppf((1 + level) / 2, df) * error
    return value - half, value + half, float(2 * stats.t.sf(abs(value) / error, df))


def hedges(df: int) -> float:
    """Return the factor that takes the upward bias of few pairs off a standardised difference (Hedges 1981)."""
    return float(np.exp(special.gammaln(df / 2) - special.gammaln((df - 1) / 2)) / np.sqrt(df / 2)) if df > 1 else 0.0


class Optimism(NamedTuple):
    """How much the best of many trials owes to having been chosen on the images that it is reported on."""

    num_trials: int
    best: float
    expected: float
    """Mean over draws of images: score of the draw's best trial on that draw, minus on the sample."""


def optimism(values: Array) -> Optimism:
    """Return what choosing the best trial on its own validation images adds to its score (bootstrap, Efron 1983).

    Args:
        values: scores of trials on the images and on draws of them [T, 1+B].
    """
    drawn = values[:, 1:]
    chosen = drawn.argmax(axis=0)
    gain = drawn.max(axis=0) - values[chosen, 0]
    return Optimism(len(values), float(values[:, 0].max()), float(gain.mean()) if gain.size else np.nan)


def pareto(cost: Sequence[float], score: Sequence[float]) -> list[int]:
    """Return which points no other one beats: none is at most as costly with a higher score; by rising cost."""
    order = sorted(range(len(cost)), key=lambda place: (cost[place], -score[place]))
    front: list[int] = []
    for place in order:
        if not front or score[place] > score[front[-1]]:
            front.append(place)
    return front
