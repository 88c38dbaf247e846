"""Which run a folder holds: an id that stays the same however often the run is stopped and goes on."""

import os
import secrets
import time
from pathlib import Path

from emonet_lightning.errors import DataError, MissingInputError
from emonet_lightning.io import read_json, write_json
from emonet_lightning.messages import is_first_process

IDENTITY_FILE = "run.json"
_PATIENCE = 60.0  # seconds that other processes wait for the first one


def run_id(folder: Path | str) -> str:
    """Return the id of the run in a folder [16 hex digits]; the first process makes it where there is none.

    Raises:
        DataError: the file holds no id.
        MissingInputError: the first process has not made it within a minute.
    """
    path = Path(folder) / IDENTITY_FILE
    if not path.is_file() and is_first_process():
        write_json(path, {"id": secrets.token_hex(8)})
    waited = time.monotonic()
    while not path.is_file():
        if time.monotonic() - waited > _PATIENCE:
            raise MissingInputError(f"{path}: no such file; the first process of this run did not begin")
        time.sleep(0.1)
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("id"), str):
        raise DataError(f"{path}: holds no 'id'; choose another --out")
    return str(found["id"])


def agents_run() -> str | None:
    """Return the id of the W&B run that an agent of a sweep began this process for; None where none did."""
    return (os.environ.get("WANDB_RUN_ID") or None) if os.environ.get("WANDB_SWEEP_ID") else None
