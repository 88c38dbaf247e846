"""From pairs that were laid over each other to copies, each with its kind."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from emonet_lightning.leakage.alignment import Alignment
from emonet_lightning.leakage.calibration import Calibration, half_way
from emonet_lightning.leakage.candidates import Index, Pairs
from emonet_lightning.leakage.image_sets import Comparison, ImageSet
from emonet_lightning.leakage.prints import Prints

KINDS = {
    "bytes": "the same file",
    "pixels": "another file of the same pixels",
    "re-encoded": "a copy of the same size, saved anew",
    "resized": "a copy of another size",
    "cropped": "a copy that shows a part of the other, or is shifted",
    "flipped": "a mirrored copy, whatever else was done to it",
}
PARTNERS = 20
"""Exact copies that are listed of one image."""
MAX_REJECTED = 12
_STILL, _SHIFTED = 0.012, 0.01
"""Change of scale, and shift in sides, from which on a copy is called cropped."""


class Pair(NamedTuple):
    """Two images, the lower row first."""

    first: int
    second: int
    kind: str
    found: Alignment
    hash_distance: int
    feature_similarity: float | None


def equal_pixels(prints: Prints, part: Comparison) -> Iterable[tuple[int, int]]:
    """Pairs of equal pixels; those of equal bytes are among them."""
    rows_of: dict[str, list[int]] = {}
    for row in part.among.tolist():
        rows_of.setdefault(prints.pixels_sha256[row], []).append(row)
    for row in part.rows.tolist():
        for other in rows_of.get(prints.pixels_sha256[row], ())[:PARTNERS]:
            yield row, other


def sort_out(
    index: Index,
    prints: Prints,
    pairs: Pairs,
    aligned: list[Alignment],
    exact: list[tuple[int, int]],
    calibration: Calibration,
) -> tuple[list[Pair], list[Pair], int]:
    """Copies, the best of what is none, and how many are alike by features only."""
    best: dict[tuple[int, int], Alignment] = {}
    for a, b, one in zip(pairs.first.tolist(), pairs.second.tolist(), aligned, strict=True):
        if (a, b) not in best or one.score > best[a, b].score:
            best[a, b] = one
    same = Alignment(1.0, False, 1.0, 0.0)
    best |= dict.fromkeys(exact, same)
    equal = set(exact)
    listed: list[Pair] = []
    others: list[Pair] = []
    for (a, b), one in best.items():
        first, second = min(a, b), max(a, b)
        view = int(one.mirrored)
        distance = int(np.bitwise_count(index.hashes[first, view] ^ index.hashes[second, 0]))
        features = None if index.features is None else float(index.features[first] @ index.features[second])
        floor = None if one.mirrored or one.score >= half_way(calibration.threshold) else calibration.copy_features
        stranger = features is not None and floor is not None and features < floor
        is_copy = (a, b) in equal or (one.score >= calibration.threshold and not stranger)
        pair = Pair(first, second, _kind(prints, first, second, one, (a, b) in equal), one, distance, features)
        (listed if is_copy else others).append(pair)
    num_alike = sum(
        pair.feature_similarity is not None and pair.feature_similarity >= calibration.min_features for pair in others
    )
    others.sort(key=lambda pair: -pair.found.score)
    return listed, others[:MAX_REJECTED], num_alike


def _kind(prints: Prints, first: int, second: int, found: Alignment, is_equal: bool) -> str:
    if is_equal:
        return "bytes" if prints.bytes_sha256[first] == prints.bytes_sha256[second] else "pixels"
    if found.mirrored:
        return "flipped"
    if abs(found.scale - 1) > _STILL or found.shift > _SHIFTED:
        return "cropped"
    return "re-encoded" if (prints.sizes[first] == prints.sizes[second]).all() else "resized"


def describe(pair: Pair, across: bool, sets: list[ImageSet], starts: np.ndarray) -> dict[str, Any]:
    """Return a pair as leaks.json holds it."""

    def image(row: int) -> dict[str, Any]:
        place = int(np.searchsorted(starts, row, side="right")) - 1
        own = row - int(starts[place])
        return {"set": place, "key": sets[place].keys[own], "split": sets[place].splits[own]}

    return {
        "first": image(pair.first),
        "second": image(pair.second),
        "kind": pair.kind,
        "score": round(pair.found.score, 4),
        "mirrored": pair.found.mirrored,
        "scale": round(pair.found.scale, 4),
        "shift": round(pair.found.shift, 4),
        "hash_distance": pair.hash_distance,
        "feature_similarity": None if pair.feature_similarity is None else round(pair.feature_similarity, 4),
        "across_test_boundary": across,
    }
