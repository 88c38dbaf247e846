"""Configurations that train stacked end as their own fits would; what cannot be stacked is said by name."""

import json

import pytest
import torch

from emonet_lightning.bundle import HeadsBundle
from emonet_lightning.cli import main
from emonet_lightning.sweeping.stacked import train_stacked

EPOCHS = 5
POINTS = {
    "plain": {},
    "rates": {"model.lr": 3e-2, "model.weight_decay": 0.3, "model.clip_norm": 0.01, "model.final_lr_share": 0.2},
    "loss": {"model.loss": "huber", "model.huber_delta": 0.5, "model.imbalance": "balanced", "model.warmup_share": 0.4},
    "narrow": {"model.widths": [6], "model.adam_eps": 1e-3},
    "own": {"model.per_emotion": {"Anger": {"frozen": True}, "Awe": {"lr": 1e-4}}},
    "patient": {"best_heads.patience": 1},
    "coral": {"model.loss": "coral"},
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


@pytest.mark.parametrize("name", POINTS)
def test_a_stacked_configuration_ends_as_its_own_fit(name, dense, stacked, tmp_path):
    (result,) = [result for result in stacked if result.folder.name == name]
    assert not result.error
    assert_same_run(result.folder, alone(dense, POINTS[name], tmp_path / "fit"))
    scores = [line["val/score"] for line in lines_of(result.folder) if "val/score" in line]
    assert result.score == max(scores)
    assert result.epochs == len(scores)
    assert result.best == HeadsBundle.load(result.folder).training["best"]
