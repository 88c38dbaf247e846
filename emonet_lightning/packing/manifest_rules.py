"""What a manifest may say: a digest shows that it was not changed, not that who wrote it meant well.

Files are names inside the set's folder, members lie inside their shard, and nothing is listed twice, so that reading
by offset can neither leave the folder nor ask for more memory than an image takes.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from emonet_lightning.errors import DataError
from emonet_lightning.packing.images import MAX_BYTES

_SHARD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.tar")
_MAX_RECORD_BYTES = 64 * 2**20


def check_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Refuse a manifest that contradicts itself or points outside.

    Args:
        path: its file, for the error.
        manifest: as read.

    Raises:
        DataError: names the field.
    """
    try:
        wrong = _wrong(manifest)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        wrong = f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
    if wrong:
        raise DataError(f"{path}: not a manifest that `pack` wrote ({wrong}); pack the set again")


def _wrong(manifest: dict[str, Any]) -> str | None:
    index, shards, count = manifest["index"], manifest["shards"], manifest["num_samples"]
    files = [shard["file"] for shard in shards]
    for file in files:
        if not isinstance(file, str) or not _SHARD.fullmatch(file):
            return f"shards: {file!r} is not the name of a tar file"
    if len(set(files)) != len(files):
        return f"shards: {next(file for file in files if files.count(file) > 1)} is listed twice"
    for name, column in index.items():
        if column is not None and len(column) != count:
            return f"index.{name}: {len(column)} entries for {count} samples"
    if len(set(index["key"])) != count:
        return "index.key: a key is given twice"
    shard = np.array(index["shard"], dtype=np.int64)
    sizes = np.array([entry["bytes"] for entry in shards], dtype=np.int64)
    if not np.array_equal(shard, np.repeat(np.arange(len(shards)), [entry["n"] for entry in shards])):
        return "index.shard: not the number of samples that the shards have"
    for part, limit in (("image", MAX_BYTES), ("json", _MAX_RECORD_BYTES)):
        offset = np.array(index[f"{part}_offset"], dtype=np.int64)
        size = np.array(index[f"{part}_bytes"], dtype=np.int64)
        outside = (offset < 0) | (size < 0) | (size > limit) | (offset + size > sizes[shard])
        if outside.any():
            return f"index.{part}_offset: sample '{index['key'][int(outside.argmax())]}' lies outside its shard"
    return None
