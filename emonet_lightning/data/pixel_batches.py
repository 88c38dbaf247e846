"""Pixels by batch: threads read, decode and resize into a ring of reused buffers while the encoder works.

Threads and not processes, because the decoder and the resize release Python's lock, and pixels need not be copied
between processes. On CUDA the buffers are pinned, so that copies to the device are made by the device itself.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from emonet_lightning.bad_samples import BadSample
from emonet_lightning.decoding import decode_image
from emonet_lightning.transforms import Augmentation, EvalTransform, PreprocessSpec, TrainTransform, sample_seed

RING = 3
"""Batches in memory: one that the encoder reads, and two being decoded."""
MAX_WHOLE = 1 << 21
"""Pixels up to which an image is shipped whole to be resized on the device; bounds a batch's memory."""


class ImageRows(Protocol):
    """Images by row: a packed set, or files as they lie."""

    @property
    def num_samples(self) -> int:
        """Number of rows N."""

    @property
    def keys(self) -> list[str]:
        """Name of each row [N]."""

    @property
    def digest(self) -> str:
        """Digest of names and contents."""

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


class RowBatch(NamedTuple):
    """Rows `start`..`stop` of a set, in the view that a recipe makes."""

    recipe: Recipe
    start: int
    stop: int


def decode_threads(num_threads: int | None = None) -> int:
    """Return how many threads may decode images: what is asked for, at most the cores allotted to this process."""
    allotted = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allotted = min(allotted, int(os.environ.get("SLURM_CPUS_PER_TASK") or allotted))
    return max(1, min(num_threads if num_threads is not None else allotted, allotted))


RawBatch = tuple[RowBatch, torch.Tensor, dict[int, np.ndarray]]


class PixelBatches:
    """Iterates over the pixels of batches of rows.

    With `whole`, clean images of the set's usual size (its first image's) are shipped as they are and resized on the
    device; all others, and augmented views, are resized by the decoding threads. Which images those are depends on the
    set alone, so that features do not depend on who computes which rows.
    """

    def __init__(
        self,
        packed: ImageRows,
        preprocess: PreprocessSpec,
        *,
        num_threads: int,
        device: torch.device | str = "cpu",
        whole: bool = False,
        on_bad: Callable[[int, BadSample], None] | None = None,
    ) -> None:
        """Set up.

        Args:
            packed: images.
            preprocess: of the encoder.
            num_threads: threads that read, decode and resize.
            device: where pixels are needed.
            whole: resize on the device where possible.
            on_bad: told, by any thread, of each row whose image is bad, and with what; its pixels are zero then. By
                default a bad image is an error. The first one always is where images are shipped whole.
        """
        self._on_bad = on_bad
        self.packed = packed
        self.num_threads = num_threads
        self.device = torch.device(device)
        self._clean = EvalTransform(preprocess)
        self._changed: dict[Augmentation, TrainTransform] = {}
        self._input = (preprocess.size, preprocess.size, 3)
        self._whole = self._usual_shape() if whole else None
        self._last = threading.local()

    def __call__(self, batches: Iterable[RowBatch]) -> Generator[torch.Tensor, None, None]:
        """Yield pixels [n, 3, S, S] uint8 on the device, channels last; valid until the next are asked for.

        Raises:
            BadSample: an unreadable image; names the sample.
        """
        for batch, pixels, odd in self.raw(batches):
            pixels = pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
            if self._is_whole(batch.recipe):
                pixels = self._clean.on_device(pixels)
                for place, image in odd.items():
                    pixels[place] = torch.from_numpy(image).to(self.device)
            yield pixels

    def raw(self, batches: Iterable[RowBatch]) -> Generator[RawBatch, None, None]:
        """Yield what the threads make of each batch, before anything is copied to the device.

        Yields:
            The batch; its buffer [n, H, W, 3] uint8 on the host, valid until the next one is asked for (H = W = S
            unless images are shipped whole); and images [3, S, S] by place in the batch that could not be shipped whole
            and have no content in the buffer.
        """
        free = deque(_Buffer(self.device) for _ in range(RING))
        pending: deque[tuple[RowBatch, _Buffer, torch.Tensor, list[Future[dict[int, np.ndarray]]]]] = deque()
        todo = iter(batches)
        with ThreadPoolExecutor(self.num_threads) as pool:
            try:
                while True:
                    while free and (batch := next(todo, None)) is not None:
                        buffer = free.popleft()
                        shape = self._whole if self._whole and self._is_whole(batch.recipe) else self._input
                        pixels = buffer.view(batch.stop - batch.start, shape)
                        pending.append((batch, buffer, pixels, self._submit(pool, batch, pixels.numpy())))
                    if not pending:
                        return
                    batch, buffer, pixels, jobs = pending.popleft()
                    odd = {place: image for job in jobs for place, image in job.result().items()}
                    yield batch, pixels, odd
                    buffer.release()
                    free.append(buffer)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _submit(self, pool: ThreadPoolExecutor, batch: RowBatch, pixels: np.ndarray) -> list[Future[Any]]:
        # several images a task: handing one to a thread costs as much as a twentieth of decoding it
        count, step = batch.stop - batch.start, max(1, min(8, 96 // self.num_threads))
        fill: Callable[..., Any] = self._ship if self._is_whole(batch.recipe) else self._fill
        return [
            pool.submit(fill, batch, pixels, range(first, min(first + step, count))) for first in range(0, count, step)
        ]

    def _fill(self, batch: RowBatch, pixels: np.ndarray, places: range) -> dict[int, np.ndarray]:
        recipe = batch.recipe
        for place in places:
            row = batch.start + place
            # into the memory of this thread's last image, where sizes agree: fresh pages cost 5 % of a large one
            image = self._decode(row, getattr(self._last, "image", None))
            if image is None:
                pixels[place] = 0
                continue
            self._last.image = image
            if recipe.augmentation is None or recipe.seed is None:
                self._clean(image, pixels[place])
                continue
            change = self._changed.setdefault(
                recipe.augmentation, TrainTransform(self._clean.spec, recipe.augmentation)
            )
            change(image, sample_seed(recipe.seed, 0, row, recipe.view), pixels[place])
        return {}

    def _ship(self, batch: RowBatch, pixels: np.ndarray, places: range) -> dict[int, np.ndarray]:
        odd = {}
        for place in places:
            row, slot = batch.start + place, pixels[place]
            image = self._decode(row, slot)
            if image is None:
                slot[...] = 0
            elif image.shape != slot.shape:
                odd[place] = self._clean(image)
            elif image is not slot:
                slot[...] = image
        return odd

    def _decode(self, row: int, out: np.ndarray | None) -> np.ndarray | None:
        try:
            return decode_image(self.packed.read_image(row), self.packed.keys[row], out)
        except BadSample as error:
            if self._on_bad is None:
                raise
            self._on_bad(row, error)
            return None

    def _is_whole(self, recipe: Recipe) -> bool:
        return self._whole is not None and recipe.augmentation is None

    def _usual_shape(self) -> tuple[int, int, int] | None:
        if not self.packed.num_samples:
            return None
        height, width = decode_image(self.packed.read_image(0), self.packed.keys[0]).shape[:2]
        return (height, width, 3) if height * width <= MAX_WHOLE else None


class _Buffer:
    """Memory of one batch, used again and again; grows to the largest."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._memory = torch.empty(0, dtype=torch.uint8)
        self._read: torch.cuda.Event | None = None

    def view(self, count: int, shape: tuple[int, int, int]) -> torch.Tensor:
        """Return memory [count, H, W, 3] once the device has read what was in it."""
        if self._read is not None:
            self._read.synchronize()
        size = count * shape[0] * shape[1] * shape[2]
        if len(self._memory) < size:
            self._memory = torch.empty(size, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        return self._memory[:size].view(count, *shape)

    def release(self) -> None:
        """Say that all work on the content is queued; waiting for it here keeps the host at most a ring ahead."""
        if self._device.type == "cuda":
            self._read = torch.cuda.Event()
            self._read.record(torch.cuda.current_stream(self._device))
