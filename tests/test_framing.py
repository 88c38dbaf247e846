"""Framing: classes that differ in framing alone are exposed, expressions are not, and crops take framing away."""

from dataclasses import replace

import numpy as np
import pytest
from photos import CLEAR, photo, save
from PIL import Image
from small_inputs import write
from tiny_heads import tiny_encoder, tiny_heads

from emonet_lightning.data.embeddings import cache_key
from emonet_lightning.decoding import decode_image
from emonet_lightning.errors import DataError
from emonet_lightning.evaluation.class_maps import ClassMap
from emonet_lightning.evaluation.framing import NotTheFace, judge_framing
from emonet_lightning.evaluation.probing import person_folds
from emonet_lightning.face_sets.description import FaceSet
from emonet_lightning.face_sets.framing import FaceCrops, free_cells, look_for_faces, shown_beside_faces
from emonet_lightning.face_sets.reading import read_face_set
from emonet_lightning.face_sets.transfer import run_image_transfer
from emonet_lightning.faces.crops import CropOptions, FaceCropper, told_of_other_crops
from emonet_lightning.recognizer import encoder_of, load_bundle
from emonet_lightning.reporting.framing_report import framing_line
from emonet_lightning.reporting.image_transfer_report import sections
from emonet_lightning.synthesis.actions import ACTION_INDEX, NUM_ACTIONS
from emonet_lightning.synthesis.identity import sample_identity, sample_scene
from emonet_lightning.synthesis.renderer import FaceParams, render_face
from emonet_lightning.taxonomy import Taxonomy

PEOPLE = 12


@pytest.fixture(scope="module")
def framed(tmp_path_factory):
    """The same faces as happy and as neutral, the happy ones 30 pixels lower and below a brighter strip; and a wall."""
    folder, rng = tmp_path_factory.mktemp("framed"), np.random.default_rng(0)
    lines = ["image,class,person"]
    for person in range(PEOPLE):
        for mood, y in (("happy", 90), ("neutral", 60)):
            x, y = (np.array([80, y]) + rng.integers(-8, 9, 2)).tolist()
            pixels = photo({CLEAR[person % len(CLEAR)]: (x, y)}, 320, 320)
            pixels[:20] += np.uint8(40 * (mood == "happy"))
            save(pixels, folder / f"{person}_{mood}.png")
            lines.append(f"{person}_{mood}.png,{mood},p{person}")
    save(photo({}, 320, 320), folder / "wall.png")
    write(folder / "labels.csv", "\n".join([*lines, "wall.png,happy,p0"]) + "\n")
    return folder


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    tiny_heads(tiny_encoder(tmp_path_factory.mktemp("encoder"))).save(folder)
    return folder


def images_of(folder):
    source = FaceSet.load(str(folder / "labels.csv"))
    return read_face_set(source, folder, ClassMap.load("affectnet", Taxonomy.load("emonet40", extra_dimensions=True)))


def judged(shown, labels, persons, cut=False):
    fold, _ = person_folds(labels, persons, 5, 0)
    return judge_framing(shown, labels, persons, fold, cut=cut, num_draws=100, num_permutations=200)


def transferred(folder, heads, labels="labels.csv", **options):
    options = {"map": "affectnet", "num_draws": 100, "num_permutations": 200, "progress": False} | options
    return run_image_transfer(folder, str(folder / labels), str(heads), **options)


# ---- the command


def test_classes_that_differ_in_framing_alone_are_exposed(framed, heads, capsys):
    header, *lines = (framed / "labels.csv").read_text().splitlines()
    write(framed / "broken.png", "no picture")
    write(framed / "more.csv", "\n".join([header, *lines[:PEOPLE], "broken.png,happy,p0", *lines[PEOPLE:]]) + "\n")
    found = transferred(framed, heads, "more.csv", skip=True)
    assert "whole images are scored" in capsys.readouterr().err
    assert found["framing"]["framing"] == ["place", "surroundings"]
    assert (found["images"]["num_images"], found["framing"]["num_faces"]) == (2 * PEOPLE + 1, 2 * PEOPLE)
    assert framing_line(found).startswith("classes differ in framing or background: what is not the face tells them")
    assert f"the probe's {found['headline']['probe']['value']:.3f} is no measure of exp" in framing_line(found)


def test_crops_take_framing_away_and_images_without_a_face_are_left_out(framed, heads, tmp_path, capsys):
    found = transferred(framed, heads, faces="largest")
    assert "whole images" not in capsys.readouterr().err
    assert "which crops do not show" in framing_line(found)
    assert (found["framing"]["framing"], found["framing"]["photos"]) == ([], ["place"])
    assert found["images"]["num_images"] == 2 * PEOPLE
    assert "1 of 25 images show no face: they are left out" in found["images"]["notes"]
    cropper, images = FaceCropper("largest"), images_of(framed).take(range(2 * PEOPLE), "")
    looked = look_for_faces(images, cropper, tmp_path, cut=True, progress=False)
    encoder = encoder_of(load_bundle(str(heads)), str(heads), None, None)
    assert found["faces"]["fingerprint"] == cropper.fingerprint
    assert found["heads"]["features"]["cache_key"] == cache_key(FaceCrops(images, looked, cropper), encoder)
    report = "\n".join(sections(found))
    assert "1 images show no face and are left out" in report
    assert "**Classes differ in the framing of the photos" in report


def test_images_without_faces_are_one_line_or_scored_whole(heads, tmp_path):
    lines = ["image,class"]
    for number in range(4):
        Image.fromarray(np.full((40, 40, 3), 50 * number, np.uint8)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{('happy', 'sad')[number % 2]}")
    write(tmp_path / "labels.csv", "\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"4 of 4 images show no face; lower --crop.threshold, or use --no_face whole$"):
        transferred(tmp_path, heads, faces="largest")
    found = transferred(tmp_path, heads, faces="largest", no_face="whole")
    assert found["images"]["num_images"] == 4
    assert set(found["framing"]["probes"].values()) == {None}
    assert framing_line(found).startswith("framing is not checked: a face was found in 0 of 4")


# ---- what is looked at


def test_open_mouths_and_raised_brows_are_no_framing(tmp_path):
    rng, lines = np.random.default_rng(5), ["image,class,person"]
    surprise = {"jaw_drop": 0.9, "mouth_stretch": 0.5, "lips_part": 0.9, "lid_raise": 0.8, "inner_brow_raise": 0.8}
    for person in range(18):
        who = sample_identity(rng, NUM_ACTIONS)
        for mood, shown in (("surprise", surprise), ("neutral", {})):
            actions = np.zeros(NUM_ACTIONS)
            for name, value in shown.items():
                actions[ACTION_INDEX[name]] = value
            save(render_face(FaceParams(who, actions, sample_scene(rng)), 96), tmp_path / f"{person}_{mood}.png")
            lines.append(f"{person}_{mood}.png,{mood},p{person}")
    write(tmp_path / "labels.csv", "\n".join(lines) + "\n")
    images = images_of(tmp_path)
    looked = look_for_faces(images, FaceCropper("largest"), tmp_path / "kept", cut=False, progress=False)
    assert looked.has_face.sum() >= 30
    labels = np.unique(images.labels, return_inverse=True)[1]
    assert judged(shown_beside_faces(looked), labels, images.persons)["framing"] == []
    lower = np.where(labels[:, None, None, None] == 0, np.roll(looked.cells, 2, axis=1), looked.cells)
    eyes = looked.faces + 6 * (labels[:, None] == 0) * (np.arange(9) > 4) * looked.has_face[:, None]
    shifted = shown_beside_faces(replace(looked, faces=eyes, cells=lower))
    assert "place" in judged(shifted, labels, images.persons)["framing"]


def test_a_look_goes_on_where_it_was_and_does_not_trust_damaged_blocks(framed, tmp_path, monkeypatch):
    monkeypatch.setattr("emonet_lightning.face_sets.framing._BLOCK", 10)
    images, cropper, seen = images_of(framed), FaceCropper("largest", CropOptions(align=False)), []
    find = cropper.find
    monkeypatch.setattr(cropper, "find", lambda pixels: (seen.append(1), find(pixels))[1])

    def look():
        seen.clear()
        return look_for_faces(images, cropper, tmp_path, cut=False, progress=False)

    first = look()
    assert len(seen) == 25
    assert not first.has_face[24]
    blocks = sorted(tmp_path.glob("*/*.safetensors"))
    assert [path.stem for path in blocks] == ["000000000", "000000010", "000000020"]
    blocks[2].unlink()
    blocks[0].write_bytes(blocks[0].read_bytes()[:-100])
    again = look()
    assert len(seen) == 15
    for name, values in vars(first).items():
        assert np.array_equal(values, getattr(again, name)), name


def test_crops_are_those_of_the_cropper_and_their_digest_says_how_they_are_cut(framed, tmp_path):
    images, cropper = images_of(framed), FaceCropper("largest")
    images = images.take([0, 24], "two")
    looked = look_for_faces(images, cropper, tmp_path, cut=True, progress=False)
    crops = FaceCrops(images, looked, cropper)
    pixels = decode_image(images.read_image(0), "photo")
    expected = cropper.cut(pixels, cropper.find(pixels)[0])
    assert np.array_equal(decode_image(crops.read_image(0), "crop"), expected)
    assert looked.covered[0, 5:11, 5:11].all()  # the face fills the middle half of its crop
    assert not looked.covered[0, [0, -1]].any()
    assert np.abs(looked.cells[0].mean(axis=(0, 1)) - expected.mean(axis=(0, 1))).max() < 2
    assert crops.read_image(1) == images.read_image(1)  # a wall
    other = FaceCrops(images, looked, FaceCropper("largest", CropOptions(margin=0.4)))
    assert len({images.digest, crops.digest, other.digest}) == 3


def test_cells_that_are_looked_at_show_no_face():
    covered = np.zeros((20, 16, 16), bool)
    covered[:, 4:12, 4:12] = True
    free, reached = free_cells(covered)
    assert (free == ~covered[0]).all()
    assert not reached.any()
    covered[0] = True  # one photo from nearer is left out, not looked at
    free, reached = free_cells(covered)
    assert free.sum() == 256 - 64
    assert np.flatnonzero(reached).tolist() == [0]
    covered[:4] = True
    assert not free_cells(covered)[0].any()
    assert not free_cells(covered[:0])[1].any()


# ---- what is told


def around(place, count):
    """Images whose eyes are where they are told, and nothing else."""
    numbers = np.arange(count)
    return NotTheFace(
        numbers, place, np.zeros((count, 2)), np.zeros((count, 2)), np.zeros((0, 0)), np.zeros(count, bool)
    )


def test_what_crops_hide_is_told_apart_and_chance_is_not_framing():
    rng, labels = np.random.default_rng(0), np.arange(80) % 2
    place = rng.normal(size=(80, 2)) + 3 * labels[:, None]
    assert judged(around(place, 80), labels, None)["framing"] == ["place"]
    found = judged(around(place, 80), labels, None, cut=True)
    assert (found["framing"], found["photos"], found["probes"]["surroundings"]) == ([], ["place"], None)
    nothing = [judged(around(rng.normal(size=(80, 2)), 80), labels, None)["framing"] for _ in range(4)]
    assert nothing == [[]] * 4
    assert judged(around(place[:19], 19), labels[:19], None)["probes"]["place"] is None


def test_heads_trained_on_other_crops_are_told():
    cropper = FaceCropper("largest")
    trained = {"data": [{"name": "a"}, {"name": "b", "faces": cropper.recorded()}]}
    assert told_of_other_crops(trained, FaceCropper("all")) is None
    assert told_of_other_crops({}, None) is told_of_other_crops({"data": [{"name": "a"}]}, cropper) is None
    assert "with margin 0.5, whole pictures are scored" in told_of_other_crops(trained, None)
    other = FaceCropper("largest", CropOptions(margin=0.3))
    assert told_of_other_crops(trained, other).endswith("in another way: margin 0.5, now 0.3")
    assert told_of_other_crops({"data": "?"}, None) is None
