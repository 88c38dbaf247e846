"""Splits: what belongs together stays together, and every emotion is shared out alike."""

import time
from collections import Counter

import numpy as np
import pytest

from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.packing.splits import (
    assign_splits,
    check_largest,
    find_near_duplicates,
    near_duplicate_clusters,
    split_units,
)

SHARES = {"train": 0.9, "val": 0.1}


def random_hashes(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


def flip(value: np.uint64, *bits: int) -> np.uint64:
    return np.uint64(int(value) ^ sum(1 << bit for bit in bits))


@pytest.mark.parametrize("max_distance", [0, 1, 4, 9])
def test_multi_index_lookup_finds_exactly_the_pairs_that_comparing_all_finds(max_distance):
    hashes = random_hashes(400)
    rng = np.random.default_rng(1)
    for copy in range(0, 200, 2):
        hashes[copy + 1] = flip(hashes[copy], *rng.choice(64, copy % 12, replace=False).tolist())
    hashes[300:310] = hashes[299]
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None])
    within = np.argwhere(np.triu(distance <= max_distance, 1))
    assert len(within) > 40
    np.testing.assert_array_equal(find_near_duplicates(hashes, None, max_distance), within)
    np.testing.assert_array_equal(
        find_near_duplicates(hashes[:150], hashes[150:], max_distance),
        np.argwhere(distance[:150, 150:] <= max_distance),
    )


def test_distance_out_of_range_is_refused():
    with pytest.raises(UsageError, match="0 to 31"):
        find_near_duplicates(random_hashes(3), None, 40)


def test_neighbours_join_a_representative_and_do_not_chain():
    first = np.uint64(0)
    chain = [first]
    for step in range(1, 10):  # each 3 bits from the one before, all far from the first in the end
        chain.append(flip(chain[-1], *range(6 * step, 6 * step + 3)))
    representative = near_duplicate_clusters(np.array(chain, dtype=np.uint64), 4)
    assert representative.tolist() == [0, 0, 2, 2, 4, 4, 6, 6, 8, 8]
    between = np.array([first, flip(first, *range(8)), flip(first, *range(4))], dtype=np.uint64)
    assert near_duplicate_clusters(between, 4).tolist() == [0, 1, 0]


def test_203_thousand_hashes_are_clustered_in_under_two_minutes():
    hashes = random_hashes(203_201)
    planted = 3000
    rng = np.random.default_rng(1)
    for row in range(planted):
        hashes[planted + row] = flip(hashes[row], *rng.choice(64, 4, replace=False).tolist())
    started = time.monotonic()
    representative = near_duplicate_clusters(hashes, 4)
    seconds = time.monotonic() - started
    np.testing.assert_array_equal(representative[planted : 2 * planted], np.arange(planted))
    assert len(np.unique(representative)) == len(hashes) - planted
    assert seconds < 60, f"{seconds:.1f} s"


def test_group_bytes_and_near_duplicates_make_one_unit():
    keys = list("abcdefg")
    groups = ["anna", "anna", None, None, None, None, "bert"]
    digests = ["1", "2", "2", "3", "4", "5", "6"]
    clusters = np.array([0, 1, 2, 2, 4, 5, 6])
    units = split_units(keys, groups, digests, clusters)
    assert [units.unit[0] == u for u in units.unit] == [True, True, True, True, False, False, False]
    assert units.largest == 3  # c and d with one of anna's: what a given group holds does not count
    assert units.example == "a"


def test_a_given_group_may_be_large_but_a_cluster_of_duplicates_may_not():
    keys = [str(row) for row in range(2000)]
    digests = keys
    own = np.arange(2000)
    check_largest(split_units(keys, ["one person"] * 2000, digests, own), 2000)
    clusters = own.copy()
    clusters[100:120] = 100
    check_largest(split_units(keys, [None] * 2000, digests, clusters), 2000)
    clusters[100:121] = 100
    with pytest.raises(DataError, match=r"21 of 2000 images.*--near_duplicates ignore"):
        check_largest(split_units(keys, [None] * 2000, digests, clusters), 2000)


def test_every_emotion_gets_its_share_and_groups_stay_whole():
    rng = np.random.default_rng(0)
    size = 4000
    keys = [f"{row:05d}" for row in range(size)]
    strata = [f"emotion{value}" for value in rng.integers(0, 40, size)]
    units = rng.integers(0, 2500, size)
    result = assign_splits(keys, units, strata, SHARES, 0, [None] * size)
    assert Counter(result)["val"] == pytest.approx(400, abs=5)
    for unit in set(units.tolist()):
        assert len({result[row] for row in np.flatnonzero(units == unit)}) == 1
    alone = assign_splits(keys, np.arange(size), strata, SHARES, 0, [None] * size)
    counts, total = Counter(zip(strata, alone, strict=True)), Counter(strata)
    assert all(abs(counts[name, "val"] - 0.1 * total[name]) <= 1 for name in total)


def test_splits_are_a_function_of_seed_and_keys():
    size = 500
    keys, strata = [f"k{row}" for row in range(size)], ["a"] * size
    one = assign_splits(keys, np.arange(size), strata, SHARES, 0, [None] * size)
    order = np.random.default_rng(0).permutation(size)
    other = assign_splits([keys[row] for row in order], order, strata, SHARES, 0, [None] * size)
    assert [other[np.flatnonzero(order == row)[0]] for row in range(size)] == one
    assert assign_splits(keys, np.arange(size), strata, SHARES, 1, [None] * size) != one


def test_forced_splits_take_their_group_along_and_must_not_disagree():
    keys = [f"k{row}" for row in range(100)]
    units = np.arange(100) // 2
    forced: list[str | None] = [None] * 100
    forced[0] = "held_out"
    result = assign_splits(keys, units, ["a"] * 100, SHARES, 0, forced)
    assert result[:2] == ["held_out", "held_out"]
    assert "held_out" not in result[2:]
    forced[1] = "train"
    with pytest.raises(DataError, match="'k0' must go to split 'held_out' and 'k1' to 'train'"):
        assign_splits(keys, units, ["a"] * 100, SHARES, 0, forced)


@pytest.mark.parametrize("shares", [{}, {"train": 0.5}, {"train": 1.2, "val": -0.2}])
def test_shares_that_make_no_whole_are_refused(shares):
    with pytest.raises(UsageError, match="share"):
        assign_splits(["a", "b"], np.arange(2), [None, None], shares, 0, [None, None])


def test_a_split_that_would_stay_empty_is_an_error():
    with pytest.raises(DataError, match="split 'val' stays empty"):
        assign_splits(["a", "b"], np.zeros(2, int), [None, None], SHARES, 0, [None, None])
