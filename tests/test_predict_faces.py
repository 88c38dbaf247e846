"""`predict` on photos with faces and on videos: rows, tracks, personal baselines, what is left out."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from photos import film, photo, save
from tiny_heads import TAXONOMY, tiny_encoder, tiny_heads
from toy_faces import ToyFaces, pack_toy

from emonet_lightning.baselines import neutral_range, personal_means, read_neutral_file
from emonet_lightning.cli import main
from emonet_lightning.data.datamodules import SyntheticFaces
from emonet_lightning.decoding import decode_image
from emonet_lightning.errors import DataError, EmoNetError, MissingInputError, UsageError
from emonet_lightning.faces.crops import CropOptions, FaceCropper
from emonet_lightning.io import sha256_file
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.predict import EmotionRecognizer, predict_command
from emonet_lightning.recognizer import Predictions, softmax

SLUGS = TAXONOMY.slugs


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    bundle = tiny_heads(tiny_encoder(tmp_path_factory.mktemp("encoder")))
    folder = tmp_path_factory.mktemp("heads")
    bundle.save(folder)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A person alone, two together, and a wall."""
    folder = tmp_path_factory.mktemp("photos")
    save(photo({10: (60, 60)}), folder / "alone.png")
    save(photo({4: (20, 20), 17: (290, 130)}), folder / "both.png")
    save(photo({}), folder / "wall.png")
    return folder


def moving(numbers, count):
    """Frames in which faces walk to the right."""
    return [photo({n: (10 + 220 * row + 3 * step, 40) for row, n in enumerate(numbers)}) for step in range(count)]


@pytest.fixture(scope="module")
def movie(tmp_path_factory):
    """Three seconds of two people, ten frames a second."""
    return film(moving((10, 17), 30), tmp_path_factory.mktemp("movie") / "two.avi")


def predicted(input, out, heads, **options):
    predict_command(str(input), str(out), heads=str(heads), device="cpu", progress=False, **options)
    suffix = Path(out).suffix
    return {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".jsonl": lambda p: pd.read_json(p, lines=True)}[suffix](
        out
    )


def lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def meta_of(out):
    return json.loads(Path(f"{out}.meta.json").read_text())


def test_a_row_per_face_holds_its_box_and_the_scores_of_its_crop(heads, photos, tmp_path, capsys):
    table = predicted(photos, tmp_path / "t.csv", heads, faces="all")
    assert list(table.columns) == ["file", "face", "x", "y", "width", "height", "confidence", *SLUGS]
    assert list(zip(table["file"], table["face"], strict=True)) == [("alone.png", 0), ("both.png", 0), ("both.png", 1)]
    recognizer, cropper = EmotionRecognizer.load(heads, "cpu"), FaceCropper("all")
    for _, row in table.iterrows():
        pixels = decode_image((photos / row["file"]).read_bytes(), row["file"])
        face = cropper.find(pixels)[int(row["face"])]
        assert np.allclose(row[["x", "y", "width", "height"]].astype(float), face[:4], atol=0.06)
        expected = recognizer(cropper.cut(pixels, face)).scores[0]
        assert np.allclose(row[SLUGS].astype(float), expected, atol=1e-5)
    assert lines(tmp_path / "t.csv.no_face.jsonl") == [{"file": "wall.png"}]
    said = capsys.readouterr().err
    assert "3 images in" in said
    assert f"3 faces, 1 without a face left out, listed in {tmp_path / 't.csv.no_face.jsonl'}" in said
    assert "whole pictures" not in said
    meta = meta_of(tmp_path / "t.csv")
    assert meta["preprocessing"]["faces"] == cropper.recorded()
    assert cropper.fingerprint[:12] in said
    assert meta["table"]["sha256"] == sha256_file(tmp_path / "t.csv")
    assert meta["counts"] == {"pictures": 3, "rows": 3, "pictures_without_face": 1, "unreadable_files": 0}
    largest = predicted(photos, tmp_path / "largest.csv", heads, faces="largest")
    assert list(largest["file"]) == ["alone.png", "both.png"]
    assert np.allclose(largest[SLUGS], table[SLUGS][:2], atol=1e-5)
    other = meta_of(tmp_path / "largest.csv")["preprocessing_fingerprint"]
    assert other != meta["preprocessing_fingerprint"]


def test_a_picture_without_a_face_is_left_out_or_kept_empty_or_scored_whole(heads, photos, tmp_path):
    empty = predicted(photos, tmp_path / "nan.jsonl", heads, faces="all", no_face="nan")
    whole = predicted(photos, tmp_path / "whole.parquet", heads, faces="all", no_face="whole")
    for table in (empty, whole):
        assert list(table["file"]) == ["alone.png", "both.png", "both.png", "wall.png"]
        assert table["face"].isna().tolist() == [False, False, False, True]
        assert table["x"].isna().tolist() == [False, False, False, True]
    assert empty[SLUGS].isna().all(axis=1).tolist() == [False, False, False, True]
    shares = predicted(photos, tmp_path / "soft.csv", heads, faces="all", no_face="nan", values="softmax")
    assert np.allclose(shares[SLUGS[:40]].sum(axis=1, min_count=40)[:3], 1)
    assert shares[SLUGS].iloc[3].isna().all()
    expected = EmotionRecognizer.load(heads, "cpu")(photos / "wall.png").scores[0]
    assert np.allclose(whole[SLUGS].iloc[3].astype(float), expected, atol=1e-5)
    assert str(whole["face"].dtype) == "Int64"
    with pytest.raises(DataError, match=r"no face in any of 1 pictures; lower --crop\.threshold"):
        predicted(photos / "wall.png", tmp_path / "none.csv", heads, faces="largest")
    assert not (tmp_path / "none.csv").exists()


def test_whole_photos_are_scored_with_a_warning_and_packed_sets_without(heads, photos, tmp_path, capsys):
    table = predicted(photos, tmp_path / "t.csv", heads)
    assert list(table.columns) == ["file", *SLUGS]
    assert capsys.readouterr().err.count("whole pictures are scored") == 1
    assert not (tmp_path / "t.csv.meta.json").exists()
    pack_toy(tmp_path / "set", ToyFaces(4))
    predicted(tmp_path / "set", tmp_path / "packed.csv", heads)
    assert "whole pictures" not in capsys.readouterr().err


def test_files_of_an_earlier_table_in_its_place_do_not_stay(heads, photos, tmp_path):
    predicted(photos, tmp_path / "t.csv", heads, faces="all")
    predicted(photos, tmp_path / "t.csv", heads)
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_a_video_gives_a_row_per_face_and_frame_and_a_track_per_person(heads, movie, tmp_path, capsys):
    table = predicted(movie, tmp_path / "t.parquet", heads, faces="all", frames_per_second=2)
    first = ["file", "frame", "seconds", "face", "x", "y", "width", "height", "confidence", "track"]
    assert list(table.columns) == [*first, *SLUGS]
    assert table["frame"].tolist() == [number for number in (0, 5, 10, 15, 20, 25) for _ in range(2)]
    assert np.allclose(table["seconds"], table["frame"].astype(float) / 10, atol=1e-3)
    for _, rows in table.groupby("track"):
        assert len(rows) == 6
        assert (rows["x"].diff().dropna() > 0).all()  # all walk to the right, each by less than to the other
        assert rows["x"].max() - rows["x"].min() < 130
    assert "6 frames in" in capsys.readouterr().err
    assert meta_of(tmp_path / "t.parquet")["frames_per_second"] == 2
    whole = predicted(movie, tmp_path / "whole.jsonl", heads, frames_per_second=1)
    assert list(whole.columns) == ["file", "frame", "seconds", *SLUGS]
    assert whole["frame"].tolist() == [0, 10, 20]


def test_a_track_stays_with_its_person_when_a_larger_face_comes_in(heads, tmp_path):
    cropper = FaceCropper("all")
    small, large = sorted((10, 17), key=lambda number: cropper.find(photo({number: (60, 60)}))[0].height)
    alone, both = photo({small: (230, 40)}), photo({small: (230, 40), large: (10, 40)})
    table = predicted(
        film([alone] * 3 + [both] * 3, tmp_path / "in.avi"), tmp_path / "t.csv", heads, faces="all",
        frames_per_second=10,
    )  # fmt: skip
    assert table["face"].tolist() == [0, 0, 0, 0, 1, 0, 1, 0, 1]
    assert table["track"].tolist() == [0, 0, 0, 1, 0, 1, 0, 1, 0]
    assert (table["x"] > 200).tolist() == (table["track"] == 0).tolist()


def test_a_folder_of_photos_and_videos_is_one_table(heads, photos, movie, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    for path in (photos / "alone.png", movie):
        (folder / path.name).write_bytes(path.read_bytes())
    table = predicted(folder, tmp_path / "t.jsonl", heads, faces="largest")
    assert table["file"].tolist() == ["alone.png", "two.avi", "two.avi", "two.avi"]
    assert table["frame"].isna().tolist() == [True, False, False, False]
    assert "4 images and frames" in capsys.readouterr().err


def test_a_damaged_video_stops_or_is_listed_and_what_was_read_is_kept(heads, photos, movie, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    content = movie.read_bytes()
    (folder / "cut.avi").write_bytes(content[: len(content) // 2])
    (folder / "junk.mp4").write_bytes(b"junk")
    (folder / "alone.png").write_bytes((photos / "alone.png").read_bytes())
    with pytest.raises(DataError, match=r"^cut\.avi: damaged or cut: 1\d of 30 frames can be read"):
        predicted(folder, tmp_path / "t.csv", heads, faces="all", frames_per_second=5)
    assert list(tmp_path.iterdir()) == [folder]
    table = predicted(folder, tmp_path / "t.csv", heads, faces="all", frames_per_second=5, on_error="skip")
    assert set(table["file"]) == {"alone.png", "cut.avi"}
    assert 10 <= len(table[table["file"] == "cut.avi"]) < 20
    assert [line["file"] for line in lines(tmp_path / "t.csv.bad_files.jsonl")] == ["cut.avi", "junk.mp4"]


NEUTRAL = "image,person,neutral\nalone.png,Ada,yes\nboth.png,Ada,no\nwall.png,Ben,no\n"


def test_a_baseline_is_the_mean_of_the_persons_own_neutral_pictures(heads, photos, tmp_path, capsys):
    (tmp_path / "who.csv").write_text(NEUTRAL.replace("both.png,Ada,no", "both.png,Ada,true"))
    scores = predicted(photos, tmp_path / "s.csv", heads)[SLUGS].to_numpy()
    options = {"neutral": str(tmp_path / "who.csv"), "without_neutral": "global"}
    table = predicted(photos, tmp_path / "m.csv", heads, values="mean_subtracted", **options)
    assert table["person"].tolist() == ["Ada", "Ada", "Ben"]
    own = scores[:2].mean(axis=0)
    general = EmotionRecognizer.load(heads, "cpu").neutral_means
    expected = scores - np.stack([own, own, general])
    assert np.allclose(table[SLUGS].to_numpy(), expected, atol=1e-5)
    shares = predicted(photos, tmp_path / "p.csv", heads, values="softmax", **options)[SLUGS].to_numpy()
    assert np.allclose(shares[:, :40], softmax(expected, 40)[:, :40], atol=1e-6)
    assert "own baselines of 1 persons, general means for 1 without a neutral picture" in capsys.readouterr().err
    neutral = meta_of(tmp_path / "m.csv")["neutral"]
    assert neutral["num_neutral"] == {"Ada": 2}
    assert neutral["general_means"] == ["Ben"]
    assert neutral["file"]["sha256"] == sha256_file(tmp_path / "who.csv")


def test_a_person_without_a_neutral_picture_is_an_error_unless_the_general_means_are_asked_for(heads, photos, tmp_path):
    (tmp_path / "who.csv").write_text(NEUTRAL)
    with pytest.raises(DataError, match=r"1 without a neutral picture \(Ben\); mark one of each as neutral"):
        predicted(photos, tmp_path / "m.csv", heads, values="softmax", neutral=str(tmp_path / "who.csv"))
    (tmp_path / "who.csv").write_text("image,person,neutral\nalone.png,Ada,yes\n")
    with pytest.raises(DataError, match=r"2 without a neutral picture \(both.png, wall.png\)"):
        predicted(photos, tmp_path / "m.csv", heads, values="softmax", neutral=str(tmp_path / "who.csv"))
    assert not (tmp_path / "m.csv").exists()


def test_each_track_of_a_video_has_its_own_first_seconds_as_baseline(heads, movie, tmp_path):
    options = {"faces": "all", "frames_per_second": 2}
    scores = predicted(movie, tmp_path / "s.csv", heads, **options)
    for told in ("0-9", "0-0.9s"):
        table = predicted(movie, tmp_path / "m.csv", heads, values="mean_subtracted", neutral_frames=told, **options)
        for track, rows in scores.groupby("track"):
            expected = rows[SLUGS].to_numpy() - rows[SLUGS].to_numpy()[:2].mean(axis=0)
            assert np.allclose(table[table["track"] == track][SLUGS].to_numpy(), expected, atol=1e-5)
            assert set(table[table["track"] == track]["person"]) == {f"two.avi, track {track}"}
    with pytest.raises(DataError, match="2 without a neutral picture"):
        predicted(movie, tmp_path / "x.csv", heads, values="softmax", neutral_frames="900-999", **options)


def test_baselines_in_python_are_per_row_means_of_predictions():
    scores = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0], [np.nan, np.nan]], np.float32)
    people, marks = ["a", "b", "a", "b"], [True, True, False, True]
    baseline = personal_means(scores, people, marks, ["1", "2", "3", "4"], None)
    assert np.array_equal(baseline.means, [[1, 2], [3, 4], [1, 2], [3, 4]])
    assert baseline.num_neutral == {"a": 1, "b": 1}  # a picture without a face is nobody's neutral one
    subtracted = Predictions(scores, TAXONOMY, baseline.means).mean_subtracted
    assert np.array_equal(subtracted[:3], [[0, 0], [0, 0], [4, 5]])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("image,who,neutral\na.png,x,yes\n", "no column 'person'"),
        ("image,person,neutral\na.png,x,maybe\n", "line 2: neutral is 'maybe'; write yes or no"),
        ("image,person,neutral\nb.png,x,yes\n", "line 2: image 'b.png' is not in the input; did you mean 'a.png'"),
        ("image,person,neutral\na.png,x,yes\na.png,y,no\n", "line 3: image 'a.png' is there already"),
        ("image,person,neutral\na.png,,yes\n", "line 2: image 'a.png' has no person"),
        ("", "empty"),
    ],
)
def test_a_neutral_file_that_cannot_be_meant_is_told_with_its_line(text, told, tmp_path):
    (tmp_path / "who.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        read_neutral_file(tmp_path / "who.csv", ["a.png"])
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_neutral_ranges_are_of_frames_or_seconds_ends_included():
    frames, seconds = neutral_range("10-20"), neutral_range("1-2.5s")
    assert [frames(n, 0.0) for n in (9, 10, 20, 21)] == [False, True, True, False]
    assert [seconds(0, s) for s in (0.99, 1.0, 2.5, 2.6)] == [False, True, True, False]
    for wrong in ("5", "9-3", "1.5-3", "a-b", "-3", ""):
        with pytest.raises(UsageError, match="write frames as 0-150, or seconds as 0-5s"):
            neutral_range(wrong)


def test_options_that_do_not_fit_are_one_line_before_anything_is_scored(heads, photos, movie, tmp_path):
    (tmp_path / "who.csv").write_text(NEUTRAL)
    cases: list[tuple[type[EmoNetError], str, dict]] = [
        (UsageError, "--frames_per_second 0", {"frames_per_second": 0.0}),
        (UsageError, "--frames_per_second nan", {"frames_per_second": float("nan")}),
        (UsageError, "add --values mean_subtracted", {"neutral": str(tmp_path / "who.csv")}),
        (UsageError, "holds no video", {"neutral_frames": "0-5", "values": "softmax"}),
        (MissingInputError, "nobody.csv", {"neutral": str(tmp_path / "nobody.csv"), "values": "softmax"}),
        (UsageError, "--neutral_frames x", {"neutral_frames": "x", "values": "softmax", "input": str(movie)}),
    ]
    for kind, text, changed in cases:
        with pytest.raises(kind) as caught:
            predict_command(**({"input": str(photos), "out": str(tmp_path / "t.csv"), "heads": str(heads)} | changed))
        assert text in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "t.csv").exists()


def test_the_command_line_takes_the_front_ends_options(heads, photos, tmp_path, capsys):
    words = ["predict", str(photos / "both.png"), f"--heads={heads}", f"--out={tmp_path / 't.csv'}", "--device=cpu"]
    assert main([*words, "--faces", "all", "--crop.margin", "0.2", "--crop.align=false", "--no-face=nan"]) == 0
    faces = meta_of(tmp_path / "t.csv")["preprocessing"]["faces"]
    assert (faces["faces"], faces["margin"], faces["align"], faces["detector"]) == ("all", 0.2, False, "yunet.onnx")
    for more, told in (
        (["--faces=some"], "faces"),
        (["--faces=all", "--crop.margin=9"], "--crop.margin 9.0: must be 0 to 4"),
        (["--faces=all", "--crop.detector=none.onnx"], "none.onnx: no such file"),
    ):
        capsys.readouterr()
        assert main([*words, *more]) in (2, 66)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert told in line


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 75)])
def test_a_stopped_or_killed_call_leaves_no_half_table(number, code, heads, tmp_path):
    video = film(moving((10, 17), 25) * 40, tmp_path / "long.avi")
    words = ["predict", str(video), f"--heads={heads}", f"--out={tmp_path / 't.csv'}", "--device=cpu", "--faces=all"]
    command = [sys.executable, "-m", "emonet_lightning", *words, "--frames_per_second=10"]
    with (tmp_path / "said.txt").open("w") as said:
        process = subprocess.Popen(command, stderr=said)
        deadline = time.monotonic() + 120
        while "predict:" not in (tmp_path / "said.txt").read_text() and time.monotonic() < deadline:
            time.sleep(0.2)
        process.send_signal(number)
        assert process.wait(60) == code, (tmp_path / "said.txt").read_text()
    assert not list(tmp_path.glob("*t.csv*"))


def test_faces_cut_out_of_photos_are_packed_and_the_manifest_says_how(heads, photos, tmp_path, capsys):
    words = ["pack", str(photos), f"--out={tmp_path / 'set'}", "--faces=largest", "--progress=false"]
    assert main(words) == 65
    assert "no face" in capsys.readouterr().err  # one of three is above what may be bad
    assert main([*words, "--max-bad-fraction=0.5"]) == 0
    packed = PackedSet.open(tmp_path / "set")
    manifest = json.loads((tmp_path / "set" / "manifest.json").read_text())
    cropper = FaceCropper("largest")
    assert manifest["faces"] == cropper.recorded()
    assert manifest["left_out"] == {"no face": 1}
    assert packed.keys == ["alone", "both"]
    pixels = decode_image((photos / "alone.png").read_bytes(), "alone.png")
    (face,) = cropper.find(pixels)
    crop = cropper.cut(pixels, face)
    stored = decode_image(packed.read_image(0), "alone")
    assert stored.shape == crop.shape
    assert np.abs(stored.astype(int) - crop).mean() < 3
    capsys.readouterr()
    assert main([*words, "--max-bad-fraction=0.5", "--crop.margin=0.1"]) == 2  # another set than the folder holds


def test_heads_say_how_their_training_faces_were_cut_and_other_cuts_are_told(photos, tmp_path, capsys):
    encoder, folder = tiny_encoder(tmp_path), tmp_path / "heads"
    words = ["pack", str(photos), f"--out={tmp_path / 'set'}", "--faces=largest", "--progress=false"]
    assert main([*words, "--max-bad-fraction=0.5"]) == 0
    data = SyntheticFaces(str(tmp_path / "set"), encoder=encoder)
    data.sets = [PackedSet.open(tmp_path / "set")]
    assert data.fingerprint()[0]["faces"] == FaceCropper("largest").recorded()
    bundle = tiny_heads(encoder)
    bundle.training = {"data": data.fingerprint()}
    bundle.save(folder)
    capsys.readouterr()
    for faces, margin, told in (
        ("all", 0.5, None),
        ("all", 0.3, "trained on faces that were cut out in another way: margin 0.5, now 0.3"),
        ("off", 0.5, "trained on faces cut out with margin 0.5, whole pictures are scored: see --faces"),
    ):
        predicted(photos / "alone.png", tmp_path / "t.csv", folder, faces=faces, crop=CropOptions(margin=margin))
        said = [line for line in capsys.readouterr().err.splitlines() if "heads" in line and "images/s" not in line]
        assert said == ([] if told is None else [f"these heads were {told}"])
