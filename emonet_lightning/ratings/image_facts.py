"""Facts of images from a CSV file of their own: the person, the prompted emotion, the class, the groups they are in."""

from collections.abc import Sequence
from pathlib import Path

from emonet_lightning.errors import DataError
from emonet_lightning.ratings.index_map import ImageNames
from emonet_lightning.ratings.tables import Table, find_column, read_table


def image_facts(
    path: Path | str, column: str, images: Sequence[str], index_map: dict[str, int] | None = None
) -> list[str]:
    """Return one column of a CSV file for each image.

    Args:
        path: CSV file with a row per image; further images in it do not matter.
        column: name of the column; for `group`, `person` will do.
        images: found by name, else without folder and extension, else by row number.
        index_map: file name -> row number.

    Raises:
        MissingInputError: no such file.
        DataError: an image without the fact, or named twice.
    """
    table = read_table(Path(path))
    if column == "group" and column not in table.header and "person" in table.header:
        column = "person"
    value = find_column(table, column, {column: column})
    assert value is not None
    found = []
    for name, place in zip(images, _places(table, images, index_map), strict=True):
        if place is None or not table.rows[place][value].strip():
            raise DataError(f"{path}: no {column} of image '{name}'; add a line, or leave the image out")
        found.append(table.rows[place][value].strip())
    return found


def image_columns(
    path: Path | str, images: Sequence[str], index_map: dict[str, int] | None = None
) -> dict[str, list[str]]:
    """Return all columns of a CSV file for each image, as text; empty where the file does not know the image.

    Arguments and errors as for `image_facts`; an image without a fact is none.
    """
    table = read_table(Path(path))
    image = find_column(table, "image", {})
    places = _places(table, images, index_map)
    return {
        column: ["" if place is None else table.rows[place][number].strip() for place in places]
        for number, column in enumerate(table.header)
        if number != image
    }


def _places(table: Table, images: Sequence[str], index_map: dict[str, int] | None) -> list[int | None]:
    """Return the row of each image, None where there is none."""
    image = find_column(table, "image", {})
    assert image is not None
    names = [row[image] for row in table.rows]
    seen: set[str] = set()
    for number, name in enumerate(names):
        if name in seen:
            raise DataError(f"{table.where(number)}: image '{name}' is there twice; keep one line")
        seen.add(name)
    known = ImageNames(names, index_map)
    return [known.find(name, str(table.path)) for name in images]
