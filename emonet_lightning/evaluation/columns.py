"""Columns of samples with gaps (NaN): means, exact sums, and ranks, for the sample and all its bootstrap draws at once.

Draws are counts of samples [D, N], so a statistic of a draw is a weighted one. The trade-off: one sort per column, and
ranks from cumulative counts, in place of resampling and sorting the rows of every draw.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Counts = NDArray[np.int64]
MIN_VALUES = 3
"""A correlation of fewer values is undefined: two points always lie on a line."""
_CELLS = 160_000  # draws x samples held at once: the arrays of one block stay in the processor's cache


def float64(values: ArrayLike) -> Array:
    """Return values as float64."""
    return np.asarray(values, dtype=np.float64)


def paired(scores: ArrayLike, target: ArrayLike) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Blank the scores of unlabelled samples; say for which emotions [K] a labelled sample has no score."""
    scores, target = float64(scores), float64(target)
    if scores.shape != target.shape or scores.ndim != 2:
        raise ValueError(f"scores {scores.shape} and target {target.shape} must both be [N, K]")
    labelled = ~np.isnan(target)
    broken = np.asarray((np.isnan(scores) & labelled).any(axis=0))
    return np.where(labelled, scores, np.nan), target, broken


def column_mean(values: Array, axis: int = 0) -> Array:
    """Mean over an axis of what is not NaN; NaN where nothing is."""
    given = ~np.isnan(values)
    return ratio(np.where(given, values, 0.0).sum(axis=axis), given.sum(axis=axis))


def mean_rating(ratings: ArrayLike) -> Array:
    """Return the mean over the raters who answered [N, K] of ratings [N, R, K]; NaN where nobody did."""
    return column_mean(float64(ratings), axis=1)


def median_rating(ratings: ArrayLike) -> Array:
    """Return the median over the raters who answered [N, K] of ratings [N, R, K]; NaN where nobody did."""
    ratings = float64(ratings)
    if ratings.shape[1] == 0:
        return np.full((len(ratings), ratings.shape[2]), np.nan)
    ordered = np.sort(ratings, axis=1)  # NaN last
    count = (~np.isnan(ratings)).sum(axis=1, keepdims=True)
    lower, upper = (np.take_along_axis(ordered, np.maximum(at, 0), axis=1) for at in ((count - 1) // 2, count // 2))
    # With an even number of answers, the mean of the two in the middle; an odd number meets itself.
    return np.where(count > 0, lower + (np.where(count > 0, upper, 0.0) - lower) / 2, np.nan)[:, 0]


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> Array:
    """Return numerator / denominator, NaN (without a warning) where the denominator is not positive."""
    denominator = float64(denominator)
    defined = denominator > 0
    return np.where(defined, float64(numerator) / np.where(defined, denominator, 1.0), np.nan)


def counted(weights: ArrayLike | None, num_samples: int) -> Array:
    """Return the counts of samples [D, N]; without weights one row of ones, the sample itself."""
    if weights is None:
        return np.ones((1, num_samples))
    found = float64(weights)
    if found.ndim != 2 or found.shape[1] != num_samples:
        raise ValueError(f"weights {found.shape} must be [draws, {num_samples}]")
    return found


def as_asked(values: Array, weights: ArrayLike | None) -> Array:
    """Drop the axis of draws [D, ...] where no weights were given."""
    return values[0] if weights is None else values


def sums(weights: Array, columns: Array) -> Array:
    """Return weighted sums of columns [..., N, C] as [..., D, C], the same for any number of threads.

    Whole numbers add up exactly in any order, so they go through one matrix product; others are summed in fixed order.
    """
    bound = float(np.abs(columns).max(initial=0.0)) * float(weights.sum(axis=1).max(initial=0.0))
    if bound < 2**53 and np.array_equal(columns, np.rint(columns)):
        exact = np.float32 if bound < 2**24 else np.float64
        return np.matmul(weights.astype(exact, copy=False), columns.astype(exact, copy=False)).astype(np.float64)
    flipped = np.ascontiguousarray(columns.swapaxes(-1, -2))
    return np.asarray(np.einsum("dn,...cn->...dc", weights, flipped))


class Drawn(NamedTuple):
    """Some draws of a sorted column."""

    block: slice
    """Which draws."""
    counts: Counts
    """Copies of each sample, in sorted order [d, n]."""
    times: Array
    """The same as float64."""
    below: Counts
    """Copies before each place in the order [d, n + 1]; the last is their number."""


class Ranking:
    """One column of values, sorted once, ranked under any counts of its samples.

    Args:
        column: values [N].
        rows: samples that take part; ties keep their order.
    """

    def __init__(self, column: Array, rows: NDArray[np.intp]) -> None:
        self.column = column
        self.order = rows[np.argsort(column[rows], kind="stable")]
        self.values = column[self.order]
        new = np.ones(len(rows), dtype=bool)
        new[1:] = self.values[1:] != self.values[:-1]
        self.starts = np.flatnonzero(new)
        self.ends = np.append(self.starts[1:], len(rows)).astype(np.intp)
        self.code = np.cumsum(new) - 1  # group of equal values, per place in the order
        self.first = self.starts[self.code]

    def blocks(self, weights: Array) -> Iterator[Drawn]:
        """Yield draws in blocks; rankings under the same weights [D, N] are cut at the same draws."""
        height = max(16, _CELLS // max(weights.shape[1], 1))
        for start in range(0, len(weights), height):
            block = slice(start, start + height)
            times = np.take(weights[block], self.order, axis=1)
            counts = times.astype(np.int64)
            yield Drawn(block, counts, times, cumulative(counts))

    def doubled(self, below: Counts) -> Counts:
        """Twice the average rank (from 0) plus 1, per place in the order [d, n]: whole numbers even among ties."""
        if len(self.starts) == len(self.order):
            return below[:, :-1] + below[:, 1:]
        return np.take(self.by_group(below), self.code, axis=1)

    def by_group(self, below: Counts) -> Counts:
        """As `doubled`, per group of equal values [d, groups]."""
        return below[:, self.starts] + below[:, self.ends]

    def spread(self, below: Counts) -> Array:
        """Sum of squares [d] of the centred doubled ranks; exactly 0 where all copies are equal."""
        group = (below[:, self.ends] - below[:, self.starts]).astype(np.float64)
        total = below[:, -1].astype(np.float64)
        return (total * total * total - np.einsum("dn,dn,dn->d", group, group, group)) / 3


def cumulative(values: Counts) -> Counts:
    """Running sums along the rows, from 0 [d, n + 1]."""
    found = np.zeros((len(values), values.shape[1] + 1), dtype=np.int64)
    np.cumsum(values, axis=1, out=found[:, 1:])
    return found
