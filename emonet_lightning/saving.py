"""When a run saves its full state, and what of it.

A checkpoint holds all that decides what comes next: weights, optimiser, schedule, loops, position in the data, random
states of every process, the best heads so far (by digest), and how long the logs were. Saved within a validation it
goes on with this validation; saved between two steps it goes on with the next.
"""

import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from emonet_lightning.callbacks import RunLogger
from emonet_lightning.checkpoints import best_heads_files, check_run, checkpoint_name, named_checkpoints
from emonet_lightning.errors import UsageError
from emonet_lightning.io import fingerprint
from emonet_lightning.schedule import num_optimiser_steps
from emonet_lightning.stopping import StopBetweenBatches

KEPT = 2


class IntervalCheckpoint(StopBetweenBatches, Checkpoint):
    """Saves the full state at ends of epochs (the first, the last, others when some time has passed), and on a signal.

    An epoch of cached features can be shorter than the writing of its checkpoint (882 MB for 40 large heads); the best
    heads stay in memory meanwhile. A run that was stopped trains again, to the same bits, what the last one lacks.

    Args:
        folder: of checkpoints, in the run's.
        seconds: at least so long after the last one; 0 for every epoch.
        identity: fingerprints of the run that its checkpoints name.
        run: folder that is named to go on with; the parent of `folder` by default.
    """

    def __init__(
        self, folder: Path, seconds: float, identity: dict[str, str] | None = None, run: Path | None = None
    ) -> None:
        super().__init__(run or folder.parent)
        self.folder = folder
        self.seconds = seconds
        self.identity = identity or {}
        self._saved = float("-inf")
        self._resumed: dict[str, Any] | None = None
        self._within_validation = False

    def on_validation_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Stop here, if that was asked for; the checkpoint says that this validation is still due."""
        self._within_validation = True
        super().on_validation_batch_end(trainer, *args, **kwargs)
        self._within_validation = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget what was logged after the checkpoint; take up its random states, and whether the run was to end."""
        # Lightning counts a validation that is begun again twice, and would take the next one for begun
        trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.reset()
        if self._resumed is None:
            return
        for logger in trainer.loggers:
            if isinstance(logger, RunLogger):
                logger.cut(self._resumed["logs"])
        # here, and not as the checkpoint is read: the Trainer forgets it as it begins
        trainer.should_stop = trainer.should_stop or self._resumed["should_stop"]
        states = self._resumed["random"]
        set_random_state(states[trainer.global_rank % len(states)])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, if it is time; all processes do as the first one's clock says."""
        ends = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        ends = ends or 0 <= trainer.max_steps <= trainer.global_step
        super().on_train_epoch_end(trainer, pl_module)
        if trainer.strategy.broadcast(ends or time.monotonic() - self._saved >= self.seconds):
            self.save(trainer)

    def save(self, trainer: Trainer) -> bool:
        """Save now, verify, drop all but the newest two, and tell loggers that their lines so far are final."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return False
        step = trainer.global_step
        for logger in trainer.loggers:
            if isinstance(logger, RunLogger):
                logger.sync()
        trainer.save_checkpoint(self.folder / checkpoint_name(step))
        self._saved = time.monotonic()
        if trainer.is_global_zero:
            self._prune()
            for logger in trainer.loggers:
                if hasattr(logger, "committed"):
                    logger.committed(step)
        return True

    def _prune(self) -> None:
        found = named_checkpoints(self.folder)
        for stale in found[KEPT:]:
            stale.path.unlink(missing_ok=True)
        named = best_heads_files(self.folder, [checkpoint.step for checkpoint in found[:KEPT]])
        for path in self.folder.glob("best_heads-step=*.safetensors"):
            if path not in named:
                path.unlink(missing_ok=True)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add whose checkpoint it is, random states, length of logs, whether the run ends, a validation still due."""
        states: list[Any] = [None] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(states, random_state(), group=self.group)
        else:
            states = [random_state()]
        checkpoint["random"] = states
        checkpoint["run"] = self._identity(trainer)
        logs = [logger.sizes() for logger in trainer.loggers if isinstance(logger, RunLogger)]
        checkpoint["logs"] = logs[0] if logs else {}
        checkpoint["cut"] = _is_cut(trainer)
        checkpoint["should_stop"] = bool(trainer.should_stop)  # e.g. by EarlyStopping, which says so only once
        if self._within_validation:
            # Lightning would go on in the middle of it, without the scores so far: let it be begun anew
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
            none = {"ready": 0, "completed": 0, "started": 0, "processed": 0}
            progress["current"], progress["is_last_batch"] = dict(none), False
            progress["total"] = {**none, "ready": 1, "started": 1}

    def _identity(self, trainer: Trainer) -> dict[str, str]:
        data: Any = getattr(trainer, "datamodule", None)
        return {**self.identity, "data": fingerprint(data.fingerprint())} if self.identity and data else self.identity

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take up how long the logs were, the random states, and whether the run was about to end."""
        check_run(checkpoint, self._identity(trainer), "the run to go on with")
        if checkpoint.get("cut") and trainer.max_steps != checkpoint["global_step"]:
            raise UsageError(
                f"trainer.max_steps: the run to go on with ended at step {checkpoint['global_step']}, within an epoch, "
                "whose other rows would be left out; give the same number, or begin with its heads (init_heads_from)"
            )
        if "logs" in checkpoint and "random" in checkpoint:
            self._resumed = {"logs": checkpoint["logs"], "random": checkpoint["random"]}
            self._resumed["should_stop"] = bool(checkpoint.get("should_stop", False))


def _is_cut(trainer: Trainer) -> bool:
    """Whether `max_steps` ends the run within an epoch; Lightning takes that epoch for finished."""
    data: Any = getattr(trainer, "datamodule", None)
    if data is None or not 0 <= trainer.max_steps <= trainer.global_step:
        return False
    steps = num_optimiser_steps(data.num_steps, trainer.limit_train_batches, 1, -1)
    return steps > 0 and trainer.global_step % steps != 0


def random_state() -> dict[str, Any]:
    """Return the states of Python's, numpy's and PyTorch's generators, as plain values and tensors."""
    version, numbers, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002  (the global one, that others use)
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Go on with the random numbers of `random_state`; those of devices that are not here are left out."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available():
        for device, one in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(one, device)
