"""evaluate robustness: what is planted is found where it was planted; conditions, corruptions, the command, errors."""

import itertools
import json

import cv2
import numpy as np
import pytest
from scipy import stats
from toy_faces import encoded

from emonet_lightning.cli import main
from emonet_lightning.decoding import decode_image
from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.evaluation.bootstrap import draws
from emonet_lightning.evaluation.degradation import Sweep, first_levels, follow_intensity, judge_sweep
from emonet_lightning.robustness import conditions
from emonet_lightning.robustness.command import read_anchor
from emonet_lightning.robustness.corruptions import corrupt
from emonet_lightning.robustness.kept_scores import KeptArrays
from emonet_lightning.robustness.measuring import measure_faces, measure_images
from emonet_lightning.robustness.picture_sets import PictureSet
from emonet_lightning.robustness.rendered import Faces
from emonet_lightning.taxonomy import Taxonomy

FEW = ["amusement", "anger", "sadness", "fear", "disgust", "astonishment_surprise"]
FORTY = Taxonomy.load("emonet40")


@pytest.fixture(scope="module")
def faces():
    return Faces(3, seed=0, size=64, slugs=FEW)


def stand_in(truth, breaks, noise=0.3):
    """Scores that know the truth of a picture, row and level by its name, and nothing of one that breaks them."""
    rng = np.random.default_rng(0)

    def score(condition, count, pictures):
        rows = []
        for name, make in pictures:
            _, level, row = name.split("/")
            known = truth[int(row)] if not breaks(condition, float(level), make) else np.zeros(truth.shape[1])
            rows.append(known + noise * rng.normal(size=truth.shape[1]))
        assert len(rows) == count
        return np.array(rows)

    return score


def judged(found, name):
    return next(entry for entry in found["factors"] if entry["name"] == name)


def test_an_encoder_that_fails_beyond_20_degrees_of_yaw_shows_at_the_next_level_and_nowhere_else():
    faces = Faces(12, seed=0, size=64, slugs=FEW)  # none is rendered: the stand-in knows them by name
    score = stand_in(faces.intensities, lambda condition, level, make: condition == "yaw" and abs(level) > 20)
    found = measure_faces(faces, conditions.factors(["yaw", "blur"]), score, anchor=(0.4, "given"), num_draws=60)
    yaw, blur = judged(found, "yaw"), judged(found, "blur")
    assert yaw["first_loss"] == yaw["first_below_anchor"] == {"falling": -25, "rising": 25}
    assert yaw["first_half_lost"] == yaw["first_surely_below_anchor"] == {"falling": -25, "rising": 25}
    assert not yaw["undisturbed_below_anchor"]
    assert blur["first_below_anchor"] == blur["first_half_lost"] == {"falling": None, "rising": None}
    by_level = {row["level"]: row["stability"]["value"] for row in yaw["levels"]}
    assert by_level[0] == pytest.approx(1)
    assert min(by_level[15], by_level[-15]) > 0.3 > max(by_level[25], by_level[-25])


def test_a_head_that_goes_blind_in_the_dark_shows_at_the_exposure_at_which_pictures_are_that_dark():
    faces = Faces(2, seed=0, size=64, slugs=FEW)
    factor = conditions.factors(["exposure"])[0]
    usual = [decode_image(make(), name).mean() for name, make in faces.pictures(factor) if "/1/" in name]
    asked = itertools.count()

    def is_dark(condition, level, make):  # for a face that is usually so bright; its levels come one after the other
        return decode_image(make(), "face").mean() < 0.55 * usual[next(asked) // len(factor.levels)]

    score = stand_in(faces.intensities, is_dark, noise=0.0)
    found = judged(measure_faces(faces, [factor], score, anchor=(0.7, "given"), num_draws=40), "exposure")
    assert found["first_below_anchor"] == found["first_half_lost"] == {"falling": 0.4, "rising": None}
    assert found["levels"][2]["agreement"]["value"] == pytest.approx(1)


def test_raters_of_the_undisturbed_faces_are_the_anchor_where_none_is_given(faces):
    blur = conditions.factors(["blur"])
    found = measure_faces(faces, blur, stand_in(faces.intensities, lambda *_: False, noise=0), num_draws=10)
    ratings = faces.ratings()[:4]
    others = [np.delete(ratings, r, axis=0).mean(axis=0) for r in range(4)]
    own = [stats.spearmanr(ratings[r][:, k], others[r][:, k]).statistic for r in range(4) for k in range(6)]
    assert found["anchor"]["value"] == pytest.approx(np.mean(own))
    truth = faces.intensities
    heads = [stats.spearmanr(truth[:, k], others[r][:, k]).statistic for r in range(4) for k in range(6)]
    level = judged(found, "blur")["levels"][3]
    assert level["with_raters"]["value"] == pytest.approx(np.mean(heads))
    assert level["agreement"]["value"] == pytest.approx(1)


def test_scores_that_are_wiped_count_as_no_agreement_and_are_not_left_out():
    truth = np.random.default_rng(0).normal(size=(30, 4))
    scores = np.stack([truth, np.zeros_like(truth)])
    found = judge_sweep(Sweep("wiped", [0, 1], 0, scores, np.stack([truth, truth])), draws(30, 20, 0), 0.5)
    assert found["levels"][1]["agreement"]["value"] == 0
    assert found["levels"][1]["stability"]["value"] == 0
    assert found["first_surely_below_anchor"] == {"falling": None, "rising": 1}


def test_figures_of_a_level_equal_scipy():
    rng = np.random.default_rng(1)
    truth, scores = rng.integers(0, 4, (40, 3)).astype(float), rng.normal(size=(2, 40, 3))
    found = judge_sweep(Sweep("any", [0, 1], 0, scores, np.stack([truth, truth])), draws(40, 10, 0))
    second = found["levels"][1]
    for k in range(3):
        assert second["agreement"]["per_emotion"][k] == pytest.approx(
            stats.spearmanr(scores[1, :, k], truth[:, k]).statistic
        )
        assert second["stability"]["per_emotion"][k] == pytest.approx(
            stats.spearmanr(scores[1, :, k], scores[0, :, k]).statistic
        )
    shift = (scores[1] - scores[0]).mean(axis=0)
    assert second["shift"]["per_emotion"] == pytest.approx(shift)
    assert second["shift_in_sd"]["per_emotion"] == pytest.approx(shift / scores[0].std(axis=0))
    loss = np.subtract(found["levels"][0]["agreement"]["per_emotion"], second["agreement"]["per_emotion"])
    assert second["loss"]["difference"] == pytest.approx(loss.mean())


def test_first_levels_are_looked_for_outward_from_the_undisturbed_one():
    levels = [-2, -1, 0, 1, 2]
    assert first_levels(levels, 2, [True, True, True, False, True]) == {"falling": -1, "rising": 2}
    assert first_levels(levels, 0, [True, False, False, False, False]) == {"falling": None, "rising": None}


def test_monotonicity_is_spearman_within_each_person():
    rng = np.random.default_rng(2)
    levels = [0, 1, 2, 3, 4]
    scores = rng.normal(size=(5, 6, 2))
    scores[:, :, 1] = np.sort(scores[:, :, 1], axis=0)
    scores[:, 0, 1] = 3.0  # says the same of everything
    found = follow_intensity(scores, levels, draws(6, 10, 0))
    mean = np.mean([stats.spearmanr(scores[:, p, 0], levels).statistic for p in range(6)])
    assert found["monotonicity"]["per_emotion"] == pytest.approx([mean, 5 / 6])
    assert found["rising"]["per_emotion"][1] == pytest.approx(5 / 6)


def test_only_the_condition_differs_between_levels_and_calls(faces):
    exposure, blur = conditions.factors(["exposure", "blur"])
    first = {name: make() for name, make in faces.pictures(blur) if name.endswith("/4")}
    again = {name: make() for name, make in Faces(3, 0, 64, FEW).pictures(blur) if name.endswith("/4")}
    assert first == again
    pixels = [decode_image(picture, name).astype(float) for name, picture in first.items()]
    sharpness = [cv2.Laplacian(picture, cv2.CV_64F).var() for picture in pixels]
    assert sharpness[0] > sharpness[1] > sharpness[2] > sharpness[3]
    bright = [decode_image(make(), name).mean() for name, make in faces.pictures(exposure) if name.endswith("/4")]
    assert bright == sorted(bright)
    assert faces.truth(blur).shape == (6, 18, 6)
    intensity = conditions.factors(["intensity"])[0]
    assert (faces.truth(intensity)[5] == 5 * np.tile(np.eye(6), (3, 1))).all()


def test_corruptions_grow_with_severity_and_are_the_same_every_time():
    drawn = Faces(1, 0, 112, FEW).pictures(conditions.factors(["yaw"])[0])
    picture = decode_image(next(make() for _, make in drawn), "face")
    for corruption in conditions.corruptions():
        made = [corrupt(picture, corruption, severity, "a", 3) for severity in conditions.SEVERITIES]
        assert np.array_equal(made[3], corrupt(picture, corruption, 3, "a", 3)), corruption.name
        change = [np.abs(one.astype(float) - picture).mean() for one in made]
        assert change[0] == 0
        assert all(one.shape == picture.shape and one.dtype == np.uint8 for one in made)
        assert change[5] > 1.2 * change[1] > 0, corruption.name
        with pytest.raises(DataError, match=r"dot\.png: 1x1 pixels are too few"):
            corrupt(picture[:1, :1], corruption, 5, "dot.png")


def pictures_of(folder, count, ratings=None, groups=None):
    names = [f"{n}.png" for n in range(count)]
    for number, name in enumerate(names):
        (folder / name).write_bytes(encoded(number, "PNG"))
    sources = [(folder / name).read_bytes for name in names]
    truth = None if ratings is None else ratings.mean(axis=1)
    return PictureSet(folder, names, sources, truth, ratings, groups, None, [])


def test_a_head_that_breaks_when_pictures_get_dark_breaks_at_that_severity_against_the_raters(tmp_path):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 8, (20, 40)).astype(float)
    ratings = np.clip(truth[:, None] + rng.integers(-2, 3, (20, 3, 40)), 0, 7)
    pictures = pictures_of(tmp_path, 20, ratings)

    def score(condition, count, given):
        rows = []
        for number, (_, make) in enumerate(given):
            dark = make().mean() < 60  # noise of mean 127: beyond 0.26 of the range taken away
            rows.append(np.zeros(40) if dark else truth[number // 6] + 0.3 * rng.normal(size=40))
        return np.array(rows)

    chosen = conditions.corruptions(["darker", "rotate"])
    found = measure_images(pictures, chosen, score, FORTY, num_draws=20)
    darker = next(entry for entry in found["corruptions"] if entry["name"] == "darker")
    shift = next(entry for entry in found["corruptions"] if entry["name"] == "rotate")
    means = [np.mean([corrupt(decode_image(s(), ""), chosen[0], v, "x").mean() for s in pictures.sources[:5]])
             for v in conditions.SEVERITIES]  # fmt: skip
    assert found["anchor"]["value"] > 0.4
    assert darker["first_below_anchor"] == {"falling": None, "rising": next(v for v in range(6) if means[v] < 60)}
    assert shift["first_below_anchor"] == {"falling": None, "rising": None}


def test_kept_arrays_are_computed_once_and_a_damaged_one_anew(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return np.arange(6.0).reshape(2, 3)

    kept = KeptArrays(tmp_path, "heads")
    for _ in range(2):
        assert (kept.get("yaw", (2, 3), 1, compute) == np.arange(6).reshape(2, 3)).all()
    assert len(calls) == 1
    kept.get("yaw", (2, 3), 2, compute)
    KeptArrays(tmp_path, "other heads").get("yaw", (2, 3), 1, compute)
    assert len(calls) == 3
    for path in (tmp_path / "kept").iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    kept.get("yaw", (2, 3), 1, compute)
    assert len(calls) == 4


def test_anchor_is_a_number_or_the_humans_of_a_report(tmp_path):
    assert read_anchor("0.4") == (0.4, "given")
    with pytest.raises(UsageError, match="between -1 and 1"):
        read_anchor("3")
    (tmp_path / "agreement.json").write_text(
        json.dumps({"ratings": {"name": "hq"}, "humans": {"metrics": {"spearman": {"sets": {"all": {"value": 0.3}}}}}})
    )
    assert read_anchor(str(tmp_path / "agreement.json"))[0] == 0.3
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(DataError, match="no agreement of humans"):
        read_anchor(str(tmp_path / "other.json"))


def run(*words):
    return main(["evaluate", "robustness", "--progress=false", "--num-draws=10", *map(str, words)])


def test_the_command_writes_a_report(untrained_heads, tmp_path, capsys):
    folder, out = untrained_heads, tmp_path / "out"
    (tmp_path / "images").mkdir()
    pictures_of(tmp_path / "images", 6)
    words = ["--heads", folder, "--factors=sunglasses,intensity", "--num-persons=2", "--size=64", "--out", out,
             "--images", tmp_path / "images", "--corruptions=jpeg"]  # fmt: skip
    assert run(*words) == 0
    content, text = json.loads((out / "robustness.json").read_text()), (out / "robustness.md").read_text()
    assert [sweep["name"] for sweep in content["faces"]["factors"]] == ["sunglasses", "intensity"]
    assert content["faces"]["num_pictures"] == 2 * 6 * (3 + 8)
    assert len(content["faces"]["intensity"]["monotonicity"]["per_emotion"]) == 6
    assert content["images"]["truth"] is None
    assert "agreement" not in content["images"]["corruptions"][0]["levels"][0]
    assert "Perceived emotion" in text
    assert " 2 persons are few: intervals from draws of them are too narrow." in text
    assert " 6 images are few" in text
    assert {path.stem for path in (out / "figures").iterdir()} == {
        "factors", "factors_emotions", "intensity", "corruptions", "corruptions_emotions"
    }  # fmt: skip
    assert "report:" in capsys.readouterr().out


@pytest.mark.slow
def test_a_call_goes_on_from_what_is_kept_and_repeats_itself(untrained_heads, tmp_path):
    out = tmp_path / "out"
    words = ["--heads", untrained_heads, "--factors=sunglasses,blur", "--num-persons=2", "--size=64", "--out", out]
    assert run(*words) == 0
    whole, kept = (out / "robustness.json").read_bytes(), sorted((out / "kept").iterdir())
    before = {path: path.stat().st_mtime_ns for path in kept}
    (out / "robustness.json").unlink()
    kept[0].unlink()  # as if the call had been killed before it was written
    assert run(*words) == 0
    assert (out / "robustness.json").read_bytes() == whole
    assert [path for path in kept if path.stat().st_mtime_ns != before[path]] == kept[:1]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--factors=jaw"], 2, "no 'jaw'"),
        (["--corruptions=fog"], 2, "give --images"),
        (["--num-persons=1"], 2, "at least 2 persons"),
        (["--faces=false"], 2, "leaves nothing to do"),
        (["--size=20"], 2, "64 to 512"),
        (["--anchor=7"], 2, "between -1 and 1"),
        (["--images=nowhere"], 66, "no such file or folder"),
    ],
)
def test_wrong_options_are_told_in_one_line(untrained_heads, tmp_path, capsys, words, code, said):
    assert run("--heads", untrained_heads, "--out", tmp_path / "out", *words) == code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_heads_are_named_once(tmp_path, capsys):
    assert run("--out", tmp_path / "out") == 2
    assert "either --run DIR or --heads DIR" in capsys.readouterr().err
