"""Draws of images, of groups of images, and of raters, shared by all statistics so that differences are paired."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from emonet_lightning.evaluation.columns import Array, Counts, float64, ratio


def draws(num_samples: int, num_draws: int, seed: int, groups: Sequence[object] | None = None) -> Array:
    """Return how often each sample occurs in each bootstrap draw [1 + B, N]; row 0 is the sample itself.

    Draw b counts `rng.integers(0, n, n)`, all from one `numpy.random.default_rng(seed)`, which gives the published
    intervals of the pooled estimators with 500 draws and seed 0.

    Args:
        num_samples: N.
        num_draws: B.
        seed: of the generator.
        groups: group of each sample (a person) [N]; n groups are then drawn whole, in place of samples. Samples of
            group None are drawn singly.

    Raises:
        ValueError: not one group per sample.
    """
    codes, num_units = unit_codes(num_samples, groups)
    rng = np.random.default_rng(seed)
    weights = np.ones((1 + num_draws, num_samples))
    for row in weights[1:] if num_units else ():
        row[:] = np.bincount(rng.integers(0, num_units, num_units), minlength=num_units)[codes]
    return weights


def num_units(num_samples: int, groups: Sequence[object] | None = None) -> int:
    """Return how many units `draws` draws: samples, or groups and samples without a group."""
    return unit_codes(num_samples, groups)[1]


def unit_codes(num_samples: int, groups: Sequence[object] | None) -> tuple[Counts, int]:
    """Return the number of each sample's unit [N], its group or the sample itself, and how many units there are."""
    if groups is None:
        return np.arange(num_samples), num_samples
    if len(groups) != num_samples:
        raise ValueError(f"{len(groups)} groups for {num_samples} samples")
    known: dict[object, int] = {}
    keys = [("single", row) if group is None else ("group", group) for row, group in enumerate(groups)]
    return np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.int64), len(known)


def interval(values: ArrayLike, level: float = 0.95) -> tuple[Array, Array]:
    """Return the percentile interval of the draws, the rows after the first, of values [1 + B, ...].

    Args:
        values: point estimate and draws; draws in which a statistic is undefined (NaN) are left out.
        level: coverage.

    Returns:
        Low and high [...]; NaN where no draw is defined.
    """
    drawn = float64(values)[1:]
    shape = drawn.shape[1:]
    ends = np.full((2, *shape), np.nan)
    cells = [(1 - level) / 2 * 100, (1 + level) / 2 * 100]
    whole = ~np.isnan(drawn).any(axis=0) if len(drawn) else np.zeros(shape, dtype=bool)
    ends[:, whole] = np.percentile(drawn[:, whole], cells, axis=0) if whole.any() else 0.0
    for place in np.argwhere(~whole):
        column = drawn[(slice(None), *place)]
        if not np.isnan(column).all():
            ends[(slice(None), *place)] = np.percentile(column[~np.isnan(column)], cells)
    return ends[0], ends[1]


def over_raters(
    pairs: ArrayLike, systems: Mapping[str, ArrayLike], num_draws: int, seed: int, humans: str = "humans"
) -> dict[str, Array]:
    """Return agreement under draws of raters, not images: how far the figures depend on who rated.

    A rater drawn twice counts twice, and pairs of a rater with itself are left out. Rows are paired: the difference of
    two entries is the draw's difference.

    Args:
        pairs: agreement of raters with each other [R, R, K]; the diagonal is not read; NaN is undefined.
        systems: name -> agreement of a system with each rater [R, K].
        num_draws: B.
        seed: of the draws.
        humans: name of the raters themselves in the answer.

    Returns:
        Name -> [1 + B, K], row 0 with each rater once: for the raters the mean over raters of a rater's mean with the
        others, for a system its mean over raters; NaN where no defined figure was drawn.
    """
    pairs = float64(pairs).copy()
    pairs[np.diag_indices(len(pairs))] = np.nan
    weights = draws(len(pairs), num_draws, seed)
    known = ~np.isnan(pairs)
    filled = np.where(known, pairs, 0.0)
    own = ratio(np.einsum("dj,ijk->dik", weights, filled), np.einsum("dj,ijk->dik", weights, known.astype(np.float64)))
    found = {humans: _weighted_mean(own, weights)}
    for name, values in systems.items():
        found[name] = _weighted_mean(float64(values)[None], weights)
    return found


def _weighted_mean(values: Array, weights: Array) -> Array:
    """Mean over raters [D, K] of what is defined in values [D or 1, R, K]."""
    known = ~np.isnan(values)
    weights = weights[:, :, None]
    return ratio((weights * np.where(known, values, 0.0)).sum(axis=1), (weights * known).sum(axis=1))
