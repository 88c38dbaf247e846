"""Answers of a label file as they stand in it, whatever its layout: repeats included, nothing filled in.

The layouts are told apart by the header: annotations (image, and a dict per row), long (image, emotion, rating, and
perhaps a rater), class (image, label), and wide (a column per emotion). Nothing is guessed about cells: ids stay text,
numbers are ASCII, an empty rating was not given.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.errors import DataError
from emonet_lightning.messages import say
from emonet_lightning.progress import progress_bar
from emonet_lightning.ratings.answers import GENERATED, AnswerReader, find_dimension, is_number, parse_value
from emonet_lightning.ratings.classes import class_answers, class_emotions
from emonet_lightning.ratings.tables import OPTIONAL_ROLES, Table, find_column
from emonet_lightning.taxonomy import Taxonomy

Layout = Literal["annotations", "long", "class", "wide"]


class Cells(NamedTuple):
    """Answers in file order: n answers in m sheets (what one rater said in one row) of a table."""

    table: Table
    layout: Layout
    used: frozenset[int]
    """Columns that were read."""
    images: list[str]
    """Distinct names, in file order."""
    image: NDArray[np.int64]
    """Index into `images` of each row of the table."""
    raters: list[str]
    """Distinct names, in file order."""
    raters_named: bool
    sheet_row: NDArray[np.int64]
    """Row of the table, ascending [m]; a sheet without any answer stands here too where rows hold dicts."""
    sheet_rater: NDArray[np.int64]
    """Index into `raters` [m]."""
    sheet: NDArray[np.int64]
    """Sheet of each answer, ascending [n]."""
    column: NDArray[np.int64]
    """Column of the taxonomy [n]."""
    value: NDArray[np.float64]
    """[n]; 1 or 0 for a yes or no."""
    is_yes_no: bool


class _Collected:
    """Sheets and answers as they come."""

    def __init__(self) -> None:
        self.raters: dict[str, int] = {}
        self.rows: list[int] = []
        self.who: list[int] = []
        self.counts: list[int] = []
        self.columns: list[NDArray[np.int64] | list[int]] = []
        self.values: list[NDArray[np.float64] | list[float]] = []
        self.kinds: set[bool] = set()

    def add(
        self,
        row: int,
        rater: str,
        columns: NDArray[np.int64] | list[int],
        values: NDArray[np.float64] | list[float],
    ) -> None:
        self.rows.append(row)
        self.who.append(self.raters.setdefault(rater, len(self.raters)))
        self.counts.append(len(columns))
        self.columns.append(columns)
        self.values.append(values)


def read_cells(
    table: Table,
    taxonomy: Taxonomy,
    columns: dict[str, str],
    classes: dict[str, str] | None = None,
    progress: bool = False,
) -> Cells:
    """Read all answers of a table of any of the four layouts.

    Args:
        table: as text.
        taxonomy: columns of the answers.
        columns: the table's names for roles (`image`, `rater`, `emotion`, `rating`, `label`, `annotations`); `meta` is
            a comma-separated list of wide columns that are no emotions.
        classes: class name -> emotion, or `none` for a class in which every emotion is 0.
        progress: show a bar.

    Raises:
        DataError: names the line and what is wrong.
    """
    image = find_column(table, "image", columns)
    assert image is not None
    rater = find_column(table, "rater", columns, required=False)
    emotion = find_column(table, "emotion", columns, required="emotion" in columns)
    rating = find_column(table, "rating", columns, required="rating" in columns)
    annotations = find_column(table, "annotations", columns, required="annotations" in columns)
    label = find_column(table, "label", columns, required="label" in columns)
    if label is None and rating is None:
        label, emotion = emotion, None  # `image,emotion` without a rating names classes
    raters = _names(table, rater, "rater") if rater is not None else [GENERATED] * len(table.rows)
    found = _Collected()
    layout: Layout
    if annotations is not None:
        layout, used = "annotations", {image, rater, annotations}
        _from_annotations(found, table, taxonomy, raters, annotations, progress)
    elif emotion is not None and rating is not None:
        layout, used = "long", {image, rater, emotion, rating}
        _from_long(found, table, taxonomy, raters, emotion, rating)
    elif "label" in columns or (label is not None and not _any_emotion(table, taxonomy)):
        assert label is not None
        layout, used = "class", {image, label}
        _from_classes(found, table, taxonomy, label, classes or {})
    else:
        wide = _wide_columns(table, taxonomy, image, rater, columns)
        layout, used = "wide", {image, rater, *wide}
        _from_wide(found, table, wide, raters)
    if len(found.kinds) > 1:
        raise DataError(f"{table.path}: mixes True and False with numbers; give one kind per file")
    names = _names(table, image, "image")
    row_of = {name: row for row, name in enumerate(dict.fromkeys(names))}
    sheet = np.repeat(np.arange(len(found.counts)), found.counts)
    value = np.concatenate([*found.values, np.empty(0)])
    if (infinite := np.flatnonzero(~np.isfinite(value))).size:
        where = table.where(found.rows[sheet[infinite[0]]])
        raise DataError(f"{where}: a number beyond 1.8e308 is not finite; correct it")
    return Cells(
        table=table,
        layout=layout,
        used=frozenset(column for column in used if column is not None),
        images=list(row_of),
        image=np.array([row_of[name] for name in names], dtype=np.int64),
        raters=list(found.raters),
        raters_named=rater is not None or not {GENERATED}.issuperset(found.raters),
        sheet_row=np.array(found.rows, dtype=np.int64),
        sheet_rater=np.array(found.who, dtype=np.int64),
        sheet=sheet,
        column=np.concatenate([*found.columns, np.empty(0)]).astype(np.int64),
        value=value,
        is_yes_no=found.kinds == {True},
    )


def _names(table: Table, column: int, what: str) -> list[str]:
    names = [row[column] for row in table.rows]
    for number, name in enumerate(names):
        if not name and what == "rater":
            raise DataError(f"{table.where(number)}: no rater; fill column '{table.header[column]}'")
        if not name or name[0].isspace() or name[-1].isspace():
            raise DataError(f"{table.where(number)}: {what} '{name}' is empty or has spaces around it; correct it")
    return names


def _from_annotations(
    found: _Collected, table: Table, taxonomy: Taxonomy, raters: list[str], annotations: int, progress: bool
) -> None:
    reader = AnswerReader(taxonomy)
    with progress_bar(f"read {table.path.name}", len(table.rows), "rows", progress) as advance:
        for number, row in enumerate(table.rows):
            try:
                for given in reader.read(row[annotations], table.where(number)):
                    who = raters[number] if given.rater == GENERATED else given.rater
                    found.add(number, who, given.columns, given.values)
                    if len(given.values):
                        found.kinds.add(given.yes_no)
            except DataError as error:
                raise table.explained(error, number) from error
            advance(1)


def _from_long(
    found: _Collected, table: Table, taxonomy: Taxonomy, raters: list[str], emotion: int, rating: int
) -> None:
    columns: dict[str, int | None] = {}
    for number, row in enumerate(table.rows):
        name, text = row[emotion], row[rating]
        try:
            if name not in columns:
                columns[name] = find_dimension(name, taxonomy, table.where(number))
            value = float(text) if is_number(text) else parse_value(text, table.where(number))
        except DataError as error:
            raise table.explained(error, number) from error
        column = columns[name]
        if value is not None and column is not None:
            found.kinds.add(isinstance(value, bool))
            found.add(number, raters[number], [column], [float(value)])


def _from_wide(found: _Collected, table: Table, wide: dict[int, int], raters: list[str]) -> None:
    for number, row in enumerate(table.rows):
        columns, values = [], []
        for cell, column in wide.items():
            text = row[cell]
            if is_number(text):
                value: float | bool | None = float(text)
            else:
                value = parse_value(text, f"{table.where(number)}, column '{table.header[cell]}'")
            if value is not None:
                found.kinds.add(isinstance(value, bool))
                columns.append(column)
                values.append(float(value))
        if values:
            found.add(number, raters[number], columns, values)


def _from_classes(found: _Collected, table: Table, taxonomy: Taxonomy, label: int, classes: dict[str, str]) -> None:
    emotions = class_emotions(sorted({row[label] for row in table.rows}), taxonomy, classes, str(table.path))
    columns = {slug: column for column, slug in enumerate(taxonomy.slugs)}
    found.kinds.add(False)
    for number, row in enumerate(table.rows):
        answers = class_answers(row[label], emotions, taxonomy)
        found.add(number, GENERATED, [columns[slug] for slug in answers], list(answers.values()))


def _any_emotion(table: Table, taxonomy: Taxonomy) -> bool:
    names = {name.casefold() for name in (*taxonomy.names, *taxonomy.slugs)}
    return any(column.rsplit("|", 1)[-1].strip().casefold() in names for column in table.header)


def _wide_columns(
    table: Table, taxonomy: Taxonomy, image: int, rater: int | None, columns: dict[str, str]
) -> dict[int, int]:
    """Return cell -> column of the taxonomy."""
    known = {name.strip() for role in OPTIONAL_ROLES for name in columns.get(role, role).split(",")}
    if not _any_emotion(table, taxonomy):
        raise DataError(
            f"{table.path}: no column for 'rating' or 'label' and none named after an emotion; columns found: "
            f"{', '.join(table.header)}; name them, as --columns.emotion=NAME --columns.rating=NAME"
        )
    result: dict[int, int] = {}
    left_out = []
    for cell, name in enumerate(table.header):
        if cell in (image, rater) or name in known:
            continue
        try:
            column = find_dimension(name, taxonomy, f"{table.path}, header")
        except DataError as error:
            raise DataError(f"{error}; list columns that are no emotions in --columns.meta=A,B") from None
        if column is None:
            left_out.append(name)
            continue
        if column in result.values():
            raise DataError(f"{table.path}: two columns for emotion '{taxonomy.slugs[column]}'; remove one")
        result[cell] = column
    if left_out:
        say(f"{table.path}: left out: {', '.join(left_out)} (--extra_dimensions takes them)")
    return result
