"""Encoded images as found: which format, whether whole, and how alike.

Only JPEG, PNG and WebP of bounded size are accepted, by content and whatever they are called; the header is read
before anything is decoded: a small file can claim a picture that fills the memory. Animations are refused, and so is
what shows one colour only once it is decoded: through its palette, or because all that is not white is transparent.
"""

import io
import warnings
import zlib
from typing import Any, Literal

import imagehash
from PIL import Image, ImageFile

from emonet_lightning.bad_samples import BadSample
from emonet_lightning.decoding import (  # what is packed must be what can be decoded later
    check_scans,
    check_size,
    jpeg_pixels,
    smallest,
    to_rgb,
    unreadable,
)
from emonet_lightning.errors import EnvironmentProblem

MAX_BYTES = 64 * 2**20
MIN_SIDE = 8
"""Pixels that the shorter side has at least."""
EXTENSIONS: dict[str, Literal["jpg", "png", "webp"]] = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp"}
"""By PIL's name of the format; MPO is a JPEG with further pictures behind it, which are never looked at."""
_HASH_SIDE = 128  # JPEGs are decoded at the next larger power-of-two fraction: 4 times faster, the hash needs 32 pixels
_ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
)  # fmt: skip
"""Passes of an interlaced PNG: first column and row, steps to the next (PNG specification, 8.2)."""
_PIECE = 2**20
_PLAIN = ("RGB", "L", "CMYK", "1")
"""Modes whose numbers are the colours."""


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
            image: Image.Image = Image.open(io.BytesIO(content), formats=("JPEG", "PNG", "WEBP"))
            check_size(*image.size, name)
            if min(image.size) < MIN_SIDE:
                raise BadSample(
                    f"{name}: {image.width} x {image.height} pixels; at least {MIN_SIDE} a side are needed", "too small"
                )
            extension = EXTENSIONS[str(image.format)]
            if image.format != "MPO" and getattr(image, "is_animated", False):
                raise BadSample(f"{name}: an animation; keep one picture of it", "animated")
            if extension == "jpg":
                image = _small_grey(image, content, name)
            image.load()
            if extension == "png" and not _is_whole_png(content):
                raise BadSample(f"{name}: the PNG file ends early (truncated); replace or remove it", "truncated")
            if image.mode not in _PLAIN or image.has_transparency_data:
                image = to_rgb(image)  # what is seen, not which numbers are stored
            _refuse_blank(image, name)
            value = int(str(imagehash.phash(image)), 16) if perceptual_hash else None
    except BadSample:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error and their own
        raise unreadable(content, name, error) from error
    return extension, value


def _small_grey(image: Image.Image, content: bytes, name: str) -> Image.Image:
    """Return a JPEG's grey values at a power-of-two fraction; all of its data are decoded, strictly."""
    check_scans(content, name)
    if image.mode == "CMYK":
        jpeg_pixels(content, name, colorspace="CMYK", **smallest(image))
        return image
    fraction = next(s for s in (8, 4, 2, 1) if s == 1 or min(image.size) // _HASH_SIDE >= s)
    least = {"min_height": -(-image.height // fraction), "min_width": -(-image.width // fraction)}
    pixels = jpeg_pixels(content, name, colorspace="GRAY", **least)
    if pixels is not None:
        return Image.fromarray(pixels[..., 0])
    image.draft("L", (_HASH_SIDE, _HASH_SIDE))  # an unusual one
    return image


def _is_whole_png(content: bytes) -> bool:
    """Whether a PNG has its end, and as many bytes of pixels as its header says: PIL leaves missing ones black."""
    place, packed, ended = 8, [], False
    while place + 8 <= len(content) and not ended:
        length, kind = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + 8]
        if kind == b"IDAT":
            packed.append(content[place + 8 : place + 8 + length])
        ended = kind == b"IEND"
        place += 12 + length
    width, height = (int.from_bytes(content[start : start + 4], "big") for start in (16, 20))
    depth, colour, interlaced = content[24], content[25], content[28]
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 1)
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    sizes = [(-((x - width) // dx), -((y - height) // dy)) for x, y, dx, dy in passes]
    missing = sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in sizes if columns > 0 and rows > 0)
    unpacker = zlib.decompressobj()
    for part in packed:
        while part and missing > 0:
            missing -= len(unpacker.decompress(part, _PIECE))
            part = unpacker.unconsumed_tail
    return ended and missing <= 0


def _refuse_blank(image: Image.Image, name: str) -> None:
    extrema: Any = image.getextrema()  # of one band a pair, of several a pair each
    bands = extrema if isinstance(extrema[0], tuple) else (extrema,)
    if all(low == high for low, high in bands):
        raise BadSample(f"{name}: all pixels have one colour; remove it", "blank")
