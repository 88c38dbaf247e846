"""How a run stops: between two batches, in any phase, and after the same batch in all of its processes."""

import math
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from emonet_lightning import interruption
from emonet_lightning.checkpoints import VerifiedCheckpointIO
from emonet_lightning.errors import InterruptedRunError
from emonet_lightning.processes import note_failure, several

_AGREE_SECONDS = 0.2  # between two agreements of several processes: a fraction of any grace period


class StopBetweenBatches(Callback):
    """Ends a run that was asked to stop, at a place where it can go on from.

    Args:
        run: folder that is named to the user; None where nothing can go on.
    """

    def __init__(self, run: Path | None = None) -> None:
        self.run = run
        self.group: Any = None
        """Of all processes, on the CPU, apart from the one that gradients go through."""
        self._calls, self._next, self._since = 0, 1, 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let checkpoints be verified, make the processes' group; stop here if that was asked for meanwhile."""
        trainer.strategy.checkpoint_io = VerifiedCheckpointIO()
        # with `max_steps` Lightning takes a finished epoch for an unfinished one, and goes on without its validation
        trainer.fit_loop._iteration_based_training = lambda: False  # type: ignore[method-assign]
        if trainer.world_size > 1 and self.group is None and torch.distributed.is_initialized():
            self.group = torch.distributed.new_group(backend="gloo")
        self.stop_if_asked(trainer, "before the first step", always=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Be the one that says why, before the others notice that this process is gone."""
        if self.run is not None and several():
            note_failure(self.run)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop here, unless a validation or the end of the epoch comes next: they have places of their own."""
        loop = trainer.fit_loop.epoch_loop
        if not (loop._is_training_done or loop._should_check_val_fx(None)):  # type: ignore[arg-type]
            self.stop_if_asked(trainer, "in training", save=True)

    def on_validation_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Stop here; in a sanity check nothing has happened yet that would have to be saved."""
        within = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        self.stop_if_asked(trainer, "in validation", save=within)

    def on_test_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Stop here; what was trained is there."""
        self.stop_if_asked(trainer, "in the test")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop here."""
        self.stop_if_asked(trainer, f"at the end of epoch {trainer.current_epoch}", save=True, always=True)

    def stop_if_asked(self, trainer: Trainer, where: str, save: bool = False, always: bool = False) -> None:
        """Raise InterruptedRunError if any process was asked to stop.

        Args:
            trainer: at work.
            where: it is, in words.
            save: the state first.
            always: with several processes: agree now, not only every few batches.
        """
        asked = self.agreed(trainer, always)
        if asked is None:
            return
        saved = save and self.save(trainer)
        goes_on = f"the same command with --out {self.run} goes on" if self.run is not None else "nothing was written"
        if save and not saved:
            goes_on = "nothing was saved, since checkpoints are off"
        raise InterruptedRunError(f"{self.run or trainer.state.fn}: interrupted by {asked} {where}; {goes_on}")

    def save(self, trainer: Trainer) -> bool:
        """Save the full state; returns whether that was done."""
        return False

    def agreed(self, trainer: Trainer, always: bool = False) -> str | None:
        """Return the name of a signal that any process has received; all of them return it after the same batch."""
        if self.group is None:
            return interruption.requested()
        self._calls += 1
        if self._calls < self._next and not always:
            return None
        now = time.monotonic()
        seconds = (now - self._since) / self._calls if self._since else _AGREE_SECONDS
        numbers = {signal.name: int(signal) for signal in interruption.SIGNALS}
        wait = math.ceil(_AGREE_SECONDS / max(seconds, 1e-5))
        mine = torch.tensor([numbers.get(interruption.requested() or "", 0), wait])
        torch.distributed.all_reduce(mine, torch.distributed.ReduceOp.MAX, group=self.group)
        self._calls, self._next, self._since = 0, int(mine[1]), now
        return next((name for name, number in numbers.items() if number == int(mine[0])), None)
