"""Label files and class folders become ratings: released CSV files, tables of people's own, real faces."""

import csv
from collections import Counter

import numpy as np
import pytest
import yaml
from small_inputs import by_key, face_folder, images, write, write_parquet
from toy_faces import TAXONOMY

from emonet_lightning.errors import DataError
from emonet_lightning.packing.shards import pack
from emonet_lightning.packing.sources import open_source
from emonet_lightning.ratings.consensus import binary_questions
from emonet_lightning.ratings.layouts import read_labels
from emonet_lightning.taxonomy import Taxonomy


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
    ratings = read_labels(real_data / "binary.csv", TAXONOMY, {}).ratings
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
    ratings = read_labels(table, TAXONOMY, {}).ratings
    assert binary_questions(ratings).ambiguous.all()
    questions = binary_questions(ratings, ["anger"])
    assert [ratings.slugs[i] for i in questions.slug_index[questions.is_target]] == ["anger"]
    assert not questions.ambiguous.any()


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
