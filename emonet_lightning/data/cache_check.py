"""Encoding some images again, to see that a feature cache holds what the encoder makes of them here and now.

Digests tell whether a block is as it was written; this tells whether it was written rightly: by the same software, of
the same images in the same order, with augmentations that are drawn alike.
"""

from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from emonet_lightning.data.cache_blocks import BLOCK_ROWS, bad_rows, read_block
from emonet_lightning.data.embeddings import CachePlan
from emonet_lightning.data.pixel_batches import ImageRows, PixelBatches, RowBatch, decode_threads
from emonet_lightning.encoders import EncoderSpec, FrozenEncoder
from emonet_lightning.errors import DataError
from emonet_lightning.progress import progress_bar

TOLERANCE = 0.02
"""Relative difference of one image's features that is still taken for rounding: float16 leaves 5e-4, an encoder in
bfloat16 some 1e-2 where batches are of another size; two images of faces differ by more than 0.1."""


class CacheCheck(NamedTuple):
    """How far features that are encoded again are from those in a cache.

    Args:
        num: images that were encoded again, one view of each.
        absolute: largest difference of one value, in the encoder's units.
        relative: largest ratio ||again - cached|| / ||cached|| of one image.
        worst: key and view of that image.
    """

    num: int
    absolute: float
    relative: float
    worst: str


def check_cache(
    packed: ImageRows,
    spec: EncoderSpec,
    plan: CachePlan,
    count: int,
    *,
    tolerance: float = TOLERANCE,
    device: torch.device | str = "cpu",
    num_threads: int | None = None,
    progress: bool = True,
) -> CacheCheck:
    """Encode images again, drawn anew at each call, and compare them with a cache.

    Args:
        packed: images.
        spec: encoder.
        plan: of the cache; blocks that are not there yet are left out.
        count: images to draw, of any view; at most all are.
        tolerance: relative difference from which on features are wrong.
        device: where the encoder runs.
        num_threads: image decoding threads; default: the cores allotted to this process.
        progress: show a bar.

    Raises:
        DataError: features differ by more than the tolerance; names the worst image and its block.
    """
    there = [
        (view, row)
        for view, blocks in enumerate(plan.blocks)
        for block in blocks
        if block.path.exists()
        for row in sorted(set(range(block.start, block.stop)) - bad_rows(block, plan.dim).keys())
    ]
    drawn = sorted(np.random.default_rng().permutation(len(there))[:count].tolist())
    encoder = FrozenEncoder.load(spec).to(device)
    loader = PixelBatches(
        packed, encoder.preprocess, num_threads=decode_threads(num_threads), device=torch.device(device),
        whole=encoder.resizes_on_device,
    )  # fmt: skip
    found: list[tuple[float, float, int, int]] = []
    batches = [RowBatch(plan.views[view], row, row + 1) for view, row in (there[number] for number in drawn)]
    with (
        progress_bar(f"encode again {spec.name}", len(drawn), "images", progress) as advance,
        closing(loader(batches)) as pixels,
    ):
        for view, row in (there[number] for number in drawn):
            again = encoder.encode(next(pixels)).half().float().cpu()[0]
            block = plan.blocks[view][row // BLOCK_ROWS]
            cached = read_block(block, plan.dim)[row - block.start].float()
            difference = again - cached
            relative = float(difference.norm() / cached.norm())
            found.append((relative, float(difference.abs().max()), view, row))
            advance(1)
    if not found:
        return CacheCheck(0, 0.0, 0.0, "none")
    relative, _, view, row = max(found)
    if wrong := sum(not entry[0] <= tolerance for entry in found):
        path: Path = plan.blocks[view][row // BLOCK_ROWS].path
        raise DataError(
            f"{path}: features of sample '{packed.keys[row]}' (view {view}) are not what its image gives now: relative "
            f"difference {relative:.2g}, at most {tolerance:g} is rounding ({wrong} of {len(found)} images differ); "
            f"delete {path if wrong == 1 else path.parent} and run the same command again"
        )
    return CacheCheck(len(found), max(entry[1] for entry in found), relative, f"'{packed.keys[row]}', view {view}")
