"""From votes and ratings to targets: who answered what, and what a missing answer means."""

import numpy as np
import pytest

from emonet_lightning.data.labels import binary_labels, rated_labels, rater_cube, resting_levels
from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.ratings.consensus import binary_questions
from emonet_lightning.ratings.layouts import read_labels
from emonet_lightning.ratings.long_form import Ratings
from emonet_lightning.taxonomy import Taxonomy

FORTY = Taxonomy.load("emonet40")
WITH_EXTRAS = Taxonomy.load("emonet40", extra_dimensions=True)
PATTERNS = ["TTT", "TTF", "TF", "F", "T", "contrast F", "contrast T", "TTTF", "TTTT"]
ANGER, ELATION = FORTY.slugs.index("anger"), FORTY.slugs.index("elation")


def ratings(entries):
    """Long form of (row, rater, slug, value), in the given order."""
    raters = sorted({rater for _, rater, _, _ in entries})
    slugs = sorted({slug for _, _, slug, _ in entries})
    return Ratings(
        row=np.array([row for row, *_ in entries], dtype=np.int64),
        rater=np.array([raters.index(rater) for _, rater, _, _ in entries], dtype=np.int64),
        raters=raters,
        slug_index=np.array([slugs.index(slug) for _, _, slug, _ in entries], dtype=np.int64),
        slugs=slugs,
        value=np.array([value for *_, value in entries], dtype=np.float32),
        keys=[f"face{row}" for row in range(1 + max(row for row, *_ in entries))],
    )


def votes():
    """One image per pattern: anger was the prompted target, except that contrasts are asked of elation."""
    entries = []
    for row, pattern in enumerate(PATTERNS):
        slug = "elation" if pattern.startswith("contrast") else "anger"
        for number, vote in enumerate(pattern.removeprefix("contrast ")):
            entries.append((row, f"expert{number}", slug, float(vote == "T")))
    return ratings(entries)


def pattern_targets(**options):
    """What each pattern is trained to; None where it is masked."""
    table = binary_labels(votes(), len(PATTERNS), FORTY, **options)
    found = {}
    for row, pattern in enumerate(PATTERNS):
        column = ELATION if pattern.startswith("contrast") else ANGER
        assert not np.delete(table.mask[row], column).any(), "only the question that was asked counts"
        found[pattern] = round(float(table.target[row, column]), 4) if table.mask[row, column] else None
    return found


NOBODY = {"F": 0.0, "contrast F": 0.0}
UNCONFIRMED = ["TTF", "TF", "T", "contrast T", "TTTF"]


@pytest.mark.parametrize(
    ("unconfirmed", "rest"),
    [
        ("mask", dict.fromkeys(UNCONFIRMED)),
        ("yes", dict.fromkeys(UNCONFIRMED, 7.0)),
        ("no", dict.fromkeys(UNCONFIRMED, 0.0)),
        ("fraction", {"TTF": 4.6667, "TF": 3.5, "T": 7.0, "contrast T": 7.0, "TTTF": 5.25}),
    ],
)
def test_triple_yes_agrees_on_three_yes_without_a_no(unconfirmed, rest):
    expected = {"TTT": 7.0, "TTTT": 7.0, **NOBODY, **rest}
    assert pattern_targets(consensus="triple_yes", unconfirmed=unconfirmed) == expected


@pytest.mark.parametrize("unconfirmed", ["mask", "yes", "no", "fraction"])
def test_majority_leaves_nothing_unconfirmed(unconfirmed):
    yes = dict.fromkeys(["TTT", "TTTT", "TTF", "T", "contrast T", "TTTF"], 7.0)
    assert pattern_targets(consensus="majority", unconfirmed=unconfirmed) == {**yes, **NOBODY, "TF": 0.0}


@pytest.mark.parametrize("unconfirmed", ["mask", "yes", "no", "fraction"])
def test_drop_ties_is_the_majority_without_even_splits(unconfirmed):
    yes = dict.fromkeys(["TTT", "TTTT", "TTF", "T", "contrast T", "TTTF"], 7.0)
    assert pattern_targets(consensus="drop_ties", unconfirmed=unconfirmed) == {**yes, **NOBODY, "TF": None}


@pytest.mark.parametrize("unconfirmed", ["mask", "yes", "no", "fraction"])
def test_mean_trains_every_question_to_its_share_of_yes(unconfirmed):
    shares = {"TTT": 7.0, "TTTT": 7.0, "TTF": 4.6667, "TF": 3.5, "T": 7.0, "contrast T": 7.0, "TTTF": 5.25, **NOBODY}
    assert pattern_targets(consensus="mean", unconfirmed=unconfirmed) == shares


def test_values_of_yes_and_no_are_options_and_shares_lie_between_them():
    found = pattern_targets(consensus="triple_yes", unconfirmed="fraction", yes_value=5.0, no_value=1.0)
    assert (found["TTT"], found["F"], found["TF"], found["contrast F"]) == (5.0, 1.0, 3.0, 1.0)


@pytest.mark.parametrize("option", [{"yes_value": 7.5}, {"yes_value": -1}, {"no_value": -0.5}, {"no_value": 8}])
def test_values_outside_the_levels_are_refused(option):
    with pytest.raises(UsageError, match=rf"data\.{next(iter(option))}: .* outside the taxonomy's levels 0\.\.7"):
        binary_labels(votes(), len(PATTERNS), FORTY, **option)


def test_truth_is_the_same_whatever_the_options():
    truths = [
        binary_labels(votes(), len(PATTERNS), FORTY, consensus, unconfirmed, yes_value, no_value).truth
        for consensus in ("triple_yes", "majority", "mean", "drop_ties")
        for unconfirmed in ("mask", "yes", "no", "fraction")
        for yes_value, no_value in ((7, 0), (4, 2))
    ]
    for truth in truths[1:]:
        np.testing.assert_array_equal(truth, truths[0])
    known = {
        pattern: truths[0][row, ELATION if pattern.startswith("contrast") else ANGER]
        for row, pattern in enumerate(PATTERNS)
    }
    assert {pattern for pattern, value in known.items() if value == 1} == {"TTT", "TTTT"}
    assert {pattern for pattern, value in known.items() if value == 0} == {"F", "contrast F"}
    assert np.isnan(truths[0]).sum() == truths[0].size - 4


def test_a_question_not_asked_is_masked_never_zero():
    table = binary_labels(votes(), len(PATTERNS) + 1, FORTY, "mean")
    assert table.mask.sum() == len(PATTERNS)  # one question an image, and none on the last image
    assert np.isnan(table.truth[~table.mask]).all()
    assert table.num_filled == 0


def test_ratings_in_a_binary_set_are_refused():
    with pytest.raises(DataError, match="is this set 'rated'"):
        binary_labels(ratings([(0, "a", "anger", 5.0)]), 1, FORTY)


ANSWERS = [(0, "a", "anger", 6.0), (0, "b", "elation", 2.0), (2, "a", "awe", 1.0)]


def test_an_untouched_emotion_is_a_rating_of_zero_and_is_counted():
    cube, num_filled = rater_cube(ratings(ANSWERS), 4, FORTY, "zero")
    a, b = 0, 1
    assert cube[0, a, ANGER] == 6
    assert np.delete(cube[0, a], ANGER).tolist() == [0.0] * 39
    assert cube[0, b, ELATION] == 2
    assert np.delete(cube[0, b], ELATION).tolist() == [0.0] * 39
    # a rater who did not see an image says nothing about it
    assert np.isnan(cube[1]).all()
    assert np.isnan(cube[2, b]).all()
    assert np.isnan(cube[3]).all()
    assert num_filled == 3 * 39
    table = rated_labels(ratings(ANSWERS), 4, FORTY, "zero")
    assert table.num_filled == 3 * 39
    assert table.mask.sum(1).tolist() == [40, 0, 40, 0]
    assert table.target[0, [ANGER, ELATION]].tolist() == [3.0, 1.0]  # the mean of each rater's own answer
    assert np.isnan(table.truth[1]).all()


def test_an_untouched_emotion_is_unknown_on_request():
    cube, num_filled = rater_cube(ratings(ANSWERS), 4, FORTY, "mask")
    assert num_filled == 0
    assert np.count_nonzero(~np.isnan(cube)) == len(ANSWERS)
    table = rated_labels(ratings(ANSWERS), 4, FORTY, "mask")
    assert table.mask.sum() == 3
    assert table.target[0, [ANGER, ELATION]].tolist() == [6.0, 2.0]


def test_the_labeller_of_a_dense_set_saw_images_without_any_answer_too():
    only = [(0, "generated", "anger", 6.0)]
    seen, num_filled = rater_cube(ratings(only), 3, FORTY, "zero", all_seen=True)
    assert num_filled == 3 * 40 - 1
    assert (seen[1:] == 0).all()
    assert np.isnan(rater_cube(ratings(only), 3, FORTY, "zero")[0][1:]).all()


def test_extra_dimensions_are_never_filled():
    entries = [(0, "a", "anger", 6.0), (1, "a", "valence", -2.0), (1, "a", "arousal", 3.0)]
    for missing in ("zero", "mask"):
        cube, num_filled = rater_cube(ratings(entries), 2, WITH_EXTRAS, missing)
        extras = cube[:, 0, 40:]
        assert np.isnan(extras[0]).all()
        assert np.count_nonzero(~np.isnan(extras[1])) == 2
        assert num_filled == (39 + 40 if missing == "zero" else 0)
    # who answered only on extra dimensions saw the emotions, too
    assert (rater_cube(ratings(entries), 2, WITH_EXTRAS, "zero")[0][1, 0, :40] == 0).all()


def test_answers_on_extra_dimensions_are_left_out_of_forty_columns():
    entries = [(0, "a", "anger", 6.0), (0, "a", "valence", -2.0)]
    table = rated_labels(ratings(entries), 1, FORTY, "mask")
    assert table.mask.sum() == 1
    assert table.target[0, ANGER] == 6
    with pytest.raises(DataError, match="none of the set's dimensions"):
        rated_labels(ratings(entries[1:]), 1, FORTY, "mask")


def test_several_raters_are_kept_apart():
    rng = np.random.default_rng(0)
    entries = [
        (row, f"rater{rater}", slug, float(rng.integers(0, 8)))
        for row in range(5)
        for rater in rng.choice(6, 4, replace=False)
        for slug in ("anger", "elation", "awe")
    ]
    cube, _ = rater_cube(ratings(entries), 5, FORTY, "mask")
    assert cube.shape == (5, 6, 40)
    for row, rater, slug, value in entries:
        assert cube[row, int(rater.removeprefix("rater")), FORTY.slugs.index(slug)] == value
    assert np.count_nonzero(~np.isnan(cube)) == len(entries)


@pytest.mark.parametrize("missing", ["zero", "mask"])
@pytest.mark.parametrize("copies", [2, 7])
def test_the_number_of_raters_never_changes_a_target(missing, copies):
    once = [(0, "a", "anger", 5.0), (0, "a", "awe", 1.0), (1, "a", "elation", 3.0)]
    often = [(row, f"{rater}{copy}", slug, value) for row, rater, slug, value in once for copy in range(copies)]
    single, many = (rated_labels(ratings(entries), 2, FORTY, missing) for entries in (once, often))
    np.testing.assert_array_equal(single.target, many.target)
    np.testing.assert_array_equal(single.mask, many.mask)
    np.testing.assert_array_equal(single.truth, many.truth)


def test_levels_that_do_not_begin_at_zero_need_mask(tmp_path):
    path = tmp_path / "traits.yaml"
    path.write_text("name: traits\nlevels: [1, 7]\nemotions: [trustworthy, attractive]\n")
    taxonomy = Taxonomy.load(str(path))
    entries = ratings([(0, "a", "trustworthy", 3.0)])
    with pytest.raises(UsageError, match=r"begin at 1; set data\.missing: mask"):
        rated_labels(entries, 1, taxonomy, "zero")
    table = rated_labels(entries, 1, taxonomy, "mask")
    assert table.target.tolist() == [[3.0, 0.0]]
    assert table.mask.tolist() == [[True, False]]
    assert resting_levels(taxonomy).tolist() == [1, 1]
    with pytest.raises(UsageError, match=r"data.no_value: 0.0 is outside the taxonomy's levels 1..7"):
        binary_labels(ratings([(0, "a", "trustworthy", 1.0)]), 1, taxonomy)


def test_tables_of_several_sets_are_stacked_and_their_shares_count_only_labels():
    first, second = rated_labels(ratings(ANSWERS), 4, FORTY, "zero"), binary_labels(votes(), len(PATTERNS), FORTY)
    both = type(first).concatenate([first, second])
    assert len(both.target) == 4 + len(PATTERNS)
    assert both.num_filled == first.num_filled
    share, mean = both.positive_share(FORTY), both.mean_target(FORTY)
    anger = both.mask[:, ANGER]
    assert anger.sum() == 2 + 3  # rated rows 0 and 2; TTT, TTTT, F
    assert share[ANGER] == pytest.approx(3 / 5)
    assert mean[ANGER] == pytest.approx((3 + 0 + 7 + 7 + 0) / 5)
    alone = second.take(np.array([5]))  # contrast F: nothing is known of anger
    assert np.isnan(alone.positive_share(FORTY)[ANGER])
    assert alone.mean_target(FORTY)[ANGER] == 0
    assert alone.positive_share(FORTY)[ELATION] == 0


def test_released_binary_votes_give_the_published_totals(real_data):
    found = read_labels(real_data / "binary.csv", FORTY, {}).ratings
    table = binary_labels(found, 19_999, FORTY)
    asked = binary_labels(found, 19_999, FORTY, "mean").mask
    assert set(asked.sum(1).tolist()) == {2}
    assert np.nansum(table.truth) == 9_075
    assert np.count_nonzero(table.truth == 0) == 18_858 + 3_433
    assert np.count_nonzero(table.mask) == 9_075 + 18_858 + 3_433
    np.testing.assert_array_equal(table.mask, ~np.isnan(table.truth))
    assert set(np.unique(table.target[table.mask]).tolist()) == {0.0, 7.0}
    questions = binary_questions(found)
    no = questions.num_yes == 0
    assert np.count_nonzero(no & ~questions.is_target) == 18_858
    assert np.count_nonzero(no & questions.is_target) == 3_433


def test_a_rater_who_left_every_emotion_untouched_rated_them_all_zero():
    found = ratings([(0, "a", "anger", 6.0), (1, "b", "anger", 1.0)])._replace(silent=np.array([[0, 1]]))
    cube, num_filled = rater_cube(found, 2, FORTY, "zero")
    assert (cube[0, 1] == 0).all()
    assert num_filled == 39 + 39 + 40
    assert rated_labels(found, 2, FORTY, "zero").target[0, ANGER] == 3.0
    assert rated_labels(found, 2, FORTY, "mask").target[0, ANGER] == 6.0
