"""Finding an image under another of its names: file name, path, key of a packed set, or row number."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from emonet_lightning.errors import DataError
from emonet_lightning.io import read_json


def read_index_map(path: Path) -> dict[str, int]:
    """Read the JSON that maps lost file names to row numbers.

    Raises:
        MissingInputError: no such file.
        DataError: not an object of name -> non-negative whole number.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not all(
        isinstance(row, int) and not isinstance(row, bool) and row >= 0 for row in content.values()
    ):
        raise DataError(f"{path}: a JSON object of file name -> row number is needed")
    if len(set(content.values())) != len(content):
        raise DataError(f"{path}: two file names have one row number; each must have its own")
    return content


class ImageNames:
    """Finds images by exact name, else by what is left of it without folder and extension, else by row number."""

    def __init__(self, images: Sequence[str], index_map: dict[str, int] | None = None) -> None:
        """Args: `index_map` is file name -> row of the set that has lost its names."""
        self._exact = {image: place for place, image in enumerate(images)}
        self._loose = _loose(self._exact)
        self._row_of = index_map or {}
        self._row_of_loose = _loose(self._row_of)
        self._place_of_row: dict[int, int] = {}
        if index_map is not None:
            for place, image in enumerate(images):
                if (row := self.row(image)) is not None:
                    self._place_of_row.setdefault(row, place)

    def row(self, name: str) -> int | None:
        """Return the row number of an image by the index map, or None; a name of digits alone is a row number."""
        if name in self._row_of:
            return self._row_of[name]
        found = {row for spelling in _spellings(name) for row in self._row_of_loose.get(spelling, ())}
        if len(found) == 1:
            return found.pop()
        stem = PurePosixPath(name).stem
        return int(stem) if self._row_of and stem.isascii() and stem.isdigit() else None

    def find(self, name: str, where: str) -> int | None:
        """Return the place of the image called `name` among the images, or None.

        Raises:
            DataError: the name fits several images.
        """
        if name in self._exact:
            return self._exact[name]
        found = {place for spelling in _spellings(name) for place in self._loose.get(spelling, ())}
        if len(found) > 1:
            raise DataError(f"{where}: '{name}' fits several images; name it as the ratings do")
        if found:
            return found.pop()
        row = self.row(name)
        return None if row is None else self._place_of_row.get(row)


def _spellings(name: str) -> set[str]:
    """File name with and without extension, and the key that a packed set gives a path."""
    path = PurePosixPath(name.replace("\\", "/"))
    stem = re.sub(r"\.\w{2,5}$", "", str(path))
    key = re.sub(r"[.\s]", "-", stem.strip("/ ").replace("/", "__")).lstrip("_")
    return {path.name, PurePosixPath(stem).name, key}


def _loose(exact: dict[str, int]) -> dict[str, set[int]]:
    result: dict[str, set[int]] = {}
    for name, place in exact.items():
        for spelling in _spellings(name):
            result.setdefault(spelling, set()).add(place)
    return result
