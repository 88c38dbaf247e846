"""Arrays that took long to compute, kept in the folder of a report, so that a call that was killed goes on."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from emonet_lightning.bundle import HeadsBundle
from emonet_lightning.io import atomic_write, fingerprint, sha256_bytes

FOLDER = "kept"


class KeptArrays:
    """Arrays by name below `OUT/kept/`, each valid for what it was computed from.

    Args:
        out: folder of the report.
        source: all that decides about the arrays, as primitives.
    """

    def __init__(self, out: Path, source: Any) -> None:
        self.folder = Path(out) / FOLDER
        self.source = source

    def get(
        self,
        name: str,
        shape: tuple[int, ...],
        of: Any,
        compute: Callable[[], np.ndarray],
        was_kept: Callable[[], None] = lambda: None,
    ) -> np.ndarray:
        """Return the array of that name, computed only where no whole one of the same source is there.

        Args:
            name: of the file.
            shape: that it must have; -1 fits any length.
            of: what else decides about it, as primitives.
            compute: makes it.
            was_kept: called where it need not be.
        """
        digest = fingerprint([self.source, of])
        path = self.folder / f"{name}-{digest[:16]}.npy"
        kept = _read(path)
        if kept is not None and _fits(kept.shape, shape):
            was_kept()
            return kept
        found = compute()
        stream = io.BytesIO()
        np.save(stream, found, allow_pickle=False)
        atomic_write(path, sha256_bytes(stream.getvalue()).encode() + stream.getvalue())
        return found


def heads_digest(bundle: HeadsBundle) -> str:
    """Hex sha256 of the weights of heads and of their manifest."""
    weights = {name: sha256_bytes(value.cpu().numpy().tobytes()) for name, value in bundle.heads.state_dict().items()}
    return fingerprint([bundle.manifest(), weights])


def _read(path: Path) -> np.ndarray | None:
    """Return what was kept; None where there is nothing, or something damaged."""
    if not path.is_file():
        return None
    content = path.read_bytes()
    if sha256_bytes(content[64:]).encode() != content[:64]:
        return None
    found: np.ndarray = np.load(io.BytesIO(content[64:]), allow_pickle=False)
    return found


def _fits(found: tuple[int, ...], asked: tuple[int, ...]) -> bool:
    return len(found) == len(asked) and all(b in (-1, a) for a, b in zip(found, asked, strict=True))
