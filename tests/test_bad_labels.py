"""Input that does not fit is one line that names the file, the place and the remedy."""

from pathlib import Path

import pytest
from small_inputs import by_key, face_folder, write
from toy_faces import TAXONOMY

from emonet_lightning.errors import DataError, EmoNetError, MissingInputError, UsageError
from emonet_lightning.packing.shards import pack
from emonet_lightning.packing.sources import open_source
from emonet_lightning.ratings.answers import parse_answers

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
        ("{'Awe': 1, 'Awe': 2}", "'Awe' is answered twice"),
        ('{"Awe": 1, "Awe": 2}', "'Awe' is answered twice"),
        ("[{'h1': {'Awe': True, 'Awe': False}}]", "'Awe' is answered twice"),
    ],
)
def test_wrong_annotations_are_one_line(value, message):
    with pytest.raises(EmoNetError, match=message) as caught:
        parse_answers(value, TAXONOMY, "sample 'x'")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("sample 'x'")
