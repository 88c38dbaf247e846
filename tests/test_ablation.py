"""Differences between levels of a factor: their intervals cover, their corrections are the published ones."""

import json

import numpy as np
import pytest
from scipy import stats

from emonet_lightning.cli import main
from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.evaluation.bootstrap import draws
from emonet_lightning.evaluation.multiple_comparisons import false_discovery, holm
from emonet_lightning.sweeping.ablation import (
    differences,
    hedges,
    optimism,
    pareto,
    t_interval,
)
from emonet_lightning.sweeping.findings import findings
from emonet_lightning.sweeping.finished import TrialRun
from emonet_lightning.sweeping.points import Scored, comparable, factors_of, level
from emonet_lightning.sweeping.report import write_ablation
from emonet_lightning.sweeping.report_text import NO_FACTORS, ablation_text
from emonet_lightning.sweeping.scaling import fit_power_law
from emonet_lightning.sweeping.validation import score_trials


def trial(seed, values, **factors):
    return Scored(factors, seed, np.atleast_1d(np.asarray(values, dtype=np.float64)))


def test_without_images_drawn_it_is_the_paired_t_test():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.02, 0.01, 5), rng.normal(0, 0.01, 5)
    low, high, p = t_interval((first - second).mean(), stats.sem(first - second), 4, 0.0, 99, 0.95)
    expected = stats.ttest_rel(first, second)
    assert p == pytest.approx(expected.pvalue)
    assert (low, high) == pytest.approx(tuple(expected.confidence_interval()))


def test_intervals_over_seeds_and_images_cover_as_often_as_they_say():
    """Score = mean over images of: image, level, seed of the level, and their interplay."""
    rng = np.random.default_rng(1)
    num_images, truth, covered, alone = 60, 0.1, 0, 0
    weights = draws(num_images, 100, 0) / num_images
    for _ in range(400):
        of_image = {name: rng.normal(0, 0.15, num_images) for name in "ab"}
        trials = []
        for name, gain in (("a", 0.0), ("b", truth)):
            for seed in range(3):
                each = gain + rng.normal(0, 0.02) + of_image[name] + rng.normal(0, 0.05, num_images)
                trials.append(trial(seed, weights @ each, width=name))
        (found,) = differences(trials, "width", "a", num_images)
        covered += found.low <= truth <= found.high
        alone += abs(found.value - truth) <= stats.t.ppf(0.975, 2) * found.se_seeds
    assert 0.92 <= covered / 400 <= 0.98
    assert alone / 400 < 0.9, "seeds alone promise too much here"


def test_pairs_share_everything_else_and_seeds_are_what_repeats():
    trials = [
        trial(s, [0.1 * w + 0.01 * s + 0.5 * d], width=w, dropout=d) for s in (0, 1, 2) for w in (1, 2) for d in (0, 1)
    ]
    trials.append(trial(3, [0.9], width=2, dropout=0))  # has no partner
    (found,) = differences(trials, "width", 1, num_images=10)
    assert found.value == pytest.approx(0.1)
    assert (found.num_seeds, found.num_pairs) == (3, 6)
    assert np.isnan(found.low), "nobody drew images"
    with pytest.raises(DataError, match="two trials have width 2 and seed 0 and differ in nothing"):
        differences([*trials, trials[2]], "width", 1, num_images=10)


def test_two_seeds_give_no_interval_and_equal_trials_no_effect():
    pair = [trial(s, [0.1 * w + 0.02 * s * w, *np.linspace(0, 0.1, 5) * w], width=w) for s in (0, 1) for w in (1, 2)]
    (found,) = differences(pair, "width", 1, num_images=10)
    assert np.isnan([found.low, found.high, found.p]).all()
    same = [trial(s, np.full(6, 0.3), width=w) for s in (0, 1, 2) for w in (1, 2)]
    (found,) = differences(same, "width", 1, num_images=10)
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert np.isnan(found.effect)


def test_effect_is_hedges_g_of_paired_differences():
    trials = [trial(s, [0.0, 0.0, 0.0], width=1) for s in range(4)]
    trials += [trial(s, [0.1 + 0.02 * s] * 3, width=2) for s in range(4)]
    (found,) = differences(trials, "width", 1, num_images=10)
    d = 0.13 / np.std([0.1, 0.12, 0.14, 0.16], ddof=1)
    assert found.effect == pytest.approx(d * hedges(3))
    assert hedges(10) == pytest.approx(1 - 3 / (4 * 10 - 1), abs=1e-3)


def test_corrections_are_the_published_ones():
    p = [0.01, 0.04, np.nan, 0.03, 0.005]
    assert holm(p) == pytest.approx([0.03, 0.06, np.nan, 0.06, 0.02], nan_ok=True)
    assert false_discovery(p) == pytest.approx([0.02, 0.04, np.nan, 0.04, 0.02], nan_ok=True)
    assert np.isnan(holm([np.nan])).all()


def test_chance_of_a_false_finding_among_many_is_kept():
    rng = np.random.default_rng(2)
    p = rng.random((2000, 8))
    assert np.mean([(holm(row) < 0.05).any() for row in p]) == pytest.approx(0.05, abs=0.02)
    assert np.mean([(row < 0.05).any() for row in p]) > 0.25


def test_best_of_many_equal_trials_is_known_to_be_luck():
    rng = np.random.default_rng(3)
    weights = draws(50, 200, 0) / 50
    trials = [trial(0, weights @ rng.normal(0.4, 0.2, 50), lr=i) for i in range(20)]
    found = optimism(np.stack([t.values for t in trials]))
    assert found.num_trials == 20
    assert found.best == max(t.values[0] for t in trials)
    assert 0.01 < found.expected < found.best - 0.4 + 0.05
    assert optimism(trials[0].values[None]).expected == pytest.approx(0, abs=0.01)


def test_front_of_cost_and_score_holds_what_nothing_beats():
    cost, score = [1.0, 2.0, 2.0, 3.0, 4.0], [0.2, 0.5, 0.4, 0.5, 0.6]
    assert pareto(cost, score) == [0, 1, 4]


def test_levels_are_compared_where_everything_else_is_alike():
    grid = [{"a": a, "b": b} for a in (1, 2) for b in (1, 2)]
    assert comparable(grid, "a") == [0, 1, 2, 3]
    assert comparable([*grid, {"a": 1, "b": 3}], "a") == [0, 1, 2, 3], "one factor at a time: others at the baseline"
    assert comparable([{"a": 1, "b": 1}, {"a": 2, "b": 2}], "a") == [0, 1], "nothing is alike"


def test_factors_are_options_that_vary_and_lists_are_levels():
    points = [{"a": [1, 2], "b": 1, "seed_everything": s} for s in (0, 1)] + [{"a": [1], "b": 1, "seed_everything": 0}]
    assert factors_of(points) == ["a"]
    assert level([1, 2]) == "[1, 2]"


def test_power_law_is_found_again_and_nothing_is_made_of_nothing():
    amounts = np.array([1, 3, 10, 30, 100.0])
    truth = 0.6 - 0.1 * (amounts / 100) ** -0.4
    found = fit_power_law(amounts, truth)
    assert (found.ceiling, found.loss, found.exponent) == pytest.approx((0.6, 0.1, 0.4), abs=1e-3)
    assert found.r2 == pytest.approx(1)
    assert found.at(np.array([300.0])) == pytest.approx(0.6 - 0.1 * 3**-0.4, abs=1e-3)
    assert fit_power_law([1, 2, 3], [0.1, 0.2, 0.3]) is None
    assert fit_power_law([1, 2, 3, 4, 5], [0.1, 0.5, 0.5, 0.5, 0.5]) is None, "a step is no power law"
    assert fit_power_law([1, 2, 3, 4], [0.2] * 4) is None
    assert fit_power_law([0, 2, 3, 4], [0.1, 0.2, 0.3, 0.4]) is None


@pytest.fixture(scope="module")
def fitted(small_sets, encoder_options, tmp_path_factory):
    """Two widths, three seeds each."""
    out, trials = tmp_path_factory.mktemp("trials"), []
    words = [
        "fit", "--data=SyntheticFaces", f"--data.path={small_sets['big']}", "--data.batch_size=40",
        "--model.dropout=0", "--trainer.max_epochs=2", "--trainer.accelerator=cpu", "--trainer.devices=1",
        "--trainer.enable_progress_bar=false", "--figures=false", *encoder_options,
    ]  # fmt: skip
    for number, (width, seed) in enumerate([(w, s) for w in (4, 32) for s in (0, 1, 2)]):
        folder = out / f"{number:04d}"
        assert main([*words, f"--model.widths=[{width}]", f"--seed_everything={seed}", f"--out={folder}"]) == 0
        trials.append(TrialRun(number, folder, {"model.widths": [width], "seed_everything": seed}, 1.0 + number))
    other = out / "other"
    assert main([*words, "--model.widths=[4]", "--data.val_split=train", f"--out={other}"]) == 0
    return trials, other


def test_trials_are_scored_again_as_they_scored_themselves_and_under_shared_draws(fitted):
    trials, other = fitted
    folders = [trial.folder for trial in trials]
    found = score_trials(folders, folders[0], num_draws=20)
    assert (found.num_images, found.metric) == (40, "spearman")
    for folder, values in zip(folders, found.values, strict=True):
        assert values.shape == (21,)
        # best_heads keeps each head's best epoch: at least as good as the best epoch of all
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert values[0] >= max(line["val/score"] for line in lines if "val/score" in line) - 1e-6
    assert not np.allclose(found.values[0], found.values[1])
    with pytest.raises(DataError, match="was validated on other images"):
        score_trials([folders[0], other], folders[0], num_draws=2)


def test_report_says_what_was_compared_how_often_and_draws_it(fitted, tmp_path):
    trials, _ = fitted
    content = findings(trials, {"model.widths": [32]}, num_trials=9, num_draws=50)
    (difference,) = content["differences"]
    assert (difference["level"], difference["baseline"], difference["num_seeds"]) == ("[4]", "[32]", 3)
    assert difference["low"] < difference["value"] < difference["high"]
    assert difference["p_holm"] == difference["p"], "one comparison needs no correction"
    assert [row["num_parameters"] for row in content["pareto"]] == [40 * (257 * width + width + 1) for width in (4, 32)]
    paths = write_ablation(tmp_path, content, "widths")
    text = (tmp_path / "ablation.md").read_text()
    for words in (
        "9 trials saw these images, 6 finished", "same 40 validation images of 10 people by `spearman`",
        "No test set was read",
        "one and the same score, those of the baseline ",
        "| `model.widths` | [4] | [32] |", "![Differences to the baseline", "Trial ",
    ):  # fmt: skip
        assert words in text
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        f"{name}.{ending}" for name in ("pareto", "differences", "curves") for ending in ("png", "pdf")
    }
    before = {path: path.read_bytes() for path in paths}
    write_ablation(tmp_path, findings(trials, {"model.widths": [32]}, num_trials=9, num_draws=50), "widths")
    assert {path: path.read_bytes() for path in paths} == before
    assert json.loads((tmp_path / "ablation.json").read_text())["num_trials"] == 9


def test_one_trial_alone_is_a_report_without_comparisons_and_wrong_baselines_are_named(fitted, tmp_path):
    trials, _ = fitted
    content = findings(trials[:1], num_draws=10)
    write_ablation(tmp_path, content, "one")
    assert NO_FACTORS in (tmp_path / "ablation.md").read_text()
    with pytest.raises(UsageError, match="no trial has finished yet"):
        findings([])
    with pytest.raises(UsageError, match=r"'model\.width' is no factor of this sweep; did you mean 'model\.widths'"):
        findings(trials, {"model.width": 4})
    with pytest.raises(UsageError, match=r"model.widths has no level \[5\] in this sweep; there are \[4\], \[32\]"):
        findings(trials, {"model.widths": [5]})


def test_a_best_trial_that_owes_its_score_to_ties_is_told(fitted, tmp_path):
    trials, _ = fitted
    content = findings(trials, num_draws=5)
    assert content["best"]["tied"] < 0.2
    assert "Rank correlation rewards that" not in ablation_text(content, "untied")
    tied = {**content, "best": {**content["best"], "tied": 0.7}}
    assert "give 70% of these images one and the same score" in ablation_text(tied, "tied")
    assert "Rank correlation rewards that" in ablation_text(tied, "tied")
