"""JSON lines: one object a line, each told by its file and number where it is none."""

import codecs
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from emonet_lightning.errors import DataError, MissingInputError, OutputError

MAX_BYTES, MAX_LINES, MAX_LINE = 2**32, 10_000_000, 2**25
"""Of a file that a user gives: all three values of 40 heads for 600,000 images, and no line above 32 MiB."""


class _Twice(Exception):
    """A name that stands twice in an object."""


def read_json_lines(path: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Read a file of JSON objects, one per line; yield each one's line number, file and line for errors, and content.

    Raises:
        MissingInputError: no such file.
        DataError: too large, or a line that is cut, damaged or no object; names file and line.
    """
    if not path.is_file():
        raise MissingInputError(f"{path}: no such file")
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path}: {path.stat().st_size:,} bytes; JSON lines are read up to {MAX_BYTES:,}: split them")
    try:
        with path.open("rb") as stream:  # not whole: what is kept of a line is less than its text
            yield from json_objects(_lines(stream, path), path, "mend it, or fetch the file again")
    except OSError as error:
        raise OutputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _lines(stream: BinaryIO, path: Path) -> Iterator[bytes]:
    """Yield lines; one that is too long is not read to its end."""
    for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE), b""), 1):
        if number > MAX_LINES:
            raise DataError(f"{path}: more than {MAX_LINES:,} lines; split the file")
        if len(line) == MAX_LINE:
            raise DataError(f"{path}, line {number}: longer than {MAX_LINE:,} bytes; it is damaged, or not JSON lines")
        yield line.removeprefix(codecs.BOM_UTF8) if number == 1 else line


def json_objects(lines: Iterable[bytes], path: Path, remedy: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Parse lines; yield the number, file and line for errors, and content of each that is not empty.

    Args:
        lines: from the first one.
        path: their file, for errors.
        remedy: what to do about a wrong one, for errors.

    Raises:
        DataError: not JSON, no object, or a name that stands in one twice: which counted would be up to the order.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            content = json.loads(line, object_pairs_hook=_once)
        except _Twice as error:
            raise DataError(f"{where}: '{error}' stands twice in one object; keep one") from None
        except (ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())[:100]
            raise DataError(f"{where}: not a JSON object ({reason}); {remedy}") from error
        if not isinstance(content, dict):
            raise DataError(f"{where}: not a JSON object, but a {type(content).__name__}; {remedy}")
        yield number, where, content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1)[:80])
    return found
