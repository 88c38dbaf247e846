"""One configuration of a stacked training: its module, its best heads, its log, and the folder that they end in.

The folder is that of an ordinary run: `run.yaml`, `metrics.jsonl`, `timing.jsonl`, and last `heads.safetensors` with
`manifest.json`. It has no checkpoints and no test.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import seed_everything

from emonet_lightning.bundle import MANIFEST_FILE
from emonet_lightning.callbacks import BestHeads, RunLogger
from emonet_lightning.data.face_data import FaceDataModule
from emonet_lightning.errors import DataError
from emonet_lightning.io import atomic_write, make_folder, write_errors
from emonet_lightning.judging import without
from emonet_lightning.module import EmpathicInsightFace
from emonet_lightning.redaction import redact
from emonet_lightning.same_run import RUN_FILE
from emonet_lightning.stages import NOT_THE_RUN
from emonet_lightning.yaml_files import dump_yaml


@dataclass(frozen=True)
class StackedResult:
    """What became of one configuration."""

    number: int
    """Its place among the points."""
    point: dict[str, Any]
    """Dotted option -> value."""
    folder: Path
    score: float
    """Highest `val/score` over emotions of its epochs; NaN if none was defined."""
    best: dict[str, dict[str, Any]]
    """Each emotion's `epoch`, `score` and `by`, as in the manifest; empty where it failed."""
    epochs: int
    """That any of its heads was trained for."""
    ended: str
    """Why it trained no more before the last epoch; empty where it did not end early."""
    error: str
    """Why it has no heads: one line; empty where the folder holds them."""


@dataclass
class Configuration:
    """One configuration while it trains."""

    number: int
    point: dict[str, Any]
    folder: Path
    module: EmpathicInsightFace
    best: BestHeads
    dropped: set[int] = field(default_factory=set)
    """Heads that successive halving gave up."""
    epochs: int = 0
    steps: int = 0
    ended: str = ""
    error: str = ""
    saved: bool = False
    drawn: torch.Tensor = field(default_factory=torch.get_rng_state)
    """State of the random numbers after the first weights were drawn."""

    @classmethod
    def build(cls, number: int, point: dict[str, Any], folder: Path, config: dict[str, Any]) -> "Configuration":
        """Draw its first weights as a run of its own would.

        Args:
            number: its place among the points.
            point: dotted option -> value.
            folder: where it is to end.
            config: its parsed configuration, as primitives.

        Raises:
            EmoNetError: options that do not go together.
        """
        best = BestHeads(**config["best_heads"])
        seed_everything(config["seed_everything"], verbose=False)
        return cls(number, point, folder, EmpathicInsightFace(**config["model"]).eval(), best)

    def begin(self, config: dict[str, Any], data: FaceDataModule) -> None:
        """Take what the module needs of the data, and empty the folder of an earlier run.

        Args:
            config: its parsed configuration, as primitives.
            data: set up, with its seed.

        Raises:
            EmoNetError: starting heads that do not fit, or a folder that cannot be written.
        """
        torch.set_rng_state(self.drawn)  # a last layer that is drawn anew is that of a run of its own
        self.module.prepare(data)
        self.module.to(data.device)
        with write_errors(make_folder(self.folder)):
            (self.folder / MANIFEST_FILE).unlink(missing_ok=True)  # a folder without one holds no heads
        self.logger.cut({})
        atomic_write(self.folder / RUN_FILE, dump_yaml(redact(without(config, *NOT_THE_RUN))))

    @property
    def logger(self) -> RunLogger:
        """Where its figures are written."""
        return RunLogger(self.folder)

    @property
    def remaining(self) -> list[int]:
        """Heads that still train."""
        finished = {*self.module.finished}
        return [head for head in range(self.module.heads.num_heads) if head not in finished]

    @property
    def score(self) -> float:
        """Highest `val/score` over emotions so far; NaN without any."""
        return self.best.best_mean if math.isfinite(self.best.best_mean) else math.nan

    def head_score(self, head: int) -> float:
        """Best score of one head so far; of the whole configuration where validation cannot judge the head."""
        choice = self.best.chosen[head] if self.best.chosen else {"by": "none"}
        return float(choice["score"]) if choice["by"] == "own" else self.score

    def log(self, values: dict[str, float], epoch: int) -> None:
        """Write figures of an epoch as `fit` does."""
        self.logger.log_metrics({**values, "epoch": epoch}, step=max(0, self.steps - 1))

    def log_times(self, values: dict[str, float], epoch: int) -> None:
        """Write measured times of an epoch as `fit` does."""
        self.logger.log_metrics({**values, "epoch": epoch}, step=self.steps)

    def finish(self, heads: Sequence[int]) -> None:
        """Train some heads no more."""
        self.module.finished = sorted({*self.module.finished, *heads})

    def fail(self, error: DataError) -> None:
        """Train no more, and leave no heads behind."""
        self.error = " ".join(str(error).split())
        self.finish(self.remaining)

    def save(self, data: FaceDataModule) -> None:
        """Write its best heads, once no head of it trains any more."""
        if self.saved or self.error:
            return
        try:
            self.best.settle(self.module, self.epochs)
        except DataError as error:
            self.fail(error)
            return
        self.best.bundle(self.module, data, self.epochs, self.steps).save(self.folder)
        self.logger.sync()
        self.saved = True

    def result(self) -> StackedResult:
        """Return what became of it."""
        slugs = self.module.taxonomy.slugs
        best = {} if self.error else dict(zip(slugs, self.best.chosen, strict=True))
        return StackedResult(
            self.number, self.point, self.folder, self.score, best, self.epochs, self.ended, self.error
        )
