"""Joining images and label files by name: what has no partner is an error, or counted and left out."""

from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import numpy as np

from emonet_lightning.errors import DataError
from emonet_lightning.ratings.layouts import Labels
from emonet_lightning.ratings.long_form import Ratings

Unmatched = Literal["error", "skip"]


class NameIndex:
    """Finds the image that a label file means: by relative path, by name without extension, or by file name alone."""

    def __init__(self, files: list[str], root: Path, labels_dir: Path, index_map: dict[str, int] | None = None) -> None:
        self._exact: dict[str, int] = {}
        self._loose: dict[str, int | None] = {}
        self._index_map = index_map
        self._inside = _relative(root, labels_dir)
        for row, file in enumerate(files):
            path = PurePosixPath(file)
            self._exact[file] = row
            for name in {str(path.with_suffix("")), path.name, path.stem}:
                self._loose[name] = None if name in self._loose else row

    def find(self, name: str, where: str) -> int | None:
        """Return the row of the image called `name`, or None.

        Raises:
            DataError: the name fits several images.
        """
        if self._index_map is not None:
            if name not in self._index_map:
                return None
            name = str(self._index_map[name])
            rows = [row for file, row in self._exact.items() if _number(file) == int(name)]
            return rows[0] if rows else None
        plain = str(PurePosixPath(name.replace("\\", "/")))
        for candidate in (plain, plain.removeprefix(self._inside) if self._inside else plain):
            if candidate in self._exact:
                return self._exact[candidate]
        if "/" in plain and self._inside and not plain.startswith(self._inside):
            return None  # names another folder beside the labels
        for candidate in (plain.removeprefix(self._inside), PurePosixPath(plain).name):
            if candidate in self._loose:
                if self._loose[candidate] is None:
                    raise DataError(f"{where}: '{name}' fits several images; name it by its path below the folder")
                return self._loose[candidate]
        return None


def _number(file: str) -> int | None:
    stem = PurePosixPath(file).stem
    return int(stem) if stem.isascii() and stem.isdigit() else None


def _relative(root: Path, labels_dir: Path) -> str:
    """Return the path of the image folder as names beside the label file spell it, with '/', or ''."""
    try:
        inside = root.resolve().relative_to(labels_dir.resolve()).as_posix()
    except ValueError:
        return ""
    return "" if inside == "." else f"{inside}/"


class Matched(NamedTuple):
    """Labels brought in the order of the images."""

    files: list[str]
    ratings: Ratings
    extra: list[dict[str, str]]
    num_without_label: int
    num_without_image: int


def match(files: list[str], root: Path, labels: Labels, unmatched: Unmatched, names: NameIndex) -> Matched:
    """Join images and labels.

    Args:
        files: relative paths.
        root: their folder.
        labels: what the label file says.
        unmatched: `error` refuses an image without label and a label without image; `skip` leaves both out.
        names: finds the image of a name.

    Raises:
        DataError: no pair at all, or an image or label without partner.
    """
    row_of = [names.find(key, str(labels.path)) for key in labels.ratings.keys]
    rated = np.zeros(len(labels.extra), dtype=bool)
    rated[labels.ratings.row] = True
    if labels.ratings.silent is not None:
        rated[labels.ratings.silent[:, 0]] = True
    claimed: dict[int, int] = {}
    for row, image in enumerate(row_of):
        if image is not None and claimed.setdefault(image, row) != row:
            one, two = labels.ratings.keys[claimed[image]], labels.ratings.keys[row]
            raise DataError(
                f"{labels.path}: duplicate id: '{one}' and '{two}' are both {root / files[image]}; keep one"
            )
    without_image = [labels.ratings.keys[row] for row, image in enumerate(row_of) if image is None]
    without_label = [file for image, file in enumerate(files) if image not in claimed or not rated[claimed[image]]]
    if len(without_label) == len(files):
        raise DataError(
            f"{labels.path}: none of its {len(row_of)} names is an image in {root} ('{labels.ratings.keys[0]}' and "
            f"'{files[0]}' for example); check the folder and --columns.image"
        )
    if unmatched == "error" and without_image:
        raise DataError(
            f"{labels.path}: label without image: '{without_image[0]}' and {len(without_image) - 1} more are not in "
            f"{root}; add the images, or set --unmatched skip"
        )
    if unmatched == "error" and without_label:
        raise DataError(
            f"{root}: image without label: '{without_label[0]}' and {len(without_label) - 1} more are not in "
            f"{labels.path}; label or remove them, or set --unmatched skip"
        )
    skipped = set(without_label)
    kept = [image for image, file in enumerate(files) if file not in skipped]
    ratings, extra = reorder(labels, [claimed[image] for image in kept])
    return Matched(
        [files[image] for image in kept], ratings, extra, len(without_label), len(without_image) + labels.num_left_out
    )


def reorder(labels: Labels, rows: list[int]) -> tuple[Ratings, list[dict[str, str]]]:
    """Return the labels of `rows`, in that order."""
    old = labels.ratings
    new_row = np.full(len(labels.extra), -1, dtype=np.int64)
    new_row[rows] = np.arange(len(rows))
    keep = np.flatnonzero(new_row[old.row] >= 0)
    keep = keep[np.argsort(new_row[old.row[keep]], kind="stable")]
    silent = old.silent
    if silent is not None:
        silent = silent[new_row[silent[:, 0]] >= 0]
        silent = np.stack([new_row[silent[:, 0]], silent[:, 1]], axis=1)
    ratings = old._replace(
        row=new_row[old.row[keep]],
        rater=old.rater[keep],
        slug_index=old.slug_index[keep],
        value=old.value[keep],
        keys=[old.keys[row] for row in rows],
        silent=silent,
    )
    return ratings, [labels.extra[row] for row in rows]
