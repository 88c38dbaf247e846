"""judge: what agreement.json says of systems, raters and their differences."""

import json

import numpy as np
import pytest

from emonet_lightning.evaluation import agreement
from emonet_lightning.evaluation.benchmark import judge, reliability
from emonet_lightning.evaluation.catalogue import HUMAN_METRICS, METRICS
from emonet_lightning.evaluation.trivial import trivial_systems
from emonet_lightning.ratings.panel import Panel, SystemScores, slots
from emonet_lightning.taxonomy import Dimension, Taxonomy

NAMES = ["Clear", "Vague", "Never given", "Fair"]
TAXONOMY = Taxonomy("four", tuple(Dimension(name, name.lower(), 0.0, 7.0) for name in NAMES), 4)
DRAWS = 40


def made_panel(num_images=80, num_raters=4, seed=7, **more):
    rng = np.random.default_rng(seed)
    truth = rng.random((num_images, 1, 4)) * 7
    values = np.clip(np.rint(truth + rng.normal(0, [0.5, 5, 1, 2], (num_images, num_raters, 4))), 0, 7)
    values[:, :, 2] = 0
    seen = rng.random((num_images, num_raters)) < 0.8
    seen[:, :2] = True
    values[~seen] = np.nan
    order = np.where(seen, np.cumsum(seen, axis=1) - 1, -1)
    images, raters = [f"{i:03d}" for i in range(num_images)], [f"rater-{r}" for r in range(num_raters)]
    return Panel("made up", images, raters, values, order, **more), truth[:, 0]


@pytest.fixture(scope="module")
def case():
    panel, truth = made_panel()
    rng = np.random.default_rng(1)
    good = SystemScores("good", truth + rng.normal(0, 1, truth.shape))
    dead = SystemScores("dead heads", good.scores * [1, 0, 1, 0])
    partial = SystemScores("partial", np.where(np.arange(4) == 3, np.nan, good.scores))
    some = SystemScores("some images", np.where(np.arange(len(truth))[:, None] < 30, np.nan, good.scores))
    return panel, [good, dead, partial, some, *trivial_systems(panel, TAXONOMY.slugs, subject=good)]


@pytest.fixture(scope="module")
def found(case):
    return judge(*case, TAXONOMY, num_draws=DRAWS)


def mean_of(found, system, metric, chosen="all"):
    return found["systems"][system]["metrics"][metric]["sets"][chosen]


def test_means_and_intervals_are_those_of_the_statistics_over_the_same_draws(case, found):
    panel, systems = case
    weights = agreement.draws(len(panel.images), DRAWS, 0)
    own = agreement.judge_system(systems[0].scores, panel.values, slots(panel), 0, 7, weights)
    for metric in ("kappa_round", "oracle_kappa_binned", "mae", "auroc"):
        defined = ~np.isnan(own[metric][0])
        means = np.nanmean(own[metric][:, defined], axis=1)
        expected = [means[0], *np.percentile(means[1:], [2.5, 97.5])]
        estimate = mean_of(found, "good", metric)
        np.testing.assert_allclose([estimate[key] for key in ("value", "low", "high")], expected, atol=1e-12)
        assert estimate["num_emotions"] == defined.sum()
        assert estimate["num_undefined"] == 4 - defined.sum()


def test_differences_are_paired_not_taken_from_two_intervals(found):
    gaps = {(g["system"], g["metric"], g["set"]): g for g in found["differences"]["of"]}
    gap = gaps["some images", "spearman", "all"]
    good, other = mean_of(found, "good", "spearman"), mean_of(found, "some images", "spearman")
    assert gap["difference"] == pytest.approx(good["value"] - other["value"])
    unpaired = (good["high"] - good["low"]) + (other["high"] - other["low"])
    assert gap["high"] - gap["low"] < unpaired / 2
    assert not gap["same_images"]
    assert gaps["dead heads", "spearman", "all"]["same_images"]
    assert {g["system"] for g in found["differences"]["of"]} == set(found["systems"]) - {"good"}


def test_a_dead_head_counts_as_nothing_where_a_missing_emotion_is_left_out(found):
    dead, partial = mean_of(found, "dead heads", "spearman"), mean_of(found, "partial", "spearman")
    good = found["systems"]["good"]["metrics"]["spearman"]["per_emotion"]["value"]
    assert dead["value"] == pytest.approx(good[0] / 3)  # 'Never given' has no rank correlation for anyone
    assert (dead["num_emotions"], dead["num_undefined"]) == (3, 3)
    assert partial["value"] == pytest.approx((good[0] + good[1]) / 2)
    assert (partial["num_emotions"], partial["num_undefined"]) == (2, 2)
    assert found["systems"]["partial"]["num_emotions_scored"] == 3


def test_a_difference_is_over_the_emotions_that_both_have(found):
    gap = next(
        g for g in found["differences"]["of"] if (g["system"], g["metric"], g["set"]) == ("partial", "spearman", "all")
    )
    assert gap["num_emotions"] == 2
    assert gap["difference"] == pytest.approx(0, abs=1e-12)


def test_reliable_emotions_are_those_on_which_raters_agree_and_the_sets_divide_all(found):
    assert "clear" in found["reliable"]["emotions"]
    assert "vague" not in found["reliable"]["emotions"]
    for figures in found["humans"]["metrics"].values():
        sets = figures["sets"]
        assert sets["reliable"]["num_emotions"] + sets["rest"]["num_emotions"] == sets["all"]["num_emotions"]


def test_every_figure_has_a_rule_a_number_behind_it_and_an_interval(found):
    assert found["metrics"].keys() == {**METRICS, **HUMAN_METRICS}.keys()
    assert all(metric["rule"] and metric["name"] for metric in found["metrics"].values())
    for name in ("good", "some images"):
        for figures in found["systems"][name]["metrics"].values():
            per = figures["per_emotion"]
            assert len(per["value"]) == len(per["low"]) == len(per["high"]) == len(per["n"]) == 4
            for value, low, high in zip(per["value"], per["low"], per["high"], strict=True):
                assert (value is None) == (low is None) == (high is None)
    assert found["systems"]["some images"]["metrics"]["mae"]["per_emotion"]["n"] == [50] * 4
    assert all(metric["human"] is None or metric["human"] in found["humans"]["metrics"]
               for metric in found["metrics"].values())  # fmt: skip


def test_oracle_figures_say_so_in_their_key():
    for key, metric in METRICS.items():
        assert ("oracle" in metric.rule) == key.startswith("oracle_") or "as oracle_kappa_binned" in metric.rule


def test_trivial_systems_are_in_every_table_and_are_near_nothing(found):
    kinds = {name: system["kind"] for name, system in found["systems"].items()}
    assert [name for name, kind in kinds.items() if kind == "trivial"] == [
        "all-zero",
        "oracle mean",
        "random",
        "good permuted",
    ]
    for name, kind in kinds.items():
        if kind == "trivial":
            assert abs(mean_of(found, name, "spearman")["value"]) < 0.2
    assert mean_of(found, "good", "spearman")["value"] > 0.4


def test_the_prompted_label_is_a_reference_where_it_is_known():
    panel, _ = made_panel(prompted=[TAXONOMY.slugs[i % 4] for i in range(80)])
    known = {system.name: system for system in trivial_systems(panel, TAXONOMY.slugs)}
    assert known["prompted label"].kind == "reference"
    np.testing.assert_array_equal(known["prompted label"].scores[:4], np.eye(4))


def test_groups_are_drawn_whole():
    panel, truth = made_panel(groups=[str(i // 8) for i in range(80)])
    found = judge(panel, [SystemScores("own", truth)], TAXONOMY, num_draws=DRAWS)
    assert found["bootstrap"]["unit"] == "group"
    assert found["bootstrap"]["num_units"] == 10
    single = judge(panel._replace(groups=None), [SystemScores("own", truth)], TAXONOMY, num_draws=DRAWS)
    assert mean_of(found, "own", "mae")["value"] == mean_of(single, "own", "mae")["value"]
    assert mean_of(found, "own", "mae")["low"] != mean_of(single, "own", "mae")["low"]


def test_other_systems_in_the_table_change_no_figure(case, found):
    panel, systems = case
    alone = judge(panel, [systems[0]], TAXONOMY, num_draws=DRAWS)
    assert alone["systems"]["good"] == found["systems"]["good"]
    assert alone["humans"] == found["humans"]


@pytest.mark.parametrize("num_raters", [1, 2])
def test_few_raters_and_no_system_leave_what_is_undefined_empty(num_raters):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 8, (20, num_raters, 4)).astype(float)
    order = np.tile(np.arange(num_raters), (20, 1))
    panel = Panel("few", [str(i) for i in range(20)], [str(r) for r in range(num_raters)], values, order)
    found = judge(panel, [], TAXONOMY, num_draws=5)
    json.dumps(found, allow_nan=False)
    anchor = found["humans"]["metrics"]["kappa_pooled"]["sets"]["all"]
    assert (anchor["value"] is None) == (num_raters == 1)
    assert found["differences"] == {"subject": None, "of": []}


def test_one_image_is_no_error():
    panel, truth = made_panel(num_images=1)
    found = judge(panel, [SystemScores("own", truth)], TAXONOMY, num_draws=5)
    json.dumps(found, allow_nan=False)
    assert mean_of(found, "own", "mae")["value"] is not None
    assert mean_of(found, "own", "spearman")["value"] is None


def test_the_content_is_plain_json_and_the_same_bytes_twice(case, found):
    again = judge(*case, TAXONOMY, num_draws=DRAWS)
    assert json.dumps(again, allow_nan=False) == json.dumps(found, allow_nan=False)


def test_raters_are_drawn_too(found):
    drawn = found["over_raters"]
    humans = drawn["humans"]["all"]
    assert humans["low"] <= humans["value"] <= humans["high"]
    assert drawn["against_humans"]["good"]["reliable"]["difference"] == pytest.approx(
        drawn["systems"]["good"]["reliable"]["value"] - drawn["humans"]["reliable"]["value"]
    )


def test_reliability_bins_hold_every_pair_once_with_their_means():
    scores = np.array([[-1.0, 0.4], [0.6, 9.0], [np.nan, 6.6]])
    target = np.array([[0.0, 1.0], [2.0, 7.0], [3.0, 5.0]])
    bins = reliability(scores, target, 0, 7)
    assert bins["n"] == [1, 2, 0, 0, 0, 0, 1, 1]
    assert bins["bin_mean_score"][1] == pytest.approx(0.5)
    assert bins["bin_mean_rating"][1] == pytest.approx(1.5)
    assert bins["bin_mean_score"][3] is None


def test_presence_begins_one_level_above_the_lowest():
    panel, truth = made_panel()
    own = Taxonomy("from one", tuple(Dimension(name, name.lower(), 1.0, 8.0) for name in NAMES), 4)
    shifted = panel._replace(values=panel.values + 1)
    found = judge(shifted, [SystemScores("own", truth + 1)], own, num_draws=5)
    assert found["present_threshold"] == 2
    expected = judge(panel, [SystemScores("own", truth)], TAXONOMY, num_draws=5)
    assert mean_of(found, "own", "auroc") == mean_of(expected, "own", "auroc")
