"""Data are files of this machine: nothing is fetched, and no command is run, because a path looks like it."""

import re
from pathlib import Path

from emonet_lightning.errors import DataError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


def refuse_remote(path: str | None) -> None:
    """Refuse `pipe:`, `hf:`, `gs:`, `https:` and every other scheme.

    Raises:
        DataError: it is one, and no file or folder of that name.
    """
    if path is None or (found := _SCHEME.match(path)) is None or Path(path).exists():
        return
    scheme = found.group().lower()
    raise DataError(f"{path}: '{scheme}' is not read, only files and folders are; fetch the data first")
