"""Files of ratings or scores as tables of text: CSV as it is, Parquet and JSON lines brought into the same form."""

import functools
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as arrow

from emonet_lightning.errors import DataError, MissingInputError, nearest
from emonet_lightning.json_lines import read_json_lines
from emonet_lightning.ratings.parquet_rows import ParquetRows, find_parquet
from emonet_lightning.ratings.tables import ROLES, Table, read_table

IMAGE, ANNOTATIONS = "image", "annotations"
_ANNOTATIONS = (*ROLES["annotations"], "label", "labels", "ratings")
_RESULTS = "results"
_NAMES = ("image_path", *ROLES["image"])


def open_table(
    path: Path, columns: dict[str, str], value: str = "mean_subtracted", index_map: dict[str, int] | None = None
) -> tuple[Table, dict[str, str]]:
    """Read a CSV, Parquet or JSON-lines file as a table of text.

    Args:
        path: file; for Parquet also a folder of files.
        columns: the file's names for roles.
        value: which of the released values (`raw`, `mean_subtracted`, `softmax`) to take from `results` of JSON lines.
        index_map: file name -> row, which names the images of a Parquet file that has lost their names.

    Returns:
        The table, and the names for roles completed by what the file's form tells.

    Raises:
        MissingInputError: no such file.
        DataError: unreadable; names the file.
    """
    if path.is_dir() or path.suffix.lower() == ".parquet":
        if not path.exists():
            raise MissingInputError(f"{path}: no such file")
        return _from_parquet(path, columns, index_map)
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        return _from_json_lines(path, columns, value), {**columns, "image": IMAGE, "annotations": ANNOTATIONS}
    return read_table(path), dict(columns)


def _from_parquet(
    path: Path, columns: dict[str, str], index_map: dict[str, int] | None
) -> tuple[Table, dict[str, str]]:
    """Read everything but image bytes; images without a name are called by their row number."""
    rows = ParquetRows(find_parquet(path))
    rows.refuse_large({field.name for field in rows.schema if _holds_bytes(field.type)})
    roles, texts = dict(columns), {}
    for field in rows.schema:
        names = rows.class_names.get(field.name)
        if _holds_bytes(field.type):
            has_names = arrow.types.is_struct(field.type) and field.type.get_field_index("path") >= 0
            if has_names and roles.get("image", field.name) == field.name:
                found = rows.column(f"{field.name}.path")
                texts[field.name] = [name or f"{row:06d}" for row, name in enumerate(found)]
                roles["image"] = field.name
            continue
        texts[field.name] = rows.column(field.name, functools.partial(_text, names=names))
        if "annotations" not in roles and field.name in _ANNOTATIONS and names is None and _holds_answers(field.type):
            roles["annotations"] = field.name
    if index_map is not None and "image" not in columns:
        names_of = {row: name for name, row in index_map.items()}
        if missing := [row for row in range(len(rows)) if row not in names_of]:
            raise DataError(f"{path}: the index map names no file for row {missing[0]}")
        texts[IMAGE], roles["image"] = [names_of[row] for row in range(len(rows))], IMAGE
    elif not set(texts).intersection(ROLES["image"]) and roles.get("image") not in texts:
        texts[IMAGE], roles["image"] = [f"{row:06d}" for row in range(len(rows))], IMAGE
    if "prompted" not in roles and "annotations" in roles and "emotion" in texts:
        roles["prompted"] = "emotion"
    lines = list(range(len(rows)))
    return Table(path, list(texts), [list(row) for row in zip(*texts.values(), strict=True)], lines, unit="row"), roles


def _holds_bytes(kind: arrow.DataType) -> bool:
    if arrow.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return arrow.types.is_binary(kind) or arrow.types.is_large_binary(kind)


def _holds_answers(kind: arrow.DataType) -> bool:
    return not (arrow.types.is_integer(kind) or arrow.types.is_floating(kind))


def _text(cell: Any, names: list[str] | None) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if names is not None and isinstance(cell, int):
        return names[cell] if 0 <= cell < len(names) else ""
    if isinstance(cell, dict | list):
        return json.dumps(cell)
    return str(cell)


def _from_json_lines(path: Path, columns: dict[str, str], value: str) -> Table:
    rows, lines = [], []
    for number, where, record in read_json_lines(path):
        name = next((key for key in (columns.get("image"), *_NAMES) if key in record), None)
        if name is None:
            raise DataError(
                f"{where}: no image name; keys found: {', '.join(record)}; name it with --columns.image=NAME"
            )
        rows.append([str(record.pop(name)), json.dumps(_scores(record, value, where))])
        lines.append(number)
    if not rows:
        raise DataError(f"{path}: empty; one JSON object per image is needed")
    return Table(path, [IMAGE, ANNOTATIONS], rows, lines)


def _scores(record: dict[str, Any], value: str, where: str) -> Any:
    """Return emotion -> score of a line: of the released layout, of one with a dict, or of flat lines."""
    if isinstance(record.get(_RESULTS), dict):
        picked = {}
        for head, found in record[_RESULTS].items():
            if not isinstance(found, dict) or value not in found:
                known = nearest(value, found) if isinstance(found, dict) else "a dict of values is needed"
                raise DataError(f"{where}: '{head}' has no value '{value}'; {known}")
            slug = head.removeprefix("model_").removesuffix("_best")
            if slug in picked:
                raise DataError(f"{where}: '{slug}' and 'model_{slug}_best' are scores of one head; keep one")
            picked[slug] = found[value]
        return picked
    return next((record[key] for key in _ANNOTATIONS if isinstance(record.get(key), dict)), record)
