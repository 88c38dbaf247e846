"""Which rows are read when: a pure function of seed and epoch, the same for any number of processes and workers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from emonet_lightning.data.labels import LabelTable
from emonet_lightning.data.rows import FeatureRows
from emonet_lightning.data.sampling import EVAL_BLOCK, EvalPlan, TrainPlan, check_batch_size, epoch_order
from emonet_lightning.errors import UsageError

quick = settings(max_examples=60, deadline=None)
sizes, worlds = st.integers(1, 400), st.integers(1, 8)


def scattered(count):
    """Rows of a split: rising, with gaps."""
    return np.arange(count) * 3 + 7


def epoch(rows, batch_size, seed=0, world=1, number=0):
    """Batches of every process of one epoch: [rank][batch]."""
    plans = [TrainPlan(rows, batch_size, seed, rank, world) for rank in range(world)]
    for plan in plans:
        plan.set_epoch(number)
    return [list(plan) for plan in plans]


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
    ranks = epoch(rows, per_process * world, world=world, number=number)
    seen = np.concatenate([batch.rows for batches in ranks for batch in batches])
    np.testing.assert_array_equal(np.sort(seen[seen >= 0]), rows)
    assert {len(batches) for batches in ranks} == {len(TrainPlan(rows, per_process * world, 0, 0, world))}
    for step in zip(*ranks, strict=True):
        assert len({len(batch.rows) for batch in step}) == 1, "equal shares, the last batch too"
        real = [int((batch.rows >= 0).sum()) for batch in step]
        assert max(real) - min(real) <= 1, "no process is given all of the padding"
        together = np.concatenate([batch.rows for batch in step])
        np.testing.assert_array_equal(np.sort(together[together >= 0]), np.sort(step[0].global_rows))
        for batch in step:
            np.testing.assert_array_equal(batch.global_rows, step[0].global_rows)
            assert batch.epoch == number


@quick
@given(st.integers(1, 120), st.integers(1, 5), st.integers(0, 3))
def test_global_batches_are_the_same_for_any_number_of_processes(count, quarter, number):
    rows = scattered(count)
    batches = {world: epoch(rows, 4 * quarter, 11, world, number)[0] for world in (1, 2, 4)}
    for world in (2, 4):
        for one, several in zip(batches[1], batches[world], strict=True):
            np.testing.assert_array_equal(one.global_rows, several.global_rows)


def test_last_batch_is_padded_behind_its_rows():
    first, last = epoch(scattered(7), 4)[0]
    assert (first.rows >= 0).all()
    assert (last.rows >= 0).tolist() == [True, True, True, False]
    assert len(last.global_rows) == 3
    for batches in epoch(scattered(9), 8, world=4):
        assert len(batches[1].rows) == 2
        assert all((np.diff((batch.rows >= 0).astype(int)) <= 0).all() for batch in batches), "padding comes last"


def rows_with_labels(count=50):
    rng = np.random.default_rng(0)
    table = LabelTable(
        rng.random((count, 3), dtype=np.float32), rng.random((count, 3)) < 0.5, np.full((count, 3), np.nan)
    )
    return FeatureRows(torch.arange(count).half().view(1, count, 1), table), table


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_gives_the_planned_rows_whatever_the_workers(workers):
    rows, table = rows_with_labels()
    plan = TrainPlan(np.arange(5, 50), 16, 3)
    loader = DataLoader(
        rows, batch_size=None, sampler=plan, num_workers=workers, collate_fn=_as_is, persistent_workers=workers > 0
    )
    for number in (0, 1):
        plan.set_epoch(number)
        found = list(loader)
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


def _as_is(batch):
    return batch


def test_labels_are_counted_over_the_whole_global_batch():
    rows, table = rows_with_labels()
    ranks = epoch(np.arange(50), 16, seed=1, world=4)
    for step in zip(*ranks, strict=True):
        shares = [rows[index] for index in step]
        total = sum(share.mask.sum(0) for share in shares)
        for share in shares:
            assert torch.equal(share.num_labels, total.float())
        assert total.tolist() == table.mask[step[0].global_rows].sum(0).tolist()


@quick
@given(st.integers(1, 700), worlds)
def test_evaluation_sees_each_row_once_in_equal_numbers_of_batches(count, world):
    rows = scattered(count)
    ranks = [list(EvalPlan(rows, rank, world)) for rank in range(world)]
    assert len({len(batches) for batches in ranks}) == 1
    assert len(ranks[0]) == len(EvalPlan(rows, 0, world)) == math.ceil(math.ceil(count / EVAL_BLOCK) / world)
    assert {len(batch.rows) for batches in ranks for batch in batches} == {EVAL_BLOCK}
    seen = np.concatenate([batch.rows for batches in ranks for batch in batches])
    np.testing.assert_array_equal(np.sort(seen[seen >= 0]), rows)
    blocks = [sum((batch.rows >= 0).any() for batch in batches) for batches in ranks]
    assert max(blocks) - min(blocks) <= 1
    # a row is in the same block, at the same place, whatever the number of processes
    alone = {tuple(batch.rows) for batch in EvalPlan(rows)}
    dealt = {tuple(batch.rows) for batches in ranks for batch in batches if (batch.rows >= 0).any()}
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
