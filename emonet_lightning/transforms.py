"""From a decoded image to the pixels that an encoder takes.

`PreprocessSpec` says size, resize rule and normalisation; transforms return uint8 pixels and the encoder normalises
them on its own device. The one trade-off: uint8 between resize and normalisation costs at most half a grey level and
quarters the bytes that are cached, copied and moved.
"""

import hashlib
import math
import os
import random
import threading
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch

from emonet_lightning.errors import UsageError

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # read when albumentations is imported: no call home

RESIZE_RULES = ("squash", "crop")
INTERPOLATIONS = ("bilinear", "bicubic")


@dataclass(frozen=True)
class PreprocessSpec:
    """Size, resize rule and normalisation of an encoder's input."""

    size: int
    """Side of the square input, pixels."""
    interpolation: str = "bicubic"
    """`bilinear` or `bicubic`, both antialiased as PIL does it."""
    resize: str = "squash"
    """`squash`: to size x size whatever the aspect; `crop`: shorter side to size / crop_pct, then the centre."""
    crop_pct: float = 1.0
    """Share of the resized shorter side that `crop` keeps, in (0, 1]."""
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Per-channel mean on the 0..1 scale."""
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Per-channel standard deviation on the 0..1 scale."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-able primitives."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}


class EvalTransform:
    """Resize (and crop) pixels to an encoder's input, as PIL would to within 2 grey levels; uint8 in, uint8 out."""

    def __init__(self, spec: PreprocessSpec) -> None:
        self.spec = spec

    def __call__(self, image: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Transform one image.

        Args:
            image: [H, W, 3] uint8 RGB, contiguous.
            out: [S, S, 3] uint8 that takes the pixels.

        Returns:
            [3, S, S] uint8, a view of [S, S, 3] (`out` where it was given): decoder, resize and encoder want channels
            last, and rearranging costs half as much again as resizing.
        """
        (height, width), window = self._geometry(*image.shape[:2])
        if image.shape[:2] != (height, width):
            pixels = torch.from_numpy(image)[None].permute(0, 3, 1, 2)
            image = _resized(pixels, (height, width), self.spec.interpolation)[0].permute(1, 2, 0).numpy()
        out = np.empty((self.spec.size, self.spec.size, 3), np.uint8) if out is None else out
        np.copyto(out, image[window])  # numpy copies in this thread; torch would start a team in each decoding thread
        return out.transpose(2, 0, 1)

    def on_device(self, images: torch.Tensor) -> torch.Tensor:
        """Transform images of one size where they lie, in float32, rounded to levels where PIL rounds.

        Args:
            images: [N, 3, H, W] uint8 on any device.

        Returns:
            [N, 3, S, S] uint8, within 2 levels of `__call__`.
        """
        (height, width), window = self._geometry(*images.shape[2:])
        parts = []
        for part in images.split(16):  # float32 takes four times the memory
            pixels = part.float()
            for size in ((part.shape[2], width), (height, width)):
                if pixels.shape[2:] != size:
                    pixels = _resized(pixels, size, self.spec.interpolation).round_().clamp_(0, 255)
            parts.append(pixels[:, :, window[0], window[1]].to(torch.uint8))
        return torch.cat(parts)

    def _geometry(self, height: int, width: int) -> tuple[tuple[int, int], tuple[slice, slice]]:
        """Height and width after resizing, and what is kept of it."""
        size = self.spec.size
        if self.spec.resize == "squash":
            return (size, size), (slice(size), slice(size))
        # torchvision's Resize(int) and CenterCrop, which both libraries use
        short = math.floor(size / self.spec.crop_pct)
        new_height = short if height <= width else int(short * height / width)
        new_width = short if width <= height else int(short * width / height)
        top, left = round((new_height - size) / 2), round((new_width - size) / 2)
        return (new_height, new_width), (slice(top, top + size), slice(left, left + size))


def _resized(pixels: torch.Tensor, size: tuple[int, int], interpolation: str) -> torch.Tensor:
    """Pixels [N, 3, H, W]; a permuted view of [N, H, W, 3] (N also where it is 1) is twice as fast as a copy."""
    return torch.nn.functional.interpolate(pixels, size, mode=interpolation, antialias=True)


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training image that leave its expression readable."""

    hflip: float = 0.5
    """Probability of a left-right mirror image."""
    rotation: float = 10.0
    """Largest angle either way, degrees."""
    scale: float = 0.1
    """Largest relative zoom either way."""
    shift: float = 0.05
    """Largest shift either way, share of the side."""
    brightness: float = 0.2
    """Largest relative change of brightness."""
    contrast: float = 0.2
    """Largest relative change of contrast."""
    blur: float = 0.1
    """Probability of a Gaussian blur."""
    noise: float = 0.1
    """Probability of sensor-like noise."""
    jpeg: float = 0.2
    """Probability of recompression at quality 40 to 95."""
    grey: float = 0.0
    """Probability of losing all colour."""

    def __post_init__(self) -> None:
        for option in fields(self):
            value, top = getattr(self, option.name), 180.0 if option.name == "rotation" else 1.0
            if not 0 <= value <= top:
                raise UsageError(f"augmentation.{option.name} is {value}; it must lie in 0..{top:g}")

    def to_dict(self) -> dict[str, float]:
        """Return the options as JSON-able primitives."""
        return asdict(self)


class TrainTransform:
    """EvalTransform followed by random changes that are a pure function of the pixels and a seed; safe in threads."""

    def __init__(self, spec: PreprocessSpec, augmentation: Augmentation) -> None:
        self.spec = spec
        self.augmentation = augmentation
        self._resize = EvalTransform(spec)
        self._local = threading.local()  # an albumentations pipeline holds its random state: one per thread

    def __getstate__(self) -> dict[str, Any]:
        return {"spec": self.spec, "augmentation": self.augmentation}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __call__(self, image: np.ndarray, seed: int, out: np.ndarray | None = None) -> np.ndarray:
        """Transform one image.

        Args:
            image: [H, W, 3] uint8 RGB, contiguous.
            seed: all randomness; see `sample_seed`.
            out: [S, S, 3] uint8 that takes the pixels.

        Returns:
            [3, S, S] uint8, a view of [S, S, 3] (`out` where it was given).
        """
        if not hasattr(self._local, "pipeline"):
            self._local.pipeline = _pipeline(self.augmentation)
        pipeline = self._local.pipeline
        # one generator for all steps: set_random_seed would give each step the same draws and so tie them together
        pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
        pixels: np.ndarray = pipeline(image=self._resize(image).transpose(1, 2, 0))["image"]
        if out is not None:
            np.copyto(out, pixels)
            pixels = out
        return pixels.transpose(2, 0, 1)


def _pipeline(options: Augmentation) -> Any:
    import albumentations
    import cv2

    moves = options.rotation or options.scale or options.shift
    return albumentations.Compose(
        [
            albumentations.HorizontalFlip(p=options.hflip),
            albumentations.Affine(
                rotate=(-options.rotation, options.rotation),
                scale=(1 - min(options.scale, 0.9), 1 + options.scale),
                translate_percent=(-options.shift, options.shift),
                border_mode=cv2.BORDER_REFLECT_101,
                p=1.0 if moves else 0.0,
            ),
            albumentations.RandomBrightnessContrast(
                brightness_limit=options.brightness,
                contrast_limit=options.contrast,
                p=1.0 if options.brightness or options.contrast else 0.0,
            ),
            albumentations.ToGray(p=options.grey),
            albumentations.GaussianBlur(sigma_limit=(0.5, 1.5), blur_limit=0, p=options.blur),
            albumentations.GaussNoise(std_range=(0.01, 0.05), p=options.noise),
            albumentations.ImageCompression(quality_range=(40, 95), p=options.jpeg),
        ]
    )


def sample_seed(seed: int, epoch: int, row: int, view: int) -> int:
    """Return the seed of one sample's random changes: a 63-bit hash, the same on every machine and process."""
    digest = hashlib.blake2b(f"{seed}/{epoch}/{row}/{view}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def seed_step(seed: int, device: torch.device) -> None:
    """Seed what a step draws, on the CPU and on its device."""
    # torch.manual_seed would note a stack trace per unused kind of device: 0.3 ms, and memory that grows
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
