"""Processes that a launcher started, before they have met: the failure of one ends the others.

After they have met, a process that is gone shows in the next collective operation of the others. Before, they wait for
it in the rendezvous, up to half an hour, unless their launcher ends them: one that was started with another option is
refused by the run's folder within seconds. So each of them watches for a note in that folder, which the one that fails
renews for some seconds: the others may only be importing.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from emonet_lightning.errors import SaidElsewhere
from emonet_lightning.io import sha256_bytes

STARTED_BY_FIRST = "EMONET_PARENT"
"""Set by the first process of a run for those that it starts, which it watches itself."""
_POLL_SECONDS = 0.5
_RENEW_SECONDS = 10.0


@contextmanager
def not_alone(folder: Path, met: Callable[[], bool], code_of: Callable[[BaseException], int]) -> Iterator[None]:
    """Begin a run together with the other processes of its launcher, or not at all; nothing where it is one process.

    Args:
        folder: of the run, whether it is there or not.
        met: whether the processes have met.
        code_of: exit code that an error leads to.

    Raises:
        SaidElsewhere: this process has failed, and another one has said why before.
    """
    launch = _launch()
    if launch is None:
        yield
        return
    note = folder / f".failure-{sha256_bytes(launch.encode())[:12]}"
    before, done = _state(note), threading.Event()
    threading.Thread(target=_watch, args=(note, before, lambda: done.is_set() or met()), daemon=True).start()
    try:
        yield
    except Exception as error:
        done.set()
        if met():
            raise
        if _state(note) not in (None, before):
            raise SaidElsewhere(_read(note), str(error)) from error
        # not a daemon: the process says why, and ends when nobody can have missed it
        threading.Thread(target=_renew, args=(note, code_of(error))).start()
        raise
    finally:
        done.set()


def _launch() -> str | None:
    """What the processes of one start by a launcher, and no others, have in common; None for one process."""
    look = os.environ.get
    if STARTED_BY_FIRST in os.environ:
        return None
    if "SLURM_STEP_ID" in os.environ and look("SLURM_NTASKS", "1") != "1":
        return " ".join(look(name, "") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"))
    if "LOCAL_RANK" in os.environ and look("WORLD_SIZE") != "1":
        return " ".join(look(name, "") for name in ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT"))
    return None


def _watch(note: Path, before: tuple[int, int] | None, enough: Callable[[], bool]) -> None:
    while not enough():
        if _state(note) not in (None, before):
            time.sleep(_POLL_SECONDS)  # for what it says, and for this process to fail by itself
            if enough():
                return
            os._exit(_read(note))
        time.sleep(_POLL_SECONDS)


def _renew(note: Path, code: int) -> None:
    with contextlib.suppress(OSError):  # a folder that cannot be written or is not there, in which nobody waits
        for _ in range(round(_RENEW_SECONDS / _POLL_SECONDS)):
            if note.parent.is_dir():
                draft = note.with_name(f"{note.name}-{os.getpid()}")
                draft.write_text(f"{code}\n")
                os.replace(draft, note)
            time.sleep(_POLL_SECONDS)
        note.unlink(missing_ok=True)


def _state(note: Path) -> tuple[int, int] | None:
    try:
        found = note.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _read(note: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(note.read_text())
    return SaidElsewhere.exit_code
