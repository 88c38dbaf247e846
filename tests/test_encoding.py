"""From rows of a set to pixels on a device: order, threads, reused memory, resize on the device."""

import io
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from emonet_lightning.data.pixel_batches import RING, PixelBatches, Recipe, RowBatch
from emonet_lightning.decoding import decode_image
from emonet_lightning.errors import DataError
from emonet_lightning.transforms import Augmentation, EvalTransform, PreprocessSpec, TrainTransform, sample_seed

SPEC = PreprocessSpec(24)
USUAL = (40, 50)
CLEAN = Recipe(0)


class Pictures:
    """Encoded pictures by row, and which threads asked for them."""

    digest = "pictures"

    def __init__(self, files: list[bytes]):
        self.files = files
        self.num_samples = len(files)
        self.keys = [f"{row:05d}" for row in range(len(files))]
        self.threads = set()

    def read_image(self, row):
        self.threads.add(threading.get_ident())
        return self.files[row]


def picture(seed, shape=USUAL):
    """A smooth picture; neighbouring seeds differ much."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(shape[::-1], Image.BICUBIC)


def encoded(image, kind="JPEG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **({"quality": 92} if kind == "JPEG" else {}), **options)
    return stream.getvalue()


def pil(data):
    """Pixels [3, S, S] as PIL makes them all the way."""
    pixels = Image.open(io.BytesIO(data)).convert("RGB").resize((SPEC.size, SPEC.size), Image.BICUBIC)
    return np.asarray(pixels).transpose(2, 0, 1).astype(int)


def batches(count, size, recipe=CLEAN):
    return [RowBatch(recipe, start, min(start + size, count)) for start in range(0, count, size)]


@pytest.fixture(scope="module")
def alike():
    return [encoded(picture(seed)) for seed in range(45)]


@pytest.fixture(scope="module")
def mixed():
    """A usual picture first; then other sizes, kinds and colours, and usual ones as PNG and grey."""
    turn = Image.Exif()
    turn[0x0112] = 6
    return [
        encoded(picture(0)),
        encoded(picture(1, (64, 30))),
        encoded(picture(2), "PNG"),
        encoded(picture(3).convert("CMYK")),
        encoded(picture(4).convert("L")),
        encoded(picture(5, (24, 24))),
        encoded(picture(6), exif=turn.tobytes()),
        encoded(picture(7, (30, 64)).convert("RGBA"), "WEBP", lossless=True),
        encoded(picture(8)),
    ]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("num_threads", [1, 4])
def test_pixels_come_in_the_order_of_the_rows_and_are_pils_within_two_levels(alike, num_threads, whole):
    loader = PixelBatches(Pictures(alike), SPEC, num_threads=num_threads, whole=whole)
    found = [pixels.clone() for pixels in loader(batches(len(alike), 7))]
    assert [len(part) for part in found] == [7] * 6 + [3]
    for row, pixels in enumerate(torch.cat(found).numpy().astype(int)):
        assert np.abs(pixels - pil(alike[row])).max() <= 2, row


@pytest.mark.parametrize("size", [1, 4, 9])
def test_images_of_other_sizes_and_kinds_are_found_among_whole_ones(mixed, size):
    loader = PixelBatches(Pictures(mixed), SPEC, num_threads=2, whole=True)
    found = torch.cat([pixels.clone() for pixels in loader(batches(len(mixed), size))]).numpy().astype(int)
    clean = EvalTransform(SPEC)
    for row, data in enumerate(mixed):
        assert np.abs(found[row] - clean(decode_image(data, "x")).astype(int)).max() <= 2, row


def test_only_images_of_the_usual_size_are_shipped_whole(mixed):
    loader = PixelBatches(Pictures(mixed), SPEC, num_threads=2, whole=True)
    ((_, pixels, odd),) = loader.raw(batches(len(mixed), 9))
    assert pixels.shape == (9, *USUAL, 3)
    assert sorted(odd) == [1, 5, 6, 7]
    for row in (0, 2, 3, 4, 8):
        assert np.array_equal(pixels[row].numpy(), decode_image(mixed[row], "x")), row


def test_a_rows_pixels_do_not_depend_on_which_rows_are_asked_for(mixed):
    loader = PixelBatches(Pictures(mixed), SPEC, num_threads=2, whole=True)
    every = torch.cat([pixels.clone() for pixels in loader(batches(len(mixed), 9))])
    part = torch.cat([pixels.clone() for pixels in loader([RowBatch(CLEAN, 7, 9), RowBatch(CLEAN, 1, 4)])])
    assert torch.equal(part, every[[7, 8, 1, 2, 3]])


@pytest.mark.parametrize("whole", [False, True])
def test_augmented_views_are_those_of_the_transform(alike, whole):
    changed = Recipe(2, Augmentation(), 5)
    loader = PixelBatches(Pictures(alike), SPEC, num_threads=2, whole=whole)
    clean, found = (pixels.clone() for pixels in loader([RowBatch(CLEAN, 0, 8), RowBatch(changed, 0, 8)]))
    transform = TrainTransform(SPEC, Augmentation())
    expected = [transform(decode_image(alike[row], "x"), sample_seed(5, 0, row, 2)) for row in range(8)]
    assert np.array_equal(found.numpy(), np.stack(expected))
    assert not torch.equal(clean, found)


def test_memory_of_batches_is_used_again_and_no_more_threads_run_than_were_asked_for(alike):
    pictures = Pictures(alike)
    loader = PixelBatches(pictures, SPEC, num_threads=2)
    places = [pixels.data_ptr() for pixels in loader(batches(len(alike), 5))]
    assert len(places) == 9
    assert len(set(places)) == RING
    assert len(pictures.threads) <= 2
    assert threading.get_ident() not in pictures.threads


@pytest.mark.parametrize("whole", [False, True])
def test_unreadable_image_names_its_sample_and_later_ones_are_left_alone(alike, whole):
    pictures = Pictures([*alike[:3], b"no image", *alike[4:]] * 20)
    read = []
    pictures.read_image = lambda row: read.append(row) or pictures.files[row]
    with pytest.raises(DataError, match="00003: not a readable"):
        list(PixelBatches(pictures, SPEC, num_threads=2, whole=whole)(batches(900, 10)))
    assert max(read) < 10 * RING


def test_stopping_early_ends_the_threads(alike):
    before = threading.active_count()
    pixels = PixelBatches(Pictures(alike), SPEC, num_threads=3)(batches(len(alike), 5))
    next(pixels)
    assert threading.active_count() > before
    pixels.close()
    assert threading.active_count() == before
