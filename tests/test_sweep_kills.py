"""Sweeps that are killed ten times: no trial is lost or repeated, the scores are those of a sweep that never was.

`python -m pytest -m slow -n 0 tests/test_sweep_kills.py`, about ten minutes.
"""

import json
import random
import signal
import time

import forking
import pytest
from sweep_files import QUICK, TWO, outcome, write_sweep

from emonet_lightning.cli import main
from emonet_lightning.sweeping.record import Record

INTERRUPTED = 75
TRIALS = 20

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def words(small_sets, encoder_options):
    widths = "--model.widths=[8]"
    return ["--data=SyntheticFaces", f"--data.path={small_sets['big']}", *encoder_options, *QUICK, widths]


def count(folder, event) -> int:
    """How often something happened to a trial of a sweep, so far."""
    path = folder / "trials.jsonl"
    return path.read_text().count(f'"event": "{event}"') if path.is_file() else 0


def kill_ten_times(run, folder, chance, longest) -> None:
    """Start a sweep and kill it, ten times, at random moments after another trial was started; then let it end."""
    killed = [*run, f"--out={folder}"]
    for _ in range(10):
        before = count(folder, "started")
        child = forking.start(killed)
        assert child.watch(120, lambda before=before: count(folder, "started") > before) is None, child.said()
        assert child.watch(chance.uniform(0.0, longest)) is None, "it was done before it was killed ten times"
        if chance.random() < 0.3:
            child.kill(signal.SIGTERM)
            time.sleep(chance.uniform(0, longest / 2))
        child.kill(signal.SIGKILL)
        assert child.wait(60) in (-signal.SIGKILL, INTERRUPTED), child.said()
    assert main(killed) == 0
    events = [json.loads(line) for line in (folder / "trials.jsonl").open() if line.strip()]
    assert [event["trial"] for event in events if event["event"] == "proposed"] == list(range(TRIALS))
    trials = Record(folder).trials
    assert [trial.number for trial in trials] == list(range(TRIALS))
    assert len({repr(trial.parameters) for trial in trials}) == TRIALS
    assert all(trial.is_over for trial in trials)


RATES = {"values": [1e-3, 3e-3, 1e-2, 3e-2, 1e-1]}
GRID = {"model.lr": RATES, "model.dropout": {"values": [0.0, 0.1, 0.2, 0.3]}}


@pytest.mark.parametrize(
    ("method", "workers", "early"),
    [
        ("grid", 1, False),
        ("grid", 2, False),
        ("random", 2, False),
        ("random", 1, True),
        ("bayes", 1, False),
        ("bayes", 2, False),
    ],
)
def test_a_sweep_that_is_killed_ten_times_loses_and_repeats_nothing(method, workers, early, tmp_path, words):
    """Kills and stops followed by kills; minutes each."""
    keys = {"early_terminate": {"type": "hyperband", "min_iter": 2, "eta": 2}} if early else {}
    parameters = GRID if method == "grid" else TWO
    path = write_sweep(tmp_path / "s.yaml", [*words, "--trainer.max_epochs=8"], parameters, method, **keys)
    run = ["sweep", "run", str(path), f"--trials={TRIALS}", f"--workers={workers}"]
    assert main([*run, f"--out={tmp_path / 'whole'}"]) == 0
    kill_ten_times(run, tmp_path / "out", random.Random(method), 2.0)
    if method != "bayes" or workers == 1:
        assert outcome(tmp_path / "out") == outcome(tmp_path / "whole")


def test_a_stacked_sweep_that_is_killed_ten_times_ends_with_the_same_scores(tmp_path, words):
    """Stacks of two: a stack that was killed begins anew."""
    path = write_sweep(tmp_path / "s.yaml", [*words, "--trainer.max_epochs=60"], GRID, "grid")
    run = ["sweep", "run", str(path), "--stacked", "--stack_size=2"]
    assert main([*run, f"--out={tmp_path / 'whole'}"]) == 0
    kill_ten_times(run, tmp_path / "out", random.Random(0), 0.4)
    assert outcome(tmp_path / "out") == outcome(tmp_path / "whole")
