"""SIGKILL at random moments, then the same command again: the run ends as one that was never killed."""

import random
import shutil
import signal
from collections import Counter

import forking
import pytest
import runs
from campaign import run_campaign

KILLS = 5
"""Of each run, one after the other."""
SAVES = {"long": 12, "images": 2}
"""Checkpoints until a kill, at most; a fifth of the kills come before the first step."""


@pytest.fixture
def chain(scenes, whole, place):
    """Kills a run so many times, lets it end, and looks at what is left: `chain("long-003")`."""

    def run(trial):
        name = trial.partition("-")[0]
        scene, expected, out = scenes[name], whole(name), place / f"killed-{trial}"
        shutil.rmtree(out, ignore_errors=True)
        drawn, kills, torn, lost = random.Random(trial), [], [], []
        while len(kills) < KILLS:
            before = runs.newest(out)
            child = forking.start(scene.command(out), env=scene.environment)
            early = drawn.random() < 0.2
            saves, delay = drawn.randint(0, SAVES[name]), drawn.uniform(0, 0.4 if early else 0.1)
            if not early:  # by what it does, not by the clock: a busy machine shall not kill in the start-up alone
                child.watch(120, lambda child=child: "labels:" in child.said())
                seen = [runs.newest(out)]
                child.watch(120, lambda seen=seen, saves=saves: len(seen) > saves or note(seen, runs.newest(out)))
            ended = child.watch(delay)
            if ended is None:
                # sometimes all processes of the run, sometimes only the first: its workers live on for a while
                child.kill(signal.SIGKILL, group=drawn.random() < 0.5)
                ended = child.wait(60)
            if ended != -signal.SIGKILL:
                if ended == 0:
                    break
                return {"ok": False, "code": ended, "said": child.said()[-500:], "kills": len(kills)}
            kills.append(
                {
                    "saves": None if early else saves,
                    "after": round(delay, 3),
                    "step": runs.newest(out),
                    "in": phase(child, out),
                }
            )
            torn += runs.damaged(out)
            lost += [before] if runs.newest(out) < before else []
        code, said = runs.finish(scene, out)
        wrong = runs.differences(out, expected) if code == 0 else [said[-500:]]
        again, said_again = runs.finish(scene, out)
        nothing = again == 0 and "nothing to do" in said_again
        shutil.rmtree(out, ignore_errors=True)
        ok = not (wrong or torn or lost) and nothing
        return {
            "ok": ok, "kills": len(kills), "phases": dict(Counter(kill["in"] for kill in kills)), "moments": kills,
            "differs": wrong, "torn": torn, "lost": lost, "finished_again": nothing,
        }  # fmt: skip

    return run


def note(seen, step):
    """Remember a new step; never what is waited for."""
    if step != seen[-1]:
        seen.append(step)
    return False


def phase(child, out):
    """What a killed run was at, by what it left and said."""
    if (out / "manifest.json").is_file():
        return "after training"
    if any((out / "checkpoints").glob(".*.tmp")):
        return "save"
    return "training" if "labels:" in child.said() else "start-up"


def test_a_run_that_was_killed_ends_as_one_that_was_not(chain, full):
    runs_of = {"long": 30, "images": 15} if full else {"long": 1, "images": 1}
    trials = [f"{name}-{number:03d}" for name, count in runs_of.items() for number in range(count)]
    tally = run_campaign("sigkill", trials, chain, full=full)
    assert tally.failed == []
    phases = sum((Counter(outcome["phases"]) for outcome in tally.outcomes), Counter())
    assert tally.total("kills") >= (200 if full else 8)
    assert ({"start-up", "training", "save"} if full else {"training"}) <= set(phases)
