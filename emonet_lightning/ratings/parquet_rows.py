"""Rows of Parquet files, by number: one row group is open at a time and a few rows are in memory."""

import json
import re
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet

from emonet_lightning.errors import DataError, MissingInputError
from emonet_lightning.io import sha256_bytes

_BATCH = 16  # rows decoded at once: images are large


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
            elif opened.schema_arrow.names != self.schema.names:
                raise DataError(f"{file}: other columns than {files[0].name}; pack sets of different layout apart")
            self.footers.append(sha256_bytes(repr(opened.metadata.to_dict()).encode()))
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

    def column(self, name: str) -> list[Any]:
        """Return one column, or one field `column.field` of a struct, without reading the rest.

        Raises:
            DataError: a damaged file.
        """
        values: list[Any] = []
        for file in self.files:
            try:
                found = _open(file).read(columns=[name]).column(0).to_pylist()  # read_table would load all images
            except (OSError, arrow.ArrowException) as error:
                reason = " ".join(str(error).split())
                raise DataError(f"{file}: damaged in column '{name}' ({reason}); fetch it again") from error
            field = name.partition(".")[2]
            values += [value.get(field) if isinstance(value, dict) else value for value in found]
        return values

    def columns_found(self) -> str:
        """Names and types of all columns, for errors."""
        return ", ".join(f"{field.name} ({str(field.type)[:40]})" for field in self.schema)

    def _place(self, index: int) -> int:
        if not 0 <= index < self._num_rows:
            raise IndexError(index)
        return bisect_right(self._starts, (index, len(self.files), 0)) - 1


def _open(path: Path) -> parquet.ParquetFile:
    try:
        return parquet.ParquetFile(path)
    except (OSError, arrow.ArrowException) as error:
        raise DataError(f"{path}: not a readable Parquet file ({' '.join(str(error).split())[:100]})") from error


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
