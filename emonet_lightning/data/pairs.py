"""Pairs of rows and heads: what a step computes where few of the questions were asked.

Two ways to choose them. The pairs of a batch's rows: the same steps as with all heads on those rows, without the
questions nobody asked. Or balanced: each head draws equally many of its own labelled rows a step, so that a rare
emotion learns at the pace of a common one.
"""

from collections.abc import Collection
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.data.sampling import Rows, TrainPlan, hash64

SPARSE = 1 / 3
"""Share of labelled questions below which pairs are cheaper than all heads on all rows."""


class EpochPairs(NamedTuple):
    """One process's pairs of all S steps of an epoch, one step after the other."""

    row: Rows
    """Row of each pair [T]."""
    head: Rows
    """Head of each pair [T], rising within a step."""
    per_head: Rows
    """Pairs of each step and head [S, K]."""
    num_labels: Rows
    """The same in the global batch [S, K]."""
    num_rows: Rows
    """Rows of each step that the pairs are of [S]."""


class PairPlan(Protocol):
    """What an epoch's pairs are."""

    @property
    def num_steps(self) -> int:
        """Steps of an epoch."""
        ...

    def pairs(self, epoch: int, left_out: Collection[int] = ()) -> EpochPairs:
        """Return this process's pairs of an epoch, without those of heads that are left out."""
        ...


class RowPairs:
    """Pairs of the rows of each batch.

    Args:
        plan: of the rows.
        mask: which labels there are [N, K] bool.
    """

    def __init__(self, plan: TrainPlan, mask: NDArray[np.bool_]) -> None:
        self.plan = plan
        self.mask = with_padding(mask)

    @property
    def num_steps(self) -> int:
        """Steps of an epoch."""
        return self.plan.num_steps

    def pairs(self, epoch: int, left_out: Collection[int] = ()) -> EpochPairs:
        """Return this process's pairs of an epoch; those of one head follow the order of the rows."""
        batches = self.plan.batches(epoch)
        labelled = labels_of(self.mask, batches)
        labelled[..., list(left_out)] = False
        rows, own = self.plan.share(batches), self.plan.share(labelled)
        by_head = np.ascontiguousarray(own.transpose(0, 2, 1))
        found, place = np.divmod(np.flatnonzero(by_head), by_head.shape[2])  # half of the time of np.nonzero
        step, head = np.divmod(found, by_head.shape[1])
        return EpochPairs(rows[step, place], head, own.sum(1), labelled.sum(1), (rows >= 0).sum(1))


class BalancedPairs:
    """Equally many pairs of every head in every step, each head from its own shuffled passes over its labelled rows.

    A head takes `batch_size // K` (at least 1) of its rows a step, or all of them where it has fewer. Its passes follow
    each other over the epochs, so that it uses its labels equally often up to one. An epoch has as many steps as the
    labels of all heads fill: ceil(labels / (K * rows a head)).

    Args:
        rows: to train on.
        mask: which labels there are [N, K] bool.
        batch_size: pairs of a global batch, for all heads together.
        seed: of the passes.
        rank: this process.
        world_size: processes that share the pairs of each head.
    """

    def __init__(
        self, rows: Rows, mask: NDArray[np.bool_], batch_size: int, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        head, place = np.nonzero(np.ascontiguousarray(mask[rows].T))
        self.labelled = np.asarray(rows)[place]
        """Labelled rows of head 0, of head 1, ..."""
        self.counts = np.bincount(head, minlength=mask.shape[1])
        self.per_head = max(1, batch_size // mask.shape[1])
        self.drawn = np.minimum(self.counts, self.per_head)
        """Pairs that each head has in a step [K]."""
        self.num_steps = max(1, -(-len(head) // (self.per_head * mask.shape[1])))
        self.seed = seed
        self.rank = rank
        self.world_size = world_size

    def pairs(self, epoch: int, left_out: Collection[int] = ()) -> EpochPairs:
        """Return this process's pairs of an epoch."""
        drawn = self.drawn.copy()
        drawn[list(left_out)] = 0
        head = np.repeat(np.arange(len(drawn)), drawn)
        rows = np.empty((self.num_steps, len(head)), dtype=np.int64)
        ends, starts = np.cumsum(drawn), np.cumsum(self.counts) - self.counts
        for number in np.flatnonzero(drawn):
            amount = self.num_steps * int(drawn[number])
            places = _passes(self.seed, int(number), int(self.counts[number]), epoch * amount, amount)
            own = rows[:, ends[number] - drawn[number] : ends[number]]
            own[...] = self.labelled[starts[number] + places].reshape(own.shape)
        # the first process would get more of every head, so which one is first goes round with the heads
        place = np.arange(len(head)) - np.repeat(ends - drawn, drawn)
        mine = (place + head) % self.world_size == self.rank
        own_head = head[mine]
        shape = (self.num_steps, len(drawn))
        return EpochPairs(
            rows[:, mine].reshape(-1),
            np.tile(own_head, self.num_steps),
            np.broadcast_to(np.bincount(own_head, minlength=len(drawn)), shape),
            np.broadcast_to(drawn, shape),
            np.full(self.num_steps, len(own_head)),
        )


def _passes(seed: int, head: int, count: int, start: int, amount: int) -> Rows:
    """Take part of a head's endless sequence of passes: permutations of its `count` labels by (seed, head, pass)."""
    first, last = start // count, -(-(start + amount) // count)
    keys = hash64(seed, head, np.arange(first, last)[:, None], np.arange(count)[None, :])
    order = np.argsort(keys, axis=1, kind="stable").reshape(-1)
    return order[start - first * count :][:amount]


def with_padding(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Append a row without labels [N + 1, K], which the index of padding, -1, finds."""
    return np.concatenate([mask, np.zeros((1, mask.shape[1]), dtype=bool)])


def labels_of(mask: NDArray[np.bool_], batches: Rows) -> NDArray[np.bool_]:
    """Return which heads each row of each step is labelled for [S, B, K].

    Args:
        mask: of `with_padding`.
        batches: rows of each step [S, B].
    """
    return mask.take(batches, axis=0, mode="wrap")  # a quarter of the time of mask[batches]
