"""The embedded default: `fit` without arguments, from the installed wheel in an empty folder."""

import json

import numpy as np
import pytest
import torch
from small_runs import newest

from emonet_lightning.predict import EmotionRecognizer
from emonet_lightning.synthesis.faces import RenderedFaces

WEAK = ("all-zero", "training mean", "random", "heads permuted")


@pytest.fixture(scope="module")
def agreement(quickstart):
    """Systems on the held-out faces."""
    return json.loads((quickstart / "agreement.json").read_text())


def test_held_out_spearman_is_far_above_every_weak_system(quickstart, agreement, capsys):
    means = {name: found["metrics"]["spearman"]["sets"]["all"] for name, found in agreement["systems"].items()}
    heads = means["heads"]
    with capsys.disabled():
        seconds = (quickstart.parent.parent.parent / "seconds.txt").read_text()
        print(f"\nembedded default: {seconds} s, heads {heads['value']:.3f} [{heads['low']:.3f}, {heads['high']:.3f}]")
        for name, found in means.items():
            print(f"  {name}: {found['value']:.3f}")
    gaps = {g["system"]: g for g in agreement["differences"]["of"] if (g["metric"], g["set"]) == ("spearman", "all")}
    for name in WEAK:
        difference = gaps[name]
        assert difference["difference"] >= 0.2, name
        assert difference["low"] > 0, name
    assert heads["num_emotions"] == 40


def test_prompted_label_is_a_reference_only(agreement):
    assert agreement["systems"]["prompted label"]["kind"] == "reference"


def test_both_stages_print_their_figures(quickstart):
    output = (quickstart.parent.parent.parent / "output.txt").read_text()
    for stage in ("pretrain", "finetune"):
        results = json.loads((quickstart / stage / "results.json").read_text())
        assert "test/spearman" in results
        assert f"{stage}: best validation score" in output
    assert "heads permuted" in " ".join(output.split())


def test_every_file_of_the_run_is_there(quickstart):
    names = ("run.yaml", "results.json", "heads.safetensors", "manifest.json", "report.md", "agreement.md", "DONE")
    pictures = ("figures/curves.png", "figures/emotions.png", "figures/systems.png")
    for name in (*names, *pictures):
        assert (quickstart / name).stat().st_size >= (0 if name == "DONE" else 100), name


def test_nothing_is_chosen_on_test(quickstart):
    for stage in ("pretrain", "finetune"):
        lines = (quickstart / stage / "metrics.jsonl").read_text().splitlines()
        assert lines
        assert not any("test/" in line for line in lines)
        best = json.loads((quickstart / stage / "manifest.json").read_text())["training"]["best"]
        by_epoch = {json.loads(line)["epoch"]: json.loads(line) for line in lines if '"val/score"' in line}
        for slug, choice in best.items():
            if choice["by"] == "own":
                assert choice["score"] == pytest.approx(by_epoch[choice["epoch"]][f"val/score/{slug}"])


def test_checkpoint_is_hardly_larger_than_heads_and_optimiser_state(quickstart):
    path = newest(quickstart / "pretrain" / "checkpoints")
    checkpoint = torch.load(path, weights_only=True)
    heads = [value for key, value in checkpoint["state_dict"].items() if key.startswith("heads.")]
    moments = [value for state in checkpoint["optimizer_states"][0]["state"].values() for value in state.values()]
    heads_bytes, optimizer_bytes = (
        sum(value.numel() * value.element_size() for value in part) for part in (heads, moments)
    )
    assert optimizer_bytes >= 2 * heads_bytes
    assert path.stat().st_size < 1.1 * heads_bytes + optimizer_bytes


def test_recogniser_knows_an_elated_face_from_a_sad_one(quickstart):
    faces = RenderedFaces("hq")
    prompted = {slug: [i for i in range(len(faces)) if faces[i].prompted == slug] for slug in ("elation", "sadness")}
    recognizer = EmotionRecognizer.load(quickstart)
    scores = {slug: recognizer([faces[i].image for i in rows]).scores for slug, rows in prompted.items()}
    column = recognizer.bundle.taxonomy.index("Elation")
    assert np.median(scores["elation"][:, column]) > np.median(scores["sadness"][:, column])
