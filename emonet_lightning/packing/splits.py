"""Splits without leaks: what belongs together stays together, and every split sees the same mix of emotions.

Images belong together by a given key (person, prompt), by equal bytes, and by a 64-bit perceptual hash within a few
bits. Near duplicates join a representative, not each other: an image between two representatives does not chain them
into one ever-growing cluster. The price is that two images of different clusters may be within the distance.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from emonet_lightning.errors import DataError, UsageError

MAX_CLUSTER_SHARE = 0.01
MIN_CLUSTER_LIMIT = 10  # below 1,000 images one percent would forbid ordinary duplicates
_CHUNK = 4_000_000  # candidate pairs compared at once: about 100 MB


def find_near_duplicates(hashes_a: np.ndarray, hashes_b: np.ndarray | None = None, max_distance: int = 4) -> np.ndarray:
    """Find all pairs of 64-bit hashes within a Hamming distance, by multi-index lookup.

    Hashes are cut into `max_distance + 1` bands; a pair within the distance agrees in at least one band exactly, so
    only hashes that share a band are compared (Norouzi, Punjani, Fleet 2012).

    Args:
        hashes_a: uint64 [N].
        hashes_b: uint64 [M]; None compares `hashes_a` with itself, each pair once with the lower row first.
        max_distance: largest number of differing bits, 0 to 31.

    Returns:
        int64 [P, 2]: rows in a and in b, in rising order.

    Raises:
        UsageError: `max_distance` outside 0 to 31.
    """
    if not 0 <= max_distance <= 31:
        raise UsageError(f"a distance of {max_distance} bits: choose 0 to 31 of 64 (4 by default)")
    a = np.asarray(hashes_a, dtype=np.uint64)
    b = a if hashes_b is None else np.asarray(hashes_b, dtype=np.uint64)
    edges = np.linspace(0, 64, max_distance + 2).astype(int)
    masks = [np.uint64(((1 << int(high)) - 1) ^ ((1 << int(low)) - 1)) for low, high in pairwise(edges)]
    found = []
    for band, mask in enumerate(masks):
        order = np.argsort(b & mask, kind="stable")
        banded = (b & mask)[order]
        left = np.searchsorted(banded, a & mask, side="left")
        counts = np.searchsorted(banded, a & mask, side="right") - left
        ends = np.cumsum(counts)
        start = 0
        while start < len(a):
            done = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, done + _CHUNK, side="right")))
            repeats = counts[start:stop]
            i = np.repeat(np.arange(start, stop), repeats)
            offsets = np.arange(len(i)) - np.repeat(ends[start:stop] - repeats - done, repeats)
            j = order[np.repeat(left[start:stop], repeats) + offsets]
            difference = a[i] ^ b[j]
            keep = np.bitwise_count(difference) <= max_distance
            if hashes_b is None:
                keep &= i < j
            for earlier in masks[:band]:  # a pair is reported by the first band that it shares
                keep &= (difference & earlier) != 0
            found.append(np.stack([i[keep], j[keep]], axis=1))
            start = stop
    pairs = np.concatenate(found) if found else np.empty((0, 2), dtype=np.int64)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def near_duplicate_clusters(hashes: np.ndarray, max_distance: int = 4) -> np.ndarray:
    """Assign each hash to a representative: the first earlier one within the distance, else itself.

    Args:
        hashes: uint64 [N].
        max_distance: largest number of differing bits.

    Returns:
        int64 [N]: row of the representative (itself included).
    """
    unique, first, inverse = np.unique(np.asarray(hashes, dtype=np.uint64), return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")  # in order of first appearance
    position = np.empty_like(order)
    position[order] = np.arange(len(order))
    pairs = find_near_duplicates(unique[order], None, max_distance)
    starts = np.searchsorted(pairs[:, 0], np.arange(len(order) + 1))
    representative = np.full(len(order), -1, dtype=np.int64)
    for row in range(len(order)):
        if representative[row] >= 0:
            continue
        representative[row] = row
        neighbours = pairs[starts[row] : starts[row + 1], 1]
        free = neighbours[representative[neighbours] < 0]
        representative[free] = row
    return first[order][representative[position[inverse]]]


class Units(NamedTuple):
    """What must stay together."""

    unit: np.ndarray
    """Unit of each sample, int64 [N]."""
    largest: int
    """Images of the largest cluster of duplicates, counting what its largest given group holds once."""
    example: str
    """Key of one image in it."""


def split_units(
    keys: Sequence[str], groups: Sequence[str | None], sha256: Sequence[str], clusters: np.ndarray | None
) -> Units:
    """Join samples by given group, equal bytes and near-duplicate cluster.

    Args:
        keys: names [N].
        groups: given groups [N], None where there is none.
        sha256: digests of the images [N].
        clusters: representative of each sample [N], or None.

    Returns:
        The units, and the largest cluster of duplicates.
    """
    num_samples = len(keys)
    nodes: dict[tuple[str, str], int] = {}
    rows, columns = [], []
    for row in range(num_samples):
        belongs = [("bytes", sha256[row])]
        if groups[row] is not None:
            belongs.append(("group", str(groups[row])))
        if clusters is not None:
            belongs.append(("cluster", str(clusters[row])))
        for node in belongs:
            rows.append(row)
            columns.append(num_samples + nodes.setdefault(node, len(nodes)))
    size = num_samples + len(nodes)
    graph = coo_array((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(size, size))
    unit = connected_components(graph, directed=False)[1][:num_samples].astype(np.int64)
    members = Counter((int(u), group or f"\0{row}") for row, (u, group) in enumerate(zip(unit, groups, strict=True)))
    total, biggest = Counter(unit.tolist()), Counter[int]()
    for (u, _), count in members.items():
        biggest[u] = max(biggest[u], count)
    merged = {u: total[u] - biggest[u] + 1 for u in total}
    worst = max(merged, key=lambda u: (merged[u], -u))
    return Units(unit, merged[worst], keys[int(np.flatnonzero(unit == worst)[0])])


def check_largest(units: Units, num_samples: int) -> None:
    """Refuse a cluster of duplicates above 1 % of the set: it would bend every split (10 images are always allowed).

    Raises:
        DataError: names one image of it and the remedy.
    """
    limit = max(MIN_CLUSTER_LIMIT, MAX_CLUSTER_SHARE * num_samples)
    if units.largest > limit:
        raise DataError(
            f"near duplicates: one cluster holds {units.largest} of {num_samples} images (around '{units.example}'), "
            f"more than {limit:g}; remove the copies, give --group, lower --near_duplicate_distance, "
            "or set --near_duplicates ignore"
        )


def check_shares(fractions: dict[str, float]) -> None:
    """Refuse shares of splits that are none.

    Raises:
        UsageError: a share that is not above 0, or shares that do not sum to 1.
    """
    if not fractions or any(not 0 < share <= 1 for share in fractions.values()):
        raise UsageError(f"splits {fractions}: give each split a share above 0, as --splits train=0.9,val=0.1")
    if abs(sum(fractions.values()) - 1) > 1e-6:
        raise UsageError(f"splits {fractions}: the shares sum to {sum(fractions.values()):g}; make them sum to 1")


def assign_splits(
    keys: Sequence[str],
    units: np.ndarray,
    strata: Sequence[str | None],
    fractions: dict[str, float],
    seed: int,
    forced: Sequence[str | None],
) -> list[str]:
    """Deal whole units to splits, so that each emotion has nearly the same shares: a function of its arguments alone.

    Units are ordered by stratum, within it by a hash of the seed and of their smallest key, and dealt one by one to the
    split that lacks most; the remainder is carried from one stratum to the next.

    Args:
        keys: names [N].
        units: what stays together [N].
        strata: emotion that a sample counts for [N].
        fractions: share of each split, summing to 1.
        seed: another seed, another draw.
        forced: split that a sample must go to [N]; its whole unit goes with it.

    Returns:
        Name of each sample's split [N].

    Raises:
        UsageError: shares that do not sum to 1.
        DataError: a unit is forced into two splits, or a split stays empty.
    """
    check_shares(fractions)
    members: dict[int, list[int]] = {}
    for row, unit in enumerate(units.tolist()):
        members.setdefault(unit, []).append(row)
    result = [""] * len(keys)
    free = []
    for rows in members.values():
        wanted = {split: row for row in rows if (split := forced[row]) is not None}
        if len(wanted) > 1:
            (one, row_a), (two, row_b) = list(wanted.items())[:2]
            raise DataError(
                f"'{keys[row_a]}' must go to split '{one}' and '{keys[row_b]}' to '{two}', but they belong together "
                "(same group, same bytes or near duplicates); give both one split"
            )
        for row in rows if wanted else ():
            result[row] = next(iter(wanted))
        if not wanted:
            counts = Counter(strata[row] or "" for row in rows)
            name = min(keys[row] for row in rows)
            order = hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()
            free.append((min(counts, key=lambda s: (-counts[s], s)), order, rows))
    names, assigned, total = list(fractions), dict.fromkeys(fractions, 0), 0
    for _, _, rows in sorted(free, key=lambda entry: entry[:2]):
        total += len(rows)
        split = max(names, key=lambda name: fractions[name] * total - assigned[name])
        assigned[split] += len(rows)
        for row in rows:
            result[row] = split
    empty = [name for name in names if name not in result]
    if empty and free:
        raise DataError(
            f"split '{empty[0]}' stays empty: {len(free)} separate groups for shares {fractions}; "
            "give more images or fewer splits"
        )
    return result
