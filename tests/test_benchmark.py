"""judge: what agreement.json says of systems, raters and their differences."""

import json
import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from emonet_lightning.evaluation import agreement
from emonet_lightning.evaluation.benchmark import judge
from emonet_lightning.evaluation.catalogue import HUMAN_METRICS, METRICS
from emonet_lightning.evaluation.estimates import count_constant_as_zero, point, varied
from emonet_lightning.evaluation.score_traits import off_scale, reliability, tie_spread
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
        assert ("oracle" in metric.rule) == key.startswith("oracle_")


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


def test_left_out_figures_are_against_the_mean_of_the_other_raters_on_each_raters_images(case):
    panel, systems = case
    scores, values = systems[3].scores, panel.values  # scored from the 31st image on
    weights = agreement.draws(len(panel.images), 3, 5)
    found = agreement.judge_left_out(scores, values, weights, 2.0)
    for draw, counts in enumerate(weights.astype(int)):
        rows = np.repeat(np.arange(len(counts)), counts)
        for k in (0, 1, 3):
            per_rater = {"spearman": [], "auroc": [], "average_precision": []}
            for rater in range(values.shape[1]):
                others = np.delete(values[rows][..., k], rater, axis=1)
                seen = ~np.isnan(values[rows, rater, k]) & ~np.isnan(others).all(1) & ~np.isnan(scores[rows, k])
                mean, own = np.nanmean(others[seen], axis=1), scores[rows, k][seen]
                per_rater["spearman"].append(stats.spearmanr(own, mean).statistic)
                per_rater["auroc"].append(metrics.roc_auc_score(mean >= 2, own))
                per_rater["average_precision"].append(metrics.average_precision_score(mean >= 2, own))
            for key, figures in per_rater.items():
                assert found[f"{key}_left_out"][draw, k] == pytest.approx(np.mean(figures), abs=1e-10)


def test_only_like_for_like_figures_are_compared_with_humans(found):
    compared = {gap["metric"] for gap in found["against_humans"]}
    assert {"spearman_left_out", "oracle_kappa_binned", "kappa_truncate"} <= compared
    assert not {"spearman", "auroc", "mae", "rmse", "pearson"} & compared
    assert {metric["against_humans"] for metric in found["metrics"].values()} - {None} == compared


def test_with_very_many_raters_none_is_left_out():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 8, (30, 61, 2)).astype(float)
    scores = rng.random((30, 2))
    found = agreement.judge_left_out(scores, values)
    np.testing.assert_allclose(found["spearman_left_out"][0], agreement.spearman(scores, values.mean(axis=1)))


def test_draws_that_lie_to_one_side_are_said_to_be_biased():
    rng = np.random.default_rng(0)
    centred = np.concatenate([[0.5], rng.normal(0.5, 0.1, 2000)])
    assert not point(centred, 0.95)["is_biased"]
    shifted = point(np.concatenate([[0.55], rng.normal(0.5, 0.1, 2000)]), 0.95)
    assert shifted["is_biased"]
    assert shifted["bias"] == pytest.approx(-0.05, abs=0.01)
    assert point(np.array([0.3]), 0.95)["bias"] is None


def test_a_system_that_is_constant_in_a_draw_only_counts_as_nothing_there():
    values = np.array([[0.4, 0.2], [np.nan, 0.1], [np.nan, np.nan]])
    target_varied = np.array([[True, True], [True, True], [False, True]])
    counted = count_constant_as_zero(values, target_varied, np.array([True, True]))
    np.testing.assert_array_equal(counted, [[0.4, 0.2], [0.0, 0.1], [np.nan, 0.0]])


def test_a_target_varies_in_a_draw_if_the_drawn_images_differ():
    target = np.array([[1.0, 0.0], [1.0, 0.0], [2.0, np.nan]])
    weights = np.array([[1, 1, 1], [2, 1, 0], [0, 1, 2]])
    np.testing.assert_array_equal(varied(target, weights), [[True, False], [False, False], [True, False]])


def test_scores_on_zero_to_one_are_off_the_scale_and_whole_levels_are_not():
    share = np.array([[0.2, np.nan], [1.0, 0.0]])
    assert off_scale(share, 0, 7)
    assert not off_scale(7 * share, 0, 7)
    assert not off_scale(np.rint(share), 0, 7)
    assert not off_scale(share, 0, 1)


def test_systems_that_skipped_other_cells_have_not_scored_the_same_images():
    panel, truth = made_panel()
    first, second = truth.copy(), truth.copy()
    first[:5, 0], second[:5, 1] = np.nan, np.nan  # every image is scored by both, in part
    found = judge(panel, [SystemScores("first", first), SystemScores("second", second)], TAXONOMY, num_draws=5)
    assert not any(gap["same_images"] for gap in found["differences"]["of"])
    assert not any(gap["same_images"] for gap in found["against_humans"])
    assert found["systems"]["first"]["images_per_emotion"] == {"min": 75, "max": 80}


def test_only_tied_scores_depend_on_the_order_of_images(case):
    panel, systems = case
    sets = {"all": np.ones(4, dtype=bool)}
    by_slot = slots(panel)
    assert tie_spread(systems[0].scores, by_slot, 0, 7, sets) is None
    assert tie_spread(np.rint(systems[0].scores / 3), by_slot, 0, 7, sets)["all"] > 0.001


def test_emotions_near_the_threshold_of_reliability_are_named(found):
    alpha = found["humans"]["metrics"]["alpha_interval"]["per_emotion"]
    expected = [
        slug
        for slug, low, high in zip(TAXONOMY.slugs, alpha["low"], alpha["high"], strict=True)
        if low is not None and low < 0.3 <= high
    ]
    assert found["reliable"]["uncertain"] == expected
    assert "clear" not in expected


def test_only_a_system_of_unknown_scale_can_be_off_it():
    panel, truth = made_panel()
    share = truth / 10
    systems = [SystemScores("service", share), SystemScores("heads", share, on_scale=True)]
    found = judge(panel, [*systems, *trivial_systems(panel, TAXONOMY.slugs)], TAXONOMY, num_draws=5)
    assert [name for name, system in found["systems"].items() if system["off_scale"]] == ["service"]
    off = {(gap["system"], gap["metric"]) for gap in found["against_humans"] if gap["off_scale"]}
    assert off == {("service", key) for key in ("kappa_truncate", "kappa_round", "kappa_pooled_round")}


def test_each_rater_stands_alone_on_all_reliable_and_other_emotions(case, found):
    panel, _ = case
    single = agreement.rater_scores(panel.values, 0, 7, 1.0)
    reliable = np.array([slug in found["reliable"]["emotions"] for slug in TAXONOMY.slugs])
    per_rater = found["humans"]["per_rater"]
    for name, chosen in (("all", np.ones(4, dtype=bool)), ("reliable", reliable), ("rest", ~reliable)):
        for key in ("kappa_truncate", "spearman"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = np.nanmean(single[key][:, chosen], axis=1)
            assert list(per_rater[name][key].values()) == pytest.approx(expected.tolist())
    assert list(per_rater["all"]["mae"]) == panel.raters


def test_pairs_of_raters_without_a_kappa_are_counted_by_their_reason(found):
    pairs = found["humans"]["undefined_pairs"]
    assert pairs["num_pairs"] == [6, 6, 6, 6]
    assert pairs["constant"] == [0, 0, 6, 0]  # nobody ever gave the third emotion
    assert pairs["apart"] == [0, 0, 0, 0]
