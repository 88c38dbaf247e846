"""Which rows are read when: a pure function of seed and epoch, the same for any number of processes and workers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emonet_lightning.data.feature_store import ResidentFeatures
from emonet_lightning.data.inputs import FeatureInputs
from emonet_lightning.data.labels import LabelTable
from emonet_lightning.data.loading import PlannedLoader
from emonet_lightning.data.rows import RowBatches
from emonet_lightning.data.sampling import (
    EVAL_BLOCK,
    WINDOW_BLOCKS,
    EvalPlan,
    Position,
    Positions,
    TrainPlan,
    block_numbers,
    block_order,
    check_batch_size,
    choose_views,
    epoch_order,
    hash64,
)
from emonet_lightning.errors import UsageError

quick = settings(max_examples=60, deadline=None)
sizes, worlds = st.integers(1, 400), st.integers(1, 8)


def scattered(count):
    """Rows of a split: rising, with gaps."""
    return np.arange(count) * 3 + 7


def epoch(rows, batch_size, seed=0, world=1, number=0):
    """One epoch: rows of each process's share [rank][step], and of the global batches."""
    plans = [TrainPlan(rows, batch_size, seed, rank, world) for rank in range(world)]
    batches = plans[0].batches(number)
    for plan in plans:
        np.testing.assert_array_equal(plan.batches(number), batches)
        assert plan.num_steps == len(batches)
    return [plan.share(batches) for plan in plans], batches


@quick
@given(sizes, st.integers(0, 2**31), st.integers(0, 50))
def test_order_is_a_pure_function_of_seed_and_epoch(count, seed, number):
    order = epoch_order(seed, number, count)
    np.testing.assert_array_equal(order, epoch_order(seed, number, count))
    np.testing.assert_array_equal(np.sort(order), np.arange(count))


def test_order_is_the_same_in_every_version():
    assert epoch_order(0, 0, 8).tolist() == [2, 4, 3, 6, 5, 0, 1, 7]
    assert epoch_order(3, 1, 8).tolist() == [2, 1, 4, 0, 5, 7, 6, 3]


def test_epochs_and_seeds_differ():
    orders = {tuple(epoch_order(seed, number, 30).tolist()) for seed in range(4) for number in range(5)}
    assert len(orders) == 20


@quick
@given(sizes, st.integers(1, 300), worlds, st.integers(0, 3))
def test_every_row_is_trained_on_exactly_once_an_epoch(count, per_process, world, number):
    rows = scattered(count)
    shares, batches = epoch(rows, per_process * world, world=world, number=number)
    seen = np.concatenate([share.reshape(-1) for share in shares])
    np.testing.assert_array_equal(np.sort(seen[seen >= 0]), rows)
    assert len({share.shape for share in shares}) == 1, "equal shares, in the last batch too"
    for step, whole in enumerate(batches):
        real = [int((share[step] >= 0).sum()) for share in shares]
        assert max(real) - min(real) <= 1, "no process is given all of the padding"
        together = np.concatenate([share[step] for share in shares])
        np.testing.assert_array_equal(np.sort(together), np.sort(whole))


@quick
@given(st.integers(1, 120), st.integers(1, 5), st.integers(0, 3))
def test_global_batches_are_the_same_for_any_number_of_processes(count, quarter, number):
    rows = scattered(count)
    one, two, four = ([b[b >= 0] for b in epoch(rows, 4 * quarter, 11, world, number)[1]] for world in (1, 2, 4))
    for whole, *others in zip(one, two, four, strict=True):
        for other in others:
            np.testing.assert_array_equal(whole, other)


def test_last_batch_is_padded_behind_its_rows():
    (share,), _ = epoch(scattered(7), 4)
    assert (share[0] >= 0).all()
    assert (share[1] >= 0).tolist() == [True, True, True, False]
    for share in epoch(scattered(9), 8, world=4)[0]:
        assert share.shape == (2, 2)
        assert (np.diff((share >= 0).astype(int), axis=1) <= 0).all(), "padding comes last"


@quick
@given(st.lists(st.integers(1, 900), min_size=1, max_size=4), st.integers(0, 3))
def test_order_by_blocks_has_each_row_once_and_few_blocks_at_a_time(set_sizes, number):
    rows = np.arange(0, sum(set_sizes), 2)
    blocks = block_numbers(rows, set_sizes, 8)
    starts = np.cumsum([0, *set_sizes])
    expected, block = {}, -1
    for first, size in zip(starts, set_sizes, strict=False):
        for row in range(size):
            block += row % 8 == 0
            expected[first + row] = block
    assert blocks.tolist() == [expected[row] for row in rows], "a block holds rows of one set"
    order = block_order(3, number, blocks)
    np.testing.assert_array_equal(np.sort(order), np.arange(len(rows)))
    np.testing.assert_array_equal(order, block_order(3, number, blocks))
    start, left = 0, len(set(blocks.tolist()))
    while start < len(order):  # window after window: each holds all rows of its blocks
        window = set()
        while start < len(order) and (len(window) < WINDOW_BLOCKS or blocks[order[start]] in window):
            window.add(blocks[order[start]])
            start += 1
        left -= len(window)
    assert left == 0, "no block is read in two windows"


def test_order_by_blocks_mixes_blocks_and_differs_between_epochs():
    blocks = np.repeat(np.arange(100), 8)
    orders = [block_order(0, number, blocks) for number in range(3)]
    assert len({tuple(order.tolist()) for order in orders}) == 3
    windows = [set(blocks[order[: 8 * WINDOW_BLOCKS]].tolist()) for order in orders]
    assert all(len(window) == WINDOW_BLOCKS for window in windows)
    assert windows[0] != windows[1] != windows[2]
    assert len(set(blocks[orders[0][:16]].tolist())) > 8, "rows of many blocks are neighbours"


def test_hash_is_that_of_splitmix64():
    assert int(hash64(0)) == 0xE220A8397B1DCDAF, "the generator's published first output for seed 0"
    assert hash64(5, np.array([1, 2]), -1).tolist() == [int(hash64(5, 1, -1)), int(hash64(5, 2, -1))]


def test_a_view_depends_on_seed_epoch_and_row_alone():
    views = choose_views(3, 1, np.arange(9000), 3)
    np.testing.assert_array_equal(choose_views(3, 1, np.arange(8000, 8010), 3), views[8000:8010])
    assert views[:12].tolist() == [2, 2, 1, 1, 0, 1, 2, 2, 0, 2, 0, 2], "the same in every version"
    assert abs(np.bincount(views) / 3000 - 1).max() < 0.1
    for other in (choose_views(4, 1, np.arange(9000), 3), choose_views(3, 2, np.arange(9000), 3)):
        assert abs((views == other).mean() - 1 / 3) < 0.03


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 3))
@quick
def test_calls_cut_an_epoch_into_consecutive_steps_from_any_step_on(num_steps, per_call, first):
    positions = Positions(num_steps, per_call)
    positions.set_epoch(2)
    calls = list(positions)
    assert len(calls) == len(positions)
    assert [position for call in calls for position in call] == [Position(2, step) for step in range(num_steps)]
    assert {len(call) for call in calls[:-1]} <= {per_call}
    positions.resumed = Position(2, first)
    assert [position.step for call in positions for position in call] == list(range(first, num_steps))
    positions.set_epoch(3)
    assert [position.step for call in positions for position in call] == list(range(num_steps)), "only in its epoch"


def rows_with_labels(count=50, views=1):
    rng = np.random.default_rng(0)
    mask = rng.random((count, 3)) < 0.5
    table = LabelTable(rng.random((count, 3), dtype=np.float32), mask, np.full((count, 3), np.nan))
    numbers = torch.arange(count).half() + 100 * torch.arange(views).half()[:, None]
    return FeatureInputs(ResidentFeatures(numbers[..., None]), 3), table


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_gives_the_planned_rows_whatever_the_workers(workers):
    inputs, table = rows_with_labels()
    plan = TrainPlan(np.arange(5, 50), 16, 3)
    loader = PlannedLoader(RowBatches(inputs, table, plan), Positions(plan.num_steps, 2), workers)
    for number in (0, 1):
        batches = iter(loader)
        loader.sampler.set_epoch(number)  # as the Trainer does it: after the iterator was made
        calls = list(batches)
        assert [len(call) for call in calls] == [2, 1]
        found = [batch for call in calls for batch in call]
        expected = np.arange(5, 50)[epoch_order(3, number, 45)]
        keys = torch.cat([batch.key for batch in found])
        assert keys[keys >= 0].tolist() == expected.tolist()
        for batch in found:
            real = batch.key >= 0
            assert batch.inputs[real, 0].tolist() == batch.key[real].tolist()
            assert not batch.mask[~real].any()
            assert torch.isfinite(batch.inputs).all()
            np.testing.assert_array_equal(batch.target[real].numpy(), table.target[batch.key[real].numpy()])
            np.testing.assert_array_equal(batch.num_labels.numpy(), batch.mask.sum(0).numpy())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_goes_on_where_its_state_says(workers):
    inputs, table = rows_with_labels()
    plan = TrainPlan(np.arange(50), 8, 3)

    def loader():
        loader = PlannedLoader(RowBatches(inputs, table, plan), Positions(plan.num_steps, 2), workers)
        loader.sampler.set_epoch(1)
        return loader

    whole = loader()
    calls = iter(whole)
    next(calls)
    next(calls)
    state, rest = whole.state_dict(), list(calls)
    later = loader()
    later.load_state_dict(state)
    assert [[batch.key.tolist() for batch in call] for call in later] == [
        [batch.key.tolist() for batch in call] for call in rest
    ]
    assert later.state_dict() == whole.state_dict() == {"epoch": 1, "step": 7}
    later.load_state_dict(whole.state_dict())
    later.sampler.set_epoch(2)
    assert len(list(later)) == 4, "a finished epoch's state says nothing about the next"


def test_labels_and_idle_heads_are_those_of_the_whole_global_batch():
    inputs, table = rows_with_labels()
    table.mask[:, 2] = np.arange(50) % 16 == 0
    ranks = [RowBatches(inputs, table, TrainPlan(np.arange(50), 8, 1, rank, 4)) for rank in range(4)]
    idle = 0
    for step in range(ranks[0].plan.num_steps):
        shares = [rank[[Position(0, step)]][0] for rank in ranks]
        total = sum(share.mask.sum(0) for share in shares)
        for share in shares:
            assert torch.equal(share.num_labels, total.float())
            assert list(share.idle) == torch.nonzero(total == 0).flatten().tolist()
        idle += len(shares[0].idle)
    assert idle > 0


def test_training_takes_views_by_hash_and_evaluation_the_clean_one():
    inputs, table = rows_with_labels(views=3)
    train = RowBatches(inputs, table, TrainPlan(np.arange(50), 8, 1))
    clean = RowBatches(FeatureInputs(inputs.store), table, EvalPlan(np.arange(50)))
    for number in (0, 1):
        for step in range(train.plan.num_steps):
            (batch,) = train[[Position(number, step)]]
            rows = batch.key[batch.key >= 0]
            views = torch.from_numpy(choose_views(3, number, rows.numpy(), 3))
            assert batch.inputs[: len(rows), 0].tolist() == (rows + 100 * views).tolist()
    (batch,) = clean[[Position(0, 0)]]
    assert batch.inputs[:50, 0].tolist() == list(range(50))


@quick
@given(st.integers(1, 700), worlds)
def test_evaluation_sees_each_row_once_in_equal_numbers_of_batches(count, world):
    rows = scattered(count)
    ranks = [EvalPlan(rows, rank, world).batches() for rank in range(world)]
    steps = math.ceil(math.ceil(count / EVAL_BLOCK) / world)
    assert {batches.shape for batches in ranks} == {(steps, EVAL_BLOCK)}
    assert EvalPlan(rows, 0, world).num_steps == steps
    seen = np.concatenate(ranks).reshape(-1)
    np.testing.assert_array_equal(np.sort(seen[seen >= 0]), rows)
    blocks = [sum((batch >= 0).any() for batch in batches) for batches in ranks]
    assert max(blocks) - min(blocks) <= 1
    # a row is in the same block, at the same place, whatever the number of processes
    alone = {tuple(batch) for batch in EvalPlan(rows).batches()}
    dealt = {tuple(batch) for batches in ranks for batch in batches if (batch >= 0).any()}
    assert dealt == alone


@pytest.mark.parametrize(
    ("batch_size", "world", "offer"),
    [(33, 2, "use 32 or 34"), (10, 4, "use 8 or 12"), (3, 4, "use 4"), (255, 8, "use 248 or 256")],
)
def test_a_batch_that_processes_do_not_divide_offers_the_two_nearest(batch_size, world, offer):
    with pytest.raises(UsageError, match=rf"batch_size: {batch_size} is the global batch, {world} .*; {offer}$"):
        check_batch_size(batch_size, 1000, world)


@pytest.mark.parametrize("batch_size", [0, -4])
def test_a_batch_of_nothing_is_refused(batch_size):
    with pytest.raises(UsageError, match="must be at least 1"):
        check_batch_size(batch_size, 10, 1)


@quick
@given(sizes, st.integers(1, 300), worlds)
def test_a_batch_larger_than_the_set_is_reduced_to_it(count, per_process, world):
    used = check_batch_size(per_process * world, count, world)
    assert used % world == 0
    assert used <= per_process * world
    assert used < count + world
    if per_process * world <= count:
        assert used == per_process * world
