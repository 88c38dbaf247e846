"""Scores of systems brought in the order of a panel's images: repeats joined, gaps kept, all of it counted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.errors import DataError, UsageError, nearest
from emonet_lightning.ratings.cells import Cells, read_cells
from emonet_lightning.ratings.files import open_table
from emonet_lightning.ratings.index_map import ImageNames
from emonet_lightning.ratings.panel import SystemScores
from emonet_lightning.taxonomy import Taxonomy

Duplicates = Literal["mean", "last"]
Missing = Literal["missing", "zero"]
_LARGEST = 1e150  # squares of larger ones overflow


def read_scores(
    path: Path | str,
    taxonomy: Taxonomy,
    images: Sequence[str],
    name: str,
    *,
    value: str = "mean_subtracted",
    missing: Missing = "missing",
    duplicates: Duplicates = "mean",
    factor: float = 1.0,
    index_map: dict[str, int] | None = None,
    columns: dict[str, str] | None = None,
    progress: bool = False,
) -> SystemScores:
    """Read one system's scores of a panel's images: what `predict` writes, or any CSV, Parquet or JSON-lines file.

    Args:
        path: one row per image with a column per emotion or a dict, or one row per image and emotion; or the released
            `ferd.jsonl`.
        taxonomy: columns.
        images: the panel's; found by name, else by the name without folder and extension, else by row number.
        name: of the system.
        value: of the three in released JSON lines.
        missing: an emotion that a row does not name is `missing` (NaN), or `zero`.
        duplicates: of repeated scores of an image, their mean or the last.
        factor: multiplies all scores.
        index_map: file name -> row number, where panel and scores name images differently.
        columns: the file's names for roles, as for `read_cells`.
        progress: show a bar.

    Raises:
        MissingInputError: no such file.
        DataError: a cell that is no finite number, an unknown emotion, several annotators, or not one of the images.
    """
    table, roles = open_table(Path(path), columns or {}, value)
    cells = read_cells(table, taxonomy, roles, progress=progress)
    if cells.layout == "class":
        raise DataError(f"{path}: holds classes, not scores; give a column per emotion, or image, emotion and rating")
    if len(cells.raters) > 1:
        raise DataError(
            f"{path}: holds the scores of {len(cells.raters)} annotators ('{cells.raters[0]}', '{cells.raters[1]}', "
            "...); give a file per system, or give the file as the ratings"
        )
    names = ImageNames(images, index_map)
    found = [names.find(image, str(path)) for image in cells.images]
    place = _once_each(found, cells.images, images, str(path))
    if not (place >= 0).any():
        raise DataError(
            f"{path}: none of its {len(found)} images is among the {len(images)} rated ones ('{cells.images[0]}' and "
            f"'{images[0]}' for example); check --columns.image, or join lost names with --index-map"
        )
    loose = sum(p >= 0 and images[p] != image for p, image in zip(place.tolist(), cells.images, strict=True))
    notes = [f"{loose} images were found by name without folder and extension, or by row"] if loose else []
    scores = scores_of(cells, 0, name, place, len(images), taxonomy, missing, duplicates, factor)
    return scores._replace(notes=(*notes, *scores.notes))


def read_named_scores(
    word: str,
    taxonomy: Taxonomy,
    images: Sequence[str],
    rows: dict[str, int] | None,
    missing: Missing,
    duplicates: Duplicates,
) -> SystemScores:
    """Read the scores of an option `--system NAME=FILE`; `rows` is the index map, all else as for `read_scores`.

    Raises:
        UsageError: not NAME=FILE.
    """
    name, found, path = word.partition("=")
    if not found or not name.strip() or not path:
        raise UsageError(f"--system '{word}': write NAME=FILE")
    return read_scores(path, taxonomy, images, name, index_map=rows, missing=missing, duplicates=duplicates)


def _once_each(
    found: Sequence[int | None], names: Sequence[str], images: Sequence[str], where: str
) -> NDArray[np.int64]:
    """Return the image's place for each name, -1 for none; an image that is there by its own name has no other."""
    exact = {p for p, name in zip(found, names, strict=True) if p is not None and images[p] == name}
    place = np.full(len(names), -1, dtype=np.int64)
    loose: dict[int, str] = {}
    for number, (p, name) in enumerate(zip(found, names, strict=True)):
        if p is None or (p in exact and images[p] != name):
            continue
        place[number] = p
        if images[p] != name and loose.setdefault(p, name) != name:
            raise DataError(
                f"{where}: '{loose[p]}' and '{name}' both fit image '{images[p]}'; name images as the ratings do"
            )
    return place


def scores_of(
    cells: Cells,
    rater: int,
    name: str,
    place: NDArray[np.int64],
    num_images: int,
    taxonomy: Taxonomy,
    missing: Missing,
    duplicates: Duplicates,
    factor: float,
) -> SystemScores:
    """Return the scores of one annotator of a file.

    Args:
        cells: of the file.
        rater: index into `cells.raters`.
        name: of the system.
        place: of each of the file's images among the panel's, -1 for one that it lacks [len(cells.images)].
        num_images: of the panel.
        taxonomy: columns.
        missing: as for `read_scores`; with `zero`, before the mean of repeated rows is taken, as released.
        duplicates: as for `read_scores`.
        factor: multiplies all scores.
    """
    num_columns, by_row = len(taxonomy), cells.layout != "long"
    image = place[cells.image[cells.sheet_row]]
    mine = cells.sheet_rater == rater
    kept = mine & (image >= 0)
    if by_row:
        num_sheets = np.bincount(image[kept], minlength=num_images)
        if duplicates == "last":
            kept &= np.arange(len(kept)) == _last(image, kept, num_images)[image]
    answers = np.flatnonzero(kept[cells.sheet])
    cell = image[cells.sheet[answers]] * num_columns + cells.column[answers]
    with np.errstate(over="ignore"):
        value = cells.value[answers] * factor
    count = np.bincount(cell, minlength=num_images * num_columns)
    if not by_row:
        num_sheets = count.reshape(num_images, num_columns).max(axis=1, initial=0)
    num_repeated = int((num_sheets > 1).sum())
    if duplicates == "last":
        chosen = _last(cell, np.full(len(cell), True), len(count))
        scores = np.append(value, np.nan)[chosen]  # -1, the last: no score
    else:
        rows = np.repeat(num_sheets, num_columns) if by_row and missing == "zero" else count
        total = np.bincount(cell, weights=value, minlength=len(count))
        scores = np.where(count > 0, total / np.maximum(rows, 1), np.nan)
    scores = scores.reshape(num_images, num_columns)
    if (np.abs(scores) > _LARGEST).any():
        raise DataError(f"{cells.table.path}: scores of '{name}' are beyond {_LARGEST:g}; scale them")
    emotions = scores[:, : taxonomy.num_emotions]
    gaps = np.isnan(emotions) & (num_sheets > 0)[:, None]
    if missing == "zero":
        emotions[gaps] = 0.0
    notes = _notes(scores, gaps, num_sheets > 0, taxonomy, missing, factor)
    if num_repeated:
        notes.append(f"{num_repeated} images were scored more than once: {duplicates} taken")
    if outside := len(set(cells.image[cells.sheet_row[mine & (image < 0)]].tolist())):
        notes.append(f"{outside} images that nobody rated are left out")
    return SystemScores(name, scores, notes=tuple(notes))


def _last(where: NDArray[np.int64], kept: NDArray[np.bool_], size: int) -> NDArray[np.int64]:
    """Return the last position that is kept of each value of `where`, -1 for none [size]."""
    last = np.full(size, -1, dtype=np.int64)
    np.maximum.at(last, where[kept], np.flatnonzero(kept))
    return last


def _notes(
    scores: NDArray[np.float64],
    gaps: NDArray[np.bool_],
    seen: NDArray[np.bool_],
    taxonomy: Taxonomy,
    missing: Missing,
    factor: float,
) -> list[str]:
    notes = []
    if factor != 1:
        notes.append(f"scores are multiplied by {factor:g}, as asked for")
    outcome = "count as 0, as asked for" if missing == "zero" else "are missing"
    absent = [taxonomy.names[column] for column in np.flatnonzero(gaps[seen].all(axis=0))] if seen.any() else []
    if absent:
        listed = ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else "")
        notes.append(f"{len(absent)} emotions without any score {outcome} ({listed})")
    if rest := int(gaps.sum()) - len(absent) * int(seen.sum()):
        notes.append(f"{rest} scores of emotions that some rows do not name {outcome}")
    first = taxonomy.dimensions[0]
    given = scores[~np.isnan(scores)]
    is_short = first.low <= 0 and first.high > 1 and len(given) and given.min() >= 0 and given.max() <= 1
    if factor == 1 and is_short and (given != np.rint(given)).any():
        notes.append(
            f"all scores lie within 0..1 on a scale of {first.low:g}..{first.high:g}; --rescale stretches them"
        )
    return notes


def check_factors(factors: dict[str, float], annotators: Sequence[str], where: str) -> None:
    """Refuse a factor for an annotator that is not there.

    Raises:
        DataError: offers the nearest names.
    """
    for name, factor in factors.items():
        if name not in annotators:
            raise DataError(f"{where}: no annotator '{name}' to rescale; {nearest(name, annotators)}")
        if not (np.isfinite(factor) and factor > 0):
            raise DataError(f"{where}: factor {factor} for '{name}'; give a positive number")
