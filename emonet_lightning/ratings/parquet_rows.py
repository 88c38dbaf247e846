"""Rows of Parquet files, by number: one row group is open at a time and a few rows are in memory."""

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet

from emonet_lightning.errors import DataError, MissingInputError
from emonet_lightning.io import sha256_bytes
from emonet_lightning.ratings.tables import MAX_CELL, MAX_ROWS, MAX_UNPACKED, MAX_VALUES

_BATCH = 16  # rows decoded at once: images are large
_COLUMN_BATCH = 65_536  # cells of one column


def find_parquet(path: Path) -> list[Path]:
    """Return the Parquet files of a set: a file, a folder, or a Hugging Face cache folder (whose files are links).

    Raises:
        MissingInputError: none, or an unfinished download.
        DataError: the cache holds several revisions.
    """
    if path.is_file():
        return [path]
    files = sorted(path.rglob("*.parquet"))
    for file in files:
        if not file.is_file():
            raise MissingInputError(f"{file}: a link without its file; the download is not finished, run it again")
    revisions = sorted({file.parts[file.parts.index("snapshots") + 1] for file in files if "snapshots" in file.parts})
    if len(revisions) > 1:
        raise DataError(f"{path}: holds {len(revisions)} revisions; name one: {path}/snapshots/{revisions[-1]}")
    series: dict[tuple[Path, str], set[int]] = {}
    for file in files:
        if found := re.fullmatch(r"(.*)-(\d+)-of-(\d+)\.parquet", file.name):
            series.setdefault((file.parent / found[1], found[3]), set()).add(int(found[2]))
    for (prefix, count), numbers in series.items():
        if missing := sorted(set(range(int(count))) - numbers):
            raise MissingInputError(
                f"{prefix}-*-of-{count}.parquet: {len(missing)} of {int(count)} files are missing (first: "
                f"{missing[0]:0{len(count)}d}); finish the download"
            )
    if not files:
        raise MissingInputError(f"{path}: no .parquet file in it or below it")
    return files


class ParquetRows:
    """Rows as dicts, by number over all files; cheapest in rising order.

    Attributes:
        schema: of the first file.
        class_names: column -> names of its integer classes, as the Hugging Face library writes them.
        footers: digest of each file's footer, which holds the size of every column chunk.
    """

    def __init__(self, files: list[Path]) -> None:
        """Read the footers.

        Raises:
            DataError: not Parquet, no rows, or files of different columns.
        """
        self.files = files
        self.footers: list[str] = []
        self._starts: list[tuple[int, int, int]] = []  # first row, file, row group
        self._num_rows = 0
        for number, file in enumerate(files):
            opened = _open(file)
            if number == 0:
                self.schema = opened.schema_arrow
                if twice := [name for name in self.schema.names if self.schema.names.count(name) > 1]:
                    raise DataError(f"{file}: column '{twice[0]}' is there twice; rename one")
            elif opened.schema_arrow.names != self.schema.names:
                raise DataError(f"{file}: other columns than {files[0].name}; pack sets of different layout apart")
            try:
                footer = repr(opened.metadata.to_dict())
            except UnicodeError as error:  # the least and the greatest text of a column
                raise DataError(f"{file}: holds text that is not UTF-8 ({error}); fetch or write it again") from error
            self.footers.append(sha256_bytes(footer.encode()))
            for row_group in range(opened.metadata.num_row_groups):
                self._starts.append((self._num_rows, number, row_group))
                self._num_rows += opened.metadata.row_group(row_group).num_rows
        if self._num_rows == 0:
            raise DataError(f"{files[0]}: no rows")
        self.class_names = _class_names(self.schema)
        self._cursor: tuple[int, int, Iterator[list[dict[str, Any]]]] | None = None
        self._batch: tuple[int, list[dict[str, Any]]] = (0, [])

    def __len__(self) -> int:
        return self._num_rows

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cursor": None, "_batch": (0, [])}

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one row; walks forward within a row group, and starts it again to go back."""
        start, rows = self._batch
        if start <= index < start + len(rows):
            return rows[index - start]
        place = self._place(index)
        first, file, row_group = self._starts[place]
        if self._cursor is None or self._cursor[0] != place or self._cursor[1] > index:
            batches = _open(self.files[file]).iter_batches(batch_size=_BATCH, row_groups=[row_group])
            self._cursor = (place, first, (batch.to_pylist() for batch in batches))
        while True:
            _, start, iterator = self._cursor
            try:
                rows = next(iterator)
            except (OSError, arrow.ArrowException, StopIteration) as error:
                reason = " ".join(str(error).split())
                raise DataError(f"{self.files[file]}: damaged in row {index} ({reason}); fetch it again") from error
            self._cursor = (place, start + len(rows), iterator)
            self._batch = (start, rows)
            if index < start + len(rows):
                return rows[index - start]

    def file_of(self, index: int) -> Path:
        """File that holds a row."""
        return self.files[self._starts[self._place(index)][1]]

    def refuse_large(self, unread: Collection[str]) -> None:
        """Refuse what is no table of ratings, by the footers: a few KB may hold millions of equal rows.

        Args:
            unread: columns that stay unread.

        Raises:
            DataError: too many rows, values or bytes.
        """
        num_values = num_bytes = 0
        for file in self.files:
            metadata = _open(file).metadata
            for row_group in map(metadata.row_group, range(metadata.num_row_groups)):
                for chunk in map(row_group.column, range(row_group.num_columns)):
                    if chunk.path_in_schema.partition(".")[0] not in unread:
                        num_values += chunk.num_values
                        num_bytes += chunk.total_uncompressed_size
        for number, most, what in (
            (len(self), MAX_ROWS, "rows"),
            (num_values, MAX_VALUES, "values"),
            (num_bytes, MAX_UNPACKED, "bytes before packing"),
        ):
            if number > most:
                raise DataError(f"{self.files[0]}: {number:,} {what}; a table has at most {most:,}: split it")

    def column(self, name: str, convert: Callable[[Any], Any] | None = None) -> list[Any]:
        """Return one column, or one field `column.field` of a struct, without reading the rest.

        Args:
            name: of the column.
            convert: what becomes of a cell; equal cells share one result.

        Raises:
            DataError: a damaged file, or a cell that is too long.
        """
        values: list[Any] = []
        top, _, field = (name, "", "") if name in self.schema.names else name.partition(".")
        kind = self.schema.field(top).type
        # as a dictionary: a long text that stands in a million cells is in memory once
        packed = [top] if arrow.types.is_string(kind) or arrow.types.is_large_string(kind) else None
        for file in self.files:
            try:
                # read_table would load all images
                for batch in _open(file, packed).iter_batches(batch_size=_COLUMN_BATCH, columns=[name]):
                    known, place = _distinct(batch.column(0))
                    if field:
                        known = [cell.get(field) if isinstance(cell, dict) else cell for cell in known]
                    if any(isinstance(cell, str | bytes) and len(cell) > MAX_CELL for cell in known):
                        raise DataError(
                            f"{file}: a cell of column '{name}' is longer than {MAX_CELL:,}; it is damaged, or no table"
                        )
                    known = known if convert is None else [convert(cell) for cell in known]
                    values += known if place is None else [known[number] for number in place]
            except (OSError, UnicodeError, arrow.ArrowException) as error:
                reason = " ".join(str(error).split())
                raise DataError(f"{file}: damaged in column '{name}' ({reason}); fetch it again") from error
        return values

    def columns_found(self) -> str:
        """Names and types of all columns, for errors."""
        return ", ".join(f"{field.name} ({str(field.type)[:40]})" for field in self.schema)

    def _place(self, index: int) -> int:
        if not 0 <= index < self._num_rows:
            raise IndexError(index)
        return bisect_right(self._starts, (index, len(self.files), 0)) - 1


def _open(path: Path, as_dictionary: list[str] | None = None) -> parquet.ParquetFile:
    try:
        return parquet.ParquetFile(path, read_dictionary=as_dictionary)
    except (OSError, arrow.ArrowException) as error:
        raise DataError(f"{path}: not a readable Parquet file ({' '.join(str(error).split())[:100]})") from error


def _distinct(cells: arrow.Array) -> tuple[list[Any], list[int] | None]:
    """Return the different cells, and which of them each cell is; of nested ones all, and None."""
    if arrow.types.is_nested(cells.type):
        return cells.to_pylist(), None
    if not arrow.types.is_dictionary(cells.type):
        cells = cells.dictionary_encode()
    return [*cells.dictionary.to_pylist(), None], cells.indices.cast(arrow.int64()).fill_null(-1).to_pylist()


def _class_names(schema: arrow.Schema) -> dict[str, list[str]]:
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return {
        name: [str(n) for n in feature["names"]]
        for name, feature in features.items()
        if isinstance(feature, dict) and isinstance(feature.get("names"), list) and name in schema.names
    }
