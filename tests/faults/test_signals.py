"""SIGTERM, SIGUSR1 and Ctrl-C in each phase: what was done is kept and goes on, to the bit."""

import json
import random
import shutil
from typing import Any, NamedTuple

import forking
import moments
import pytest
import runs
from campaign import run_campaign
from commands import commands, contents


class Phase(NamedTuple):
    """A phase of a command.

    Args:
        command: `fit` of a scene by its name, or another command.
        functions: that are called in it, each with how often it is called at the least before it is over.
        saves: whether a checkpoint is due.
        calls_per_part: after so many calls a part is finished: a block of features, a shard.
    """

    command: str
    functions: list[tuple[str, int, int]]
    saves: bool = False
    calls_per_part: int = 0


PHASES = {
    "start-up": Phase(
        "cached",
        [("compose", 1, 1), ("instantiate_trainer", 1, 1), ("choose_rows", 1, 1), ("configure_optimizers", 1, 1)],
    ),
    "sanity": Phase("cached", [("validation_step", 1, 1)]),
    "train": Phase("cached", [("training_step", 1, 140), ("_optimiser_step", 1, 149)], saves=True),
    "save": Phase(
        "cached",
        [("save_checkpoint", 1, 29), ("random_state", 1, 29), ("write", 2, 400), ("_prune", 1, 29)],
        saves=True,
    ),
    "validation": Phase("cached", [("validation_step", 2, 30), ("on_validation_epoch_end", 2, 30)], saves=True),
    "test": Phase("tested", [("on_test_batch_end", 1, 1), ("validation_step", 5, 5)]),
    "predict": Phase("predict", [("advance", 1, 4)]),
    "embedding": Phase("embed", [("advance", 1, 12), ("encode", 1, 12)], calls_per_part=3),
    "packing": Phase("pack", [("advance", 1, 40)], calls_per_part=6),
}


@pytest.fixture(scope="module")
def lines(scenes, small_sets, encoder_options, whole, place):
    """Command lines by name, given a folder to write into."""
    return commands(scenes, small_sets["big"], encoder_options, lambda: whole("tested"), place)


@pytest.fixture
def interrupt(lines, scenes, whole, place):
    """Sends a signal in a phase, looks at what was kept, and lets the same command end."""

    def run(trial):
        name, number, draw = trial.split(" ")
        phase, drawn = PHASES[name], random.Random(trial)
        function, first, last = phase.functions[int(draw) % len(phase.functions)]
        out, note = place / f"stopped {trial}", place / f"note {trial}"
        shutil.rmtree(out, ignore_errors=True)
        note.unlink(missing_ok=True)
        time = drawn.randint(first, last)
        words = lines[phase.command](out)
        environment = moments.at(function, time, number, note)
        fit = phase.command in scenes
        environment |= scenes[phase.command].environment if fit else {}
        code, said = forking.run(words, 120, env=environment, target=moments.signalled)
        found: dict[str, Any] = {"function": function, "nth": time, "code": code}
        if not note.is_file():
            return {"ok": False, **found, "error": f"{function} was not called {time} times: {said[-300:]}"}
        step = json.loads(note.read_text())["step"]
        kept = runs.newest(out) if fit else len(blocks(out))
        age = step - kept if phase.saves else 0
        lost = max(0, (time - 1) // phase.calls_per_part - kept) if phase.calls_per_part else 0
        again, said_again = forking.run(words, 120, env=scenes[phase.command].environment if fit else None)
        if again:
            wrong = [said_again[-500:]]
        elif fit:
            wrong = runs.differences(out, whole(phase.command))
        else:
            wrong = sorted({*whole_files(phase.command, lines, place).items()} ^ {*contents(out).items()})
        ok = code == 75 and age <= 1 and not lost and not runs.damaged(out) and not wrong and "Traceback" not in said
        ok = ok and "interrupted by " + number in said.splitlines()[-1]
        shutil.rmtree(out, ignore_errors=True)
        return {
            "ok": ok, **found, "step": step, "kept": kept, "age": age, "lost": lost, "differs": wrong,
            "said": said[-300:],
        }  # fmt: skip

    return run


def blocks(folder):
    """Committed parts of what a command makes."""
    return [name for name in (contents(folder) if folder.is_dir() else []) if name.endswith((".safetensors", ".tar"))]


def whole_files(name, lines, place):
    """What the command leaves that nothing happened to."""
    out = place / f"whole {name}"
    if not out.is_dir():
        code, said = forking.run(lines[name](out), 120)
        assert code == 0, said
    return contents(out)


def test_a_signal_in_any_phase_keeps_what_was_done(interrupt, full):
    numbers = ("SIGTERM", "SIGUSR1", "SIGINT")
    if full:
        trials = [f"{name} {numbers[draw % 3]} {draw}" for name in PHASES for draw in range(10)]
    else:
        trials = [f"{name} {numbers[place % 2]} {place % 2}" for place, name in enumerate(PHASES) if place % 3 != 1]
    tally = run_campaign("signals", trials, interrupt, full=full)
    assert tally.failed == []
    assert max(outcome["age"] for outcome in tally.outcomes) <= 1
