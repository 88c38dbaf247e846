"""Balanced incomplete factorial designs of any size: every level, and every pair of levels, as often as any other.

The full factorial is balanced in everything, so a design is as many whole copies of it as fit, and a rest. For the
rest two axes have a closed form; with three a balanced one always exists (de Werra's equitable edge colouring of
bipartite multigraphs, 1971); from four on it may not (Euler's 36 officers). So the rest is searched: levels of two rows
are swapped, which keeps every axis balanced, where that makes the squared counts of pairs, whose least value is known,
smaller. What was reached is measured, not assumed.
"""

import math
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from emonet_lightning.progress import progress_bar

MAX_CELLS = 2**24
"""Cells of a full factorial up to which repeated ones are looked for."""
_CANDIDATES = 256  # rows that one is compared with for a swap
_HOT, _COLD, _CYCLE = 0.6, 0.12, 6_000
"""Temperatures of squared counts between which the search cools again and again, and swaps from hot to cold."""
_MAX_SWAPS, _SWAPS_PER_ROW, _LEAST_SWAPS = 80_000, 40, 2_000
_SAMPLE = 4_096


def balanced_levels(sizes: Sequence[int], num: int, seed: int, progress: bool = False) -> np.ndarray:
    """Return a design: which level each row has of each axis.

    Args:
        sizes: number of levels of each axis [K].
        num: number of rows, at least 1.
        seed: another seed, another design of equal balance.
        progress: show a bar: hundreds of thousands of rows on seven axes take a minute and more.

    Returns:
        int64 [num, K]. Every axis has each level within one as often as any other; every pair of axes has each pair
        of levels so, and no cell of the full factorial comes twice before each came once, where the search got there
        (`measure` tells; it always has for the shipped axes).

    Raises:
        InterruptedRunError: the process was asked to stop.
    """
    rng = np.random.default_rng([seed, num, *sizes])
    cells = math.prod(sizes)
    if cells > MAX_CELLS:
        return _rest(sizes, num, rng, None, progress)
    copies, rest = divmod(num, cells)
    factorial = np.stack(np.unravel_index(np.arange(cells), sizes), axis=1)
    parts = [np.tile(factorial, (copies, 1))]
    if rest > cells // 2:  # what is left of a balanced whole by a balanced part is balanced
        without = _rest(sizes, cells - rest, rng, cells, progress)
        left = np.ones(cells, dtype=np.int64)
        np.subtract.at(left, np.ravel_multi_index(tuple(without.T), sizes), 1)
        parts.append(np.repeat(factorial, np.maximum(left, 0), axis=0))
        parts.append(factorial[rng.permutation(cells)[: num - sum(map(len, parts))]])  # only after repeated cells
    elif rest:
        parts.append(_rest(sizes, rest, rng, cells, progress))
    return np.concatenate(parts)


def _rest(sizes: Sequence[int], num: int, rng: np.random.Generator, cells: int | None, progress: bool) -> np.ndarray:
    """Part of a factorial; `cells` None does not look for repeated ones."""
    if num == 0:
        return np.empty((0, len(sizes)), dtype=np.int64)
    order = np.argsort([-size for size in sizes], kind="stable")
    search = _Search([sizes[axis] for axis in order], num, rng, cells is not None)
    with progress_bar("balancing", search.limit, "swaps", progress) as advance:
        search.run(advance)
    levels = np.empty((num, len(sizes)), dtype=np.int64)
    for place, axis in enumerate(order):
        levels[:, axis] = rng.permutation(sizes[axis])[search.best[:, place]]
    return levels


class _Search:
    """Swaps levels between rows until all pairs are balanced; `best` is the best design seen."""

    def __init__(self, sizes: list[int], num: int, rng: np.random.Generator, distinct: bool) -> None:
        self.rng, self.sizes = rng, sizes
        self.levels = levels = _start(sizes, num, rng)
        self.best = levels.copy()
        self.strides = np.cumprod([1, *sizes[:-1]]) if distinct else np.zeros(len(sizes), dtype=np.int64)
        self.codes = levels @ self.strides
        self.cells = np.bincount(self.codes, minlength=int(np.prod(sizes)) if distinct else 1)
        self.distinct = distinct
        self.swaps, self.limit = 0, min(_MAX_SWAPS, max(_LEAST_SWAPS, _SWAPS_PER_ROW * num))
        self.movable = [axis for axis, size in enumerate(sizes) if size > 1]
        self.tables: dict[tuple[int, int], np.ndarray] = {}
        self.bounds: dict[tuple[int, int], tuple[int, int]] = {}
        for one, two in combinations(self.movable, 2):
            table = pair_counts(levels, one, two, sizes)
            self.tables[one, two], self.tables[two, one] = table, table.T
            self.bounds[one, two] = (num // table.size, -(-num // table.size))

    def run(self, advance: Callable[[int], None]) -> None:
        """Search until all is balanced or the limit is reached: a number of swaps, so that results never differ."""
        least, told = None, 0
        while True:
            advance(min(self.swaps, self.limit) - told)
            told = min(self.swaps, self.limit)
            wrong = self._wrong_pairs()
            repeated = np.flatnonzero(self.cells[self.codes] > 1) if self.distinct else np.empty(0, dtype=np.int64)
            found = (sum(amount for *_, amount in wrong), len(repeated))
            if least is None or found < least:
                least, self.best = found, self.levels.copy()
            if least == (0, 0) or self.swaps > (self.limit if found[0] else self.limit // 4):
                return
            for entry in self.rng.permutation(len(wrong)):
                self._mend_pair(*wrong[entry][:3])
            for row in self.rng.permutation(repeated) if not wrong else ():
                self.swaps += 1
                if self.cells[self.codes[row]] > 1:
                    self._swap(int(row), int(self.rng.choice(self.movable)), self._some_rows())

    def _wrong_pairs(self) -> list[tuple[tuple[int, int], int, int, int]]:
        """Pairs of levels that come too rarely or too often, and by how much."""
        wrong = []
        for axes, (low, high) in self.bounds.items():
            excess = np.maximum(self.tables[axes] - high, low - self.tables[axes])
            wrong += [(axes, int(p), int(q), int(excess[p, q])) for p, q in np.argwhere(excess > 0)]
        return wrong

    def _mend_pair(self, axes: tuple[int, int], p: int, q: int) -> None:
        self.swaps += 1  # one that finds no partner counts too, so the search ends
        low, high = self.bounds[axes]
        count = self.tables[axes][p, q]
        if low <= count <= high:
            return
        (fixed, p), (axis, q) = ((axes[0], p), (axes[1], q))[:: 1 if self.rng.random() < 0.5 else -1]
        too_many = count > high
        rows = self._some_rows((fixed, p, True), (axis, q, bool(too_many)))
        candidates = self._some_rows() if too_many else self._some_rows((axis, q, True))
        if len(rows):
            self._swap(int(rows[0]), axis, candidates)

    def _some_rows(self, *wanted: tuple[int, int, bool]) -> np.ndarray:
        """Rows at random that have, or have not, some levels; a few where these are rare."""
        num = len(self.levels)
        if not wanted:
            return self.rng.integers(num, size=_CANDIDATES)
        sample = self.rng.integers(num, size=_SAMPLE) if num > _SAMPLE else self.rng.permutation(num)
        rows = self._having(sample, wanted)
        if not len(rows) and num > _SAMPLE:
            rows = self._having(self.rng.permutation(num), wanted)
        return rows[:_CANDIDATES]

    def _having(self, rows: np.ndarray, wanted: Sequence[tuple[int, int, bool]]) -> np.ndarray:
        for axis, level, has in wanted:
            rows = rows[(self.levels[rows, axis] == level) == has]
        return rows

    def _swap(self, row: int, axis: int, candidates: np.ndarray) -> None:
        """Swap a row's level with the candidate's that lowers the squared counts most, or changes them not at all."""
        levels, mine = self.levels, self.levels[row, axis]
        candidates = candidates[levels[candidates, axis] != mine]
        if not len(candidates):
            return
        theirs = levels[candidates, axis]
        change = self.rng.random(len(candidates))  # below 2, the smallest difference: it breaks ties
        for other in self.movable:
            if other != axis:
                table, own, his = self.tables[other, axis], levels[row, other], levels[candidates, other]
                difference = table[own, theirs] - table[own, mine] + table[his, mine] - table[his, theirs] + 2
                change += np.where(own == his, 0, 2 * difference)
        if self.distinct:
            step = (theirs - mine) * self.strides[axis]
            old, his_old = self.codes[row], self.codes[candidates]
            difference = self.cells[old + step] - self.cells[old] + self.cells[his_old - step] - self.cells[his_old] + 2
            change += np.where(old + step == his_old, 0, 2 * difference)
        best = int(np.argmin(change))
        temperature = _HOT * (_COLD / _HOT) ** (self.swaps % _CYCLE / _CYCLE)
        if np.floor(change[best]) <= self.rng.exponential(temperature):
            self._exchange(row, int(candidates[best]), axis)

    def _exchange(self, one: int, two: int, axis: int) -> None:
        levels, cells = self.levels, self.cells
        mine, theirs = levels[one, axis], levels[two, axis]
        for other in self.movable:
            if other != axis:
                table, own, his = self.tables[other, axis], levels[one, other], levels[two, other]
                table[own, mine] -= 1
                table[own, theirs] += 1
                table[his, theirs] -= 1
                table[his, mine] += 1
        for row, new in ((one, theirs), (two, mine)):
            cells[self.codes[row]] -= 1
            self.codes[row] += (new - levels[row, axis]) * self.strides[axis]
            cells[self.codes[row]] += 1
            levels[row, axis] = new


def _start(sizes: list[int], num: int, rng: np.random.Generator) -> np.ndarray:
    """A design with balanced axes: the first two balanced together, each other one with the first."""
    levels = np.zeros((num, len(sizes)), dtype=np.int64)
    rows = np.arange(num)
    levels[:, 0] = rows % sizes[0]
    if len(sizes) > 1:  # along the diagonals of the two axes' table, each once around before the next
        levels[:, 1] = (rows + rows // int(np.lcm(sizes[0], sizes[1]))) % sizes[1]
    for axis in range(2, len(sizes)):
        order = np.lexsort((rng.random(num), levels[:, 1], levels[:, 0]))
        levels[order, axis] = (rows + rng.integers(sizes[axis])) % sizes[axis]
    return levels


def pair_counts(levels: np.ndarray, one: int, two: int, sizes: Sequence[int]) -> np.ndarray:
    """Return how often each pair of levels of two axes comes, int64 [levels of one, levels of two]."""
    codes = levels[:, one] * sizes[two] + levels[:, two]
    return np.bincount(codes, minlength=sizes[one] * sizes[two]).reshape(sizes[one], sizes[two])


class Spread(NamedTuple):
    """How evenly the combinations of some axes' levels are used."""

    axes: tuple[str, ...]
    num_combinations: int
    smallest: int
    largest: int
    deviation: float
    """Largest difference of a count from the even share, in images."""
    least_deviation: float
    """What no design of this size can fall below: a count is a whole number."""

    @property
    def is_best(self) -> bool:
        """Whether no design of this size is more even here: counts differ by at most one, by none where they can."""
        return self.deviation <= self.least_deviation + 1e-9


def measure(levels: np.ndarray, names: Sequence[str], sizes: Sequence[int]) -> list[Spread]:
    """Count every axis, every pair of axes, and the cells of all axes together.

    Args:
        levels: int64 [N, K].
        names: of the axes [K].
        sizes: number of levels [K].

    Returns:
        Axes, then pairs, then (of up to `MAX_CELLS` cells) the whole.
    """
    found = [_spread((names[axis],), np.bincount(levels[:, axis], minlength=sizes[axis])) for axis in range(len(sizes))]
    for one, two in combinations(range(len(sizes)), 2):
        found.append(_spread((names[one], names[two]), pair_counts(levels, one, two, sizes)))
    if len(sizes) > 2 and math.prod(sizes) <= MAX_CELLS:
        codes = np.ravel_multi_index(tuple(levels.T), sizes)
        found.append(_spread(tuple(names), np.bincount(codes, minlength=int(np.prod(sizes)))))
    return found


def _spread(axes: tuple[str, ...], counts: np.ndarray) -> Spread:
    num, share = counts.size, counts.sum() / counts.size
    whole = np.floor(share)
    least = 0.0 if share == whole else max(share - whole, whole + 1 - share)
    low, high = int(counts.min()), int(counts.max())
    return Spread(axes, num, low, high, float(max(share - low, high - share)), float(least))
