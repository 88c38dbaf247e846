"""Corruptions of pictures at severities 1 to 5, made by albumentations; numbers stand in `conditions.yaml`.

Each is a pure function of pixels, severity, name and seed.
"""

import os
import random
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import cv2
import numpy as np

from emonet_lightning.errors import DataError
from emonet_lightning.io import fingerprint
from emonet_lightning.robustness.conditions import Corruption

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # read when albumentations is imported: no call home
_SIDE = 224.0
"""Shorter side of the pictures that lengths in the table are meant for."""
_LEAST_SIDE = 4
"""Pixels below which a corruption would leave nothing."""


@cache
def _library() -> Any:
    import albumentations  # a second; and only once the environment is set

    return albumentations


def corrupt(pixels: np.ndarray, corruption: Corruption, severity: int, name: str, seed: int = 0) -> np.ndarray:
    """Corrupt one picture.

    Args:
        pixels: uint8 [H, W, 3] RGB.
        corruption: of the table.
        severity: 1 to 5; 0 returns the picture as it is.
        name: of the picture; with the seed it decides all chance.
        seed: of all pictures.

    Returns:
        uint8 [H, W, 3].

    Raises:
        DataError: the picture has too few pixels.
    """
    if severity == 0:
        return pixels
    value, side = corruption.severities[severity - 1], min(pixels.shape[:2])
    if side < _LEAST_SIDE:
        size = f"{pixels.shape[1]}x{pixels.shape[0]} pixels"
        raise DataError(f"{name}: {size} are too few to corrupt, {_LEAST_SIDE} a side are needed; remove it")
    transform = _TRANSFORMS[corruption.name](value, side)
    drawn = int(fingerprint([seed, name])[:15], 16)
    transform.set_random_state(np.random.default_rng(drawn), random.Random(drawn))
    changed: np.ndarray = transform(image=pixels)["image"]
    return changed


def _blur(value: float, side: int) -> Any:
    sigma = value * side / _SIDE
    return _library().GaussianBlur(sigma_limit=(sigma, sigma), blur_limit=0, p=1)


def _motion(value: float, side: int) -> Any:
    length = max(3, round(value * side / _SIDE) // 2 * 2 + 1)
    return _library().MotionBlur(blur_limit=(length, length), allow_shifted=False, p=1)


def _noise(value: float, side: int) -> Any:
    return _library().GaussNoise(std_range=(value, value), p=1)


def _impulses(value: float, side: int) -> Any:
    return _library().SaltAndPepper(amount=(value, value), p=1)


def _jpeg(value: float, side: int) -> Any:
    return _library().ImageCompression(quality_range=(int(value), int(value)), p=1)


def _pixelate(value: float, side: int) -> Any:
    shape = {"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_NEAREST}
    return _library().Downscale(scale_range=(value, value), interpolation_pair=shape, p=1)


def _brightness(sign: float) -> Callable[[float, int], Any]:
    def make(value: float, side: int) -> Any:
        limit = (sign * value, sign * value)
        return _library().RandomBrightnessContrast(brightness_limit=limit, contrast_limit=(0, 0), p=1)

    return make


def _contrast(value: float, side: int) -> Any:
    """Towards the picture's own mean, as in ImageNet-C."""

    def fade(image: np.ndarray, **_: Any) -> np.ndarray:
        mean = image.mean(axis=(0, 1), keepdims=True)
        return np.clip((image - mean) * value + mean, 0, 255).round().astype(np.uint8)

    return _library().Lambda(image=fade, p=1)


def _fog(value: float, side: int) -> Any:
    return _library().RandomFog(fog_coef_range=(value, value), alpha_coef=0.1, p=1)


def _move(**change: Callable[[float], Any]) -> Callable[[float, int], Any]:
    """Affine motion of the picture; its edge is drawn out to fill what is left."""

    def make(value: float, side: int) -> Any:
        still = {"rotate": (0, 0), "translate_percent": (0, 0), "scale": (1, 1)}
        moved = {name: of(value) for name, of in change.items()}
        return _library().Affine(**{**still, **moved}, border_mode=cv2.BORDER_REPLICATE, p=1)

    return make


def _cutout(value: float, side: int) -> Any:
    length = max(1, round(value * side))
    return _library().CoarseDropout(
        num_holes_range=(1, 1), hole_height_range=(length, length), hole_width_range=(length, length), fill=0, p=1
    )


_TRANSFORMS: Mapping[str, Callable[[float, int], Any]] = {
    "gaussian_blur": _blur,
    "motion_blur": _motion,
    "gaussian_noise": _noise,
    "impulse_noise": _impulses,
    "jpeg": _jpeg,
    "pixelate": _pixelate,
    "brighter": _brightness(1.0),
    "darker": _brightness(-1.0),
    "contrast": _contrast,
    "fog": _fog,
    "rotate": _move(rotate=lambda value: (value, value)),
    "shift": _move(translate_percent=lambda value: {"x": (value, value), "y": (0, 0)}),
    "smaller": _move(scale=lambda value: (value, value)),
    "cutout": _cutout,
}
