"""From an encoded image to upright RGB: fast for what nearly all images are, PIL for the rest, with PIL's pixels."""

import io
import re
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from emonet_lightning.bad_samples import BadSample

MAX_PIXELS = 50_000_000
MAX_ASPECT = 50
MAX_SCANS = 100
"""Of a JPEG: each is decoded over the whole picture, a progressive one of a camera has about ten."""
DECODER = "rgb-3"
"""Version of `decode_image` and `EvalTransform`, part of every cache key: raise it when their pixels change."""
_LOST = re.compile(
    r"premature end|bad huffman|bad arithmetic|found marker|truncated|\d{4,} extraneous bytes", re.IGNORECASE
)
"""What decoders say of pixels that are not there; libjpeg itself goes on and fills them with grey. A few bytes that
belong to nothing are found in many files of cameras, thousands stand where pixels were."""


def decode_image(data: bytes, name: str, out: np.ndarray | None = None) -> np.ndarray:
    """Decode a JPEG, PNG or WebP file, upright, to RGB.

    What becomes of each colour mode: RGB as it is (CMYK and YCCK as PIL converts them); grey and one bit in all three
    channels; 16-bit grey divided by 257 and rounded; 16-bit colour as PIL reads it, in 8 bits; palettes looked up;
    transparency (RGBA, LA, in a palette, or of one colour or grey) laid on white. EXIF orientation is applied, once.
    Colour profiles are ignored. Of an animation the first frame is taken.

    Args:
        data: the encoded file.
        name: what to call it in errors.
        out: contiguous [H, W, 3] uint8 that takes the pixels of a plain JPEG of just this size.

    Returns:
        [H, W, 3] uint8; `out` itself where it took the pixels.

    Raises:
        BadSample: another format, damaged, above 50 megapixels, or thinner than 1:50; the header is looked at first.
    """
    check_scans(data, name)
    size = _size_of_plain_jpeg(data)
    if size is not None:
        check_size(*size, name)
        fits = out is not None and out.shape == (size[1], size[0], 3)
        pixels = jpeg_pixels(data, name, colorspace="RGB", buffer=out if fits else None)
        if pixels is not None:
            return out if out is not None and fits else pixels
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as image:  # reads the header only
            check_size(*image.size, name)
            if image.format in ("JPEG", "MPO"):
                upright = image.mode in ("RGB", "L") and _orientation(image) == 1
                colorspace = "CMYK" if image.mode == "CMYK" else "RGB"
                pixels = jpeg_pixels(data, name, colorspace=colorspace, **({} if upright else smallest(image)))
                if upright and pixels is not None:
                    return pixels
            image.load()
            return np.array(to_rgb(_turned(image)))
    except BadSample:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error and their own
        raise unreadable(data, name, error) from error


def jpeg_pixels(data: bytes, name: str, **options: Any) -> np.ndarray | None:
    """Decode a JPEG strictly; None for an unusual one, which is left to PIL.

    Args:
        data: the encoded file.
        name: what to call it in errors.
        options: of `simplejpeg.decode_jpeg`.

    Raises:
        BadSample: some of its pixels are missing.
    """
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, **options))
    except ValueError as error:
        if _LOST.search(str(error)):
            raise unreadable(data, name, error) from error
        return None


def smallest(image: Image.Image) -> dict[str, int]:
    """Return options to decode a JPEG at an eighth of its size, to see whether it is whole."""
    return {"min_height": -(-image.height // 8), "min_width": -(-image.width // 8)}


def check_scans(data: bytes, name: str) -> None:
    """Refuse a JPEG that would be decoded over and over."""
    if data.startswith(b"\xff\xd8") and _has_scans(data) and data.count(b"\xff\xda") > MAX_SCANS:
        raise BadSample(f"{name}: a JPEG of more than {MAX_SCANS} scans; save it again or remove it", "scans")


def _has_scans(data: bytes) -> bool:
    """Whether a JPEG may have more than one scan; counting them takes longer than looking at its first markers."""
    place, components = 2, 0
    while place + 10 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if marker in (0xC0, 0xC1):  # sequential: one scan, if it has all components
            components = data[place + 9]
        if marker == 0xDA:
            return data[place + 4] < components or components == 0
        place += 2 + length
    return True


def _orientation(image: Image.Image) -> int:
    """Return the Exif orientation, not that of XMP, which few programs obey; 1 where there is none or it is broken."""
    for key in ("xmp", "XML:com.adobe.xmp"):
        image.info.pop(key, None)
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # PIL raises SyntaxError, struct.error and others; broken metadata turn nothing
        return 1


def _turned(image: Image.Image) -> Image.Image:
    return image if _orientation(image) == 1 else ImageOps.exif_transpose(image)


def unreadable(data: bytes, name: str, error: Exception) -> BadSample:
    """Return what to raise where a decoder gave up: a typed reason, and its own words."""
    said, reason = _one_line(error), "damaged"
    if not data:
        said, reason = "format not recognised: the file is empty", "empty"
    elif isinstance(error, UnidentifiedImageError):
        said, reason = "format not recognised", "format"
    elif _LOST.search(said):
        said, reason = said if "truncated" in said else f"truncated: {said}", "truncated"
    elif isinstance(error, Image.DecompressionBombError):
        reason = "too large"
    return BadSample(f"{name}: not a readable JPEG, PNG or WebP image ({said}); replace or remove it", reason)


def _size_of_plain_jpeg(data: bytes) -> tuple[int, int] | None:
    """Width and height of a grey or YCbCr JPEG without Exif (which may turn it); None: PIL has to look."""
    if not data.startswith(b"\xff\xd8"):
        return None
    place = 2
    while data[place : place + 2] != b"\xff\xda":  # up to the pixels; searching all bytes takes longer than all else
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        if length < 2 or data[place] != 0xFF or data[place + 4 : place + 10] == b"Exif\x00\x00":
            return None
        place += 2 + length
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    return (width, height) if colours in ("YCbCr", "Gray") else None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).replace("<_io.BytesIO object", "<data")[:160] or type(error).__name__


def check_size(width: int, height: int, name: str) -> None:
    """Refuse a size that no picture of a face has, before its pixels are decoded."""
    if width * height > MAX_PIXELS:
        raise BadSample(
            f"{name}: {width} x {height} pixels; at most {MAX_PIXELS // 10**6} million are accepted", "too large"
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise BadSample(f"{name}: {width} x {height} pixels is a strip, not a picture; remove it", "strip")


def to_rgb(image: Image.Image) -> Image.Image:
    """Return 8-bit RGB: 16-bit grey is scaled, not clipped; transparency is laid on white."""
    if image.mode.startswith("I"):  # 16-bit grey: PIL's own conversion clips at 255 and knows no transparency
        stored = np.asarray(image)
        grey = (stored.astype(np.float64) / 257).round().clip(0, 255).astype(np.uint8)
        if (clear := image.info.get("transparency")) is not None:
            grey[stored == clear] = 255
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")
