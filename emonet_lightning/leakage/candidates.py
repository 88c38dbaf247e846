"""Pairs of images worth laying over each other: alike in layout, in hash or in the encoder's features.

All pairs are compared, in blocks, as matrix products: 2,500 images beside 20,000 take seconds. Only the few nearest of
each image are kept, since a copy is nearer than what merely looks alike.
"""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from emonet_lightning.leakage.alignment import band
from emonet_lightning.leakage.image_sets import Comparison
from emonet_lightning.leakage.prints import Prints
from emonet_lightning.packing.splits import find_near_duplicates

NEAREST = 4
"""Of each image by layout, as it is and mirrored."""
NEAREST_BY_FEATURES = 2
MAX_DISTANCE = 6
"""Differing bits of 64 up to which hashes make a pair."""
NEAREST_BY_HASH = 20
MIN_LAYOUT = 0.3
"""Correlation of layouts below which no crop of 2 % falls (0.38 and more on drawn faces and photographs)."""
LAYOUT = 16
"""Pixels a side of a layout."""
_BLOCK = 512
_ALIKE = 1e-9


class Index(NamedTuple):
    """What is compared of N images, normalised."""

    pictures: np.ndarray
    """As in `Prints`."""
    layouts: np.ndarray
    """float32 [N, LAYOUT * LAYOUT], of unit length."""
    mirrored: np.ndarray
    """Layouts of the mirror images."""
    hashes: np.ndarray
    """As in `Prints`."""
    features: np.ndarray | None
    """Centred on the mean of all images and on their own, float32 [N, D], of unit length."""


class Pairs(NamedTuple):
    """Candidates: what to lay over what."""

    first: np.ndarray
    """Row, int64 [P]."""
    second: np.ndarray
    mirrored: np.ndarray
    """Whether the second is to be mirrored, bool [P]."""


def build_index(prints: Prints) -> Index:
    """Return what is compared of images."""
    small = np.stack([cv2.resize(band(one), (LAYOUT, LAYOUT), interpolation=cv2.INTER_AREA) for one in prints.pictures])
    features = None if prints.features is None else _unit(prints.features - prints.features.mean(axis=0))
    count = len(small)
    return Index(
        prints.pictures,
        _unit(small.reshape(count, -1)),
        _unit(small[:, :, ::-1].reshape(count, -1)),
        prints.hashes,
        features,
    )


def find_candidates(
    index: Index, what: Comparison, min_features: float, advance: Callable[[int], None] = lambda count: None
) -> Pairs:
    """Return pairs that may be copies: the nearest of each of `what.rows` among `what.among`.

    Args:
        index: of all images.
        what: rows to compare.
        min_features: similarity of features from which on they make a pair.
        advance: told of finished rows.
    """
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    among = what.among
    for start in range(0, len(what.rows), _BLOCK):
        rows = what.rows[start : start + _BLOCK]
        for mirrored, layouts in ((False, index.layouts), (True, index.mirrored)):
            near, likeness = nearest(layouts[rows], index.layouts[among], NEAREST)
            found += _listed(rows, among, near, likeness >= MIN_LAYOUT, mirrored)
        if index.features is not None:
            near, likeness = nearest(index.features[rows], index.features[among], NEAREST_BY_FEATURES)
            for mirrored in (False, True):
                found += _listed(rows, among, near, likeness >= min_features, mirrored)
        advance(len(rows))
    for view in (0, 1):
        near_pairs = find_near_duplicates(index.hashes[what.rows, view], index.hashes[among, 0], MAX_DISTANCE)
        position = np.arange(len(near_pairs)) - np.searchsorted(near_pairs[:, 0], near_pairs[:, 0])
        near_pairs = near_pairs[position < NEAREST_BY_HASH]
        found.append((what.rows[near_pairs[:, 0]], among[near_pairs[:, 1]], np.full(len(near_pairs), bool(view))))
    first, second, mirrored_all = (np.concatenate(part) for part in zip(*found, strict=True))
    unique = np.unique(np.stack([first, second, mirrored_all.astype(np.int64)], axis=1), axis=0)
    return Pairs(unique[:, 0], unique[:, 1], unique[:, 2].astype(bool))


def nearest(
    rows: np.ndarray, among: np.ndarray, count: int, barred: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the places [R, k] and likenesses [R, k] of the nearest of each row, the nearest first.

    Args:
        rows: unit vectors [R, D].
        among: unit vectors [M, D].
        count: how many; k is at most M.
        barred: pairs that do not count, bool [R, M].
    """
    likeness = rows @ among.T
    if barred is not None:
        likeness[barred] = -2
    count = min(count, likeness.shape[1])
    found = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
    values = np.take_along_axis(likeness, found, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(values, order, axis=1)


def _listed(
    rows: np.ndarray, among: np.ndarray, near: np.ndarray, keep: np.ndarray, mirrored: bool
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    first = np.broadcast_to(rows[:, None], near.shape)[keep]
    return [(first, among[near][keep], np.full(len(first), mirrored))]


def _unit(vectors: np.ndarray) -> np.ndarray:
    centred = vectors.astype(np.float32)
    centred = centred - centred.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), _ALIKE))
