"""One bit of a feature cache is another one: never taken, and the next build makes the very bytes again."""

import random

import pytest
import torch
from campaign import run_campaign

from emonet_lightning.data.embeddings import build_cache
from emonet_lightning.data.feature_store import MappedFeatures, load_cache
from emonet_lightning.errors import DataError
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.transforms import Augmentation

REBUILT = 10
"""Every so many trials of the full form, the cache is built again; in the quick form always."""


@pytest.fixture(scope="module")
def build(small_sets, spec, tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    packed = PackedSet.open(small_sets["big"])

    def once():
        options = {"views": 2, "augmentation": Augmentation(hflip=0.5)}
        return build_cache(packed, spec, folder, num_threads=1, progress=False, **options)

    return once


def test_flips_in_a_cache_are_refused_and_mended(build, full):
    path = build()
    features = load_cache(path).clone()
    every = torch.arange(features.shape[0] * features.shape[1])
    files = sorted(file for file in path.parent.rglob("*") if file.suffix in (".safetensors", ".json"))
    good = {file: file.read_bytes() for file in files}
    blocks = [file for file in files if file.suffix == ".safetensors"]
    assert len(blocks) == 2

    def run(trial):
        number = int(trial.split(" ")[1])
        drawn = random.Random(trial)
        file = path / "meta.json" if number % 10 == 9 else drawn.choice(blocks)
        header = number % 3 == 0 and file.suffix == ".safetensors"  # small, but it is parsed
        content = bytearray(good[file])
        size = 8 + int.from_bytes(content[:8], "little") if header else len(content)
        bit = drawn.randrange(8 * size)
        content[bit // 8] ^= 1 << bit % 8
        file.write_bytes(content)
        said = []
        for load in (lambda: load_cache(path), lambda: MappedFeatures([path]).take(every)):
            try:
                load()
            except DataError as error:
                said.append(str(error))
        refused = len(said) == 2 and all(str(path.parent) in text for text in said)
        mended = True
        if not full or number % REBUILT == 0:
            mended = build() == path and {other: other.read_bytes() for other in files} == good
        file.write_bytes(good[file])
        return {"ok": refused and mended, "file": file.name, "bit": bit, "said": said[:1], "mended": mended}

    tally = run_campaign("bit_flips_cache", [f"flip {number}" for number in range(500 if full else 25)], run, full=full)
    assert tally.failed == []
    assert load_cache(path).equal(features)
