"""A packed set with the ratings of a label file in place of its own: how answers about it become a set to train on."""

from pathlib import Path
from typing import Any

import numpy as np

from emonet_lightning.io import fingerprint
from emonet_lightning.packing.folders import answers_of, ratings_fingerprint
from emonet_lightning.packing.matching import Matched
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.packing.samples import RawSample
from emonet_lightning.ratings.long_form import Kind


class PackedSource:
    """Source over a packed set's images, their groups, prompted emotions and facts, with other ratings."""

    def __init__(self, packed: PackedSet, matched: Matched, kind: Kind, name: str) -> None:
        """Args: `matched.files` are keys of the set, and `matched.ratings` count them."""
        self.packed = packed
        self.keys = matched.files
        self.ratings = matched.ratings
        self.kind: Kind = kind
        self.name = name
        self.licence = packed.licence
        row_of = {key: row for row, key in enumerate(packed.keys)}
        self._rows = [row_of[key] for key in self.keys]
        self._starts = np.searchsorted(self.ratings.row, np.arange(len(self.keys) + 1))

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> RawSample:
        row = self._rows[index]
        meta: dict[str, Any] = self.packed.read_record(row).get("meta") or {}
        return RawSample(
            key=self.keys[index],
            image=self.packed.read_image(row),
            ratings=answers_of(self.ratings, self._starts, index),
            prompted=self.packed.prompted[row],
            group=self.packed.groups[row],
            meta=meta,
        )

    def fingerprint(self) -> str:
        """Digest of the images and of all labels."""
        return fingerprint([self.packed.digest, self.keys, ratings_fingerprint(self.ratings)])


def is_packed(path: Path) -> bool:
    """Whether a folder is a packed set."""
    return (path / "manifest.json").is_file() and (path / "ratings.parquet").is_file()
