"""Labelled pairs in place of all heads on all rows: the same questions; balanced, equally many of each head."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emonet_lightning.data.feature_store import ResidentFeatures
from emonet_lightning.data.inputs import FeatureInputs
from emonet_lightning.data.labels import LabelTable
from emonet_lightning.data.loading import PlannedLoader, train_batches
from emonet_lightning.data.pairs import BalancedPairs, RowPairs
from emonet_lightning.data.rows import PairBatches, RowBatches
from emonet_lightning.data.sampling import Position, Positions, TrainPlan

quick = settings(max_examples=40, deadline=None)
worlds = st.sampled_from([1, 2, 4])


def table_of(count, heads=5, share=0.2, seed=0):
    rng = np.random.default_rng(seed)
    mask = rng.random((count, heads)) < share
    return LabelTable(rng.random((count, heads), dtype=np.float32), mask, np.full((count, heads), np.nan))


def inputs_of(count):
    return FeatureInputs(ResidentFeatures(torch.arange(count).half().view(1, count, 1)))


def pairs_of(batch):
    return list(zip(batch.key.tolist(), batch.head.tolist(), batch.target.tolist(), strict=True))


def check_layout(batch):
    assert (batch.head.diff() >= 0).all()
    np.testing.assert_array_equal(batch.offs.numpy(), torch.bincount(batch.head, minlength=len(batch.offs)).cumsum(0))
    assert (batch.head.dtype, batch.offs.dtype, batch.target.dtype) == (torch.int64, torch.int32, torch.float32)
    assert batch.inputs[:, 0].tolist() == batch.key.tolist()
    assert list(batch.idle) == torch.nonzero(batch.num_labels == 0).flatten().tolist()


@quick
@given(st.integers(1, 200), st.integers(1, 8), worlds, st.integers(0, 2))
def test_pairs_of_a_batch_are_its_labelled_questions_sorted_by_head_then_row(count, per_process, world, epoch):
    table, inputs = table_of(count, seed=count), inputs_of(count)
    rows = np.arange(count)
    for rank in range(world):
        plan = TrainPlan(rows, per_process * world, 3, rank, world)
        sparse, full = PairBatches(inputs, table, RowPairs(plan, table.mask)), RowBatches(inputs, table, plan)
        positions = [Position(epoch, step) for step in range(plan.num_steps)]
        for pairs, batch in zip(sparse[positions], full[positions], strict=True):
            check_layout(pairs)
            head, place = torch.nonzero(batch.mask.T, as_tuple=True)
            assert torch.equal(pairs.head, head)
            assert torch.equal(pairs.key, batch.key[place])
            assert torch.equal(pairs.target, batch.target[place, head])
            assert torch.equal(pairs.num_labels, batch.num_labels)
            assert pairs.idle == batch.idle
            assert pairs.num_rows == int((batch.key >= 0).sum())


def balanced(table, batch_size, world=1, seed=3, rows=None):
    rows = np.arange(len(table.mask)) if rows is None else rows
    plans = [BalancedPairs(rows, table.mask, batch_size, seed, rank, world) for rank in range(world)]
    return [PairBatches(inputs_of(len(table.mask)), table, plan) for plan in plans]


def test_each_head_draws_equally_many_of_its_own_rows_and_uses_them_equally_often():
    table = table_of(300)
    table.mask[:, 1] = np.arange(300) < 3  # fewer than a step takes
    table.mask[:, 2] = False
    table.mask[:, 4] = np.arange(300) < 31
    rows = np.arange(0, 300, 2)
    (batches,) = balanced(table, 37, rows=rows)
    plan = batches.plan
    total = int(table.mask[rows].sum())
    assert plan.num_steps == -(-total // (5 * 7))
    used = Counter()
    for epoch in range(3):
        for step in range(plan.num_steps):
            (batch,) = batches[[Position(epoch, step)]]
            check_layout(batch)
            assert torch.bincount(batch.head, minlength=5).tolist() == [7, 2, 0, 7, 7]
            assert batch.num_labels.tolist() == [7, 2, 0, 7, 7]
            assert batch.idle == (2,)
            drawn = pairs_of(batch)
            assert all(table.mask[row, head] and table.target[row, head] == value for row, head, value in drawn)
            assert len({pair for pair in drawn if pair[1] == 1}) == 2, "each of the few once a step"
            used.update((row, head) for row, head, _ in drawn)
        for head in (0, 1, 3, 4):
            often = [used[row, head] for row in rows if table.mask[row, head]]
            assert max(often) - min(often) <= 1, "over the epochs, too"
            assert set(row for row, of in used if of == head) <= set(rows.tolist())


def test_passes_are_shuffled_anew_and_differ_between_heads_and_seeds():
    table = table_of(40, heads=2, share=1.1)
    orders = set()
    for seed in (0, 1):
        plan = BalancedPairs(np.arange(40), table.mask, 20, seed)
        for epoch in range(3):  # four steps of ten: an epoch is a pass
            pairs = plan.pairs(epoch)
            for head in range(2):
                orders.add(tuple(pairs.row[pairs.head == head].tolist()))
    assert len(orders) == 12
    assert all(sorted(order) == list(range(40)) for order in orders)


@quick
@given(st.integers(1, 120), st.integers(1, 60), st.sampled_from([2, 3, 4]), st.integers(0, 2))
def test_processes_split_the_pairs_of_one_global_batch(count, batch_size, world, epoch):
    table = table_of(count, seed=count)
    (alone,) = balanced(table, batch_size)
    shared = balanced(table, batch_size, world)
    for step in range(alone.plan.num_steps):
        position = [Position(epoch, step)]
        whole, parts = alone[position][0], [each[position][0] for each in shared]
        assert sorted(pair for part in parts for pair in pairs_of(part)) == sorted(pairs_of(whole))
        for part in parts:
            check_layout(part)
            assert torch.equal(part.num_labels, whole.num_labels)
            per_head = np.array([torch.bincount(each.head, minlength=5).tolist() for each in parts])
        assert (per_head.max(0) - per_head.min(0) <= 1).all(), "each head's pairs are split"


def test_no_process_gets_the_odd_pair_of_every_head():
    table = table_of(500, heads=12, share=0.5)
    parts = [each[[Position(0, 0)]][0] for each in balanced(table, 12 * 5, 4)]
    assert [len(part.key) for part in parts] == [15] * 4


@pytest.mark.parametrize("sampling", ["rows", "balanced"])
def test_batches_are_bit_equal_whatever_the_steps_per_call(sampling):
    table = table_of(100)
    seen = []
    for per_call in (1, 4):
        batches = train_batches(
            inputs_of(100), table, np.arange(100), batch_size=15, sampling=sampling, seed=3, rank=0, world_size=1
        )
        loader = PlannedLoader(batches, Positions(batches.plan.num_steps, per_call))
        seen.append([batch for call in loader for batch in call])
    for one, other in zip(*seen, strict=True):
        for first, second in zip(one, other, strict=True):
            assert torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


@pytest.mark.parametrize("sampling", ["rows", "balanced"])
def test_heads_left_out_give_no_pairs_and_change_nothing_for_others(sampling):
    table = table_of(100)
    options = dict(batch_size=15, sampling=sampling, seed=3, rank=0, world_size=1)
    whole = train_batches(inputs_of(100), table, np.arange(100), **options)
    fewer = train_batches(inputs_of(100), table, np.arange(100), **options)
    assert fewer[[Position(0, 0)]]
    fewer.leave_out([1, 4])
    for step in range(whole.plan.num_steps):
        (all_heads,), (some,) = whole[[Position(0, step)]], fewer[[Position(0, step)]]
        check_layout(some)
        assert pairs_of(some) == [pair for pair in pairs_of(all_heads) if pair[1] not in (1, 4)]
        assert {1, 4} <= set(some.idle)


def test_pairs_are_computed_where_few_questions_were_asked():
    options = dict(batch_size=16, seed=0, rank=0, world_size=1)
    few, many = table_of(100, share=0.2), table_of(100, share=0.6)
    assert isinstance(train_batches(inputs_of(100), few, np.arange(100), sampling="rows", **options), PairBatches)
    assert isinstance(train_batches(inputs_of(100), many, np.arange(100), sampling="rows", **options), RowBatches)
    assert isinstance(train_batches(inputs_of(100), many, np.arange(100), sampling="balanced", **options), PairBatches)
