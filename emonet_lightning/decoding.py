"""From an encoded image to upright RGB: fast for what nearly all images are, PIL for the rest, with PIL's pixels."""

import contextlib
import io

import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from emonet_lightning.bad_samples import BadSample

MAX_PIXELS = 50_000_000
MAX_ASPECT = 50
DECODER = "rgb-1"
"""Version of `decode_image` and `EvalTransform`, part of every cache key: raise it when their pixels change."""


def decode_image(data: bytes, name: str, out: np.ndarray | None = None) -> np.ndarray:
    """Decode a JPEG, PNG or WebP file, upright, to RGB.

    What becomes of each colour mode: RGB as it is (CMYK and YCCK as PIL converts them); grey and one bit in all three
    channels; 16-bit grey divided by 257 and rounded; 16-bit colour as PIL reads it, in 8 bits; palettes looked up;
    transparency (RGBA, LA, in a palette or of one colour) laid on white. EXIF orientation is applied, once. Colour
    profiles are ignored. Of an animation the first frame is taken.

    Args:
        data: the encoded file.
        name: what to call it in errors.
        out: contiguous [H, W, 3] uint8 that takes the pixels of a plain JPEG of just this size.

    Returns:
        [H, W, 3] uint8; `out` itself where it took the pixels.

    Raises:
        BadSample: another format, damaged, above 50 megapixels, or thinner than 1:50; the header is looked at first.
    """
    size = _size_of_plain_jpeg(data)
    if size is not None:
        check_size(*size, name)
        fits = out is not None and out.shape == (size[1], size[0], 3)
        with contextlib.suppress(ValueError):  # an unusual but readable JPEG is left to PIL
            pixels = simplejpeg.decode_jpeg(data, colorspace="RGB", buffer=out if fits else None)
            return out if out is not None and fits else pixels
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as image:  # reads the header only
            check_size(*image.size, name)
            if image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L") and image.getexif().get(0x0112, 1) == 1:
                with contextlib.suppress(ValueError):
                    return simplejpeg.decode_jpeg(data, colorspace="RGB")
            return np.array(to_rgb(ImageOps.exif_transpose(image)))
    except BadSample:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error and their own
        raise unreadable(data, name, error) from error


def unreadable(data: bytes, name: str, error: Exception) -> BadSample:
    """Return what to raise where a decoder gave up: a typed reason, and its own words."""
    said, reason = _one_line(error), "damaged"
    if not data:
        said, reason = "format not recognised: the file is empty", "empty"
    elif isinstance(error, UnidentifiedImageError):
        said, reason = "format not recognised", "format"
    elif "truncated" in said:
        reason = "truncated"
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
    if image.mode.startswith("I"):  # 16-bit grey: PIL's own conversion clips at 255
        grey = np.asarray(image).astype(np.float64) / 257
        return Image.fromarray(grey.round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")
