"""Persons and prompts that stand on both sides of a comparison, by the names that `pack` recorded."""

from typing import Any

import numpy as np

from emonet_lightning.leakage.image_sets import Comparison, ImageSet, crosses

MAX_EXAMPLES = 20


def shared_names(sets: list[ImageSet], parts: list[Comparison]) -> dict[str, Any]:
    """Return `groups` and `prompts`: how many are on both sides of a test boundary, of how many images, and examples.

    Args:
        sets: whose images rows count in turn.
        parts: what is compared.
    """
    return {
        what: _shared(sets, parts, [value for each in sets for value in getattr(each, what)])
        for what in ("groups", "prompts")
    }


def _shared(sets: list[ImageSet], parts: list[Comparison], values: list[str | None]) -> dict[str, Any]:
    rows_of: dict[str, list[int]] = {}
    for row, value in enumerate(values):
        if value is not None:
            rows_of.setdefault(value, []).append(row)
    sides = np.full((len(parts), len(values)), -1, dtype=np.int8)
    for number, part in enumerate(parts):
        sides[number, part.rows], sides[number, part.among] = 0, 1
    labels = [f"{place}/{split}" for place, each in enumerate(sets) for split in each.splits]
    codes = np.unique(labels, return_inverse=True)[1]  # what decides whether a pair crosses
    shared: dict[str, int] = {}
    for value, rows in rows_of.items():
        inside: set[int] = set()
        for side in sides[:, rows] if len(rows) > 1 else ():
            first, second = (np.array(rows, dtype=np.int64)[side == which] for which in (0, 1))
            for code in np.unique(codes[first]):
                for other in np.unique(codes[second]):
                    a, b = first[codes[first] == code], second[codes[second] == other]
                    if crosses(sets, a[:1], b[:1])[0]:
                        inside.update(a.tolist(), b.tolist())
        if inside:
            shared[value] = len(inside)
    return {
        "known": bool(rows_of),
        "num_shared": len(shared),
        "num_images": sum(shared.values()),
        "examples": [name[:200] for name in sorted(shared, key=lambda name: (-shared[name], name))[:MAX_EXAMPLES]],
    }
