"""Columns of samples with gaps (NaN): means, exact sums, and ranks, for the sample and all its bootstrap draws at once.

Draws are counts of samples [D, N], so a statistic of a draw is a weighted one. The trade-off: one sort per column, and
ranks from cumulative counts, in place of resampling and sorting the rows of every draw.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

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
    found = np.asarray(weights)
    if found.dtype != np.float32:  # `narrow`
        found = float64(found)
    if found.ndim != 2 or found.shape[1] != num_samples:
        raise ValueError(f"weights {found.shape} must be [draws, {num_samples}]")
    return found


def narrow(weights: Array) -> Array:
    """Return counts as float32, in which whole numbers below 2^24 are exact, for many calls of `sums`."""
    return weights.astype(np.float32, copy=False) if weights.max(initial=0.0) < 2**24 else weights


def as_asked(values: Array, weights: ArrayLike | None) -> Array:
    """Drop the axis of draws [D, ...] where no weights were given."""
    return values[0] if weights is None else values


def sums(weights: Array, columns: Array) -> Array:
    """Return weighted sums of columns [N, C] as [D, C], the same for any number of threads.

    Whole numbers add up exactly in any order, so they go through one matrix product; others are summed in fixed order.
    """
    bound = float(np.abs(columns).sum(axis=0).max(initial=0.0)) * float(weights.max(initial=0.0))
    if bound < 2**53 and np.array_equal(columns, np.rint(columns)):
        exact = np.float32 if bound < 2**24 else np.float64
        return np.matmul(weights.astype(exact, copy=False), columns.astype(exact, copy=False)).astype(np.float64)
    return np.asarray(np.einsum("dn,cn->dc", float64(weights), np.ascontiguousarray(columns.T)))


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

        self.tied = len(self.starts) < len(rows)

    def blocks(self, weights: Array) -> Iterator["Drawn"]:
        """Yield draws in blocks; rankings under the same weights [D, N] are cut at the same draws."""
        height = max(16, _CELLS // max(weights.shape[1], 1))
        for start in range(0, len(weights), height):
            block = slice(start, start + height)
            yield Drawn(self, block, np.take(weights[block], self.order, axis=1))


class Drawn:
    """Some draws of a sorted column; what several statistics need is computed once.

    Args:
        x: the column.
        block: which draws.
        times: copies of each sample, in sorted order [d, n].
    """

    def __init__(self, x: Ranking, block: slice, times: Array) -> None:
        self.x = x
        self.block = block
        self.times = times

    @cached_property
    def counts(self) -> Counts:
        """Copies of each sample as whole numbers [d, n]."""
        return self.times.astype(np.int64)

    @cached_property
    def below(self) -> Counts:
        """Copies before each place in the order [d, n + 1]; the last is their number."""
        return cumulative(self.counts)

    @property
    def total(self) -> Counts:
        """Number of copies [d]."""
        return self.below[:, -1]

    @cached_property
    def groups(self) -> Counts:
        """Copies in each group of equal values [d, groups]."""
        if not self.x.tied:
            return self.counts
        return np.take(self.below, self.x.ends, axis=1) - np.take(self.below, self.x.starts, axis=1)

    @cached_property
    def group_ranks(self) -> Array:
        """Twice the average rank of each group, less its mean: whole numbers, even among ties [d, groups]."""
        if not self.x.tied:
            ranks = self.below[:, :-1] + self.below[:, 1:]
        else:
            ranks = np.take(self.below, self.x.starts, axis=1) + np.take(self.below, self.x.ends, axis=1)
        ranks -= self.total[:, None]
        return ranks.astype(np.float64)

    @cached_property
    def ranks(self) -> Array:
        """The same for each place in the order [d, n]."""
        return np.take(self.group_ranks, self.x.code, axis=1) if self.x.tied else self.group_ranks

    @cached_property
    def spread(self) -> Array:
        """Sum of squares of `ranks` over all copies [d]; exactly 0 where all are equal."""
        groups = self.groups.astype(np.float64)
        total = self.total.astype(np.float64)
        return (total * total * total - np.einsum("dn,dn,dn->d", groups, groups, groups)) / 3

    @cached_property
    def deviations(self) -> tuple[Array, Array]:
        """Deviations of all copies of a sample from the draw's mean, added up [d, n]; their sum of squares [d].

        In units of the column's largest deviation from its median, so that squares neither under- nor overflow.
        """
        values = scaled(self.x.values)
        centred = values - ratio(np.einsum("dn,n->d", self.times, values), self.total)[:, None]
        weighted = centred * self.times
        return weighted, np.einsum("dn,dn->d", weighted, centred)

    def place(self, copies: Counts) -> Counts:
        """Return the last place [d, L] in the order with at most so many copies before it."""
        # Rows set apart by an offset are one sorted array.
        apart = np.arange(len(self.below))[:, None] * (int(self.total.max(initial=0)) + 1)
        found = np.searchsorted((self.below + apart).ravel(), (copies + apart).ravel(), side="right") - 1
        return found.reshape(copies.shape) - np.arange(len(self.below))[:, None] * self.below.shape[1]


def scaled(values: Array) -> Array:
    """Return values less their median, over the largest absolute value; infinities give NaN.

    The median keeps the digits of most values where a few are huge, and of all where their offset is.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        centred = values - np.median(values) if len(values) else values
        largest = np.abs(centred).max(initial=0.0)
        return centred / largest if largest > 0 else centred


def cumulative(values: Counts) -> Counts:
    """Running sums along the rows, from 0 [d, n + 1]."""
    found = np.zeros((len(values), values.shape[1] + 1), dtype=np.int64)
    np.cumsum(values, axis=1, out=found[:, 1:])
    return found


def by_emotion(of_emotion: Callable[[int], dict[str, Array]], num_emotions: int) -> dict[str, Array]:
    """Return the figures [D] of all emotions, stacked to [D, K].

    Emotions run in parallel, each on its own, so the number of threads changes no figure; matrix products, which have
    threads of their own, stay outside.
    """
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        emotions = list(pool.map(of_emotion, range(num_emotions)))
    return {key: np.stack([emotion[key] for emotion in emotions], axis=1) for key in emotions[0]} if emotions else {}
