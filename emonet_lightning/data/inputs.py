"""Where batches take their inputs from: cached features, or images that are decoded for each step."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from emonet_lightning.bad_samples import BadSample
from emonet_lightning.data.feature_store import FeatureStore
from emonet_lightning.data.sampling import Rows, choose_views
from emonet_lightning.decoding import decode_image
from emonet_lightning.transforms import Augmentation, EvalTransform, PreprocessSpec, TrainTransform, sample_seed


class Inputs(Protocol):
    """What batches take their inputs from."""

    device: torch.device
    bad: dict[int, str]
    """Places in what was taken last whose image cannot be read, with the reason."""

    def index(self, rows: Rows, epoch: int) -> Rows:
        """Return where the inputs of rows lie in an epoch, same shape."""
        ...

    def take(self, index: torch.Tensor, epoch: int) -> torch.Tensor:
        """Return the inputs [n, ...] of an index [n]."""
        ...


class FeatureInputs:
    """Cached features.

    Args:
        store: where they lie.
        seed: of the choice of a view, where there are several; None takes view 0 (evaluation).
    """

    def __init__(self, store: FeatureStore, seed: int | None = None) -> None:
        self.store = store
        self.seed = seed
        self.device = store.device
        self.bad: dict[int, str] = {}

    def index(self, rows: Rows, epoch: int) -> Rows:
        """Return `view * N + row`; the view is a pure function of (seed, epoch, row)."""
        if self.seed is None or self.store.num_views == 1:
            return rows
        return choose_views(self.seed, epoch, rows, self.store.num_views) * self.store.num_rows + rows

    def take(self, index: torch.Tensor, epoch: int) -> torch.Tensor:
        """Return features [n, D] float16."""
        return self.store.take(index)


class ImageSource(Protocol):
    """What pixels are read from: a packed set."""

    num_samples: int
    keys: list[str]

    def read_image(self, row: int) -> bytes:
        """Return the encoded image of a row."""


class ImageInputs:
    """Images, decoded and transformed; picklable for workers.

    Args:
        sets: packed sets, whose rows are numbered one set after the other.
        spec: preprocessing of the encoder.
        augmentation: random changes, a pure function of (seed, epoch, row); None for clean images.
        seed: of the augmentation.
        tolerant: a bad image is named in `bad` and has zeros for pixels; otherwise it is an error.
    """

    def __init__(
        self,
        sets: Sequence[ImageSource],
        spec: PreprocessSpec,
        augmentation: Augmentation | None,
        seed: int,
        tolerant: bool = False,
    ) -> None:
        self.sets = list(sets)
        self.starts = np.cumsum([0, *[packed.num_samples for packed in self.sets]])
        self.clean = EvalTransform(spec)
        self.changed = None if augmentation is None else TrainTransform(spec, augmentation)
        self.size = spec.size
        self.seed = seed
        self.tolerant = tolerant
        self.bad: dict[int, str] = {}
        self.device = torch.device("cpu")

    def index(self, rows: Rows, epoch: int) -> Rows:
        """Return the rows."""
        return rows

    def take(self, index: torch.Tensor, epoch: int) -> torch.Tensor:
        """Return pixels [n, 3, S, S] uint8.

        Raises:
            BadSample: an image cannot be read, and that is not tolerated.
        """
        self.bad = {}
        pixels = np.zeros((len(index), self.size, self.size, 3), dtype=np.uint8)
        for place, row in enumerate(index.tolist()):
            part = int(np.searchsorted(self.starts, row, side="right")) - 1
            local = row - int(self.starts[part])
            try:
                image = decode_image(self.sets[part].read_image(local), f"sample '{self.sets[part].keys[local]}'")
            except BadSample as error:
                if not self.tolerant:
                    raise
                self.bad[place] = error.reason
                continue
            changed = self.changed
            if changed is None:
                self.clean(image, out=pixels[place])
            else:
                changed(image, sample_seed(self.seed, epoch, row, 0), out=pixels[place])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)
