"""Rows 10 and 11: from JPEG bytes to the pixels that an encoder takes, and the loader around it.

The other side is what everybody writes: PIL decodes, PIL resizes (bicubic, antialiased), torchvision makes floats and
normalises. Ours decodes and resizes to uint8 in one thread; normalising is left to the encoder's device, and a line
counts it as well.
"""

import io
from collections.abc import Iterator

import numpy as np
import simplejpeg
import torch
from inputs import photo_set, photographs
from measuring import Line, Settings, interleave, ratio_line
from PIL import Image
from torch.utils.data import default_collate
from torchvision import transforms

from emonet_lightning.data.pixel_batches import PixelBatches, Recipe, RowBatch
from emonet_lightning.decoding import decode_image
from emonet_lightning.transforms import EvalTransform, PreprocessSpec

SIZE = 384
SPEC = PreprocessSpec(SIZE)


def decode_and_resize(settings: Settings) -> Iterator[Line]:
    """Row 10."""
    usual = transforms.Compose(
        [
            transforms.Resize((SIZE, SIZE), transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize(SPEC.mean, SPEC.std),
        ]
    )
    ours = EvalTransform(SPEC)
    for side, count, target in ((512, 48, ">= 3.5"), (1024, 16, ">= 3.2")):
        images = photographs(settings.work, count, side)
        slots = np.empty((len(images), SIZE, SIZE, 3), np.uint8)

        def by_pil(images: list[bytes] = images) -> None:
            for data in images:
                usual(Image.open(io.BytesIO(data)).convert("RGB"))

        def by_pil_in_batches(images: list[bytes] = images) -> None:
            default_collate([usual(Image.open(io.BytesIO(data)).convert("RGB")) for data in images])

        scratch = np.empty((side, side, 3), np.uint8)  # as a thread of the encode pass uses its own again

        def by_us(images: list[bytes] = images, slots: np.ndarray = slots, scratch: np.ndarray = scratch) -> None:
            for data, slot in zip(images, slots, strict=True):
                ours(decode_image(data, "image", scratch), slot)

        def by_us_normalised(
            images: list[bytes] = images, slots: np.ndarray = slots, scratch: np.ndarray = scratch
        ) -> None:
            for data, slot in zip(images, slots, strict=True):
                pixels = torch.from_numpy(ours(decode_image(data, "image", scratch), slot))
                (pixels.float() - 127.5).mul_(1 / 127.5)

        def pil_alone(images: list[bytes] = images) -> None:
            for data in images:
                Image.open(io.BytesIO(data)).convert("RGB")

        def bare(images: list[bytes] = images, slot: np.ndarray = np.empty((side, side, 3), np.uint8)) -> None:  # noqa: B008
            for data in images:
                simplejpeg.decode_jpeg(data, buffer=slot)

        sides = {
            "PIL + ToTensor + Normalize": by_pil,
            "ours": by_us,
            "ours, and normalised": by_us_normalised,
            "libjpeg-turbo alone": bare,
            "PIL's decoder alone": pil_alone,
            "PIL, in batches": by_pil_in_batches,
        }
        timings = interleave(sides, settings.num_rounds(9), say=f"{side} px, {len(images)} images")
        worst = max(_difference(data, ours) for data in images)
        per_second = {name: len(images) / min(timing.cpu) for name, timing in timings.items()}
        details = {"images_per_cpu_second": per_second, "mean_kb": float(np.mean([len(data) for data in images])) / 1e3}
        names = list(sides)
        limit = ratio_line("", timings, names[0], names[3]).value
        decoders = ratio_line("", timings, names[4], names[3]).value
        note = (
            f"limit {limit:.2f}: the PIL pipeline / libjpeg-turbo alone, without any resize; "
            f"PIL's decoder alone takes {decoders:.2f} times as long as libjpeg-turbo"
        )
        yield ratio_line(
            f"{side} px JPEG to {SIZE} px, one by one, PIL / ours", timings, names[0], names[1], target, note, **details
        )
        note = f"batches of {len(images)}, as loaders deliver them: PIL's are collated, ours are written in place"
        yield ratio_line(f"{side} px JPEG to {SIZE} px, in batches", timings, names[5], names[1], target, note)
        yield ratio_line(f"{side} px, with normalisation on the CPU counted in ours", timings, names[0], names[2])
        yield Line(f"{side} px, largest difference to PIL", worst, "levels of 255", "<= 2")


def loader(settings: Settings) -> Iterator[Line]:
    """Row 11: bytes from tar shards, checked, decoded by threads into reused batch buffers; resized on the device."""
    packed, count = photo_set(settings), settings.pick(1024, 128)
    images = [packed.read_image(row) for row in range(count)]
    buffer = np.empty((512, 512, 3), np.uint8)

    def bare() -> None:
        for data in images:
            simplejpeg.decode_jpeg(data, buffer=buffer)

    batches = [RowBatch(Recipe(0), start, start + 64) for start in range(0, count, 64)]

    def load(num_threads: int, whole: bool) -> None:
        for _ in PixelBatches(packed, SPEC, num_threads=num_threads, whole=whole).raw(batches):
            pass

    sides = {
        "bare decode": bare,
        "loader, 1 thread": lambda: load(1, True),
        "loader, 2 threads": lambda: load(2, True),
        "loader with resize on the CPU, 1 thread": lambda: load(1, False),
    }
    timings = interleave(sides, settings.num_rounds(7), say=f"{len(images)} images of 512 px")
    note = "reading the shard and comparing each image with its sha256 is part of ours, not of the bare decode"
    for name, target in zip(list(sides)[1:], (">= 0.9", ">= 0.9", ""), strict=True):
        yield ratio_line(f"{name}: bare decode / ours", timings, "bare decode", name, target, note)


def _difference(data: bytes, ours: EvalTransform) -> int:
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    found = ours(decode_image(data, "image")).transpose(1, 2, 0)
    return int(np.abs(expected.astype(int) - found.astype(int)).max())
