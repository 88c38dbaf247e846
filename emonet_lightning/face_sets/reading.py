"""Read a face set: its images, the class, person and groups of each; nothing is decoded here."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emonet_lightning.bad_samples import BadSample
from emonet_lightning.errors import DataError, MissingInputError, UsageError, nearest
from emonet_lightning.evaluation.class_maps import ClassMap
from emonet_lightning.face_sets.description import FaceSet, Group, spelling
from emonet_lightning.face_sets.layouts import FaceRow, Found
from emonet_lightning.io import fingerprint, read_bytes, sha256_bytes
from emonet_lightning.packing.images import MAX_BYTES


@dataclass(frozen=True)
class FaceImages:
    """The images of a set, by row; what the feature cache reads."""

    folder: Path
    rows: Sequence[FaceRow]
    labels: NDArray[np.int64]
    """Class of the map [N]."""
    persons: list[str] | None
    """[N]; None where the set does not say who is shown."""
    groups: dict[str, list[str | None]]
    """Name -> level of each image [N]; None: not known."""
    level_order: dict[str, list[str]]
    """Name -> its levels: by number, as described, else by name."""
    notes: list[str]

    @property
    def keys(self) -> list[str]:
        """Names of the images [N]."""
        return [row.image for row in self.rows]

    @property
    def num_samples(self) -> int:
        """Number of images N."""
        return len(self.rows)

    @cached_property
    def digest(self) -> str:
        """Hex sha256 of names and contents: every file is read for it once."""
        return fingerprint([[row.image, self._content(number)] for number, row in enumerate(self.rows)])

    def _content(self, row: int) -> str:
        try:
            return sha256_bytes(self.read_image(row))
        except BadSample as error:
            return str(error)

    def read_image(self, row: int) -> bytes:
        """Return the encoded image of a row.

        Raises:
            BadSample: too large, or pixels that are no square of grey values; names the image.
        """
        found = self.rows[row]
        if found.pixels is not None:
            return _picture(found.pixels, found.where)
        path = self.folder / found.image
        try:
            size = path.stat().st_size
        except OSError as error:
            raise BadSample(f"{path}: {error.strerror or error}; restore it, or --on-error skip", "missing") from error
        if size > MAX_BYTES:
            raise BadSample(f"{path}: {size} bytes; at most {MAX_BYTES} are accepted; replace it", "too large")
        return read_bytes(path)

    def take(self, kept: Sequence[int], note: str) -> "FaceImages":
        """Return these rows alone, with a note that says why."""
        return replace(
            self,
            rows=[self.rows[row] for row in kept],
            labels=self.labels[list(kept)],
            persons=None if self.persons is None else [self.persons[row] for row in kept],
            groups={name: [levels[row] for row in kept] for name, levels in self.groups.items()},
            notes=[*self.notes, note],
        )


def read_face_set(
    faces: FaceSet, folder: Path, class_map: ClassMap, only: Mapping[str, Sequence[str]] | None = None
) -> FaceImages:
    """Find a set's images, and the class, person and groups of each.

    Args:
        faces: description of the set.
        folder: where it lies.
        class_map: whose classes the set's are.
        only: column -> values; other images are left out. Goes before the description's own.

    Raises:
        MissingInputError: no such folder, or an image that is not there.
        DataError: the folder does not lie as described, a class that is not described, or an image without a person
            where the set names persons; names the file or line.
        UsageError: `only` names a column that is not there.
    """
    found = _found(faces, folder)
    rows, notes = found.rows, list(found.notes)
    for column, values in {**faces.only, **(only or {})}.items():
        if column not in rows[0].fields:
            raise UsageError(f"{folder}: only '{column}': no such column; {nearest(column, rows[0].fields)}")
        kept = [row for row in rows if row.fields[column].strip() in values]
        if not kept:
            known = sorted({row.fields[column].strip() for row in rows})
            raise UsageError(f"{folder}: no image has {column} '{', '.join(values)}'; {nearest(values[0], known)}")
        if len(kept) < len(rows):
            notes.append(f"{len(rows) - len(kept)} images are left out: {column} is not {' or '.join(values)}")
        rows = kept
    known_classes = {
        key: None if name is None else class_map.class_of(name, f"set '{faces.name}', classes")
        for key, name in faces.classes.items()
    }
    labels = [
        known_classes[key] if (key := spelling(row.fields["class"])) in known_classes
        else class_map.class_of(row.fields["class"], row.where)
        for row in rows
    ]  # fmt: skip
    left_out = sorted({row.fields["class"].strip() or "none" for row, n in zip(rows, labels, strict=True) if n is None})
    rows = [row for row, number in zip(rows, labels, strict=True) if number is not None]
    if left_out:
        notes.append(
            f"{len(labels) - len(rows)} images are left out, of no class that is judged: {', '.join(left_out)}"
        )
    if not rows:
        raise DataError(f"{folder}: no image of a class that is judged ({', '.join(left_out)}); see classes of the set")
    groups, order = _groups(faces.groups, rows, notes)
    return FaceImages(
        folder=folder,
        rows=rows,
        labels=np.array([number for number in labels if number is not None]),
        persons=_persons(rows),
        groups=groups,
        level_order=order,
        notes=notes,
    )


def require_files(images: FaceImages) -> None:
    """Look whether every image is there, before the first one is encoded.

    Raises:
        MissingInputError: names the first that is not.
    """
    missing = [row for row in images.rows if row.pixels is None and not (images.folder / row.image).is_file()]
    if missing:
        raise MissingInputError(
            f"{missing[0].where}: no image {images.folder / missing[0].image} ({len(missing)} of {len(images.rows)} "
            "are not there); restore it, or leave such images out by --on-error skip"
        )


def _found(faces: FaceSet, folder: Path) -> Found:
    reasons = []
    for layout in faces.layouts:
        found = layout.read(folder)
        if not isinstance(found, str):
            return found
        reasons.append(found)
    expects = f"; expected: {' '.join(faces.expects.split())}" if faces.expects else ""
    raise DataError(f"{folder}: does not lie as '{faces.name}' is described: {'; '.join(reasons)}{expects}")


def _persons(rows: Sequence[FaceRow]) -> list[str] | None:
    if "person" not in rows[0].fields:
        return None
    for row in rows:
        if not row.fields["person"].strip():
            raise DataError(
                f"{row.where}: no person of image '{row.image}'; say who is shown, or rename the column person, so "
                "that all images count as of different persons"
            )
    return [row.fields["person"].strip() for row in rows]


def _groups(
    described: Mapping[str, Group] | None, rows: Sequence[FaceRow], notes: list[str]
) -> tuple[dict[str, list[str | None]], dict[str, list[str]]]:
    if described is None:  # a plain table: every further column
        own = {"image", "class", "person", "label", "path", "file", "filename"}
        described = {name: Group(name, {}, ()) for name in rows[0].fields if name.lower() not in own}
    found: dict[str, list[str | None]] = {}
    order: dict[str, list[str]] = {}
    for name, group in described.items():
        if group.column not in rows[0].fields:
            continue  # another layout of the set says it
        levels = [group.level(row.fields[group.column], row.where) for row in rows]
        shown = {value for value in levels if value is not None}
        if 2 <= len(shown) <= MAX_LEVELS:
            found[name] = levels
            order[name] = [value for value in group.levels() or sorted(shown) if value in shown]
        elif len(shown) > MAX_LEVELS:
            notes.append(f"not compared by {name}: {len(shown)} levels, at most {MAX_LEVELS} are; give it bins")
    return found, order


MAX_LEVELS = 20
"""Of a group that is compared: a column with more is an id or a measurement without bins."""


def _picture(text: str, where: str) -> bytes:
    """Return a PNG of grey values written as text."""
    try:
        values = np.array(text.split(), dtype=np.int64)
    except (ValueError, OverflowError):
        values = np.array([-1])
    side = int(np.sqrt(len(values)))
    if not len(values) or side * side != len(values) or values.min() < 0 or values.max() > 255:
        raise BadSample(f"{where}: pixels are no square of grey values 0..255; fetch the table again", "pixels")
    stream = io.BytesIO()
    Image.fromarray(values.astype(np.uint8).reshape(side, side)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()
