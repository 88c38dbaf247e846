"""Two ways in which the files of a face set lie: by the names of image files, or by a table.

Each returns rows of named texts; what class, person or group they stand for is settled in `reading`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from emonet_lightning.errors import DataError, MissingInputError, nearest
from emonet_lightning.io import read_bytes
from emonet_lightning.packing.folders import list_images
from emonet_lightning.ratings.tables import Table, find_column, read_table

_SLOT = re.compile(r"\{(\w+)\}")


class FaceRow(NamedTuple):
    """One image and what is known of it."""

    image: str
    """Path below the set's folder, or, for pixels of a table, `TABLE#LINE`."""
    where: str
    """What to call it in errors."""
    fields: dict[str, str]
    """`class`, `person` and others by name."""
    pixels: str | None = None
    """Grey values of a square image as text; None: the image is a file."""


class Found(NamedTuple):
    """What a layout found in a folder."""

    rows: list[FaceRow]
    notes: list[str]


@dataclass(frozen=True)
class PatternLayout:
    """Class, person and groups stand in the names of folders and files."""

    pattern: re.Pattern[str]
    """Searched in an image's path below the folder, without its suffix; its named groups are fields."""
    label_file: str | None = None
    """File beside the images that holds the class of one of them; `{stem}` and the pattern's groups are filled in."""

    def read(self, folder: Path) -> Found | str:
        """Return what the layout finds, or, in words, why the folder does not lie so."""
        images = list_images(folder)
        rows, strangers, unlabelled = [], [], 0
        for image in images:
            found = self.pattern.search(PurePosixPath(image).with_suffix("").as_posix())
            if found is None:
                strangers.append(image)
                continue
            fields = {name: value or "" for name, value in found.groupdict().items()}
            where = f"{folder / image}"
            if self.label_file is not None:
                label = folder / _filled(self.label_file, {**fields, "stem": PurePosixPath(image).stem}, where)
                if not label.is_file():
                    unlabelled += 1
                    continue
                fields["class"] = _label_of(label)
            rows.append(FaceRow(image, where, fields))
        if not rows:
            why = f"pattern {self.pattern.pattern} fits none of {len(images)} images ('{images[0]}')"
            return why if not unlabelled else f"no image has its label file {self.label_file} ('{images[0]}')"
        notes = []
        if strangers:
            notes.append(f"{len(strangers)} images do not fit the pattern and are left out (first: '{strangers[0]}')")
        if unlabelled:
            notes.append(f"{unlabelled} images without a label file are left out")
        return Found(rows, notes)


@dataclass(frozen=True)
class TableLayout:
    """A table has a line for each image."""

    tables: tuple[str, ...]
    """File names below the folder; the first that is there is read."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Role (image, class, person) -> column, where it is not called so."""
    header: tuple[str, ...] = ()
    """Columns of a file without a header line, its cells separated by blanks."""
    image: str | None = None
    """Path of an image below the folder; `{image}`, `{stem}` and columns are filled in. None: what the table says."""
    pixels: str | None = None
    """Column that holds the picture itself: grey values of a square, separated by blanks."""
    pattern: re.Pattern[str] | None = None
    """Searched in the image's name; its named groups are further fields."""

    def read(self, folder: Path) -> Found | str:
        """Return what the layout finds, or, in words, why the folder does not lie so.

        Raises:
            MissingInputError: no such folder.
            DataError: a line or column that is missing or damaged.
        """
        if not folder.is_dir():
            raise MissingInputError(f"{folder}: no such folder")
        path = next((folder / name for name in self.tables if (folder / name).is_file()), None)
        if path is None:
            return f"no file {' or '.join(self.tables)}"
        table = _without_header(path, self.header) if self.header else read_table(path)
        label = find_column(table, "label", {"label": self.columns["class"]} if "class" in self.columns else {}, False)
        if label is None:
            raise DataError(f"{path}: no column for the class; columns found: {', '.join(table.header)}; name it class")
        person = self._column(table, "person", needed="person" in self.columns)
        pixels = None if self.pixels is None else self._index(table, self.pixels)
        image = None if pixels is not None else find_column(table, "image", _one(self.columns, "image"))
        rows, seen = [], dict[str, str]()
        for number, cells in enumerate(table.rows):
            where = table.where(number)
            fields = dict(zip(table.header, cells, strict=True))
            fields["class"] = cells[label]
            if person is not None:
                fields["person"] = cells[person]
            name = f"{path.name}#{table.lines[number]}" if image is None else self._name(cells[image], fields, where)
            if name in seen:
                raise DataError(f"{where}: image '{name}' is there already ({seen[name]}); keep one line")
            seen[name] = where
            if self.pattern is not None:
                found = self.pattern.search(PurePosixPath(name).with_suffix("").as_posix())
                if found is None:
                    raise DataError(f"{where}: pattern {self.pattern.pattern} does not fit '{name}'; mend either")
                fields |= {key: value or "" for key, value in found.groupdict().items()}
            rows.append(FaceRow(name, where, fields, None if pixels is None else cells[pixels]))
        return Found(rows, [])

    def _name(self, cell: str, fields: dict[str, str], where: str) -> str:
        cell = cell.strip().replace("\\", "/")
        if not cell:
            raise DataError(f"{where}: no image is named; name it, or remove the line")
        if self.image is None:
            return cell
        return _filled(self.image, {**fields, "image": cell, "stem": PurePosixPath(cell).stem}, where)

    def _column(self, table: Table, role: str, needed: bool) -> int | None:
        name = self.columns.get(role, role)
        return self._index(table, name) if needed or name in table.header else None

    def _index(self, table: Table, name: str) -> int:
        if name not in table.header:
            raise DataError(f"{table.path}: no column '{name}'; {nearest(name, table.header)}")
        return table.header.index(name)


Layout = PatternLayout | TableLayout


def _one(columns: Mapping[str, str], role: str) -> dict[str, str]:
    return {role: columns[role]} if role in columns else {}


def _filled(template: str, fields: Mapping[str, str], where: str) -> str:
    """Fill `{name}` in a template of a path."""

    def value(slot: re.Match[str]) -> str:
        if slot[1] not in fields:
            raise DataError(f"{where}: '{template}' asks for '{slot[1]}'; {nearest(slot[1], fields)}")
        return fields[slot[1]]

    return _SLOT.sub(value, template)


def _without_header(path: Path, header: tuple[str, ...]) -> Table:
    lines = read_bytes(path).decode(errors="replace").splitlines()
    rows, numbers = [], []
    for number, line in enumerate(lines, 1):
        cells = line.split()
        if not cells:
            continue
        if len(cells) != len(header):
            raise DataError(f"{path}, line {number}: {len(cells)} cells, {' '.join(header)} are needed; mend the line")
        rows.append(cells)
        numbers.append(number)
    if not rows:
        raise DataError(f"{path}: empty; a line per image is needed")
    return Table(path, list(header), rows, numbers)


def _label_of(path: Path) -> str:
    """Return the one number or word of a label file, text or .npy; 3.0 is 3."""
    try:
        text = str(np.load(path, allow_pickle=False)) if path.suffix == ".npy" else read_bytes(path).decode()
    except (ValueError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: holds no label that can be read; fetch it again") from error
    words = text.split()
    if len(words) != 1:
        raise DataError(f"{path}: one label is needed, it has {len(words)}; mend the file")
    try:
        return str(int(float(words[0]))) if float(words[0]).is_integer() else words[0]
    except (ValueError, OverflowError):
        return words[0]
