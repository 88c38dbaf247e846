"""What a run keeps beside its weights: each emotion's best heads, metrics as lines, its speed.

Files of deterministic values (`metrics.jsonl`) and of measured times (`timing.jsonl`) are apart, so that two runs of
one seed can be compared byte by byte.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from emonet_lightning.batch import PairBatch
from emonet_lightning.bundle import HeadsBundle
from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.io import atomic_write, load_tensors, make_folder, save_tensors, write_errors
from emonet_lightning.messages import say
from emonet_lightning.module import EmpathicInsightFace

METRICS_FILE, TIMING_FILE = "metrics.jsonl", "timing.jsonl"


class RunLogger(Logger):
    """Writes each logging event as one JSON line; keys `time/...` go to `timing.jsonl`, all others to `metrics.jsonl`.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    @property
    def name(self) -> str:
        """Name that Lightning uses in paths."""
        return "run"

    @property
    def version(self) -> str:
        """Version that Lightning uses in paths."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: `run.yaml` holds the configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append a line to the file that the metrics belong in."""
        epoch = metrics.get("epoch")
        for file, timed in ((METRICS_FILE, False), (TIMING_FILE, True)):
            values = {k: v for k, v in metrics.items() if k.startswith("time/") == timed and k != "epoch"}
            if not values:
                continue
            plain = {key: float(value) if np.isfinite(value) else None for key, value in values.items()}
            line = {"step": step, "epoch": None if epoch is None else int(epoch), **plain}
            path = make_folder(self.folder) / file
            with write_errors(path), open(path, "a") as stream:
                stream.write(json.dumps(line) + "\n")

    def sizes(self) -> dict[str, int]:
        """Return how many bytes each file has: what a checkpoint remembers."""
        paths = {name: self.folder / name for name in (METRICS_FILE, TIMING_FILE)}
        return {name: path.stat().st_size if path.is_file() else 0 for name, path in paths.items()}

    @rank_zero_only
    def cut(self, sizes: Mapping[str, int]) -> None:
        """Drop what was written after a checkpoint: it will be written again.

        Args:
            sizes: as `sizes()` said when it was saved; a file that is not named is emptied.
        """
        for name in (METRICS_FILE, TIMING_FILE):
            path, size = self.folder / name, sizes.get(name, 0)
            found = path.stat().st_size if path.is_file() else 0
            if found > size:
                atomic_write(path, path.read_bytes()[:size])
            elif found < size:
                say(f"{path}: {size - found} bytes of lines from before the checkpoint are gone; the log has a gap")

    @rank_zero_only
    def sync(self) -> None:
        """Bring all lines to the disk."""
        for name in (METRICS_FILE, TIMING_FILE):
            path = self.folder / name
            if path.is_file():
                with write_errors(path), open(path, "rb") as stream:
                    os.fsync(stream.fileno())


class Throughput(Callback):
    """Measures rows per second of training, without the validation between epochs."""

    def __init__(self) -> None:
        self._rows = 0
        self._seconds = 0.0
        self._start = 0.0

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop the clock and count this process's rows."""
        self._seconds += time.perf_counter() - self._start
        self._rows += sum(part.num_rows if isinstance(part, PairBatch) else len(part.key) for part in batch)

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Log the epoch's rate over all processes."""
        replicated = getattr(trainer.strategy, "replicated", False)  # then every process counts the same rows
        rate = self._rows * (1 if replicated else trainer.world_size) / max(self._seconds, 1e-9)
        values = {"time/train_seconds": self._seconds, "time/rows_per_second": rate, "epoch": trainer.current_epoch}
        for logger in trainer.loggers:
            logger.log_metrics(values, trainer.global_step)
        self._rows, self._seconds = 0, 0.0


class BestHeads(Callback):
    """Keeps each emotion's heads of its own best epoch by `val/score`.

    An emotion with fewer than five positives or negatives in the validation rows takes the epoch that was best
    overall; without validation rows every emotion takes the last epoch. `heads.safetensors` and `manifest.json` in the
    run folder hold the result; `test`, `export` and the next stage use it. The snapshot stays in memory; with each
    checkpoint it is written to a file of its own, which the checkpoint names by digest: it would otherwise hold all
    heads twice.

    Args:
        patience: an emotion's head trains no more after so many epochs without a better one, and leaves the
            stack, so that epochs get cheaper; 0: all heads train to the end.
    """

    def __init__(self, patience: int = 0) -> None:
        if patience < 0:
            raise UsageError(f"best_heads.patience: {patience} must be at least 0")
        self.patience = patience
        self.folder: Path | None = None  # the command line sets it
        self._unwritten: int | None = None
        self.state: dict[str, torch.Tensor] = {}
        self.chosen: list[dict[str, Any]] = []
        self.constant: list[bool] = []
        self.best_mean = float("-inf")
        self.file: dict[str, str] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return choices and the snapshot's file, as primitives; the file is written first."""
        if self._unwritten is not None:
            self._write(self._unwritten)
            self._unwritten = None
        return {"chosen": self.chosen, "constant": self.constant, "best_mean": self.best_mean, "file": self.file}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up choices and, from its own file, the snapshot."""
        self.chosen, self.constant = state_dict["chosen"], state_dict["constant"]
        self.best_mean, self.file = state_dict["best_mean"], state_dict["file"]
        if self.file and self.folder is not None:
            self.state = load_tensors(self.folder / "checkpoints" / self.file["name"], self.file["sha256"])

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Forget what was logged by a run that never saved anything."""
        for logger in trainer.loggers:
            if isinstance(logger, RunLogger) and trainer.global_step == 0:
                logger.cut({})

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Copy the heads that are better than before."""
        assert isinstance(module, EmpathicInsightFace)
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING or module.last_val is None:
            return
        if self.choose(module, trainer.current_epoch):
            self._unwritten = trainer.global_step
        if new := self.out_of_patience(trainer.current_epoch, module.finished):
            module.finish(new)

    def choose(self, module: EmpathicInsightFace, epoch: int) -> bool:
        """Copy the heads that are better than before; tells whether any was.

        Args:
            module: whose `last_val` judges its heads as they are.
            epoch: whose heads these are.
        """
        result = module.last_val
        assert result is not None
        slugs = module.taxonomy.slugs
        first = not self.chosen
        if first:
            self.chosen = [{"epoch": None, "score": None, "by": "none"} for _ in slugs]
            self.constant = [False] * len(slugs)
            self.state = {name: value.detach().cpu().clone() for name, value in module.heads.state_dict().items()}
        better = result.mean > self.best_mean
        if better:
            self.best_mean = result.mean
        # while no epoch has a score, a later one is as good a choice as there is
        unknown = self.best_mean == float("-inf")
        improved = []
        for head, choice in enumerate(self.chosen):
            score = float(result.per_head[head])
            own = bool(result.selectable[head]) and (choice["by"] != "own" or score > choice["score"])
            if own or ((better or unknown) and choice["by"] != "own"):
                choice.update(epoch=epoch, score=None if np.isnan(score) else score)
                choice["by"] = "own" if own else ("last" if unknown else "overall")
                self.constant[head] = bool(result.constant[head])
                improved.append(head)
        if improved:
            for name, value in module.heads.state_dict().items():
                self.state[name][improved] = value[improved].detach().cpu()
        return bool(improved)

    def out_of_patience(self, epoch: int, finished: Sequence[int]) -> list[int]:
        """Return the heads, among those that have not finished, that had no better epoch for too long."""
        if not self.patience:
            return []
        # before any epoch had a score there is nothing to be patient about
        waited = [epoch - (choice["epoch"] or 0) for choice in self.chosen]
        return sorted({head for head, epochs in enumerate(waited) if epochs >= self.patience} - {*finished})

    @rank_zero_only
    def _write(self, step: int) -> None:
        if self.folder is None:
            return
        folder = self.folder / "checkpoints"
        name = f"best_heads-step={step:09d}.safetensors"
        self.file = {"name": name, "sha256": save_tensors(folder / name, self.state)}

    def on_fit_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Write the bundle of best heads into the run folder."""
        assert isinstance(module, EmpathicInsightFace)
        if self.folder is None or trainer.interrupted:
            return
        progress: Any = trainer.fit_loop.epoch_progress.current
        data: Any = getattr(trainer, "datamodule", None)
        self.settle(module, progress.processed)
        if trainer.is_global_zero:
            self.bundle(module, data, progress.processed, trainer.global_step).save(self.folder)
        trainer.strategy.barrier()

    def settle(self, module: EmpathicInsightFace, epochs: int) -> None:
        """Look at the choices after the last epoch: without any, each head is that of it; constant ones are named.

        Raises:
            DataError: heads with weights that are not finite.
        """
        slugs = module.taxonomy.slugs
        if not self.chosen:
            last = {"epoch": epochs - 1, "score": None, "by": "last"}
            self.chosen = [dict(last) for _ in slugs]
        state = self._kept(module)
        if any(not torch.isfinite(value).all() for value in state.values()):
            raise DataError("training diverged: the heads hold non-finite weights; lower model.lr")
        constant = [head for head, is_constant in enumerate(self.constant) if is_constant]
        names = [module.taxonomy.names[head] for head in constant]
        if names:
            rank_zero_warn(f"{len(names)} heads give every validation face the same score: {', '.join(names)}")

    def bundle(self, module: EmpathicInsightFace, data: Any, epochs: int, steps: int) -> HeadsBundle:
        """Return the best heads, once they are settled, with what is known of their training.

        Args:
            module: that was trained.
            data: its data module, or None.
            epochs: that it was trained for.
            steps: that it was trained for.
        """
        slugs = module.taxonomy.slugs
        return module.to_bundle(
            self._kept(module),
            best=dict(zip(slugs, self.chosen, strict=True)),
            constant_heads=[slug for slug, is_constant in zip(slugs, self.constant, strict=False) if is_constant],
            val_metric=data.score_metric if self.constant and data is not None else None,
            data=data.record() if data is not None else None,
            epochs=epochs,
            steps=steps,
        )

    def _kept(self, module: EmpathicInsightFace) -> dict[str, torch.Tensor]:
        return self.state or module.heads.state_dict()
