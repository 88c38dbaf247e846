"""Configurations that train stacked end as their own fits would; what cannot be stacked is said by name."""

import json
import signal

import pytest
import torch

from emonet_lightning import interruption
from emonet_lightning.bundle import HeadsBundle
from emonet_lightning.cli import main
from emonet_lightning.data import feeding
from emonet_lightning.errors import DataError, InterruptedRunError, UsageError
from emonet_lightning.head_layers import relu_dropout_by_row
from emonet_lightning.heads import EmotionHeads
from emonet_lightning.optimizer import HeadwiseAdamW
from emonet_lightning.reporting.run_report import write_report
from emonet_lightning.sweeping import stacked_steps
from emonet_lightning.sweeping.halving import Halving, Rung
from emonet_lightning.sweeping.selection import best_configuration, best_per_emotion, combined
from emonet_lightning.sweeping.side_by_side import side_by_side, take_back
from emonet_lightning.sweeping.stackable import OWN, which_cannot_stack
from emonet_lightning.sweeping.stacked import train_stacked
from emonet_lightning.sweeping.stacked_steps import HeadStack

EPOCHS = 5
POINTS = {
    "plain": {},
    "rates": {"model.lr": 3e-2, "model.weight_decay": 0.3, "model.clip_norm": 0.01, "model.final_lr_share": 0.2},
    "loss": {"model.loss": "huber", "model.huber_delta": 0.5, "model.imbalance": "balanced", "model.warmup_share": 0.4},
    "narrow": {"model.widths": [6], "model.adam_eps": 1e-3},
    "own": {"model.per_emotion": {"Anger": {"frozen": True}, "Awe": {"lr": 1e-4}}},
    "patient": {"best_heads.patience": 1},
    "coral": {"model.loss": "coral"},
    "raw": {"model.standardise": False, "model.l2_normalise": False, "model.zero_init": True},
    "rough": {"model.heads_dtype": "bfloat16", "model.max_positive_weight": 3, "model.imbalance": "balanced"},
    "seed": {"seed_everything": 1, "best_heads.patience": 2},
}


@pytest.fixture(scope="module")
def words(small_sets, encoder_options):
    """What all fits of this file have in common."""
    fixed = ["--model.widths=[8]", "--model.dropout=0", "--model.lr=1e-2", f"--trainer.max_epochs={EPOCHS}"]
    device = ["--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.enable_progress_bar=false"]
    return [*encoder_options, *fixed, *device, "--figures=false"]


@pytest.fixture(scope="module")
def dense(words, small_sets):
    return ["--data=SyntheticFaces", f"--data.path={small_sets['big']}", "--data.batch_size=40", *words]


@pytest.fixture(scope="module")
def sparse(words, small_sets):
    return ["--data=ExpertBinary", f"--data.path={small_sets['binary']}", "--data.batch_size=30", *words]


def alone(words, point, folder):
    """Train a point by a `fit` of its own."""
    options = [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in point.items()]
    assert main(["fit", *words, *options, "--trainer.enable_checkpointing=false", f"--out={folder}"]) == 0
    return folder


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def assert_same_run(found, expected):
    """Weights, choices and logged figures of two folders are those of one training, to float tolerance."""
    ours, fits = HeadsBundle.load(found), HeadsBundle.load(expected)
    for name, value in fits.heads.state_dict().items():
        difference = (ours.heads.state_dict()[name] - value).norm() / value.norm().clamp(min=1e-12)
        assert difference < 1e-5, (name, difference)
    chosen = [{slug: (c["epoch"], c["by"]) for slug, c in b.training["best"].items()} for b in (ours, fits)]
    assert chosen[0] == chosen[1]
    assert {**ours.training, "best": None} == {**fits.training, "best": None}
    for one, other in zip(lines_of(found), lines_of(expected), strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)


@pytest.fixture(scope="module")
def stacked(dense, tmp_path_factory):
    """All points of dense labels at once."""
    folder = tmp_path_factory.mktemp("stacked")
    return train_stacked(dense, list(POINTS.values()), [folder / name for name in POINTS])


@pytest.fixture
def steps_of_heads(monkeypatch):
    """How many heads each step computes."""
    counted, step = [], HeadStack.step

    def count(self, batch, seed):
        counted.append(self.num_heads)
        return step(self, batch, seed)

    monkeypatch.setattr(HeadStack, "step", count)
    return counted


@pytest.mark.parametrize("name", POINTS)
def test_a_stacked_configuration_ends_as_its_own_fit(name, dense, stacked, tmp_path):
    (result,) = [result for result in stacked if result.folder.name == name]
    assert not result.error
    assert_same_run(result.folder, alone(dense, POINTS[name], tmp_path / "fit"))
    scores = [line["val/score"] for line in lines_of(result.folder) if "val/score" in line]
    assert result.score == max(scores)
    assert result.epochs == len(scores)
    assert result.best == HeadsBundle.load(result.folder).training["best"]


def test_a_configurations_folder_is_tested_and_reported_as_that_of_a_run(stacked, dense, small_sets, encoder_options):
    result = stacked[1]
    words = ["--data=ExpertRatings", f"--data.path={small_sets['hq']}", "--trainer.accelerator=cpu", "--figures=false"]
    assert main(["test", f"--run={result.folder}", *words]) == 0
    write_report(result.folder, [], HeadsBundle.load(result.folder).taxonomy, figures=False)
    report = (result.folder / "report.md").read_text()
    assert f"{result.score:.3f}" in report
    assert "test/spearman" in (result.folder / "results.json").read_text()


def test_options_of_any_point_are_looked_at_before_anything_is_encoded(dense, tmp_path):
    words = [*dense, f"--data.cache_dir={tmp_path / 'cache'}"]
    with pytest.raises(UsageError, match=r"model\.dropout.*one for each of \(8,\)"):
        train_stacked(words, [{}, {"model.dropout": [0.1, 0.2]}], [tmp_path / "0", tmp_path / "1"])
    with pytest.raises(UsageError, match=r"model\.per_emotion.*Angr"):
        train_stacked(words, [{}, {"model.per_emotion": {"Angr": {}}}], [tmp_path / "0", tmp_path / "1"])
    assert not list(tmp_path.rglob("meta.json"))
    assert not (tmp_path / "0").exists()


def test_heads_to_start_from_are_taken_as_a_fit_takes_them(dense, stacked, tmp_path):
    start = {"model.init_heads_from": str(stacked[0].folder), "model.lr": 1e-3}
    anew = {"model.loss": "bce", "model.reinit_last_layer": True}
    words = [*dense, "--trainer.max_epochs=2"]
    points = [start, {**start, **anew}]
    for result in train_stacked(words, points, [tmp_path / "same", tmp_path / "anew"]):
        assert_same_run(result.folder, alone(words, result.point, tmp_path / f"fit{result.number}"))


def test_configurations_that_see_the_same_batches_take_one_step_together(dense, tmp_path, steps_of_heads, capsys):
    """Of another seed, of much wider heads, or with ordinal biases are stacks of their own."""
    points = [{}, {"model.lr": 1e-3}, {"model.widths": [6]}, {"model.widths": [64]}, {"seed_everything": 1}]
    points += [{"model.loss": "coral"}, {"model.widths": [8, 4]}, {"model.loss": "bce", "model.dropout": 0.1}]
    words = [*dense, "--trainer.max_epochs=1"]
    train_stacked(words, points, [tmp_path / str(number) for number in range(8)])
    assert sorted(steps_of_heads) == [40] * 3 * 4 + [160] * 3
    assert "8 configurations of 40 heads in 5 stacks" in capsys.readouterr().err


@pytest.mark.parametrize("sampling", ["rows", "balanced"])
def test_sparse_labels_train_stacked_as_alone_while_heads_finish(sampling, sparse, tmp_path):
    words = [*sparse, f"--data.sampling={sampling}", "--trainer.max_epochs=7", "--model.loss=bce"]
    points = [{"best_heads.patience": 1}, {"model.widths": [6], "model.lr": 3e-2}]
    short, long = train_stacked(words, points, [tmp_path / "short", tmp_path / "long"])
    for point, result in zip(points, (short, long), strict=True):
        assert_same_run(result.folder, alone(words, point, tmp_path / f"fit{result.number}"))
    assert short.epochs < 7
    assert short.ended == "no head was better for 1 epochs"
    assert (long.epochs, long.ended) == (7, "")


def test_dropout_has_its_own_rate_in_each_configuration(dense, tmp_path):
    """Rates of 0 beside one of 0.9: the first ends as without the other, the second learns less."""
    points = [{}, {"model.dropout": 0.9}, {"model.dropout": 0.4}]
    words = [*dense, "--model.widths=[32]", "--trainer.max_epochs=10"]
    exact, strong, weak = train_stacked(words, points, [tmp_path / name for name in ("exact", "strong", "weak")])
    assert_same_run(exact.folder, alone(words, {}, tmp_path / "fit"))
    last = [lines_of(result.folder)[-1]["train/loss"] for result in (exact, weak, strong)]
    assert last[0] < last[1] < last[2]
    fit = lines_of(alone(words, points[1], tmp_path / "dropped"))[-1]["train/loss"]
    assert last[2] == pytest.approx(fit, rel=0.1)
    assert HeadsBundle.load(strong.folder).heads.dropout == [0.9]


def test_configurations_that_are_too_large_for_one_step_take_turns_in_it(dense, tmp_path, monkeypatch):
    """Then each draws what its own fit would: equal to the last bit, dropout included."""
    monkeypatch.setattr(stacked_steps, "MAX_UNITS_ON_CPU", 0)
    words = [*dense, "--model.dropout=0.5"]
    points = [{"model.loss": "mae"}, {"model.dropout": 0.2, "model.widths": [6], "best_heads.patience": 1}]
    for result in train_stacked(words, points, [tmp_path / str(number) for number in range(2)]):
        own = alone(words, result.point, tmp_path / f"fit{result.number}")
        assert_same_run(result.folder, own)
        first, second = (HeadsBundle.load(folder).heads.state_dict() for folder in (result.folder, own))
        assert all(torch.equal(first[name], second[name]) for name in second)


def test_a_configuration_that_diverges_leaves_the_others_alone(dense, tmp_path):
    words = [*dense, f"--model.widths={[8] * 12}"]  # weights of 1e4 in so many layers are beyond float32
    points = [{"model.lr": 1e4, "model.clip_norm": 0}, {}]
    broken, fine = train_stacked(words, points, [tmp_path / "broken", tmp_path / "fine"])
    assert "training diverged" in broken.error
    assert broken.best == {}
    assert not (tmp_path / "broken" / "manifest.json").exists()
    assert_same_run(fine.folder, alone(words, {}, tmp_path / "fit"))
    assert best_configuration([broken, fine]) is fine
    assert {result.number for result in best_per_emotion([broken, fine]).values()} == {1}


def test_halving_drops_the_worse_and_trains_the_best_as_a_run_of_its_own(dense, tmp_path, steps_of_heads):
    words = [*dense, "--trainer.max_epochs=8"]
    points = [{"model.lr": lr} for lr in (1e-2, 1e-9, 3e-3, 1e-8)] + [{"seed_everything": 5}]
    halving = Halving((Rung(1 / 4, 2), Rung(1 / 4, 1)))
    results = train_stacked(words, points, [tmp_path / str(n) for n in range(5)], halving=halving)
    assert sorted(result.epochs for result in results) == [2, 2, 2, 4, 8]
    assert sum(steps_of_heads) == (5 * 2 + 2 * 2 + 4) * 40 * 3
    ranked = sorted(results, key=lambda result: result.epochs)
    (best,) = [result for result in results if not result.ended]
    assert best.epochs == 8
    assert ranked[3].ended == "not among the best 1 by val/score after epoch 3"
    early = [max(line["val/score"] for line in lines_of(r.folder)[:4] if "val/score" in line) for r in results]
    assert {result.number for result in ranked[3:]} == set(sorted(range(5), key=lambda n: -early[n])[:2])
    assert_same_run(best.folder, alone(words, points[best.number], tmp_path / "fit"))
    dropped = HeadsBundle.load(ranked[0].folder)
    assert dropped.training["epochs"] == 2


def test_halving_by_emotion_goes_on_with_each_emotions_best_heads(dense, tmp_path, steps_of_heads):
    words = [*dense, "--trainer.max_epochs=8"]
    points = [{"model.lr": lr} for lr in (1e-2, 3e-2, 3e-3)]
    halving = Halving((Rung(1 / 4, 1),), by="emotion")
    results = train_stacked(words, points, [tmp_path / str(n) for n in range(3)], halving=halving)
    assert sum(steps_of_heads) == (3 * 2 + 6) * 40 * 3
    assert {result.epochs for result in results} == {8}, "each has some emotion's best heads"
    chosen = best_per_emotion(results)
    whole = HeadsBundle.load(alone(words, points[0], tmp_path / "fit")).training["best"]
    went_on = [slug for slug, result in chosen.items() if result.number == 0 and result.best[slug]["epoch"] > 1]
    assert went_on
    for slug in went_on:  # as it would have alone
        assert results[0].best[slug]["epoch"] == whole[slug]["epoch"], slug
        assert results[0].best[slug]["score"] == pytest.approx(whole[slug]["score"], abs=1e-6)


@pytest.mark.parametrize(
    ("halving", "message"),
    [
        (Halving((Rung(0.5, 0),)), "keep at least 1"),
        (Halving((Rung(0.2, 1), Rung(0.2, 2))), "no more than before"),
        (Halving((Rung(0.5, 1), Rung(0.5, 1))), "leave none of 5 epochs"),
    ],
)
def test_rungs_that_cannot_be_are_refused(halving, message):
    with pytest.raises(UsageError, match=message):
        halving.segments(5)


def test_the_default_rungs_take_twice_the_work_of_one_run():
    found = Halving().segments(16)
    assert [(part.start, part.stop, part.keep) for part in found] == [(0, 2, 2), (2, 4, 1), (4, 16, None)]
    assert 8 * 2 + 2 * 2 + 12 == 2 * 16
    assert [(part.start, part.stop) for part in Halving().segments(3)] == [(0, 1), (1, 2), (2, 3)], "one each at least"


def test_each_emotions_best_heads_become_one_bundle(stacked, tmp_path):
    alike = [result for result in stacked if result.folder.name not in ("coral", "raw")]
    chosen = best_per_emotion(alike)
    assert len({result.number for result in chosen.values()}) > 2
    combined(chosen).save(tmp_path)
    found = HeadsBundle.load(tmp_path)
    features = torch.randn(50, 256, generator=torch.Generator().manual_seed(0))
    scores = found.scores(features)
    for head, (slug, result) in enumerate(chosen.items()):
        assert found.taxonomy.slugs[head] == slug
        own = HeadsBundle.load(result.folder).scores(features)[:, head]
        assert torch.allclose(scores[:, head], own, atol=1e-5)
        judged = [other.best[slug]["score"] for other in alike if other.best[slug]["by"] == "own"]
        assert not judged or result.best[slug]["score"] == max(judged)
    coral = next(result for result in stacked if result.folder.name == "coral")
    with pytest.raises(DataError, match=r"model\.loss decides \(configuration 6\)"):
        combined({**chosen, "anger": coral})
    raw = next(result for result in stacked if result.folder.name == "raw")
    with pytest.raises(DataError, match=r"model\.l2_normalise decides \(configuration 7\)"):
        combined({**chosen, "anger": raw})


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("data.batch_size", "same batches"),
        ("trainer.max_epochs", "epoch by epoch"),
        ("model.encoder.name", "encoded once"),
        ("model.taxonomy", "same heads"),
        ("model.steps_per_call", "changes no result"),
        ("model.learning_rate", "no option of the heads"),
    ],
)
def test_options_that_cannot_be_stacked_are_named_with_the_reason(key, why, dense, tmp_path):
    assert why in which_cannot_stack([key, "model.lr", "model.per_emotion.Anger.lr", "model.widths[0]"]).pop(key)
    assert which_cannot_stack(OWN) == {}
    with pytest.raises(UsageError, match=rf"{key}: .*{why}.*without --stacked"):
        train_stacked(dense, [{key: 1}], [tmp_path / "0"])
    assert not (tmp_path / "0").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--data.mode=images", r"data\.mode: images"),
        ("--trainer.max_steps=5", r"trainer\.max_steps: 5 is not followed"),
        ("--trainer.limit_train_batches=2", r"trainer\.limit_train_batches"),
        ("--trainer.devices=2", r"trainer\.devices"),
        ("--out=here", "--out"),
    ],
)
def test_runs_that_a_stacked_training_would_not_follow_are_refused(option, message, dense, tmp_path):
    with pytest.raises(UsageError, match=message):
        train_stacked([*dense, option], [{}], [tmp_path / "0"])
    assert not (tmp_path / "0").exists()


def test_features_of_all_seeds_lie_in_memory_once_and_a_stopped_training_leaves_no_heads(dense, tmp_path, monkeypatch):
    loaded = []
    load = feeding.load_features
    monkeypatch.setattr(feeding, "load_features", lambda *args: loaded.append(args) or load(*args))
    dense = [*dense, "--trainer.max_epochs=1"]
    points, folders = [{"seed_everything": seed} for seed in range(2)], [tmp_path / str(seed) for seed in range(2)]
    train_stacked(dense, points, folders)
    assert len(loaded) == 1
    before = lines_of(folders[0])
    monkeypatch.setattr(interruption, "_received", signal.SIGTERM)
    with pytest.raises(
        InterruptedRunError, match="interrupted by SIGTERM after epoch 0; the same command begins it anew"
    ):
        train_stacked(dense, points, folders)
    assert not any((folder / "manifest.json").exists() for folder in folders)
    monkeypatch.setattr(interruption, "_received", 0)
    train_stacked(dense, points, folders)
    assert lines_of(folders[0]) == before


def test_padded_units_stay_zero_whatever_the_optimiser_does():
    torch.manual_seed(0)
    parts = [EmotionHeads(3, 20, widths, 0.2) for widths in ((8, 4), (5, 6))]
    whole = side_by_side(parts)
    assert whole.widths == (8, 6)
    optimizer = HeadwiseAdamW(whole.parameters(), 0.1, 0.5)
    for _ in range(5):
        optimizer.zero_grad()
        (whole(torch.randn(10, 20)) - 1).square().sum().backward()
        optimizer.step()
    first, second, last = whole.stack
    assert not first.weight[3:, 5:].any()
    assert not first.bias[3:, 5:].any()
    assert not second.weight[:3, 4:].any()
    assert not second.weight[3:, :, 5:].any()
    assert not last.weight[:3, :, 4:].any()
    x = torch.randn(10, 20)
    for number, part in enumerate(parts):
        span = slice(3 * number, 3 * number + 3)
        take_back(whole, span, part, torch.arange(3))
        assert torch.allclose(part.eval()(x), whole.eval()(x)[:, span], atol=1e-6)


@pytest.mark.parametrize("pairs", [False, True])
def test_heads_drop_at_their_own_rates(pairs):
    """Of units that are all 1: the share that is dropped, and a mean that stays."""
    rates = torch.tensor([0.0, 0.25, 0.8])
    x = torch.ones(6 if pairs else 3, 4000, requires_grad=True)
    own = rates.repeat_interleave(2) if pairs else rates
    torch.manual_seed(0)
    found = relu_dropout_by_row(x * 1.0, own, True)
    assert torch.allclose((found == 0).float().mean(1), own, atol=0.03)
    assert torch.allclose(found.mean(1), torch.ones(len(x)), atol=0.1)
    (grad,) = torch.autograd.grad(found.sum(), x)
    assert torch.equal(grad, found.detach())
    assert torch.equal(relu_dropout_by_row(x - 2.0, own, False), torch.zeros_like(x))
