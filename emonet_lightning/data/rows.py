"""Datasets that turn a `BatchIndex` into an `EmotionBatch`: a whole batch per item, nothing is collated row by row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch.utils.data import Dataset

from emonet_lightning.batch import EmotionBatch
from emonet_lightning.data.labels import LabelTable
from emonet_lightning.data.sampling import BatchIndex
from emonet_lightning.transforms import (
    Augmentation,
    EvalTransform,
    PreprocessSpec,
    TrainTransform,
    decode_image,
    sample_seed,
)


class ImageSource(Protocol):
    """What pixels are read from: a packed set."""

    num_samples: int

    def read_image(self, row: int) -> bytes:
        """Return the encoded image of a row."""


class EmotionRows(Dataset[EmotionBatch]):
    """Labels by row; subclasses add the inputs. Padding rows get zeros and an all-False mask."""

    def __init__(self, labels: LabelTable) -> None:
        self.target = torch.from_numpy(labels.target)
        self.mask = torch.from_numpy(labels.mask)

    def inputs(self, rows: torch.Tensor, epoch: int) -> torch.Tensor:
        """Return the inputs of real (non-padding) rows [n]."""
        raise NotImplementedError

    def __getitem__(self, index: BatchIndex) -> EmotionBatch:
        key = torch.from_numpy(index.rows)
        real = key >= 0
        rows = key[real]
        inputs = self.inputs(rows, index.epoch)
        target = self.target.index_select(0, rows)
        mask = self.mask.index_select(0, rows)
        if len(rows) < len(key):  # padding is always at the end of a process's share
            inputs, target, mask = (_pad(part, len(key)) for part in (inputs, target, mask))
        num_labels = self.mask[torch.from_numpy(np.ascontiguousarray(index.global_rows))].sum(0).float()
        idle = tuple((num_labels == 0).nonzero().flatten().tolist())
        return EmotionBatch(inputs, target, mask, key, num_labels, idle)


class FeatureRows(EmotionRows):
    """Cached features.

    Args:
        features: [V, N, D] float16, view 0 clean.
        labels: of the N rows.
        seed: of the choice of a view, where there are several; None takes view 0 (evaluation).
    """

    def __init__(self, features: torch.Tensor, labels: LabelTable, seed: int | None = None) -> None:
        super().__init__(labels)
        self.num_views, self.num_rows, _ = features.shape
        self.features = features.flatten(0, 1)
        self.seed = seed
        self._views: tuple[int, torch.Tensor] = (-1, torch.empty(0))

    def inputs(self, rows: torch.Tensor, epoch: int) -> torch.Tensor:
        """Return features [n, D] float16; the view is a pure function of (seed, epoch, row)."""
        if self.seed is not None and self.num_views > 1:
            if self._views[0] != epoch:
                generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, epoch, 1])))
                self._views = (epoch, torch.from_numpy(generator.integers(self.num_views, size=self.num_rows)))
            rows = self._views[1][rows] * self.num_rows + rows
        # index_select: fancy indexing of float16 is 2.6 times slower
        return self.features.index_select(0, rows)


class ImageRows(EmotionRows):
    """Images, decoded and transformed.

    Args:
        sets: packed sets, whose rows are numbered one set after the other.
        labels: of all rows.
        transform: (image [H, W, 3] uint8, epoch, row) -> pixels [3, S, S] uint8.
        size: S.
    """

    def __init__(
        self,
        sets: Sequence[ImageSource],
        labels: LabelTable,
        transform: Callable[[np.ndarray, int, int], np.ndarray],
        size: int,
    ) -> None:
        super().__init__(labels)
        self.sets = list(sets)
        self.starts = np.cumsum([0, *[packed.num_samples for packed in self.sets]])
        self.transform = transform
        self.size = size

    def inputs(self, rows: torch.Tensor, epoch: int) -> torch.Tensor:
        """Return pixels [n, 3, S, S] uint8."""
        pixels = torch.zeros(len(rows), 3, self.size, self.size, dtype=torch.uint8)
        for place, row in enumerate(rows.tolist()):
            part = int(np.searchsorted(self.starts, row, side="right")) - 1
            local = row - int(self.starts[part])
            image = decode_image(self.sets[part].read_image(local), f"row {local} of set {part}")
            pixels[place] = torch.as_tensor(self.transform(image, epoch, row))
        return pixels


@dataclass(frozen=True)
class Pixels:
    """Transform of one image: clean, or augmented by a pure function of (seed, epoch, row); picklable for workers."""

    spec: PreprocessSpec
    augmentation: Augmentation | None
    seed: int

    def __call__(self, image: np.ndarray, epoch: int, row: int) -> np.ndarray:
        """Return the pixels [3, S, S] uint8 of an image [H, W, 3] uint8."""
        if self.augmentation is None:
            return EvalTransform(self.spec)(image)
        return TrainTransform(self.spec, self.augmentation)(image, sample_seed(self.seed, epoch, row, 0))


def _pad(part: torch.Tensor, length: int) -> torch.Tensor:
    return torch.cat([part, part.new_zeros(length - len(part), *part.shape[1:])])
