"""Personal baselines: each person's mean score on their own neutral pictures, subtracted in place of one mean for all.

The released post-processing subtracts the mean of neutral faces from every image's scores, the same for everyone. A
face that looks stern at rest is then stern in every picture; its own neutral pictures take that away.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from emonet_lightning.errors import DataError, UsageError, nearest
from emonet_lightning.ratings.tables import find_column, read_table

_WORDS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False, "": False}


class Baseline(NamedTuple):
    """What is subtracted from each row."""

    means: np.ndarray
    """[N, K] float64."""
    num_neutral: dict[str, int]
    """Person -> neutral rows that the mean is of."""
    without: list[str]
    """Persons without a neutral row, and rows of nobody by their name: the general means are theirs."""


def personal_means(
    scores: np.ndarray,
    persons: Sequence[str | None],
    neutral: Sequence[bool],
    names: Sequence[str],
    general: np.ndarray | None,
) -> Baseline:
    """Compute each row's baseline: the mean score of its person's neutral rows.

    Args:
        scores: [N, K]; a row of NaN is no neutral row.
        persons: of each row; None: nobody that is known.
        neutral: whether a row shows its person's neutral face.
        names: of the rows, for errors.
        general: means [K] for persons without a neutral row; None: such a person is an error.

    Raises:
        DataError: a person without a neutral row, where there are no general means for them; names the first ones.
    """
    seen = np.isfinite(scores).all(axis=1)
    means = np.empty(scores.shape, dtype=np.float64)
    num_neutral: dict[str, int] = {}
    without: dict[str, None] = {}
    rows_of: dict[str | None, list[int]] = {}
    for number, person in enumerate(persons):
        rows_of.setdefault(person, []).append(number)
    for person, rows in rows_of.items():
        own = [] if person is None else [row for row in rows if neutral[row] and seen[row]]
        if person is not None and own:
            num_neutral[person] = len(own)
            means[rows] = scores[own].astype(np.float64).mean(axis=0)
            continue
        without.update(dict.fromkeys([names[row] for row in rows] if person is None else [person]))
        if general is not None:
            means[rows] = general
    if without and general is None:
        listed = ", ".join(list(without)[:3]) + (", ..." if len(without) > 3 else "")
        raise DataError(
            f"{len(without)} without a neutral picture ({listed}); mark one of each as neutral, or use "
            "--without_neutral global"
        )
    return Baseline(means, num_neutral, list(without))


def read_neutral_file(path: Path | str, files: Sequence[str]) -> dict[str, tuple[str, bool]]:
    """Read who is in each image and whether the face is neutral.

    Args:
        path: CSV file with columns image, person and neutral (yes or no).
        files: names of the images there are; one that is none of them is refused.

    Returns:
        Image -> (person, whether neutral).

    Raises:
        MissingInputError: no such file.
        DataError: a column or value that is not as above, an image twice, or one that is not there; names the line.
    """
    table = read_table(path)
    image = find_column(table, "image", {})
    assert image is not None
    places = {}
    for column in ("person", "neutral"):
        if column not in table.header:
            raise DataError(f"{path}: no column '{column}'; columns are image, person and neutral (yes or no)")
        places[column] = table.header.index(column)
    known, found = set(files), dict[str, tuple[str, bool]]()
    for number, cells in enumerate(table.rows):
        name, person = cells[image].strip(), cells[places["person"]].strip()
        word = cells[places["neutral"]].strip().lower()
        if name not in known:
            raise DataError(f"{table.where(number)}: image '{name}' is not in the input; {nearest(name, files)}")
        if name in found:
            raise DataError(f"{table.where(number)}: image '{name}' is there already; keep one line")
        if not person:
            raise DataError(f"{table.where(number)}: image '{name}' has no person; name one, or leave the line out")
        if word not in _WORDS:
            raise DataError(f"{table.where(number)}: neutral is '{word}'; write yes or no")
        found[name] = (person, _WORDS[word])
    return found


def neutral_range(text: str) -> Callable[[int, float], bool]:
    """Read which frames of a video show neutral faces: `0-150` numbers frames, `0-5s` is seconds, ends included.

    Returns:
        A function of a frame's number and seconds.

    Raises:
        UsageError: neither.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)(s?)", text.replace(" ", ""))
    if match is None or float(match[1]) > float(match[2]) or (not match[3] and "." in text):
        raise UsageError(f"--neutral_frames {text}: write frames as 0-150, or seconds as 0-5s")
    low, high, seconds = float(match[1]), float(match[2]), bool(match[3])
    return lambda frame, second: low <= (second if seconds else frame) <= high


def assigned(
    keys: Sequence[tuple[str, int | None]], told: Mapping[str, tuple[str, bool]]
) -> tuple[list[str | None], list[bool]]:
    """Return person and neutrality of rows (file, face), as a neutral file tells them of each file's largest face."""
    entries = [told.get(file) if face in (None, 0) else None for file, face in keys]
    return [entry[0] if entry else None for entry in entries], [bool(entry and entry[1]) for entry in entries]
