"""A run that is stopped by its user: how to go on, and that it ends as it should."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from small_runs import newest

from emonet_lightning.cli import main
from emonet_lightning.errors import UsageError
from emonet_lightning.io import sha256_file
from emonet_lightning.judging import run_folder

EPOCHS = 50  # so many that a signal on a busy machine still comes before the end
QUICK = ["--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.max_epochs=1", "--trainer.logger=false",
         "--trainer.enable_progress_bar=false", "--figures=false", "--model.widths=[8]"]  # fmt: skip


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory, small_sets, encoder_options):
    """A run in a process of its own, stopped by Ctrl-C, and the command that began it."""
    folder = tmp_path_factory.mktemp("interrupted")
    words = [
        "fit", "--data=SyntheticFaces", f"--data.path={small_sets['big']}", "--data.batch_size=60",
        *QUICK, *encoder_options, f"--trainer.max_epochs={EPOCHS}", f"--out={folder / 'run'}",
    ]  # fmt: skip
    checkpoints = folder / "run" / "checkpoints"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "emonet_lightning", *words], stderr=subprocess.PIPE, text=True, env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a suite in the background ignores Ctrl-C
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while newest(checkpoints) is None and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    return folder / "run", words, process.returncode, errors


def test_ctrl_c_says_how_to_go_on_and_exits_75(interrupted):
    run, _, code, errors = interrupted
    assert code == 75, errors
    line = errors.strip().splitlines()[-1]
    assert re.fullmatch(rf"error: {run}: interrupted by SIGINT .+; the same command with --out {run} goes on", line)
    assert "Traceback" not in errors
    assert not (run / "DONE").exists()
    assert not (run / "manifest.json").exists()


def test_the_same_command_ends_an_interrupted_run_and_then_does_nothing(interrupted, capsys):
    run, words, _, _ = interrupted
    checkpoint = newest(run / "checkpoints")
    epoch = torch.load(checkpoint, weights_only=True)["epoch"]
    assert epoch < EPOCHS - 1
    assert main(words) == 0
    assert f"{run}: unfinished; going on from {checkpoint}" in capsys.readouterr().err
    assert (run / "DONE").is_file()
    lines = [yaml.safe_load(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    epochs = [line["epoch"] for line in lines if "train/loss" in line]
    assert epochs == list(range(EPOCHS))
    ends = [json.loads(line) for line in (run / "attempts.jsonl").read_text().splitlines()]
    assert [line.get("outcome", line["event"]) for line in ends] == ["start", "interrupted", "start", "done"]

    before = {path: (path.stat().st_mtime_ns, sha256_file(path)) for path in Path(run).rglob("*") if path.is_file()}
    assert main(words) == 0
    assert f"{run}: this run is finished; nothing to do" in capsys.readouterr().err
    after = {path: (path.stat().st_mtime_ns, sha256_file(path)) for path in Path(run).rglob("*") if path.is_file()}
    assert after == before


@pytest.fixture
def words(small_sets, encoder_options):
    """A fit of one epoch."""
    return ["fit", "--data=SyntheticFaces", f"--data.path={small_sets['big']}", *QUICK, *encoder_options]


def test_a_folder_that_holds_another_run_is_refused_and_left_as_it_is(words, tmp_path, capsys):
    assert main([*words, f"--out={tmp_path / 'run'}"]) == 0
    before = (tmp_path / "run" / "run.yaml").read_bytes()
    capsys.readouterr()
    assert main([*words, "--model.lr=0.5", f"--out={tmp_path / 'run'}"]) == 2
    message = r"run: holds a run with model\.lr \S+, now it is 0\.5; choose another --out"
    assert re.search(message, capsys.readouterr().err)
    assert (tmp_path / "run" / "run.yaml").read_bytes() == before
    assert main([*words, "--data.num_threads=1", f"--out={tmp_path / 'run'}"]) == 0


def test_a_fast_dev_run_is_never_called_finished(words, tmp_path):
    # a callback that is no list, and whose defaults are members of an Enum, is one like others
    assert main([*words, "--trainer.fast_dev_run=true", "--trainer.callbacks=Timer", f"--out={tmp_path / 'run'}"]) == 0
    assert not (tmp_path / "run" / "DONE").exists()


def test_sigterm_is_no_success(words, tmp_path):
    checkpoints = tmp_path / "run" / "checkpoints"
    command = [
        sys.executable,
        "-m",
        "emonet_lightning",
        *words,
        "--trainer.max_epochs=2000",
        f"--out={tmp_path / 'run'}",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        while newest(checkpoints) is None and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 75, said
    assert re.search(r"interrupted by SIGTERM .+; the same command with --out", said.splitlines()[-1])


def test_two_fits_in_one_folder_are_one_too_many(words, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    with (tmp_path / "run" / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert main([*words, f"--out={tmp_path / 'run'}"]) == 2
    assert "another fit is running in this folder" in capsys.readouterr().err
    assert main([*words, f"--out={tmp_path / 'run'}"]) == 0


def test_a_rate_that_diverges_ends_without_heads(words, tmp_path, capsys):
    deep = f"--model.widths={[8] * 12}"  # weights of 1e4 in so many layers are beyond float32
    options = [deep, "--model.lr=1e4", "--model.clip_norm=0", "--trainer.max_epochs=3"]
    assert main([*words, *options, f"--out={tmp_path / 'run'}"]) == 65
    assert "training diverged, no head has a finite loss; lower model.lr" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run" / "DONE").exists()
    assert not (tmp_path / "run" / "heads.safetensors").exists()


def test_a_trial_of_an_agent_has_the_folder_of_its_run(monkeypatch):
    monkeypatch.setenv("WANDB_SWEEP_ID", "swept")
    monkeypatch.setenv("WANDB_RUN_ID", "abc123")
    assert run_folder(None, "heads") == run_folder(None, "heads") == Path("runs/heads/abc123")
    assert run_folder("here", "heads") == Path("here")
    monkeypatch.delenv("WANDB_SWEEP_ID")
    assert run_folder(None, "heads") != Path("runs/heads/abc123")


def test_runs_without_out_get_folders_of_their_own(monkeypatch):
    assert run_folder(None, "debug").parent == Path("runs/debug")
    assert run_folder(None, "debug") != run_folder(None, "debug")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "1")
    assert run_folder("here", "debug") == Path("here")
    with pytest.raises(UsageError, match="--out DIR is needed"):
        run_folder(None, "debug")
