"""Where features lie while heads train: placement, mapped blocks, statistics, and the same batches from all of them."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emonet_lightning.data.cache_blocks import BLOCK_ROWS, blocks_of, save_block
from emonet_lightning.data.feature_store import (
    MappedFeatures,
    ResidentFeatures,
    cache_bytes,
    choose_place,
    feature_statistics,
    free_memory,
    load_cache,
    load_features,
)
from emonet_lightning.data.inputs import FeatureInputs
from emonet_lightning.data.labels import LabelTable
from emonet_lightning.data.loading import to_device, train_batches
from emonet_lightning.data.sampling import Position, block_numbers
from emonet_lightning.errors import DataError, MissingInputError, UsageError
from emonet_lightning.io import fingerprint

GB = 10**9
SIZES = (2 * BLOCK_ROWS + 70, BLOCK_ROWS + 5)


def write_cache(root, num_rows, num_views=2, dim=6):
    """A feature cache as the encode pass leaves it."""
    base = {"format": 1, "decoder": "x", "encoder": "x", "data": {"num_samples": num_rows, "digest": str(num_rows)}}
    views = [{"view": view} for view in range(num_views)]
    view_keys = [fingerprint({**base, "views": [view]}) for view in views]
    key = fingerprint({**base, "views": views})
    rng = np.random.default_rng(num_rows)
    features = torch.from_numpy(rng.standard_normal((num_views, num_rows, dim)).astype(np.float16))
    for view, view_key in enumerate(view_keys):
        for block in blocks_of(root / view_key[:20], view_key, num_rows):
            save_block(block, features[view, block.start : block.stop])
    folder = root / key[:20]
    folder.mkdir(exist_ok=True)
    layout = {"dim": dim, "dtype": "float16", "block_rows": BLOCK_ROWS}
    meta = {**base, "views": views, "view_keys": view_keys, "key": key, **layout}
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder, features


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    root = tmp_path_factory.mktemp("caches")
    folders, features = zip(*(write_cache(root, size) for size in SIZES), strict=True)
    return list(folders), torch.cat(features, dim=1)


def test_caches_are_loaded_one_behind_the_other(caches):
    folders, features = caches
    assert torch.equal(load_features(folders), features)
    assert torch.equal(load_features(folders, torch.device("cpu"), num_threads=1), features)
    assert torch.equal(load_cache(folders[0]), features[:, : SIZES[0]])
    assert cache_bytes(folders) == 2 * features.numel()


@settings(max_examples=30, deadline=None)
@given(index=st.lists(st.integers(0, 2 * sum(SIZES) - 1), max_size=60))
def test_mapped_features_are_those_in_memory(caches, index):
    folders, features = caches
    index = torch.tensor(index, dtype=torch.int64)
    assert torch.equal(MappedFeatures(folders).take(index), ResidentFeatures(features).take(index))


def test_mapped_blocks_are_read_when_they_are_touched_and_damage_is_one_line_then(caches, tmp_path):
    folders, features = caches
    root = shutil.copytree(folders[0].parent, tmp_path / "caches")
    folder = root / folders[0].name
    first_view = json.loads((folder / "meta.json").read_text())["view_keys"][0][:20]
    block = root / first_view / "000001.safetensors"
    content = bytearray(block.read_bytes())
    content[-1] ^= 1
    block.write_bytes(content)
    store = MappedFeatures([folder])
    assert torch.equal(store.take(torch.arange(BLOCK_ROWS)), features[0, :BLOCK_ROWS])
    with pytest.raises(DataError, match=r"000001.safetensors: .*its digest differs") as caught:
        store.take(torch.tensor([3, BLOCK_ROWS + 1]))
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="its digest differs"):
        load_cache(folder)
    (root / first_view / "000002.safetensors").unlink()
    with pytest.raises(MissingInputError, match=r"000002.safetensors"):
        store.take(torch.tensor([2 * BLOCK_ROWS]))


@pytest.mark.parametrize(
    ("asked", "size", "device_free", "memory_free", "place"),
    [
        ("auto", 4 * GB, 10 * GB, 0, "device"),
        ("auto", 4 * GB + 1, 10 * GB, 11 * GB, "memory"),
        ("auto", 4 * GB + 1, 10 * GB, 10 * GB, "mapped"),
        ("auto", 4 * GB, None, 10 * GB, "memory"),
        ("auto", 5 * GB, None, 10 * GB, "mapped"),
        ("device", 9 * GB, 10 * GB, 0, "device"),
        ("device", 9 * GB, None, 10 * GB, "memory"),
        ("memory", 9 * GB, 100 * GB, 1 * GB, "memory"),
        ("mapped", 1, 100 * GB, 100 * GB, "mapped"),
    ],
)
def test_features_lie_where_forty_percent_of_the_free_memory_hold_them(asked, size, device_free, memory_free, place):
    assert choose_place(asked, size, device_free, memory_free) == place


def test_a_device_without_room_is_named_with_both_sizes():
    with pytest.raises(UsageError, match=r"features take 12.0 GB, the device has 10.0 GB free; use auto"):
        choose_place("device", 12 * GB, 10 * GB, 100 * GB)


def test_free_memory_is_at_most_that_of_the_machine_and_of_the_job(monkeypatch):
    monkeypatch.delenv("SLURM_MEM_PER_NODE", raising=False)
    assert 2**20 < free_memory() < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "1")
    assert free_memory() == 2**20


@pytest.mark.parametrize("l2_normalise", [False, True])
def test_statistics_are_those_of_all_rows_at_once(caches, monkeypatch, l2_normalise):
    folders, features = caches
    rows = np.random.default_rng(0).permutation(sum(SIZES))[:900]
    monkeypatch.setattr("emonet_lightning.data.feature_store._STATISTICS_ROWS", 100)
    mean, std = feature_statistics(ResidentFeatures(features), rows, l2_normalise)
    values = features[0, rows].float()
    values = torch.nn.functional.normalize(values) if l2_normalise else values
    expected = torch.std_mean(values.double(), dim=0)
    torch.testing.assert_close((std, mean), expected, rtol=1e-6, atol=1e-7)
    for one, other in zip(feature_statistics(MappedFeatures(folders), rows, l2_normalise), (mean, std), strict=True):
        assert torch.equal(one, other)


def batches_of(store, table, by_blocks, sampling="rows"):
    rows = np.arange(3, sum(SIZES), 2)
    blocks = block_numbers(rows, SIZES, BLOCK_ROWS) if by_blocks else None
    options = dict(batch_size=100, sampling=sampling, seed=1, rank=0, world_size=1, blocks=blocks)
    batches = train_batches(FeatureInputs(store, seed=1), table, rows, **options)
    return [batches[[Position(epoch, step)]][0] for epoch in (0, 1) for step in range(batches.plan.num_steps)]


def table_of(share):
    rng = np.random.default_rng(0)
    shape = (sum(SIZES), 4)
    return LabelTable(rng.random(shape, dtype=np.float32), rng.random(shape) < share, np.full(shape, np.nan))


def same(one, other):
    return all(
        torch.equal(a.cpu(), b.cpu()) if isinstance(a, torch.Tensor) else a == b
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize(("share", "sampling"), [(1.1, "rows"), (0.1, "rows"), (0.1, "balanced")])
def test_batches_are_the_same_wherever_features_lie(caches, share, sampling):
    folders, features = caches
    table = table_of(share)
    mapped = batches_of(MappedFeatures(folders), table, True, sampling)
    for one, other in zip(mapped, batches_of(ResidentFeatures(features), table, True, sampling), strict=True):
        assert same(one, other)
    if share > 1:
        keys = torch.cat([batch.key for batch in mapped[: len(mapped) // 2]])
        assert torch.equal(keys[keys >= 0].sort().values, torch.arange(3, sum(SIZES), 2)), "every row once an epoch"


def test_what_lies_on_the_device_is_not_moved_and_the_rest_is():
    batches = batches_of(ResidentFeatures(torch.zeros(1, sum(SIZES), 3).half()), table_of(0.1), False)[:2]
    here = to_device(batches, torch.device("cpu"))
    assert all(one is other for one, other in zip(here, batches, strict=True))
    moved = to_device(batches, torch.device("meta"))
    assert all(part.is_meta for batch in moved for part in batch if isinstance(part, torch.Tensor))
    assert [batch.idle for batch in moved] == [batch.idle for batch in batches]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize(("share", "sampling"), [(1.1, "rows"), (0.1, "rows"), (0.1, "balanced")])
def test_batches_on_a_gpu_are_those_in_memory_and_lie_there(caches, share, sampling):
    folders, features = caches
    table = table_of(share)
    store = ResidentFeatures(load_features(folders, torch.device("cuda")))
    for one, other in zip(
        batches_of(store, table, False, sampling),
        batches_of(ResidentFeatures(features), table, False, sampling),
        strict=True,
    ):
        assert all(part.is_cuda for part in one if isinstance(part, torch.Tensor))
        assert same(one, other)
