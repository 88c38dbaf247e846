"""Whether two small pictures show the same photograph: correlation of their details once one is laid over the other.

Two people in one pose under one light look alike as wholes; details at a few pixels (eyes, hair, folds) agree only in
copies. So pictures are band-passed, and aligned by a small affine change, which undoes cropping, before they are
correlated (ECC, Evangelidis and Psarakis 2008).
"""

from typing import NamedTuple

import cv2
import numpy as np

FINE, COARSE = 0.8, 4.0
"""Standard deviations of the two Gaussian blurs whose difference is the band, in pixels of the small picture."""
MAX_SCALE, MAX_DEGREES, MAX_SHIFT = 1.12, 3.0, 0.08
"""Largest change that still counts as the same picture; a larger one aligns different faces. The shift is in sides."""
_EDGE = 2  # pixels a side that are left out: the warp has nothing to fill them with
_STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-4)


class Alignment(NamedTuple):
    """How well the second picture covers the first."""

    score: float
    """Correlation of details, -1..1."""
    mirrored: bool
    scale: float
    """Of the first's detail in the second: 1.04 where the first was cropped by 2 % on all sides."""
    shift: float
    """Of the centre, in sides."""


def band(picture: np.ndarray) -> np.ndarray:
    """Return a picture [S, S] uint8 band-passed, float32 [S, S]."""
    exact = picture.astype(np.float32)
    return np.asarray(cv2.GaussianBlur(exact, (0, 0), FINE) - cv2.GaussianBlur(exact, (0, 0), COARSE))


def align(first: np.ndarray, second: np.ndarray, mirrored: bool) -> Alignment:
    """Lay one band-passed picture [S, S] float32 over another, mirrored or not, and correlate where both are."""
    other = np.ascontiguousarray(second[:, ::-1]) if mirrored else second
    plain = Alignment(_correlation(first, other), mirrored, 1.0, 0.0)
    try:
        _, warp = cv2.findTransformECC(
            first,
            other,
            np.eye(2, 3, dtype=np.float32),
            cv2.MOTION_AFFINE,
            _STEPS,  # type: ignore[call-overload]
        )
    except cv2.error:  # nothing in common to begin with
        return plain
    side = first.shape[0]
    centre = np.full(2, (side - 1) / 2)
    linear = warp[:, :2]
    shift = float(np.abs(linear @ centre + warp[:, 2] - centre).max()) / side
    scales = np.linalg.svd(linear, compute_uv=False)
    turned = abs(np.degrees(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1])))
    if scales[0] > MAX_SCALE or scales[1] < 1 / MAX_SCALE or turned > MAX_DEGREES or shift > MAX_SHIFT:
        return plain
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(other, warp, (side, side), flags=flags)
    both = cv2.warpAffine(np.ones_like(other), warp, (side, side), flags=flags) > 0.99
    both[:_EDGE] = both[-_EDGE:] = False
    both[:, :_EDGE] = both[:, -_EDGE:] = False
    score = _correlation(first[both], laid[both])
    if score <= plain.score:
        return plain
    return Alignment(score, mirrored, float(np.sqrt(scales.prod())), shift)


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    a, b = first - first.mean(), second - second.mean()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum() / norm) if norm > 0 else 0.0
