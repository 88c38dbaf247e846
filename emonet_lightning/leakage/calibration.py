"""From which likeness on two images are copies, told from images that are none: the nearest of other persons.

Within one set, the most alike pictures of two persons show how alike pictures can be without being copies. The
threshold lies half way between the likeness that 1 % of images exceed there, and 1, that of a perfect copy. A set may
hold copies itself, which must not raise it. An image with two of them has a third neighbour that is none: scores beyond
half way from those of third neighbours to 1 are left out. A set whose images have many copies each cannot tell.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from emonet_lightning.leakage.alignment import align, band
from emonet_lightning.leakage.candidates import Index, nearest

FALSE_ALARM_RATE = 0.01
"""Share of images without a copy whose nearest image may lie above the calibrated likeness, at most."""
MAX_IMAGES = 400
"""Drawn of each set; they are compared with the whole of it."""
MIN_IMAGES = 30
"""Fewer cannot say what 1 % of them exceed."""
DEFAULT, LOWEST = 0.95, 0.8
"""Threshold where there are too few images to calibrate; the lowest one."""
DEFAULT_FEATURES = 0.95
CERTAIN = 0.985
"""Score of third neighbours from which on they are copies, too."""
_LAYOUTS = 4
_SPARED = 2  # neighbours that may be copies


class Calibration(NamedTuple):
    """Thresholds, and what they were taken from."""

    threshold: float
    """Score of an alignment from which on two images are copies."""
    min_features: float
    """Similarity of features from which on two images are compared."""
    copy_features: float | None
    """Similarity of features below which an unmirrored pair that scores only just above the threshold is no copy; None
    where nothing can tell."""
    is_calibrated: bool
    sets: list[dict[str, Any]]
    """One of each set: name, num_images, median, quantile, num_above (the threshold), scores."""


def calibrate(
    index: Index,
    rows_of: dict[str, np.ndarray],
    groups: Sequence[str | None],
    pixels: Sequence[str],
    seed: int,
    advance: Callable[[int], None],
) -> Calibration:
    """Find the thresholds.

    Args:
        index: of all images [N].
        rows_of: name of a set -> its rows.
        groups: person (or prompt) of each image [N]; None: an image of its own.
        pixels: digest of each image's pixels [N].
        seed: of the images that are drawn.
        advance: told of each finished image.
    """
    rng = np.random.default_rng(seed)
    sets: list[dict[str, Any]] = []
    features: list[float] = []
    for name, rows in rows_of.items():
        drawn = np.sort(rng.choice(rows, min(MAX_IMAGES, len(rows)), replace=False))
        found, third, likeness = _nearest_scores(index, drawn, rows, _same(drawn, rows, groups, pixels), advance)
        beyond = float(np.quantile(third, 1 - FALSE_ALARM_RATE)) if len(third) else 1.0
        is_none = found < half_way(beyond)
        others = found[is_none]
        can_tell = len(others) >= MIN_IMAGES and beyond < CERTAIN
        features += likeness[is_none].tolist() if index.features is not None else []
        sets.append(
            {
                "name": name,
                "num_images": len(found),
                "median": float(np.median(others)) if len(others) else None,
                "quantile": float(np.quantile(others, 1 - FALSE_ALARM_RATE)) if can_tell else None,
                "scores": [round(float(score), 4) for score in np.sort(found)],
            }
        )
    usable = [each["quantile"] for each in sets if each["quantile"] is not None]
    threshold = max(LOWEST, half_way(max(usable))) if usable else DEFAULT
    for each in sets:
        each["num_above"] = int((np.array(each["scores"]) >= threshold).sum())
    enough = len(features) >= MIN_IMAGES
    min_features = float(np.quantile(features, 1 - FALSE_ALARM_RATE)) if enough else DEFAULT_FEATURES
    # two persons of one outline may agree in all lines, but are not nearer to an encoder than strangers mostly are
    copy_features = float(np.median(features)) if enough else None
    return Calibration(threshold, min_features, copy_features, bool(usable), sets)


def half_way(likeness: float) -> float:
    """Return what lies half way from a likeness to 1, that of a perfect copy."""
    return (1 + likeness) / 2


def _same(drawn: np.ndarray, rows: np.ndarray, groups: Sequence[str | None], pixels: Sequence[str]) -> np.ndarray:
    """Pairs of one image, of equal pixels or of one group: bool [D, R]."""
    codes = []
    for values in (groups, pixels):
        own = [f"\0{row}" if values[row] is None else str(values[row]) for row in rows]
        codes.append(np.unique(own, return_inverse=True)[1])
    places = np.searchsorted(rows, drawn)
    return np.asarray((codes[0][places][:, None] == codes[0][None]) | (codes[1][places][:, None] == codes[1][None]))


def _nearest_scores(
    index: Index, drawn: np.ndarray, rows: np.ndarray, barred: np.ndarray, advance: Callable[[int], None]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each drawn image that has another one: its best score, its third neighbour's, and that of nearest features."""
    has_other = ~barred.all(axis=1)
    drawn, barred = drawn[has_other], barred[has_other]
    if not len(drawn):
        return np.empty(0), np.empty(0), np.empty(0)
    views = [
        (False, nearest(index.layouts[drawn], index.layouts[rows], _LAYOUTS, barred)),
        (True, nearest(index.mirrored[drawn], index.layouts[rows], 1, barred)),
    ]
    likeness = np.empty(0)
    if index.features is not None:
        by_features = nearest(index.features[drawn], index.features[rows], 1, barred)
        likeness = by_features[1][:, 0]
        views.append((False, by_features))
    best, third = np.empty(len(drawn)), np.empty(len(drawn))
    for place, row in enumerate(drawn):
        own = band(index.pictures[row])
        scores = [
            [
                align(own, band(index.pictures[rows[other]]), mirrored).score
                for other, value in zip(found[place], values[place], strict=True)
                if value > -2  # barred pairs come last
            ]
            for mirrored, (found, values) in views
        ]
        best[place] = max(score for each in scores for score in each)
        third[place] = sorted(scores[0], reverse=True)[: _SPARED + 1][-1]
        advance(1)
    return best, third, likeness
