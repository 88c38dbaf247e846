"""Answers of the judges of a preference study, joined with its pairs and key."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.annotation.pairs import SIDES, Pair
from emonet_lightning.errors import DataError, nearest
from emonet_lightning.ratings.tables import Table, read_table

COLUMNS = ("pair", "rater", "choice", "seconds")


class Answers(NamedTuple):
    """One entry per answer [n]; indices go into the lists below."""

    pair: NDArray[np.int64]
    image: NDArray[np.int64]
    rater: NDArray[np.int64]
    left: NDArray[np.int64]
    """System on the left."""
    right: NDArray[np.int64]
    chose_left: NDArray[np.bool_]
    emotion: NDArray[np.int64]
    """What the image is about."""
    seconds: NDArray[np.float64]
    """NaN where not measured."""
    pairs: list[str]
    images: list[str]
    raters: list[str]
    systems: list[str]
    emotions: list[str]
    """Slugs that occur."""

    @property
    def winner(self) -> NDArray[np.int64]:
        """System that was preferred [n]."""
        return np.where(self.chose_left, self.left, self.right)

    def between(self, first: int, second: int) -> NDArray[np.bool_]:
        """Which answers compare these two systems [n]."""
        return ((self.left == first) & (self.right == second)) | ((self.left == second) & (self.right == first))


def read_answers(path: Path, pairs: dict[str, Pair], key: dict[str, Any]) -> Answers:
    """Read a CSV file of answers: `pair`, `rater`, `choice` (left or right) and, where measured, `seconds`.

    Args:
        path: the file.
        pairs: of the study.
        key: of the same study.

    Raises:
        MissingInputError: no such file.
        DataError: names the line: an unknown pair, no choice, a judge who answered a pair twice, no duration.
    """
    table = read_table(path)
    columns = {name: _column(table, name) for name in COLUMNS}
    seen: dict[tuple[str, str], int] = {}
    rows = []
    for number, row in enumerate(table.rows):
        pair, rater, choice = (row[columns[name] or 0].strip() for name in COLUMNS[:3])
        if pair not in pairs:
            raise table.explained(
                DataError(f"{table.where(number)}: no pair '{pair}' in this study; {_near(pair, pairs)}"), number
            )
        if not rater:
            raise DataError(f"{table.where(number)}: no rater; write who answered")
        if choice not in SIDES:
            said = f"choice is '{choice}'" if choice else "no choice"
            raise DataError(f"{table.where(number)}: {said}; write left or right, or take the line out")
        other = seen.setdefault((pair, rater), number)
        if other != number:
            raise DataError(
                f"{table.where(number)}: '{rater}' answered pair '{pair}' in line {table.lines[other]}, too; keep one"
            )
        rows.append((pair, rater, choice == "left", _seconds(table, number, row, columns["seconds"])))
    raters = sorted({rater for _, rater, _, _ in rows})
    systems = list(key["systems"])
    secret = key["pairs"]
    images = sorted({entry["image"] for entry in secret.values()})
    emotions = sorted({entry["emotion"] for entry in secret.values()})
    ids = list(pairs)
    place = {name: {value: n for n, value in enumerate(values)} for name, values in (("i", images), ("e", emotions))}
    of = [secret[pair] for pair, *_ in rows]
    pair_place = {pair: n for n, pair in enumerate(ids)}

    def column(values: list[int]) -> NDArray[np.int64]:
        return np.array(values, dtype=np.int64)

    return Answers(
        pair=column([pair_place[pair] for pair, *_ in rows]),
        image=column([place["i"][entry["image"]] for entry in of]),
        rater=column([raters.index(rater) for _, rater, _, _ in rows]),
        left=column([systems.index(entry["left"]) for entry in of]),
        right=column([systems.index(entry["right"]) for entry in of]),
        chose_left=np.array([left for _, _, left, _ in rows], dtype=bool),
        emotion=column([place["e"][entry["emotion"]] for entry in of]),
        seconds=np.array([seconds for *_, seconds in rows], dtype=np.float64),
        pairs=ids,
        images=images,
        raters=raters,
        systems=systems,
        emotions=emotions,
    )


def _column(table: Table, name: str) -> int | None:
    lower = [column.lower() for column in table.header]
    if name in lower:
        return lower.index(name)
    if name == "seconds":
        return None
    raise DataError(f"{table.path}: no column '{name}'; answers have the columns {', '.join(COLUMNS)}")


def _seconds(table: Table, number: int, row: list[str], column: int | None) -> float:
    if column is None or not row[column].strip():
        return math.nan
    try:
        seconds = float(row[column])
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise DataError(f"{table.where(number)}: seconds is '{row[column]}'; write a number from 0, or leave it empty")
    return seconds


def _near(pair: str, pairs: dict[str, Pair]) -> str:
    return nearest(pair, pairs, 1) if len(pairs) <= 2000 else "are these the answers to other pairs?"
