"""Pictures that somebody has: a folder or a packed set, with what is known of them."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from emonet_lightning.data.labels import rater_cube
from emonet_lightning.data.parts import Part
from emonet_lightning.data.plan import locate
from emonet_lightning.decoding import decode_image
from emonet_lightning.errors import DataError
from emonet_lightning.evaluation.columns import mean_rating
from emonet_lightning.image_inputs import find_images
from emonet_lightning.io import fingerprint, read_bytes
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.packing.packed_source import is_packed
from emonet_lightning.ratings.image_facts import image_facts
from emonet_lightning.ratings.index_map import ImageNames
from emonet_lightning.ratings.panel_files import read_panel
from emonet_lightning.taxonomy import Taxonomy

LARGEST = 512
"""Shorter side in pixels to which larger pictures are reduced first."""


class PictureSet(NamedTuple):
    """N pictures."""

    path: Path
    names: list[str]
    sources: list[Callable[[], bytes]]
    truth: np.ndarray | None
    """Mean rating, or 1 and 0 of agreed yes and no, of the emotions [N, K]; NaN where nothing is known."""
    ratings: np.ndarray | None
    """Every rater kept apart [N, R, K], NaN: not rated; None for labels without several raters on a scale."""
    groups: list[str | None] | None
    """Person (or prompt) of each."""
    packed: PackedSet | None
    rows: list[int]
    """Of the packed set."""

    @property
    def name(self) -> str:
        """What reports call them."""
        return self.path.name if self.packed is None else self.packed.name

    @property
    def digest(self) -> str:
        """Digest of names and contents (of a folder: of names, sizes and times)."""
        if self.packed is not None:
            return fingerprint([self.packed.digest, self.rows])
        files = [self.path / name if self.path.is_dir() else self.path for name in self.names]
        return fingerprint([[name, *_stamp(file)] for name, file in zip(self.names, files, strict=True)])


def read_pictures(
    images: str, taxonomy: Taxonomy, ratings: str | None = None, groups: str | None = None, split: str | None = None
) -> PictureSet:
    """Find pictures and what is known of them; no picture is read yet.

    Args:
        images: folder of images, packed set, or `embedded:hq`.
        taxonomy: columns of what is known; extra dimensions are left out.
        ratings: file of ratings as `evaluate agreement` reads them, instead of the packed set's own.
        groups: CSV file (image, group), instead of the packed set's own.
        split: of a packed set.

    Raises:
        MissingInputError: no such folder or file.
        DataError: a file that cannot be read, or ratings of none of the pictures.
    """
    path = locate(images, None)
    found = find_images(path, split)
    names = [name for name, _ in found]
    sources = [source if callable(source) else _reader(source) for _, source in found]
    packed = PackedSet.open(path) if path.is_dir() and is_packed(path) else None
    truth = cube = None
    own_groups: list[str | None] | None = None
    rows: list[int] = []
    k = taxonomy.num_emotions
    if packed is not None:
        place = {key: row for row, key in enumerate(packed.keys)}
        rows = [place[name] for name in names]
        own_groups = [packed.groups[row] for row in rows]
        if len(packed.ratings().row):
            truth = Part(str(path)).labels(packed, taxonomy).truth[rows][:, :k]
            if packed.kind == "rated":
                cube = rater_cube(packed.ratings(), packed.num_samples, taxonomy, "zero")[0][rows][..., :k]
    if ratings is not None:
        cube = _match(ratings, taxonomy, names)[..., :k]
        truth = mean_rating(cube)
    if truth is not None and np.isnan(truth).all():
        truth = cube = None
    if groups is not None:
        own_groups = list(image_facts(groups, "group", names))
    if own_groups is not None and all(group is None for group in own_groups):
        own_groups = None
    return PictureSet(path, names, sources, truth, cube, own_groups, packed, rows)


def pixels_of(name: str, source: Callable[[], bytes]) -> np.ndarray:
    """Decode a picture; a large one is reduced to `LARGEST` pixels of its shorter side.

    Raises:
        DataError: it cannot be read; names it.
    """
    pixels = decode_image(source(), name)
    short = min(pixels.shape[:2])
    if short <= LARGEST:
        return pixels
    height, width = (round(side * LARGEST / short) for side in pixels.shape[:2])
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)


def _reader(source: object) -> Callable[[], bytes]:
    return lambda: read_bytes(str(source))


def _stamp(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns


def _match(ratings: str, taxonomy: Taxonomy, names: list[str]) -> np.ndarray:
    panel, _ = read_panel(ratings, taxonomy)
    known = ImageNames(panel.images)
    places = [known.find(name, ratings) for name in names]
    if all(place is None for place in places):
        raise DataError(f"{ratings}: rates none of the images ('{names[0]}', ...); name them as their files are")
    empty = np.full((1, *panel.values.shape[1:]), np.nan)
    values = np.concatenate([panel.values, empty])
    return values[[len(panel.images) if place is None else place for place in places]]
