"""Images of which pixels are missing are refused when packed and when decoded; whole ones, however odd, are not."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from emonet_lightning.bad_samples import BadSample
from emonet_lightning.decoding import MAX_SCANS, decode_image
from emonet_lightning.packing.images import inspect_image

END = b"\xff\xd9"
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """A smooth picture, 160 pixels wide and 120 high."""
    coarse = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    return Image.fromarray(coarse).resize((160, 120), Image.Resampling.BICUBIC)


def saved(image, form="JPEG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def turned(orientation=6) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(image, rows, extra=b"") -> bytes:
    """A PNG with right checksums whose pixels end after so many rows."""
    pixels = np.asarray(image)
    packed = zlib.compress(b"".join(b"\0" + pixels[row].tobytes() for row in range(rows)))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", image.width, image.height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


HARM = {
    "half and an end": lambda data: data[: len(data) // 2] + END,
    "half": lambda data: data[: len(data) // 2],
    "zeros to the end": lambda data: data[: len(data) // 2].ljust(len(data) - 2, b"\0") + END,
}
FORMS = {
    "plain": {},
    "progressive": {"progressive": True},
    "turned": {"exif": turned()},
    "with Exif": {"exif": turned(1)},
}


@pytest.mark.parametrize("look", [lambda data: inspect_image(data, "x", True), lambda data: decode_image(data, "x")])
@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("form", [*FORMS, "CMYK", "grey"])
def test_missing_pixels_of_a_jpeg_do_not_pass_as_grey(picture, form, harm, look):
    modes = {"CMYK": "CMYK", "grey": "L"}
    data = saved(picture.convert(modes.get(form, "RGB")), quality=95, **FORMS.get(form, {}))
    look(data)
    with pytest.raises(BadSample) as found:
        look(HARM[harm](data))
    assert found.value.reason == "truncated"


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "RGBA", "P", "1", "I;16"])
def test_a_png_whose_pixels_end_early_is_refused_and_whole_ones_are_not(picture, mode):
    inspect_image(
        saved(picture.convert("I").convert("I;16") if mode == "I;16" else picture.convert(mode), "PNG"), "x", False
    )
    inspect_image(png(picture, picture.height), "x", False)
    for rows in (0, 60, picture.height - 1):
        with pytest.raises(BadSample) as found:
            inspect_image(png(picture, rows), "x", False)
        assert found.value.reason == "truncated"


def test_bytes_that_belong_to_nothing_are_passed_over(picture):
    data = saved(picture, quality=95)
    odd = data[:-2] + bytes(7) + END + b"thumbnail"
    assert inspect_image(odd, "x", True) == inspect_image(data, "x", True)
    assert np.array_equal(decode_image(odd, "x"), decode_image(data, "x"))


def test_a_jpeg_of_hundreds_of_scans_is_refused_before_they_are_decoded(picture):
    data = saved(picture, quality=95, progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    for extra in (0, MAX_SCANS):
        bomb = data[:-2] + last * extra + END
        for look in (lambda bomb=bomb: inspect_image(bomb, "x", False), lambda bomb=bomb: decode_image(bomb, "x")):
            if extra:
                with pytest.raises(BadSample, match="scans"):
                    look()
            else:
                look()


@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG"])
def test_broken_exif_turns_nothing_and_is_no_reason_to_refuse(picture, form):
    if form == "PNG":
        data = png(picture, picture.height, chunk(b"eXIf", b"garbage!garbage!"))
    else:
        data = saved(picture, form, exif=b"Exif\0\0garbage!garbage!")
    inspect_image(data, "x", True)
    assert decode_image(data, "x").shape == (120, 160, 3)


@pytest.mark.parametrize(("form", "mode"), [("JPEG", "RGB"), ("JPEG", "CMYK"), ("WEBP", "RGB")])
def test_orientation_is_that_of_exif_in_every_decoder(picture, form, mode):
    image = picture.convert(mode)
    assert decode_image(saved(image, form, xmp=XMP), "x").shape == (120, 160, 3)
    assert decode_image(saved(image, form, exif=turned()), "x").shape == (160, 120, 3)
