"""Audit by group: planted gaps are found with their size, none is found where there is none, names are kept."""

import json

import numpy as np
import planted_panels as planted
import pytest
from scipy.stats import spearmanr
from toy_faces import pack_toy

from emonet_lightning.cli import main
from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.evaluation.agreement import judge_raters
from emonet_lightning.evaluation.audit import audit
from emonet_lightning.evaluation.audit_command import MEANINGS
from emonet_lightning.evaluation.audit_groups import Attribute, canonical_names, read_groups
from emonet_lightning.evaluation.bootstrap import draws
from emonet_lightning.evaluation.group_gaps import ALL_OTHERS, find_gaps
from emonet_lightning.evaluation.left_out import rater_spearman
from emonet_lightning.ratings.panel import slots

SPEC = planted.taxonomy("Anger", "Fear", "Joy")
NOISE, NOISIER = 0.6, 2.0


def attribute(name, levels, place):
    return Attribute(name, list(levels), np.asarray(place, dtype=np.int64), [[level] for level in levels])


def scene(seed, num_images, noise=NOISE, noisier=NOISE, shift=0.0):
    """Four equal groups; the system sees the third through other noise, and shifted."""
    rng = np.random.default_rng(seed)
    truth = 3 + 1.2 * rng.normal(size=(num_images, 3))
    place = np.arange(num_images) % 4
    own = np.where(place == 2, noisier, noise)[:, None]
    scores = truth + own * rng.normal(size=truth.shape) + np.where(place == 2, shift, 0.0)[:, None]
    groups = [attribute("group", "ABCD", place), attribute("coin", ("heads", "tails"), rng.integers(0, 2, num_images))]
    return planted.panel(truth, rng), planted.system(scores), groups


def judged(*parts, **options):
    return audit(*parts[:2], SPEC, parts[2], **{"num_draws": 200, **options})


def gaps_of(found, name, measure, part="gaps"):
    return [gap for gap in found[part] if (gap["attribute"], gap["measure"]) == (name, measure)]


def test_a_noisier_group_is_the_worst_and_the_interval_holds_the_planted_gap():
    found = judged(*scene(0, 400, noisier=NOISIER))
    # the planted size: agreement in each group of forty times as many images
    large = judged(*scene(99, 16_000, noisier=NOISIER), num_draws=20)
    expected = {entry["level"]: entry for entry in large["by"] if entry["attribute"] == "group"}
    for measure in ("spearman", "kappa"):
        best, others = gaps_of(found, "group", measure)
        assert best["worst"] == others["worst"] == "C"
        assert others["best"] == ALL_OTHERS
        size = expected["C"][measure]["value"] - expected[best["best"]][measure]["value"]
        assert size < -0.1
        for gap in (best, others):  # the three other groups are alike, so both have this size
            assert gap["low"] <= size <= gap["high"] < 0
            assert gap["p_holm"] < 0.01
    for measure in ("spearman", "kappa", "bias"):
        (coin,) = gaps_of(found, "coin", measure)  # of two groups the other one is all others
        assert coin["p_holm"] > 0.05
        assert coin["low"] < 0 < coin["high"]
    assert all(gap["p_holm"] > 0.05 for gap in found["rater_gaps"])


def test_a_shifted_group_has_the_planted_bias_and_the_heat_map_says_where():
    found = judged(*scene(1, 400, shift=0.8))
    best, others = gaps_of(found, "group", "bias")
    assert best["worst"] == others["worst"] == "C"
    for gap in (best, others):
        assert gap["low"] <= 0.8 <= gap["high"]
        assert gap["low"] > 0.5
        assert gap["p_holm"] < 0.001
    entries = {entry["level"]: entry for entry in found["by"] if entry["attribute"] == "group"}
    for level, entry in entries.items():
        cells = entry["per_emotion"]["bias"]
        expected = 0.6 if level == "C" else -0.2  # from all images, a quarter of which are shifted
        assert cells["difference"] == pytest.approx([expected] * 3, abs=0.25)
        assert all(p < 0.05 for p in cells["p_holm"]) or level != "C"


@pytest.mark.parametrize("num_seeds", [25, pytest.param(400, marks=pytest.mark.slow)])
def test_without_a_planted_gap_the_worst_group_is_seldom_called_one(num_seeds):
    false = {"spearman": 0, "kappa": 0, "bias": 0}
    for seed in range(num_seeds):
        made, scored, groups = scene(1000 + seed, 120)
        found = judged(made, scored, groups[:1], num_draws=100, seed=seed)
        for measure in false:
            false[measure] += gaps_of(found, "group", measure)[0]["p_holm"] < 0.05
    # at the level of 5 %, more than this many have a chance below 1 %
    allowed = {25: 4, 400: 31}[num_seeds]
    assert all(count <= allowed for count in false.values()), false


def test_a_small_group_is_not_called_worse_for_its_size():
    """Kappa rests on the few images that show an emotion: a small group of faces like all others may have none."""
    place = np.repeat(np.arange(4), [424, 26, 26, 24])
    false = {"gaps": 0, "rater_gaps": 0}
    for seed in range(5):
        rng = np.random.default_rng(seed)
        truth = np.where(rng.random((500, 20)) < 0.06, rng.uniform(2, 7, (500, 20)), -1.5)
        groups = [attribute("group", "ABCD", place)]
        made, scored = planted.panel(truth, rng), planted.system(truth + rng.normal(size=truth.shape))
        found = audit(made, scored, planted.taxonomy(*(f"E{k}" for k in range(20))), groups, num_draws=40)
        for part in false:
            false[part] += gaps_of(found, "group", "kappa", part)[0]["p_holm"] < 0.05
    assert max(false.values()) <= 2, false


def test_figures_of_a_group_are_those_of_its_images_alone():
    made, scored, groups = scene(2, 120)
    found = judged(made, scored, groups)
    target = made.values.mean(axis=1)
    for number, entry in enumerate(found["by"][:4]):
        rows = groups[0].place == number
        expected = [spearmanr(scored.scores[rows, k], target[rows, k]).statistic for k in range(3)]
        assert entry["per_emotion"]["spearman"]["value"] == pytest.approx(expected, abs=1e-9)
        assert entry["spearman"]["value"] == pytest.approx(np.mean(expected), abs=1e-9)
        error = scored.scores[rows] - target[rows]
        assert entry["bias"]["value"] == pytest.approx(error.mean(), abs=1e-9)
        slope = np.polyfit(scored.scores[rows].ravel(), target[rows].ravel(), 1)[0]
        assert entry["slope"]["value"] == pytest.approx(slope, abs=1e-9)
        bins = np.clip(np.rint(scored.scores[rows]), 0, 7)
        apart = sum(abs(error[bins == level].sum()) for level in range(8)) / error.size
        assert entry["calibration_error"]["value"] == pytest.approx(apart, abs=1e-9)
        raters = judge_raters(made.values[rows], slots(made)[rows], 0, 7)
        for measure, key in (("spearman", "spearman"), ("kappa", "kappa_pooled")):
            assert entry["raters"][measure]["value"] == pytest.approx(raters[key][0].mean(), abs=1e-9)


def test_agreement_among_raters_is_that_of_the_benchmark_in_every_draw():
    made = scene(3, 60)[0]
    weights = draws(60, 10, 0)
    expected = judge_raters(made.values, slots(made), 0, 7, weights)["spearman"]
    assert rater_spearman(made.values, weights) == pytest.approx(expected, abs=1e-12)


def test_a_group_with_too_few_images_has_no_number_and_no_gap():
    made, scored, _ = scene(4, 100, noisier=9.0)
    place = np.where(np.arange(100) < 19, 2, np.arange(100) % 2)
    found = judged(made, scored, [attribute("group", ("A", "B", "few"), place)])
    few = found["by"][2]
    assert (few["level"], few["n"], few["too_few"]) == ("few", 19, True)
    assert [few[key] for key in ("spearman", "kappa", "bias", "slope")] == [None] * 4
    assert few["per_emotion"] == {}
    assert not any("few" in (gap["worst"], gap["best"]) for gap in found["gaps"])
    assert not judged(made, scored, [attribute("group", ("A", "B", "few"), place)], least=19)["by"][2]["too_few"]


def test_draws_are_of_persons_and_persons_are_counted():
    made, scored, groups = scene(5, 160)
    twins = made._replace(groups=[f"person-{i // 8}" for i in range(160)])
    found = judged(twins, scored, groups)
    assert found["bootstrap"]["unit"] == "person"
    assert found["bootstrap"]["num_units"] == 20
    assert found["all"]["persons"] == 20


def test_scores_on_another_scale_get_no_bias():
    made, scored, groups = scene(6, 120)
    found = judged(made, planted.system(1 / (1 + np.exp(-scored.scores))), groups)
    assert found["scale"]["is_off_scale"]
    assert all(entry["bias"] is None and entry["spearman"] is not None for entry in found["by"])
    assert not gaps_of(found, "group", "bias")


def test_where_all_groups_are_equal_there_is_no_worst():
    made, scored, groups = scene(8, 80)
    found = judged(made, scored._replace(scores=np.full_like(scored.scores, 3.0)), groups, num_draws=20)
    assert not gaps_of(found, "group", "spearman")
    assert find_gaps("AB", np.zeros((21, 2)), np.full(2, 40), np.full(2, 40), 0.95) == []


def test_images_without_a_score_are_counted():
    made, scored, groups = scene(9, 80)
    scored.scores[:7] = np.nan
    found = judged(made, scored, groups[:1], num_draws=20)
    assert found["all"]["n"] == 73
    assert found["system_notes"] == ["7 rated images without a score are left out"]


def test_the_worst_of_many_pays_for_the_choice():
    rng = np.random.default_rng(0)
    levels = [f"g{i}" for i in range(10)]
    point = np.zeros(10)
    point[3] = -3.0  # standard deviations of its draws, which alone would be a finding
    values = np.concatenate([point[None], point + rng.normal(size=(400, 10))])
    images = np.full(10, 50)
    best, others = find_gaps(levels, values, images, images, 0.95)
    assert best["worst"] == others["worst"] == "g3"
    assert best["p_holm"] > 0.05
    assert others["p_holm"] > 0.05
    alone = find_gaps(levels[2:4], values[:, [2, 3]], images[:2], images[:2], 0.95)
    assert len(alone) == 1
    assert alone[0]["high"] - alone[0]["low"] < best["high"] - best["low"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Files of a scene whose groups carry the released spellings."""
    folder = tmp_path_factory.mktemp("audit")
    made, scored, _ = scene(7, 240, noisier=NOISIER)
    spellings = ["White", "white caucasian european", "arabic", "South Asian"]
    ethnicity = [spellings[i % 4] for i in range(240)]
    ethnicity[:12] = ["North African"] * 10 + ["", "NA"]
    age = [18 + i % 30 for i in range(240)]
    planted.write_ratings(folder / "ratings.csv", made, SPEC)
    planted.write_columns(folder / "mine.csv", made.images, dict(zip(SPEC.names, scored.scores.T, strict=True)))
    columns = {"ethnicity": ethnicity, "age": age, "person": [f"p{i // 2}" for i in range(240)]}
    planted.write_columns(folder / "groups.csv", made.images, columns)
    planted.write_taxonomy(folder / "three.yaml", SPEC)
    return folder, made


def words(folder, **options):
    given = {
        "ratings": folder / "ratings.csv", "system": f"mine={folder / 'mine.csv'}", "groups": folder / "groups.csv",
        "taxonomy": folder / "three.yaml", "num_draws": 50, "progress": "false", **options,
    }  # fmt: skip
    return ["evaluate", "audit", *(f"--{key}={value}" for key, value in given.items() if value is not None)]


def test_the_command_writes_a_report_that_says_where_groups_come_from(written, tmp_path, capsys):
    folder, _ = written
    assert main(words(folder, out=tmp_path, by="ethnicity")) == 0
    printed = " ".join(capsys.readouterr().out.split())
    found = json.loads((tmp_path / "audit.json").read_text())
    report = (tmp_path / "audit.md").read_text()
    assert found["provenance"] == {"kind": "prompted", "meaning": MEANINGS["prompted"]}
    assert MEANINGS["prompted"] in report
    assert MEANINGS["prompted"] in printed
    assert found["system"] == "mine"
    by = {(entry["attribute"], entry["level"]): entry for entry in found["by"]}
    white = by["ethnicity", "White"]
    assert white["raw"] == ["White", "white caucasian european"]
    assert set(white["spearman"]) >= {"value", "low", "high"}
    assert by["ethnicity", "North African"]["too_few"]
    assert found["attributes"]["ethnicity"]["num_unknown"] == 2
    assert found["bootstrap"]["unit"] == "person"
    assert "'ethnicity' of 2 images is not known" in report
    gap = found["gaps"][0]
    assert gap["worst"] == "Middle Eastern"
    assert {"attribute", "worst", "best", "measure", "gap", "low", "high", "p_holm"} <= gap.keys()
    for name in ("groups_ethnicity", "emotions_spearman_ethnicity", "emotions_bias_ethnicity"):
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 5000
        assert f"figures/{name}.png" in report


def test_without_a_system_raters_are_judged_among_themselves(written, tmp_path):
    folder, _ = written
    assert main(words(folder, out=tmp_path, system=None, by="age", provenance="self-declared")) == 0
    found = json.loads((tmp_path / "audit.json").read_text())
    assert found["system"] is None
    assert found["gaps"] == []
    assert {gap["measure"] for gap in found["rater_gaps"]} == {"spearman", "kappa"}
    assert "self-declared by the pictured persons" in (tmp_path / "audit.md").read_text()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ({"by": "etnicity"}, 2, "did you mean 'ethnicity'"),
        ({"system": "mine"}, 2, "write NAME=FILE"),
        ({"cross": "age"}, 2, "write two attributes"),
        ({"bins": "age=x"}, 2, "a number of bins"),
        ({"groups": "nowhere.csv"}, 66, "nowhere.csv: no such file"),
        ({"canonical": "nowhere.yaml"}, 66, "nowhere.yaml"),
        ({"provenance": "guessed"}, 2, "provenance"),
        ({"least": 1}, 2, "at least 3 images"),
    ],
)
def test_what_does_not_fit_is_one_line(written, tmp_path, capsys, options, code, said):
    folder, _ = written
    assert main(words(folder, out=tmp_path / "out", **options)) == code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out" / "audit.json").exists()


def test_the_fourteen_prompted_ethnicities_have_ten_names():
    raw = [
        "American Indian or Alaska Native", "Asian", "Black or African American", "Hispanic or Latino", "Indian",
        "Middle Eastern", "Native Hawaiian or Other Pacific Islander", "North African", "South Asian",
        "Southeast Asian", "White", "arabic", "white caucasian european", "white caucasian north american",
    ]  # fmt: skip
    names = canonical_names("released")["ethnicity"]
    found = {name: names[name.casefold()] for name in raw}
    assert len(set(found.values())) == 10
    assert {name for name in raw if found[name] == "White"} == {raw[10], raw[12], raw[13]}
    assert found["arabic"] == found["Middle Eastern"] != found["North African"]
    assert found["Indian"] == found["South Asian"]


def test_names_of_ones_own_and_edges(tmp_path):
    (tmp_path / "names.yaml").write_text("light: {bright: [day, lamp]}\n")
    light = ["day", "Lamp", "night", "night"]
    names = ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    planted.write_columns(tmp_path / "groups.csv", names, {"light": light, "age": [20, 30, 49, "NA"]})
    images = [*names, "4.jpg"]
    light, age = read_groups(
        tmp_path / "groups.csv", images, bins="age=30:50", canonical=str(tmp_path / "names.yaml")
    ).attributes
    assert (light.levels, light.place.tolist()) == (["bright", "night"], [0, 0, 1, 1, -1])
    assert light.raw == [["Lamp", "day"], ["night"]]
    assert (age.levels, age.place.tolist()) == (["20", "30 to 49"], [0, 1, 1, -1, -1])
    pairs = read_groups(tmp_path / "groups.csv", images, bins="age=30:50", canonical="none", cross=["light", "age"])
    assert pairs.attributes[2].levels == ["Lamp / 30 to 49", "day / 20", "night / 30 to 49"]
    assert pairs.attributes[2].place.tolist() == [1, 0, 2, -1, -1]
    assert pairs.notes == [f"'{name}' of {n} images is not known; they are in none of its groups"
                           for name, n in (("light", 1), ("age", 2))]  # fmt: skip
    (tmp_path / "names.yaml").write_text("light: {bright: [day], dark: [Day]}\n")
    with pytest.raises(DataError, match="'Day' stands for two groups"):
        read_groups(tmp_path / "groups.csv", images, canonical=str(tmp_path / "names.yaml"))


def test_groups_come_from_the_facts_of_a_packed_set(tmp_path):
    packed = pack_toy(tmp_path / "set")
    found = read_groups(packed.path, packed.keys[::-1], ["age", "prompted"], bins="3")
    age, prompted = found.attributes
    assert age.levels == ["0 to 19", "20 to 39", "40 to 59"]
    assert age.place.tolist() == [2] * 20 + [1] * 20 + [0] * 20
    assert len(prompted.levels) == 5
    assert found.persons is not None
    assert found.persons[0] == packed.groups[-1]
    with pytest.raises(UsageError, match="did you mean 'age'"):
        read_groups(packed.path, packed.keys, ["ages"])
    with pytest.raises(DataError, match="holds none of the rated images"):
        read_groups(packed.path, ["other"], ["age"])
