"""One process or two, any batch size, any workers: the same figures."""

import json
import subprocess
import sys

import forking
import pytest
from safetensors.torch import load_file

from emonet_lightning.cli import main

PLANS = {"ddp": "they share each step (DDP)", "replicated": "each takes whole steps by itself"}
TWO = ["--trainer.devices=2", "--trainer.strategy=ddp"]


def launched(words):
    """Run in a process of its own, which starts the second one; returns what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "emonet_lightning", *words], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def started(words, code=0):
    """Run two processes that a scheduler starts; returns what they said: of an error whichever meets it first."""
    children = forking.start_all(words)
    codes = [child.wait(300) for child in children]
    assert codes == [code, code], [child.said()[-3000:] for child in children]
    return "".join(child.said() for child in children)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, small_sets, encoder_options):
    """The same fit in one process and in two, which share each step or take whole ones."""
    folder = tmp_path_factory.mktemp("runs")
    words = [
        "fit", "--data=SyntheticFaces", f"--data.path={small_sets['big']}", "--data.batch_size=50",
        "--test_data=ExpertRatings", f"--test_data.path={small_sets['hq']}", "--num_draws=50",
        "--model.dropout=0", "--model.widths=[24]", "--trainer.max_epochs=2", "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false", "--figures=false", *encoder_options,
    ]  # fmt: skip
    assert main([*words, "--trainer.devices=1", f"--out={folder / 'one'}"]) == 0
    for (kind, plan), run in zip(PLANS.items(), (launched, started), strict=True):
        said = run([*words, *TWO, f"--model.parallel={kind}", f"--out={folder / kind}"])
        assert f"parallel: 2 processes, {plan}; estimated" in said
    return folder


def test_training_in_two_processes_agrees_with_one(runs):
    one, two = (load_file(runs / name / "heads.safetensors") for name in ("one", "ddp"))
    for name, value in one.items():
        assert float((two[name] - value).abs().max()) <= 1e-4 * float(value.abs().max()), name
    # the mean over all rows, as one process counts it
    lines = [
        [json.loads(line) for line in (runs / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "ddp")
    ]
    for first, second in zip(*lines, strict=True):
        losses = [{k: v for k, v in line.items() if k.startswith("train/loss")} for line in (first, second)]
        assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert any("train/loss" in line for line in lines[0])
    # not a word is exchanged: the very same bits
    assert (runs / "one" / "heads.safetensors").read_bytes() == (runs / "replicated" / "heads.safetensors").read_bytes()
    # short last batch (120 rows in batches of 50), unequal shares: still the same number of steps
    steps = [json.loads((runs / name / "manifest.json").read_text())["training"]["steps"] for name in ("one", *PLANS)]
    assert steps == [6, 6, 6]


def test_figures_of_one_checkpoint_are_byte_equal_however_it_is_evaluated(runs, tmp_path):
    base = ["test", f"--run={runs / 'one'}", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
            "--figures=false", "--num_draws=50"]  # fmt: skip
    variants = {
        "plain": [],
        "batch_size": ["--data.batch_size=7"],
        "images": ["--data.mode=images", "--data.num_workers=0"],
        "workers": ["--data.mode=images", "--data.num_workers=2"],
    }
    for name, words in variants.items():
        assert main([*base, *words, f"--out={tmp_path / name}"]) == 0
    started([*base, *TWO, "--data.mode=images", "--data.num_workers=1", f"--out={tmp_path / 'two'}"])
    expected = (tmp_path / "plain" / "results.json").read_bytes()
    agreement = (tmp_path / "plain" / "agreement.json").read_bytes()
    assert b"test/spearman" in expected
    for name in (*variants, "two"):
        assert (tmp_path / name / "results.json").read_bytes() == expected, name
        assert (tmp_path / name / "agreement.json").read_bytes() == agreement, name
    fitted = json.loads((runs / "one" / "results.json").read_text())
    assert fitted.items() >= json.loads(expected).items()  # and what `fit` itself printed


def test_batch_that_processes_do_not_divide_names_the_nearest(small_sets, encoder_options, tmp_path):
    words = [
        "fit", "--data=SyntheticFaces", f"--data.path={small_sets['big']}", "--data.batch_size=33",
        "--model.parallel=ddp", "--trainer.accelerator=cpu", *TWO, f"--out={tmp_path}", *encoder_options,
    ]  # fmt: skip
    said = started(words, code=2)
    assert "error: data.batch_size: 33 is the global batch, 2 processes do not divide it; use 32 or 34" in said
