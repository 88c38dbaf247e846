"""Whatever a caller has of an image, as upright RGB pixels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from emonet_lightning.decoding import decode_image, to_rgb
from emonet_lightning.errors import DataError
from emonet_lightning.io import read_bytes
from emonet_lightning.packing.images import MAX_BYTES

ImageLike = Image.Image | np.ndarray | str | Path | bytes


def read_image(name: str, image: ImageLike | Callable[[], ImageLike]) -> np.ndarray:
    """Return an image's pixels, upright, [H, W, 3] uint8 RGB.

    Args:
        name: what to call it in errors.
        image: a path, an encoded file, a PIL image, pixels, or a function that returns one of them.

    Raises:
        MissingInputError: no such file.
        DataError: too large, unreadable, or an array of another type or shape.
    """
    if callable(image):
        image = image()
    if isinstance(image, str | Path):
        if (path := Path(image)).is_file() and (size := path.stat().st_size) > MAX_BYTES:
            raise DataError(f"{name}: {size} bytes; at most {MAX_BYTES} are accepted; replace or remove it")
        image = read_bytes(image)
    if isinstance(image, bytes):
        image = decode_image(image, name)
    elif isinstance(image, Image.Image):
        image = np.array(to_rgb(ImageOps.exif_transpose(image)))
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise DataError(f"{name}: a path, a PIL image or a uint8 array [H, W, 3] is needed, got {found}")
    return image
