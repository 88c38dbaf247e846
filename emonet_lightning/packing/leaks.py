"""Images that two packed sets share: training and test sets must have none in common."""

from typing import NamedTuple

import numpy as np

from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.packing.splits import find_near_duplicates


class SharedImage(NamedTuple):
    """One pair of images that are the same, or nearly."""

    row_a: int
    row_b: int
    distance: int | None
    """Differing bits of the perceptual hash; None for equal bytes in a set that was packed without hashes."""


def shared_images(a: PackedSet, b: PackedSet, max_distance: int = 4) -> list[SharedImage]:
    """Find images of one set that are in the other: equal bytes, or perceptual hashes within a distance.

    Args:
        a: one set.
        b: the other.
        max_distance: differing bits of 64 up to which images count as the same.

    Returns:
        Pairs, by rising row of `a` and then of `b`. Without hashes in either set only equal bytes are found.
    """
    rows_of: dict[str, list[int]] = {}
    for row, digest in enumerate(b.image_sha256):
        rows_of.setdefault(digest, []).append(row)
    pairs = {(row, other) for row, digest in enumerate(a.image_sha256) for other in rows_of.get(digest, ())}
    if a.phash is None or b.phash is None:
        return [SharedImage(*pair, None) for pair in sorted(pairs)]
    pairs |= {(int(row), int(other)) for row, other in find_near_duplicates(a.phash, b.phash, max_distance)}
    return [
        SharedImage(row, other, int(np.bitwise_count(a.phash[row] ^ b.phash[other]))) for row, other in sorted(pairs)
    ]
