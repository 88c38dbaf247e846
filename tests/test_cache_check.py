"""Images encoded again are compared with what the cache has of them."""

import json
import re

import pytest

from emonet_lightning.cli import main
from emonet_lightning.data.cache_blocks import blocks_of, read_block, save_block
from emonet_lightning.data.cache_check import check_cache
from emonet_lightning.data.embeddings import build_cache, plan_cache
from emonet_lightning.errors import DataError
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.transforms import Augmentation

CHANGED = Augmentation(hflip=0.5, brightness=0.2)


@pytest.fixture
def cached(small_sets, spec, tmp_path):
    packed = PackedSet.open(small_sets["big"])
    build_cache(packed, spec, tmp_path, views=2, augmentation=CHANGED, seed=3, progress=False)
    return packed, plan_cache(packed, spec, tmp_path, 2, CHANGED, 3)


def test_every_image_of_every_view_is_what_the_cache_has(cached, spec):
    packed, plan = cached
    found = check_cache(packed, spec, plan, 10_000, progress=False)
    assert found.num == 2 * len(packed)
    assert found.relative < 2e-3  # nothing on most processors


def test_few_are_drawn_anew_each_time(cached, spec):
    packed, plan = cached
    found = [check_cache(packed, spec, plan, 3, progress=False) for _ in range(4)]
    assert [check.num for check in found] == [3] * 4
    assert len({check.worst for check in found}) > 1


def test_features_of_another_row_are_found(cached, spec):
    packed, plan = cached
    block = plan.blocks[1][0]
    features = read_block(block, plan.dim).clone()
    features[[5, 6]] = features[[6, 5]]
    save_block(block, features)
    with pytest.raises(DataError) as refusal:
        check_cache(packed, spec, plan, 10_000, progress=False)
    said = str(refusal.value)
    assert str(block.path) in said
    assert "view 1" in said
    assert any(f"'{packed.keys[row]}'" in said for row in (5, 6))
    assert "2 of 320 images differ" in said


def test_rows_without_features_and_blocks_that_are_not_there_are_left_out(cached, spec):
    packed, plan = cached
    plan.blocks[0][0].path.unlink()
    features = read_block(plan.blocks[1][0], plan.dim).clone()
    features[7] = 0
    save_block(plan.blocks[1][0], features, {7: "truncated"})
    assert check_cache(packed, spec, plan, 10_000, progress=False).num == len(packed) - 1


def test_command(small_sets, encoder_options, tmp_path, capsys):
    words = ["embed", str(small_sets["big"]), *(word.replace("--model.", "--") for word in encoder_options)]
    words += [f"--cache_dir={tmp_path}", "--device=cpu"]
    assert main([*words, "--verify=64"]) == 0
    assert "160 encoded here" in (said := capsys.readouterr().out)
    line = (
        r"verified 64 images encoded again: largest difference \S+, relative \S+ \(at most 0.02; sample '\S+', view 0\)"
    )
    assert re.search(line, said)
    assert main([*words, "--verify=1000"]) == 0
    assert "all cached already" in (said := capsys.readouterr().out)
    assert "verified 160 images" in said
    (path,) = tmp_path.rglob("000000.safetensors")
    (block,) = blocks_of(path.parent, json.loads((path.parent / "meta.json").read_text())["key"], 160)
    save_block(block, read_block(block, 256) * 1.001)
    assert main([*words, "--verify=2"]) == 0
    assert main([*words, "--verify=2", "--verify_tolerance=1e-4"]) == 65
    assert f"delete {path.parent} and run" in capsys.readouterr().err
    assert main([*words, "--verify=-1"]) == 2
    assert "verify" in capsys.readouterr().err
