"""The table that `predict` writes: which rows there are, what is said of each, and the files beside it."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emonet_lightning.faces.looking import Row
from emonet_lightning.io import atomic_write, make_folder, remove_temporary, write_errors

FORMATS = (".csv", ".parquet", ".jsonl")
BAD_FILES, NO_FACE, META = ".bad_files.jsonl", ".no_face.jsonl", ".meta.json"
"""They follow the table's name: tables of one folder keep theirs apart."""
COLUMNS = {
    "file": "path below the input folder, or sample key",
    "frame": "of a video, counted from 0",
    "seconds": "from the video's beginning",
    "face": "of the picture, 0 is the largest; empty where the whole picture was scored or no face was found",
    "x": "left edge of the face's box, pixels",
    "y": "upper edge of the face's box, pixels",
    "width": "of the face's box, pixels",
    "height": "of the face's box, pixels",
    "confidence": "of the detector that this is a face, 0..1",
    "track": "the same face over a video's frames, by boxes that overlap; nobody is recognised",
    "person": "whose neutral pictures were subtracted; empty: the general means",
}


def make_table(
    rows: Sequence[Row],
    values: np.ndarray,
    slugs: list[str],
    *,
    with_faces: bool,
    with_videos: bool,
    persons: Sequence[str | None] | None = None,
) -> pd.DataFrame:
    """Put values [N, K] beside what is known of their rows; columns that nothing is known of are left out."""
    columns: dict[str, Any] = {"file": [row.file for row in rows]}
    if with_videos:
        columns["frame"] = pd.array([row.frame for row in rows], dtype="Int64")
        columns["seconds"] = np.array([np.nan if row.seconds is None else round(row.seconds, 3) for row in rows])
    if with_faces:
        columns["face"] = pd.array([row.face for row in rows], dtype="Int64")
        boxes = np.array([row.box[:5] if row.box else [np.nan] * 5 for row in rows]).reshape(-1, 5)
        for number, name in enumerate(("x", "y", "width", "height", "confidence")):
            columns[name] = boxes[:, number].round(1 if number < 4 else 3)
        if with_videos:
            columns["track"] = pd.array([row.track for row in rows], dtype="Int64")
    if persons is not None:
        columns["person"] = [person or "" for person in persons]
    known = pd.DataFrame(columns)
    return pd.concat([known, pd.DataFrame(values, columns=slugs)], axis=1)


def beside(target: Path, ending: str) -> Path:
    """Return the path of a file that belongs to a table."""
    return target.with_name(target.name + ending)


def make_way(target: Path) -> None:
    """See that the table can be written, and remove what a call that was killed left of it and its files."""
    make_folder(target.parent)
    with write_errors(target), tempfile.TemporaryFile(dir=target.parent):
        if target.is_dir():
            raise IsADirectoryError(21, "Is a directory", str(target))
        for path in (target, *(beside(target, ending) for ending in (BAD_FILES, NO_FACE, META))):
            remove_temporary(path.parent, path.name)


def write_table(table: pd.DataFrame, target: Path) -> str:
    """Write a table whole, in the format of its suffix; returns its sha256."""

    def write(path: Path) -> None:
        if target.suffix == ".csv":
            table.to_csv(path, index=False)
        elif target.suffix == ".parquet":
            table.to_parquet(path, index=False)
        else:
            table.to_json(path, orient="records", lines=True, double_precision=9, force_ascii=False)

    return atomic_write(target, write)


def write_lines(path: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Write JSON lines whole."""
    atomic_write(path, "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries))


def no_face_entry(row: Row) -> dict[str, Any]:
    """Return what is listed of a picture without a face."""
    known = {"file": row.file, "frame": row.frame, "seconds": None if row.seconds is None else round(row.seconds, 3)}
    return {key: value for key, value in known.items() if value is not None}
