"""From an encoded image to the pixels that an encoder takes.

`PreprocessSpec` says size, resize rule and normalisation; transforms return uint8 pixels and the encoder normalises
them on its own device. The one trade-off: uint8 between resize and normalisation costs at most half a grey level and
quarters the bytes that are cached, copied and moved.
"""

import contextlib
import hashlib
import io
import math
import os
import random
import threading
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import simplejpeg
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from emonet_lightning.errors import DataError, UsageError

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # read when albumentations is imported: no call home

RESIZE_RULES = ("squash", "crop")
INTERPOLATIONS = ("bilinear", "bicubic")
MAX_PIXELS = 50_000_000
MAX_ASPECT = 50
DECODER = "rgb-1"
"""Version of `decode_image` and `EvalTransform`, part of every cache key: raise it when their pixels change."""


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


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decode a JPEG, PNG or WebP file, upright, to RGB.

    16-bit images are scaled to 8 bits, transparency is laid on white, of an animation the first frame is taken.

    Args:
        data: the encoded file.
        name: what to call it in errors.

    Returns:
        [H, W, 3] uint8.

    Raises:
        DataError: another format, damaged, above 50 megapixels, or thinner than 1:50; the header is looked at first.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as image:  # reads the header only
            _check_size(*image.size, name)
            if image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L") and not _is_turned(image, data):
                # an unusual but readable JPEG is left to PIL
                with contextlib.suppress(ValueError):
                    return simplejpeg.decode_jpeg(data, colorspace="RGB")
            return np.array(to_rgb(ImageOps.exif_transpose(image)))
    except DataError:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error and their own
        reason = "format not recognised" if isinstance(error, UnidentifiedImageError) else _one_line(error)
        raise DataError(f"{name}: not a readable JPEG, PNG or WebP image ({reason}); replace or remove it") from error


def _is_turned(image: Image.Image, data: bytes) -> bool:
    return b"Exif\x00\x00" in data and image.getexif().get(0x0112, 1) != 1


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise DataError(f"{name}: {width} x {height} pixels; at most {MAX_PIXELS // 10**6} million are accepted")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise DataError(f"{name}: {width} x {height} pixels is a strip, not a picture; remove it")


def to_rgb(image: Image.Image) -> Image.Image:
    """Return 8-bit RGB: 16-bit grey is scaled, not clipped; transparency is laid on white."""
    if image.mode.startswith("I"):  # 16-bit grey: PIL's own conversion clips at 255
        grey = np.asarray(image).astype(np.float64) / 257
        return Image.fromarray(grey.round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


class EvalTransform:
    """Resize (and crop) pixels to an encoder's input, as PIL would to within 2 grey levels; uint8 in, uint8 out."""

    def __init__(self, spec: PreprocessSpec) -> None:
        self.spec = spec

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Transform one image.

        Args:
            image: [H, W, 3] uint8 RGB.

        Returns:
            [3, S, S] uint8.
        """
        size = self.spec.size
        height, width = image.shape[:2]
        if self.spec.resize == "squash":
            return _resize(image, size, size, self.spec.interpolation)
        # torchvision's Resize(int) and CenterCrop, which both libraries use
        short = math.floor(size / self.spec.crop_pct)
        new_height = short if height <= width else int(short * height / width)
        new_width = short if width <= height else int(short * width / height)
        pixels = _resize(image, new_height, new_width, self.spec.interpolation)
        top, left = round((new_height - size) / 2), round((new_width - size) / 2)
        return np.ascontiguousarray(pixels[:, top : top + size, left : left + size])


def _resize(image: np.ndarray, height: int, width: int, interpolation: str) -> np.ndarray:
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]  # a channels-last view, which the uint8 kernel wants
    if pixels.shape[2:] != (height, width):
        pixels = torch.nn.functional.interpolate(pixels, (height, width), mode=interpolation, antialias=True)
    # numpy copies in this thread; torch would start a team of threads in each decoding thread
    return np.ascontiguousarray(pixels[0].numpy())


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

    def __call__(self, image: np.ndarray, seed: int) -> np.ndarray:
        """Transform one image.

        Args:
            image: [H, W, 3] uint8 RGB.
            seed: all randomness; see `sample_seed`.

        Returns:
            [3, S, S] uint8.
        """
        if not hasattr(self._local, "pipeline"):
            self._local.pipeline = _pipeline(self.augmentation)
        pipeline = self._local.pipeline
        # one generator for all steps: set_random_seed would give each step the same draws and so tie them together
        pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
        pixels = np.ascontiguousarray(self._resize(image).transpose(1, 2, 0))
        return np.ascontiguousarray(pipeline(image=pixels)["image"].transpose(2, 0, 1))


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
