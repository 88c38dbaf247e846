"""Moments of a command, found from outside by the function that it is in: to be signalled there, or to be counted.

The command is the project's own, unchanged; the interpreter tells of the functions that are called.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

VARIABLE = "EMONET_MOMENT"
RECORD = "EMONET_WRITE_SITES"
CONSUMED = "EMONET_CONSUMED"
NEVER = "never@opened=kill"
"""A fail point that no file meets: with it the points that are passed can be counted."""


def at(function: str, time: int, number: str, note: Path) -> dict[str, str]:
    """Return the environment of `signalled`.

    Args:
        function: name of a function of the package.
        time: how often it is called until then.
        number: signal, as SIGTERM.
        note: file that then says how far the run was.
    """
    return {VARIABLE: json.dumps([function, time, number, str(note)])}


def signalled(argv: Sequence[str]) -> int:
    """Run a command that gets a signal when it calls a function for the N-th time."""
    function, time, number, note = json.loads(os.environ[VARIABLE])
    times = 0

    def look(frame: Any, event: str, _: Any) -> None:
        nonlocal times
        if event != "call" or frame.f_code.co_name != function or "emonet_lightning" not in frame.f_code.co_filename:
            return
        times += 1
        if times == time:
            sys.setprofile(None)
            Path(note).write_text(json.dumps(_state(frame)))
            os.kill(os.getpid(), getattr(signal, number))

    sys.setprofile(look)
    try:
        return _main(argv)
    finally:
        sys.setprofile(None)


def recorded(argv: Sequence[str]) -> int:
    """Run a command and note every point of writing a file that it passes, as `name point` lines."""
    sites: list[str] = []

    def look(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_name == "failure" and "fail_points" in frame.f_code.co_filename:
            sites.append(f"{frame.f_locals['name']} {frame.f_locals['point']}")

    threading.setprofile(look)
    sys.setprofile(look)
    try:
        return _main(argv)
    finally:
        sys.setprofile(None)
        Path(os.environ[RECORD]).write_text("\n".join(sites))


def consumed(argv: Sequence[str]) -> int:
    """Run a command and note the rows of each batch that its module trains on: a JSON line an optimiser step."""
    lines: list[str] = []

    def look(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_name == "training_step" and "batches" in frame.f_locals:
            epoch = frame.f_locals["self"].current_epoch
            lines.extend(json.dumps([epoch, batch.key.tolist()]) for batch in frame.f_locals["batches"])

    sys.setprofile(look)
    try:
        return _main(argv)
    finally:
        sys.setprofile(None)
        Path(f"{os.environ[CONSUMED]}.{os.environ.get('LOCAL_RANK', 0)}").write_text("\n".join(lines))


def _main(argv: Sequence[str]) -> int:
    from emonet_lightning.cli import main

    return main(list(argv))


def _state(frame: Any) -> dict[str, Any]:
    """How far the Trainer is, seen from a function of the module or of a callback."""
    while frame is not None:
        for owner in (frame.f_locals.get("trainer"), getattr(frame.f_locals.get("self"), "_trainer", None)):
            if hasattr(owner, "fit_loop"):
                return {"step": owner.global_step, "epoch": owner.current_epoch, "sanity": owner.sanity_checking}
        frame = frame.f_back
    return {"step": 0}
