"""Packed sets: nothing is read back that was not packed."""

import io

import numpy as np
import pytest
import webdataset
from PIL import Image
from toy_faces import TAXONOMY, ToyFaces

from emonet_lightning.errors import DataError, MissingInputError
from emonet_lightning.packing.shards import PackedSet


def test_plain_webdataset_reads_the_shards(packed):
    paths = sorted(str(path) for path in packed.path.glob("*.tar"))
    samples = list(webdataset.WebDataset(paths, shardshuffle=False).decode("pil"))
    assert [sample["__key__"] for sample in samples] == packed.keys
    for row, sample in enumerate(samples):
        image = sample[("jpg", "png", "webp")[row % 3]]
        assert np.array_equal(image, Image.open(io.BytesIO(packed.read_image(row))).convert("RGB"))
        assert sample["json"] == packed.read_record(row)


def test_what_was_packed_is_read_back(packed):
    source = ToyFaces()
    assert (packed.kind, packed.licence, packed.name, packed.sealed) == ("dense", "CC0-1.0", "toy", False)
    assert packed.num_samples == len(packed) == 60
    assert packed.taxonomy == TAXONOMY.to_dict()
    for row in (0, 17, 59):
        sample = source[row]
        assert packed.read_image(row) == sample.image
        assert packed.read_record(row)["ratings"] == sample.ratings
        assert packed.read_record(row)["meta"] == sample.meta
        assert (packed.prompted[row], packed.groups[row]) == (sample.prompted, sample.group)
    ratings = packed.ratings()
    long = {
        (packed.keys[row], ratings.raters[rater], ratings.slugs[slug]): value
        for row, rater, slug, value in zip(*ratings[:2], ratings.slug_index, ratings.value.tolist(), strict=True)
    }
    assert long == {
        (sample.key, rater, slug): value
        for sample in (source[row] for row in range(60))
        for rater, answers in sample.ratings.items()
        for slug, value in answers.items()
    }


def test_splits_share_the_rows_and_keep_groups_whole(packed):
    rows = np.concatenate(list(packed.splits.values()))
    assert sorted(rows.tolist()) == list(range(60))
    assert len(packed.splits["val"]) == pytest.approx(12, abs=2)
    of = {row: split for split, rows in packed.splits.items() for row in rows.tolist()}
    for row, group in enumerate(packed.groups):
        assert all(of[row] == of[other] for other, name in enumerate(packed.groups) if group and name == group)


def test_a_packed_set_travels_to_other_processes_without_its_open_files(packed):
    import pickle

    packed.read_image(0)
    other = pickle.loads(pickle.dumps(packed))
    assert other.read_image(5) == packed.read_image(5)


@pytest.mark.parametrize("where", ["image", "json"])
def test_one_flipped_bit_is_named(packed, copied, where):
    row = 20
    index = packed.manifest["index"]
    shard = copied / "shard-000001.tar"
    content = bytearray(shard.read_bytes())
    content[index[f"{where}_offset"][row] + index[f"{where}_bytes"][row] // 2] ^= 4
    shard.write_bytes(content)
    with pytest.raises(DataError, match=r"shard-000001\.tar"):
        PackedSet.open(copied).verify(progress=False)
    if where == "image":
        with pytest.raises(DataError, match=r"shard-000001.tar: image of sample 'face020' is damaged"):
            PackedSet.open(copied).read_image(row)


def test_damage_to_manifest_ratings_headers_and_missing_shards_is_found(packed, copied):
    opened = PackedSet.open(copied)
    for name, position in (("ratings.parquet", 200), ("shard-000000.tar", 3)):
        content = (copied / name).read_bytes()
        (copied / name).write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(DataError, match=name):
            opened.verify(progress=False)
        (copied / name).write_bytes(content)
    (copied / "shard-000007.tar").write_bytes(b"")
    with pytest.raises(DataError, match=r"shard-000007.tar: not part of the packed set"):
        opened.verify(progress=False)
    (copied / "shard-000007.tar").unlink()
    opened.verify(progress=False)
    (copied / "shard-000002.tar").unlink()
    with pytest.raises(DataError, match=r"shard-000002.tar: shard is missing"):
        PackedSet.open(copied).verify(progress=False)
    text = (copied / "manifest.json").read_text()
    (copied / "manifest.json").write_text(text.replace('"sealed": false', '"sealed": true '))
    with pytest.raises(DataError, match="content changed"):
        PackedSet.open(copied)


def test_missing_and_unfinished_sets_are_named(tmp_path):
    with pytest.raises(MissingInputError, match="no such folder"):
        PackedSet.open(tmp_path / "nowhere")
    with pytest.raises(MissingInputError, match=r"holds no manifest\.json"):
        PackedSet.open(tmp_path)
