"""Faces found, cut out, followed over frames, and frames read from video files."""

import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest
from photos import CLEAR, SIZE, box, features, film, photo

from emonet_lightning.decoding import decode_image
from emonet_lightning.errors import DataError, MissingInputError, UsageError
from emonet_lightning.faces.crops import CropOptions, FaceCropper
from emonet_lightning.faces.detection import Face, FaceDetector, detector_file
from emonet_lightning.faces.tracks import MAX_MISSED, Tracker, overlaps
from emonet_lightning.faces.video import Video

LEVEL = ((0.0, 0.0), (0.0, 0.0))


@pytest.fixture(scope="module")
def cropper():
    return FaceCropper("all")


def boxed(x, y, width, height=None):
    return Face(x, y, width, height or width, 0.9, ((x, y), (x + width, y)))


def test_faces_are_found_where_they_were_put_with_their_eyes(cropper):
    for number, (x, y) in zip(CLEAR, [(0, 0), (320, 160), (100, 40), (160, 80), (320, 0), (20, 160)], strict=True):
        (face,) = cropper.find(photo({number: (x, y)}))
        planted = Face(*(box(number) + np.array([x, y, 0, 0])), 1.0, LEVEL)
        assert overlaps([planted], [face])[0, 0] > 0.5
        pupils = sorted(point.tolist() for name, point in features(number).items() if "pupil" in name)
        assert np.abs(np.array(face.eyes) - [x, y] - pupils).max() < 0.15 * face.width
        assert cropper.options.threshold <= face.confidence <= 1


def test_a_wall_shows_no_face_and_a_group_all_of_its_faces(cropper):
    wall = np.random.default_rng(0).integers(90, 140, (240, 320, 3), dtype=np.uint8)
    assert cropper.find(wall) == []
    placed = {4: (10, 10), 10: (200, 100), 17: (380, 150)}
    faces = cropper.find(photo(placed, 560, 330))
    middles = sorted((face.x + face.width / 2, face.y + face.height / 2) for face in faces)
    assert len(middles) == 3
    for (x, y), (left, top) in zip(middles, placed.values(), strict=True):
        assert left < x < left + SIZE
        assert top < y < top + SIZE
    areas = [face.width * face.height for face in faces]
    assert areas == sorted(areas, reverse=True)
    largest = FaceCropper("largest").find(photo(placed, 560, 330))
    assert largest == faces[:1]


def test_a_large_photo_is_reduced_to_look_for_faces_and_boxes_are_in_its_own_pixels(cropper):
    small = photo({10: (100, 60)})
    (face,) = cropper.find(small)
    (same,) = cropper.find(cv2.resize(small, None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC))
    back = Face(*(np.array(same[:4]) / 5), same.confidence, LEVEL)
    assert overlaps([back], [face])[0, 0] > 0.85
    assert np.allclose(np.array(same.eyes) / 5, face.eyes, atol=3)


def test_threads_find_what_one_finds_and_the_cropper_travels_to_other_processes(cropper):
    photos = [photo({number: (80, 60)}) for number in CLEAR] * 2
    alone = [cropper.find(pixels) for pixels in photos]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(cropper.find, photos)) == alone
    assert pickle.loads(pickle.dumps(cropper)).find(photos[0]) == alone[0]


def test_a_crop_that_is_not_turned_holds_the_photos_own_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    cropper = FaceCropper("all", CropOptions(margin=0.25, align=False))
    crop = cropper.cut(pixels, boxed(150, 100, 60, 80))
    assert crop.shape == (120, 120, 3)  # 80 x (1 + 2 x 0.25)
    assert np.array_equal(crop, pixels[80:200, 120:240])
    # one that would leave the photo is moved into it, one larger than the photo made as small
    assert np.array_equal(cropper.cut(pixels, boxed(5, 5, 80)), pixels[:120, :120])
    assert np.array_equal(cropper.cut(pixels, boxed(40, 30, 240)), pixels[:, 10:310])


@pytest.mark.parametrize("degrees", [-70, -20, 0, 8, 45, 180])
def test_eyes_are_level_in_a_crop_and_its_middle_is_that_of_the_box(cropper, degrees):
    middle, turn = np.array([200, 150]), np.deg2rad(degrees)
    reach = 20 * np.array([np.cos(turn), np.sin(turn)])
    pixels = np.zeros((300, 400, 3), np.uint8)
    for channel, place in enumerate((middle - reach, middle + reach, middle)):
        cv2.circle(pixels, np.rint(place).astype(int).tolist(), 3, np.eye(3)[channel].tolist(), -1)
    pixels *= 80
    crop = cropper.cut(pixels, Face(160, 100, 80, 100, 0.9, (tuple(middle - reach), tuple(middle + reach))))
    (x0, y0), (x1, y1), (x, y) = (
        [np.average(axis, weights=crop[..., channel]) for axis in np.indices(crop.shape[:2])[::-1]]
        for channel in range(3)
    )
    assert crop.shape == (200, 200, 3)
    assert (x1 - x0, y1 - y0) == pytest.approx((40, 0), abs=1)
    assert (x, y) == pytest.approx((99.5, 99.5), abs=1)


def test_eyes_close_together_as_in_a_profile_turn_nothing(cropper):
    assert cropper.tilt(Face(0, 0, 100, 100, 0.9, ((50, 40), (55, 50)))) == 0
    assert cropper.tilt(Face(0, 0, 100, 100, 0.9, ((30, 40), (70, 80)))) == pytest.approx(45)


def test_the_fingerprint_is_of_every_option_and_of_the_networks_bytes_not_of_their_place(cropper, tmp_path):
    changed = [{"threshold": 0.6}, {"margin": 0.4}, {"align": False}, {"min_size": 30}, {"max_side": 500}]
    prints = {FaceCropper("all", replace(CropOptions(), **change)).fingerprint for change in changed}
    prints |= {cropper.fingerprint, FaceCropper("largest").fingerprint}
    assert len(prints) == 7
    copy = shutil.copy(detector_file("yunet"), tmp_path / "copy.onnx")
    assert FaceCropper("all", CropOptions(detector=str(copy))).fingerprint == cropper.fingerprint


def test_what_is_no_detector_or_no_value_is_one_line(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no network")
    for kind, text, change in (
        (DataError, "OpenCV cannot load it as a face detector", {"detector": str(tmp_path / "x.onnx")}),
        (MissingInputError, "none.onnx: no such file", {"detector": str(tmp_path / "none.onnx")}),
        (UsageError, "--crop.margin -0.1: must be 0 to 4", {"margin": -0.1}),
        (UsageError, "--crop.threshold nan", {"threshold": float("nan")}),
        (UsageError, "--crop.max_side 5", {"max_side": 5}),
    ):
        with pytest.raises(kind, match=text) as caught:
            FaceCropper("all", replace(CropOptions(), **change))
        assert "\n" not in str(caught.value)


def test_another_network_is_refused_when_it_is_loaded(tmp_path):
    onnx = pytest.importorskip("onnx")
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, 32, 32]) for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "other", values[:1], values[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(DataError, match=r"other\.onnx: OpenCV cannot load it as a face detector"):
        FaceDetector(str(tmp_path / "other.onnx"))


def test_overlap_is_intersection_over_union():
    first = [boxed(0, 0, 10), boxed(100, 0, 10, 20)]
    second = [boxed(5, 0, 10), boxed(100, 0, 10, 20), boxed(300, 300, 5)]
    assert np.allclose(overlaps(first, second), [[1 / 3, 0, 0], [0, 1, 0]])
    assert overlaps([], second).shape == (0, 3)


def test_a_track_follows_its_face_through_others_and_over_missed_frames():
    tracker = Tracker()
    assert tracker.link([boxed(0, 0, 40), boxed(200, 0, 40)]) == [0, 1]
    assert tracker.link([boxed(195, 5, 40), boxed(8, 3, 40)]) == [1, 0]
    assert tracker.link([]) == []
    assert tracker.link([boxed(10, 5, 40), boxed(100, 100, 40)]) == [0, 2]
    for _ in range(MAX_MISSED):
        assert tracker.link([]) == []
    assert tracker.link([boxed(10, 5, 40)]) == [0]
    for _ in range(MAX_MISSED + 1):
        tracker.link([])
    assert tracker.link([boxed(10, 5, 40)]) == [3]


def grey(level):
    return np.full((64, 64, 3), level, np.uint8)


@pytest.mark.parametrize("name", ["a.avi", "a.mp4"])
def test_frames_are_those_of_their_time(name, tmp_path):
    path = film([grey(5 * number) for number in range(45)], tmp_path / name, rate=15)
    video = Video(path, name)
    found = list(video.frames(4))
    # the first frame of each quarter of a second, at 15 frames a second
    assert [frame.number for frame in found] == [0, 4, 8, 12, 15, 19, 23, 27, 30, 34, 38, 42]
    assert len(found) == video.num_sampled(4)
    for frame in found:
        assert frame.seconds == pytest.approx(frame.number / 15, abs=1e-3)
        assert frame.pixels.mean() == pytest.approx(5 * frame.number, abs=4)
    assert [frame.number for frame in video.frames(1000)] == list(range(45))
    assert [frame.number for frame in video.frames(0.4)] == [0, 38]


def test_colours_of_a_frame_are_red_green_blue(tmp_path):
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 200
    (frame, *_) = Video(film([red] * 3, tmp_path / "red.avi"), "red").frames(1)
    assert frame.pixels[..., 0].mean() > 150
    assert frame.pixels[..., 1:].mean() < 50


def test_a_video_that_was_cut_is_told_after_its_last_frame(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), dtype=np.uint8)
    whole = film(list(noise), tmp_path / "whole.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    read = []

    def look():
        for frame in Video(tmp_path / "cut.avi", "cut.avi").frames(10):
            read.append(frame.number)

    with pytest.raises(DataError, match=r"^cut\.avi: damaged or cut: 1\d of 30 frames can be read"):
        look()
    assert read == list(range(len(read)))
    assert 10 <= len(read) < 20


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no video at all",
        b"\x00\x00\x00\x18ftypmp42" + b"\x00" * 500,
        b"ffconcat version 1.0\nfile 'whole.avi'\n",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nwhole.avi\n#EXT-X-ENDLIST\n",
    ],
    ids=["empty", "text", "header alone", "list of files", "playlist"],
)
def test_what_is_no_video_is_one_line_and_no_list_of_files_is_followed(content, tmp_path, capfd):
    film([grey(100)] * 5, tmp_path / "whole.avi")
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(DataError, match=r"^x\.mp4: not a readable MP4, MOV, AVI, MKV or WebM video") as caught:
        Video(tmp_path / "x.mp4", "x.mp4")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.real_data
def test_faces_of_turned_photos_are_found_and_their_tilt_is_told(real_data):
    cropper = FaceCropper("largest")
    files = sorted((real_data / "faces" / "london").glob("*.jpg"))[::16]
    found = {degrees: [] for degrees in (-30, 0, 20)}
    for path in files:
        pixels = decode_image(path.read_bytes(), path.name)
        for degrees, tilts in found.items():
            turn = cv2.getRotationMatrix2D((128, 128), -degrees, 1)
            (face,) = cropper.find(cv2.warpAffine(pixels, turn, (256, 256), borderMode=cv2.BORDER_REFLECT))
            tilts.append(cropper.tilt(face))
    for degrees, tilts in found.items():
        assert np.median(tilts) == pytest.approx(degrees, abs=3), found


@pytest.mark.slow
@pytest.mark.real_data
def test_most_generated_portraits_show_one_face(real_data, cropper, capsys):
    files = sorted((real_data / "faces" / "sfhq_unlabelled").iterdir())
    found = [len(cropper.find(decode_image(path.read_bytes(), path.name))) for path in files]
    with capsys.disabled():
        print(f"\n{sum(n == 1 for n in found)} of {len(files)} generated portraits with one face, none more")
    assert np.mean(np.array(found) == 1) > 0.9
