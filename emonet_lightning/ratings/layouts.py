"""Label files of image sets: answers in long form, each once."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from emonet_lightning.errors import DataError
from emonet_lightning.messages import say
from emonet_lightning.ratings.answers import parse_value
from emonet_lightning.ratings.cells import Cells, read_cells
from emonet_lightning.ratings.long_form import Kind, Ratings
from emonet_lightning.ratings.tables import Table, find_column, optional_column, read_table
from emonet_lightning.taxonomy import Taxonomy


class Labels(NamedTuple):
    """What a label file says, one row per image it names."""

    path: Path
    kind: Kind
    ratings: Ratings
    """`keys` are the images as the file names them."""
    extra: list[dict[str, str]]
    """Per image: columns that are no ratings, as text."""
    num_left_out: int
    """Images of the file that were not wanted."""
    place: np.ndarray
    """Row of the table that gave each answer, int64 [n]."""


def read_labels(
    path: Path,
    taxonomy: Taxonomy,
    columns: dict[str, str],
    classes: dict[str, str] | None = None,
    wanted: Callable[[str], bool] | None = None,
) -> Labels:
    """Read a label file of any layout that `cells` knows; where a column `human` tells, the rows of people.

    Args:
        path: CSV file.
        taxonomy: columns of the ratings.
        columns: the file's names for roles, as for `read_cells`.
        classes: class name -> emotion, or `none` for a class in which every emotion is 0.
        wanted: tells by an image's name whether to read its rows; all by default.

    Raises:
        MissingInputError: no such file.
        DataError: names the line and what is wrong.
    """
    table = read_table(path)
    image = find_column(table, "image", columns)
    assert image is not None
    table, num_left_out = _only(table, image, wanted)
    flags = human_rows(table, columns)
    if flags is not None:
        table = table.only(np.flatnonzero(flags).tolist())
        if not table.rows:
            raise DataError(f"{path}: no row of a human (column 'human')")
    cells = read_cells(table, taxonomy, columns, classes)
    if cells.layout != "long":
        _refuse_repeats(table, image, find_column(table, "rater", columns, required=False))
    labels = _collect(cells, taxonomy, num_left_out)
    _warn_of_shares(labels, taxonomy)
    return labels


def human_rows(table: Table, columns: dict[str, str]) -> np.ndarray | None:
    """Return which rows are answers of people, bool [rows], or None where no column tells.

    Raises:
        DataError: a cell that is neither True nor False.
    """
    column = optional_column(table, "human", columns)
    if column is None:
        return None
    known: dict[str, bool] = {}
    for number, row in enumerate(table.rows):
        if row[column] not in known:
            value = parse_value(row[column], f"{table.where(number)}, column '{table.header[column]}'")
            if not isinstance(value, bool):
                raise DataError(
                    f"{table.where(number)}: column '{table.header[column]}' is '{row[column]}'; write True or False"
                )
            known[row[column]] = value
    return np.array([known[row[column]] for row in table.rows])


def _only(table: Table, image: int, wanted: Callable[[str], bool] | None) -> tuple[Table, int]:
    if wanted is None:
        return table, 0
    verdict = {name: wanted(name) for name in {row[image] for row in table.rows}}
    if not any(verdict.values()):
        raise DataError(
            f"{table.path}: none of its {len(verdict)} names is an image that was given ('{table.rows[0][image]}' for "
            "example); check the folder and --columns.image"
        )
    kept = [number for number, row in enumerate(table.rows) if verdict[row[image]]]
    return table.only(kept), sum(not found for found in verdict.values())


def _warn_of_shares(labels: Labels, taxonomy: Taxonomy) -> None:
    """Say so where ratings look like shares of 0 to 1 on a scale that goes further: they are taken as they are."""
    value, high = labels.ratings.value, max(dimension.high for dimension in taxonomy.dimensions)
    if labels.kind != "binary" and high > 1 and len(value) and 0 < value.max() <= 1 and (value % 1 != 0).any():
        say(
            f"{labels.path}: no rating is above 1, but the scale goes to {high:g}; if these are shares, multiply them "
            f"by {high:g}, or use a taxonomy with levels [0, 1]"
        )


def _refuse_repeats(table: Table, image: int, rater: int | None) -> None:
    """Refuse a layout of one row per image (and rater) that has two."""
    seen: dict[tuple[str, str], int] = {}
    for number, row in enumerate(table.rows):
        other = seen.setdefault((row[image], "" if rater is None else row[rater]), number)
        if other != number:
            raise DataError(
                f"{table.where(number)}: duplicate id '{row[image]}', also in line {table.lines[other]}; keep one"
            )


def _collect(cells: Cells, taxonomy: Taxonomy, num_left_out: int) -> Labels:
    """Bring answers in long form, sorted by image, rater and emotion; a repeat must say the same."""
    table, place = cells.table, cells.sheet_row[cells.sheet]
    keys = np.stack([cells.image[place], cells.sheet_rater[cells.sheet], cells.column], axis=1)
    unique, first, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    group = group.reshape(-1)
    differs = np.flatnonzero(cells.value != cells.value[first][group])
    if len(differs):
        number, other = place[differs[0]], place[first[group[differs[0]]]]
        raise DataError(
            f"{table.where(number)}: image '{cells.images[cells.image[number]]}' has another answer of "
            f"'{cells.raters[keys[differs[0], 1]]}' on '{taxonomy.slugs[keys[differs[0], 2]]}' in line "
            f"{table.lines[other]}; keep one"
        )
    values = cells.value[first].astype(np.float32)
    empty = np.bincount(cells.sheet, minlength=len(cells.sheet_row)) == 0
    silent = np.stack([cells.image[cells.sheet_row[empty]], cells.sheet_rater[empty]], axis=1)
    ratings = Ratings(
        row=unique[:, 0],
        rater=unique[:, 1],
        raters=list(cells.raters),
        slug_index=unique[:, 2],
        slugs=list(taxonomy.slugs),
        value=values,
        keys=list(cells.images),
        silent=silent if cells.layout == "annotations" and cells.raters_named else None,
    )
    kind: Kind = "binary" if cells.is_yes_no else "rated" if cells.raters_named else "dense"
    other_columns = [column for column in range(len(table.header)) if column not in cells.used]
    _, first_row = np.unique(cells.image, return_index=True)
    extra = [{table.header[c]: table.rows[row][c] for c in other_columns} for row in first_row]
    return Labels(table.path, kind, ratings, extra, num_left_out, place[first])
