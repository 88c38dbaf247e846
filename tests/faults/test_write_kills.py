"""SIGKILL at each point of writing each kind of file, and at random in the save; temporary folder on another disk."""

import os
import random
import shutil
import signal
import time

import forking
import pytest
import runs
import sites
from campaign import run_campaign

SHORT = "--trainer.max_epochs=8"


@pytest.fixture(scope="module")
def found(scenes, place):
    """Write sites of a whole run with test, export and report, in their order."""
    scene = scenes["tested"]
    return sites.sites_of("tested", scene.command(place / "sites"), scene.environment, place / "sites.txt")


@pytest.fixture(scope="module")
def expected(scenes, whole, place):
    """Folders of runs that nothing happened to, by name."""
    short = place / "whole short"
    code, said = forking.run([*scenes["cached"].command(short), SHORT], 120, env=scenes["cached"].environment)
    assert code == 0, said
    return {"short": short, "tested": whole("tested")}


@pytest.fixture
def kill(scenes, expected, place):
    """Kills a run at a place of a save, looks at all checkpoints, and lets the same command end."""

    def run(trial):
        name, where, draw = trial.split(" ")
        drawn, out = random.Random(trial), place / "killed in a save"
        shutil.rmtree(out, ignore_errors=True)
        scene = scenes["tested" if name == "tested" else "cached"]
        words = [*scene.command(out), *([] if name == "tested" else [SHORT])]
        environment = dict(scene.environment)
        if where == "anywhere":
            child = forking.start(words, env=environment)
            killed = kill_in_save(child, out / "checkpoints", drawn)
        else:
            pattern, _, point = where.partition("@")
            site = sites.Site(name, pattern, point)
            child = forking.start(words, env={**environment, **site.fails("kill", int(draw))})
            killed = child.wait(120) == -signal.SIGKILL
        before, torn, kept = runs.newest(out), runs.damaged(out), left(out)
        code, said = forking.run(words, 120, env=environment)
        wrong = runs.differences(out, expected[name]) if code == 0 else [said[-500:]]
        orphans = [path.name for path in out.rglob(".*.tmp")]
        ok = killed and not torn and not wrong and not orphans
        return {
            "ok": ok, "killed": killed, "newest": before, "torn": torn, "left": kept, "differs": wrong,
            "orphans": orphans,
        }  # fmt: skip

    return run


def kill_in_save(child, folder, drawn):
    """Kill as soon as a save of a checkpoint is seen, or a little later; not the first one."""
    wanted, seen, was = drawn.randint(1, 7), 0, False
    while child.poll() is None:
        try:
            now = any(name.startswith(".step") for name in os.listdir(folder))
        except FileNotFoundError:
            now = False
        seen, was = seen + (now and not was), now
        if seen >= wanted:
            end = time.perf_counter() + drawn.uniform(0, 0.006)
            while time.perf_counter() < end:
                pass
            break
    child.kill(signal.SIGKILL, group=True)
    return child.wait(60) == -signal.SIGKILL


def left(out):
    """How many checkpoints a killed run left; two are kept."""
    return len(runs.named_checkpoints(out / "checkpoints"))


def test_a_kill_in_a_save_leaves_the_checkpoints_before(kill, found, full):
    points = [f"step=*.ckpt@{site.point}" for site in found if site.pattern == "step=*.ckpt"]
    assert len(points) == 6
    saves = [f"short {point} {nth}" for nth in (range(2, 8) if full else (2, 3, 5)) for point in points]
    heads = [f"short {point.replace('step=*.ckpt', 'best_heads*')} 2" for point in points]
    others = [
        f"tested {site.pattern}@{site.point} {nth}"
        for site in found
        for nth in sorted({1, site.times})
        if not site.pattern.startswith(("step", "best_heads"))
    ]
    anywhere = [f"short anywhere {draw}" for draw in range(300 if full else 6)]
    trials = [*saves, *heads, *others, *anywhere][:300] if full else [*saves, *heads, *anywhere]
    if full:
        trials = [*saves, *heads, *others, *anywhere]
        trials = trials[: max(300, len(trials) - len(anywhere) + 100)]
    tally = run_campaign("write_kills", trials, kill, full=full)
    assert tally.failed == []
