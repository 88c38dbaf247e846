"""Label files: CSV tables of four layouts, read into ratings in long form.

The layouts are told apart by their header: long (image, emotion, rating, and perhaps a rater), wide (a column per
emotion), class (image, label), and annotations (image, and a dict per row). Nothing is guessed about cells: ids stay
text, numbers are ASCII, an empty rating was not given.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from emonet_lightning.errors import DataError
from emonet_lightning.ratings.answers import GENERATED, parse_answers, parse_value
from emonet_lightning.ratings.long_form import Kind, Ratings
from emonet_lightning.ratings.tables import OPTIONAL_ROLES, Table, find_column, read_table
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
    human: bool = True,
    wanted: Callable[[str], bool] | None = None,
) -> Labels:
    """Read a label file of any of the four layouts.

    Args:
        path: CSV file.
        taxonomy: columns of the ratings.
        columns: the file's names for roles (`image`, `rater`, `emotion`, `rating`, `label`, `annotations`); `meta` is a
            comma-separated list of wide columns that are no emotions.
        classes: class name -> emotion, or `none` for a class in which every emotion is 0.
        human: where the file has a column `human`, which rows to take.
        wanted: tells by an image's name whether to read its rows; all by default.

    Raises:
        MissingInputError: no such file.
        DataError: names the line and what is wrong.
    """
    table = read_table(path)
    image = find_column(table, "image", columns)
    assert image is not None
    table, num_left_out = _only(table, image, wanted)
    rater = find_column(table, "rater", columns, required=False)
    emotion = find_column(table, "emotion", columns, required="emotion" in columns)
    rating = find_column(table, "rating", columns, required="rating" in columns)
    annotations = find_column(table, "annotations", columns, required="annotations" in columns)
    label = find_column(table, "label", columns, required="label" in columns)
    if label is None and rating is None:
        label, emotion = emotion, None  # `image,emotion` without a rating names classes
    if human and not (emotion is not None and rating is not None and annotations is None):
        _refuse_repeats(table, image, rater, annotations is not None)
    if annotations is not None:
        layout, used = _from_annotations(table, taxonomy, image, rater, annotations, human), {image, rater, annotations}
    elif emotion is not None and rating is not None:
        layout, used = _from_long(table, taxonomy, image, rater, emotion, rating), {image, rater, emotion, rating}
    elif "label" in columns or (label is not None and not _any_emotion(table, taxonomy)):
        assert label is not None
        layout, used = _from_classes(table, taxonomy, image, label, classes or {}), {image, label}
    else:
        wide = _wide_columns(table, taxonomy, image, rater, columns)
        layout, used = _from_wide(table, wide, image, rater), {image, rater, *wide}
    return _collect(table, taxonomy, image, used, layout, rater is not None, not human, num_left_out)


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
    rows, lines = [table.rows[number] for number in kept], [table.lines[number] for number in kept]
    return table._replace(rows=rows, lines=lines), sum(not found for found in verdict.values())


Answer = tuple[int, str, str, float | bool]
"""Row of the table, rater, slug, value."""


def _from_long(
    table: Table, taxonomy: Taxonomy, image: int, rater: int | None, emotion: int, rating: int
) -> Iterator[Answer]:
    slugs: dict[str, str] = {}
    for number, row in enumerate(table.rows):
        name = row[emotion]
        if name not in slugs:
            slugs[name] = taxonomy.slugs[taxonomy.index(name, table.where(number))]
        value = parse_value(row[rating], table.where(number))
        if value is not None:
            yield number, _rater(table, row, rater, number), slugs[name], value


def _from_wide(table: Table, wide: dict[int, str], image: int, rater: int | None) -> Iterator[Answer]:
    for number, row in enumerate(table.rows):
        for column, slug in wide.items():
            value = parse_value(row[column], f"{table.where(number)}, column '{table.header[column]}'")
            if value is not None:
                yield number, _rater(table, row, rater, number), slug, value


def _from_annotations(
    table: Table, taxonomy: Taxonomy, image: int, rater: int | None, annotations: int, human: bool
) -> Iterator[Answer]:
    flag = table.header.index("human") if "human" in table.header else None
    for number, row in enumerate(table.rows):
        if flag is not None and parse_value(row[flag], table.where(number)) != human:
            continue
        answers = parse_answers(row[annotations], taxonomy, table.where(number))
        for name, given in answers.ratings.items():
            for slug, value in given.items():
                who = name if name != GENERATED else _rater(table, row, rater, number)
                yield number, who, slug, bool(value) if answers.kind == "binary" else value


def _from_classes(
    table: Table, taxonomy: Taxonomy, image: int, label: int, classes: dict[str, str]
) -> Iterator[Answer]:
    names = sorted({row[label] for row in table.rows})
    emotions = class_emotions(names, taxonomy, classes, str(table.path))
    for number, row in enumerate(table.rows):
        for slug, value in class_answers(row[label], emotions, taxonomy).items():
            yield number, GENERATED, slug, value


def class_emotions(names: list[str], taxonomy: Taxonomy, classes: dict[str, str], where: str) -> dict[str, str | None]:
    """Map class names to slugs: by `classes`, else by the taxonomy; None where no emotion is shown.

    Raises:
        DataError: a class that is no emotion; offers the nearest and the option.
    """
    result: dict[str, str | None] = {}
    for name in names:
        if name == "":
            raise DataError(f"{where}: an image without class; fill the column, or leave the image out")
        target = classes.get(name, name)
        if target.lower() == "none":
            result[name] = None
            continue
        try:
            result[name] = taxonomy.slugs[taxonomy.index(target.replace("_", " "), where)]
        except DataError:
            try:
                result[name] = taxonomy.slugs[taxonomy.index(target, where)]
            except DataError as error:
                raise DataError(f"{error}; or map the class with --classes.{name}=EMOTION (or none)") from None
    if all(slug is None for slug in result.values()):
        raise DataError(f"{where}: no class names an emotion")
    return result


def class_answers(name: str, emotions: dict[str, str | None], taxonomy: Taxonomy) -> dict[str, float]:
    """Return the ratings of one class: its emotion at the highest level, all other classes' emotions at 0."""
    own = emotions[name]
    high = {dimension.slug: dimension.high for dimension in taxonomy.dimensions}
    return {
        slug: high[slug] if slug == own else 0.0 for slug in sorted({s for s in emotions.values() if s is not None})
    }


def _any_emotion(table: Table, taxonomy: Taxonomy) -> bool:
    names = {name.casefold() for name in (*taxonomy.names, *taxonomy.slugs)}
    return any(column.rsplit("|", 1)[-1].strip().casefold() in names for column in table.header)


def _wide_columns(
    table: Table, taxonomy: Taxonomy, image: int, rater: int | None, columns: dict[str, str]
) -> dict[int, str]:
    known = {name.strip() for role in OPTIONAL_ROLES for name in columns.get(role, "").split(",")}
    if not _any_emotion(table, taxonomy):
        raise DataError(
            f"{table.path}: no column for 'rating' or 'label' and none named after an emotion; columns found: "
            f"{', '.join(table.header)}; name them, as --columns.emotion=NAME --columns.rating=NAME"
        )
    result: dict[int, str] = {}
    for column, name in enumerate(table.header):
        if column in (image, rater) or name in known:
            continue
        try:
            slug = taxonomy.slugs[taxonomy.index(name, f"{table.path}, header")]
        except DataError as error:
            raise DataError(f"{error}; list columns that are no emotions in --columns.meta=A,B") from None
        if slug in result.values():
            raise DataError(f"{table.path}: two columns for emotion '{slug}'; remove one")
        result[column] = slug
    return result


def _refuse_repeats(table: Table, image: int, rater: int | None, models_too: bool) -> None:
    """Refuse a layout of one row per image (and rater) that has two."""
    human = table.header.index("human") if models_too and "human" in table.header else None
    seen: dict[tuple[str, str], int] = {}
    for number, row in enumerate(table.rows):
        if human is not None and row[human] not in ("True", "true", "TRUE"):
            continue
        who = (row[image], "" if rater is None else row[rater])
        other = seen.setdefault(who, number)
        if other != number:
            raise DataError(
                f"{table.where(number)}: duplicate id '{row[image]}', also in line {table.lines[other]}; keep one"
            )


def _rater(table: Table, row: list[str], rater: int | None, number: int) -> str:
    if rater is None:
        return GENERATED
    if row[rater] == "":
        raise DataError(f"{table.where(number)}: no rater; fill column '{table.header[rater]}'")
    return row[rater]


def _collect(
    table: Table,
    taxonomy: Taxonomy,
    image: int,
    used: set[int | None],
    answers: Iterator[Answer],
    raters_named: bool,
    average: bool,
    num_left_out: int,
) -> Labels:
    other = [column for column in range(len(table.header)) if column not in used]
    row_of: dict[str, int] = {}
    extra: list[dict[str, str]] = []
    image_row = []
    for number, row in enumerate(table.rows):
        name = row[image]
        if name == "" or name != name.strip():
            raise DataError(f"{table.where(number)}: image '{name}' is empty or has spaces around it; correct it")
        if name not in row_of:
            row_of[name] = len(extra)
            extra.append({table.header[c]: row[c] for c in other})
        image_row.append(row_of[name])
    rater_of: dict[str, int] = {}
    slug_of = {slug: i for i, slug in enumerate(taxonomy.slugs)}
    seen: dict[tuple[int, int, int], tuple[float, int]] = {}
    repeats: dict[tuple[int, int, int], list[float]] = {}
    kinds: set[bool] = set()
    for number, rater, slug, value in answers:
        kinds.add(isinstance(value, bool))
        cell = (image_row[number], rater_of.setdefault(rater, len(rater_of)), slug_of[slug])
        before, line = seen.setdefault(cell, (float(value), number))
        if average:
            repeats.setdefault(cell, []).append(float(value))
        elif before != float(value):
            raise DataError(
                f"{table.where(number)}: image '{table.rows[number][image]}' has another answer of '{rater}' on "
                f"'{slug}' in line {table.lines[line]}; keep one"
            )
    if len(kinds) > 1:
        raise DataError(f"{table.path}: mixes True and False with numbers; give one kind per file")
    kind: Kind = "binary" if kinds == {True} else "rated" if raters_named else "dense"
    cells = np.array(sorted(seen), dtype=np.int64).reshape(-1, 3)
    place = np.array([seen[row, who, what][1] for row, who, what in cells.tolist()], dtype=np.int64)
    if average:
        seen = {cell: (sum(given) / len(given), 0) for cell, given in repeats.items()}
    values = np.array([seen[row, who, what][0] for row, who, what in cells.tolist()], dtype=np.float32)
    ratings = Ratings(cells[:, 0], cells[:, 1], list(rater_of), cells[:, 2], list(taxonomy.slugs), values, list(row_of))
    return Labels(table.path, kind, ratings, extra, num_left_out, place)
