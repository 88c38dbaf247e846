import hashlib
import io
import json
import os
import re
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from emonet_lightning.data.cache_blocks import BLOCK_ROWS
from emonet_lightning.data.embed_command import embed_command
from emonet_lightning.data.embeddings import build_cache, cache_key, fill_cache
from emonet_lightning.data.feature_store import load_cache
from emonet_lightning.data.pixel_batches import decode_threads
from emonet_lightning.decoding import decode_image
from emonet_lightning.encoders import EncoderSpec, FrozenEncoder
from emonet_lightning.errors import DataError, InterruptedRunError, MissingInputError, OutputError, UsageError
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.packing.shards import RawSample, pack
from emonet_lightning.taxonomy import Taxonomy
from emonet_lightning.transforms import Augmentation, EvalTransform, TrainTransform, sample_seed

NUM_IMAGES = BLOCK_ROWS + 40
VIEWS = {"views": 3, "augmentation": Augmentation(), "seed": 7, "progress": False}
SMALL = {"embed_dim": 24, "depth": 1, "num_heads": 2, "img_size": 16, "patch_size": 8}


class Noise:
    """Small pictures that differ, with one answer each."""

    kind = "dense"
    licence = "CC0"
    name = "noise"

    def __init__(self, num_images=NUM_IMAGES, seed=0):
        self.num_images, self.seed = num_images, seed

    def __len__(self):
        return self.num_images

    def __getitem__(self, index):
        pixels = np.random.default_rng((self.seed, index)).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=90)
        return RawSample(f"{index:05d}", stream.getvalue(), {"model": {"anger": 1.0}})


def packed_noise(folder, source):
    return pack(source, folder, Taxonomy.load("emonet40"), splits=None, hash_near_duplicates=False, progress=False)


@pytest.fixture(scope="module", autouse=True)
def cache_folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMONET_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> PackedSet:
    return packed_noise(tmp_path_factory.mktemp("packed"), Noise())


@pytest.fixture(scope="module")
def spec(tmp_path_factory) -> EncoderSpec:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    name = "vit_base_patch16_siglip_224"
    save_file(timm.create_model(name, num_classes=0, **SMALL).state_dict(), path)
    return EncoderSpec(f"timm/{name}", weights=str(path), options=SMALL)


@pytest.fixture(scope="module")
def reference(tmp_path_factory, packed, spec) -> Path:
    """A cache of three views, built by one writer at once."""
    return build_cache(packed, spec, tmp_path_factory.mktemp("reference"), num_threads=1, **VIEWS)


def contents(folder: Path) -> dict[str, str]:
    """Digest of every file of the caches in a folder, without claims."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith((".", "writer-"))]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_cache_holds_each_rows_features_of_each_view(packed, spec, reference):
    features = load_cache(reference)
    encoder = FrozenEncoder.load(spec)
    assert features.shape == (3, NUM_IMAGES, encoder.dim)
    assert features.dtype == torch.float16
    clean, changed = EvalTransform(encoder.preprocess), TrainTransform(encoder.preprocess, Augmentation())
    for row in (0, 63, 64, BLOCK_ROWS - 1, BLOCK_ROWS, NUM_IMAGES - 1):
        image = decode_image(packed.read_image(row), "x")
        pixels = [clean(image), *(changed(image, sample_seed(7, 0, row, view)) for view in (1, 2))]
        expected = encoder.encode(torch.from_numpy(np.stack(pixels)))
        assert torch.allclose(features[:, row].float(), expected, atol=2e-3)


def test_second_build_encodes_nothing_and_needs_no_write_permission(packed, spec, reference, monkeypatch):
    monkeypatch.setattr("tempfile.mkstemp", lambda **_: pytest.fail("something was written"))
    again = fill_cache(packed, spec, reference.parent, **VIEWS)
    assert (again.path, again.num_encoded) == (reference, 0)


def test_clean_view_is_shared_by_caches_of_more_views(packed, spec, reference):
    built = fill_cache(packed, spec, reference.parent, progress=False)
    assert built.num_encoded == 0
    assert torch.equal(load_cache(built.path)[0], load_cache(reference)[0])


def test_two_writers_make_the_bytes_of_one(tmp_path, packed, spec, reference):
    built = {}

    def write(rank):
        built[rank] = fill_cache(packed, spec, tmp_path, rank=rank, world_size=2, num_threads=2, **VIEWS)

    ranks = [threading.Thread(target=write, args=(rank,)) for rank in (0, 1)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    assert sorted(built) == [0, 1]
    assert built[0].num_encoded + built[1].num_encoded == 3 * NUM_IMAGES
    assert min(built[0].num_encoded, built[1].num_encoded) > 0
    assert contents(tmp_path) == contents(reference.parent)


DIES_WITHIN_ITS_SECOND_BLOCK = """
    import json, os, signal, sys
    from emonet_lightning.data.embeddings import build_cache
    from emonet_lightning.packing.packed import PackedSet
    from emonet_lightning.encoders import EncoderSpec
    from emonet_lightning.transforms import Augmentation

    rename, renamed = os.replace, []
    def rename_or_die(source, target):
        if str(target).endswith(".safetensors"):
            renamed.append(target)
            if len(renamed) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)
    os.replace = rename_or_die
    packed, cache, spec = json.loads(sys.argv[1])
    build_cache(PackedSet.open(packed), EncoderSpec(**spec), cache, views=3, augmentation=Augmentation(), seed=7,
                rank=0, world_size=2)
"""


def test_writer_killed_within_a_write_is_reported_and_the_resumed_cache_has_equal_bytes(
    tmp_path, packed, spec, reference
):
    errors = []

    def write():
        try:
            fill_cache(packed, spec, tmp_path, rank=1, world_size=2, stall_seconds=60, **VIEWS)
        except InterruptedRunError as error:
            errors.append(str(error))

    other = threading.Thread(target=write)
    other.start()
    arguments = json.dumps([str(packed.path), str(tmp_path), vars(spec)])
    script = textwrap.dedent(DIES_WITHIN_ITS_SECOND_BLOCK)
    killed = subprocess.run([sys.executable, "-c", script, arguments], check=False, capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    other.join()
    assert "writer 0" in errors[0]
    assert "start again" in errors[0]
    left = list(tmp_path.rglob(".*.safetensors.*.tmp"))
    assert len(left) == 1
    os.utime(left[0], (0, 0))
    resumed = fill_cache(packed, spec, tmp_path, **VIEWS)
    assert resumed.num_encoded == 2 * BLOCK_ROWS  # of its three blocks the killed writer finished one
    assert contents(tmp_path) == contents(reference.parent)
    assert not left[0].exists()


def test_error_of_one_rank_reaches_the_waiting_ones(tmp_path, spec):
    packed = packed_noise(tmp_path / "packed", Noise(3))

    def gone(row):
        raise OutputError("the disk is gone")

    packed.read_image = gone
    errors = []

    def write(rank):
        try:
            fill_cache(packed, spec, tmp_path / "cache", rank=rank, world_size=2, progress=False)
        except OutputError as error:
            errors.append(str(error))

    ranks = [threading.Thread(target=write, args=(rank,)) for rank in (1, 0)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(timeout=30)
    assert len(errors) == 2
    assert all("the disk is gone" in error for error in errors)
    assert sum("met by writer 0" in error for error in errors) == 1


def test_ranks_that_nobody_joins_give_up(tmp_path, packed, spec):
    with pytest.raises(InterruptedRunError, match=r"no writer was seen for 1 s"):
        fill_cache(packed, spec, tmp_path, rank=1, world_size=2, stall_seconds=1, progress=False)


def test_damaged_block_is_refused_and_rebuilt(tmp_path, packed, spec):
    path = build_cache(packed, spec, tmp_path, progress=False)
    whole, block = contents(tmp_path), path / "000001.safetensors"
    content = bytearray(block.read_bytes())
    content[-7] ^= 1
    block.write_bytes(content)
    with pytest.raises(DataError, match=r"000001.safetensors: .* damaged .*digest differs"):
        load_cache(path)
    assert fill_cache(packed, spec, tmp_path, progress=False).num_encoded == NUM_IMAGES - BLOCK_ROWS
    assert contents(tmp_path) == whole
    block.unlink()
    with pytest.raises(MissingInputError, match=r"000001.safetensors"):
        load_cache(path)


def test_block_of_another_cache_is_refused(tmp_path, packed, spec):
    first = build_cache(packed, spec, tmp_path, progress=False)
    other = EncoderSpec(**{**vars(spec), "interpolation": "bilinear"})
    second = build_cache(packed, other, tmp_path, progress=False)
    (first / "000000.safetensors").write_bytes((second / "000000.safetensors").read_bytes())
    with pytest.raises(DataError, match="belongs to cache"):
        load_cache(first)


@pytest.mark.parametrize("field", ["view_keys", "encoder", "data"])
def test_changed_description_is_refused(tmp_path, packed, spec, field):
    path = build_cache(packed_noise(tmp_path / "packed", Noise(2)), spec, tmp_path / "cache", progress=False)
    meta = json.loads((path / "meta.json").read_text())
    meta[field] = meta[field][:0] if isinstance(meta[field], list) else {}
    (path / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(DataError, match="run the same command again"):
        load_cache(path)


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "bfloat16"},
        {"interpolation": "bilinear"},
        {"resize": "crop", "crop_pct": 0.9},
        {"mean": [0.4, 0.4, 0.4]},
        {"options": {**SMALL, "global_pool": "avg"}},
        {"resize_on": "device"},
        {"compile": True},
    ],
)
def test_key_changes_with_the_encoder(packed, spec, change):
    assert cache_key(packed, EncoderSpec(**{**vars(spec), **change})) != cache_key(packed, spec)


def test_key_changes_with_weights_data_and_views_but_not_with_idle_options(tmp_path, packed, spec):
    state = load_file(str(spec.weights))
    state["norm.bias"] += 1
    save_file(state, tmp_path / "moved.safetensors")
    moved = EncoderSpec(spec.name, weights=str(tmp_path / "moved.safetensors"), options=SMALL)
    other = packed_noise(tmp_path / "packed", Noise(seed=1))
    options = {"views": 2, "augmentation": Augmentation()}
    keys = [
        cache_key(packed, spec),
        cache_key(packed, moved),
        cache_key(other, spec),
        cache_key(packed, spec, **options),
        cache_key(packed, spec, **{**options, "views": 3}),
        cache_key(packed, spec, **options, seed=1),
        cache_key(packed, spec, views=2, augmentation=Augmentation(hflip=0.4)),
    ]
    assert len(set(keys)) == len(keys)
    assert cache_key(packed, spec, augmentation=Augmentation(), seed=3) == keys[0]


def test_more_views_without_augmentation_are_refused(packed, spec):
    with pytest.raises(UsageError, match="augmentation"):
        cache_key(packed, spec, views=2)


def test_unwritable_cache_folder_is_found_out_before_encoding(tmp_path, packed, spec, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(packed, "read_image", lambda row: pytest.fail("an image was read"))
    with pytest.raises(OutputError, match="cannot be written"):
        build_cache(packed, spec, tmp_path / "file" / "cache", progress=False)


def test_features_beyond_float16_name_the_sample(tmp_path, packed, spec):
    state = load_file(str(spec.weights))
    state["norm.bias"] += float("nan")
    save_file(state, tmp_path / "nan.safetensors")
    broken = EncoderSpec(spec.name, weights=str(tmp_path / "nan.safetensors"), options=SMALL)
    with pytest.raises(DataError, match="sample '00000': encoder features reach nan"):
        build_cache(packed, broken, tmp_path / "cache", progress=False)


def test_threads_are_at_most_those_that_slurm_allots(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert (decode_threads(), decode_threads(3), decode_threads(99), decode_threads(0)) == (8, 3, 8, 1)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4")
    assert (decode_threads(), decode_threads(3), decode_threads(99)) == (4, 3, 4)


def slurm_array(monkeypatch, task, first, count):
    for name, value in (("ID", task), ("MIN", first), ("COUNT", count)):
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))


def test_tasks_of_a_slurm_array_share_the_work_and_do_not_wait(tmp_path, packed, spec, capsys, monkeypatch):
    slurm_array(monkeypatch, 8, 7, 2)
    embed_command(str(packed.path), spec, cache_dir=str(tmp_path))
    second = capsys.readouterr().out
    assert f"; {NUM_IMAGES - BLOCK_ROWS} encoded here" in second
    assert "share 1 of 2 (task 8 of a Slurm array); 1 blocks are still to come from the others" in second
    slurm_array(monkeypatch, 7, 7, 2)
    embed_command(str(packed.path), spec, cache_dir=str(tmp_path))
    first, log = capsys.readouterr()
    assert re.search(rf"{BLOCK_ROWS}/{BLOCK_ROWS} images, \d+ images/s, 0:00:00 left\n", log)
    assert f"; {BLOCK_ROWS} encoded here" in first
    assert "share 0 of 2 (task 7 of a Slurm array); all complete" in first


def test_ranks_that_are_given_count_more_than_a_slurm_array(tmp_path, packed, spec, capsys, monkeypatch):
    slurm_array(monkeypatch, 5, 0, 6)
    embed_command(str(packed.path), spec, cache_dir=str(tmp_path), rank=1, world_size=2)
    assert "share 1 of 2 (as given)" in capsys.readouterr().out


def test_slurm_array_with_gaps_is_refused(tmp_path, packed, spec, monkeypatch):
    slurm_array(monkeypatch, 9, 0, 2)
    with pytest.raises(UsageError, match=r"rank is 9; .*without gaps, e\.g\. --array=0-7"):
        embed_command(str(packed.path), spec, cache_dir=str(tmp_path))


@pytest.mark.parametrize(("name", "command"), [("embed", "embed"), ("generate", "synthesize|images")])
def test_script_of_the_slurm_array_is_valid_and_passes_its_arguments_on(tmp_path, name, command):
    script = Path(__file__).parent.parent / "slurm" / f"{name}.sbatch"
    (tmp_path / "srun").write_text('#!/bin/sh\nprintf "%s|" "$SRUN_CPUS_PER_TASK" "$@"\n')
    (tmp_path / "srun").chmod(0o755)
    setting = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_CPUS_PER_TASK": "4"}
    call = ["bash", str(script), "my set", "--views", "2"]
    done = subprocess.run(call, env=setting, check=True, capture_output=True, text=True)
    assert done.stdout == f"4|--kill-on-bad-exit=1|python|-m|emonet_lightning|{command}|my set|--views|2|"
    assert subprocess.run(call[:2], env=setting, check=False, capture_output=True).returncode != 0


def test_compile_is_refused_where_there_is_no_cuda(tmp_path, packed, spec):
    with pytest.raises(UsageError, match=r"encoder\.compile needs CUDA"):
        fill_cache(packed, replace(spec, compile=True), tmp_path, progress=False)


def test_resize_on_the_device_makes_another_cache_with_nearly_the_same_features(tmp_path, packed, spec, reference):
    spec = replace(spec, resize_on="device")
    alone = build_cache(packed, spec, tmp_path / "alone", num_threads=1, progress=False)
    found, usual = load_cache(alone)[0].float(), load_cache(reference)[0].float()
    assert alone.name != reference.name
    assert not torch.equal(found, usual)
    assert torch.allclose(found, usual, atol=0.02)
    for rank in (1, 0):
        fill_cache(packed, spec, tmp_path / "two", rank=rank, world_size=2, num_threads=2, wait=False, progress=False)
    assert contents(tmp_path / "two") == contents(tmp_path / "alone")


def test_embed_command_says_what_it_made(tmp_path, packed, spec, capsys):
    embed_command(str(packed.path), spec, cache_dir=str(tmp_path))
    first = capsys.readouterr().out
    key = cache_key(packed, spec)
    assert f"rows {NUM_IMAGES}, views 1, dim 24; {NUM_IMAGES} encoded here" in first
    assert "images/s" in first
    assert f"key {key}" in first
    assert load_cache(tmp_path / "features" / key[:20]).shape == (1, NUM_IMAGES, 24)
    embed_command(str(packed.path), spec, cache_dir=str(tmp_path))
    assert "all cached already" in capsys.readouterr().out
    with pytest.raises(UsageError, match="rank is 2"):
        embed_command(str(packed.path), spec, cache_dir=str(tmp_path), rank=2, world_size=2)
