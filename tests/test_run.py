"""The main job on small sets, through the real command line in this process."""

import json

import pytest
import torch
from small_runs import newest

from emonet_lightning.cli import main


@pytest.fixture(scope="module")
def run(tmp_path_factory, small_sets, encoder_options):
    """One finished run of two stages with a test."""
    folder = tmp_path_factory.mktemp("run")
    config = folder / "two.yaml"
    config.write_text(f"""
model: {{widths: [16], dropout: 0.1, lr: 1.0e-2}}
trainer: {{max_epochs: 2, accelerator: cpu, devices: 1, enable_progress_bar: false}}
num_draws: 20
test_data: {{class_path: ExpertRatings, init_args: {{path: {small_sets["hq"]}}}}}
export: [released]
stages:
- name: big
  overrides: {{data: {{class_path: SyntheticFaces, init_args: {{path: {small_sets["big"]}, batch_size: 32}}}}}}
- name: binary
  overrides:
    data: {{class_path: ExpertBinary, init_args: {{path: {small_sets["binary"]}, batch_size: 32}}}}
    model.lr: 1.0e-3
""")
    out = folder / "out"
    assert main(["fit", "--config", str(config), "--out", str(out), *encoder_options]) == 0
    return out


def test_run_folder_holds_everything(run):
    for name in (
        "run.yaml",
        "results.json",
        "agreement.json",
        "heads.safetensors",
        "manifest.json",
        "report.md",
        "DONE",
    ):
        assert (run / name).is_file(), name
    for stage in ("big", "binary"):
        for name in ("run.yaml", "metrics.jsonl", "timing.jsonl", "results.json", "heads.safetensors", "manifest.json"):
            assert (run / stage / name).is_file(), name
    assert len(list((run / "export").rglob("*.pth"))) == 40
    results = json.loads((run / "results.json").read_text())
    assert {
        "test/spearman",
        "test/spearman/anger",
        "test/kappa_truncate",
        "test/rater_kappa_truncate",
    } <= results.keys()


def test_checkpoint_is_heads_only_and_loads_without_code(run):
    path = newest(run / "big" / "checkpoints")
    checkpoint = torch.load(path, weights_only=True)
    assert not any(key.startswith("encoder") or ".encoder" in key for key in checkpoint["state_dict"])
    assert any(key.startswith("heads.") for key in checkpoint["state_dict"])


def test_each_emotion_keeps_the_heads_of_its_own_best_epoch(run):
    lines = [json.loads(line) for line in (run / "big" / "metrics.jsonl").read_text().splitlines()]
    scores = [line for line in lines if "val/score" in line]
    best = json.loads((run / "big" / "manifest.json").read_text())["training"]["best"]
    assert len(scores) == 2
    own = {slug: choice for slug, choice in best.items() if choice["by"] == "own"}
    assert len(own) >= 10  # emotions with five positives and negatives among 40 validation faces
    for slug, choice in own.items():
        values = [line[f"val/score/{slug}"] for line in scores]
        assert choice["epoch"] == values.index(max(values))
        assert choice["score"] == pytest.approx(max(values))
    overall = max(range(2), key=lambda epoch: scores[epoch]["val/score"])
    assert {c["epoch"] for c in best.values() if c["by"] == "overall"} <= {overall}
    assert {choice["epoch"] for choice in own.values()} == {0, 1}  # else this test could not tell best from last
