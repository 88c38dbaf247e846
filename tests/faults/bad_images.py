"""Bad images: rows 25 to 43. Refused with a typed reason before their pixels are decoded, or read as declared."""

import io
import json
import struct
import zlib
from collections.abc import Callable

import numpy as np
from bad_inputs import NOT_HERE, Place, refused, row, run, taken
from PIL import Image, PngImagePlugin
from small_inputs import face_folder

from emonet_lightning.decoding import decode_image
from emonet_lightning.packing.packed import PackedSet

NOT_HERE[43] = "no face, or several: no detector is part of this project, and none is needed to train on given ratings"
SIDE = 48


def picture(mode: str = "RGB", side: int = SIDE) -> Image.Image:
    """A smooth picture that JPEG keeps nearly as it is, another in every corner."""
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    pixels = np.stack([4 * x, 4 * y, 2 * (x + y)], axis=-1).clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def saved(image: Image.Image, form: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def pack_with(place: Place, content: bytes, *words: str):
    """Pack four faces of which one has this content, whatever it is."""
    folder = face_folder(place.folder / "faces", "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    (folder / "b.jpg").write_bytes(content)
    return run(["pack", folder, f"--out={place.out}", "--progress=false", "--near_duplicates=ignore", *words])


def bad(number: int, title: str, content: Callable[[], bytes], says: str, reason: str, quick: bool = True) -> None:
    """Enter an image that has to be skipped: refused without a budget, left out and listed within one."""

    @row(number, title, quick)
    def _(place: Place) -> str | None:
        data = content()
        if wrong := refused(pack_with(place, data), "data", rf"sample 'b' \(b\.jpg\): .*{says}"):
            return wrong
        if (place.out / "manifest.json").exists():
            return "a set was finished without it"
        if wrong := taken(pack_with(place, data, "--max_bad_fraction=0.25")):
            return wrong
        lines = (place.out / "bad_samples.jsonl").read_text().splitlines()
        found = [(entry["sample"], entry["reason"]) for entry in map(json.loads, lines)]
        keys = PackedSet.open(place.out).keys
        ok = found == [("b", reason)] and keys == ["a", "c", "d"]
        return None if ok else f"listed {found}, packed {keys}"


def good(number: int, title: str, content: Callable[[], bytes], expected: Callable[[], Image.Image], off: int) -> None:
    """Enter an image that has to be read, to within `off` of 255 of an expected picture."""

    @row(number, title)
    def _(place: Place) -> str | None:
        data = content()
        if wrong := taken(pack_with(place, data)):
            return wrong
        packed = PackedSet.open(place.out)
        kept = packed.read_image(packed.keys.index("b"))
        found, wanted = decode_image(kept, "b"), np.asarray(expected().convert("RGB"))
        if kept != data:
            return "other bytes"
        if found.shape != wanted.shape:
            return f"shape {found.shape}, not {wanted.shape}"
        difference = int(np.abs(found.astype(int) - wanted.astype(int)).max())
        return None if difference <= off else f"differs by {difference}"


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file, with a right checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_claiming(width: int, height: int, rows: int = 0) -> bytes:
    """A PNG file of a size that its header claims, with compressed zeros for so many rows."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = zlib.compress(bytes((3 * width + 1) * rows), 9)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def animation(form: str) -> bytes:
    """Two different frames."""
    return saved(picture(), form, save_all=True, append_images=[picture().transpose(Image.Transpose.ROTATE_90)])


def jpeg() -> bytes:
    return saved(picture(), "JPEG", quality=95)


def turned(orientation: int) -> bytes:
    """A JPEG file stored on its side, whose EXIF says how to set it upright."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    back = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    return saved(picture().transpose(back[orientation]), "JPEG", quality=95, exif=tags)


def palette(transparent: bool) -> Image.Image:
    image = picture().quantize(16)
    if transparent:
        image.info["transparency"] = 0
    return image


def with_alpha(mode: str) -> Image.Image:
    image = picture(mode)
    image.putalpha(Image.fromarray((np.arange(SIDE * SIDE).reshape(SIDE, SIDE) % 256).astype(np.uint8)))
    return image


def on_white(image: Image.Image) -> Image.Image:
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)


def sixteen() -> Image.Image:
    return Image.fromarray(np.asarray(picture("L")).astype(np.uint16) * 257)


NOT_READ = "not a readable JPEG, PNG or WebP image"
bad(25, "zero bytes", lambda: b"", "the file is empty", "empty")
bad(26, "truncated JPEG", lambda: jpeg()[: len(jpeg()) // 2], NOT_READ, "truncated")
bad(26, "JPEG truncated near its end", lambda: jpeg()[:-40], NOT_READ, "truncated")
bad(26, "truncated JPEG of one byte", lambda: jpeg()[:1], NOT_READ, "format")
bad(26, "truncated PNG", lambda: saved(picture())[:-30], NOT_READ, "truncated")
bad(26, "truncated WebP", lambda: saved(picture(), "WEBP")[:-60], NOT_READ, "damaged")
bad(27, "JPEG without its last two bytes", lambda: jpeg()[:-2], NOT_READ, "truncated")
bad(30, "animated GIF", lambda: animation("GIF"), "format not recognised", "format")
bad(30, "animated WebP", lambda: animation("WEBP"), "an animation; keep one picture", "animated")
bad(30, "animated PNG", lambda: animation("PNG"), "an animation; keep one picture", "animated")
for _form in ("EPS", "TIFF", "BMP", "PPM", "TGA", "ICO", "PDF"):
    bad(31, f"{_form} under .jpg", lambda form=_form: saved(picture(), form), "format not recognised", "format")
for _title, _start in (
    ("PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/tmp/x) run\n"),
    ("PSD", b"8BPS\x00\x01" + bytes(20)),
    ("FITS", b"SIMPLE  =                    T" + b" " * 2850), ("AVIF", b"\x00\x00\x00\x1cftypavif" + bytes(40)),
):  # fmt: skip
    bad(31, f"{_title} under .jpg", lambda start=_start: start, "format not recognised", "format")
bad(32, "SVG", lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9"/></svg>', "not recognised", "format")
bad(
    33,
    "PNG of 65,000 x 65,000",
    lambda: png_claiming(65_000, 65_000),
    r"65000 x 65000 pixels; at most 50|\(4225000000 pixels\) exceeds limit",
    "too large",
)
bad(33, "PNG of 51 megapixels", lambda: png_claiming(7_142, 7_142, 7_142), "pixels; at most 50 million", "too large")
bad(34, "one pixel", lambda: saved(picture(side=1)), "1 x 1 pixels; at least", "too small")
bad(34, "seven pixels", lambda: saved(picture(side=7)), "7 x 7 pixels; at least 8", "too small")
bad(35, "1 x 20,000", lambda: saved(Image.new("RGB", (1, 20_000))), "1 x 20000 pixels is a strip", "strip")
bad(42, "all black", lambda: saved(Image.new("RGB", (SIDE, SIDE))), "all pixels have one colour", "blank")
bad(42, "all of one colour", lambda: saved(Image.new("RGB", (64, 64), (9, 99, 200)), "JPEG"), "one colour", "blank")
good(29, "PNG under .jpg", lambda: saved(picture()), picture, 0)
good(29, "WebP under .jpg", lambda: saved(picture(), "WEBP", lossless=True), picture, 0)
good(36, "CMYK", lambda: saved(picture("CMYK"), "JPEG", quality=98), picture, 12)
good(37, "16-bit grey", lambda: saved(sixteen()), lambda: picture("L"), 0)
good(38, "palette", lambda: saved(palette(False)), lambda: palette(False), 0)
good(38, "palette with a transparent entry", lambda: saved(palette(True)), lambda: on_white(palette(True)), 0)
good(39, "grey JPEG", lambda: saved(picture("L"), "JPEG", quality=98), lambda: picture("L"), 3)
good(39, "grey PNG", lambda: saved(picture("L")), lambda: picture("L"), 0)
good(39, "grey with transparency", lambda: saved(with_alpha("LA")), lambda: on_white(with_alpha("LA")), 0)
good(39, "colour with transparency", lambda: saved(with_alpha("RGBA")), lambda: on_white(with_alpha("RGBA")), 0)
good(39, "one bit", lambda: saved(picture("1")), lambda: picture("1"), 0)
for _orientation in (3, 6, 8):
    good(40, f"turned by EXIF, {_orientation}", lambda o=_orientation: turned(o), picture, 8)
good(
    41,
    "broken EXIF",
    lambda: saved(picture(), "JPEG", quality=98, exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff"),
    picture,
    8,
)
good(41, "broken colour profile", lambda: saved(picture(), icc_profile=b"not a profile" * 9), picture, 0)


def _with_text() -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta <<<")
    return saved(picture(), pnginfo=text)


good(41, "broken XMP", _with_text, picture, 0)
