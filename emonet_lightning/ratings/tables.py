"""CSV files read as text: ids keep their zeros, `NA` stays a name, and every line has the header's number of cells."""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from emonet_lightning.errors import DataError, nearest
from emonet_lightning.image_files import SUFFIXES
from emonet_lightning.io import read_bytes

ROLES: dict[str, tuple[str, ...]] = {
    "image": ("image", "path", "file", "filename", "file_name", "image_path", "img", "name", "id"),
    "rater": ("rater", "annotator", "rater_id", "annotator_id", "user"),
    "emotion": ("emotion", "trait", "dimension"),
    "rating": ("rating", "value", "score", "intensity"),
    "label": ("label", "class", "expression"),
    "annotations": ("annotations",),
}
"""Column names that are recognised for each role, unless `columns` names another."""
OPTIONAL_ROLES = ("human", "prompted", "split", "meta", "group")
"""Columns that are no ratings; they are called as their role unless `columns` names others."""

MAX_BYTES, MAX_LINE, MAX_CELL, MAX_COLUMNS = 2**29, 2**25, 2**24, 10_000
"""Of a table, of one of its lines and cells, and in its header: what is larger is no table of ratings."""
MAX_ROWS, MAX_VALUES, MAX_UNPACKED = 10_000_000, 50_000_000, 2**31
"""Of a packed table, rows, values (also those within lists) and bytes before packing: 14 systems' scores of 40 emotions
on 2,500 images are 1.4 million, those of 203,201 images 8 million."""
_BLOCK = 2**20


class Table(NamedTuple):
    """A CSV file as text."""

    path: Path
    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    """Line on which each row ends."""
    is_cut: bool = False
    """The last line has no line end: it may have been cut."""
    unit: str = "line"

    def where(self, number: int) -> str:
        """File and line of a row, for errors."""
        return f"{self.path}, {self.unit} {self.lines[number]}"

    def explained(self, error: DataError, number: int) -> DataError:
        """Add to an error in the last line that the file may have been cut."""
        if self.is_cut and number == len(self.rows) - 1:
            return DataError(f"{error}; the file ends in the middle of a line and may be truncated: fetch it again")
        return error

    def only(self, kept: Sequence[int]) -> "Table":
        """Return these rows of the table."""
        return self._replace(rows=[self.rows[n] for n in kept], lines=[self.lines[n] for n in kept])


def read_table(path: Path | str) -> Table:
    """Read a CSV file (comma, semicolon or tab; UTF-8 with or without BOM) as text.

    Raises:
        MissingInputError: no such file.
        DataError: not text, empty, without a header line, a column twice, or a line with another number of cells.
    """
    path = Path(path)
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path}: {path.stat().st_size:,} bytes; a table has at most {MAX_BYTES:,}: split it")
    content = read_bytes(path)
    _check_text(content, path)
    first = content[:MAX_CELL].split(b"\n", 1)[0].removeprefix(codecs.BOM_UTF8).decode(errors="ignore")
    delimiter = max(",;\t", key=first.count)
    csv.field_size_limit(MAX_CELL)
    # a stream, not a second copy of the content: tables may be large
    stream = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline="")
    reader = csv.reader(_lines(stream, path), delimiter=delimiter, strict=True)
    rows, lines = [], []
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not a readable CSV file ({error})") from error
    if not rows:
        raise DataError(f"{path}: empty; a header line and one line per image or answer are needed")
    header = [cell.strip() for cell in rows[0]]
    if any(_is_data(cell) for cell in header[:MAX_COLUMNS]):
        raise DataError(
            f"{path}: the first line ('{first.strip()[:60]}') looks like data; add a header line that names the columns"
        )
    if len(header) > MAX_COLUMNS:
        raise DataError(f"{path}: {len(header):,} columns; a table has at most {MAX_COLUMNS:,}")
    for position, column in enumerate(header, 1):
        if not column:
            raise DataError(f"{path}: column {position} has no name; name or remove it")
        if header.count(column) > 1:
            raise DataError(f"{path}: column '{column}' is there twice; rename one")
    table = Table(path, header, rows[1:], lines[1:], is_cut=not content.endswith((b"\n", b"\r")))
    for number, row in enumerate(table.rows):
        if len(row) != len(header):
            wrong = DataError(f"{table.where(number)}: {len(row)} cells, the header has {len(header)}; mend the line")
            raise table.explained(wrong, number)
    if not table.rows:
        raise DataError(f"{path}: a header but no rows")
    return table


def _lines(stream: TextIO, path: Path) -> Iterator[str]:
    """Yield lines, their ends included; one that is too long is not read to its end."""
    for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE), ""), 1):
        if len(line) == MAX_LINE:
            raise DataError(f"{path}, line {number}: longer than {MAX_LINE:,} characters; it is damaged, or no table")
        yield line


def _check_text(content: bytes, path: Path) -> None:
    """Refuse what is no UTF-8, and NUL bytes, block by block."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(content), _BLOCK):
        kept = len(decoder.getstate()[0])  # of a character that began in the block before
        try:
            decoder.decode(content[start : start + _BLOCK], final=start + _BLOCK >= len(content))
        except UnicodeDecodeError as error:
            place = start - kept + error.start
            raise DataError(f"{path}: not UTF-8 text ({error.reason} at byte {place}); save it as UTF-8") from error
    if (place := content.find(b"\0")) >= 0:
        line = content.count(b"\n", 0, place) + 1
        raise DataError(f"{path}, line {line}: a NUL byte; the file is damaged, fetch or save it again")


def optional_column(table: Table, role: str, columns: dict[str, str]) -> int | None:
    """Return the column that is called as its role or that `columns` names, or None.

    Raises:
        DataError: named but absent.
    """
    name = columns.get(role, role)
    if name in table.header:
        return table.header.index(name)
    if role in columns:
        raise DataError(f"{table.path}: no column '{name}' (given as columns.{role}); {nearest(name, table.header)}")
    return None


def _is_data(cell: str) -> bool:
    return bool(re.fullmatch(r"[+-]?\d+([.,]\d+)?", cell)) or Path(cell).suffix.lower() in SUFFIXES


def find_column(table: Table, role: str, columns: dict[str, str], required: bool = True) -> int | None:
    """Return the column of a role, by the user's name for it or a usual one.

    Raises:
        DataError: named but absent, or required and not found; lists the columns.
    """
    if role in columns:
        return optional_column(table, role, columns)
    lower = [column.lower() for column in table.header]
    taken = {name for other, name in columns.items() if other != role}
    for name in ROLES[role]:
        if name in lower and table.header[lower.index(name)] not in taken:
            return lower.index(name)
    if required:
        raise DataError(
            f"{table.path}: no column for '{role}'; columns found: {', '.join(table.header)}; "
            f"name it with --columns.{role}=NAME"
        )
    return None
