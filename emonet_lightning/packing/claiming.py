"""Who may pack into a folder: one call at a time, and only the set that the folder holds already."""

import contextlib
import fcntl
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from rich.console import Console

from emonet_lightning import interruption
from emonet_lightning.bad_samples import BAD_SAMPLES
from emonet_lightning.errors import UsageError
from emonet_lightning.io import make_folder, read_json, write_errors, write_json
from emonet_lightning.packing.ledger import LEDGER_FILE
from emonet_lightning.packing.packed import MANIFEST, RATINGS, PackedSet
from emonet_lightning.packing.shard_writer import WORK_DIR

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
    make_folder(out_dir / WORK_DIR)
    with write_errors(out_dir / WORK_DIR):
        lock = (out_dir / WORK_DIR / "lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.print(f"{out_dir}: another call packs into it; waiting")
            _wait_for(lock, out_dir)
        except OSError:
            console.print(f"{out_dir}: this file system has no locks; let only one call pack into it")
        plan = out_dir / WORK_DIR / "plan.json"
        if plan.is_file() and read_json(plan)["shards_of"] != shards_of:
            raise UsageError(
                f"{out_dir}: holds an unfinished packed set of other inputs or options; choose another --out, "
                "or delete that folder"
            )
        for left_over in (*out_dir.glob(".*.tmp"), *(out_dir / WORK_DIR).glob(".*.tmp")):
            left_over.unlink(missing_ok=True)
        write_json(plan, {"shards_of": shards_of})
        yield
        shutil.rmtree(out_dir / WORK_DIR, ignore_errors=True)


def _wait_for(lock: TextIO, out_dir: Path) -> None:
    while True:
        interruption.check(f"{out_dir}: waiting for another call")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(_POLL_SECONDS)


def _refuse_foreign(out_dir: Path) -> None:
    ours = (out_dir / MANIFEST).is_file() or (out_dir / WORK_DIR).is_dir()
    known = {MANIFEST, RATINGS, LEDGER_FILE, BAD_SAMPLES, WORK_DIR}
    for path in sorted(out_dir.iterdir()):
        name = path.name
        if not ours or not (name in known or name.startswith("shard-") or name.endswith(".tmp")):
            raise UsageError(f"{out_dir}: holds other files ({name}); choose a new or empty --out")
