"""One command at a time in a folder: a lock that goes with its process, however that ends."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from emonet_lightning.errors import UsageError
from emonet_lightning.io import write_errors
from emonet_lightning.messages import is_first_process, say

LOCK_FILE = ".lock"
_locks: set[IO[str]] = set()
# workers live on for seconds after their parent was killed, and would keep its folder from the same command
os.register_at_fork(after_in_child=lambda: [lock.close() for lock in _locks])


@contextlib.contextmanager
def claimed(folder: Path, refusal: str) -> Iterator[None]:
    """Hold a folder against a second command; further processes of this one are let through.

    Args:
        folder: which is there.
        refusal: what is said to the second one.

    Raises:
        UsageError: another command holds it.
        OutputError: the folder cannot be written.
    """
    if not is_first_process():
        yield
        return
    path = folder / LOCK_FILE
    lock = _locked(path, refusal)
    while lock is None:
        lock = _locked(path, refusal)
    with lock:
        _locks.add(lock)
        try:
            yield
        finally:
            _locks.discard(lock)
            with contextlib.suppress(OSError):  # of a folder that cannot be written, what went wrong first is said
                path.unlink()  # while it is held: later, it could be another process's


def _locked(path: Path, refusal: str) -> IO[str] | None:
    """Return the locked file; None where it was removed by its last holder before it was locked."""
    with write_errors(path):
        lock = path.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise UsageError(f"{path.parent}: {refusal}") from None
    except OSError:
        say(f"{path.parent}: this file system has no locks; let only one command run in this folder")
        return lock
    try:
        if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
            return lock
    except FileNotFoundError:
        pass
    lock.close()
    return None
