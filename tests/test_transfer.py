"""Transfer to another dataset's classes: the released figures, every rule against scikit-learn, maps, files, errors."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from emonet_lightning import json_lines
from emonet_lightning.cli import main
from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.evaluation.bootstrap import draws
from emonet_lightning.evaluation.class_maps import ClassMap
from emonet_lightning.evaluation.transfer import chance, judge, permuted_recalls, tally
from emonet_lightning.evaluation.transfer_decisions import Decisions, decide, mapped_softmax, trivial_systems
from emonet_lightning.evaluation.transfer_input import read_score_file
from emonet_lightning.evaluation.transfer_protocol import run_transfer
from emonet_lightning.ratings.files import open_table
from emonet_lightning.ratings.systems import read_scores
from emonet_lightning.reporting.agreement_values import NOT_SEPARATED
from emonet_lightning.reporting.transfer_report import sections
from emonet_lightning.taxonomy import Taxonomy, released_neutral_means

TAXONOMY = Taxonomy.load("emonet40")
FERD = ClassMap.load("ferd", TAXONOMY)
AFFECTNET = ClassMap.load("affectnet", TAXONOMY)
RULES = ("any_hit", "argmax", "class_sum")


@pytest.fixture(scope="module")
def ferd(real_data, tmp_path_factory):
    """What the command writes for the released outputs."""
    out = tmp_path_factory.mktemp("ferd")
    assert (
        main(["evaluate", "transfer", "--scores", str(real_data / "ferd.jsonl"), "--map", "ferd", "--out", str(out)])
        == 0
    )
    return out


def content(folder):
    return json.loads((folder / "transfer.json").read_text())


def released_line(image, raw, **fields):
    """One line as released: raw score, minus the neutral mean, softmax over the 40, for each head."""
    scores = np.asarray(raw) - released_neutral_means(TAXONOMY)
    results = {
        f"model_{slug}_best": {"raw": float(a), "mean_subtracted": float(b), "softmax": float(c)}
        for slug, a, b, c in zip(TAXONOMY.slugs, raw, scores, mapped_softmax(scores[None])[0], strict=True)
    }
    results["model_arousal_best"] = {"raw": 2.0, "mean_subtracted": -0.7, "softmax": None}
    return {"image_path": image, "results": results, **fields}


def write_lines(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def random_lines(count=24, seed=0, **field_of):
    rng = np.random.default_rng(seed)
    names = [str(name) for name in ("Happy", "sad", "SURPRISED", "anger")]
    return [
        released_line(
            f"faces/{i:04d}_{names[i % 4]}.jpg",
            rng.uniform(0, 7, 40),
            **{field: values[i] for field, values in field_of.items()},
        )
        for i in range(count)
    ]


def run(*words):
    return main(["evaluate", "transfer", "--num-draws", "20", "--num-permutations", "50", *map(str, words)])


def judged(path, map="ferd", **options):
    """What transfer.json would hold, without the report."""
    options = {"num_draws": 20, "num_permutations": 50, **options}
    return run_transfer({path.stem: path}, str(map), **options)


def fails(capsys, code, *words):
    """The one line of an error."""
    assert run(*words) == code
    told = capsys.readouterr().err.strip()
    assert told.startswith("error: ")
    assert "\n" not in told
    return told


# ---- the released figures


def test_released_outputs_give_the_published_any_hit_figures(ferd):
    found = content(ferd)["systems"]["ferd"]["rules"]["any_hit"]
    assert round(found["accuracy"]["value"], 4) == 0.7829
    recall = {name: round(entry["value"], 4) for name, entry in zip(FERD.classes, found["per_class"], strict=True)}
    assert recall["happy"] == 1.0
    assert recall["contempt"] == 0.3158


def test_any_hit_of_the_released_outputs_equals_the_released_procedure_step_by_step(real_data, ferd):
    hits = []
    for line in (real_data / "ferd.jsonl").read_text().splitlines():
        row = json.loads(line)
        label = Path(row["image_path"]).stem.split("_")[-1].lower().replace("surprised", "surprise")
        mapped = [
            TAXONOMY.slugs[k] for k, c in zip(FERD.heads, FERD.head_class, strict=True) if FERD.classes[c] == label
        ]
        hits.append(any(row["results"][f"model_{slug}_best"]["softmax"] > 1.5 / 40 for slug in mapped))
    assert content(ferd)["systems"]["ferd"]["rules"]["any_hit"]["accuracy"]["value"] == np.mean(hits)


def test_softmax_and_mean_subtraction_are_reproduced_from_raw_scores(ferd):
    checked = content(ferd)["systems"]["ferd"]["checked"]
    for kind in ("mean_subtracted", "softmax"):
        assert checked[kind]["num_values"] == 152 * 40
        assert checked[kind]["largest_difference"] < 1e-6


def test_shuffled_labels_show_that_any_hit_is_lenient_and_the_report_says_why(ferd):
    rules = content(ferd)["systems"]["ferd"]["rules"]
    assert rules["any_hit"]["accuracy"]["chance"]["value"] > 0.4
    assert 0.1 < rules["argmax"]["accuracy"]["chance"]["value"] < 0.15
    report = (ferd / "transfer.md").read_text()
    assert "Why any-hit is lenient" in report
    assert f"any-hit is still {rules['any_hit']['accuracy']['chance']['value']:.3f}" in report
    shuffled = {c: e["chance"]["p"] for c, e in zip(FERD.classes, rules["any_hit"]["per_class"], strict=True)}
    hidden = ", ".join(name for name, p in shuffled.items() if p >= 0.05)
    assert hidden
    assert (
        "Classes not told from shuffled labels (p of at least 0.05; 24 tests, not corrected for their number): "
        f"any-hit: {hidden};"
    ) in report
    for figure in ("accuracy", "heads_on", "confusion"):
        assert (ferd / "figures" / f"{figure}.png").read_bytes()[:4] == b"\x89PNG"
        assert (ferd / "figures" / f"{figure}.pdf").read_bytes()[:4] == b"%PDF"


def test_two_calls_write_the_same_bytes(tmp_path):
    (tmp_path / "moods.yaml").write_text(OWN_MAP.replace("field: mood", "pattern: '_([a-z]+)$'"))
    lines = [{**line, "image_path": f"{i}_{('glad', 'down')[i % 2]}.jpg"} for i, line in enumerate(random_lines(6))]
    scores = write_lines(tmp_path / "a.jsonl", lines)
    for name in ("one", "two"):
        assert run("--scores", scores, "--map", tmp_path / "moods.yaml", "--out", tmp_path / name) == 0
    for file in ("transfer.json", "transfer.md", "figures/confusion.png", "figures/confusion.pdf"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


# ---- parity


def head_classes(rng, num_heads, num_classes):
    return np.concatenate([np.arange(num_classes), rng.integers(0, num_classes, num_heads - num_classes)])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(2, 9), st.integers(0, 2**32 - 1), st.booleans())
def test_every_rule_equals_scikit_learn(num_images, num_classes, seed, tied):
    rng = np.random.default_rng(seed)
    classes = head_classes(rng, num_classes + 5, num_classes)
    scores = rng.normal(0, 2, (num_images, len(classes)))
    if tied:
        scores = np.round(scores)
    labels = rng.integers(0, num_classes, num_images)
    present = np.unique(labels)
    weights = draws(num_images, 3, seed)
    decided = decide(scores, classes, num_classes, 1.5 / len(classes))
    found = judge({"a": decided}, labels, weights, subjects=["a"], num_permutations=5)
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    sums = np.stack([shares[:, classes == c].sum(axis=1) for c in range(num_classes)], axis=1)
    named = {"argmax": classes[scores.argmax(axis=1)], "class_sum": sums.argmax(axis=1)}
    near = np.sort(sums, axis=1)
    if (near[:, -1] - near[:, -2] < 1e-12).any():  # a tie that the order of summation decides
        named.pop("class_sum")
    for rule, guess in named.items():
        mine = found["systems"]["a"]["rules"][rule]
        assert mine["accuracy"]["value"] == pytest.approx(accuracy_score(labels, guess), abs=1e-12)
        recall = recall_score(labels, guess, labels=present, average=None, zero_division=0)
        assert [mine["per_class"][c]["value"] for c in present] == pytest.approx(recall, abs=1e-12)
        assert mine["macro_recall"]["value"] == pytest.approx(recall.mean(), abs=1e-12)
        f1 = f1_score(labels, guess, labels=present, average="macro", zero_division=0)
        assert mine["macro_f1"]["value"] == pytest.approx(f1, abs=1e-12)
        assert mine["counts"] == confusion_matrix(labels, guess, labels=range(num_classes)).tolist()
    on = shares > 1.5 / len(classes)
    hits = np.stack([on[:, classes == c].any(axis=1) for c in range(num_classes)], axis=1)
    truth = np.eye(num_classes, dtype=bool)[labels]
    mine = found["systems"]["a"]["rules"]["any_hit"]
    recall = recall_score(truth, hits, average=None, zero_division=0)[present].mean()
    assert mine["macro_recall"]["value"] == pytest.approx(recall, abs=1e-12)
    f1 = f1_score(truth, hits, average=None, zero_division=0)[present].mean()
    assert mine["macro_f1"]["value"] == pytest.approx(f1, abs=1e-12)
    assert mine["accuracy"]["value"] == pytest.approx(hits[np.arange(num_images), labels].mean(), abs=1e-12)
    assert found["systems"]["a"]["heads_on"]["value"] == pytest.approx(on.sum(axis=1).mean(), abs=1e-12)
    assert (
        found["systems"]["a"]["heads_on"]["distribution"] == np.bincount(on.sum(1), minlength=len(classes) + 1).tolist()
    )


def test_every_draw_equals_scikit_learn_on_the_drawn_images():
    rng = np.random.default_rng(3)
    classes, labels = head_classes(rng, 12, 4), rng.integers(0, 4, 30)
    decided = decide(rng.normal(0, 2, (30, 12)), classes, 4, 0.1)
    weights = draws(30, 25, seed=7)
    found = tally(decided.credits["argmax"], labels, weights)
    guess = decided.credits["argmax"].argmax(axis=1)
    for row, own in enumerate(weights):
        drawn = np.repeat(np.arange(30), own.astype(int))
        present = np.unique(labels[drawn])
        macro = recall_score(labels[drawn], guess[drawn], labels=present, average="macro", zero_division=0)
        f1 = f1_score(labels[drawn], guess[drawn], labels=present, average="macro", zero_division=0)
        assert found.metrics["accuracy"][row] == pytest.approx(np.mean(labels[drawn] == guess[drawn]))
        assert found.metrics["macro_recall"][row] == pytest.approx(macro)
        assert found.metrics["macro_f1"][row] == pytest.approx(f1)


def test_chance_equals_shuffling_the_labels_one_by_one(monkeypatch):
    from emonet_lightning.evaluation import transfer

    rng = np.random.default_rng(1)
    labels = rng.integers(0, 5, 40)
    credits = [rng.random((40, 5)) < 0.4, rng.random((40, 5)) < 0.1]
    whole = permuted_recalls(credits, labels, 30, seed=11)
    shuffler = np.random.default_rng(11)
    for number in range(30):
        shuffled = shuffler.permuted(labels)
        for rule, credit in enumerate(credits):
            right = credit[np.arange(40), shuffled]
            assert whole[rule, number] == pytest.approx([right[shuffled == c].mean() for c in range(5)])
    monkeypatch.setattr(transfer, "_BLOCK", 120)  # three shuffles at a time
    assert np.array_equal(permuted_recalls(credits, labels, 30, seed=11), whole)


def test_mean_chance_is_the_share_of_classes_that_a_rule_names_and_its_p_counts_shuffles_that_reach_it():
    rng = np.random.default_rng(5)
    labels, credit = np.repeat(np.arange(4), 25), rng.random((100, 4)) < 0.5
    permuted = permuted_recalls([credit], labels, 4000, seed=0)[0].mean(axis=1)
    found = chance(0.5, permuted, 0.95)
    assert found["value"] == pytest.approx(credit.mean(), abs=0.005)
    assert found["low"] < found["value"] < found["high"]
    assert found["p"] == (1 + np.sum(permuted >= 0.5)) / 4001
    assert chance(1.0, permuted, 0.95)["p"] == 1 / 4001


def test_trivial_systems_reach_what_they_must():
    labels = np.array([0, 0, 0, 1, 2, 2])
    found = trivial_systems(labels, np.array([2, 0, 1, 1]), 3, 1.5 / 4, 0, 7, seed=0)
    assert found["most frequent class"].credits["argmax"].argmax(axis=1).tolist() == [0] * 6
    assert not found["equal scores"].credits["any_hit"].any()  # 1/4 is below the cutoff
    assert (found["equal scores"].credits["argmax"].argmax(axis=1) == 2).all()  # the first head
    assert (found["equal scores"].credits["class_sum"].argmax(axis=1) == 1).all()  # two heads of four


def test_random_scores_are_judged_by_their_expectation(real_data):
    """Point, difference and sentence; against an own count over other seeds."""
    heads, rng, num_sets = FERD.head_class, np.random.default_rng(77), 400
    hits = np.zeros(8)
    for _ in range(num_sets):
        shares = mapped_softmax(rng.uniform(0, 7, (152, 40)))
        hits += [(shares[:, heads == c] > FERD.cutoff).any(axis=1).mean() / num_sets for c in range(8)]
    found = run_transfer({"ferd": real_data / "ferd.jsonl"}, "ferd", num_draws=50, num_permutations=50)
    random = found["systems"]["random scores"]
    figure = random["rules"]["any_hit"]
    assert figure["accuracy"]["value"] == pytest.approx(hits.mean(), abs=0.005)
    assert [entry["value"] for entry in figure["per_class"]] == pytest.approx(hits, abs=0.01)
    assert np.array(figure["counts"]) == pytest.approx(np.tile(19 * hits, (8, 1)), abs=0.2)
    assert random["rules"]["argmax"]["accuracy"]["value"] == pytest.approx(1 / 8, abs=0.003)
    assert sum(random["heads_on"]["distribution"]) == pytest.approx(152)
    (apart,) = (
        entry["value"]
        for entry in found["differences"]
        if (entry["minus"], entry["rule"], entry["metric"]) == ("random scores", "any_hit", "accuracy")
    )
    own = found["systems"]["ferd"]["rules"]["any_hit"]["accuracy"]["value"]
    assert apart == pytest.approx(own - figure["accuracy"]["value"])
    report = "\n".join(sections(found, {"confusion": {"ferd": "confusion"}}))
    assert f"are expected to reach {figure['accuracy']['value']:.3f} [" in report
    assert "expectation over at least 200 seeded sets" in report


def test_the_expectation_of_random_scores_depends_on_the_seed_in_the_third_decimal_only():
    labels, heads = np.repeat(np.arange(8), 3), FERD.head_class
    named = [
        trivial_systems(labels, heads, 8, FERD.cutoff, 0, 7, seed)["random scores"].credits["any_hit"].mean()
        for seed in range(6)
    ]
    assert 0 < np.ptp(named) < 0.005


def test_a_class_without_a_miss_or_without_a_hit_has_an_interval(tmp_path):
    labels, heads = np.repeat([0, 1, 2], [19, 19, 4]), np.array([0, 1, 2])
    decided = decide(np.eye(3)[[0] * 19 + [2] * 23], heads, 3, 0.4)
    found = judge({"a": decided}, labels, draws(42, 100, 0), subjects=["a"], num_permutations=20)["systems"]["a"]
    per_class = found["rules"]["argmax"]["per_class"]
    z2 = 1.959963984540054**2
    assert [entry["value"] for entry in per_class] == [1, 0, 1]
    assert (per_class[0]["low"], per_class[0]["high"]) == pytest.approx((19 / (19 + z2), 1))
    assert (per_class[1]["low"], per_class[1]["high"]) == pytest.approx((0, z2 / (19 + z2)))
    assert per_class[2]["low"] == pytest.approx(4 / (4 + z2))


def test_an_accuracy_of_nothing_or_all_has_an_interval_and_other_figures_without_spread_have_none():
    labels, heads = np.repeat([0, 1], 10), np.array([0, 1])
    right, wrong = decide(np.eye(2)[labels], heads, 2, 0.6), decide(np.eye(2)[1 - labels], heads, 2, 0.6)
    weights = draws(20, 100, 0)
    found = judge({"a": right, "b": wrong}, labels, weights, subjects=["a"], num_permutations=20)["systems"]
    z2 = 1.959963984540054**2
    all_right, none = (found[name]["rules"]["argmax"] for name in "ab")
    assert (all_right["accuracy"]["low"], all_right["accuracy"]["high"]) == pytest.approx((20 / (20 + z2), 1))
    assert (none["accuracy"]["low"], none["accuracy"]["high"]) == pytest.approx((0, z2 / (20 + z2)))
    assert all_right["macro_recall"] | {"value": 1, "low": None, "high": None} == all_right["macro_recall"]


def test_differences_are_paired_and_a_system_differs_from_itself_by_nothing():
    rng = np.random.default_rng(2)
    labels, classes = rng.integers(0, 3, 50), np.array([0, 1, 2, 0])
    one = decide(rng.normal(size=(50, 4)), classes, 3, 0.4)
    other = decide(rng.normal(size=(50, 4)), classes, 3, 0.4)
    weights = draws(50, 200, seed=0)
    systems: dict[str, Decisions] = {"a": one, "b": one, "c": other}
    found = judge(systems, labels, weights, subjects=["a", "b"], num_permutations=5)
    pairs = {(d["system"], d["minus"]) for d in found["differences"]}
    assert pairs == {("a", "b"), ("a", "c"), ("b", "c")}
    for entry in found["differences"]:
        if entry["minus"] == "b":
            assert (entry["value"], entry["low"], entry["high"]) == (0, 0, 0)
        else:
            apart = tally(one.credits[entry["rule"]], labels, weights).metrics[entry["metric"]]
            apart = apart - tally(other.credits[entry["rule"]], labels, weights).metrics[entry["metric"]]
            assert entry["value"] == pytest.approx(apart[0])
            assert entry["low"] == pytest.approx(np.percentile(apart[1:], 2.5))


def test_a_difference_is_told_in_the_words_of_the_agreement_report_and_never_as_equal(tmp_path):
    lines = random_lines(24)
    a, b = (write_lines(tmp_path / f"{name}.jsonl", lines) for name in "ab")
    found = run_transfer({"a": a, "b": b}, "ferd", num_draws=20, num_permutations=20)
    rows = [line for line in "\n".join(sections(found, FILES)).splitlines() if line.startswith("| a minus ")]
    verdicts = {line.split(" | ")[0][2:]: line.split(" | ")[3].rstrip(" |") for line in rows if "any-hit" in line}
    assert verdicts["a minus b"] == NOT_SEPARATED
    assert verdicts["a minus equal scores"] == "above"
    reverse = {**found, "differences": [{**d, **turned(d)} for d in found["differences"]]}
    assert "| below |" in "\n".join(sections(reverse, FILES))


def turned(entry):
    return {"value": -entry["value"], "low": -entry["high"], "high": -entry["low"]}


FILES = {"confusion": {"a": "confusion_1_a", "b": "confusion_2_b"}}


def test_the_report_says_what_it_may_be_used_for_and_asks_for_groups_where_there_are_none(tmp_path):
    lines = random_lines(8)
    scores = write_lines(tmp_path / "a.jsonl", lines)
    (tmp_path / "persons.csv").write_text("image,group\n" + "".join(f"{x['image_path']},p\n" for x in lines))
    alone = "\n".join(sections(judged(scores), FILES))
    assert "Perceived emotion, as raters see it; says nothing about what a person feels" in alone
    assert "banned in the EU (AI Act, Article 5)" in alone
    asked = "Images of one person are not independent; if several images show one person, give --groups."
    assert asked in alone
    assert asked not in "\n".join(sections(judged(scores, groups=str(tmp_path / "persons.csv")), FILES))


# ---- maps


def test_shipped_maps_cover_the_forty_emotions_and_their_cutoff_is_the_released_one():
    for shipped in (FERD, AFFECTNET):
        assert shipped.heads.tolist() == list(range(40))
        assert set(shipped.head_class.tolist()) == set(range(8))
        assert shipped.cutoff == pytest.approx(0.0375)
    assert FERD.classes[FERD.head_class[TAXONOMY.index("Astonishment/Surprise")]] == "fear"
    assert AFFECTNET.classes[AFFECTNET.head_class[TAXONOMY.index("Astonishment/Surprise")]] == "surprise"


@pytest.mark.parametrize(
    ("name", "label"), [("x/0003_Surprised.jpg", "surprise"), ("a_b\\c_SAD.png", "sad"), ("happy.jpeg", "happy")]
)
def test_the_ferd_label_is_the_last_part_of_the_file_name(name, label):
    assert FERD.classes[FERD.class_of(FERD.label_in_path(name, "here"), "here")] == label


def test_affectnet_numbers_name_the_released_classes():
    names = ["anger", "contempt", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
    for number, name in enumerate(names):
        for spelling in (number, str(number), float(number), name.upper()):
            assert AFFECTNET.classes[AFFECTNET.class_of(spelling, "here")] == name


OWN_MAP = """
name: moods
classes: [Glad, Down, Cross]
cutoff_factor: 1.2
emotions:
  Elation: Glad
  amusement: glad
  Sadness: Down
  Anger: Cross
label:
  field: mood
  aliases: {blue: Down}
"""


def test_a_users_own_map_of_three_classes_uses_only_its_heads(tmp_path):
    (tmp_path / "moods.yaml").write_text(OWN_MAP)
    (tmp_path / "scores.csv").write_text(
        "file,amusement,elation,sadness,anger,mood\n"
        "0001.jpg,0,9,0,0,Glad\n"
        "0002.jpg,2.5,2.5,3,0,blue\n"  # sadness is highest, but two glad heads sum to more
        "0003.jpg,0,0,0,5,cross\n"
        "0004.jpg,4,0,0,0,down\n"
    )
    found = judged(tmp_path / "scores.csv", tmp_path / "moods.yaml", values="mean_subtracted")
    assert found["map"]["cutoff"] == pytest.approx(1.2 / 4)
    assert len(found["map"]["not_mapped"]) == 36
    rules = found["systems"]["scores"]["rules"]
    assert rules["argmax"]["counts"] == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert rules["class_sum"]["counts"] == [[1, 0, 0], [2, 0, 0], [0, 0, 1]]
    assert rules["any_hit"]["accuracy"]["value"] == 0.75
    assert found["images"]["labels"] == "field 'mood' of the scores"


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (OWN_MAP.replace("Sadness", "Sadnes"), "did you mean 'Sadness'"),
        (OWN_MAP.replace("Anger: Cross", "Anger: Cros"), "'Cros' is not among the map's classes; did you mean 'Cross'"),
        (OWN_MAP.replace("blue: Down", "blue: Dawn"), "did you mean 'Down'"),
        (OWN_MAP.replace("classes:", "clases:"), "did you mean 'classes'"),
        (OWN_MAP.replace("amusement:", "elation:"), "mapped twice"),
        (OWN_MAP.replace("amusement:", "Elation :"), "'Elation' stands twice, in lines"),
        (OWN_MAP.replace("1.2", "-1"), "cutoff_factor must be a number above 0"),
        (OWN_MAP.replace("field: mood", "pattern: '_(a)(b)'"), "one group"),
        (OWN_MAP.replace("field: mood", "pattern: '('"), "no regular expression"),
        (OWN_MAP.replace("Glad, Down, Cross", "Glad, glad, Cross"), "different names"),
        ("- just\n- a list", "a mapping"),
        ("a: [", "not YAML"),
    ],
)
def test_a_map_that_is_wrong_is_told_in_one_line(tmp_path, capsys, broken, told):
    (tmp_path / "moods.yaml").write_text(broken)
    line = fails(capsys, 65, "--scores", "x.jsonl", "--map", tmp_path / "moods.yaml", "--out", tmp_path / "out")
    assert told in line
    assert "moods.yaml" in line


def test_an_unknown_map_is_told_with_the_nearest(tmp_path, capsys):
    line = fails(capsys, 66, "--scores", "x.jsonl", "--map", "afectnet", "--out", tmp_path / "out")
    assert "did you mean 'affectnet'" in line


# ---- files


def test_affectnet_lines_with_class_numbers_are_judged_by_their_field(tmp_path):
    labels = [i % 8 for i in range(32)]
    lines = random_lines(32, label=labels)
    scores = write_lines(tmp_path / "affectnet1.jsonl", lines)
    found = judged(scores, "affectnet")
    assert found["images"]["per_class"] == dict.fromkeys(AFFECTNET.classes, 4)
    file = read_score_file(scores, AFFECTNET, TAXONOMY, "scores", None)
    guess = AFFECTNET.head_class[file.scores.argmax(axis=1)]
    accuracy = found["systems"]["affectnet1"]["rules"]["argmax"]["accuracy"]["value"]
    assert accuracy == np.mean(guess == np.array(labels))


def tables(tmp_path, lines):
    """The same scores as `predict` would write them, in every format; names and values of the released lines."""
    import pandas as pd

    rows = [
        {"file": line["image_path"]}
        | {slug: line["results"][f"model_{slug}_best"]["mean_subtracted"] for slug in TAXONOMY.slugs}
        for line in lines
    ]
    table = pd.DataFrame(rows)
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_parquet(tmp_path / "t.parquet", index=False)
    table.to_json(tmp_path / "t.jsonl", orient="records", lines=True, double_precision=15)
    return [tmp_path / f"t.{suffix}" for suffix in ("csv", "parquet", "jsonl")]


def test_tables_of_predict_give_what_the_released_lines_give(tmp_path):
    lines = random_lines()
    expected = judged(write_lines(tmp_path / "a.jsonl", lines))["systems"]["a"]["rules"]
    csv, *others = tables(tmp_path, lines)
    assert judged(csv, values="mean_subtracted")["systems"]["t"]["rules"] == expected
    whole = read_score_file(csv, FERD, TAXONOMY, "mean_subtracted", None)
    for path in others:
        found = read_score_file(path, FERD, TAXONOMY, "mean_subtracted", None)
        assert found.images == whole.images
        assert np.abs(found.scores - whole.scores).max() < 1e-12


def test_raw_scores_and_softmax_of_a_table_give_the_same_scores(tmp_path):
    import pandas as pd

    lines = random_lines(6)
    for kind in ("raw", "softmax"):
        rows = [
            {"file": line["image_path"], **{s: line["results"][f"model_{s}_best"][kind] for s in TAXONOMY.slugs}}
            for line in lines
        ]
        pd.DataFrame(rows).to_csv(tmp_path / f"{kind}.csv", index=False)
    whole = read_score_file(write_lines(tmp_path / "a.jsonl", lines), FERD, TAXONOMY, "scores", None).scores
    raw = read_score_file(tmp_path / "raw.csv", FERD, TAXONOMY, "scores", "released").scores
    shares = read_score_file(tmp_path / "softmax.csv", FERD, TAXONOMY, "softmax", None).scores
    assert np.allclose(raw, whole, atol=1e-12)
    assert np.allclose(mapped_softmax(shares), mapped_softmax(whole), atol=1e-12)


def test_labels_of_a_file_are_joined_by_file_name_and_outrank_the_map(tmp_path):
    scores = write_lines(tmp_path / "a.jsonl", random_lines(4))
    (tmp_path / "labels.csv").write_text(
        "image,label\n"
        + "".join(f"{i:04d}_{n}.jpg,contempt\n" for i, n in enumerate(["Happy", "sad", "SURPRISED", "anger"]))
    )
    found = judged(scores, labels=str(tmp_path / "labels.csv"))["images"]
    assert found["per_class"]["contempt"] == 4
    assert "no image of class 'happy': it is left out of means over classes" in found["notes"]


def test_systems_are_compared_on_the_images_that_all_have(tmp_path):
    one, other = random_lines(24, seed=0), random_lines(24, seed=1)[4:]
    for line in other:
        line["image_path"] = Path(line["image_path"]).name  # another folder
    a, b = write_lines(tmp_path / "a.jsonl", one), write_lines(tmp_path / "b.jsonl", other[::-1])
    assert run("--scores", f"mine={a}", "--scores", f"theirs={b}", "--map", "ferd", "--out", tmp_path / "out") == 0
    found = content(tmp_path / "out")
    assert found["images"]["num_images"] == 20
    assert "4 of the 24 images of 'mine' are left out: another system lacks them" in found["images"]["notes"]
    alone = read_score_file(write_lines(tmp_path / "c.jsonl", other), FERD, TAXONOMY, "scores", None)
    labels = [FERD.class_of(FERD.label_in_path(image, ""), "") for image in alone.images]
    right = np.mean(FERD.head_class[alone.scores.argmax(axis=1)] == labels)
    assert found["systems"]["theirs"]["rules"]["argmax"]["accuracy"]["value"] == right
    assert {"mine", "theirs"} == {name for name, s in found["systems"].items() if s["kind"] == "system"}
    assert "mine minus theirs" in (tmp_path / "out" / "transfer.md").read_text()


def test_persons_are_drawn_whole(tmp_path):
    lines = random_lines(24)
    scores = write_lines(tmp_path / "a.jsonl", lines)
    rows = "".join(f"{line['image_path']},{i // 6}\n" for i, line in enumerate(lines))
    (tmp_path / "persons.csv").write_text("image,group\n" + rows)
    found = judged(scores, groups=str(tmp_path / "persons.csv"))
    assert found["bootstrap"] | {"unit": "group", "num_units": 4} == found["bootstrap"]
    labels = np.array([FERD.class_of(FERD.label_in_path(line["image_path"], ""), "") for line in lines])
    file = read_score_file(scores, FERD, TAXONOMY, "scores", None)
    right = FERD.head_class[file.scores.argmax(axis=1)] == labels
    weights = draws(24, 20, 0, [i // 6 for i in range(24)])
    low = np.percentile((weights @ right / weights.sum(axis=1))[1:], 2.5)
    assert found["systems"]["a"]["rules"]["argmax"]["accuracy"]["low"] == pytest.approx(low)


# ---- errors


def spoil_head(lines, head, kind, value):
    lines[2]["results"][f"model_{head}_best"][kind] = value
    return lines


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (
            lambda x: [*x[:2], {**x[2], "image_path": "faces/0002_hapy.jpg"}],
            ("line 3", "'hapy'", "did you mean 'happy'"),
        ),
        (lambda x: [*x[:2], {**x[2], "image_path": "faces/_.jpg"}], ("line 3", "finds no class", "--labels")),
        (lambda x: spoil_head(x, "anger", "raw", float("nan")), ("line 3", "raw of 'model_anger_best'", "finite")),
        (lambda x: spoil_head(x, "anger", "raw", 10**400), ("line 3", "raw of 'model_anger_best'", "finite")),
        (lambda x: spoil_head(x, "anger", "raw", "high"), ("line 3", "'high' is not a number")),
        (lambda x: spoil_head(x, "anger", "raw", True), ("line 3", "True", "finite number")),
        (lambda x: spoil_head(x, "anger", "raw", None), ("line 3", "no score of 'anger'", "add it")),
        (lambda x: spoil_head(x, "anger", "softmax", 0.5), ("line 3", "softmax of 'anger' is 0.5", "--neutral-means")),
        (lambda x: spoil_head(x, "anger", "mean_subtracted", 9.0), ("line 3", "mean_subtracted of 'anger' is 9")),
        (lambda x: [*x[:2], {**x[2], "results": {}}], ("line 3", "no score of 'amusement'")),
        (lambda x: [*x[:2], {**x[2], "results": None}], ("line 3", "no 'results'")),
        (lambda x: [*x[:3], x[0]], ("line 4", "is there already", "line 1")),
        (lambda x: [*x[:2], {**x[2], "image_path": None}], ("line 3", "name the image")),
        (lambda x: [], ("no rows",)),
    ],
)
def test_a_wrong_line_is_named_with_its_remedy(tmp_path, capsys, spoil, told):
    scores = write_lines(tmp_path / "a.jsonl", spoil(random_lines(4)))
    line = fails(capsys, 65, "--scores", scores, "--map", "ferd", "--out", tmp_path / "out")
    for part in ("a.jsonl", *told):
        assert part in line
    assert not (tmp_path / "out" / "transfer.json").exists()


def test_a_line_cut_short_is_named(tmp_path, capsys):
    scores = write_lines(tmp_path / "a.jsonl", random_lines(4))
    scores.write_text(scores.read_text()[:-200])
    line = fails(capsys, 65, "--scores", scores, "--map", "ferd", "--out", tmp_path / "out")
    assert "a.jsonl, line 4: not a JSON object" in line
    assert "fetch the file again" in line


@pytest.mark.parametrize("damaged", [b'{"image_path": "\xff"}\n', b"[1]\n", b"[" * 100_000 + b"\n", b"nul"])
def test_a_line_that_is_no_json_object_is_named_by_both_readers_of_json_lines(tmp_path, damaged):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(random_lines(1)[0]).encode() + b"\r\n\r\n" + damaged)
    for read in (lambda: read_score_file(path, FERD, TAXONOMY, "scores", None), lambda: open_table(path, {})):
        with pytest.raises(DataError, match=r"a\.jsonl, line 3: not a JSON object"):
            read()


@pytest.mark.parametrize("excess", ["bytes", "line", "lines"])
def test_json_lines_that_no_set_of_faces_needs_are_refused_by_both_readers(tmp_path, monkeypatch, excess):
    path = write_lines(tmp_path / "a.jsonl", random_lines(3))
    if excess == "bytes":
        os.truncate(path, json_lines.MAX_BYTES + 1)  # zeros that take no room, and are not read
        told = "a\\.jsonl: 4,294,967,297 bytes"
    elif excess == "line":
        path.write_bytes(b"{}\n{" + b" " * json_lines.MAX_LINE + b"}\n")
        told = "a\\.jsonl, line 2: longer than 33,554,432 bytes"
    else:
        monkeypatch.setattr(json_lines, "MAX_LINES", 2)
        told = "a\\.jsonl: more than 2 lines"
    with pytest.raises(DataError, match=told):
        read_score_file(path, FERD, TAXONOMY, "scores", None)
    if excess != "line":  # this reader names the empty first one
        with pytest.raises(DataError, match=told):
            open_table(path, {})


def written(pairs):
    """JSON of an object in which a name may stand twice."""
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in pairs) + "}"


@pytest.mark.parametrize("names", [("Elation", "elation"), ("model_elation_best", "elation"), ("elation", "elation")])
@pytest.mark.parametrize("form", ["released", "flat"])
def test_two_scores_of_one_head_in_a_line_are_refused_by_both_readers_of_json_lines(tmp_path, names, form):
    lines = []
    for number in range(3):
        scores = [(slug, "0.5") for slug in TAXONOMY.slugs if slug != "elation"]
        scores += [(name, str(place)) for place, name in enumerate(names if number == 2 else names[:1])]
        if form == "released":
            scores = [("results", written([(name, written([("raw", score)])) for name, score in scores]))]
        lines.append(written([("image", f'"{number}.jpg"'), *scores]))
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=rf"a\.jsonl, line 3: .*'{names[0]}'") as caught:
        read_score_file(path, FERD, TAXONOMY, "mean_subtracted", None)
    assert f"'{names[1]}'" in str(caught.value)
    with pytest.raises(DataError, match=r"a\.jsonl, line 3: .*'elation'"):
        read_scores(path, TAXONOMY, ["0.jpg", "1.jpg", "2.jpg"], "me", value="raw")


@pytest.mark.parametrize(
    ("label", "told"),
    [
        (9, "class '9' is not in map 'affectnet'"),
        (None, "no label"),
        ("suprise", "did you mean 'surprise'"),
        (1.5, "'1.5'"),
    ],
)
def test_a_label_that_is_no_class_is_named(tmp_path, capsys, label, told):
    scores = write_lines(tmp_path / "a.jsonl", random_lines(4, label=[0, 1, label, 2]))
    line = fails(capsys, 65, "--scores", scores, "--map", "affectnet", "--out", tmp_path / "out")
    assert told in line
    assert "a.jsonl, line 3" in line


def test_a_missing_label_field_is_told_with_the_options_that_name_it(tmp_path, capsys):
    scores = write_lines(tmp_path / "a.jsonl", random_lines(4, emotion=[0, 1, 2, 3]))
    line = fails(capsys, 65, "--scores", scores, "--map", "affectnet", "--out", tmp_path / "out")
    assert "line 1: no 'label'" in line
    assert "--label-column" in line
    assert judged(scores, "affectnet", label_column="emotion")["images"]["labels"] == "field 'emotion' of the scores"


def test_an_image_without_a_label_in_the_label_file_is_named(tmp_path, capsys):
    scores = write_lines(tmp_path / "a.jsonl", random_lines(2))
    (tmp_path / "labels.csv").write_text("image,label\n0000_Happy.jpg,happy\n")
    words = ("--scores", scores, "--map", "ferd", "--out", tmp_path / "out", "--labels", tmp_path / "labels.csv")
    assert "no label of image 'faces/0001_sad.jpg'" in fails(capsys, 65, *words)
    (tmp_path / "labels.csv").write_text("image,label\n0000_Happy.jpg,happy\n0000_Happy.jpg,sad\n")
    assert "line 3: image '0000_Happy.jpg' is there twice" in fails(capsys, 65, *words)


def test_raw_scores_of_a_table_need_neutral_means_that_fit(tmp_path, capsys):
    csv = tables(tmp_path, random_lines(4))[0]
    words = ("--scores", csv, "--map", "ferd", "--out", tmp_path / "out")
    assert "--neutral-means" in fails(capsys, 2, *words)
    (tmp_path / "means.json").write_text(json.dumps(dict.fromkeys(TAXONOMY.slugs[:39], 0.1)))
    told = fails(capsys, 65, *words, "--neutral-means", tmp_path / "means.json")
    assert "no neutral mean of 'jealousy_&_envy'" in told


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--scores", "a="), 2, "NAME=FILE"),
        (("--scores", "a=x.jsonl", "--scores", "a=y.jsonl"), 2, "two systems are named 'a'"),
        (("--scores", "absent.jsonl"), 66, "absent.jsonl: no such file"),
        (("--scores", "absent.txt"), 2, "give .jsonl, .csv or .parquet"),
        (("--scores", "absent.jsonl", "--num-draws", "0"), 2, "at least 1"),
        (("--scores", "absent.jsonl", "--seed", "-1"), 2, "--seed -1: at least 0"),
        (("--scores", "absent.jsonl", "--level", "95"), 2, "between 0 and 1"),
    ],
)
def test_options_that_do_not_fit_are_told(tmp_path, capsys, words, code, told):
    assert told in fails(capsys, code, "--map", "ferd", "--out", tmp_path / "out", *words)


def test_a_system_named_as_a_trivial_one_is_refused(tmp_path):
    scores = write_lines(tmp_path / "random scores.jsonl", random_lines(4))
    with pytest.raises(UsageError, match="may not be named 'random scores'"):
        judged(scores)


def test_files_without_one_image_in_common_are_refused(tmp_path, capsys):
    lines = random_lines(4)
    a = write_lines(tmp_path / "a.jsonl", lines[:2])
    b = write_lines(tmp_path / "b.jsonl", lines[2:])
    told = fails(capsys, 65, "--scores", f"a={a}", "--scores", f"b={b}", "--map", "ferd", "--out", tmp_path / "out")
    assert "none of its images is in" in told


def test_a_damaged_parquet_file_is_told(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        read_score_file(tmp_path / "a.parquet", FERD, TAXONOMY, "softmax", None)
