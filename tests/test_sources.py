"""Readers: what people have becomes samples, and what does not fit is one line that names it."""

import csv
import io
import json
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
import yaml
from toy_faces import TAXONOMY, encoded

from emonet_lightning.data.annotations import binary_questions, read_binary_csv, read_hq_csv
from emonet_lightning.data.answers import parse_answers
from emonet_lightning.data.shards import Source, pack
from emonet_lightning.data.sources import open_source
from emonet_lightning.errors import DataError, EmoNetError, MissingInputError, UsageError
from emonet_lightning.taxonomy import Taxonomy

IMAGE = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
FULL = Taxonomy.load("emonet40", extra_dimensions=True)


def write_parquet(path: Path, columns: dict, class_names: dict | None = None, row_group_size: int = 4) -> Path:
    arrays = {
        name: arrow.array(values, IMAGE) if values and isinstance(values[0], dict) and "bytes" in values[0] else values
        for name, values in columns.items()
    }
    table = arrow.table(arrays)
    features = {name: {"names": names, "_type": "ClassLabel"} for name, names in (class_names or {}).items()}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=row_group_size)
    return path


def images(count: int, named: bool = True) -> list[dict]:
    return [{"bytes": encoded(row), "path": f"{row:05d}.jpg" if named else None} for row in range(count)]


def binary_parquet(path: Path, count: int = 10) -> Path:
    """The layout of the released BINARY set."""
    label = [{"human-1": {"Hopelessness": True}}, {"human-4": {"Hopelessness": True, "Affection": False}}]
    return write_parquet(
        path,
        {
            "path": images(count),
            "prompt": ["close-up photo"] * count,
            "age": [0, 1] * (count // 2),
            "gender": [0] * count,
            "emotion": [1] * count,
            "subset": [0] * count,
            "label": [repr(label)] * count,
        },
        {"age": ["20", "30"], "gender": ["man"], "emotion": ["Affection", "Hopelessness"], "subset": ["binary"]},
    )


def face_folder(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(number))
    return folder


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def by_key(source: Source) -> dict:
    return {sample.key: sample.ratings for sample in (source[row] for row in range(len(source)))}


# ---- the released sets


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


def test_hq_csv_joins_images_that_lost_their_names(tmp_path):
    lines = [
        "image,annotator,human,annotations",
        "mj_1.jpg,human-1,True,\"{'Cognitive States and Processes|Confusion': 4}\"",
        "mj_1.jpg,human-2,True,\"{'Cognitive States and Processes|Confusion': 2}\"",
        "mj_1.jpg,Empathic Insight Face Large,False,\"{'Awe': 0.25}\"",
        "mj_1.jpg,Empathic Insight Face Large,False,\"{'Awe': 0.75}\"",
        "flux_2.jpg,human-1,True,\"{'Awe': 7}\"",
    ]
    table = write(tmp_path / "hq.csv", "\n".join(lines))
    index_map = write(tmp_path / "map.json", '{"mj_1.jpg": 1, "flux_2.jpg": 0}')
    experts = {"human-1": {"confusion": 4.0}, "human-2": {"confusion": 2.0}}
    folder = face_folder(tmp_path / "numbered", "00000.jpg", "00001.jpg")
    source = open_source(str(folder), TAXONOMY, labels=table, index_map=index_map)
    assert source.kind == "rated"
    assert by_key(source) == {"00000": {"human-1": {"awe": 7.0}}, "00001": experts}
    path = write_parquet(tmp_path / "hq.parquet", {"path": images(2, named=False), "label": ["[]"] * 2})
    assert by_key(open_source(str(path), TAXONOMY, labels=table, index_map=index_map)) == {
        "flux_2": {"human-1": {"awe": 7.0}},
        "mj_1": experts,
    }
    assert read_hq_csv(table, TAXONOMY).raters == ["human-1", "human-2"]
    models = read_hq_csv(table, TAXONOMY, human=False)
    assert (models.raters, models.value.tolist()) == (["Empathic Insight Face Large"], [0.5])


def test_binary_csv_joins_images_by_zero_padded_id(tmp_path):
    folder = face_folder(tmp_path / "flux2", "00000.jpg", "00012.jpg")
    table = write(
        tmp_path / "binary.csv",
        "path,annotator,value,emotion\n00012,human-1,True,Anger\n00000,human-3,False,Hopelessness\n",
    )
    source = open_source(table, TAXONOMY, images=str(folder))
    assert source.kind == "binary"
    assert by_key(source) == {"00000": {"human-3": {"helplessness": 0.0}}, "00012": {"human-1": {"anger": 1.0}}}


def test_released_binary_csv_has_the_published_totals_and_vote_patterns(real_data):
    ratings = read_binary_csv(real_data / "binary.csv", TAXONOMY)
    assert (len(ratings.row), len(ratings.keys)) == (65_686, 19_999)
    assert (int(ratings.value.sum()), int((ratings.value == 0).sum())) == (37_800, 27_886)
    assert (ratings.keys[0], ratings.keys[-1]) == ("00000", "19998")
    questions = binary_questions(ratings)
    assert set(np.bincount(questions.row).tolist()) == {2}
    votes = list(zip(questions.num_yes.tolist(), questions.num_no.tolist(), strict=True))
    target = Counter(vote for vote, is_target in zip(votes, questions.is_target, strict=True) if is_target)
    contrast = Counter(vote for vote, is_target in zip(votes, questions.is_target, strict=True) if not is_target)
    assert target == {(3, 0): 9_075, (2, 1): 1_943, (1, 1): 3_652, (0, 1): 3_433, (1, 0): 1_896}
    assert contrast == {(0, 1): 18_858, (1, 0): 1_141}
    assert questions.ambiguous.sum() == 2 * 359


def test_a_prompted_emotion_settles_which_question_was_the_target(tmp_path):
    table = write(tmp_path / "b.csv", "path,annotator,value,emotion\n0,human-4,False,Anger\n0,human-4,False,Awe\n")
    ratings = read_binary_csv(table, TAXONOMY)
    assert binary_questions(ratings).ambiguous.all()
    questions = binary_questions(ratings, ["anger"])
    assert [ratings.slugs[i] for i in questions.slug_index[questions.is_target]] == ["anger"]
    assert not questions.ambiguous.any()


# ---- tar files


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
    with pytest.raises(DataError, match="not a readable uncompressed tar"):
        open_source(str(tmp_path / "z.tar"), TAXONOMY)


# ---- image folders with label files


def test_wide_table_keeps_ids_and_leaves_empty_cells_unrated(tmp_path):
    folder = face_folder(tmp_path / "faces", "NA.jpg", "007.jpg", "1e5.jpg")
    text = "\ufeffimage;Awe;jealousy_&_envy;person\r\nNA;1;;anna\r\n007.jpg;0;7;anna\r\n1e5;2.5;0;null\r\n"
    table = write(tmp_path / "labels.csv", text)
    source = open_source(str(folder), TAXONOMY, labels=table, group="person")
    assert source.kind == "dense"
    assert by_key(source) == {
        "007": {"generated": {"awe": 0.0, "jealousy_&_envy": 7.0}},
        "1e5": {"generated": {"awe": 2.5, "jealousy_&_envy": 0.0}},
        "NA": {"generated": {"awe": 1.0}},
    }
    assert [source[row].group for row in range(3)] == ["anna", "null", "anna"]


def test_wide_table_with_a_rater_column_keeps_raters_apart(tmp_path):
    folder = face_folder(tmp_path / "faces", "a.jpg")
    table = write(tmp_path / "labels.csv", "file,rater,Awe,Anger\na.jpg,r1,1,2\na.jpg,r2,3,\n")
    source = open_source(str(folder), TAXONOMY, labels=table)
    assert source.kind == "rated"
    assert by_key(source) == {"a": {"r1": {"awe": 1.0, "anger": 2.0}, "r2": {"awe": 3.0}}}


def test_class_table_uses_the_class_map_and_a_second_file_gives_groups(tmp_path):
    folder = face_folder(tmp_path / "faces", "x/1.jpg", "x/2.jpg", "y/1.jpg")
    table = write(
        tmp_path / "labels.csv", "path,label\nfaces/x/1.jpg,happy\nfaces/x/2.jpg,neutral\nfaces/y/1.jpg,Sadness\n"
    )
    people = write(
        tmp_path / "people.csv", "path,subject,session,age\nx/1.jpg,A,1,20\nx/2.jpg,A,1,20\ny/1.jpg,B,2,30\n"
    )
    source = open_source(
        str(folder), TAXONOMY, labels=table, metadata=people, group="subject,session",
        classes={"happy": "Elation", "neutral": "none"},
    )  # fmt: skip
    assert by_key(source) == {
        "x__1": {"generated": {"elation": 7.0, "sadness": 0.0}},
        "x__2": {"generated": {"elation": 0.0, "sadness": 0.0}},
        "y__1": {"generated": {"elation": 0.0, "sadness": 7.0}},
    }
    assert [source[row].group for row in range(3)] == ["A/1", "A/1", "B/2"]
    assert source[2].meta == {"subject": "B", "session": "2", "age": "30", "file": "y/1.jpg"}


def test_a_table_of_image_and_emotion_names_classes(tmp_path):
    folder = face_folder(tmp_path / "faces", "1.jpg", "2.jpg")
    table = write(tmp_path / "labels.csv", "image,emotion\n1.jpg,Awe\n2.jpg,Anger\n")
    source = open_source(str(folder), TAXONOMY, labels=table)
    assert by_key(source)["1"] == {"generated": {"awe": 7.0, "anger": 0.0}}


def test_linked_folders_are_followed_and_other_formats_are_not_lost_silently(tmp_path):
    face_folder(tmp_path / "elsewhere", "1.jpg")
    folder = face_folder(tmp_path / "faces", "Awe/1.jpg", "Awe/.cache/2.jpg")
    (folder / "Anger").symlink_to(tmp_path / "elsewhere")
    assert list(by_key(open_source(str(folder), TAXONOMY))) == ["Anger__1", "Awe__1"]
    write(folder / "Awe" / "3.BMP", "")
    with pytest.raises(DataError, match=r"3\.BMP: only JPEG, PNG and WebP are read"):
        open_source(str(folder), TAXONOMY)


def test_class_folders_rate_their_own_emotion_high_and_the_others_zero(tmp_path):
    folder = face_folder(tmp_path / "faces", "Awe/1.jpg", "jealousy_&_envy/1.jpg", "Sexual_Lust/1.jpg")
    assert by_key(open_source(str(folder), TAXONOMY))["Awe__1"] == {
        "generated": {"awe": 7.0, "jealousy_&_envy": 0.0, "sexual_lust": 0.0}
    }
    face_folder(folder, "Angr/1.jpg")
    with pytest.raises(DataError, match=r"unknown emotion 'Angr' .*did you mean 'Anger'.*--classes.Angr=EMOTION"):
        open_source(str(folder), TAXONOMY)


def test_images_without_labels_are_a_set_without_ratings(tmp_path):
    source = open_source(str(face_folder(tmp_path, "a.jpg", "b.jpg")), TAXONOMY)
    assert by_key(source) == {"a": {}, "b": {}}


def test_forced_splits_and_prompted_emotions_come_from_columns(tmp_path):
    folder = face_folder(tmp_path / "faces", "a.jpg", "b.jpg")
    table = write(
        tmp_path / "l.csv", "image,emotion,rating,part,asked\na.jpg,Awe,1,train,Awe\nb.jpg,Awe,2,val,Hopelessness\n"
    )
    columns = {"split": "part", "prompted": "asked"}
    source = open_source(str(folder), TAXONOMY, labels=table, columns=columns)
    assert [(source[row].split, source[row].prompted) for row in range(2)] == [
        ("train", "awe"),
        ("val", "helplessness"),
    ]


# ---- bad input

WIDE = "image,Awe\na.jpg,1\nb.jpg,2\n"
BAD = {
    "no header": ("a.jpg,1\nb.jpg,2\n", DataError, r"first line \('a.jpg,1'\) looks like data; add a header"),
    "empty": ("", DataError, "empty"),
    "only header": ("image,Awe\n", DataError, "a header but no rows"),
    "unknown emotion": ("image,Aww\na.jpg,1\n", DataError, "none named after an emotion; columns found: image, Aww"),
    "unknown among known": (WIDE.replace("Awe", "Awe,Angr").replace(",1", ",1,1").replace(",2", ",2,2"), DataError,
                            r"unknown emotion 'Angr'.*did you mean 'Anger'.*--columns.meta"),
    "unknown in rows": ("image,emotion,rating\na.jpg,Angr,1\nb.jpg,Awe,1\n", DataError, "line 2: unknown emotion"),
    "no image column": ("face,Awe\na.jpg,1\n", DataError, r"no column for 'image'; columns found: face, Awe"),
    "duplicate id": (WIDE + "a.jpg,1\n", DataError, "line 4: duplicate id 'a.jpg', also in line 2"),
    "two spellings": (WIDE + "a,1\n", DataError, "duplicate id: 'a.jpg' and 'a' are both"),
    "two answers": (
        "image,emotion,rating\na.jpg,Awe,1\nb.jpg,Awe,1\na.jpg,Awe,2\n",
        DataError,
        "line 4: image 'a.jpg' has another answer",
    ),
    "image without label": ("image,Awe\na.jpg,1\n", DataError, "image without label: 'b.jpg'"),
    "label without image": (WIDE + "c.jpg,1\n", DataError, "label without image: 'c.jpg'"),
    "no image at all": ("image,Awe\nx.jpg,1\n", DataError, "none of its 1 names is an image"),
    "comma": (WIDE.replace(",1", ',"1,5"'), DataError, "line 2, column 'Awe': '1,5' is not a number"),
    "other digits": (WIDE.replace("2", "٢"), DataError, "line 3, column 'Awe': '٢' is not a number"),
    "not finite": (WIDE.replace("2", "inf"), DataError, "line 3, column 'Awe': 'inf' is not a number"),
    "not a number": (WIDE.replace("2", "nan"), DataError, "line 3, column 'Awe': 'nan' is not a number"),
    "too high": (WIDE.replace("2", "8"), DataError, "sample 'b', rater 'generated', emotion 'awe': value 8.0 is not"),
    "ragged": (WIDE + "c.jpg\n", DataError, "line 4: 1 cells, the header has 2"),
    "column twice": ("image,Awe,Awe\na.jpg,1,1\n", DataError, "column 'Awe' is there twice"),
    "emotion twice": ("image,Awe,awe\na.jpg,1,1\n", DataError, "two columns for emotion 'awe'"),
    "space": (WIDE.replace("b.jpg", " b.jpg"), DataError, "line 3: image ' b.jpg' is empty or has spaces"),
    "mixed kinds": (
        "image,emotion,rating\na.jpg,Awe,True\nb.jpg,Awe,2\n",
        DataError,
        "mixes True and False with numbers",
    ),
    "nameless column": (",image,Awe\n0,a.jpg,1\n", DataError, "column 1 has no name"),
    "no rater": ("image,rater,Awe\na.jpg,,1\nb.jpg,r,1\n", DataError, "line 2: no rater"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_label_file_is_one_line_that_names_the_place(tmp_path, case):
    text, error, message = BAD[case]
    folder = face_folder(tmp_path / "faces", "a.jpg", "b.jpg")
    table = write(tmp_path / "labels.csv", text)
    with pytest.raises(error, match=message) as caught:
        pack(open_source(str(folder), TAXONOMY, labels=table), tmp_path / "out", TAXONOMY, progress=False)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_unmatched_images_and_labels_are_left_out_on_request_and_counted(tmp_path, capsys):
    folder = face_folder(tmp_path / "faces", "a.jpg", "b.jpg", "d.jpg")
    table = write(tmp_path / "labels.csv", WIDE + "c.jpg,not even a number\n")
    source = open_source(str(folder), TAXONOMY, labels=table, unmatched="skip")
    assert list(by_key(source)) == ["a", "b"]
    assert "left out: 1 images without label, 1 labels without image" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path / "nowhere", "no such file or folder"),
        (lambda path: path, "no images"),
        (lambda path: Path(write(path / "x.csv", WIDE)), "no images"),
    ],
)
def test_missing_and_empty_folders_are_named(tmp_path, make, message):
    with pytest.raises(MissingInputError, match=message):
        open_source(str(make(tmp_path)), TAXONOMY)


def test_an_unreadable_image_is_named_when_packing(tmp_path):
    folder = face_folder(tmp_path / "faces", "a.jpg", "b.jpg")
    (folder / "b.jpg").write_bytes(b"<html>404</html>")
    source = open_source(str(folder), TAXONOMY)
    with pytest.raises(
        DataError, match=r"sample 'b' \(b.jpg\): not a readable JPEG, PNG or WebP image .*replace or remove it"
    ):
        pack(source, tmp_path / "out", TAXONOMY, progress=False)


def test_names_that_give_one_key_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"duplicate id 'a-b': 'a b\.jpg' and 'a\.b\.jpg'"):
        open_source(str(face_folder(tmp_path, "a.b.jpg", "a b.jpg")), TAXONOMY)


def test_options_that_do_not_fit_are_usage_errors(tmp_path):
    folder = str(face_folder(tmp_path, "a.jpg"))
    with pytest.raises(UsageError, match="needs --labels"):
        open_source(folder, TAXONOMY, format="table")
    with pytest.raises(MissingInputError, match="no such file"):
        open_source(folder, TAXONOMY, labels="nowhere.csv")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{'Awe': os.system('true')}", "neither JSON nor a Python literal"),
        ("[" * 5000, "neither JSON nor a Python literal"),
        ("3", "must be a dict or a list"),
        ("{'Awe': True, 'Anger': 3}", "mixes yes or no with ratings"),
        ("{'Awe': NaN}", "neither JSON nor a Python literal"),
        ('{"Awe": NaN}', "nan is not a finite number"),
        ("{'Awe': '3'  , 'Anger': '٣'}", "'٣' is not a number"),
        ("{'Hopelessness': 1, 'Helplessness': 2}", "answered 'Helplessness' twice and differently"),
        ("{'Awful': 1}", "unknown emotion 'Awful'"),
    ],
)
def test_wrong_annotations_are_one_line(value, message):
    with pytest.raises(EmoNetError, match=message) as caught:
        parse_answers(value, TAXONOMY, "sample 'x'")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("sample 'x'")


# ---- real faces


def test_3dsk_ratings_of_many_raters_become_a_rated_set(real_data, tmp_path):
    traits = {"name": "traits", "levels": [1, 7], "emotions": ["att", "dom", "sexdim", "health", "trust"]}
    taxonomy = Taxonomy.load(write(tmp_path / "traits.yaml", yaml.safe_dump(traits)))
    faces = real_data / "faces"
    source = open_source(str(faces / "sk3d"), taxonomy, labels=str(faces / "ratings_3dsk.csv"))
    packed = pack(source, tmp_path / "set", taxonomy, splits={"train": 0.6, "test": 0.4}, progress=False)
    assert (packed.kind, packed.num_samples) == ("rated", 100)
    ratings = packed.ratings()
    assert len(ratings.row) == 100_000
    with (faces / "ratings_3dsk.csv").open() as stream:
        expected = Counter((row["image"], row["trait"], float(row["rating"])) for row in csv.DictReader(stream))
    files = [packed.read_record(row)["meta"]["file"] for row in range(100)]
    cells = zip(ratings.row, ratings.slug_index, ratings.value.tolist(), strict=True)
    assert Counter((f"sk3d/{files[row]}", ratings.slugs[slug], value) for row, slug, value in cells) == expected


def test_london_persons_stay_in_one_of_five_folds(real_data, tmp_path):
    taxonomy = Taxonomy.load(write(tmp_path / "smile.yaml", "{name: smile, emotions: [Smiling]}"))
    faces = real_data / "faces"
    source = open_source(
        str(faces / "london"), taxonomy, labels=str(faces / "manifest.csv"), columns={"label": "label"},
        classes={"happiness": "Smiling", "neutral": "none"}, group="subject", unmatched="skip",
    )  # fmt: skip
    folds = {f"fold{number}": 0.2 for number in range(5)}
    packed = pack(source, tmp_path / "set", taxonomy, splits=folds, progress=False)
    assert packed.num_samples == 204
    assert len(set(packed.groups)) == 102
    persons = [{packed.groups[row] for row in rows.tolist()} for rows in packed.splits.values()]
    assert sum(len(fold) for fold in persons) == 102
    assert all(38 <= len(rows) <= 44 for rows in packed.splits.values())
    assert packed.ratings().value.sum() == 102 * 7
