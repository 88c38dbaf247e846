import io
import pickle
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

from emonet_lightning.decoding import decode_image
from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.transforms import Augmentation, EvalTransform, PreprocessSpec, TrainTransform, sample_seed

NOTHING = Augmentation(hflip=0, rotation=0, scale=0, shift=0, brightness=0, contrast=0, blur=0, noise=0, jpeg=0, grey=0)


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """A smooth, asymmetric picture [120 x 90] with noise."""
    generator = np.random.default_rng(0)
    coarse = Image.fromarray(generator.integers(0, 255, (8, 6, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((90, 120), Image.BICUBIC)).astype(int)
    return Image.fromarray((smooth + generator.integers(-9, 9, smooth.shape)).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"exif": exif(1)}])
def test_jpeg_decodes_to_the_pixels_of_pil(picture, options):
    data = encoded(picture, "JPEG", quality=90, **options)
    assert np.array_equal(decode_image(data, "x"), np.asarray(Image.open(io.BytesIO(data))))


def test_exif_behind_other_blocks_is_obeyed_whatever_these_hold(picture):
    data = encoded(picture, "JPEG", quality=95, exif=exif(3))
    misleading = b"\xff\xe2\x00\x08\xff\xda\xff\xda\x00\x00"  # a block with the marker of the pixels in it
    found = decode_image(data[:2] + misleading + data[2:], "x")
    assert np.array_equal(found, decode_image(data, "x"))
    assert not np.array_equal(found, np.asarray(Image.open(io.BytesIO(data))))


def test_plain_jpeg_is_decoded_into_the_memory_that_fits_it(picture):
    data = encoded(picture, "JPEG", quality=90)
    fits, small = np.zeros((120, 90, 3), np.uint8), np.zeros((90, 120, 3), np.uint8)
    assert decode_image(data, "x", fits) is fits
    assert np.array_equal(fits, decode_image(data, "x"))
    assert np.array_equal(decode_image(data, "x", small), fits)
    assert not small.any()


@pytest.mark.parametrize("orientation", range(2, 9))
def test_turned_jpeg_is_set_upright(picture, orientation):
    turned = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }[orientation]
    stored = picture
    for step in turned:
        stored = stored.transpose(step)
    upright = decode_image(encoded(stored, "JPEG", quality=95, exif=exif(orientation)), "x")
    assert upright.shape == (120, 90, 3)
    assert np.abs(upright.astype(int) - np.asarray(picture)).mean() < 6


@pytest.mark.parametrize(
    ("mode", "kind", "tolerance"),
    [("L", "JPEG", 0), ("L", "PNG", 0), ("P", "PNG", 0), ("RGB", "WEBP", 40), ("CMYK", "JPEG", 30), ("LA", "PNG", 0)],
)
def test_every_colour_mode_becomes_rgb(picture, mode, kind, tolerance):
    stored = picture.convert(mode)
    found = decode_image(encoded(stored, kind, **({"quality": 95} if kind != "PNG" else {})), "x")
    expected = np.asarray(stored.convert("RGB")).astype(int)
    assert found.shape == expected.shape
    if kind == "JPEG" and mode == "L":
        expected = found[..., :1].repeat(3, axis=2)
    assert np.abs(found - expected).max() <= tolerance


@pytest.mark.parametrize("clear", [None, 0, 7 * 257, 7 * 257 + 1])
def test_sixteen_bit_grey_is_scaled_not_clipped_and_white_where_it_is_transparent(clear):
    ramp = np.arange(256, dtype=np.uint16)[None] * 257 + np.array([[0], [1]] * 4, dtype=np.uint16)
    ramp[:, 255] = 65535
    found = decode_image(
        encoded(Image.fromarray(ramp), "PNG", **({} if clear is None else {"transparency": clear})), "x"
    )
    expected = np.stack([np.arange(256)] * 8)
    expected[ramp == clear] = 255  # the pixel of just this value, not its neighbour that has the same 8 bits
    assert np.array_equal(found, expected[..., None].repeat(3, axis=2))


def test_transparent_pixels_are_white():
    layer = np.zeros((4, 4, 4), dtype=np.uint8)
    layer[:2, :, 3] = 255
    found = decode_image(encoded(Image.fromarray(layer), "PNG"), "x")
    assert (found[:2] == 0).all()
    assert (found[2:] == 255).all()


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (lambda image: b"", "not recognised"),
        (lambda image: b"not an image", "not recognised"),
        (lambda image: encoded(image, "GIF"), "not recognised"),
        (lambda image: encoded(image, "BMP"), "not recognised"),
        (lambda image: encoded(image, "JPEG")[:-900], "truncated"),
        (lambda image: encoded(image, "PNG")[:-900], "truncated"),
        (lambda image: encoded(image, "WEBP")[:900], "not a readable"),
        (lambda image: encoded(Image.new("1", (9000, 6000)), "PNG"), "9000 x 6000 pixels; at most 50 million"),
        (lambda image: encoded(Image.new("1", (9000, 9)), "PNG"), "strip"),
        (lambda image: encoded(Image.new("L", (9000, 6000)), "JPEG"), "9000 x 6000 pixels; at most 50 million"),
        (lambda image: encoded(Image.new("L", (9000, 9)), "JPEG"), "strip"),
        (lambda image: encoded(image, "JPEG")[:40], "not a readable"),
    ],
)
def test_bad_image_is_one_line_that_names_the_sample(picture, data, complaint):
    with pytest.raises(DataError, match="set/000123") as caught:
        decode_image(data(picture), "set/000123")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize(("interpolation", "filter"), [("bilinear", Image.BILINEAR), ("bicubic", Image.BICUBIC)])
def test_squash_equals_pil_within_two_levels(picture, size, interpolation, filter):
    found = EvalTransform(PreprocessSpec(size, interpolation))(np.array(picture))
    expected = np.asarray(picture.resize((size, size), filter)).transpose(2, 0, 1)
    assert found.shape == (3, size, size)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= 2


@pytest.mark.parametrize("kind", ["smooth", "noise", "stripes"])
@pytest.mark.parametrize("size", [32, 100])
@pytest.mark.parametrize(("interpolation", "filter"), [("bilinear", Image.BILINEAR), ("bicubic", Image.BICUBIC)])
def test_resize_on_the_device_equals_pil_within_two_levels(picture, size, interpolation, filter, kind):
    # overshoots are cut off; square, because PIL cuts off those along the side that shrinks more first
    noise = np.random.default_rng(3).integers(0, 2, (120, 120, 3), dtype=np.uint8) * 255
    images = {"smooth": np.array(picture), "noise": noise, "stripes": np.tile(noise[:1], (120, 1, 1))}
    batch = np.stack([images[kind], images[kind][::-1]])
    found = EvalTransform(PreprocessSpec(size, interpolation)).on_device(torch.from_numpy(batch).permute(0, 3, 1, 2))
    assert found.dtype == torch.uint8
    for pixels, image in zip(found.numpy(), batch, strict=True):
        expected = np.asarray(Image.fromarray(image).resize((size, size), filter)).transpose(2, 0, 1)
        assert np.abs(pixels.astype(int) - expected).max() <= 2


@pytest.mark.parametrize("shape", [(120, 90), (90, 120), (40, 40)])
def test_crop_on_the_device_is_that_of_the_host(picture, shape):
    transform = EvalTransform(PreprocessSpec(40, "bicubic", "crop", 0.875))
    image = np.array(picture.resize(shape[::-1]))
    found = transform.on_device(torch.from_numpy(image)[None].permute(0, 3, 1, 2))[0].numpy()
    assert np.abs(found.astype(int) - transform(image)).max() <= 2


@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize(("size", "crop_pct"), [(32, 1.0), (45, 0.875), (224, 0.95)])
def test_crop_equals_torchvision_on_pil_within_two_levels(picture, size, crop_pct, turn):
    image = picture.transpose(Image.Transpose.ROTATE_90) if turn else picture
    found = EvalTransform(PreprocessSpec(size, "bicubic", "crop", crop_pct))(np.array(image))
    resized = Resize(int(size / crop_pct), InterpolationMode.BICUBIC)(image)
    expected = np.asarray(CenterCrop(size)(resized)).transpose(2, 0, 1)
    assert np.abs(found.astype(int) - expected).max() <= 2


def test_train_transform_is_a_function_of_pixels_and_seed_alone(picture):
    image, transform = np.array(picture), TrainTransform(PreprocessSpec(48), Augmentation())
    first = [transform(image, seed) for seed in range(20)]
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002  (global state must not matter)
    again = pickle.loads(pickle.dumps(transform))
    with ThreadPoolExecutor(4) as pool:
        second = list(pool.map(lambda seed: again(image, seed), reversed(range(20))))[::-1]
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert len({a.tobytes() for a in first}) == 20
    assert first[0].shape == (3, 48, 48)
    assert first[0].dtype == np.uint8


def test_augmentation_without_options_changes_nothing(picture):
    spec = PreprocessSpec(48)
    assert np.array_equal(TrainTransform(spec, NOTHING)(np.array(picture), 5), EvalTransform(spec)(np.array(picture)))


@pytest.mark.parametrize(
    "option", ["rotation", "scale", "shift", "brightness", "contrast", "blur", "noise", "jpeg", "grey"]
)
def test_each_augmentation_option_does_something(picture, option):
    spec, image = PreprocessSpec(48), np.array(picture)
    options = Augmentation(**{**NOTHING.to_dict(), option: 20.0 if option == "rotation" else 0.9})
    clean = EvalTransform(spec)(image)
    assert any(not np.array_equal(TrainTransform(spec, options)(image, seed), clean) for seed in range(4))


def test_augmentation_steps_are_drawn_independently(picture):
    spec, image = PreprocessSpec(48), np.array(picture)
    transform = TrainTransform(spec, Augmentation(**{**NOTHING.to_dict(), "hflip": 0.5, "grey": 0.5}))
    clean = EvalTransform(spec)(image).astype(int)
    seen = set()
    for seed in range(40):
        pixels = transform(image, seed).astype(int)
        grey = np.array_equal(pixels[0], pixels[1])
        luma = clean.mean(axis=0) if grey else clean
        flipped = np.abs(pixels - luma[..., ::-1]).mean() < np.abs(pixels - luma).mean()
        seen.add((grey, flipped))
    assert len(seen) == 4


def test_augmentation_out_of_range_is_refused():
    with pytest.raises(UsageError, match=r"augmentation\.hflip is 2"):
        Augmentation(hflip=2)


def test_sample_seed_depends_on_every_argument_and_never_changes():
    assert sample_seed(0, 0, 0, 0) == sample_seed(0, 0, 0, 0) == 8662518681111019217
    assert len({sample_seed(*point) for point in np.ndindex(4, 4, 4, 4)}) == 256
    assert sample_seed(1, 11, 1, 1) != sample_seed(11, 1, 1, 1)
