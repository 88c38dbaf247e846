"""Parquet and tar sets, the released layouts among them, become samples."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from small_inputs import binary_parquet, by_key, images, write, write_parquet
from toy_faces import TAXONOMY, encoded

from emonet_lightning.errors import DataError, MissingInputError
from emonet_lightning.packing.folders import list_images
from emonet_lightning.packing.sources import open_source
from emonet_lightning.taxonomy import Taxonomy

FULL = Taxonomy.load("emonet40", extra_dimensions=True)


def test_binary_parquet_is_read_with_raters_apart_classes_named_and_the_alias_mapped(tmp_path):
    source = open_source(str(binary_parquet(tmp_path / "train-00000-of-00001.parquet")), TAXONOMY)
    assert (source.kind, len(source)) == ("binary", 10)
    sample = source[3]
    assert sample.key == "00003"
    assert sample.image == encoded(3)
    assert sample.ratings == {"human-1": {"helplessness": 1.0}, "human-4": {"helplessness": 1.0, "affection": 0.0}}
    assert sample.prompted == "helplessness"
    assert sample.meta == {
        "prompt": "close-up photo", "age": "30", "gender": "man", "emotion": "Hopelessness", "subset": "binary",
        "file": "00003.jpg", "row": 3,
    }  # fmt: skip


def test_rows_are_found_in_any_order_over_row_groups_and_files(tmp_path):
    size, num_faces = 50, 7
    for part in range(2):
        faces = [{"bytes": encoded(row % num_faces), "path": f"{part}-{row}.jpg"} for row in range(size)]
        label = [json.dumps({"Awe": row % 8}) for row in range(size)]
        write_parquet(tmp_path / f"p{part}.parquet", {"path": faces, "label": label}, row_group_size=40)
    source = open_source(str(tmp_path), TAXONOMY)
    assert len(source) == 2 * size
    rows = [*range(2 * size), *range(2 * size - 1, -1, -7), 39, 17, 20, 2, 99]
    for row in rows:
        part, inside = divmod(row, size)
        assert source[row].key == f"{part}-{inside}"
        assert source[row].image == encoded(inside % num_faces)
        assert source[row].ratings == {"generated": {"awe": float(inside % 8)}}


def test_hq_parquet_keeps_raters_apart_and_regains_lost_names_from_the_index_map(tmp_path):
    label = [
        {"human-3": {"Negative Low-Energy Emotions|Helplessness": 3}},
        {"human-7": {"Awe": 7, "Extra Dimensions|Arousal": 4}},
    ]
    path = write_parquet(tmp_path / "hq.parquet", {"path": images(3, named=False), "label": [repr(label)] * 3})
    source = open_source(str(path), TAXONOMY)
    assert source.kind == "rated"
    assert source[1].key == "000001"
    assert source[1].ratings == {"human-3": {"helplessness": 3.0}, "human-7": {"awe": 7.0}}
    index_map = write(tmp_path / "map.json", json.dumps({"mj_data_7.v2.jpg": 2, "flux.png": 0, "a/b.jpg": 1}))
    source = open_source(str(path), TAXONOMY, index_map=index_map)
    assert [source[row].key for row in range(3)] == ["flux", "a__b", "mj_data_7-v2"]
    assert source[2].meta["file"] == "mj_data_7.v2.jpg"
    assert open_source(str(path), FULL)[0].ratings["human-7"] == {"awe": 7.0, "arousal": 4.0}


@pytest.mark.parametrize(
    "annotations",
    [
        {"Awe": 3, "Jealousy & Envy": 1},
        {"Positive High-Energy Emotions|Awe": 3, "jealousy_&_envy": 1, "Extra Dimensions|Valence": -2},
        {"awe": {"rating": 3, "reasoning": "wide eyes"}, "Jealousy & Envy": {"rating": 1, "reasoning": "it's {odd}"}},
        {
            "emotions": {"Awe": {"rating": 3}, "Jealousy & Envy": {"rating": 1}},
            "extra_dimensions": {"Arousal": {"rating": 5}},
        },
    ],
)
@pytest.mark.parametrize("form", ["struct", "literal", "json"])
def test_big_annotations_are_read_as_dict_literal_and_json(tmp_path, annotations, form):
    encode = {"struct": lambda value: value, "literal": repr, "json": json.dumps}[form]
    demographics = [{"ethnicity": "Asian", "gender": "man", "age": 30}] * 2
    prompt = ["photo of a man who seems to genuinely experience concentration, deep focus. No wrinkles"] * 2
    path = write_parquet(
        tmp_path / "big.parquet",
        {"image": images(2), "prompt": prompt, "demographics": demographics, "annotations": [encode(annotations)] * 2},
    )
    source = open_source(str(path), TAXONOMY)
    assert source.kind == "dense"
    assert source[0].ratings == {"generated": {"awe": 3.0, "jealousy_&_envy": 1.0}}
    assert source[0].prompted == "concentration"
    assert source[0].meta["ethnicity"] == "Asian"


def test_a_hugging_face_cache_folder_of_links_is_accepted(tmp_path):
    cache = tmp_path / "datasets--laion--emonet-face-binary"
    (cache / "blobs").mkdir(parents=True)
    data = cache / "snapshots" / "0123abcd" / "data"
    data.mkdir(parents=True)
    binary_parquet(tmp_path / "x.parquet").rename(cache / "blobs" / "5f70bf18")
    (data / "train-00000-of-00002.parquet").symlink_to("../../../blobs/5f70bf18")
    with pytest.raises(
        MissingInputError, match=r"train-\*-of-00002.parquet: 1 of 2 files are missing \(first: 00001\)"
    ):
        open_source(str(cache), TAXONOMY)
    (data / "train-00000-of-00002.parquet").rename(data / "train-00000-of-00001.parquet")
    assert len(open_source(str(cache), TAXONOMY)) == 10
    (cache / "blobs" / "5f70bf18").rename(cache / "blobs" / "5f70bf18.incomplete")
    with pytest.raises(MissingInputError, match="download is not finished"):
        open_source(str(cache), TAXONOMY)


def test_an_unknown_layout_lists_its_columns_and_overrides_name_them(tmp_path):
    path = write_parquet(
        tmp_path / "x.parquet", {"foto": images(2), "wertung": ['{"Awe": 2}'] * 2, "who": ["anna", "bert"]}
    )
    with pytest.raises(
        DataError, match=r"no column for 'image'; columns found: foto .*wertung \(string\).*--columns.image"
    ):
        open_source(str(path), TAXONOMY)
    with pytest.raises(DataError, match=r"no column for 'annotations'; columns found: foto"):
        open_source(str(path), TAXONOMY, columns={"image": "foto"})
    with pytest.raises(DataError, match=r"no column 'photo' \(given as columns.image\); did you mean 'foto'"):
        open_source(str(path), TAXONOMY, columns={"image": "photo"})
    source = open_source(str(path), TAXONOMY, columns={"image": "foto", "annotations": "wertung"}, group="who")
    assert source[1].ratings == {"generated": {"awe": 2.0}}
    assert source[1].group == "bert"


def test_class_numbers_without_names_are_not_guessed(tmp_path):
    path = write_parquet(tmp_path / "x.parquet", {"image": images(1), "emotion": [3], "label": ['{"Awe": 2}']})
    with pytest.raises(DataError, match=r"holds class numbers .*--columns.prompted=none"):
        open_source(str(path), TAXONOMY)[0]
    assert open_source(str(path), TAXONOMY, columns={"prompted": "none"})[0].prompted is None


def test_yes_or_no_among_ratings_is_refused_unless_the_kind_is_named(tmp_path):
    path = write_parquet(tmp_path / "x.parquet", {"image": images(2), "label": ["{'Awe': 1}", "{'Awe': True}"]})
    with pytest.raises(DataError, match="answers of kind 'binary' in a set of kind 'dense'; name it with --kind"):
        by_key(open_source(str(path), TAXONOMY))
    assert by_key(open_source(str(path), TAXONOMY, kind="binary"))["00001"] == {"generated": {"awe": 1.0}}


def test_equal_image_names_are_refused_unless_rows_are_numbered(tmp_path):
    same = [{"bytes": encoded(row), "path": "image.jpg"} for row in range(3)]
    path = write_parquet(tmp_path / "x.parquet", {"image": same, "label": ['{"Awe": 2}'] * 3})
    with pytest.raises(DataError, match=r"duplicate id 'image'.*--columns.key=row"):
        open_source(str(path), TAXONOMY)
    assert open_source(str(path), TAXONOMY, columns={"key": "row"})[2].key == "000002"


def test_a_truncated_parquet_file_is_named(tmp_path):
    path = binary_parquet(tmp_path / "x.parquet")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"x.parquet: not a readable Parquet file"):
        open_source(str(path), TAXONOMY)


def write_tar(path: Path, *members: tuple[str, bytes]) -> str:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return str(path)


def test_tar_of_image_and_json_is_read_in_place(tmp_path):
    record = {"prompt": "sad", "demographics": {"age": 40, "person": "p1"}, "annotations": {"Sadness": {"rating": 6}}}
    members = [
        ("d/1.JPG", encoded(1)),
        ("d/1.json", json.dumps(record).encode()),
        ("d/2.json", b'{"Awe": 2}'),
        ("d/2.png", encoded(2, "PNG")),
    ]
    source = open_source(write_tar(tmp_path / "big.tar", *members), TAXONOMY)
    assert source.kind == "dense"
    assert by_key(source) == {"d__1": {"generated": {"sadness": 6.0}}, "d__2": {"generated": {"awe": 2.0}}}
    assert source[1].image == encoded(2, "PNG")
    assert source[0].meta == {"prompt": "sad", "age": 40, "person": "p1", "file": "d/1"}
    renamed = [members[0], ("d/1.json", json.dumps({"votes": {"Awe": 1}}).encode())]
    path = write_tar(tmp_path / "votes.tar", *renamed)
    with pytest.raises(DataError, match=r"unknown layout; fields found: votes"):
        open_source(path, TAXONOMY)
    assert open_source(path, TAXONOMY, columns={"annotations": "votes"})[0].ratings == {"generated": {"awe": 1.0}}


def test_a_label_that_changes_in_place_makes_another_set(tmp_path):
    members = [(f"{n}.jpg", encoded(n)) for n in range(9)] + [(f"{n}.json", b'{"Elation": 3}') for n in range(9)]
    members.sort(key=lambda member: member[0])
    path = Path(write_tar(tmp_path / "big.tar", *members))
    before = open_source(str(path), TAXONOMY).fingerprint()
    assert open_source(str(path), TAXONOMY).fingerprint() == before
    content = path.read_bytes()
    place = content.index(b"Elation", content.index(b"5.json")) + len(b'Elation": ')
    path.write_bytes(content[:place] + b"7" + content[place + 1 :])
    assert open_source(str(path), TAXONOMY).fingerprint() != before


def test_a_key_that_is_there_twice_is_refused(tmp_path):
    members = [("0.jpg", encoded(0)), ("0.json", b'{"Elation": 1, "Elation": 6}')]
    with pytest.raises(DataError, match=r"big\.tar, sample '0': not valid JSON \(key 'Elation' is there twice\)"):
        open_source(write_tar(tmp_path / "big.tar", *members), TAXONOMY)


def test_no_image_of_a_folder_is_left_out_silently_or_taken_twice(tmp_path):
    folder = tmp_path / "images"
    (folder / "inner").mkdir(parents=True)
    for name in ("a.jpg", "inner/b.jpg"):
        (folder / name).write_bytes(encoded(0))
    (folder / "notes.txt").write_text("no image")
    assert list_images(folder) == ["a.jpg", "inner/b.jpg"]
    (folder / "extra").write_bytes(encoded(1))
    with pytest.raises(DataError, match="extra: an image by its content"):
        list_images(folder)
    (folder / "extra").unlink()
    (folder / "inner" / "up").symlink_to(folder)
    with pytest.raises(DataError, match=r"inner/up: a link to a folder that is read already"):
        list_images(folder)


def test_damaged_and_unpaired_tars_are_refused(tmp_path):
    pairs = [
        (f"{row}.{end}", content)
        for row in range(5)
        for end, content in (("jpg", encoded(row)), ("json", b'{"Awe": 1}'))
    ]
    path = Path(write_tar(tmp_path / "x.tar", *pairs))
    content = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        header = tar.getmember("3.jpg").offset
    content[header + 150] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged after byte"):
        open_source(str(path), TAXONOMY)
    with pytest.raises(DataError, match="image without JSON: '7'"):
        open_source(write_tar(tmp_path / "y.tar", ("7.jpg", encoded(0))), TAXONOMY)
    with tarfile.open(tmp_path / "z.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a.jpg"))
    with pytest.raises(DataError, match="a gzip file, not a plain tar"):
        open_source(str(tmp_path / "z.tar"), TAXONOMY)
