"""Every annotator against every other, and the released analysis, beside a plain loop over its rules."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from sklearn.metrics import cohen_kappa_score

from emonet_lightning.evaluation.pairwise import MAX_RATERS, Pairs, group_of
from emonet_lightning.ratings.panel import Panel, SystemScores

RATERS, EMOTIONS = 4, 3


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 8, (60, EMOTIONS)).astype(float)
    values = np.clip(np.rint(truth[:, None] + rng.normal(0, 2, (60, RATERS, EMOTIONS))), 0, 7)
    values[rng.random((60, RATERS)) < 0.3] = np.nan
    values[:, 1, 2] = np.where(np.isnan(values[:, 1, 2]), np.nan, 4)  # a rater of one level only
    order = np.where(np.isnan(values[..., 0]), -1, 0)
    panel = Panel("made up", [str(i) for i in range(60)], [f"h{r}" for r in range(RATERS)], values, order)
    systems = [
        SystemScores("Empathic Insight Face Small", truth + rng.normal(0, 1, truth.shape)),
        SystemScores("Some VLM ZS", rng.random(truth.shape) * 9 - 1),
        SystemScores("constant", np.full(truth.shape, 4.0), "trivial"),
    ]
    return panel, systems


@pytest.fixture(scope="module")
def pairs(case):
    return Pairs(*case, 0, 7)


def kappa(a, b):
    """The released notebook: both truncated, levels outside 0..7 dropped, NaN where both are constant."""
    both = ~np.isnan(a) & ~np.isnan(b)
    with np.errstate(invalid="ignore"):
        a, b = np.trunc(a[both]).astype(int), np.trunc(b[both]).astype(int)
        return cohen_kappa_score(a, b, weights="quadratic", labels=list(range(8)))


@pytest.fixture(scope="module")
def expected(case):
    panel, systems = case
    columns = [panel.values[:, r] for r in range(RATERS)] + [system.scores for system in systems]
    size = len(columns)
    table = np.full((size, size, EMOTIONS), np.nan)
    for a in range(size):
        for b in range(size):
            if a != b:
                table[a, b] = [kappa(columns[a][:, k], columns[b][:, k]) for k in range(EMOTIONS)]
    return table


def test_the_matrix_is_that_of_one_pair_after_another_in_both_halves(pairs, expected):
    np.testing.assert_allclose(pairs.kappa, expected, atol=1e-10)
    matrix = pairs.matrix()
    means = np.array([[np.nan if v is None else v for v in row] for row in matrix["kappa"]])
    with np.errstate(invalid="ignore"):
        known = np.where(np.isnan(expected).all(2), np.nan, np.nansum(expected, 2) / (~np.isnan(expected)).sum(2))
    np.testing.assert_allclose(means, known, atol=1e-10)
    undefined = np.isnan(expected).sum(2)
    np.fill_diagonal(undefined, 0)
    assert matrix["num_undefined"] == undefined.tolist()
    assert undefined[1, RATERS + 2] == 1  # both constant
    assert matrix["annotators"][:RATERS] == ["h0", "h1", "h2", "h3"]
    assert matrix["num_humans"] == RATERS


def test_the_released_table_is_that_of_its_rules(case, pairs, expected):
    groups = ["Human Annotators"] * RATERS + [group_of(system) for system in case[1]]
    found = pairs.released_protocol(groups, ["A", "B", "C"])
    upper = [(a, b) for a in range(RATERS) for b in range(a + 1, RATERS)]
    for a, name in enumerate(pairs.annotators):
        own = np.array([np.nanmean(expected[a, :RATERS, k]) for k in range(EMOTIONS)])
        assert found[name]["per_emotion"] == pytest.approx(own)
        assert found[name]["average"] == pytest.approx(own.mean())
        assert found[name]["std"] == pytest.approx(own.std(ddof=1))
        assert found[name]["median"] == pytest.approx(np.median(own))
        assert found[name]["top_emotion"] == "ABC"[int(own.argmax())]
        mine = expected[a, :RATERS].ravel()
        others = np.concatenate([expected[pair] for pair in upper if a >= RATERS or a not in pair])
        p = mannwhitneyu(mine[~np.isnan(mine)], others[~np.isnan(others)], alternative="two-sided").pvalue
        assert found[name]["could_be_annotator_p"] == pytest.approx(p)


def test_groups_are_tested_on_all_their_values(case, pairs, expected):
    groups = ["Human Annotators"] * RATERS + [group_of(system) for system in case[1]]
    assert groups[RATERS:] == ["Our Models", "VLM zero-shot", "Trivial"]
    tests = {(test["first"], test["second"]): test for test in pairs.group_tests(groups)}
    assert len(tests) == 6
    own = np.array([[np.nanmean(expected[a, :RATERS, k]) for k in range(EMOTIONS)] for a in range(len(groups))])
    humans, ours = own[:RATERS].ravel(), own[RATERS]
    found = tests["Human Annotators", "Our Models"]
    assert found["difference"] == pytest.approx(humans.mean() - ours.mean())
    assert found["p"] == pytest.approx(mannwhitneyu(humans, ours, alternative="two-sided").pvalue)
    rng = np.random.default_rng(42)
    draws = [rng.choice(humans, len(humans)).mean() - rng.choice(ours, len(ours)).mean() for _ in range(1000)]
    assert [found["low"], found["high"]] == pytest.approx(np.percentile(draws, [2.5, 97.5]).tolist())


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("Empathic Insight Face Large", "Our Models"),
        ("Hume Face*", "Proprietary"),
        ("Gemini 2.5 Flash MS", "VLM multi-shot"),
        ("GPT-4o ZS", "VLM zero-shot"),
        ("Random Baseline", "Random Baseline"),
        ("my own", "Systems"),
    ],
)
def test_annotators_are_grouped_by_name_as_released(name, group):
    assert group_of(SystemScores(name, np.zeros((1, 1)))) == group


def test_very_many_raters_are_not_shown_one_by_one():
    size = MAX_RATERS + 1
    values = np.random.default_rng(0).integers(0, 8, (10, size, 1)).astype(float)
    order = np.tile(np.arange(size), (10, 1))
    panel = Panel("crowd", [str(i) for i in range(10)], [str(r) for r in range(size)], values, order)
    pairs = Pairs(panel, [SystemScores("own", values[:, 0])], 0, 7)
    assert pairs.annotators == ["own"]
    assert pairs.released_protocol(["Systems"], ["A"]) == {}
    assert pairs.over_raters(5, 0, 0.95, {"all": np.array([True])}) == {}
