"""One reader of real-face sets: the shipped descriptions on made-up trees, a user's own, and what each error says."""

import numpy as np
import pytest
from small_inputs import face_folder, write

from emonet_lightning.decoding import decode_image
from emonet_lightning.errors import DataError, MissingInputError, UsageError
from emonet_lightning.evaluation.class_maps import ClassMap
from emonet_lightning.face_sets.description import FaceSet
from emonet_lightning.face_sets.reading import read_face_set, require_files
from emonet_lightning.taxonomy import Taxonomy

TAXONOMY = Taxonomy.load("emonet40")


def read(folder, source, only=None, map=None):
    faces = FaceSet.load(str(source))
    class_map = ClassMap.load(map or faces.map or "affectnet", TAXONOMY)
    found = read_face_set(faces, folder, class_map, only)
    classes = [class_map.classes[number] for number in found.labels]
    return found, dict(zip(found.keys, classes, strict=True))


def described(folder, text):
    return write(folder / "set.yaml", text)


TABLE = "layouts: [{table: list.csv}]\n"

# ---- the shipped sets


def test_ferd_names_the_class_last(tmp_path):
    face_folder(tmp_path, "0003_Surprised.jpg", "0010_happy.png")
    found, classes = read(tmp_path, "ferd")
    assert classes == {"0003_Surprised.jpg": "surprise", "0010_happy.png": "happy"}
    assert found.persons is None


@pytest.mark.parametrize("header", ["emotion,pixels,Usage", "emotion, Usage, pixels"])
def test_fer2013_table_holds_the_pictures(tmp_path, header):
    pixels = np.arange(16) * 16
    cells = {"emotion": "{}", "pixels": " ".join(map(str, pixels)), "Usage": "{}"}
    line = ",".join(cells[name.strip()] for name in header.split(","))
    rows = [line.format("5", "Training"), line.format("0", "PrivateTest"), line.format("6", "PrivateTest")]
    write(tmp_path / "icml_face_data.csv", "\n".join([header, *rows]) + "\n")
    found, classes = read(tmp_path, "fer2013", {"Usage": ["PrivateTest"]})
    assert classes == {"icml_face_data.csv#3": "anger", "icml_face_data.csv#4": "neutral"}
    image = decode_image(found.read_image(0), "x")
    assert image[..., 0].ravel().tolist() == pixels.tolist()
    assert any("1 images are left out: Usage is not PrivateTest" in note for note in found.notes)


def test_fer2013_folders_have_splits(tmp_path):
    face_folder(tmp_path, "train/angry/1.jpg", "test/surprise/2.jpg", "test/angry/3.jpg")
    found, classes = read(tmp_path, "fer2013")
    assert classes == {"test/angry/3.jpg": "anger", "test/surprise/2.jpg": "surprise", "train/angry/1.jpg": "anger"}
    assert found.groups == {"split": ["test", "test", "train"]}
    assert len(read(tmp_path, "fer2013", {"split": ["test"]})[1]) == 2


def test_ck_plus_takes_the_peak_frames_that_have_a_label(tmp_path):
    names = [f"cohn-kanade-images/S005/001/S005_001_0000000{n}.png" for n in (1, 2, 3)]
    face_folder(tmp_path, *names, "cohn-kanade-images/S010/002/S010_002_00000009.png")
    write(tmp_path / "Emotion/S005/001/S005_001_00000003_emotion.txt", "   3.0000000e+00\n")
    write(tmp_path / "Emotion/S010/002/S010_002_00000009_emotion.txt", "   2.0000000e+00\n")
    found, classes = read(tmp_path, "ck_plus")
    assert classes == {names[2]: "disgust", "cohn-kanade-images/S010/002/S010_002_00000009.png": "contempt"}
    assert found.persons == ["S005", "S010"]
    assert "2 images without a label file are left out" in found.notes


def test_ck_plus_as_class_folders_keeps_the_persons(tmp_path):
    face_folder(tmp_path, "CK+48/happy/S010_004_00000017.png", "CK+48/sadness/S011_002_00000020.png")
    found, classes = read(tmp_path, "ck_plus")
    assert list(classes.values()) == ["happy", "sad"]
    assert found.persons == ["S010", "S011"]


def test_affectnet_arrays_folders_and_table_count_the_classes_in_the_sets_own_order(tmp_path):
    arrays, folders, table = (tmp_path / name for name in ("arrays", "folders", "table"))
    face_folder(arrays, *(f"val_set/images/{n}.jpg" for n in range(3)))
    (arrays / "val_set/annotations").mkdir()
    for n, label in enumerate(("0", "7", "8")):
        np.save(arrays / f"val_set/annotations/{n}_exp.npy", np.array(label))
    found, classes = read(arrays, "affectnet")
    assert list(classes.values()) == ["neutral", "contempt"]
    assert found.notes == ["1 images are left out, of no class that is judged: 8"]
    face_folder(folders, "train/1/a.jpg", "val/6/b.jpg", "val/Surprise/c.jpg")
    assert list(read(folders, "affectnet")[1].values()) == ["happy", "anger", "surprise"]
    face_folder(table, "Manually_Annotated_Images/12/ab.jpg")
    write(table / "validation.csv", "subDirectory_filePath,face_x,expression,valence\n12/ab.jpg,3,4,0.1\n")
    assert read(table, "affectnet")[1] == {"Manually_Annotated_Images/12/ab.jpg": "fear"}


def test_raf_db_joins_the_list_and_the_aligned_images(tmp_path):
    face_folder(tmp_path, "Image/aligned/train_00001_aligned.jpg", "Image/aligned/test_0002_aligned.jpg")
    write(tmp_path / "EmoLabel/list_patition_label.txt", "train_00001.jpg 5\ntest_0002.jpg 1\n")
    found, classes = read(tmp_path, "raf_db")
    assert classes == {
        "Image/aligned/train_00001_aligned.jpg": "sad",
        "Image/aligned/test_0002_aligned.jpg": "surprise",
    }
    assert found.groups == {"split": ["train", "test"]}
    require_files(found)


def test_faces_says_everything_in_the_file_name(tmp_path):
    face_folder(tmp_path, "004_o_m_a_a.jpg", "011_y_f_n_b.jpg", "021_m_f_h_a.jpg")
    found, classes = read(tmp_path, "faces")
    assert list(classes.values()) == ["anger", "neutral", "happy"]
    assert found.persons == ["004", "011", "021"]
    assert found.groups == {"age": ["old", "young", "middle-aged"], "gender": ["male", "female", "female"]}
    assert found.level_order["age"] == ["young", "middle-aged", "old"]


# ---- a user's own


def test_a_plain_table_needs_no_description(tmp_path):
    face_folder(tmp_path, "a.jpg", "b/c.jpg", "d.jpg")
    text = "image,class,person,hair\na.jpg,happy,p1,dark\nb/c.jpg,Sad,p1,dark\nd.jpg,fear,p2,fair\n"
    found, classes = read(tmp_path, write(tmp_path / "labels.csv", text))
    assert classes == {"a.jpg": "happy", "b/c.jpg": "sad", "d.jpg": "fear"}
    assert found.persons == ["p1", "p1", "p2"]
    assert found.groups == {"hair": ["dark", "dark", "fair"]}
    assert found.read_image(1) == (tmp_path / "b/c.jpg").read_bytes()


def test_numbers_are_binned_and_levels_listed_in_their_order(tmp_path):
    write(tmp_path / "list.csv", "image,class,age\na.jpg,sad,9\nb.jpg,sad,30\nc.jpg,fear,29.5\nd.jpg,fear,NA\n")
    found, _ = read(tmp_path, described(tmp_path, TABLE + 'groups: {age: {bins: [20, 30], values: {NA: ""}}}\n'))
    assert found.groups["age"] == ["under 20", "30 and over", "20 to under 30", None]
    assert found.level_order["age"] == ["under 20", "20 to under 30", "30 and over"]


def test_the_digest_follows_the_content_of_the_images(tmp_path):
    face_folder(tmp_path, "happy/1.jpg", "sad/2.jpg")
    before = read(tmp_path, "folders")[0].digest
    assert read(tmp_path, "folders")[0].digest == before
    (tmp_path / "sad/2.jpg").write_bytes((tmp_path / "happy/1.jpg").read_bytes())
    assert read(tmp_path, "folders")[0].digest != before


def test_images_that_do_not_fit_are_counted_and_named(tmp_path):
    face_folder(tmp_path, "happy/1.jpg", "cover.jpg")
    found, classes = read(tmp_path, "folders")
    assert classes == {"happy/1.jpg": "happy"}
    assert found.notes == ["1 images do not fit the pattern and are left out (first: 'cover.jpg')"]


# ---- errors: one line, what and where, and the remedy

LINES = "image,class,person\na.jpg,happy,p1\n"


@pytest.mark.parametrize(
    ("text", "table", "error", "told"),
    [
        (TABLE, LINES + "b.jpg,joyful,p1\n", DataError, "list.csv, line 3: class 'joyful' is not in map 'affectnet'"),
        (TABLE, LINES + "b.jpg,sad,\n", DataError, "list.csv, line 3: no person of image 'b.jpg'; say who"),
        (TABLE, LINES + "a.jpg,sad,p1\n", DataError, "line 3: image 'a.jpg' is there already"),
        (TABLE, LINES + ",sad,p1\n", DataError, "line 3: no image is named"),
        (TABLE, "image,mood\na.jpg,sad\n", DataError, "list.csv: no column for the class"),
        ("layouts: [{table: no.csv}]", LINES, DataError, "no file no.csv"),
        (TABLE.replace("list.csv", "list.csv, pixels: grey"), LINES, DataError, "list.csv: no column 'grey'"),
        (TABLE.replace("list.csv", "list.csv, image: 'x/{name}'"), LINES, DataError, "asks for 'name'"),
        (TABLE.replace("list.csv", "list.csv, pattern: '^z'"), LINES, DataError, "line 2: pattern ^z does not fit"),
        (TABLE + "groups: {person: {values: {p2: x}}}", LINES, DataError, "line 2: person 'p1' is not described"),
        (TABLE + "groups: {person: {bins: [3]}}", LINES, DataError, "line 2: person 'p1' is no number"),
        (TABLE + "groups: {person: {bins: [3, 1]}}", LINES, DataError, "'bins' must be rising numbers"),
        (TABLE + "only: {sex: f}", LINES, UsageError, "only 'sex': no such column"),
        (TABLE + "only: {person: p7}", LINES, UsageError, "no image has person 'p7'"),
        (TABLE + "classes: {happy: null}", LINES, DataError, "no image of a class that is judged (happy)"),
        (TABLE + "classes: {1: glad}", LINES, DataError, "classes: class 'glad' is not in map"),
        (TABLE + "colour: red", LINES, DataError, "unknown key 'colour'"),
        ("layouts: []", LINES, DataError, "'layouts' must list at least one layout"),
        ("layouts: [{pattern: '('}]", LINES, DataError, "pattern is no regular expression"),
        ("layouts: [{pattern: 'a'}]", LINES, DataError, "needs a group (?P<class>...)"),
        ("layouts: [{table: a, columns: {who: b}}]", LINES, DataError, "columns: unknown key 'who'"),
    ],
)
def test_errors_name_the_place_and_the_remedy(tmp_path, text, table, error, told):
    write(tmp_path / "list.csv", table)
    with pytest.raises(error) as caught:
        read(tmp_path, described(tmp_path, text))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pattern_that_fits_nothing_says_what_was_expected(tmp_path):
    face_folder(tmp_path, "holiday.jpg", "beach.jpg")
    with pytest.raises(DataError, match=r"does not lie as 'faces' .* fits none of 2 images \('beach.jpg'\); expected"):
        read(tmp_path, "faces")


def test_a_missing_image_is_told_before_anything_is_encoded(tmp_path):
    write(tmp_path / "list.csv", LINES)
    found, _ = read(tmp_path, described(tmp_path, TABLE))
    with pytest.raises(MissingInputError, match=r"list.csv, line 2: no image .*a.jpg \(1 of 1"):
        require_files(found)


def test_an_unknown_set_and_an_empty_folder_are_missing_input(tmp_path):
    with pytest.raises(MissingInputError, match="did you mean 'ck_plus'"):
        FaceSet.load("ckplus")
    for source in ("folders", described(tmp_path / "x", TABLE)):
        with pytest.raises(MissingInputError, match="no such folder"):
            read(tmp_path / "nowhere", source)


@pytest.mark.parametrize("label", ["", "1 2"])
def test_a_label_file_holds_one_label(tmp_path, label):
    face_folder(tmp_path, "cohn-kanade-images/S005/001/S005_001_00000001.png")
    write(tmp_path / "Emotion/S005/001/S005_001_00000001_emotion.txt", label)
    with pytest.raises(DataError, match=r"00000001_emotion.txt: one label is needed"):
        read(tmp_path, "ck_plus")


def test_a_label_array_of_objects_is_not_unpickled(tmp_path):
    face_folder(tmp_path, "val_set/images/0.jpg")
    (tmp_path / "val_set/annotations").mkdir()
    np.save(tmp_path / "val_set/annotations/0_exp.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"0_exp.npy: holds no label that can be read"):
        read(tmp_path, "affectnet")
