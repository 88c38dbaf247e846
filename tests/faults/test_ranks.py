"""Two processes of a run, one of which dies: the other ends soon, one line says why, and it goes on to the bit."""

import random
import shutil
import signal
import time

import forking
import moments
import pytest
import runs
from campaign import run_campaign

DEADLINE = 20.0
"""Seconds until all processes are down."""
MOMENTS = {"training": ("training_step", 2, 55), "validation": ("validation_step", 2, 11), "encode": ("encode", 1, 2)}


@pytest.fixture(scope="module")
def command(scenes):
    """Words of a run of two processes, given its folder and that of its features."""

    def words(out, cache):
        own = [
            word for word in scenes["cached"].words if not word.startswith(("--trainer.devices", "--data.cache_dir"))
        ]
        two = ["--trainer.devices=2", "--trainer.strategy=ddp", "--model.parallel=ddp", "--trainer.max_epochs=12"]
        return [*own, *two, f"--data.cache_dir={cache}", f"--out={out}"]

    return words


@pytest.fixture(scope="module")
def undisturbed(command, scenes, place):
    """Folder of a run of two processes that nothing happened to."""
    out = place / "two"
    two = forking.start_all(command(out, place / "cache of two"), scenes["cached"].environment)
    codes = [child.wait(90) for child in two]
    assert codes == [0, 0], [child.said()[-500:] for child in two]
    return out


def test_a_process_that_dies_ends_the_run_which_goes_on_to_the_same_bits(command, scenes, undisturbed, place, full):
    environment = scenes["cached"].environment

    def run(trial):
        phase, rank, _ = trial.split(" ")
        drawn, dies, out = random.Random(trial), int(rank), place / "one of two dies"
        cache = place / ("cache of this run" if phase == "encode" else "cache of two")
        shutil.rmtree(out, ignore_errors=True)
        if phase == "encode":
            shutil.rmtree(cache, ignore_errors=True)
        function, first, last = MOMENTS[phase]
        extra, targets = [{}, {}], [None, None]
        extra[dies] = moments.at(function, drawn.randint(first, last), "SIGKILL", place / "note of a rank")
        targets[dies] = moments.signalled
        children = forking.start_all(command(out, cache), environment, extra, targets)
        code = children[dies].wait(120)
        died = time.monotonic()
        left = children[1 - dies].wait(60)
        seconds = time.monotonic() - died
        errors = [line for child in children for line in child.said().splitlines() if line.startswith("error:")]
        traces = any("Traceback" in child.said() for child in children)
        torn = runs.damaged(out)
        again = forking.start_all(command(out, cache), environment)
        codes = [child.wait(120) for child in again]
        wrong = runs.differences(out, undisturbed) if codes == [0, 0] else [child.said()[-400:] for child in again]
        # where the features lie is part of what was asked for
        wrong = [found for found in wrong if phase != "encode" or found[0] != "run.yaml"]
        ok = code == -signal.SIGKILL and left not in (0, None) and seconds <= DEADLINE and len(errors) == 1
        return {
            "ok": ok and not traces and not torn and not wrong, "died": code, "other": left,
            "down_after": round(seconds, 2), "errors": errors, "traceback": traces, "torn": torn, "differs": wrong,
        }  # fmt: skip

    trials = [f"{phase} {rank} {n}" for n in range(4 if full else 1) for phase in MOMENTS for rank in (0, 1)]
    tally = run_campaign("ranks", trials[:20] if full else [trials[0], trials[3]], run, full=full)
    assert tally.failed == []
