"""Encoded images as found: which format, whether whole, and how alike.

Only JPEG, PNG and WebP of bounded size are accepted, by content and whatever they are called; the header is read
before anything is decoded: a small file can claim a picture that fills the memory. Animations are refused.
"""

import io
import warnings
from typing import Literal

import imagehash
from PIL import Image, ImageFile

from emonet_lightning.bad_samples import BadSample
from emonet_lightning.decoding import check_size, unreadable  # what is packed must be what can be decoded later
from emonet_lightning.errors import EnvironmentProblem

MAX_BYTES = 64 * 2**20
MIN_SIDE = 8
"""Pixels that the shorter side has at least."""
EXTENSIONS: dict[str, Literal["jpg", "png", "webp"]] = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp"}
"""By PIL's name of the format; MPO is a JPEG with further pictures behind it, which are never looked at."""
_HASH_SIDE = 128  # JPEGs are decoded at the next larger power-of-two fraction: 4 times faster, the hash needs 32 pixels


def inspect_image(content: bytes, name: str, perceptual_hash: bool) -> tuple[Literal["jpg", "png", "webp"], int | None]:
    """Check that an image is whole and name its format.

    Args:
        content: the encoded file.
        name: sample or file named in errors.
        perceptual_hash: also compute the 64-bit DCT hash (ImageHash `phash`).

    Returns:
        The file extension of its format, and the hash as an unsigned integer, or None.

    Raises:
        BadSample: not an image of an accepted format, too large or small, animated, blank, or truncated.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise EnvironmentProblem("PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set: damaged images would pass; unset it")
    if len(content) > MAX_BYTES:
        raise BadSample(f"{name}: image file of {len(content)} bytes; at most {MAX_BYTES} are accepted", "too large")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own bound is lower
            warnings.filterwarnings("ignore", module="PIL")  # metadata that nobody reads may be broken
            image = Image.open(io.BytesIO(content), formats=("JPEG", "PNG", "WEBP"))
            check_size(*image.size, name)
            if min(image.size) < MIN_SIDE:
                raise BadSample(
                    f"{name}: {image.width} x {image.height} pixels; at least {MIN_SIDE} a side are needed", "too small"
                )
            extension = EXTENSIONS[str(image.format)]
            if image.format != "MPO" and getattr(image, "is_animated", False):
                raise BadSample(f"{name}: an animation; keep one picture of it", "animated")
            if extension == "jpg":
                image.draft("L", (_HASH_SIDE, _HASH_SIDE))
            image.load()
            if extension == "png" and b"IEND" not in content[-64:] and b"IEND" not in content:
                raise BadSample(f"{name}: the PNG file ends early (truncated); replace or remove it", "truncated")
            _refuse_blank(image, name)
            value = int(str(imagehash.phash(image)), 16) if perceptual_hash else None
    except BadSample:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error and their own
        raise unreadable(content, name, error) from error
    return extension, value


def _refuse_blank(image: Image.Image, name: str) -> None:
    extrema = image.getextrema()
    bands = extrema if isinstance(extrema[0], tuple) else (extrema,)
    if all(low == high for low, high in bands):  # type: ignore[misc]
        raise BadSample(f"{name}: all pixels have one colour; remove it", "blank")
