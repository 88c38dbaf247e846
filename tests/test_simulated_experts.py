"""Simulated experts: the embedded ones are unchanged, the released ones agree as released, what is planted is found."""

import ast
import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from emonet_lightning.cli import main
from emonet_lightning.errors import UsageError
from emonet_lightning.evaluation.agreement import (
    krippendorff_alpha,
    pooled_rater_kappa,
    pooled_system_kappa,
    rater_kappa,
    spearman,
)
from emonet_lightning.evaluation.rater_effects import rater_effects
from emonet_lightning.evaluation.vote_file import read_votes
from emonet_lightning.ratings.consensus import binary_questions, label_votes
from emonet_lightning.ratings.panel import slots
from emonet_lightning.ratings.panel_files import read_panel
from emonet_lightning.synthesis.experts import draw_truth, rate_images, signal_of, vote_on_images
from emonet_lightning.synthesis.expressions import display_similarity, load_expressions, perform
from emonet_lightning.synthesis.fit_experts import simulated_ratings, simulated_votes
from emonet_lightning.synthesis.identity import sample_identity
from emonet_lightning.synthesis.rater_presets import EMBEDDED, load_preset, released
from emonet_lightning.synthesis.raters import NUM_ACTIONS, Rater, draw_raters, evidence, mistaking, rate, says_yes
from emonet_lightning.synthesis.released_targets import rating_figures, released_ratings
from emonet_lightning.taxonomy import Taxonomy

PLAIN = Rater("plain", threshold=-np.inf, level_noise=0.0, curve=1.0, slip=0.0)
"""Gives every intensity back, rounded, and at least 1."""


def steps(num_images, seed=0, low=2, high=6):
    """Intensities of all 40 emotions, independent, in the middle of the scale."""
    return np.random.default_rng(seed).integers(low, high + 1, size=(num_images, 40)).astype(float)


# The embedded population before there were presets, as it was written then: the embedded sets must not change.


def old_raters(seed, count):
    rng = np.random.default_rng([seed, 77])
    return [
        {
            "leniency": float(rng.normal() * 0.03),
            "scale": float(np.exp(0.20 * rng.normal())),
            "noise": float(rng.uniform(0.08, 0.15)),
            "doubt": float(rng.uniform(0.03, 0.11)),
            "attention": float(rng.uniform(0.75, 0.95)),
            "threshold": float(rng.uniform(0.08, 0.20)),
            "taste": tuple(float(t) for t in 0.07 * rng.normal(size=40)),
        }
        for _ in range(count)
    ]


def old_judge(rater, actions, rng):
    seen = evidence(actions, rng, rater["noise"])
    return seen + rater["leniency"] + np.array(rater["taste"]) + rater["doubt"] * rng.normal(size=len(seen))


def old_rate(rater, actions, rng):
    seen = old_judge(rater, actions, rng)
    noticed = (seen > rater["threshold"]) & (rng.random(len(seen)) < rater["attention"])
    level = 7 * rater["scale"] * seen.clip(0, None) ** 0.8 + 0.8 * rng.normal(size=len(seen))
    return np.where(noticed, np.clip(np.round(level), 1, 7), 0).astype(np.int64)


def old_says_yes(rater, emotion, actions, rng, asked):
    yes = bool(old_judge(rater, actions, rng)[emotion] + asked > load_expressions().strict[emotion])
    return yes != bool(rng.random() < 0.03)


@pytest.mark.parametrize("seed", [0, 5])
def test_the_embedded_population_rates_and_votes_as_before_to_the_bit(seed):
    rng = np.random.default_rng(seed)
    for old, new in zip(old_raters(seed, 8), draw_raters(EMBEDDED, seed, 8), strict=True):
        for face in range(6):
            actions = perform(np.eye(40)[(seed + 7 * face) % 40] * 6, sample_identity(rng, NUM_ACTIONS), rng)
            one, two = np.random.default_rng([seed, face]), np.random.default_rng([seed, face])
            assert np.array_equal(old_rate(old, actions, one), rate(new, actions, two))
            assert old_says_yes(old, face, actions, one, 0.10) == says_yes(new, face, actions, two, new.asked)
            assert one.random() == two.random(), "as much chance was used"


@pytest.fixture(scope="module")
def as_released():
    preset, rates = released()
    return simulated_ratings(preset, rates, range(200, 202)), simulated_votes(preset, rates, 200)


def test_the_released_population_agrees_as_the_released_raters_do(as_released):
    found, wanted = as_released[0], released_ratings()
    assert found.alpha.mean() == pytest.approx(0.188, abs=0.015)
    assert found.anchor.mean() == pytest.approx(0.204, abs=0.015)
    reliable = wanted.alpha >= 0.3
    assert reliable.sum() == 5
    assert found.anchor[reliable].mean() == pytest.approx(0.468, abs=0.03)
    assert np.abs(found.alpha - wanted.alpha).mean() < 0.02
    assert np.abs(found.alpha - wanted.alpha).max() < 0.06
    assert np.abs(found.anchor - wanted.anchor).max() < 0.06
    assert found.row_mean == pytest.approx(8.137, abs=0.2)
    assert found.row_std == pytest.approx(4.001, abs=0.2)


def test_the_released_population_uses_the_whole_scale_for_every_emotion():
    preset, rates = released()
    panel = rate_images(draw_raters(preset, 1, 8), signal_of(draw_truth(1000, rates, 1).intensities), 1)
    there = [panel.values[..., k][panel.values[..., k] > 0] for k in range(40)]
    assert all(set(levels) == set(range(1, 8)) for levels in there)
    means = [levels.mean() for levels in there]
    assert 2.5 < min(means) < max(means) < 4.6


def test_the_released_population_votes_as_the_released_raters_do(as_released):
    shares = dict(zip(("TTT", "TTF", "TF", "F", "T"), as_released[1].total.tolist(), strict=True))
    wanted = {"TTT": 9075, "TTF": 1943, "TF": 3652, "F": 3433, "T": 1896}
    assert shares == pytest.approx({key: count / 19_999 for key, count in wanted.items()}, abs=0.012)
    assert as_released[1].contrast.mean() == pytest.approx(0.057, abs=0.01)
    assert as_released[1].outcomes[:, 0].min() < 0.02, "support is as uneven as it is released"
    assert as_released[1].outcomes[:, 0].max() > 0.8


def test_a_table_of_truth_has_its_rates_and_emotions_that_look_alike_come_together():
    rates = np.linspace(0.05, 0.3, 40)
    truth = draw_truth(8000, rates, seed=1)
    others = np.arange(40) != truth.prompted[:, None]
    there = np.array([(truth.intensities[others[:, k], k] > 0).mean() for k in range(40)])
    assert (there > rates).all(), "look-alikes come with the prompted emotion, on top"
    assert (there < rates + 0.2).all()
    assert np.corrcoef(there, rates)[0, 1] > 0.95
    assert np.bincount(truth.prompted).tolist() == [200] * 40
    asked = truth.intensities[np.arange(8000), truth.prompted]
    assert asked.min() >= 7 * 0.4 - 1e-9
    together = np.corrcoef(truth.intensities.T)[np.triu_indices(40, 1)]
    alike = display_similarity()[np.triu_indices(40, 1)]
    assert np.corrcoef(together, alike)[0, 1] > 0.9
    # also where the prompt is the same
    mean = np.stack([truth.intensities[truth.prompted == k].mean(axis=0) for k in range(40)])
    within = np.corrcoef((truth.intensities - mean[truth.prompted]).T)[np.triu_indices(40, 1)]
    assert np.corrcoef(within, alike)[0, 1] > 0.9


def test_alpha_and_anchor_are_those_that_the_planted_noise_makes():
    truth, noise = steps(3000), 1.1
    people = [replace(PLAIN, name=f"r{r}", level_noise=noise) for r in range(8)]
    panel = rate_images(people, signal_of(truth), seed=3)
    variance = truth.var(axis=0)
    # rounding adds 1/12; levels are cut at 1 and 7, rarely
    wanted = (variance / (variance + noise**2 + 1 / 12)).mean()
    assert krippendorff_alpha(panel.values).mean() == pytest.approx(wanted, abs=0.015)
    anchor = pooled_rater_kappa(slots(panel), 0, 7)
    assert anchor.mean() == pytest.approx(wanted, abs=0.015)
    # a perfect system is worth more than a rater: 2 rho / (1 + rho), as its own answers have no noise
    perfect = pooled_system_kappa(truth, slots(panel), 0, 7)
    assert perfect.mean() == pytest.approx(2 * wanted / (1 + wanted), abs=0.02)
    assert (perfect > anchor).all()


def test_experts_without_noise_agree_fully_and_a_perfect_system_with_them():
    truth = steps(200)
    panel = rate_images([replace(PLAIN, name=f"r{r}") for r in range(8)], signal_of(truth), part=50)
    assert np.array_equal(panel.values[panel.order >= 0], np.repeat(truth, 4, axis=0))
    assert np.allclose(krippendorff_alpha(panel.values), 1)
    assert np.allclose(pooled_system_kappa(truth, slots(panel), 0, 7), 1)


def test_bias_scale_and_attention_of_raters_are_found():
    truth = signal_of(steps(1200, low=3, high=5))
    people = [replace(PLAIN, name=f"r{r}", level_noise=0.7) for r in range(8)]
    taste = np.zeros(40)
    taste[[3, 20]] = 1.4 / 7, -0.9 / 7
    people[1] = replace(people[1], taste=taste)
    people[2] = replace(people[2], scale=1.2)
    people[5] = replace(people[5], attention=0.6)
    found = rater_effects(rate_images(people, truth, part=20).values, num_permutations=19)
    others = np.delete(np.arange(40), [3, 20])
    # against the three others, whose scale and attention are planted, too: only raters 0..3 and 4..7 meet
    assert found.bias[1, 3] - found.bias[1, others].mean() == pytest.approx(1.4, abs=0.2)
    assert found.bias[1, 20] - found.bias[1, others].mean() == pytest.approx(-0.9, abs=0.2)
    assert found.scale.argmax() == 2
    assert found.scale[2] == pytest.approx(1.2, abs=0.05)
    assert found.num_present.argmin() == 5
    assert found.num_present[5] == pytest.approx(0.6 * 40, rel=0.03)
    assert found.num_present[0] == 40


def test_a_careless_rater_is_told_from_careful_ones_who_agree_little():
    preset, rates = released()
    people = list(draw_raters(preset, 0, 8))
    people[6] = replace(people[6], lapse=1.0)
    panel = rate_images(people, signal_of(draw_truth(1500, rates, 0).intensities), part=100)
    found = rater_effects(panel.values, num_permutations=99)
    assert found.p[6] > 0.05
    assert (np.delete(found.p, 6) == 0.01).all()
    assert found.sensitivity.argmin() == 6
    kappa = np.nanmean(rater_kappa(panel.values[:, 4:], 0, 7), axis=(1, 2))  # these four meet
    assert kappa[2] < 0.2 * np.delete(kappa, 2).min()
    # and one who looks at half of the faces is between them
    people[6] = replace(people[6], lapse=0.5)
    half = rater_effects(
        rate_images(people, signal_of(draw_truth(1500, rates, 0).intensities), part=100).values, num_permutations=19
    )
    assert found.sensitivity[6] < half.sensitivity[6] < np.delete(half.sensitivity, 6).min()


def test_emotions_are_taken_for_their_neighbours_as_planted():
    truth = np.repeat(4 * np.eye(40), 30, axis=0)
    where, off = mistaking(0.4), ~np.eye(40, dtype=bool)
    raised = 2.5  # levels, so that nothing is cut off below
    seen = {}
    for share in (0.0, 0.4):
        people = [
            replace(PLAIN, name=f"r{r}", confusion=share, level_noise=0.5, taste=raised / 7 * np.ones(40))
            for r in range(4)
        ]
        levels = np.nanmean(rate_images(people, signal_of(truth)).values, axis=1)
        seen[share] = levels.reshape(40, 30, 40).mean(axis=1) - raised
    assert np.corrcoef(seen[0.4][off], where[off])[0, 1] > 0.7
    slope = np.polyfit(where[off], seen[0.4][off], 1)[0]
    assert slope == pytest.approx(4, abs=0.3), "of four levels, the planted share goes over"
    assert np.diag(seen[0.4]).mean() == pytest.approx(4 * 0.6, abs=0.1)
    assert np.abs(seen[0.0][off]).mean() < 0.1
    assert abs(np.corrcoef(seen[0.0][off], where[off])[0, 1]) < 0.1
    assert np.diag(seen[0.0]).mean() == pytest.approx(4, abs=0.1)


def test_consensus_rules_find_the_planted_answers_and_three_yes_are_the_surest():
    num_images = 8000
    rng = np.random.default_rng(0)
    prompted = np.arange(num_images) % 40
    is_there = rng.random(num_images) < 0.6
    signal = np.zeros((num_images, 40))
    signal[np.arange(num_images), prompted] = is_there
    people = [replace(PLAIN, name=f"human-{r + 1}", slip=0.15, strict=np.full(40, 0.5), asked=0.0) for r in range(7)]
    votes, place = vote_on_images(people, signal, prompted)
    questions = binary_questions(votes, [votes.slugs[k] for k in prompted])
    target = questions.is_target & (questions.num_yes + questions.num_no > 0) & (questions.row >= num_images // 10)
    planted = is_there[questions.row[target]]
    yes, no = questions.num_yes[target], questions.num_no[target]
    right = {}
    for rule in ("triple_yes", "majority", "mean", "drop_ties"):
        found = label_votes(yes, no, rule)
        chosen = found.mask & (found.share > 0.5)
        right[rule] = planted[chosen].mean()
    # Bayes: three independent yes at a slip of 0.15, and two of two or three
    assert right["triple_yes"] == pytest.approx(0.6 * 0.85**3 / (0.6 * 0.85**3 + 0.4 * 0.15**3), abs=0.01)
    assert right["triple_yes"] > right["majority"] == right["mean"] == right["drop_ties"]
    assert (votes.value[place == -1] == 1).mean() == pytest.approx(0.15, abs=0.01), "nothing is there of a contrast"
    assert votes.value[(place == 0) & is_there[votes.row]].mean() == pytest.approx(0.85, abs=0.01)


def test_rendered_actions_serve_as_truth_as_well(tmp_path):
    common = ["synthesize", "experts", "--preset", "embedded", "--num_images", "60", "--progress", "false"]
    assert main([*common, "--actions", "--out", str(tmp_path)]) == 0
    taxonomy = Taxonomy.load("emonet40")
    panel, _ = read_panel(tmp_path / "hq.csv", taxonomy)
    with open(tmp_path / "truth.csv") as stream:
        truth = np.array([[float(cell) for cell in row[1:]] for row in list(csv.reader(stream))[1:]])
    means = np.nanmean(panel.values, axis=1)
    assert np.corrcoef(means.ravel(), truth.ravel())[0, 1] > 0.4
    assert main([*common[:2], "--actions", "--out", str(tmp_path)]) == 2, "released: fitted to tables of intensities"


def test_the_command_writes_files_that_the_other_commands_read(tmp_path, capsys):
    out = tmp_path / "experts"
    arguments = ["--num_images", "300", "--num_voted", "400", "--seed", "3", "--progress", "false"]
    assert main(["synthesize", "experts", "--out", str(out), *arguments]) == 0
    assert "released" in capsys.readouterr().out
    taxonomy = Taxonomy.load("emonet40")
    assert taxonomy.slugs == load_expressions().slugs, "columns of both are the same"
    panel, systems = read_panel(out / "hq.csv", taxonomy)
    assert not systems
    assert (panel.order >= 0).sum(axis=1).tolist() == [4] * 300
    preset, rates = released()
    again = rate_images(draw_raters(preset, 3, 8), signal_of(draw_truth(300, rates, 3).intensities), 3)
    assert np.array_equal(panel.values, again.values, equal_nan=True)
    votes = read_votes(out / "binary.csv", taxonomy, {"prompted": "prompted"})
    assert len(votes.ratings.keys) == 400
    planted = json.loads((out / "planted.json").read_text())
    assert [rater["name"] for rater in planted["raters"]] == [f"human-{r}" for r in range(1, 9)]
    assert "figures/experts.png" in (out / "experts.md").read_text()
    assert (out / "figures" / "experts.png").stat().st_size > 10_000
    first = (out / "hq.csv").read_text().splitlines()[1].split(",", 3)[3].strip('"')
    assert all(1 <= level <= 7 for level in ast.literal_eval(first).values())


def test_an_own_table_of_truth_is_rated(tmp_path):
    lines = ["image,anger,elation", "a.jpg,7,0", "b.jpg,0,7", "c.jpg,7,7", "d.jpg,0,0"]
    (tmp_path / "truth.csv").write_text("\n".join(lines) + "\n")
    out = str(tmp_path / "out")
    command = ["synthesize", "experts", "--out", out, "--truth", str(tmp_path / "truth.csv")]
    assert main(command) == 0
    panel, _ = read_panel(f"{out}/hq.csv", Taxonomy.load("emonet40"))
    assert panel.images == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    slugs = load_expressions().slugs
    mean = np.nanmean(panel.values, axis=1)[:, [slugs.index("anger"), slugs.index("elation")]]
    assert mean[[0, 2], 0].min() > mean[[1, 3], 0].max()
    (tmp_path / "truth.csv").write_text("image,anger\na.jpg,9\nb.jpg,1\n")
    assert main(command) == 65


def test_options_that_cannot_be_are_refused(tmp_path, capsys):
    out = str(tmp_path / "never")
    assert main(["synthesize", "experts", "--out", out, "--num_images", "1"]) == 2
    assert main(["synthesize", "experts", "--out", out, "--fit"]) == 2
    assert "--votes binary.csv" in capsys.readouterr().err
    with pytest.raises(UsageError, match="no such raters; did you mean 'released'"):
        load_preset("releasd")


def test_the_fit_reads_the_released_votes(real_data):
    from emonet_lightning.synthesis.released_targets import vote_figures

    votes = read_votes(real_data / "binary.csv", Taxonomy.load("emonet40"))
    aim = vote_figures(votes.ratings, votes.questions)
    assert aim.total == pytest.approx(np.array([9075, 1943, 3652, 3433, 1896]) / 19_999, abs=2e-4)
    found = simulated_votes(*released(), 200)
    assert np.corrcoef(aim.outcomes[:, 0], found.outcomes[:, 0])[0, 1] > 0.98
    assert np.corrcoef(aim.contrast, found.contrast)[0, 1] > 0.9


@pytest.mark.slow
def test_the_fit_gets_to_the_released_figures_from_its_beginning(real_data):
    """About a minute: the shipped preset is what the fit gives."""
    from emonet_lightning.synthesis.fit_experts import fit
    from emonet_lightning.synthesis.released_targets import vote_figures

    votes = read_votes(real_data / "binary.csv", Taxonomy.load("emonet40"))
    fitted = fit(vote_figures(votes.ratings, votes.questions))
    shipped, _ = released()
    slugs = load_expressions().slugs
    assert [fitted.content["emotions"][slug]["strict"] for slug in slugs] == pytest.approx(shipped.strict, abs=0.02)
    assert fitted.ratings.alpha == pytest.approx(released_ratings().alpha, abs=0.06)


def test_spearman_of_the_truth_is_the_ceiling_of_any_system():
    preset, rates = released()
    truth = draw_truth(1200, rates, 4).intensities
    panel = rate_images(draw_raters(preset, 4, 8), signal_of(truth), 4)
    mean = np.nanmean(panel.values, axis=1)
    rng = np.random.default_rng(0)
    blurred = truth + 2.0 * rng.normal(size=truth.shape)
    best, worse = (np.nanmean(spearman(scores, mean)) for scores in (truth, blurred))
    assert best > worse + 0.05 > 0.1
    assert rating_figures(panel).row_mean == pytest.approx(8.1, abs=0.4)
