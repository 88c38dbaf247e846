"""Transfer to real faces: what is fitted never sees the judged persons, planted distances are found, the command."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from small_inputs import write

from emonet_lightning.bundle import HeadsBundle
from emonet_lightning.cli import main
from emonet_lightning.encoders import EncoderSpec, encoder_fingerprint, feature_dim
from emonet_lightning.errors import DataError
from emonet_lightning.evaluation.class_maps import ClassMap
from emonet_lightning.evaluation.framing import NotTheFace
from emonet_lightning.evaluation.image_transfer import Faces, judge_faces
from emonet_lightning.evaluation.probing import (
    linear_probe,
    out_of_fold,
    person_folds,
    rare_classes,
    scaled_classes,
    standardised_heads,
)
from emonet_lightning.heads import EmotionHeads
from emonet_lightning.taxonomy import Taxonomy

TAXONOMY = Taxonomy.load("emonet40")
MAP = ClassMap.load("affectnet", TAXONOMY)
ANGER, HAPPY, NEUTRAL, SAD = (MAP.classes.index(name) for name in ("anger", "happy", "neutral", "sad"))


def no_face():
    """Images of which nothing but the face is known."""
    return NotTheFace(np.zeros(0, int), *[np.zeros((0, 2))] * 4, np.zeros(0, bool))


def people(count=40, classes=(HAPPY, NEUTRAL), seed=0):
    """Each person once with each class; features tell the classes apart, scores know nothing."""
    rng = np.random.default_rng(seed)
    labels = np.tile(classes, count)
    persons = [f"p{row // len(classes)}" for row in range(len(labels))]
    features = rng.normal(size=(len(labels), 12))
    features[:, 0] += 6 * np.searchsorted(np.sort(classes), labels)
    return Faces(rng.normal(size=(len(labels), 40)), features, labels, persons, {}, {}, no_face())


def judged(faces, **options):
    return judge_faces(faces, MAP, **{"num_draws": 100, "num_permutations": 100, **options})[0]


def accuracy(content, way):
    return content["results"][way]["accuracy"]["value"]


# ---- folds


def test_folds_keep_persons_whole_and_classes_even():
    faces = people(23)
    fold, number = person_folds(faces.labels, faces.persons, 5, 0)
    assert number == 5
    of_person = {}
    for person, place in zip(faces.persons, fold, strict=True):
        assert of_person.setdefault(person, place) == place
    sizes = np.bincount(fold)
    assert sizes.min() >= 8
    assert set(np.bincount(faces.labels[fold == 0])) <= {0, sizes[0] // 2}


def test_fewer_persons_make_fewer_folds_and_one_person_none():
    labels, persons = np.array([0, 1, 0, 1, 0, 1]), list("aabbcc")
    assert person_folds(labels, persons, 5, 0)[1] == 3
    assert judged(people(3))["folds"]["num_folds"] == 3
    assert any(note.startswith("3 folds in place of 5") for note in judged(people(3))["images"]["notes"])
    with pytest.raises(DataError, match="no class is shown by two persons"):
        person_folds(labels, ["a"] * 6, 5, 0)
    assert rare_classes(np.array([0, 0, 0, 1, 1]), list("abcaa"), 3) == {1: 1}


# ---- what is fitted


def test_a_probe_cannot_name_a_person_it_has_not_seen():
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.integers(0, 2, 40), 3)  # one class a person, which only who is shown tells
    persons = [f"p{row // 3}" for row in range(120)]
    who = np.eye(40)[np.arange(120) // 3]
    fold, _ = person_folds(labels, persons, 5, 0)
    apart = (out_of_fold(linear_probe(2), who, labels, fold) == labels).mean()
    mixed = (out_of_fold(linear_probe(2), who, labels, person_folds(labels, None, 5, 0)[0]) == labels).mean()
    assert apart < 0.7 < 0.95 < mixed


def test_the_probe_is_scikit_learns_on_the_same_folds():
    rng = np.random.default_rng(1)
    labels, persons = rng.integers(0, 3, 90), np.arange(90) // 3
    features = rng.normal(size=(90, 8)) + 0.7 * np.eye(3, 8)[labels]
    fold, _ = person_folds(labels, [str(person) for person in persons], 5, 7)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    splits = StratifiedGroupKFold(5, shuffle=True, random_state=7)
    _, groups = np.unique([str(person) for person in persons], return_inverse=True)
    expected = cross_val_predict(model, features, labels, groups=groups, cv=splits)
    assert (out_of_fold(linear_probe(3), features, labels, fold) == expected).all()


def test_calibration_takes_mean_and_deviation_from_the_other_folds():
    rng = np.random.default_rng(2)
    scores, head_class = rng.normal(3, [1, 2, 4, 8], (50, 4)), np.array([0, 1, 1, 2])
    fold = np.arange(50) % 5
    found = out_of_fold(standardised_heads(head_class, 3), scores, np.zeros(50, dtype=int), fold)
    for row in range(50):
        others = scores[fold != fold[row]]
        z = (scores[row] - others.mean(axis=0)) / others.std(axis=0)
        assert found[row] == head_class[z.argmax()]


def test_calibration_brings_back_heads_whose_scale_drowns_the_others():
    faces = people()
    faces.scores[:, MAP.heads] += 4 * (MAP.head_class == faces.labels[:, None])
    faces.scores[:, TAXONOMY.index("concentration")] += 30  # a neutral head that is always on
    content = judged(faces)
    assert accuracy(content, "argmax") == 0.5
    for way in ("z_scored", "scaled", "score_probe"):
        assert accuracy(content, way) > 0.95


def test_classes_without_heads_or_training_images_are_not_named():
    scores, head_class = np.random.default_rng(0).normal(size=(20, 2)), np.array([0, 1])
    labels = np.tile([0, 1, 2, 2], 5)
    for fit in (standardised_heads, scaled_classes):
        assert set(fit(head_class, 3)(scores, labels)(scores).argmax(axis=1)) <= {0, 1}
    only = np.full(20, 2)
    assert set(scaled_classes(head_class, 3)(scores, only)(scores).argmax(axis=1)) == {2}
    assert set(linear_probe(3)(scores, only)(scores).argmax(axis=1)) == {2}


# ---- the protocol


def test_a_planted_distance_is_found_with_its_sign():
    content = judged(people(seed=3))
    assert accuracy(content, "feature_probe") > 0.95
    assert accuracy(content, "argmax") != accuracy(content, "class_sum")
    distance = content["headline"]["distance"]
    assert distance["value"] == pytest.approx(accuracy(content, "argmax") - accuracy(content, "feature_probe"))
    assert distance["low"] <= distance["value"] <= distance["high"] < -0.3
    by_chance = content["results"]["argmax"]["accuracy"]["chance"]
    assert 0.35 < by_chance["value"] < 0.65
    assert by_chance["p"] > 0.01
    assert content["results"]["feature_probe"]["accuracy"]["chance"]["p"] < 0.02


def test_persons_are_drawn_whole():
    faces = people(30)
    twice = Faces(
        *(np.repeat(part, 2, axis=0) for part in faces[:3]), [p for p in faces.persons for _ in "ab"], *faces[4:]
    )
    one, two = judged(faces), judged(twice)
    assert one["bootstrap"]["num_units"] == two["bootstrap"]["num_units"] == 30
    for bound in ("low", "high"):
        found = [content["results"]["argmax"]["accuracy"][bound] for content in (one, two)]
        assert found[0] == pytest.approx(found[1])
    alone = judged(twice._replace(persons=None))
    assert alone["bootstrap"]["unit"] == "image"


def test_classes_without_images_leave_the_choice_with_their_heads():
    faces = people()
    faces.scores[:, TAXONOMY.index("anger")] += 99
    content, chosen = judge_faces(faces, MAP, num_draws=5, num_permutations=5)
    assert chosen.classes == ["happy", "neutral"]
    assert accuracy(content, "argmax") > 0.2
    assert "no image of anger, contempt" in content["images"]["notes"][0]
    assert chosen.class_of("neutral", "here") == 1
    with pytest.raises(DataError, match="'anger' is not in map"):
        chosen.class_of("anger", "here")


def test_a_group_below_twenty_images_has_no_figure():
    faces = people()
    levels = ["few"] * 19 + ["many"] * 60 + [None]
    content = judged(faces._replace(groups={"hair": levels}, level_order={"hair": ["many", "few"]}))
    many, few = content["groups"]["by"]["hair"]
    assert (few["level"], few["n"], few["ways"]) == ("few", 19, None)
    assert (many["n"], many["num_persons"]) == (60, 31)
    named = out_of_fold(linear_probe(2), faces.features, np.searchsorted([HAPPY, NEUTRAL], faces.labels),
                        person_folds(faces.labels, faces.persons, 5, 0)[0])  # fmt: skip
    right = (named == np.searchsorted([HAPPY, NEUTRAL], faces.labels))[19:79]
    assert many["ways"]["feature_probe"]["value"] == pytest.approx(right.mean())


# ---- the command


@pytest.fixture(scope="module")
def heads(spec, tmp_path_factory):
    """Untrained heads on the tiny encoder."""
    return save_heads(spec, tmp_path_factory.mktemp("heads"))


def save_heads(spec, folder, neutral=True):
    torch.manual_seed(0)
    record = {**asdict(spec), "fingerprint": encoder_fingerprint(spec)}
    bundle = HeadsBundle(EmotionHeads(40, feature_dim(spec), (4,)), TAXONOMY, record)
    bundle.neutral_means = torch.zeros(40) if neutral else None
    bundle.save(folder)
    return folder


@pytest.fixture(scope="module")
def faces_folder(tmp_path_factory):
    """Twelve persons, bright where they are happy and dark where they are sad."""
    folder = tmp_path_factory.mktemp("faces")
    lines = ["image,class,person,hair"]
    rng = np.random.default_rng(0)
    for person in range(12):
        for mood, level in (("happy", 190), ("sad", 60)):
            pixels = np.clip(rng.normal(level, 25, (40, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{person}_{mood}.png")
            lines.append(f"{person}_{mood}.png,{mood},p{person},{('dark', 'fair')[person > 9]}")
    write(folder / "labels.csv", "\n".join(lines) + "\n")
    return folder


def run(folder, heads, out, *words):
    drawn = ["--num-draws", "20", "--num-permutations", "20", "--map", "affectnet"]
    labels = [] if "--set" in words else ["--set", folder / "labels.csv"]
    words = ["evaluate", "transfer", "--images", folder, *labels, "--heads", heads, "--out", out, *drawn, *words]
    return main([str(word) for word in words])


def test_images_become_a_report_and_are_encoded_once(tmp_path, faces_folder, heads, capsys):
    words = ["--faces", "largest", "--no_face", "whole", "--crop.margin", "0.4"]  # noise shows no face
    assert run(faces_folder, heads, tmp_path / "out", *words) == 0
    told = capsys.readouterr()
    assert "look for faces: 24/24 images" in told.err
    assert "encode timm/test_efficientnet: 24/24 images" in told.err
    assert "probe on the features" in told.out
    content = json.loads((tmp_path / "out" / "transfer.json").read_text())
    assert (content["images"]["num_images"], content["images"]["num_persons"]) == (24, 12)
    assert content["headline"]["probe"]["value"] == 1.0
    assert content["groups"]["by"]["hair"][1] == {"level": "fair", "n": 4, "num_persons": 2, "ways": None}
    report = (tmp_path / "out" / "transfer.md").read_text()
    assert "linear probe on the same features 1.000" in report
    assert "| hair | fair | 4 | 2 | too few | too few | too few |" in report
    for figure in ("accuracy", "recall", "confusion"):
        assert (tmp_path / "out" / "figures" / f"{figure}.png").read_bytes()[:4] == b"\x89PNG"
        assert (tmp_path / "out" / "figures" / f"{figure}.pdf").read_bytes()[:4] == b"%PDF"
    assert str(faces_folder.parent) not in (tmp_path / "out" / "transfer.json").read_text()
    assert (content["options"]["faces"], content["faces"]["crop"]["margin"]) == ("largest", 0.4)
    assert run(faces_folder, heads, tmp_path / "again", *words) == 0
    told = capsys.readouterr()
    assert "encode" not in told.err
    assert "look for faces" not in told.err
    for file in ("transfer.json", "transfer.md", "figures/recall.png"):
        assert (tmp_path / "out" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


def test_an_unreadable_image_stops_or_is_left_out_and_told(tmp_path, faces_folder, heads, capsys):
    folder = tmp_path / "faces"
    folder.mkdir()
    for path in faces_folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "3_sad.png").write_bytes((folder / "3_sad.png").read_bytes()[:200])
    assert run(folder, heads, tmp_path / "out") == 65
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("error: ")
    assert "3_sad.png" in told
    (folder / "4_sad.png").unlink()
    assert run(folder, heads, tmp_path / "out") == 66
    assert "no image" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert run(folder, heads, tmp_path / "out", "--on-error", "skip") == 0
    content = json.loads((tmp_path / "out" / "transfer.json").read_text())
    assert content["images"]["num_images"] == 22
    assert "2 unreadable images are left out (first: '3_sad.png', truncated)" in content["images"]["notes"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--scores", "a.jsonl"], "--scores: only with --scores"),
        (["--run", "somewhere"], "either --run DIR or --heads DIR"),
        (["--num-folds", "1"], "--num-folds 1: at least 2"),
        (["--taxonomy", "mine.yaml"], "--taxonomy: only with --scores"),
        (["--num-draws", "0"], "--num-draws 0: at least 1"),
        (["--only", "hair"], "write --only a=x,b=y"),
        (["--set", "folders", "--only", "hair=dark"], "does not lie as 'folders'"),
    ],
)
def test_options_that_do_not_fit_are_told(tmp_path, faces_folder, heads, capsys, words, told):
    assert run(faces_folder, heads, tmp_path / "out", *words) in (2, 65)
    assert told in capsys.readouterr().err


def test_heads_without_neutral_means_are_refused(tmp_path, faces_folder, spec, capsys):
    assert run(faces_folder, save_heads(spec, tmp_path / "heads", neutral=False), tmp_path / "out") == 65
    assert "without neutral means" in capsys.readouterr().err


def test_neither_scores_nor_images_is_told(tmp_path, capsys):
    assert main(["evaluate", "transfer", "--out", str(tmp_path / "out")]) == 2
    assert "give --scores FILE --map MAP, or --images FOLDER" in capsys.readouterr().err


# ---- real faces

LONDON = """
name: london
map: affectnet
layouts: [{table: manifest.csv, columns: {image: path, class: label, person: subject}}]
classes: {happiness: happy}
groups: {gender: {}}
only: {source: Face Research Lab London Set v5}
"""


def test_the_probe_tells_smiles_of_real_persons_and_untrained_heads_do_not(tmp_path, real_data, capsys):
    half = [0.5, 0.5, 0.5]
    weights = str(real_data / "encoders" / "mobilenetv2_100.safetensors")
    spec = EncoderSpec("timm/mobilenetv2_100", weights, options={"pad_type": "same"}, mean=half, std=half)
    words = ["--set", write(tmp_path / "london.yaml", LONDON), "--num-draws", "500", "--num-permutations", "500"]
    heads = save_heads(spec, tmp_path / "heads")
    found = {}
    for faces in ("off", "largest"):
        assert run(real_data / "faces", heads, tmp_path / faces, *words, "--faces", faces) == 0
        content = found[faces] = json.loads((tmp_path / faces / "transfer.json").read_text())
        with capsys.disabled():
            around = {name: probe["value"] for name, probe in content["framing"]["probes"].items()}
            print(f"\nLondon, 102 persons, faces {faces}: probe {content['headline']['probe']['value']:.3f}, {around}")
        assert content["images"]["num_persons"] == content["framing"]["num_faces"] / 2 == 102
        assert content["headline"]["distance"]["high"] < -0.1
    assert found["off"]["headline"]["probe"]["value"] > 0.77
    assert found["off"]["framing"]["framing"] == ["place", "surroundings"]  # smiling heads sit lower in these photos
    assert 0.6 < found["largest"]["headline"]["probe"]["value"] < found["off"]["headline"]["probe"]["value"]
    assert (found["largest"]["framing"]["framing"], found["largest"]["framing"]["photos"]) == ([], ["place"])
