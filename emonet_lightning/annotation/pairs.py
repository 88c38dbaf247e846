"""Pairs to choose between: what two systems, or people, say about one image, one list on each side."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from emonet_lightning.annotation.interface import MAX_LINES
from emonet_lightning.errors import DataError, nearest
from emonet_lightning.json_lines import read_json_lines

SIDES = ("left", "right")


class Pair(NamedTuple):
    """Two lists about one image: what a judge sees."""

    pair: str
    """Its name."""
    image: str
    """Key in the packed set."""
    left: list[str]
    right: list[str]


def read_pairs(path: Path | str, keys: Sequence[str] | None = None) -> dict[str, Pair]:
    """Read JSON lines `{"pair": NAME, "image": KEY, "left": [LINE, ...], "right": [LINE, ...]}`.

    Args:
        path: the file.
        keys: of the images that there are, where the pairs are to be shown.

    Returns:
        Name -> pair, in the file's order.

    Raises:
        MissingInputError: no such file.
        DataError: names the line: a field that is missing, more or of another form, an unknown image, a pair named
            twice, more lines than the page shows.
    """
    path, known = Path(path), None if keys is None else set(keys)
    found: dict[str, Pair] = {}
    for _, where, record in read_json_lines(path):
        name, image = (record.get(field) for field in ("pair", "image"))
        if not isinstance(name, str) or not name or not isinstance(image, str):
            raise DataError(f"{where}: 'pair' and 'image' must be text; fields found: {', '.join(record)[:100]}")
        if set(record) != set(Pair._fields):  # whatever else stands there could tell who is who
            raise DataError(f"{where}: not a pair of a study ({', '.join(Pair._fields)}); give the file as designed")
        if known is not None and image not in known:
            raise DataError(f"{where}: image '{image}' is not in the set; {nearest(image, known)}")
        if name in found:
            raise DataError(f"{where}: pair '{name}' stands twice; give each its own name")
        most = None if keys is None else MAX_LINES
        found[name] = Pair(name, image, *(_lines(record[side], side, where, most) for side in SIDES))
    if not found:
        raise DataError(f"{path}: no pair in it; give the file as designed")
    return found


def _lines(value: object, side: str, where: str, most: int | None) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(line, str) for line in value):
        raise DataError(f"{where}: '{side}' must be a list of texts, the first one largest")
    if most is not None and len(value) > most:
        raise DataError(f"{where}: '{side}' must be a list of up to {most} texts, the first one largest")
    return value


def draw_swaps(questions: Sequence[tuple[str, Sequence[str]]], seed: int) -> dict[str, list[str]]:
    """Draw for whom the sides of a pair are swapped, with probability one half.

    Args:
        questions: id, and its raters.
        seed: of the draw.

    Returns:
        Question id -> raters who see it with its sides swapped.
    """
    rng = np.random.default_rng([seed, 1])
    return {name: [rater for rater in raters if rng.random() < 0.5] for name, raters in questions}
