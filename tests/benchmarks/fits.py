"""Runs of our module under Lightning's Trainer as the command line sets it up, with a clock around the training."""

import contextlib
import io
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from measuring import cpu_seconds

from emonet_lightning.callbacks import BestHeads, RunLogger, Throughput
from emonet_lightning.data.face_data import FaceDataModule
from emonet_lightning.module import EmpathicInsightFace
from emonet_lightning.run_cli import TRAINER_DEFAULTS


class EpochClock(Callback):
    """CPU and wall seconds of each training epoch, its end (logs, callbacks) included, validation too."""

    def __init__(self) -> None:
        self.cpu: list[float] = []
        self.wall: list[float] = []
        self._started = (0.0, 0.0)

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        now = (cpu_seconds(), time.perf_counter())
        if trainer.current_epoch:
            self._stop(now)
        self._started = now

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._stop((cpu_seconds(), time.perf_counter()))

    def _stop(self, now: tuple[float, float]) -> None:
        self.cpu.append(now[0] - self._started[0])
        self.wall.append(now[1] - self._started[1])


def fit(module: EmpathicInsightFace, data: FaceDataModule, epochs: int, **options: Any) -> EpochClock:
    """Train with the callbacks and the logger that the command line forces, in a folder that is thrown away."""
    clock, best = EpochClock(), BestHeads()
    with tempfile.TemporaryDirectory() as folder, quiet():
        best.folder = Path(folder)
        defaults = {"accelerator": "cpu", "devices": 1, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = Trainer(
            **{**TRAINER_DEFAULTS, "max_epochs": epochs, "default_root_dir": folder, **defaults, **options},
            callbacks=[best, Throughput(), clock],
        )
        trainer.loggers = [RunLogger(Path(folder))]
        trainer.fit(module, datamodule=data)
    return clock


def build(data: FaceDataModule, **options: Any) -> EmpathicInsightFace:
    """Return a module for this data after a fixed seed."""
    seed_everything(0, verbose=False)
    return EmpathicInsightFace(encoder=data.encoder, **options)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the printed plan out of the benchmark's own lines."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
