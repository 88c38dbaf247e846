"""Who may pack into a folder: one call at a time, and only the set that the folder holds already."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from rich.console import Console

from emonet_lightning import interruption
from emonet_lightning.bad_samples import BAD_SAMPLES
from emonet_lightning.errors import OutputError, UsageError
from emonet_lightning.io import make_folder, read_json, write_errors, write_json
from emonet_lightning.packing.ledger import LEDGER_FILE
from emonet_lightning.packing.packed import MANIFEST, RATINGS, PackedSet
from emonet_lightning.packing.shard_writer import WORK_DIR

GENERATION = "generation"
"""Folder in that of a set which `synthesize images` makes: what its images were made with, and which were dropped."""
_LOCK = "lock"
_POLL_SECONDS = 0.2


def already_packed(out_dir: Path, inputs: str) -> bool:
    """Tell whether the folder holds this very set, finished.

    Raises:
        UsageError: it holds another one.
    """
    if not (out_dir / MANIFEST).is_file():
        return False
    manifest = PackedSet.open(out_dir).manifest
    if manifest["inputs"] != inputs:
        raise UsageError(
            f"{out_dir}: already holds the packed set '{manifest['name']}' ({manifest['num_samples']} images) of other "
            "inputs or options; choose another --out, or delete that folder"
        )
    files = [*manifest["shards"], manifest["ratings"]]
    return all((out_dir / f["file"]).is_file() and (out_dir / f["file"]).stat().st_size == f["bytes"] for f in files)


@contextlib.contextmanager
def claimed(out_dir: Path, shards_of: str, console: Console) -> Iterator[None]:
    """Hold the folder for one packing call; another call waits, and a killed one leaves nothing in the way.

    Args:
        out_dir: folder of the set; created.
        shards_of: fingerprint of what the shards are made from.
        console: where to say that another call is waited for.

    Raises:
        UsageError: the folder holds something else.
        OutputError: it cannot be written.
    """
    make_folder(out_dir)
    _refuse_foreign(out_dir)
    work = out_dir / WORK_DIR
    with _locked(work, console):
        plan = work / "plan.json"
        if plan.is_file() and read_json(plan)["shards_of"] != shards_of:
            raise UsageError(
                f"{out_dir}: holds an unfinished packed set of other inputs or options; choose another --out, "
                "or delete that folder"
            )
        for left_over in (*out_dir.glob(".*.tmp"), *work.glob(".*.tmp")):
            left_over.unlink(missing_ok=True)
        write_json(plan, {"shards_of": shards_of})
        yield
        _clear(work)


def _locked(work: Path, console: Console) -> TextIO:
    """Return the lock file, held until it is closed; it is the one that lies there, not one that was removed."""
    told = False
    while True:
        make_folder(work)
        try:
            with write_errors(work):
                lock = (work / _LOCK).open("w")
        except OutputError:
            if work.is_dir():
                raise
            continue  # a call that finished has removed the folder
        try:
            while not _try_lock(lock):
                if not told:
                    console.print(f"{work.parent}: another call packs into it; waiting")
                    told = True
                interruption.check(f"{work.parent}: waiting for another call")
                time.sleep(_POLL_SECONDS)
        except OSError:
            console.print(f"{work.parent}: this file system has no locks; let only one call pack into it")
            return lock
        except BaseException:
            lock.close()
            raise
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock.fileno()), (work / _LOCK).stat()):
                return lock
        lock.close()


def _try_lock(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _clear(work: Path) -> None:
    """Remove the notes, last the lock: whoever makes a new one then finds nothing else being removed."""
    with contextlib.suppress(OSError):
        for path in [path for path in work.iterdir() if path.name != _LOCK]:
            path.unlink(missing_ok=True)
        (work / _LOCK).unlink()
        work.rmdir()


def _refuse_foreign(out_dir: Path) -> None:
    known = {MANIFEST, RATINGS, LEDGER_FILE, BAD_SAMPLES, WORK_DIR}
    names = sorted(path.name for path in out_dir.iterdir() if path.name != GENERATION)
    # in this order: of a call that began or ended meanwhile one of the two is there whenever its files are
    ours = (out_dir / WORK_DIR).is_dir() or (out_dir / MANIFEST).is_file()
    for name in names:
        if not ours or not (name in known or name.startswith("shard-") or name.endswith(".tmp")):
            raise UsageError(f"{out_dir}: holds other files ({name}); choose a new or empty --out")
