"""One block of a feature cache: 512 rows of one view in a safetensors file that carries its own digest.

The digest stands in the header and not in a list beside the files, so that a block is one atomic write and writers
share nothing.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

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


def save_block(block: Block, features: torch.Tensor) -> None:
    """Write a block's features [rows, D] float16."""
    # one metadata entry, because safetensors writes several in an order that differs from run to run
    save_tensors(block.path, {"features": features}, {"block": json.dumps([block.key, _digest(block, features)])})


def read_block(block: Block, dim: int) -> torch.Tensor:
    """Return a block's features [rows, D] float16, mapped from its file; the digest is compared at the first time.

    Raises:
        MissingInputError: not there.
        DataError: damaged, or of another cache.
    """
    if not block.path.is_file():
        raise MissingInputError(f"{block.path}: this part of the feature cache is missing; run the same command again")
    try:
        with safe_open(block.path, "pt") as stream:
            key, digest = json.loads(stream.metadata()["block"])
            features: torch.Tensor = stream.get_tensor("features")
    except Exception as error:  # safetensors raises its own untyped error
        raise _damaged(block, " ".join(str(error).split())) from error
    if key != block.key:
        raise _damaged(block, f"belongs to cache {key[:12]}")
    if features.shape != (block.stop - block.start, dim) or features.dtype != torch.float16:
        raise _damaged(block, f"holds {features.dtype} {list(features.shape)}")
    found = block.path.stat()
    mark = (found.st_ino, found.st_mtime_ns, found.st_size)
    if _VERIFIED.get(block.path) != mark:
        if _digest(block, features) != digest:
            raise _damaged(block, "its digest differs")
        _VERIFIED[block.path] = mark
    return features


def _damaged(block: Block, reason: str) -> DataError:
    return DataError(
        f"{block.path}: feature cache block is damaged ({reason}); run the same command again to rebuild it"
    )


def _digest(block: Block, features: torch.Tensor) -> str:
    digest = hashlib.sha256(f"{block.key}/{block.number}/{list(features.shape)}/".encode())
    digest.update(features.contiguous().numpy().data)
    return digest.hexdigest()
