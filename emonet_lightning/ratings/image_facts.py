"""One fact per image from a CSV file of its own: the person, the prompted emotion, the class."""

from collections.abc import Sequence
from pathlib import Path

from emonet_lightning.errors import DataError
from emonet_lightning.ratings.index_map import ImageNames
from emonet_lightning.ratings.tables import find_column, read_table


def image_facts(
    path: Path | str, column: str, images: Sequence[str], index_map: dict[str, int] | None = None
) -> list[str]:
    """Return one column of a CSV file for each image.

    Args:
        path: CSV file with a row per image; further images in it do not matter.
        column: name of the column.
        images: found by name, else without folder and extension, else by row number.
        index_map: file name -> row number.

    Raises:
        MissingInputError: no such file.
        DataError: an image without the fact, or named twice.
    """
    table = read_table(Path(path))
    image = find_column(table, "image", {})
    value = find_column(table, column, {column: column})
    assert image is not None
    assert value is not None
    names = [row[image] for row in table.rows]
    seen: set[str] = set()
    for number, name in enumerate(names):
        if name in seen:
            raise DataError(f"{table.where(number)}: image '{name}' is there twice; keep one line")
        seen.add(name)
    known = ImageNames(names, index_map)
    found = []
    for name in images:
        place = known.find(name, str(path))
        if place is None or not table.rows[place][value].strip():
            raise DataError(f"{path}: no {column} of image '{name}'; add a line, or leave the image out")
        found.append(table.rows[place][value].strip())
    return found
