"""The heads of a run as a function from pictures to scores, with a bar and with what was computed kept."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emonet_lightning.errors import UsageError
from emonet_lightning.evaluation.columns import Array
from emonet_lightning.recognizer import EmotionRecognizer
from emonet_lightning.robustness.kept_scores import KeptArrays, heads_digest

Pictures = Iterable[tuple[str, Callable[[], Any]]]
_BATCH = 32


class Heads:
    """Heads and encoder, as the commands of this part name them.

    Args:
        command: for errors.
        run: folder of a run; or
        heads: folder of exported heads, or of released .pth files.
        device: cpu, cuda or cuda:N; default: the GPU if there is one.
        weights: where the encoder's weight file is now.

    Raises:
        UsageError: neither or both of `run` and `heads`.
        MissingInputError: no heads there.
    """

    def __init__(
        self, command: str, run: str | None, heads: str | None, device: str | None, weights: str | None
    ) -> None:
        if (run is None) == (heads is None):
            raise UsageError(f"{command}: give either --run DIR or --heads DIR")
        folder = str(run or heads)
        self.recognizer = EmotionRecognizer.load(folder, device, weights=weights)
        self.taxonomy = self.recognizer.bundle.taxonomy
        self.digest = heads_digest(self.recognizer.bundle)
        self.slugs = self.taxonomy.slugs[: self.taxonomy.num_emotions]
        self._described = {
            "folder": Path(folder).name,
            "digest": self.digest,
            "taxonomy": self.taxonomy.name,
            "encoder": self.recognizer.bundle.encoder.get("name"),
            "emotions": [
                {"slug": slug, "name": name} for slug, name in zip(self.slugs, self.taxonomy.names, strict=False)
            ],
        }

    def describe(self) -> dict[str, Any]:
        """Return what a report says of them."""
        return dict(self._described)

    def features(self, pictures: Pictures, count: int, advance: Callable[[int], None]) -> np.ndarray:
        """Return the encoder's features [n, D] float32 of n pictures, in their order."""
        threads = min(16, len(os.sched_getaffinity(0)))
        found: np.ndarray | None = None
        done = 0
        for names, features in self.recognizer.stream_features(pictures, _BATCH, None, threads):
            if found is None:
                found = np.empty((count, features.shape[1]), np.float32)
            found[done : done + len(names)] = features.float().cpu().numpy()
            done += len(names)
            advance(len(names))
        assert found is not None
        assert done == count
        return found

    def scores(self, features: np.ndarray) -> Array:
        """Return the emotions' scores [n, K] of features [n, D], in blocks of fixed size."""
        blocks = [
            self.recognizer.scores_of(torch.from_numpy(features[start : start + _BATCH]))
            for start in range(0, len(features), _BATCH)
        ]
        return np.concatenate(blocks)[:, : self.taxonomy.num_emotions].astype(np.float64)


def scorer(
    heads: Heads, kept: KeptArrays, of: Any, columns: list[int] | None, advance: Callable[[int], None]
) -> Callable[[str, int, Pictures], Array]:
    """Return the function from (condition, number of pictures, pictures) to scores [n, K].

    Args:
        heads: that give the scores.
        kept: where scores are kept, and looked for first.
        of: what decides about the pictures, as primitives.
        columns: of the heads' emotions; None: all.
        advance: of the bar, in pictures.
    """

    def score(condition: str, count: int, pictures: Pictures) -> Array:
        found = kept.get(
            condition,
            (count, len(heads.slugs)),
            [condition, count, of],
            lambda: heads.scores(heads.features(pictures, count, advance)),
            lambda: advance(count),
        )
        return found if columns is None else found[:, columns]

    return score
