"""From which likeness on two images are copies, told from images that are none: the nearest of other persons.

Within one set, the most alike pictures of two persons show how alike pictures can be without being copies. The
threshold lies half way between the likeness that only 1 % of images exceed there, and 1, that of a perfect copy. A set
may hold copies itself, which must not raise it: the 1 % is that of a normal distribution (of Fisher's z) through the
median and the 90 % quantile, where that is the lower one.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import norm

from emonet_lightning.leakage.alignment import align, band
from emonet_lightning.leakage.candidates import Index, nearest

FALSE_ALARM_RATE = 0.01
"""Share of images without a copy whose nearest image may lie above the calibrated likeness, at most."""
MAX_IMAGES = 400
"""Drawn of each set; they are compared with the whole of it."""
MIN_IMAGES = 30
"""Fewer cannot say what 1 % of them exceed."""
CERTAIN = 0.985
"""Pairs as alike as this within a set are taken for copies, which are no example of images that are none."""
DEFAULT, LOWEST = 0.95, 0.8
"""Threshold where there are too few images to calibrate; the lowest one."""
DEFAULT_FEATURES = 0.95
_LAYOUTS = 3
_HIGH = 0.9


class Calibration(NamedTuple):
    """Thresholds, and what they were taken from."""

    threshold: float
    """Score of an alignment from which on two images are copies."""
    min_features: float
    """Similarity of features from which on two images are compared."""
    is_calibrated: bool
    sets: list[dict[str, Any]]
    """One of each set: name, num_images, num_copies_within, median, quantile, highest, num_above, scores."""


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
        found, likeness = _nearest_scores(index, drawn, rows, _same(drawn, rows, groups, pixels), advance)
        others = found[found < CERTAIN]
        features += likeness.tolist()
        sets.append(
            {
                "name": name,
                "num_images": len(others),
                "num_copies_within": int((found >= CERTAIN).sum()),
                "median": float(np.median(others)) if len(others) else None,
                "quantile": _upper(others) if len(others) else None,
                "highest": float(others.max()) if len(others) else None,
                "scores": [round(float(score), 4) for score in np.sort(others)],
            }
        )
    usable = [each["quantile"] for each in sets if each["num_images"] >= MIN_IMAGES]
    threshold = max(LOWEST, (1 + max(usable)) / 2) if usable else DEFAULT
    for each in sets:
        each["num_above"] = int((np.array(each["scores"]) >= threshold).sum())
    enough = len(features) >= MIN_IMAGES
    min_features = float(np.quantile(features, 1 - FALSE_ALARM_RATE)) if enough else DEFAULT_FEATURES
    return Calibration(threshold, min_features, bool(usable), sets)


def _upper(scores: np.ndarray) -> float:
    """Score that only a share `FALSE_ALARM_RATE` of images without copies exceed."""
    median, high = np.arctanh(np.quantile(scores, [0.5, _HIGH]))
    spread = (high - median) / norm.ppf(_HIGH)
    fitted = np.tanh(median + spread * norm.ppf(1 - FALSE_ALARM_RATE))
    return float(min(fitted, np.quantile(scores, 1 - FALSE_ALARM_RATE)))


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
) -> tuple[np.ndarray, np.ndarray]:
    """Best score of each drawn image that has another one, and similarity of its nearest features."""
    has_other = ~barred.all(axis=1)
    drawn, barred = drawn[has_other], barred[has_other]
    if not len(drawn):
        return np.empty(0), np.empty(0)
    views = [
        (False, nearest(index.layouts[drawn], index.layouts[rows], _LAYOUTS, barred)),
        (True, nearest(index.mirrored[drawn], index.layouts[rows], 1, barred)),
    ]
    likeness = np.empty(0)
    if index.features is not None:
        by_features = nearest(index.features[drawn], index.features[rows], 1, barred)
        likeness = by_features[1][:, 0]
        views.append((False, by_features))
    best = np.full(len(drawn), -1.0)
    for place, row in enumerate(drawn):
        own = band(index.pictures[row])
        for mirrored, (found, values) in views:
            for other, value in zip(found[place], values[place], strict=True):
                if value > -2:
                    score = align(own, band(index.pictures[rows[other]]), mirrored).score
                    best[place] = max(best[place], score)
        advance(1)
    return best, likeness
