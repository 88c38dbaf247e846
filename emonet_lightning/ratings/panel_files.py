"""A file of ratings as a panel: people strictly, systems among them as they are; what is normalised is counted."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.ratings.cells import Cells, read_cells
from emonet_lightning.ratings.files import open_table
from emonet_lightning.ratings.index_map import ImageNames
from emonet_lightning.ratings.layouts import human_rows
from emonet_lightning.ratings.panel import Panel, SystemScores
from emonet_lightning.ratings.people import Untouched, people_of
from emonet_lightning.ratings.systems import Duplicates, Missing, check_factors, scores_of
from emonet_lightning.ratings.tables import Table, find_column, optional_column
from emonet_lightning.taxonomy import Taxonomy


def read_panel(
    path: Path | str,
    taxonomy: Taxonomy,
    *,
    name: str | None = None,
    human: Literal["all"] | None = None,
    untouched: Untouched | None = None,
    missing: Missing = "missing",
    duplicates: Duplicates = "mean",
    rescale: dict[str, float] | None = None,
    index_map: dict[str, int] | None = None,
    columns: dict[str, str] | None = None,
    split: str | None = None,
    progress: bool = False,
) -> tuple[Panel, list[SystemScores]]:
    """Read the ratings of people, and the scores of systems that stand in the same file.

    Understood are the released `hq.csv`, a Hugging Face Parquet file with `label` strings, and CSV or Parquet tables
    with a row per answer (`image, rater, emotion, rating`) or per image and rater. Answers of people must lie on the
    taxonomy's levels; a rater's repeated answer must be the same and counts once. Scores of systems may be any finite
    number.

    Args:
        path: file.
        taxonomy: columns.
        name: of the panel; by default the file's.
        human: `all`: every annotator is a person. A file of dicts needs a column `human` otherwise.
        untouched: an emotion that a person's row does not name is 0 (`zero`; default for files of dicts, where people
            touch only what they see) or not rated (`missing`; default for other files).
        missing: the same for systems: `missing`, or `zero` as in the released analysis.
        duplicates: of a system's repeated rows of an image, their mean (as released) or the last.
        rescale: annotator -> factor for its values, such as 7 for one that answers on 0..1.
        index_map: file name -> row, for a set that has lost its names; the images then stand in order of rows.
        columns: the file's names for roles: image, rater, emotion, rating, annotations, human, split, group, prompted.
        split: read this split only, by the column `split`.
        progress: show a bar.

    Returns:
        The panel, its images sorted by name or by row, and the systems in file order.

    Raises:
        MissingInputError: no such file.
        DataError: names the line and what is wrong.
        UsageError: options that do not fit the file.
    """
    path, rescale = Path(path), rescale or {}
    table, roles = open_table(path, columns or {}, index_map=index_map)
    is_human = _is_human(table, roles, human)
    table, is_human = _only_split(table, roles, is_human, split)
    cells = read_cells(table, taxonomy, roles, progress=progress)
    if cells.is_yes_no:
        raise DataError(f"{path}: holds yes/no votes, not ratings; 'evaluate votes' reads them")
    if cells.layout == "class" or not cells.raters_named:
        raise DataError(
            f"{path}: names no raters, so nobody's agreement can be told; columns found: {', '.join(table.header)}; "
            "name the column with --columns.rater=NAME"
        )
    people, systems = _kinds(cells, is_human)
    check_factors(rescale, cells.raters, str(path))
    images, notes = _image_order(cells, people, index_map)
    place = np.full(len(cells.images), -1, dtype=np.int64)
    place[images] = np.arange(len(images))
    factors = np.array([rescale.get(rater, 1.0) for rater in cells.raters])
    values, order, more = people_of(cells, people, place, len(images), taxonomy, factors, untouched)
    prompted = [
        None if text is None else taxonomy.slugs[taxonomy.index(text, f"{path}, column '{roles.get('prompted', '')}'")]
        for text in _facts(table, "prompted", roles, cells, images)
    ]
    groups = _facts(table, "group", roles, cells, images)
    panel = Panel(
        name=name or path.name.removesuffix(path.suffix),
        images=[cells.images[image] for image in images],
        raters=[cells.raters[rater] for rater in people],
        values=values,
        order=order,
        prompted=prompted if any(prompted) else None,
        groups=groups if any(groups) else None,
        notes=tuple(notes + more),
    )
    found = [
        scores_of(
            cells, rater, cells.raters[rater], place, len(images), taxonomy, missing, duplicates, float(factors[rater])
        )
        for rater in systems
    ]
    return panel, found


def _is_human(table: Table, roles: dict[str, str], human: Literal["all"] | None) -> NDArray[np.bool_]:
    """Return which rows are answers of people [rows]."""
    found = human_rows(table, roles)
    if found is None:
        has_dicts = find_column(table, "annotations", roles, required=False) is not None
        if human is None and has_dicts and table.unit == "line":
            raise DataError(
                f"{table.path}: no column 'human', so people and systems cannot be told apart; name it with "
                "--columns.human=NAME, or say --human all if every annotator is a person"
            )
        return np.full(len(table.rows), True)
    if human == "all" and not found.all():
        raise UsageError(
            f"{table.path}: --human all, but {int((~found).sum())} rows say that they are not human; leave it out"
        )
    if not found.any():
        raise DataError(f"{table.path}: no row of a human (column 'human')")
    return found


def _only_split(
    table: Table, roles: dict[str, str], is_human: NDArray[np.bool_], split: str | None
) -> tuple[Table, NDArray[np.bool_]]:
    column = optional_column(table, "split", roles)
    if column is None:
        if split is not None:
            raise UsageError(f"{table.path}: --split {split}, but no column 'split'; name it with --columns.split=NAME")
        return table, is_human
    image = find_column(table, "image", roles)
    assert image is not None
    split_of: dict[str, int] = {}
    for number, row in enumerate(table.rows):
        other = split_of.setdefault(row[image], number)
        if table.rows[other][column] != row[column]:
            raise DataError(
                f"{table.where(number)}: image '{row[image]}' is in split '{row[column]}' and in "
                f"'{table.rows[other][column]}' ({table.unit} {table.lines[other]}); keep it in one"
            )
    if split is None:
        return table, is_human
    kept = [number for number, row in enumerate(table.rows) if row[column] == split]
    if not is_human[kept].any():
        counts = ", ".join(f"'{name}'" for name in sorted({row[column] for row in table.rows}))
        raise DataError(f"{table.path}: split '{split}' is empty: no row of a human; splits found: {counts}")
    return table.only(kept), is_human[kept]


def _kinds(cells: Cells, is_human: NDArray[np.bool_]) -> tuple[list[int], list[int]]:
    """Return the raters who are people, in order of their names, and the others, in file order."""
    flags = is_human[cells.sheet_row]
    num_human = np.bincount(cells.sheet_rater, weights=flags, minlength=len(cells.raters))
    num_sheets = np.bincount(cells.sheet_rater, minlength=len(cells.raters))
    for rater in np.flatnonzero((num_human > 0) & (num_human < num_sheets)):
        mine = np.flatnonzero(cells.sheet_rater == rater)
        odd = mine[flags[mine] != flags[mine[0]]][0]
        raise DataError(
            f"{cells.table.where(int(cells.sheet_row[odd]))}: '{cells.raters[rater]}' is human here but not in every "
            "row; correct the column 'human'"
        )
    people = [rater for rater in range(len(cells.raters)) if num_human[rater]]
    if not people:
        raise DataError(f"{cells.table.path}: no rating of a human")
    return sorted(people, key=lambda rater: _natural(cells.raters[rater])), [
        rater for rater in range(len(cells.raters)) if not num_human[rater]
    ]


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts human-2 before human-10."""
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in re.split(r"([0-9]+)", name)]


def _image_order(cells: Cells, people: Sequence[int], index_map: dict[str, int] | None) -> tuple[list[int], list[str]]:
    """Return the images that people rated, by name, or by row where an index map tells it; and notes."""
    rated = np.unique(cells.image[cells.sheet_row[np.isin(cells.sheet_rater, people)]]).tolist()
    if index_map is None:
        return sorted(rated, key=lambda image: cells.images[image]), []
    path, names = cells.table.path, ImageNames([], index_map)
    row_of: dict[int, int] = {}
    for image in rated:
        row = names.row(cells.images[image])
        if row is None:
            raise DataError(
                f"{path}: the index map names no row for image '{cells.images[image]}'; use the set's own map"
            )
        if row in row_of:
            raise DataError(
                f"{path}: images '{cells.images[row_of[row]]}' and '{cells.images[image]}' are both row {row} of the "
                "index map; keep one"
            )
        row_of[row] = image
    notes = [f"{absent} images of the index map have no ratings"] if (absent := len(index_map) - len(row_of)) else []
    return [row_of[row] for row in sorted(row_of)], notes


def _facts(table: Table, role: str, roles: dict[str, str], cells: Cells, images: Sequence[int]) -> list[str | None]:
    """Return what a column says of each image; refuses an image of which it says two things."""
    column = optional_column(table, role, roles)
    if column is None:
        return [None] * len(images)
    first: dict[int, int] = {}
    for number, (row, image) in enumerate(zip(table.rows, cells.image.tolist(), strict=True)):
        other = first.setdefault(image, number)
        if table.rows[other][column] != row[column]:
            raise DataError(
                f"{table.where(number)}: image '{cells.images[image]}' has {role} '{row[column]}' and "
                f"'{table.rows[other][column]}' ({table.unit} {table.lines[other]}); give it one"
            )
    return [table.rows[first[image]][column] or None for image in images]
