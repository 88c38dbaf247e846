"""A shard is damaged: no sample is lost unseen, no content is wrong unseen, and good shards are not complained of."""

import json
import random
import shutil
import tarfile
from pathlib import Path

import pytest
import shard_damage
from campaign import run_campaign

from emonet_lightning.errors import EmoNetError
from emonet_lightning.io import sha256_file
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.packing.shards import pack
from emonet_lightning.packing.sources import open_source
from emonet_lightning.packing.tars import TarSource
from emonet_lightning.packing.verifying import inspect_set
from emonet_lightning.taxonomy import Taxonomy

QUICK, FULL = 20, 400
"""Trials of each kind."""


@pytest.fixture(scope="module")
def good(small_sets):
    """The small set as packed: the bytes of all images and records."""
    packed = PackedSet.open(small_sets["binary"])
    rows = range(packed.num_samples)
    return packed, [packed.read_image(row) for row in rows], [packed.read_record(row) for row in rows]


@pytest.fixture(scope="module")
def found_shards(tmp_path_factory, small_sets):
    """Two shards as somebody else made them, without a manifest, each beside the digest that came with it."""
    packed, folder = PackedSet.open(small_sets["big"]), tmp_path_factory.mktemp("found")
    for number in range(2):
        path = folder / f"part-{number}.tar"
        with tarfile.open(path, "w") as tar:
            for row in range(8 * number, 8 * number + 8):
                image = packed.read_image(row)
                record = {"emotions": packed.read_record(row)["ratings"]["machine"]}
                for suffix, content in (("jpg", image), ("json", json.dumps(record).encode())):
                    (folder / "member").write_bytes(content)
                    tar.add(folder / "member", f"{packed.keys[row]}.{suffix}")
        path.with_name(f"{path.name}.sha256").write_text(f"{sha256_file(path)}  {path.name}\n")
    (folder / "member").unlink()
    return folder


def copy(source: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target


def read_as_training_does(folder, good):
    """Read every row; returns silent faults and false alarms, given which files differ from good ones."""
    original, images, records = good
    changed = {
        shard["file"]
        for shard in original.manifest["shards"]
        if not (folder / shard["file"]).is_file() or sha256_file(folder / shard["file"]) != shard["sha256"]
    }
    packed, silent, alarms, refused = PackedSet.open(folder), [], [], 0
    for row, (image, record) in enumerate(zip(images, records, strict=True)):
        for what, read, expected in (("image", packed.read_image, image), ("record", packed.read_record, record)):
            try:
                if read(row) != expected:
                    silent.append(f"{what} {row} is another")
            except EmoNetError as error:
                refused += 1
                named = packed.shard_of(row) in str(error) and packed.keys[row] in str(error)
                if packed.shard_of(row) not in changed or not named:
                    alarms.append(f"{what} {row}: {error}")
    if packed.num_samples != len(images):
        silent.append(f"{packed.num_samples} samples")
    problems = inspect_set(packed, progress=False).problems
    wrong = {problem.file for problem in problems}
    extra = {path.name for path in folder.glob("*.tar")} - {shard["file"] for shard in original.manifest["shards"]}
    if missed := (changed | extra) - wrong:
        silent.append(f"verify does not name {sorted(missed)}")
    alarms += [f"verify names {name}" for name in wrong - changed - extra]
    return {"silent": silent, "alarms": alarms, "refused": refused, "changed": len(changed | extra)}


def pack_what_was_found(folder, out, images):
    """Pack shards without a manifest; returns what was lost or wrong though the command succeeded."""
    shutil.rmtree(out, ignore_errors=True)
    taxonomy = Taxonomy.load("emonet40")
    try:
        source = open_source(str(folder), taxonomy, format="tar")
        packed = pack(source, out, taxonomy, hash_near_duplicates=False, progress=False)
    except EmoNetError as error:
        return [], str(error)
    silent = [f"{key} is another" for row, key in enumerate(packed.keys) if packed.read_image(row) != images.get(key)]
    return silent + ([] if packed.num_samples == len(images) else [f"{packed.num_samples} of {len(images)}"]), ""


def test_damaged_shards_lose_nothing_unseen(good, found_shards, tmp_path, full):
    packed, _, _ = good
    big = TarSource(sorted(found_shards.glob("*.tar")), Taxonomy.load("emonet40"), {}, name="found", licence="unknown")
    contents = {big[row].key: big[row].image for row in range(len(big))}

    def run(trial):
        kind, _ = trial.split(" ")
        drawn, damage = random.Random(trial), shard_damage.KINDS[kind]
        folder = copy(packed.path, tmp_path / "set")
        path = drawn.choice(sorted(folder.glob("*.tar")))
        damage(path, shard_damage.layout(path), drawn)
        found = read_as_training_does(folder, good)
        raw = copy(found_shards, tmp_path / "raw")
        path = drawn.choice(sorted(raw.glob("*.tar")))
        if "header" in kind or "truncated" in kind:  # content and missing files need a digest, these do not
            for digest in raw.glob("*.sha256"):
                digest.unlink()
        damage(path, shard_damage.layout(path), drawn)
        lost, said = pack_what_was_found(raw, tmp_path / "packed", contents)
        ok = not found["silent"] and not found["alarms"] and not lost
        return {"ok": ok, **found, "lost": lost, "said": said}

    trials = [f"{kind} {number}" for kind in shard_damage.KINDS for number in range(FULL if full else QUICK)]
    tally = run_campaign("shard_mutations", trials, run, full=full)
    print(tally, f"{tally.total('refused'):.0f} samples refused in {len(tally.outcomes)} trials")
    assert tally.failed == []


def test_good_shards_are_taken(good, found_shards, tmp_path):
    packed, _, _ = good
    folder = copy(packed.path, tmp_path / "set")
    found = read_as_training_does(folder, good)
    assert (found["silent"], found["alarms"], found["refused"], found["changed"]) == ([], [], 0, 0)
    packed = PackedSet.open(folder)
    assert packed.verify(progress=False).problems == []
