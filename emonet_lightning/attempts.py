"""Starts and ends of a run, a line each, so that one that never gets further is noticed and stopped.

A scheduler starts a job again for ever. Whoever was killed leaves no end; whoever was asked to stop did not crash.
"""

import datetime
import json
import os
import socket
from pathlib import Path
from typing import Any

from emonet_lightning.appending import append_line
from emonet_lightning.errors import CrashLoopError
from emonet_lightning.io import read_bytes
from emonet_lightning.messages import is_first_process
from emonet_lightning.redaction import redact

ATTEMPTS_FILE = "attempts.jsonl"
DONE, INTERRUPTED, CRASH_LOOP = "done", "interrupted", "crash loop"


def begin_attempt(folder: Path, progress: list[Any], limit: int) -> None:
    """Note that a run starts or goes on; only the first process does.

    Args:
        folder: of the run.
        progress: how far it is, as JSON holds it; equal lists mean that nothing was gained.
        limit: of starts in a row that end without progress, unless they were asked to stop; 0 for none.

    Raises:
        CrashLoopError: so many did. The start after this one is free again: somebody has looked at it.
    """
    if not is_first_process():
        return
    path = folder / ATTEMPTS_FILE
    stuck, last = _stuck(path, progress)
    if limit and stuck >= limit:
        end_attempt(folder, CRASH_LOOP)
        raise CrashLoopError(
            f"{folder}: started {stuck} times without getting further ({last}); mend the cause, then start it again "
            f"({path.name} lists all starts; --max_stuck_restarts 0 takes the limit off)"
        )
    _append(path, {"event": "start", "progress": progress})


def end_attempt(folder: Path, outcome: str) -> None:
    """Note how it ended: `done`, `interrupted`, or an error's text."""
    if is_first_process():
        _append(folder / ATTEMPTS_FILE, {"event": "end", "outcome": redact(outcome)})


def _stuck(path: Path, progress: list[Any]) -> tuple[int, str]:
    """How many starts at the end of the file began where this one does and crashed, and what of."""
    entries = []
    for line in read_bytes(path).splitlines() if path.is_file() else []:
        try:
            entry = json.loads(line)
        except ValueError:  # its writer was killed
            continue
        if isinstance(entry, dict) and "event" in entry:  # the end of a line may be a number
            entries.append(entry)
    count, outcome, cause = 0, "", ""
    for entry in reversed(entries):
        if entry.get("event") == "end":
            outcome = str(entry.get("outcome"))
            if outcome == CRASH_LOOP:
                break
        else:
            if entry.get("progress") != progress:
                break
            if outcome not in (DONE, INTERRUPTED):
                count += 1
                cause = cause or outcome or "killed"
            outcome = ""
    return count, cause


def _append(path: Path, entry: dict[str, Any]) -> None:
    job = os.environ.get("SLURM_JOB_ID")
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    known = {"time": now, "host": socket.gethostname(), "pid": os.getpid(), **({"slurm_job": job} if job else {})}
    append_line(path, lambda content: json.dumps({**known, **entry}, ensure_ascii=False))
