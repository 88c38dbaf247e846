"""`ratings.parquet`: the answers of a packed set in long form, read with care and compared with the records."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet

from emonet_lightning.errors import DataError
from emonet_lightning.io import read_bytes
from emonet_lightning.ratings.long_form import Ratings

REMEDY = "pack the set again"


def read_ratings(path: Path, entry: dict[str, Any], keys: list[str]) -> Ratings:
    """Read all answers in long form.

    Args:
        path: the file.
        entry: `ratings` of the manifest.
        keys: name of each row.

    Raises:
        MissingInputError: no such file.
        DataError: not the file of the manifest, or not one that `pack` wrote.
    """
    content = read_bytes(path, entry["sha256"])
    try:
        table = parquet.ParquetFile(arrow.BufferReader(content)).read()
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path}: not a Parquet file ({' '.join(str(error).split())[:100]}); {REMEDY}") from error
    row, rater, slug = (
        _numbers(path, table, name, of)
        for name, of in (("row", len(keys)), ("rater", len(entry["raters"])), ("slug", len(entry["slugs"])))
    )
    value = _column(path, table, "value").astype(np.float32)
    if not np.isfinite(value).all():
        raise DataError(f"{path}: column 'value' holds what is no finite number; {REMEDY}")
    return Ratings(
        row=row,
        rater=rater,
        raters=entry["raters"],
        slug_index=slug,
        slugs=entry["slugs"],
        value=value,
        keys=keys,
        silent=np.array(entry.get("silent", []), dtype=np.int64).reshape(-1, 2),
    )


def _column(path: Path, table: arrow.Table, name: str) -> np.ndarray:
    if table.column_names.count(name) != 1:
        raise DataError(f"{path}: no column '{name}' (found: {', '.join(table.column_names)[:100]}); {REMEDY}")
    column = table[name]
    fits = arrow.types.is_floating if name == "value" else arrow.types.is_integer
    if not fits(column.type) or column.null_count:
        raise DataError(f"{path}: column '{name}' holds {column.type}, or gaps, and not numbers alone; {REMEDY}")
    values: np.ndarray = column.to_numpy()
    return values


def _numbers(path: Path, table: arrow.Table, name: str, of: int) -> np.ndarray:
    """A column that counts something of which there are `of`."""
    values = _column(path, table, name).astype(np.int64)
    outside = (values < 0) | (values >= of)
    if outside.any():
        raise DataError(f"{path}: column '{name}' holds {values[outside][0]}, which is not 0 to {of - 1}; {REMEDY}")
    return values


class RecordedAnswers:
    """Tells whether the records of the shards hold the answers of the long form: training learns from the latter."""

    def __init__(self, ratings: Ratings) -> None:
        order = np.argsort(ratings.row, kind="stable")
        self._row = ratings.row[order]
        self._rater = ratings.rater[order]
        self._slug = ratings.slug_index[order]
        self._value = ratings.value[order]
        self._rater_number = {rater: number for number, rater in enumerate(ratings.raters)}
        self._slug_number = {slug: number for number, slug in enumerate(ratings.slugs)}
        self._silent: dict[int, set[int]] = {}
        for row, rater in [] if ratings.silent is None else ratings.silent.tolist():
            self._silent.setdefault(row, set()).add(rater)

    def agree(self, row: int, recorded: Any) -> bool:
        """Whether a row has the answers that its record holds, and no others.

        Args:
            row: of the set.
            recorded: `ratings` of its record: rater -> {slug: value}.
        """
        first, last = np.searchsorted(self._row, (row, row + 1)).tolist()
        span = slice(first, last)
        cells = list(zip(self._rater[span].tolist(), self._slug[span].tolist(), strict=True))
        try:
            silent = {self._rater_number[rater] for rater, answers in recorded.items() if not answers}
            expected = {
                (self._rater_number[rater], self._slug_number[slug]): value
                for rater, answers in recorded.items()
                for slug, value in answers.items()
            }
            with np.errstate(over="ignore"):
                values = np.array([expected[cell] for cell in cells], dtype=np.float32)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            return False
        return (
            len(cells) == len(set(cells)) == len(expected)
            and np.array_equal(values, self._value[span])
            and silent == self._silent.get(row, set())
        )
