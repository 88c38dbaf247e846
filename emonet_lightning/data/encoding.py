"""From images by row to blocks of features: threads read and decode, the encoder runs, one thread writes.

Threads and not processes, because the decoder and the resize release Python's lock, and pixels need not be copied
between processes. Batches lie inside blocks, so a block's bytes do not depend on who wrote which block.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from emonet_lightning.data.cache_blocks import Block, save_block
from emonet_lightning.encoders import ENCODE_BATCH, FrozenEncoder
from emonet_lightning.errors import DataError
from emonet_lightning.transforms import (
    Augmentation,
    EvalTransform,
    PreprocessSpec,
    TrainTransform,
    decode_image,
    sample_seed,
)

_LARGEST = 6e4  # float16 ends at 65504


class ImageRows(Protocol):
    """Images by row: a packed set."""

    num_samples: int
    keys: list[str]
    digest: str

    def read_image(self, row: int) -> bytes:
        """Return the encoded image of a row."""


class Recipe(NamedTuple):
    """How the pixels of one view are made: view 0 is clean."""

    view: int
    augmentation: Augmentation | None = None
    seed: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON-able primitives."""
        options = None if self.augmentation is None else self.augmentation.to_dict()
        return {"view": self.view, "augmentation": options, "seed": self.seed}


def decode_threads(num_threads: int | None = None) -> int:
    """Return how many threads may decode images: what is asked for, at most the cores allotted to this process."""
    allotted = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allotted = min(allotted, int(os.environ.get("SLURM_CPUS_PER_TASK") or allotted))
    return max(1, min(num_threads if num_threads is not None else allotted, allotted))


def encode_blocks(
    packed: ImageRows,
    encoder: FrozenEncoder,
    todo: list[tuple[Recipe, Block]],
    num_threads: int,
    advance: Callable[[int], None],
) -> None:
    """Encode blocks and write each when it is done.

    Args:
        packed: images.
        encoder: on the device where it shall run.
        todo: what to make, in this order.
        num_threads: image decoding threads.
        advance: is told how many images were encoded.

    Raises:
        DataError: an unreadable image, or features that float16 does not hold; names the sample.
        OutputError: a block cannot be written.
    """
    read = _reader(packed, encoder.preprocess)
    jobs = ((recipe, row) for recipe, block in todo for row in range(block.start, block.stop))
    pixels = _in_order(read, jobs, num_threads, lookahead=2 * ENCODE_BATCH + num_threads)
    writes: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1) as writer:
        for _, block in todo:
            features = []
            for start in range(block.start, block.stop, ENCODE_BATCH):
                count = min(ENCODE_BATCH, block.stop - start)
                batch = torch.from_numpy(np.stack([next(pixels) for _ in range(count)]))
                if encoder.mean.is_cuda:
                    batch = batch.pin_memory()
                features.append(encoder.encode(batch))
                advance(count)
            writes.append(writer.submit(save_block, block, _as_half(torch.cat(features), block, packed.keys)))
            if len(writes) > 2:
                writes.popleft().result()
        for write in writes:
            write.result()


def _reader(packed: ImageRows, preprocess: PreprocessSpec) -> Callable[[Recipe, int], np.ndarray]:
    clean = EvalTransform(preprocess)
    changed: dict[Augmentation, TrainTransform] = {}

    def read(recipe: Recipe, row: int) -> np.ndarray:
        image = decode_image(packed.read_image(row), packed.keys[row])
        if recipe.augmentation is None or recipe.seed is None:
            return clean(image)
        transform = changed.setdefault(recipe.augmentation, TrainTransform(preprocess, recipe.augmentation))
        return transform(image, sample_seed(recipe.seed, 0, row, recipe.view))

    return read


def _in_order(
    read: Callable[..., np.ndarray], jobs: Iterator[tuple[Any, ...]], num_threads: int, lookahead: int
) -> Iterator[np.ndarray]:
    """Run `read` in threads (decoders release the GIL) and yield results in the order of the jobs."""
    with ThreadPoolExecutor(num_threads) as pool:
        pending: deque[Future[np.ndarray]] = deque()
        try:
            for job in jobs:
                pending.append(pool.submit(read, *job))
                if len(pending) >= lookahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _as_half(features: torch.Tensor, block: Block, keys: list[str]) -> torch.Tensor:
    largest = features.abs().amax(dim=1).cpu()
    bad = torch.nonzero(~(largest < _LARGEST)).flatten().tolist()  # NaN compares as False
    if bad:
        raise DataError(
            f"sample '{keys[block.start + bad[0]]}': encoder features reach {largest[bad[0]]:g}, float16 ends at 65504 "
            f"({len(bad)} such samples in this block); use --model.encoder.dtype float32 or another encoder"
        )
    return features.half().cpu()
