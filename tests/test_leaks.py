"""`verify --leaks`: planted copies are found and named, people who look alike are none, and the exit code says so."""

import csv
import json
import time

import numpy as np
import pytest
from planted_copies import KINDS, copy_of, plant
from toy_faces import TAXONOMY, Listed, encoded, pack_toy

from emonet_lightning.cli import main
from emonet_lightning.encoders import EncoderSpec
from emonet_lightning.errors import MissingInputError
from emonet_lightning.leakage.audit import compare, run_audit
from emonet_lightning.leakage.calibration import DEFAULT
from emonet_lightning.leakage.image_sets import ImageSet, comparisons, crosses, open_images
from emonet_lightning.leakage.prints import Prints
from emonet_lightning.packing.samples import RawSample
from emonet_lightning.packing.shards import pack
from emonet_lightning.reporting.leaks_report import verdict
from emonet_lightning.synthesis.faces import RenderedFaces

QUIETLY = ("--embeddings=false", "--progress=false")


def audit(*words, out):
    """Exit code and leaks.json."""
    code = main(["verify", "--leaks", *map(str, words), "--out", str(out), "--progress=false"])
    return code, json.loads((out / "leaks.json").read_text())


def rendered(count, size):
    """Faces of `count` persons, one each."""
    faces = RenderedFaces("big", count=4 * count, size=size)
    return [faces[4 * person].image for person in range(count)]


def found_by_kind(content):
    """How many planted copies of each kind were found beside their original, and called what they are; false pairs."""
    found, named, false = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0), 0
    for pair in content["pairs"]:
        kind, number = pair["second"]["key"][:-8], pair["second"]["key"][-8:-4]
        if kind == "own" or pair["first"]["key"] != f"own{number}.jpg":
            false += 1
            continue
        found[kind] += 1
        named[kind] += pair["kind"] == KINDS[kind]
    return found, named, false


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    faces = rendered(60, 80)
    a, b = plant(folder, faces[:30], faces[30:], 20)
    return folder / "out", audit(a, b, out=folder / "out")


def test_planted_copies_are_found_and_called_what_they_are(planted):
    _, (code, content) = planted
    assert code == 65
    found, named, false = found_by_kind(content)
    assert (found["exact"], found["encoded"]) == (20, 20)
    assert min(found["cropped"], found["flipped"], found["resized"]) >= 19
    assert false == 0
    assert all(named[kind] >= 0.9 * found[kind] for kind in KINDS), named
    assert content["leaks"]["num_pairs"] == sum(found.values())
    assert content["calibration"]["is_calibrated"]
    assert content["calibration"]["sets"][0]["num_above"] == 0


def test_report_shows_every_pair_and_where_the_threshold_stands(planted):
    out, (_, content) = planted
    rows = list(csv.DictReader((out / "leaks.csv").open(newline="")))
    assert [row["second"] for row in rows] == [pair["second"]["key"] for pair in content["pairs"]]
    assert {row["across_test_boundary"] for row in rows} == {"True"}
    report = (out / "leaks.md").read_text()
    assert f"{content['calibration']['threshold']:.3f}" in report
    assert "100 pairs of copies" in report or str(len(rows)) in report
    for name in ("pairs", "scores"):
        assert f"figures/{name}.png" in report
        assert (out / "figures" / f"{name}.png").stat().st_size > 10_000
    assert str(out.parent) not in (out / "leaks.json").read_text() + report


def test_a_pair_just_above_the_threshold_is_said_to_be_doubtful():
    pair = {"across_test_boundary": True, "score": 0.949}
    content = {
        "calibration": {"threshold": 0.947}, "sets": [{"name": "a"}, {"name": "b"}],
        "leaks": {"num_pairs": 2, "num_images": [2, 2]}, "pairs": [pair, {**pair, "score": 0.998}],
    }  # fmt: skip
    assert "1 of them only just: look at these" in verdict(content)
    content["pairs"] = [{**pair, "score": 0.998}] * 2
    assert "only just" not in verdict(content)


def photographs(folder):
    return [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]


def judge_campaign(content, seconds, num_each, num_own, capsys, name):
    found, named, false = found_by_kind(content)
    calibration = content["calibration"]
    with capsys.disabled():
        print(
            f"\n{name}: {num_each} of each kind planted; found {found}, called so {named}, false pairs {false} of "
            f"{num_own} images; threshold {calibration['threshold']:.3f}, nearest of other groups "
            f"{[each['quantile'] for each in calibration['sets']]} (99 %); {seconds:.0f} s"
        )
    assert found["exact"] == found["encoded"] == num_each
    assert min(found["cropped"], found["flipped"], found["resized"]) >= 0.95 * num_each
    assert false <= 0.01 * num_own


@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 128])
def test_a_hundred_planted_copies_of_each_kind_of_drawn_faces(tmp_path, capsys, size):
    faces = rendered(600, size)
    a, b = plant(tmp_path, faces[:300], faces[300:], 100)
    started = time.monotonic()
    _, content = audit(a, b, out=tmp_path / "out")
    judge_campaign(content, time.monotonic() - started, 100, len(faces), capsys, f"drawn, {size} pixels")


@pytest.mark.slow
def test_a_hundred_planted_copies_of_each_kind_of_photographs(real_data, tmp_path, capsys):
    faces = photographs(real_data / "faces" / "sfhq_unlabelled")
    a, b = plant(tmp_path, faces[::2], faces[1::2], 100)
    started = time.monotonic()
    _, content = audit(a, b, out=tmp_path / "out")
    judge_campaign(content, time.monotonic() - started, 100, len(faces), capsys, "generated photographs")


@pytest.mark.slow
def test_planted_copies_among_photographs_of_one_studio(real_data, tmp_path, capsys):
    faces = photographs(real_data / "faces" / "london")[::2]  # one of each person, all in one pose and light
    a, b = plant(tmp_path, faces[:51], faces[51:], 51)
    started = time.monotonic()
    _, content = audit(a, b, out=tmp_path / "out")
    judge_campaign(content, time.monotonic() - started, 51, len(faces), capsys, "one studio")


def toy_set(out, *rows, **options):
    """A packed set of noise: (key, seed or content, split, group, prompt) each."""
    samples = [
        RawSample(
            key,
            image if isinstance(image, bytes) else encoded(image, side=64),
            {},
            group=group,
            split=split,
            meta={"prompt": prompt} if prompt else {},
        )
        for key, image, split, group, prompt in rows
    ]
    return pack_toy(out, Listed(*samples), **{"splits": None, "near_duplicates": "ignore", **options})


def test_splits_of_one_set_are_compared_and_only_test_images_decide(tmp_path, capsys):
    rng = np.random.default_rng(0)
    copy = copy_of(encoded(1, side=64), "encoded", rng)
    rows = [("t1", 1, "train", "p1", "a man"), ("t2", 2, "train", "p2", "a woman"), ("v1", copy, "val", "p3", None)]
    toy_set(tmp_path / "whole", *rows, ("x1", 3, "test", "p4", "a man"))
    content = run_audit([str(tmp_path / "whole")], encoder=None, progress=False).content
    assert content["leaks"]["num_pairs"] == 0
    pair = content["pairs"][0]
    assert {pair["first"]["key"], pair["second"]["key"]} == {"t1", "v1"}
    assert not pair["across_test_boundary"]
    assert content["prompts"]["examples"] == ["a man"]
    assert content["groups"]["num_shared"] == 0
    assert content["calibration"]["threshold"] == DEFAULT
    toy_set(tmp_path / "torn", *rows, ("x1", copy_of(encoded(2, side=64), "encoded", rng), "test", "p4", None))
    capsys.readouterr()
    assert main(["verify", "--leaks", str(tmp_path / "whole"), *QUIETLY]) == 0
    assert main(["verify", "--leaks", str(tmp_path / "torn"), *QUIETLY]) == 65
    told = capsys.readouterr().err
    assert "'listed': 1 pairs of copies" in told
    assert "'t2' and 'x1' (re-encoded)" in told


def test_copies_in_a_sealed_set_are_leaks_and_equal_names_are_told(tmp_path, capsys):
    train = toy_set(tmp_path / "train", ("a", 1, None, "anna", "x"), ("b", 2, None, "ben", "y"))
    toy_set(tmp_path / "own", ("c", 3, None, "anna", "y"), ("d", 4, None, None, None), sealed=True)
    content = run_audit([str(train.path), str(tmp_path / "own")], encoder=None, progress=False).content
    assert content["pairs"] == []
    assert content["groups"] == {"known": True, "num_shared": 1, "num_images": 2, "examples": ["anna"]}
    assert content["prompts"]["num_shared"] == 1
    toy_set(tmp_path / "copy", ("e", 2, "held_out", None, None), ("f", 5, "held_out", None, None), sealed=True)
    assert open_images(str(tmp_path / "copy")).is_test.all()
    for words in (["--leaks", train.path, tmp_path / "copy"], [train.path, "--leaks", tmp_path / "copy"]):
        capsys.readouterr()
        assert main(["verify", *map(str, words), *QUIETLY]) == 65
        told = capsys.readouterr()
        assert "'b' and 'e' (bytes)" in told.err or "'e' and 'b' (bytes)" in told.err


def made_up(name, splits, is_test):
    keys = [f"{name}{number}" for number in range(len(splits))]
    nothing = [None] * len(keys)
    known = None if is_test is None else np.array(is_test)
    return ImageSet(name, keys, splits, known, nothing, nothing, lambda row: b"", None)


def test_a_pair_crosses_where_one_image_is_for_testing_or_nothing_is_known():
    packed = made_up("packed", ["train", "val", "test"], [False, False, True])
    folder = made_up("folder", ["unknown"], None)
    first, second = np.array([0, 0, 1, 2]), np.array([1, 2, 2, 2])
    assert crosses([packed], first, second).tolist() == [False, True, True, False]
    assert crosses([packed, folder], np.array([0, 2]), np.array([3, 3])).tolist() == [True, True]
    train = made_up("train", ["train"], [False])
    assert crosses([packed, train], np.array([0, 2]), np.array([3, 3])).tolist() == [False, True]
    assert crosses([train, train], np.array([0]), np.array([1])).tolist() == [True]
    with pytest.raises(MissingInputError, match="no splits to compare"):
        comparisons([train])


def test_equal_pictures_are_found_among_many_and_equal_hashes_prove_nothing():
    rng = np.random.default_rng(0)
    sets = [made_up("a", ["train"] * 60, [False] * 60), made_up("b", ["test"] * 25, [True] * 25)]
    count = 85
    pictures = rng.integers(0, 256, (count, 64, 64), dtype=np.uint8)
    pictures[60:65] = pictures[:5]
    names = [str(number) for number in range(count)]
    hashes = rng.integers(0, 2**63, (count, 2)).astype(np.uint64)
    hashes[67] = hashes[8]  # by chance: it is laid over the other, and is none
    prints = Prints(names, names, np.full((count, 2), 64), pictures, hashes, None)
    content = compare(sets, comparisons(sets), prints, None, progress=False)
    assert [(pair["first"]["key"], pair["second"]["key"]) for pair in content["pairs"]] == [
        (f"a{number}", f"b{number}") for number in range(5)
    ]
    assert content["num_compared"] == 1_500
    assert any(pair["second"]["key"] == "b7" and pair["hash_distance"] == 0 for pair in content["rejected"])


def test_equal_lines_of_what_an_encoder_calls_strangers_are_no_copy():
    rng = np.random.default_rng(1)
    sets = [made_up("a", ["train"] * 60, [False] * 60), made_up("b", ["test"] * 40, [True] * 40)]
    pictures = rng.integers(0, 256, (100, 64, 64), dtype=np.uint8)
    features = rng.normal(size=(100, 8)).astype(np.float32)
    pictures[60:63] = pictures[:3]  # saved anew
    features[60], features[61], features[62] = features[0], -features[1], -features[2]
    pictures[60:62] = np.clip(pictures[60:62] + rng.normal(0, 48, (2, 64, 64)), 0, 255).astype(np.uint8)
    names = [str(number) for number in range(100)]
    hashes = rng.integers(0, 2**63, (100, 2)).astype(np.uint64)
    prints = Prints(names, names, np.full((100, 2), 64), pictures, hashes, features)
    content = compare(sets, comparisons(sets), prints, EncoderSpec("embedded"), progress=False)
    threshold = content["calibration"]["threshold"]
    assert {pair["second"]["key"]: pair["score"] < (1 + threshold) / 2 for pair in content["pairs"]} == {
        "b0": True,
        "b2": False,
    }
    assert content["rejected"][0]["second"]["key"] == "b1"
    assert content["rejected"][0]["score"] >= threshold
    assert content["rejected"][0]["feature_similarity"] < content["calibration"]["copy_features"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ([], 2, "name a packed set, or two sets"),
        (["nowhere", "--out", "x"], 2, "--leaks"),
        (["--leaks", "nowhere", "elsewhere"], 66, "nowhere: no such folder"),
        (["--leaks"], 2, "leaks"),
    ],
)
def test_what_cannot_be_compared_is_one_line(words, code, says, capsys):
    assert main(["verify", *words]) == code
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1


def test_a_damaged_image_is_named(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "good.jpg").write_bytes(encoded(ord(name)))
    (tmp_path / "b" / "bad.jpg").write_bytes(encoded(1)[:500])
    assert main(["verify", str(tmp_path / "a"), "--leaks", str(tmp_path / "b"), "--embeddings=false"]) == 65
    assert "b: bad.jpg" in capsys.readouterr().err


def test_records_and_seals_of_a_packed_set_are_read(tmp_path):
    pack(RenderedFaces("hq", count=4, size=64), tmp_path / "hq", TAXONOMY, sealed=True, progress=False)
    images = open_images(str(tmp_path / "hq"))
    assert images.is_test.all()
    assert images.splits == ["test"] * 4
    assert images.groups[0] == images.groups[1] != images.groups[2]
