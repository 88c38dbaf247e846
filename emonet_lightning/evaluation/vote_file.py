"""Votes as people store them: a CSV file with a line per image, rater and emotion."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.errors import DataError, nearest
from emonet_lightning.ratings.consensus import BinaryQuestions, binary_questions
from emonet_lightning.ratings.layouts import human_rows, read_labels
from emonet_lightning.ratings.long_form import Ratings
from emonet_lightning.ratings.tables import Table, find_column, read_table
from emonet_lightning.taxonomy import Taxonomy, slugify

_WORDS = {"True", "true", "TRUE", "False", "false", "FALSE"}
_NUMBERS = {"1", "0", "1.0", "0.0"}
_ROLES = ("image", "rater", "emotion", "rating")


class Votes(NamedTuple):
    """Votes as read."""

    path: Path
    ratings: Ratings
    place: NDArray[np.int64]
    """Row of the file that gave each answer."""
    questions: BinaryQuestions
    notes: list[str]
    """What was normalised while reading, with counts."""


def read_votes(path: Path | str, taxonomy: Taxonomy, columns: dict[str, str] | None = None) -> Votes:
    """Read votes from a CSV file: True and False, or 1 and 0; an empty vote was not given.

    Args:
        path: the file, such as the released `binary.csv`.
        taxonomy: its emotions.
        columns: the file's names for roles (`image`, `rater`, `emotion`, `rating`), and `prompted` for the emotion that
            each image was made for.

    Raises:
        MissingInputError: no such file.
        DataError: names the line: no vote, an unknown emotion, a rater who voted twice and differently; or names the
            column that is not there.
    """
    path, given = Path(path), dict(columns or {})
    table = read_table(path)
    found = {role: find_column(table, role, given) or 0 for role in _ROLES}
    prompted_by = given.pop("prompted", None)
    if prompted_by is not None and prompted_by not in table.header:
        raise DataError(
            f"{path}: no column '{prompted_by}' (given as columns.prompted); {nearest(prompted_by, table.header)}"
        )
    notes = _check_votes(table, found["rating"])
    labels = read_labels(path, taxonomy, {role: table.header[column] for role, column in found.items()})
    flags = human_rows(table, {})
    rows = table.rows if flags is None else [row for row, human in zip(table.rows, flags, strict=True) if human]
    empty = sum(row[found["rating"]] == "" for row in rows)
    if not len(labels.ratings.value):
        raise DataError(f"{path}: no vote in it; fill column '{table.header[found['rating']]}' with True or False")
    counted = {
        "lines without a vote were left out": empty,
        "lines repeat a vote of the same rater and were counted once": len(rows) - empty - len(labels.ratings.value),
        "lines of models (column 'human') were left out": len(table.rows) - len(rows),
    }
    notes += [f"{count:,} {what}" for what, count in counted.items() if count]
    for name in sorted({row[found["emotion"]] for row in rows}):
        column = taxonomy.index(name)
        if slugify(name.rsplit("|", 1)[-1].strip()) != taxonomy.slugs[column]:
            notes.append(f"'{name}' is read as '{taxonomy.names[column]}'")
    prompted: list[str | None] | None = None
    if prompted_by is not None:
        where, column = f"{path}, column '{prompted_by}'", table.header.index(prompted_by)
        by_image = {row[found["image"]]: row[column] for row in rows}
        prompted = [taxonomy.slugs[taxonomy.index(by_image[key], where)] for key in labels.ratings.keys]
    return Votes(path, labels.ratings, labels.place, binary_questions(labels.ratings, prompted, labels.place), notes)


def _check_votes(table: Table, rating: int) -> list[str]:
    values = {row[rating] for row in table.rows} - {""}
    wrong = values - _WORDS - _NUMBERS
    if wrong or (values & _WORDS and values & _NUMBERS):
        # one kind per file: the first line's
        allowed = _WORDS if not wrong and table.rows[0][rating] in _WORDS else _NUMBERS
        bad = wrong or values - allowed
        number = next(n for n, row in enumerate(table.rows) if row[rating] in bad)
        raise DataError(
            f"{table.where(number)}: column '{table.header[rating]}' is '{table.rows[number][rating][:40]}', no vote; "
            "write True or False throughout (or 1 and 0). Ratings are read by evaluate agreement"
        )
    return ["votes are written 1 and 0, read as yes and no"] if values & _NUMBERS else []
