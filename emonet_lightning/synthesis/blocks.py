"""Blocks of generated images: written whole or not at all, so that a kill loses at most the block in work.

A block is two files: the images one after the other, and what is known of each, signed; the second one says that the
first is whole. Which images a block holds depends on the design and the size of a batch alone, never on who makes it.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from emonet_lightning.errors import DataError
from emonet_lightning.io import atomic_write, sha256_bytes
from emonet_lightning.packing.samples import RawSample
from emonet_lightning.ratings.answers import GENERATED
from emonet_lightning.ratings.long_form import Kind
from emonet_lightning.signed_json import is_signed, read_signed, sign

_OWN = ("id", "seed", "design")
_AGAIN = "run the same command again: it makes the block anew"


class Todo(NamedTuple):
    """A prompt of which an image is to be made."""

    row: int
    """In the design."""
    attempt: int
    """From 0."""


class Made(NamedTuple):
    """What became of one prompt in a block."""

    row: int
    """In the design."""
    attempt: int
    """Of the last image made, from 0."""
    seed: int
    offset: int
    size: int
    """Bytes; 0 where no image is kept."""
    sha256: str
    phash: str
    rejected: list[list[Any]]
    """Images of this block that are not kept: attempt, seed, reason."""


class Kept(NamedTuple):
    """An image that is kept, and where it lies."""

    block: Path
    made: Made


def block_path(folder: Path, round_number: int, number: int) -> Path:
    """Path of a block's images."""
    return folder / f"round-{round_number:02d}-block-{number:06d}.images"


def write_block(path: Path, images: list[bytes], made: list[Made]) -> None:
    """Write a block: its images, then the notes that make it count."""
    atomic_write(path, b"".join(images))
    atomic_write(path.with_suffix(".json"), sign(json.dumps({"made": made})))


def is_made(path: Path) -> bool:
    """Tell whether a block is there; bytes of images are compared when they are packed."""
    notes = path.with_suffix(".json")
    return notes.is_file() and path.is_file() and is_signed(notes.read_bytes())


def read_block(path: Path) -> list[Made]:
    """Return what became of a block's prompts."""
    return [Made(*entry) for entry in read_signed(path.with_suffix(".json"), _AGAIN)["made"]]


def read_image(kept: Kept, name: str) -> bytes:
    """Return an image, compared with its digest.

    Raises:
        DataError: damaged; the block is removed, so that the same command makes it again.
    """
    with kept.block.open("rb") as stream:
        stream.seek(kept.made.offset)
        content = stream.read(kept.made.size)
    if sha256_bytes(content) != kept.made.sha256:
        kept.block.with_suffix(".json").unlink(missing_ok=True)
        raise DataError(f"{kept.block}: image '{name}' is damaged; {_AGAIN}")
    return content


class GeneratedImages:
    """The images that are kept, as a source for packing; labels are what was prompted, at the highest level."""

    kind: Kind = "dense"

    def __init__(
        self,
        kept: list[Kept],
        records: list[dict[str, Any]],
        recorded: dict[str, str | int | float],
        highest: dict[str, float],
        name: str,
        licence: str,
        digest: str,
    ) -> None:
        """Describe the set.

        Args:
            kept: images, in the order of the design.
            records: the design, by row.
            recorded: what is the same for all images: model, scheduler, steps, ...
            highest: highest level of each emotion, by slug.
            name: of the set.
            licence: of the set.
            digest: of the design and of all options.
        """
        self.kept, self.records, self.recorded, self.highest = kept, records, recorded, highest
        self.name, self.licence, self._digest = name, licence, digest

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, index: int) -> RawSample:
        kept = self.kept[index]
        record = self.records[kept.made.row]
        key, slug = str(record["id"]), record.get("prompted")
        own = {name: value for name, value in record.items() if name not in _OWN}
        return RawSample(
            key=key,
            image=read_image(kept, key),
            ratings={GENERATED: {slug: self.highest[slug]} if slug else {}},
            prompted=slug,
            group=str(record.get("cell", key)),
            meta={**own, **self.recorded, "seed": kept.made.seed, "attempt": kept.made.attempt},
        )

    def fingerprint(self) -> str:
        """Digest of the design and of all options, which the images are a function of."""
        return self._digest
