"""Seals: images that are for testing only, remembered by content, so that no copy of them is learnt from.

A sealed set says so in its manifest, which a copy under another name, packed again, would not. So whenever a sealed
set is packed or opened, the digests of its images go into the user's state folder, and whatever is about to train or
choose by images compares them with these. An image that was encoded anew has another digest and is not recognised.
"""

import functools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from emonet_lightning.errors import DataError, EmoNetError
from emonet_lightning.io import fingerprint, read_json, write_json
from emonet_lightning.local_paths import expand_home
from emonet_lightning.messages import say

_DIGITS = 32  # of 64 hex digits of an image's sha256: 128 bits


class ImageSet(Protocol):
    """What a seal needs of a packed set."""

    name: str
    path: Path
    keys: list[str]
    image_sha256: list[str]


class Seal(NamedTuple):
    """Images for testing only, and the set that they were sealed in."""

    name: str
    path: str
    images: frozenset[str]
    """First half of each image's hex sha256."""


def state_root() -> Path:
    """Return the folder of what must outlive sets and runs: `$EMONET_STATE`, or `~/.local/state/emonet_lightning`.

    Raises:
        MissingInputError: below the home of a user who is not known here.
    """
    return expand_home(os.environ.get("EMONET_STATE") or "~/.local/state/emonet_lightning")


def seal_of(packed: ImageSet) -> Seal:
    """Return the seal of a set."""
    images = frozenset(digest[:_DIGITS] for digest in packed.image_sha256)
    return Seal(packed.name, str(packed.path.absolute()), images)


def register(packed: ImageSet) -> None:
    """Remember the images of a sealed set; a state folder that cannot be written is warned of, once."""
    seal = seal_of(packed)
    images = sorted(seal.images)
    path = state_root() / "seals" / f"{fingerprint(images)[:_DIGITS]}.json"
    if path.is_file() and _read(path) is not None:
        return
    try:
        write_json(path, {"name": seal.name, "path": seal.path, "images": images})
    except EmoNetError as error:
        warn_once(f"{error}; copies of the sealed set '{seal.name}' cannot be recognised in later runs")


def registered() -> list[Seal]:
    """Return all seals of the state folder; what cannot be read is warned of, once."""
    folder = state_root() / "seals"
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".json"))
    except FileNotFoundError:
        return []
    except OSError as error:
        warn_once(f"{folder}: cannot be read ({error.strerror}); copies of sealed sets are not recognised")
        return []
    return [seal for name in names if (seal := _read(folder / name)) is not None]


def _read(path: Path) -> Seal | None:
    try:
        content = read_json(path)
        if fingerprint(content["images"])[:_DIGITS] != path.stem:  # the name is the digest of the images
            raise DataError(f"{path}: content changed")
        return Seal(content["name"], content["path"], frozenset(content["images"]))
    except (EmoNetError, KeyError, TypeError) as error:
        warn_once(f"{path}: not a whole list of sealed images ({error}); open the sealed set (`verify`) to renew it")
        return None


def refuse_sealed(packed: ImageSet, rows: np.ndarray, seals: Iterable[Seal]) -> None:
    """Refuse to learn from images that some seal holds.

    Args:
        packed: the set.
        rows: those to train or validate on.
        seals: what must not be among them.

    Raises:
        DataError: some are; names the first sealed set, their number and one of them.
    """
    digests = [packed.image_sha256[row][:_DIGITS] for row in rows.tolist()]
    for seal in seals:
        if found := seal.images.intersection(digests):
            known = [row for row, digest in zip(rows.tolist(), digests, strict=True) if digest in found]
            raise DataError(
                f"{packed.path}: {len(known):,} of the {len(rows):,} images to train or validate on (e.g. "
                f"'{packed.keys[known[0]]}') are those of the sealed test set '{seal.name}' ({seal.path}); "
                "pack the set again without them"
            )


@functools.cache
def warn_once(text: str) -> None:
    """Print a warning, in one process once."""
    say(f"warning: {text}")
