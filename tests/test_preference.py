"""Blind preference study: what judges see tells nothing, planted preferences are found, wrong answers are refused."""

import csv
import json
import stat
from collections import Counter

import numpy as np
import pytest
from scipy import stats
from scipy.stats import binomtest

from emonet_lightning.annotation.bradley_terry import strengths
from emonet_lightning.annotation.pairs import read_pairs
from emonet_lightning.annotation.preference import design, read_key, top_emotions
from emonet_lightning.annotation.preference_analysis import analyse, sign_flip_p
from emonet_lightning.annotation.preference_answers import Answers
from emonet_lightning.annotation.preference_judges import (
    INTERVALS,
    Judges,
    assign,
    choose,
    log_odds_of,
    power,
    simulated_study,
)
from emonet_lightning.cli import main
from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.evaluation.columns import median_rating
from emonet_lightning.evaluation.two_way import clustered_interval
from emonet_lightning.ratings.panel import SystemScores
from emonet_lightning.ratings.panel_files import read_panel
from emonet_lightning.reporting.preference_report import headline
from emonet_lightning.taxonomy import Taxonomy

FORTY = Taxonomy.load("emonet40")
NO_KEY = {"left_out": [{"first": "reference", "second": "subject", "shown": 9, "equal": 0}], "about": "nothing"}


def scores(rows, seed=0):
    """Scores of 40 emotions, about eight of them above 0."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random((rows, 40)) < 0.2, rng.integers(1, 8, (rows, 40)), 0.0)


def write_hq(path, values):
    """Ratings of experts, one row per image and rater, as the released file has them."""
    names = [f"{d.family}|{d.name}" for d in FORTY.dimensions]
    with open(path, "w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["image", "annotator", "human", "annotations"])
        for image, of_image in enumerate(values):
            for rater, levels in enumerate(of_image):
                answers = {names[k]: int(levels[k]) for k in range(40) if levels[k]}
                rows.writerow([f"face-{image:03d}.jpg", f"human-{rater + 1}", True, answers])


def write_scores(path, values):
    lines = [",".join(["image", *FORTY.slugs])]
    lines += [",".join([f"face-{image:03d}.jpg", *map(str, row)]) for image, row in enumerate(values)]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of experts and one model on 60 images, with the files that it was made from."""
    folder = tmp_path_factory.mktemp("study")
    values = np.stack([scores(60, seed) for seed in range(4)], axis=1)
    model = scores(60, 9) - 1.0
    model[7] = np.median(values[7], axis=0)  # equal lists
    model[8] = -1.0  # an empty one
    write_hq(folder / "hq.csv", values)
    write_scores(folder / "model.csv", model[:59])
    arguments = ["--ratings", str(folder / "hq.csv"), "--system", f"model={folder / 'model.csv'}", "--seed", "3"]
    paths = {"pairs": folder / "judges" / "pairs.jsonl", "key": folder / "sealed" / "key.json"}
    code = main(["preference", "design", *arguments, "--out", str(paths["pairs"]), "--key", str(paths["key"])])
    assert code == 0
    return {"folder": folder, "arguments": arguments, "model": model, **paths}


@pytest.fixture
def answer(study, tmp_path):
    """Write answers and analyse them; returns the exit code."""

    def run(lines, header="pair,rater,choice,seconds", **paths):
        (tmp_path / "answers.csv").write_text("\n".join([header, *lines]) + "\n")
        pairs, key = (str(paths.get(name, study[name])) for name in ("pairs", "key"))
        command = ["preference", "analyse", str(tmp_path / "answers.csv"), "--pairs", pairs, "--key", key]
        return main([*command, "--num_draws", "50", "--out", str(tmp_path / "report")])

    return run


def test_lists_have_the_strongest_first_ties_by_alphabet_and_nothing_at_zero():
    names = ["Shame", "Awe", "Relief", "Anger", "Pride", "Doubt", "Fear"]
    values = np.array([2.0, 5.0, 2.0, 0.0, 2.0, -1.0, np.nan])
    assert top_emotions(values, names) == ["Awe", "Pride", "Relief", "Shame"]
    assert top_emotions(values, names, most=2) == ["Awe", "Pride"]
    assert top_emotions(values, names, least=2.0) == ["Awe"]


def test_pairs_hold_the_lists_of_both_systems_and_the_key_tells_whose(study):
    pairs, key = read_pairs(study["pairs"]), read_key(study["key"], study["pairs"])
    panel, _ = read_panel(study["folder"] / "hq.csv", FORTY)
    experts = median_rating(panel.values)
    assert key["left_out"] == [
        {"first": "experts", "second": "model", "shown": 57, "equal": 1, "empty": 1, "not_scored": 1}
    ]
    assert len(pairs) == len(key["pairs"]) == 57
    for name, pair in pairs.items():
        row = panel.images.index(pair.image)
        truth = {
            "experts": top_emotions(experts[row], FORTY.names),
            "model": top_emotions(study["model"][row], FORTY.names),
        }
        secret = key["pairs"][name]
        assert secret["image"] == pair.image
        assert (pair.left, pair.right) == (truth[secret["left"]], truth[secret["right"]])
        assert secret["emotion"] == FORTY.slugs[FORTY.index(truth["experts"][0])]


def test_the_pairs_file_tells_nothing_of_who_is_who(study):
    text = study["pairs"].read_text()
    key = read_key(study["key"], study["pairs"])
    assert "model" not in text
    assert "expert" not in text
    assert all(set(json.loads(line)) == {"pair", "image", "left", "right"} for line in text.splitlines())
    # neither the place in the file, nor the id, goes with the side
    side = np.array([key["pairs"][name]["left"] == "model" for name in read_pairs(study["pairs"])])
    place = np.arange(len(side))
    number = np.array([int(name, 16) for name in read_pairs(study["pairs"])])
    assert abs(np.corrcoef(side, place)[0, 1]) < 0.35
    assert abs(np.corrcoef(side, number)[0, 1]) < 0.35
    assert abs(side.sum() - len(side) / 2) < 1, "half of the sides each"


def test_the_key_is_for_its_owner_alone_and_lies_apart(study, capsys):
    assert stat.S_IMODE(study["key"].stat().st_mode) == 0o600
    assert stat.S_IMODE(study["pairs"].stat().st_mode) & 0o044
    pairs = str(study["folder"] / "judges" / "new.jsonl")
    for key in ("judges/key.json", "judges/deep/key.json"):
        command = ["preference", "design", *study["arguments"], "--out", pairs, "--key", str(study["folder"] / key)]
        assert main(command) == 2
        assert "no judge is given" in capsys.readouterr().err
    again = ["preference", "design", *study["arguments"], "--out", pairs, "--key", str(study["key"])]
    assert main(again) == 2, "a key is never written over"
    assert not (study["folder"] / "judges" / "new.jsonl").exists()


def test_sides_are_repeated_by_their_seed_alone_and_by_nobody_without_one():
    images = [f"i{n}" for n in range(40)]
    systems = [SystemScores("a", scores(40, 1)), SystemScores("b", scores(40, 2))]
    first, again, other, drawn, drawn_again = (
        design(images, systems, FORTY, seed=seed) for seed in (5, 5, 6, None, None)
    )
    assert first == again
    assert first.pairs != other.pairs
    assert [pair.image for pair in first.pairs] != images, "not in the order of the images"
    assert drawn.key["seed"] != drawn_again.key["seed"]
    few = design(images, systems, FORTY, seed=5, num_images=10)
    assert len({pair.image for pair in few.pairs}) == 10
    with pytest.raises(UsageError, match="two or more systems"):
        design(images, systems[:1], FORTY)
    with pytest.raises(DataError, match="no image has two lists"):
        design(images, [systems[0], SystemScores("c", systems[0].scores)], FORTY)


def test_images_are_sorted_under_their_prompt_where_it_is_known_and_empty_lists_shown_on_request():
    images = ["x", "y"]
    one, two = scores(2, 1), scores(2, 2)
    two[0] = 0
    systems = [SystemScores("a", one), SystemScores("b", two)]
    shown = design(images, systems, FORTY, prompted=["anger", "awe"], show_empty=True, seed=0)
    assert {(e["image"], e["emotion"]) for e in shown.key["pairs"].values()} == {("x", "anger"), ("y", "awe")}
    assert [] in [side for pair in shown.pairs for side in (pair.left, pair.right)]
    assert len(design(images, systems, FORTY, seed=0).pairs) == 1


def test_wrong_answers_are_one_line_that_names_the_fault(study, answer, tmp_path, capsys):
    one, two = list(read_pairs(study["pairs"]))[:2]
    wrong = {
        (f"{one},anna,left,3", "ffffffffff,anna,right,3"): "line 3: no pair 'ffffffffff' in this study",
        (f"{one},anna,left,3", f"{one},anna,right,4"): f"line 3: 'anna' answered pair '{one}' in line 2, too; keep one",
        (f"{one},anna,middle,3",): "line 2: choice is 'middle'; write left or right",
        (f"{one},anna,,3",): "line 2: no choice; write left or right",
        (f"{one},,left,3",): "line 2: no rater",
        (f"{one},anna,left,-1",): "line 2: seconds is '-1'",
        (): "a header but no rows",
    }
    for lines, message in wrong.items():
        assert answer(lines) == 65, message
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert answer([f"{one},anna,left"], header="pair,who,choice") == 65
    assert "no column 'rater'" in capsys.readouterr().err
    assert not (tmp_path / "report" / "preference.json").exists()
    assert answer([f"{one},anna,left", f"{two},bob,right"], header="Pair,Rater,Choice") == 0, "durations are optional"


def test_a_key_that_is_missing_changed_or_of_other_pairs_is_refused(study, answer, tmp_path, capsys):
    line = f"{next(iter(read_pairs(study['pairs'])))},anna,left,3"
    assert answer([line], key=tmp_path / "none.json") == 66
    other = [study["folder"] / name for name in ("others/pairs.jsonl", "other_key/key.json")]
    if not other[0].exists():
        command = [
            "preference",
            "design",
            *study["arguments"][:-1],
            "4",
            "--out",
            str(other[0]),
            "--key",
            str(other[1]),
        ]
        assert main(command) == 0
    capsys.readouterr()
    assert answer([line], key=other[1]) == 65
    assert "is the key of other pairs" in capsys.readouterr().err
    changed = tmp_path / "changed.json"
    changed.write_text(study["key"].read_text().replace('"left": "model"', '"left": "experts"', 1))
    assert answer([line], key=changed) == 65
    assert "content changed" in capsys.readouterr().err
    turned = tmp_path / "pairs.jsonl"
    turned.write_text(study["pairs"].read_text().replace('"left"', '"l"').replace('"l"', '"left"') + "\n{}\n")
    assert answer([line], pairs=turned) == 65
    (tmp_path / "odd.json").write_text("{}")
    assert answer([line], key=tmp_path / "odd.json") == 65


def test_the_share_counts_the_system_and_not_the_side(study, answer, tmp_path):
    key = read_key(study["key"], study["pairs"])["pairs"]
    lines = []
    for number, (pair, secret) in enumerate(key.items()):
        wanted = "model" if number % 4 == 0 else "experts"
        lines += [f"{pair},{who},{'left' if secret['left'] == wanted else 'right'},2.5" for who in ("anna", "bob")]
        lines.append(f"{pair},carl,left,0.2")
    assert answer(lines) == 0
    found = json.loads((tmp_path / "report" / "preference.json").read_text())
    assert (found["subject"], found["reference"]) == ("model", "experts")
    by_judge = {row["rater"]: row for row in found["judges"]}
    assert by_judge["anna"]["count"] == by_judge["bob"]["count"] == 15
    assert by_judge["carl"]["left"]["value"] == 1.0
    assert by_judge["carl"]["left_p_holm"] < 1e-6 < 0.5 < by_judge["anna"]["left_p_holm"]
    lefts = sum(secret["left"] == "model" for secret in key.values())
    assert found["overall"]["count"] == 30 + lefts
    assert found["overall"]["n"] == 171
    assert found["overall"]["equal_half"] == pytest.approx((found["overall"]["value"] * 57 + 0.5) / 58)
    assert by_judge["carl"]["seconds"]["num_hasty"] == 57
    assert found["seconds"]["median"] == 2.5
    counts = Counter(secret["emotion"] for secret in key.values())
    assert {row["emotion"]: row["n"] for row in found["emotions"]} == {slug: 3 * n for slug, n in counts.items()}
    text = (tmp_path / "report" / "preference.md").read_text()
    assert f"preferred to 'experts' in {found['overall']['value']:.1%} of comparisons (n = 171" in text
    for figure in ("preference_emotions", "preference_judges"):
        assert (tmp_path / "report" / "figures" / f"{figure}.png").stat().st_size > 10_000


def test_judges_who_agree_have_alpha_one_and_coins_have_none():
    answers = simulated_study(300, 2, 0.5, Judges(2, image_sd=0.0, judge_sd=0.0), np.random.default_rng(0))
    coins = analyse(answers, NO_KEY, num_draws=20)["agreement"]
    assert abs(coins["alpha"]) < 0.12
    alike = answers._replace(chose_left=answers.image % 3 == answers.left)
    same = analyse(alike, NO_KEY, num_draws=20)["agreement"]
    assert (same["alpha"], same["same_choice"], same["num_pairs"]) == (1.0, 1.0, 300)
    liked = simulated_study(300, 2, 0.9, Judges(2, image_sd=0.0, judge_sd=0.0), np.random.default_rng(0))
    assert analyse(liked, NO_KEY, num_draws=20)["agreement"]["alpha"] < 0.2, "all like one system: chance agreement"
    strong = simulated_study(300, 2, 0.5, Judges(2, image_sd=6.0, judge_sd=0.0), np.random.default_rng(0))
    assert analyse(strong, NO_KEY, num_draws=20)["agreement"]["alpha"] > 0.4, "images decide"


def test_one_judge_leaves_the_judges_out_of_the_draws():
    answers = simulated_study(80, 1, 0.4, Judges(1, judge_sd=0.0), np.random.default_rng(1))
    found = analyse(answers, NO_KEY, num_draws=300)
    assert found["agreement"] == {"num_pairs": 0, "same_choice": None, "alpha": None}
    own = found["overall"]
    assert own["crossed"]["high"] - own["crossed"]["low"] == pytest.approx(own["high"] - own["low"], rel=0.25)


def test_a_planted_preference_and_its_emotions_are_found():
    """Emotion 0 is liked, emotion 1 is not; the rest are even."""
    rng = np.random.default_rng(4)
    people = Judges(5, image_sd=0.3, judge_sd=0.1)
    answers = simulated_study(400, 5, 0.5, people, rng)
    emotion = answers.image % 8
    liked = np.array([1.6, -1.6, *[0.0] * 6])[emotion]
    odds = np.where(answers.left == 1, liked, -liked)
    answers = answers._replace(
        emotion=emotion, emotions=[str(n) for n in range(8)], chose_left=rng.random(len(odds)) < 1 / (1 + np.exp(-odds))
    )
    found = analyse(answers, NO_KEY, num_draws=200)
    rows = {row["emotion"]: row for row in found["emotions"]}
    assert rows["0"]["p_holm"] < 0.01 < rows["0"]["value"] - 0.7
    assert rows["1"]["p_holm"] < 0.01
    assert rows["1"]["value"] < 0.3
    assert min(rows[str(n)]["p_holm"] for n in range(2, 8)) > 0.05
    assert found["overall"]["low"] < 0.5 < found["overall"]["high"]
    least = min(rows.values(), key=lambda row: row["p"])
    assert least["p_holm"] == pytest.approx(8 * least["p"]), "corrected for eight emotions"


def test_sign_flips_count_images_and_not_answers():
    image = np.repeat(np.arange(3), 50)
    assert sign_flip_p(np.ones(150, dtype=bool), image) == pytest.approx(0.25), "2 of 2^3 flips are as far from even"
    assert sign_flip_p(np.ones(20, dtype=bool), np.arange(20)) <= 0.001
    assert sign_flip_p(np.arange(20) % 2 == 0, np.arange(20)) == pytest.approx(1.0)
    assert sign_flip_p(np.ones(9, dtype=bool), np.zeros(9, dtype=int)) is None


def test_a_planted_habit_of_one_side_is_found_and_turns_no_preference():
    people = Judges(6, image_sd=0.2, judge_sd=0.0, side=0.6)
    answers = simulated_study(300, 4, 0.35, people, np.random.default_rng(2))
    found = analyse(answers, NO_KEY, num_draws=50)
    assert found["side"]["p"] < 1e-6
    assert found["side"]["left"]["value"] > 0.58
    assert found["overall"]["value"] == pytest.approx(0.36, abs=0.05)
    fair = analyse(
        simulated_study(300, 4, 0.35, people._replace(side=0.0), np.random.default_rng(2)), NO_KEY, num_draws=50
    )
    assert fair["side"]["p"] > 0.05


@pytest.mark.parametrize(("preference", "spread"), [(0.3, 0.0), (0.3, 1.5), (0.77, 0.6)])
def test_log_odds_give_the_planted_share_on_average(preference, spread):
    mean = log_odds_of(preference, spread)
    drawn = mean + spread * np.random.default_rng(0).normal(size=400_000)
    assert (1 / (1 + np.exp(-drawn))).mean() == pytest.approx(preference, abs=0.002)


def test_careless_judges_have_no_preference():
    people = Judges(5, image_sd=0.0, judge_sd=0.0)
    shares = [
        (simulated_study(2000, 2, 0.2, people._replace(careless=share), np.random.default_rng(0)).winner == 1).mean()
        for share in (0.0, 0.5, 1.0)
    ]
    assert shares == pytest.approx([0.2, 0.35, 0.5], abs=0.025)


def four_systems(num_images=150, seed=0, side=0.0):
    """Answers on all pairs of four systems of known strengths."""
    rng = np.random.default_rng(seed)
    planted = np.array([0.9, 0.2, -0.3, -0.8])
    couples = [(a, b) for a in range(4) for b in range(a + 1, 4)]
    left, right = np.array([couples[n % 6] for n in range(6 * num_images)]).T
    turned = rng.random(len(left)) < 0.5
    left, right = np.where(turned, right, left), np.where(turned, left, right)
    pair, rater = assign(len(left), 2, 4, rng)
    image = pair // 6
    chosen = choose(left[pair], right[pair], image, rater, planted, Judges(4, 0.2, 0.1, side), rng)
    answers = Answers(
        pair, image, rater, left[pair], right[pair], chosen, np.zeros(len(pair), dtype=int), np.full(len(pair), np.nan),
        [str(n) for n in range(len(left))], [str(n) for n in range(num_images)], list("abcd"), list("wxyz"), ["any"],
    )  # fmt: skip
    return answers, planted


def test_strengths_of_four_systems_are_found_whatever_the_side():
    answers, planted = four_systems(side=0.8)
    key = {"about": "", "left_out": [{"first": "w", "second": "x", "shown": 150, "equal": 0}]}
    found = analyse(answers, key, num_draws=60)
    values = [row["value"] for row in found["strengths"]]
    assert np.abs(np.array(values) - planted + planted.mean()).max() < 0.25
    assert all(row["low"] < row["value"] < row["high"] for row in found["strengths"])
    assert len(found["pairwise"]) == 6
    assert found["pairwise"][2]["value"] > 0.7, "the best against the worst"
    once = strengths(answers.left, answers.right, answers.chose_left, 4, np.ones((1, len(answers.left))))
    assert once[0] == pytest.approx(values)
    assert once.sum() == pytest.approx(0)


def test_a_habit_of_one_side_is_no_strength_of_the_system_that_stands_there():
    rng = np.random.default_rng(1)
    left = (rng.random(3000) > 0.8).astype(int)  # system 0 mostly
    chosen = choose(left, 1 - left, np.arange(3000), np.zeros(3000, dtype=int), np.zeros(2), Judges(1, 0, 0, 1.0), rng)
    assert np.abs(strengths(left, 1 - left, chosen, 2, np.ones((1, 3000)))).max() < 0.12


def test_a_system_that_wins_all_has_a_finite_strength():
    left, right = np.array([0, 1] * 20), np.array([1, 0] * 20)
    found = strengths(left, right, left == 0, 2, np.ones((1, 40)))[0]
    assert 2 < found[0] < 10


def test_power_rises_and_intervals_shrink_with_images_and_width_is_that_of_wilson():
    people = Judges(8, image_sd=0.0, judge_sd=0.0)
    small, large = power(0.35, [40, 160], 1, people, num_studies=40, num_draws=60)
    for kind in ("wilson", "clustered", "crossed"):
        assert large[kind]["width"] < 0.65 * small[kind]["width"]
        assert large[kind]["power"]["value"] > small[kind]["power"]["value"]
    # normal approximation of the width
    assert large["wilson"]["width"] == pytest.approx(2 * 1.96 * np.sqrt(0.35 * 0.65 / 160), rel=0.08)
    assert large["wilson"]["power"]["value"] > 0.85


def test_intervals_cover_what_they_say_they_cover():
    """Quick form: independent answers are covered by Wilson; judges who differ by the crossed interval alone."""
    alike = power(0.4, [120], 2, Judges(8, image_sd=0.0, judge_sd=0.0), num_studies=150, num_draws=80)[0]
    assert alike["wilson"]["coverage"]["value"] > 0.9
    differ = power(0.4, [250], 4, Judges(12, image_sd=0.5, judge_sd=0.6), num_studies=60, num_draws=80)[0]
    assert differ["wilson"]["coverage"]["value"] < 0.75
    assert differ["clustered"]["coverage"]["value"] > 0.85
    assert differ["crossed"]["coverage"]["value"] > 0.85


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_judges", "judge_sd", "clustered", "crossed"),
    [
        (20, 0.3, (0.91, 0.98), (0.97, 1.0)),
        (8, 0.3, (0.90, 0.98), (0.95, 1.0)),
        (4, 0.3, (0.87, 0.95), (0.90, 0.98)),
        (8, 0.8, (0.90, 0.96), (0.84, 0.93)),
        (4, 0.8, (0.88, 0.96), (0.75, 0.87)),
    ],
)
def test_intervals_for_other_images_and_judges_cover_them(num_judges, judge_sd, clustered, crossed):
    """A minute or two each; few judges who differ much are hard for any interval."""
    people = Judges(num_judges, image_sd=0.5, judge_sd=judge_sd)
    (found,) = power(0.3, [250], 2, people, num_studies=600, num_draws=300)
    covers = {kind: found[kind]["coverage"]["value"] for kind in INTERVALS}
    print(num_judges, judge_sd, covers, {kind: round(found[kind]["width"], 3) for kind in INTERVALS})
    assert clustered[0] <= covers["clustered"] <= clustered[1]
    assert crossed[0] <= covers["crossed"] <= crossed[1]
    assert covers["wilson"] < covers["clustered"]


def test_clustered_interval_is_that_of_wilson_for_independent_answers_and_wider_for_few_judges():
    rng = np.random.default_rng(0)
    hits, each = rng.random(400) < 0.3, np.arange(400)
    alone = clustered_interval(hits, each, each)
    pooled = binomtest(int(hits.sum()), 400).proportion_ci(0.95, method="wilson")
    assert alone == pytest.approx((pooled.low, pooled.high), abs=0.004)
    # all answers of an image the same: as many cases as images
    same = clustered_interval(np.repeat(hits[:100], 4), np.repeat(each[:100], 4), np.tile(each[:4], 100))
    once = clustered_interval(hits[:100], each[:100], each[:100])
    assert same == pytest.approx(once, abs=0.01)
    # four judges, each always of one mind
    minds = np.tile([True, False, False, True], 100)
    low, high = clustered_interval(minds, np.repeat(each[:100], 4), np.tile(each[:4], 100))
    # t with three degrees of freedom, variance of a mean of four minds 1/12, on the log-odds
    assert low == pytest.approx(1 / (1 + np.exp(stats.t.ppf(0.975, 3) / np.sqrt(12) / 0.25)), abs=0.002)
    assert high == pytest.approx(1 - low)
    assert clustered_interval(hits[:5], each[:5] * 0, each[:5]) == (0.0, 1.0), "one image"
    assert clustered_interval(np.ones(40, dtype=bool), np.repeat(each[:10], 4), each[:40])[0] == pytest.approx(
        binomtest(10, 10).proportion_ci(0.95, method="wilson").low
    )


def test_simulated_judges_answer_a_study_and_the_analysis_finds_what_was_planted(study, tmp_path, capsys):
    common = ["--pairs", str(study["pairs"]), "--key", str(study["key"])]
    answers = str(tmp_path / "answers.csv")
    people = ["--judges", "12", "--image_sd", "0", "--judge_sd", "0", "--out", answers]
    assert main(["preference", "simulate", *common, *people, "--preference", "0.3"]) == 0
    assert main(["preference", "analyse", answers, *common, "--num_draws", "100", "--out", str(tmp_path / "r")]) == 0
    found = json.loads((tmp_path / "r" / "preference.json").read_text())
    assert found["overall"]["n"] == 57 * 12
    assert found["overall"]["low"] < 0.3 < found["overall"]["high"]
    assert "'model' was preferred to 'experts' in" in capsys.readouterr().out
    one = {**found, "overall": {**found["overall"], "num_judges": 1}}
    assert "other images and judges [" in headline(found)
    assert "other images, this judge [" in headline(one)
    swapped = ["--subject", "experts", "--reference", "model", "--out", str(tmp_path / "s"), "--num_draws", "100"]
    assert main(["preference", "analyse", answers, *common, *swapped]) == 0
    other = json.loads((tmp_path / "s" / "preference.json").read_text())
    assert other["overall"]["value"] == pytest.approx(1 - found["overall"]["value"])
    assert main(["preference", "simulate", *common, *people, "--strengths", "model=-20,experts=0"]) == 0
    assert main(["preference", "analyse", answers, *common, "--num_draws", "20", "--out", str(tmp_path / "t")]) == 0
    assert json.loads((tmp_path / "t" / "preference.json").read_text())["overall"]["value"] == 0
    for wrong in (["--preference", "1.2"], [], ["--strengths", "modell=1"], ["--preference", "0.5", "--judges", "0"]):
        assert main(["preference", "simulate", *common, "--out", answers, *wrong]) == 2
    assert main(["preference", "analyse", answers, *common, "--subject", "modle", "--out", answers + "x"]) == 2
    assert "did you mean 'model'?" in capsys.readouterr().err


def test_power_is_told_before_a_study(tmp_path, capsys):
    command = ["preference", "power", "--preference", "0.3", "--images", "[30, 120]", "--num_studies", "20"]
    options = ["--num_draws", "40", "--judges", "8", "--judge_sd", "0.1", "--progress", "false"]
    assert main([*command, *options, "--out", str(tmp_path)]) == 0
    assert "a power of 80%: 120 images (120 comparisons)" in capsys.readouterr().out
    found = json.loads((tmp_path / "power.json").read_text())
    assert [row["num_images"] for row in found["sizes"]] == [30, 120]
    assert (tmp_path / "figures" / "power.png").stat().st_size > 10_000
    assert main([*command, "--per_image", "9"]) == 2
    assert main(["preference", "power", "--preference", "0"]) == 2
