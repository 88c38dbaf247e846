"""Annotation campaigns without a server: who is asked what, sequential voting, pairs, what raters see."""

import itertools
from collections import Counter
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emonet_lightning.annotation.campaigns import Due, due_questions
from emonet_lightning.annotation.interface import consent_config, pair_config, slider_config, yes_no_config
from emonet_lightning.annotation.pairs import draw_swaps, read_pairs
from emonet_lightning.annotation.plan import assign, plan_ratings, plan_votes, rater_order
from emonet_lightning.annotation.record import Campaign
from emonet_lightning.annotation.texts import consent, instructions
from emonet_lightning.errors import DataError, MissingInputError, UsageError
from emonet_lightning.evaluation.vote_file import read_votes
from emonet_lightning.evaluation.vote_structure import contrast_pairs as found_pairs
from emonet_lightning.ratings.contrasts import contrast_pairs
from emonet_lightning.ratings.sequential import due_rounds, pattern, state_of
from emonet_lightning.taxonomy import Taxonomy

FORTY = Taxonomy.load("emonet40")
PARTNERS = contrast_pairs("released", FORTY)
RATERS = ["anna", "ben", "cem", "dora", "eva"]


def images(count):
    return [(f"face{n}", FORTY.slugs[n % 40]) for n in range(count)]


def campaign_of(questions, raters=RATERS):
    return Campaign(
        id="0", name="c", kind="binary", seed=0, set_digest="", taxonomy=FORTY.to_dict(), raters=list(raters),
        config="", asks={}, instructions="", consent="", questions=questions, files={}, prompted={},
    )  # fmt: skip


def voted(answer_of, questions):
    """Ask and answer until nothing is due; returns votes of targets and (rater, image) of every question asked."""
    campaign, votes, shown = campaign_of(questions), {}, Counter()
    while True:
        due: Due = due_questions(campaign, votes)
        open_ones = [
            (q, rater, number) for (rater, number), asked in due.items() for q in asked
            if len(votes.get(q.id, [])) < number
        ]  # fmt: skip
        if not open_ones:
            return votes, shown
        for question, rater, number in open_ones:
            votes.setdefault(question.id, []).append(answer_of(question, number))
            shown[rater, question.image] += 1


@given(st.lists(st.booleans(), max_size=3))
def test_the_first_no_ends_and_three_yes_confirm(answers):
    asked = []
    while due_rounds(asked) > len(asked) and len(asked) < len(answers):
        asked.append(answers[len(asked)])
    expected = (
        list(itertools.takewhile(bool, answers)) + answers[answers.index(False) :][:1] if False in answers else answers
    )
    assert asked == expected
    assert state_of(asked) == ("rejected" if False in asked else "confirmed" if len(asked) == 3 else "open")
    assert due_rounds(asked) - len(asked) == (state_of(asked) == "open")


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 60), st.integers(4, 5), st.integers(0, 5), st.randoms(use_true_random=False))
def test_planted_answers_give_the_released_outcomes_and_nobody_sees_an_image_twice(count, num_raters, seed, rng):
    questions = plan_votes(images(count), PARTNERS, RATERS[:num_raters], [], seed)
    planted = {q.id: rng.choice(["TTT", "TTF", "TF", "F"]) for q in questions if q.role == "target"}
    votes, shown = voted(lambda q, number: q.role == "target" and planted[q.id][number - 1] == "T", questions)
    assert {name: pattern(votes[name]) for name in planted} == planted
    assert max(shown.values()) == 1
    contrasts = [question for question in questions if question.role == "contrast"]
    assert all(votes[question.id] == [False] for question in contrasts)
    asked_for = dict(images(count))
    assert {(q.image, q.subject) for q in contrasts} == {(key, PARTNERS[slug]) for key, slug in asked_for.items()}
    load = Counter(q.raters[0] for q in questions)
    assert max(load.values()) - min(load.get(rater, 0) for rater in RATERS[:num_raters]) <= 3


def test_what_is_due_grows_only_with_votes_and_is_the_same_when_asked_again():
    questions = plan_votes(images(30), PARTNERS, RATERS, [], 0)
    campaign = campaign_of(questions)
    first = due_questions(campaign, {})
    assert {number for _, number in first} == {1}
    target = next(question for question in questions if question.role == "target")
    after = due_questions(campaign, {target.id: [True]})
    assert after == due_questions(campaign, {target.id: [True]})
    assert after.pop((target.raters[1], 2)) == [target]
    assert after == first
    assert due_questions(campaign, {target.id: [False]}) == first


def test_contrast_raters_of_their_own_see_no_target():
    questions = plan_votes(images(40), PARTNERS, RATERS[:3], ["xenia", "yuri"], 0)
    for question in questions:
        assert (question.raters[0] in ("xenia", "yuri")) == (question.role == "contrast")
    assert Counter(q.raters[0] for q in questions if q.role == "contrast") == {"xenia": 20, "yuri": 20}


@pytest.mark.parametrize(
    ("raters", "contrast_raters", "words"),
    [
        (["anna", "ben"], [], "at least 3"),
        (["anna", "ben", "cem"], [], "fourth"),
        (["anna", "ben", "cem", "dora"], ["anna", "ben", "cem"], "fourth"),
        (["anna", "ben", "ben", "cem"], [], "twice"),
        (["anna", "", "ben", "cem"], [], "no rater's name"),
    ],
)
def test_too_few_raters_are_told(raters, contrast_raters, words):
    with pytest.raises(UsageError, match=words):
        plan_votes(images(9), PARTNERS, raters, contrast_raters, 0)


def test_nothing_to_ask_about_is_told():
    with pytest.raises(DataError, match="no image to ask about"):
        plan_votes([], PARTNERS, RATERS, [], 0)


@given(st.integers(1, 80), st.integers(1, 6), st.integers(1, 6), st.integers(0, 3))
def test_everyone_gets_as_much_in_every_place(count, num_raters, each, seed):
    import numpy as np

    each, raters = min(each, num_raters), [f"r{n}" for n in range(num_raters)]
    given_to = assign(count, raters, each, np.random.default_rng(seed))
    assert len(given_to) == count
    for place in range(each):
        load = Counter(chosen[place] for chosen in given_to)
        assert max(load.values()) - min(load.get(rater, 0) for rater in raters) <= 1
    assert all(len(set(chosen)) == each for chosen in given_to)


def test_raters_of_one_image_change_and_orders_differ():
    questions = plan_ratings([f"f{n}" for n in range(200)], RATERS, 2, 0)
    assert len({frozenset(question.raters) for question in questions}) == 10
    orders = {tuple(question.id for question in rater_order(questions, rater, 0)) for rater in RATERS}
    assert len(orders) == len(RATERS)
    assert rater_order(questions, "anna", 0) == rater_order(questions[::-1], "anna", 0)


def test_a_questions_name_tells_neither_role_nor_emotion():
    questions = plan_votes(images(400), PARTNERS, RATERS, [], 0)
    by_name = sorted(questions)
    halves = Counter(question.role for question in by_name[:400])
    assert 150 < halves["target"] < 250
    assert sum(one.image == two.image for one, two in itertools.pairwise(by_name)) < 20  # else a contrast follows
    assert len({len(question.id) for question in questions}) == 1


def test_released_contrasts_are_those_of_the_released_votes(real_data):
    votes = read_votes(real_data / "binary.csv", FORTY)
    found = found_pairs(votes.questions, votes.ratings)
    assert found["holds"]
    assert {frozenset(pair["emotions"]) for pair in found["pairs"]} == {frozenset(p) for p in PARTNERS.items()}


def test_released_contrasts_are_an_involution_without_fixed_points():
    assert len(PARTNERS) == 40
    assert all(PARTNERS[other] == one != other for one, other in PARTNERS.items())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pairs: [[Awe, Fear], [Fear, Pain]]", "two partners"),
        ("pairs: [[Awe, Awe]]", "its own"),
        ("pairs: [[Awe]]", "a list 'pairs'"),
        ("pairs: [[Awe, Fare]]", "did you mean 'Fear'"),
        ("[Awe, Fear]", "a list 'pairs'"),
    ],
)
def test_wrong_contrasts_are_told(tmp_path, text, words):
    (tmp_path / "pairs.yaml").write_text(text)
    with pytest.raises(DataError, match=words):
        contrast_pairs(str(tmp_path / "pairs.yaml"), FORTY)
    assert contrast_pairs("none", FORTY) == {}
    with pytest.raises(MissingInputError):
        contrast_pairs(str(tmp_path / "missing.yaml"), FORTY)


def controls(config):
    return {element.get("name"): element for element in ElementTree.fromstring(config).iter() if element.get("toName")}


def test_forty_sliders_stand_in_seven_families_and_rest_below_their_lowest_level():
    root = ElementTree.fromstring(slider_config(FORTY))
    panels = {panel.get("value"): [n.get("name") for n in panel.iter("Number")] for panel in root.iter("Panel")}
    sizes = Counter(dimension.family for dimension in FORTY.dimensions)
    assert {family: len(names) for family, names in panels.items()} == sizes
    sliders = controls(slider_config(FORTY))
    assert set(sliders) == {f"rating_{slug}" for slug in FORTY.slugs}
    for slider in sliders.values():
        assert [slider.get(word) for word in ("min", "defaultValue", "max", "step", "slider")] == [
            "-1",
            "-1",
            "7",
            "1",
            "true",
        ]
    texts = [text.get("value") for text in root.iter("Text")]
    assert "sexual lust, carnal desire, lust, feeling horny, feeling turned on" in texts
    assert sum("serenity" in text for text in texts) == 1
    assert not any(text.count("serenity") > 1 for text in texts)


def test_sliders_of_emotions_without_families_or_keywords(tmp_path):
    (tmp_path / "own.yaml").write_text("name: own\nlevels: [1, 5]\nemotions: [Calm, A & B <c>]\n")
    own = Taxonomy.load(str(tmp_path / "own.yaml"))
    sliders = controls(slider_config(own))
    assert set(sliders) == {"rating_calm", "rating_a_&_b_<c>"}
    assert sliders["rating_calm"].get("defaultValue") == "0"
    (tmp_path / "half.yaml").write_text("name: half\nlevels: [0, 0.5]\nemotions: [Calm]\n")
    with pytest.raises(UsageError, match="no whole numbers"):
        slider_config(Taxonomy.load(str(tmp_path / "half.yaml")))


def test_questions_and_pairs_have_keys_and_must_be_answered():
    for config, keys in ((yes_no_config(), {"yes": "y", "no": "n"}), (pair_config(), {"left": "f", "right": "j"})):
        choice = controls(config)["answer"]
        assert {found.get("value"): found.get("hotkey") for found in choice.iter("Choice")} == keys
        assert choice.get("required") == "true"
    assert controls(consent_config())["agreed"].get("required") == "true"
    shown = [header.get("value") for header in ElementTree.fromstring(pair_config()).iter("Header")]
    assert shown == [f"${side}{rank}" for side in ("left", "right") for rank in range(1, 6)]


def test_pairs_are_read_and_wrong_ones_told(tmp_path):
    path = tmp_path / "pairs.jsonl"
    good = '{"pair": "p1", "image": "a", "left": ["Awe"], "right": []}'
    path.write_text(good + "\n")
    (pair,) = read_pairs(path, ["a"]).values()
    assert pair == ("p1", "a", ["Awe"], [])
    for bad, words in (
        ('{"pair": "p2", "image": "b", "left": [], "right": []}', "image 'b' is not in the set"),
        (good, "stands twice"),
        ('{"pair": "p2", "image": "a", "left": "Awe", "right": []}', "'left' must be a list"),
        ('{"pair": "p2", "image": "a", "left": [], "right": ["1", "2", "3", "4", "5", "6"]}', "up to 5"),
        ('{"image": "a", "left": [], "right": []}', "'pair' and 'image' must be text"),
    ):
        path.write_text(f"{good}\n{bad}\n")
        with pytest.raises(DataError, match=f"line 2.*{words}"):
            read_pairs(path, ["a"])
    path.write_text("\n")
    with pytest.raises(DataError, match="no pair"):
        read_pairs(path, ["a"])


def test_sides_are_swapped_for_half_of_the_raters():
    swaps = draw_swaps([(f"q{n}", RATERS) for n in range(200)], 3)
    assert 420 < sum(map(len, swaps.values())) < 580
    assert swaps == draw_swaps([(f"q{n}", RATERS) for n in range(200)], 3)
    assert swaps != draw_swaps([(f"q{n}", RATERS) for n in range(200)], 4)


def test_texts_of_ones_own_are_text_not_html(tmp_path):
    path = tmp_path / "told.txt"
    path.write_text("Be <calm>.\n\nTake\nbreaks.\n")
    assert instructions("binary", str(path)) == consent(str(path)) == "<p>Be &lt;calm&gt;.</p><p>Take breaks.</p>"
    assert "voluntary" in consent(None)
    assert consent("none") == ""
    path.write_text(" \n")
    with pytest.raises(DataError, match="empty"):
        consent(str(path))
