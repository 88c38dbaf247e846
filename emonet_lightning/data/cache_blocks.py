"""One block of a feature cache: 512 rows of one view in a safetensors file that carries its own digest.

The digest stands in the header and not in a list beside the files, so that a block is one atomic write and writers
share nothing. Rows whose image could not be read are zero and named in the header, under the digest; a block without
them has the bytes that it always had, so once the image is repaired the block is encoded again and is that very block.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import safe_open

from emonet_lightning.errors import DataError, MissingInputError
from emonet_lightning.io import save_tensors

BLOCK_ROWS = 512
_VERIFIED: dict[Path, tuple[int, int, int]] = {}
"""Inode, time and size of the files that this process has compared with their digest: once is enough."""


class Block(NamedTuple):
    """Rows `start`..`stop` of one view's folder."""

    folder: Path
    key: str
    """The view's cache key."""
    number: int
    start: int
    stop: int

    @property
    def path(self) -> Path:
        """File of the block."""
        return self.folder / f"{self.number:06d}.safetensors"


def blocks_of(folder: Path, key: str, num_rows: int) -> Iterator[Block]:
    """Yield the blocks of one view of `num_rows` rows."""
    for number, start in enumerate(range(0, num_rows, BLOCK_ROWS)):
        yield Block(folder, key, number, start, min(start + BLOCK_ROWS, num_rows))


BadRows = dict[int, str]
"""Rows of a set that could not be encoded, with the reason."""


def save_block(block: Block, features: torch.Tensor, bad: BadRows | None = None) -> None:
    """Write a block's features [rows, D] float16; those of bad rows are zero."""
    listed = [[row, reason] for row, reason in sorted((bad or {}).items())]
    # one metadata entry, because safetensors writes several in an order that differs from run to run
    entry = [block.key, _digest(block, features, listed), *([listed] if listed else [])]
    save_tensors(block.path, {"features": features}, {"block": json.dumps(entry)})


def read_block(block: Block, dim: int) -> torch.Tensor:
    """Return a block's features [rows, D] float16, mapped from its file; the digest is compared at the first time.

    Raises:
        MissingInputError: not there.
        DataError: damaged, or of another cache; or a row is not finite, or zero though its image was read.
    """
    features, _ = _open(block, dim)
    return features


def bad_rows(block: Block, dim: int) -> BadRows:
    """Return the rows of a block that could not be encoded, by number in the set; raises what `read_block` raises."""
    _, listed = _open(block, dim)
    return dict(listed)


def _open(block: Block, dim: int) -> tuple[torch.Tensor, list[tuple[int, str]]]:
    if not block.path.is_file():
        raise MissingInputError(f"{block.path}: this part of the feature cache is missing; run the same command again")
    try:
        with safe_open(block.path, "pt") as stream:
            key, digest, *more = json.loads(stream.metadata()["block"])
            features: torch.Tensor = stream.get_tensor("features")
        listed = [(int(row), str(reason)) for row, reason in (more[0] if more else [])]
    except Exception as error:  # safetensors raises its own untyped error
        raise _damaged(block, " ".join(str(error).split())) from error
    if key != block.key:
        raise _damaged(block, f"belongs to cache {str(key)[:12]}")
    if features.shape != (block.stop - block.start, dim) or features.dtype != torch.float16:
        raise _damaged(block, f"holds {features.dtype} {list(features.shape)}")
    found = block.path.stat()
    mark = (found.st_ino, found.st_mtime_ns, found.st_size)
    if _VERIFIED.get(block.path) != mark:
        if _digest(block, features, [list(entry) for entry in listed]) != digest:
            raise _damaged(block, "its digest differs")
        if wrong := wrong_rows(features, {row - block.start for row, _ in listed}):
            raise _damaged(block, f"row {block.start + wrong[0]} is zero or not finite")
        _VERIFIED[block.path] = mark
    return features, listed


def wrong_rows(features: torch.Tensor, bad: set[int]) -> list[int]:
    """Return which rows [n, D] float16 no encoder has made: zero (unless known as bad), or not finite."""
    bits = features.numpy().view(np.uint16) & 0x7FFF  # without the sign; in float16 infinity and NaN are 0x7C00 and up
    largest = bits.max(axis=1)
    return [int(row) for row in np.flatnonzero((largest == 0) | (largest >= 0x7C00)) if row not in bad or largest[row]]


def _damaged(block: Block, reason: str) -> DataError:
    return DataError(
        f"{block.path}: feature cache block is damaged ({reason}); run the same command again to rebuild it"
    )


def _digest(block: Block, features: torch.Tensor, listed: Sequence[Sequence[object]]) -> str:
    bad = json.dumps(listed) if listed else ""
    digest = hashlib.sha256(f"{block.key}/{block.number}/{list(features.shape)}/{bad}".encode())
    digest.update(features.contiguous().numpy().data)
    return digest.hexdigest()
