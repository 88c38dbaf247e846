"""Pairs to choose between: what two systems, or people, say about one image, one list on each side."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from emonet_lightning.annotation.interface import MAX_LINES
from emonet_lightning.errors import DataError, nearest
from emonet_lightning.json_lines import read_json_lines


class Pair(NamedTuple):
    """Two lists about one image."""

    name: str
    image: str
    """Key in the packed set."""
    left: tuple[str, ...]
    right: tuple[str, ...]


def read_pairs(path: Path | str, keys: Sequence[str]) -> list[Pair]:
    """Read JSON lines `{"pair": NAME, "image": KEY, "left": [LINE, ...], "right": [LINE, ...]}`.

    Args:
        path: the file.
        keys: of the images that there are.

    Raises:
        MissingInputError: no such file.
        DataError: names the line: a field that is missing or of another form, an unknown image, a pair named twice.
    """
    path, known = Path(path), set(keys)
    found: dict[str, Pair] = {}
    for _, where, record in read_json_lines(path):
        name, image = (record.get(field) for field in ("pair", "image"))
        if not isinstance(name, str) or not name or not isinstance(image, str):
            raise DataError(f"{where}: 'pair' and 'image' must be text; fields found: {', '.join(record)[:100]}")
        if image not in known:
            raise DataError(f"{where}: image '{image}' is not in the set; {nearest(image, known)}")
        if name in found:
            raise DataError(f"{where}: pair '{name}' stands twice; give each its own name")
        sides = [_lines(record.get(side), side, where) for side in ("left", "right")]
        found[name] = Pair(name, image, *sides)
    if not found:
        raise DataError(f"{path}: no pair in it")
    return list(found.values())


def _lines(value: object, side: str, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(line, str) for line in value) or len(value) > MAX_LINES:
        raise DataError(f"{where}: '{side}' must be a list of up to {MAX_LINES} texts, the first one largest")
    return tuple(value)


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
