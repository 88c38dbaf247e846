"""Encoded images as found: which format, whether whole, and how alike.

Only JPEG, PNG and WebP of bounded size are accepted, and the header is read before anything is decoded: a small file
can claim a picture that fills the memory.
"""

import io
import warnings
from typing import Literal

import imagehash
from PIL import Image, ImageFile

from emonet_lightning.decoding import MAX_PIXELS  # what is packed must be what can be decoded later
from emonet_lightning.errors import DataError, EnvironmentProblem

MAX_BYTES = 64 * 2**20
EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
_HASH_SIDE = 128  # JPEGs are decoded at the next larger power-of-two fraction: 4 times faster, the hash needs 32 pixels


def inspect_image(content: bytes, name: str, perceptual_hash: bool) -> tuple[Literal["jpg", "png", "webp"], int | None]:
    """Check that an image is whole and name its format.

    Args:
        content: the encoded file.
        name: sample or file named in errors.
        perceptual_hash: also compute the 64-bit DCT hash (ImageHash `phash`); decodes the image fully.

    Returns:
        The file extension of its format, and the hash as an unsigned integer, or None.

    Raises:
        DataError: not an image of an accepted format, too large, or truncated.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise EnvironmentProblem("PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set: damaged images would pass; unset it")
    if len(content) > MAX_BYTES:
        raise DataError(f"{name}: image file of {len(content)} bytes; at most {MAX_BYTES} are accepted")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own bound is lower
            image = Image.open(io.BytesIO(content), formats=tuple(EXTENSIONS))
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"{name}: {image.width} x {image.height} pixels; at most {MAX_PIXELS} are accepted")
            extension = EXTENSIONS[str(image.format)]
            if extension == "jpg":
                image.draft("L", (_HASH_SIDE, _HASH_SIDE))
            image.load()
            value = int(str(imagehash.phash(image)), 16) if perceptual_hash else None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split()).replace("<_io.BytesIO object", "<data")
        raise DataError(f"{name}: not a readable JPEG, PNG or WebP image ({reason}); replace or remove it") from error
    return extension, value  # type: ignore[return-value]
