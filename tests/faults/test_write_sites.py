"""Kills, and errors of the operating system, at each point of writing each kind of file; and kills while it saves.

One run is struck several times and goes on in between. Its temporary folder lies on another file system.
"""

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
from commands import commands, contents

ANYWHERE = sites.Site("cached", "", "anywhere")
STRIKES = 10
"""At one run at most."""
NOTES = ("*.json",)
"""Digests of files that were used before: a home that cannot be written costs a hash in each process, no more."""
QUICK_COMMANDS = ("cached", "embed")
ALL_COMMANDS = ("predict", "export", "pack_alone", "embed", "cached", "tested")


@pytest.fixture(scope="module")
def lines(scenes, small_sets, encoder_options, whole, place):
    """Command lines by name."""
    return commands(scenes, small_sets["big"], encoder_options, lambda: whole("tested"), place)


@pytest.fixture(scope="module")
def undisturbed(lines, scenes, whole, place):
    """Folder of a command that nothing happened to: `undisturbed("embed")`."""

    def folder(name):
        if name in scenes:
            return whole(name)
        out = place / f"undisturbed {name}"
        if not out.is_dir():
            code, said = forking.run(lines[name](out), 120)
            assert code == 0, said[-500:]
        return out

    return folder


@pytest.fixture(scope="module")
def sites_of(lines, scenes, whole, place):
    """Sites that a command passes, in their order: `sites_of("embed")`; of `tested` what comes after training."""
    found = {}

    def of(name):
        if name not in found:
            environment = scenes[name].environment if name in scenes else {}
            note = place / f"sites {name}"
            if name in scenes:
                whole(name)  # its features are encoded then
            known = sites.sites_of(name, lines[name](place / f"recorded {name}"), environment, note)
            found[name] = [site for site in known if site.pattern not in NOTES]
            if name == "tested":
                early = {site.pattern for site in of("cached")} - {"heads.safetensors", "manifest.json", "report.md"}
                found[name] = [site for site in found[name] if site.pattern not in early or site.pattern == "DONE"]
        return found[name]

    return of


@pytest.fixture
def strike(lines, scenes, undisturbed, place):
    """Strikes a command at sites one after the other, each time with an action, and lets it end: `strike(name, ...)`"""

    def compare(name, out):
        if name in scenes:
            return runs.differences(out, undisturbed(name))
        return sorted({*contents(out).items()} ^ {*contents(undisturbed(name)).items()})

    def run(name, planned, drawn):
        out, fit = place / "struck", name in scenes
        shutil.rmtree(out, ignore_errors=True)
        environment = scenes[name].environment if fit else {}
        struck, wrong = [], []
        for site, action, nth in planned:
            before = runs.newest(out)
            own = {} if site == ANYWHERE else site.fails(action, nth)
            child = forking.start(lines[name](out), env={**environment, **own})
            fresh = False
            code = kill_in_save(child, out / "checkpoints", drawn) if site == ANYWHERE else child.wait(120)
            where = f"{site.pattern}@{site.point}={action}#{nth}"
            if code == 0:  # not passed by what was left to do: a new run passes it
                wrong += compare(name, out)
                shutil.rmtree(out)
                fresh = site != ANYWHERE
                if not fresh:
                    continue
                child = forking.start(lines[name](out), env={**environment, **site.fails(action, 1)})
                code = child.wait(120)
            struck.append(where)
            said = child.said()
            if action == "kill":
                wrong += [f"{where}: exit {code}: {said[-300:]}"] if code != -signal.SIGKILL else []
            elif code != 74 or "Traceback" in said or "cannot be written" not in said.splitlines()[-1]:
                wrong.append(f"{where}: exit {code}: {said[-300:]}")
            wrong += [f"{where}: torn {torn}" for torn in runs.damaged(out)]
            lost = out.is_dir() and runs.newest(out) < before and not fresh
            wrong += [f"{where}: newest was {before}, is {runs.newest(out)}"] if lost else []
        code, said = forking.run(lines[name](out), 120, env=environment)
        if code:
            wrong.append(f"then exit {code}: {said[-300:]}")
        else:
            wrong += compare(name, out)
        wrong += [f"orphan {path.name}" for path in out.rglob(".*.tmp")]
        return {"ok": not wrong, "struck": len(struck), "where": struck, "wrong": wrong}

    return run


def kill_in_save(child, folder, drawn):
    """Kill as soon as a save of a checkpoint is seen, or a little later; returns the exit code."""
    wanted, seen, was = drawn.randint(1, 3), 0, False
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
            child.kill(signal.SIGKILL, group=True)
            break
    return child.wait(60)


def test_a_kill_in_a_save_leaves_the_checkpoints_before(strike, sites_of, full):
    def run(trial):
        name, number = trial.split(" ")
        drawn = random.Random(trial)
        if name == "tested":
            known = [site for site in sites_of(name)[int(number) :: 8]]
            planned = [(site, "kill", drawn.randint(1, site.times)) for site in known]
        else:
            saves = [site for site in sites_of("cached") if site.pattern in ("step=*.ckpt", "run.yaml")]
            heads = [site for site in sites_of("cached") if site.pattern.startswith("best_heads")]
            chosen = [*drawn.sample(saves, 5), *drawn.sample(heads, 2), *[ANYWHERE] * 3]
            drawn.shuffle(chosen)
            planned = [(site, "kill", 1 if site.times == 1 else drawn.randint(1, 2)) for site in chosen]
        return strike(name, planned, drawn)

    trials = [f"cached {n}" for n in range(26 if full else 1)] + ([f"tested {n}" for n in range(8)] if full else [])
    tally = run_campaign("write_kills", trials, run, full=full)
    assert tally.failed == []
    assert tally.total("struck") >= (300 if full else 8)


def test_an_error_at_any_write_site_is_said_and_nothing_is_lost(strike, sites_of, full):
    """Quick: ten sites of a run and of the encode pass, an error each; full: each of all commands, every error."""

    def run(trial):
        name, errno, first = trial.split(" ")
        part = sites_of(name)[int(first) : int(first) + STRIKES]
        shift = sites.ERRNOS.index(errno) if errno in sites.ERRNOS else int(first)
        planned = [
            (site, errno if errno in sites.ERRNOS else sites.ERRNOS[(place + shift) % 5], 1)
            for place, site in enumerate(part)
        ]
        return strike(name, planned, random.Random(trial))

    trials = []
    for name in ALL_COMMANDS if full else QUICK_COMMANDS:
        for errno in sites.ERRNOS if full else ("each",):
            known = sites_of(name)
            last = len(known) if full else min(len(known), 10)
            trials += [f"{name} {errno} {first}" for first in range(0, last, STRIKES)]
    tally = run_campaign("write_errors", trials, run, full=full)
    assert tally.failed == []
    assert tally.total("struck") >= len(trials)
