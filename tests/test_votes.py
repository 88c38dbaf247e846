"""`evaluate votes`: outcomes, agreement, contrast pairs, ambiguous questions, targets of each rule."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from emonet_lightning.cli import main
from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.evaluation.vote_file import read_votes
from emonet_lightning.evaluation.votes import describe_votes
from emonet_lightning.ratings.consensus import CONSENSUS, DECISIONS, binary_questions, label_votes
from emonet_lightning.taxonomy import Taxonomy

FORTY = Taxonomy.load("emonet40")
HEADER = "path,annotator,value,emotion"


def write(path, *lines, header=HEADER):
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def released_like(path):
    """Seven images voted on as the released set; anger is the contrast of elation, awe of shame."""
    target_votes = {0: "TTT", 1: "TTF", 2: "TF", 3: "F", 4: "T", 5: "TTT", 6: "TTF"}
    lines = []
    for image, pattern in target_votes.items():
        target, contrast = ("Elation", "Anger") if image < 5 else ("Shame", "Awe")
        lines += [f"{image},expert{number},{vote == 'T'},{target}" for number, vote in enumerate(pattern)]
        lines.append(f"{image},checker,{image == 1},{contrast}")
    return write(path, *lines)


def described(path, **options):
    return describe_votes(read_votes(path, FORTY), FORTY, **options)


@pytest.fixture(scope="module")
def released(real_data):
    return described(real_data / "binary.csv")


def counts(outcomes):
    return {key: share["count"] for key, share in outcomes.items()}


def test_the_released_votes_have_the_published_totals(released):
    votes = released["votes"]
    assert (votes["num_votes"], votes["num_images"], votes["num_yes"], votes["num_no"]) == (
        65_686,
        19_999,
        37_800,
        27_886,
    )
    assert released["structure"]["holds"]
    assert released["structure"]["questions_per_image"] == {"2": 19_999}
    assert counts(released["total"]["outcomes"]) == {
        "three_yes": 9_075,
        "two_yes_then_no": 1_943,
        "yes_then_no": 3_652,
        "no": 3_433,
        "yes_only": 1_896,
        "contrast_no": 18_858,
        "contrast_yes": 1_141,
    }
    assert counts(released["total"]["agreement"]) == {"full": 9_075, "partial": 1_943, "disagreement": 3_652}
    assert {share["n"] for share in released["total"]["agreement"].values()} == {14_670}
    assert votes["notes"] == ["'Hopelessness' is read as 'Helplessness'"]


TABLE = {
    "Anger": ("Contentment", 500, 16, 15, 76, 356, 37, 504, 498, 6, 1142),
    "Elation": ("Sadness", 500, 450, 3, 3, 5, 39, 500, 492, 8, 1909),
    "Hope/Enthusiasm/Optimism": ("Helplessness", 500, 412, 11, 21, 8, 48, 500, 452, 48, 1867),
    "Helplessness": ("Hope/Enthusiasm/Optimism", 500, 123, 74, 162, 100, 41, 500, 491, 9, 1556),
    "Sexual Lust": ("Shame", 500, 1, 11, 82, 391, 15, 499, 489, 10, 1105),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_released_votes_of_an_emotion_have_the_published_outcomes(released, name):
    partner, targets, *target_outcomes, contrasts, contrast_no, contrast_yes, num_votes = TABLE[name]
    row = next(row for row in released["emotions"] if row["name"] == name)
    assert (row["num_targets"], row["num_contrasts"], row["num_votes"]) == (targets, contrasts, num_votes)
    assert list(counts(row["outcomes"]).values()) == [*target_outcomes, contrast_no, contrast_yes]
    slug = FORTY.slugs[FORTY.index(partner)]
    pair = next(pair["emotions"] for pair in released["contrast_pairs"]["pairs"] if row["slug"] in pair["emotions"])
    assert set(pair) == {row["slug"], slug}


def test_the_released_contrast_pairs_are_one_to_one_without_exception(released):
    pairs = released["contrast_pairs"]
    assert pairs["holds"]
    assert (pairs["num_pairs"], pairs["num_exceptions"], pairs["unpaired"]) == (20, 0, [])
    assert sorted(slug for pair in pairs["pairs"] for slug in pair["emotions"]) == sorted(FORTY.slugs)
    assert sum(pair["num_images"] for pair in pairs["pairs"]) == 19_999


def test_ambiguous_images_of_the_released_set_are_counted_and_their_rule_stated(released):
    ambiguous = released["ambiguous"]
    assert ambiguous["decided"] == {
        "asked_more_than_once": 14_670,
        "raters": 4_912,
        "yes_is_contrast": 58,
        "file_order": 359,
    }
    assert (ambiguous["num_images"], len(ambiguous["images"])) == (359, 359)
    assert ambiguous["evidence"] == {"num_images": 2_520, "num_target_first": 2_520}
    assert sum(count["as_target"] for count in ambiguous["per_emotion"].values()) == 359
    assert sum(count["as_contrast"] for count in ambiguous["per_emotion"].values()) == 359
    assert {498, 504} == {f(row["num_targets"] for row in released["emotions"]) for f in (min, max)}


def test_targets_of_the_released_votes_by_each_rule(released):
    found = {
        rule: tuple(part[key] for key in ("yes", "no", "between", "masked"))
        for rule, part in released["total"]["targets"].items()
    }
    nobody, ties = 18_858 + 3_433, 3_652
    majority = 9_075 + 1_943 + 1_896 + 1_141
    assert found == {
        "triple_yes": (9_075, nobody, 0, 39_998 - 9_075 - nobody),
        "majority": (majority, nobody + ties, 0, 0),
        "mean": (9_075 + 1_896 + 1_141, nobody, 1_943 + ties, 0),
        "drop_ties": (majority, nobody, 0, ties),
    }
    mean = 7 * (9_075 + 1_896 + 1_141 + 1_943 * 2 / 3 + ties / 2) / 39_998
    assert released["total"]["targets"]["mean"]["mean_target"]["value"] == pytest.approx(mean, abs=1e-12)
    for row in [released["total"], *released["emotions"]]:
        for part in row["targets"].values():
            assert sum(part[key] for key in ("yes", "no", "between", "masked")) == row["num_questions"]
            target = part["mean_target"]
            assert 0 <= target["low"] <= target["value"] <= target["high"] <= 7


def test_raters_of_the_released_votes(released):
    voted = {rater["name"]: rater["num_votes"] for rater in released["raters"]}
    expected = [15_875, 6_629, 7_999, 18_278, 4_000, 8_905, 4_000]
    assert voted == {f"human-{number}": count for number, count in enumerate(expected, 1)}
    targets = {rater["name"] for rater in released["raters"] if rater["on_targets"]["n"]}
    contrasts = {rater["name"] for rater in released["raters"] if rater["on_contrasts"]["n"]}
    assert targets == {"human-1", "human-2", "human-4", "human-6"}
    assert contrasts == {"human-3", "human-4", "human-5", "human-7"}


def test_wilson_intervals_stand_beside_shares(tmp_path):
    found = described(released_like(tmp_path / "v.csv"))
    share = found["total"]["outcomes"]["three_yes"]
    k, n, z = 2, 7, 1.959963984540054
    middle, half = (k + z**2 / 2) / (n + z**2), z / (n + z**2) * np.sqrt(k * (n - k) / n + z**2 / 4)
    assert (share["count"], share["n"], share["value"]) == (k, n, k / n)
    assert (share["low"], share["high"]) == pytest.approx((middle - half, middle + half))
    never = next(row for row in found["emotions"] if row["slug"] == "awe")["outcomes"]["three_yes"]
    assert never == {"count": 0, "n": 0, "value": None, "low": None, "high": None}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("9,expert0,True,Elation", "1 question(s)"),
        ("3,expert0,False,Shame", "3 question(s)"),
        ("3,checker2,False,Anger", "target with 0 yes and 2 no"),
        ("1,checker2,True,Anger", "second question with 2 votes"),
    ],
)
def test_one_image_asked_otherwise_is_named_and_outcomes_become_general(tmp_path, line, why):
    path = released_like(tmp_path / "v.csv")
    assert described(path)["structure"]["holds"]
    path.write_text(path.read_text() + line + "\n")
    found = described(path)
    assert found["structure"]["exceptions"] == [{"image": line[0], "why": why}]
    assert (found["contrast_pairs"], found["ambiguous"]) == (None, None)
    assert "tie" in found["outcomes"]
    assert sum(share["count"] for share in found["total"]["outcomes"].values()) == found["votes"]["num_questions"]


def test_an_image_with_another_pair_is_an_exception_and_named(tmp_path):
    path = released_like(tmp_path / "v.csv")
    path.write_text(path.read_text() + "odd,expert0,False,Elation\nodd,checker,False,Shame\n")
    pairs = described(path)["contrast_pairs"]
    assert not pairs["holds"]
    assert pairs["exceptions"] == [{"image": "odd", "emotions": ["elation", "shame"]}]
    assert [pair["emotions"] for pair in pairs["pairs"]] == [["elation", "anger"], ["awe", "shame"]]


def decisions(path, prompted=None):
    ratings = read_votes(path, FORTY)
    questions = binary_questions(ratings.ratings, prompted, ratings.place)
    told = {}
    for row, slug, is_target, decided in zip(
        questions.row, questions.slug_index, questions.is_target, questions.decided, strict=True
    ):
        if is_target:
            told[ratings.ratings.keys[row]] = (FORTY.slugs[slug], DECISIONS[decided])
    return told


def test_what_tells_target_from_contrast(tmp_path):
    lines = [
        "0,a,True,Anger", "0,b,False,Anger", "0,c,False,Contentment",  # a and b see targets, c contrasts
        "1,c,False,Contentment", "1,a,False,Anger",
        "2,d,True,Contentment", "2,d,False,Anger",
        "3,d,False,Anger", "3,d,False,Contentment",
        "4,d,False,Contentment", "4,d,False,Anger",
        "5,d,True,Contentment",
    ]  # fmt: skip
    path = write(tmp_path / "v.csv", *lines)
    assert decisions(path) == {
        "0": ("anger", "asked_more_than_once"),
        "1": ("anger", "raters"),
        "2": ("anger", "yes_is_contrast"),
        "3": ("anger", "file_order"),
        "4": ("contentment", "file_order"),
        "5": ("contentment", "only_question"),
    }
    by_prompt = decisions(path, [None, "contentment", "contentment", None, "anger", "contentment"])
    assert by_prompt["1"] == ("contentment", "prompted")
    assert by_prompt["2"] == ("contentment", "prompted")
    assert by_prompt["4"] == ("anger", "prompted")
    assert by_prompt["3"] == ("anger", "file_order")


def test_a_column_may_say_what_the_image_was_made_for(tmp_path):
    lines = ["0,d,False,Anger,Contentment", "0,d,False,Contentment,Contentment"]
    path = write(tmp_path / "v.csv", *lines, header=HEADER + ",made_for")
    questions = read_votes(path, FORTY, {"prompted": "made_for"}).questions
    assert [FORTY.slugs[k] for k in questions.slug_index[questions.is_target]] == ["contentment"]
    assert not questions.ambiguous.any()


# TTT, TTF, TF, F, T, TTFF, FFFT, TT, nobody asked
YES = [3, 2, 1, 0, 1, 2, 1, 2, 0]
NO = [0, 1, 1, 1, 0, 2, 3, 0, 0]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("triple_yes", [1, None, None, 0, None, None, None, None, None]),
        ("majority", [1, 1, 0, 0, 1, 0, 0, 1, None]),
        ("mean", [1, 2 / 3, 0.5, 0, 1, 0.5, 0.25, 1, None]),
        ("drop_ties", [1, 1, None, 0, 1, None, 0, 1, None]),
    ],
)
def test_labels_of_each_rule(rule, expected):
    labels = label_votes(np.array(YES), np.array(NO), rule)
    assert [float(s) if m else None for s, m in zip(labels.share, labels.mask, strict=True)] == expected
    target = labels.target(5.0, 1.0)
    assert all(t == pytest.approx(1 + 4 * (s or 0)) for t, s in zip(target, expected, strict=True))


votes_of_questions = st.integers(1, 30).flatmap(
    lambda n: st.tuples(*[arrays.arrays(np.int64, n, elements=st.integers(0, 6))] * 2)
)


@given(votes_of_questions)
def test_rules_agree_with_each_other(counted):
    yes, no = counted
    labels = {rule: label_votes(yes, no, rule) for rule in CONSENSUS}
    asked = yes + no > 0
    for found in labels.values():
        assert ((found.share >= 0) & (found.share <= 1)).all()
        assert not found.mask[~asked].any()
        assert (found.share[~found.mask] == 0).all()
    assert (labels["majority"].mask == asked).all()
    assert (labels["mean"].mask == asked).all()
    tie = asked & (yes == no)
    assert (labels["drop_ties"].mask == asked & ~tie).all()
    kept = labels["drop_ties"].mask
    np.testing.assert_array_equal(labels["drop_ties"].share[kept], labels["majority"].share[kept])
    sure = labels["triple_yes"].mask  # where three say yes and nobody no, or nobody yes, all rules say the same
    for found in labels.values():
        np.testing.assert_array_equal(found.share[sure], labels["triple_yes"].share[sure])
    swapped = label_votes(no, yes, "mean")
    np.testing.assert_allclose(swapped.share[asked], 1 - labels["mean"].share[asked])


@given(votes_of_questions, st.sampled_from(["mask", "yes", "no", "fraction"]))
def test_what_is_unconfirmed_changes_triple_yes_alone(counted, unconfirmed):
    yes, no = counted
    for rule in ("majority", "mean", "drop_ties"):
        plain, other = label_votes(yes, no, rule), label_votes(yes, no, rule, unconfirmed)
        np.testing.assert_array_equal(plain.share, other.share)
        np.testing.assert_array_equal(plain.mask, other.mask)
    sure, found = label_votes(yes, no, "triple_yes"), label_votes(yes, no, "triple_yes", unconfirmed)
    np.testing.assert_array_equal(found.share[sure.mask], sure.share[sure.mask])
    assert (found.mask == (sure.mask if unconfirmed == "mask" else yes + no > 0)).all()


def test_values_of_yes_and_no_are_options(tmp_path):
    path = released_like(tmp_path / "v.csv")
    default, other = described(path), described(path, yes_value=5.0, no_value=1.0)
    for rule in CONSENSUS:
        a, b = (found["total"]["targets"][rule]["mean_target"] for found in (default, other))
        assert [b[key] for key in ("value", "low", "high")] == pytest.approx(
            [1 + a[key] * 4 / 7 for key in ("value", "low", "high")]
        )
    with pytest.raises(UsageError, match=r"--yes_value: 8.0 is outside the taxonomy's levels 0\.\.7"):
        described(path, yes_value=8.0)
    with pytest.raises(UsageError, match=r"--yes_value: 2\.0 is not above --no_value 3\.0"):
        described(path, yes_value=2.0, no_value=3.0)


ROW = "0,a,True,Anger"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty; a header line"),
        (HEADER + "\n", "a header but no rows"),
        ("path,annotator,emotion\n0,a,Anger\n", "no column for 'rating'; columns found: path, annotator, emotion"),
        ("path,value,emotion\n0,True,Anger\n", "no column for 'rater'"),
        (f"{HEADER}\n{ROW}\n1,a,maybe,Anger\n", "line 3: column 'value' is 'maybe', no vote; write True or False"),
        (f"{HEADER}\n{ROW}\n1,a,5,Anger\n", "line 3: column 'value' is '5', no vote"),
        (f"{HEADER}\n{ROW}\n1,a,1,Anger\n", "line 3: column 'value' is '1', no vote"),
        (f"{HEADER}\n{ROW}\n0,a,False,Anger\n", "line 3: image '0' has another answer of 'a' on 'anger' in line 2"),
        (f"{HEADER}\n{ROW}\n1,a,True,Angre\n", "line 3: unknown emotion 'Angre' .* did you mean 'Anger'"),
        (f"{HEADER}\n0,a,,Anger\n", "no vote in it; fill column 'value'"),
    ],
)
def test_bad_votes_are_one_line(tmp_path, capsys, content, message):
    path = tmp_path / "bad.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_votes(path, FORTY)
    assert main(["evaluate", "votes", "--votes", str(path), "--out", str(tmp_path / "out")]) == 65
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_what_was_normalised_is_counted(tmp_path):
    lines = ["0,a,1,Anger", "0,a,1,Anger", "0,b,,Anger", "0,b,0,Hopelessness"]
    votes = read_votes(write(tmp_path / "v.csv", *lines), FORTY)
    assert votes.notes == [
        "votes are written 1 and 0, read as yes and no",
        "1 lines without a vote were left out",
        "1 lines repeat a vote of the same rater and were counted once",
        "'Hopelessness' is read as 'Helplessness'",
    ]
    assert votes.ratings.value.tolist() == [1.0, 0.0]


def many_raters(path, taxonomy):
    """Five raters who each vote on every image, in a taxonomy of two emotions."""
    rng = np.random.default_rng(0)
    taxonomy.write_text("name: two\nlevels: [1, 5]\nemotions: [calm, tense]\n")
    lines = [
        f"{image},r{rater},{bool(rng.random() < chance)},{emotion}"
        for image in range(20)
        for emotion, chance in (("calm", 0.8), ("tense", 0.3))
        for rater in range(5)
    ]
    return write(path, *lines)


def test_votes_of_more_raters_on_other_emotions_are_described_in_general_words(tmp_path):
    path = many_raters(tmp_path / "v.csv", tmp_path / "two.yaml")
    out = tmp_path / "out"
    assert (
        main(["evaluate", "votes", "--votes", str(path), "--out", str(out), "--taxonomy", str(tmp_path / "two.yaml")])
        == 0
    )
    found = json.loads((out / "votes.json").read_text())
    assert found["structure"]["num_exceptions"] == 20
    assert found["options"] == {"yes_value": 5.0, "no_value": 1.0}
    cast = Counter(line.split(",")[3] for line in path.read_text().splitlines()[1:] if ",True," in line)
    assert {row["slug"]: row["yes"]["count"] for row in found["emotions"]} == cast
    outcomes = counts(found["total"]["outcomes"])
    assert outcomes["tie"] == outcomes["single_yes"] == outcomes["single_no"] == 0
    assert sum(outcomes.values()) == 40
    full = found["total"]["agreement"]["full"]["count"]
    assert full == outcomes["all_yes"] + outcomes["all_no"]
    text = (out / "votes.md").read_text()
    assert "votes cluster in 5 raters; the intervals ignore it" in text
    for only_released in ("leading question", "raters saw different images", "ended by a first no"):
        assert only_released not in text
    assert "Not voted on as the released set" in text
    assert "## Contrast pairs" not in text
    assert sorted(file.name for file in (out / "figures").iterdir()) == [
        "votes_agreement.pdf", "votes_agreement.png", "votes_outcomes.pdf", "votes_outcomes.png",
    ]  # fmt: skip


def test_the_report_is_the_same_bytes_each_time_and_its_tables_are_whole(tmp_path, capsys):
    path = released_like(tmp_path / "v.csv")
    for out in ("one", "two"):
        assert main(["evaluate", "votes", "--votes", str(path), "--out", str(tmp_path / out)]) == 0
    files = sorted(file.relative_to(tmp_path / "one") for file in (tmp_path / "one").rglob("*.*"))
    assert {file.name for file in files} >= {"votes.json", "votes.md", "votes_pairs.png", "votes_pairs.pdf"}
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file
    text = (tmp_path / "one" / "votes.md").read_text()
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count(" | ") for line in block.splitlines()}) == 1, block
    assert "| three yes | 2 | 7 | 28.6% [" in text
    for told in (
        "Perceived emotion, as raters see it; says nothing about what a person feels",
        "raters knew the prompted emotion as the question (a leading question)",
        "raters saw different images, so their shares of yes cannot be compared",
        "votes cluster in 4 raters; the intervals ignore it",
        "Questions ended by a first no are not here; full means three yes.",
    ):
        assert told in text
    printed = capsys.readouterr().out
    assert "three yes" in printed
    assert "triple_yes: " in printed


def test_pairs_stand_with_the_intervals_of_their_first_votes(tmp_path):
    path = released_like(tmp_path / "v.csv")
    assert main(["evaluate", "votes", "--votes", str(path), "--out", str(tmp_path)]) == 0
    z2 = 1.959963984540054**2
    low = (4 + z2 / 2) / (5 + z2) - z2**0.5 / (5 + z2) * (4 / 5 + z2 / 4) ** 0.5  # 4 of 5 targets begin with a yes
    row = next(line for line in (tmp_path / "votes.md").read_text().splitlines() if line.startswith("| Elation | Ange"))
    assert f"| 80.0% [{low:.1%}, 96.4%] | -" in row
    assert "| 20.0% [3.6%, 62.4%] |" in row


def test_columns_of_other_names_are_read_by_option(tmp_path):
    path = write(tmp_path / "v.csv", "x.jpg,eva,True,Anger", header="foto,wer,ja,gefühl")
    columns = "image=foto,rater=wer,rating=ja,emotion=gefühl"
    assert main(["evaluate", "votes", "--votes", str(path), "--out", str(tmp_path / "o"), "--columns", columns]) == 0
    found = json.loads((tmp_path / "o" / "votes.json").read_text())
    assert found["total"]["votes"] == {"1-0": 1}
