"""HeadTraining: how the heads are trained, a step at a time, many steps a call, until each has finished.

Optimisation is manual in Lightning's sense, so that one call of `training_step` can take several optimiser steps: a
call costs about 0.4 ms of Python, more than a step of small heads. Whatever the number of steps a call, their results
are bit-equal, and `trainer.global_step` counts optimiser steps.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_warn
from torch.optim.lr_scheduler import LRScheduler

from emonet_lightning.batch import EmotionBatch, LabelSource, PairBatch
from emonet_lightning.heads import EmotionHeads
from emonet_lightning.objective import Objective, Remaining, mean_losses, narrow_state, own_losses, own_rates
from emonet_lightning.optimizer import HeadwiseAdamW, clip_per_head
from emonet_lightning.schedule import bounded_steps, count_calls, num_optimiser_steps, step_seconds, warmup_cosine
from emonet_lightning.taxonomy import Taxonomy
from emonet_lightning.transforms import sample_seed, seed_step


class Stack(NamedTuple):
    """The heads that a step computes, and what they minimise."""

    heads: EmotionHeads
    objective: Objective


class HeadTraining(LightningModule):
    """The training half of the module; the other half gives it heads, features and labels' scales."""

    heads: EmotionHeads
    taxonomy: Taxonomy
    low: torch.Tensor
    high: torch.Tensor
    positive_weight: torch.Tensor
    train_loss: torch.Tensor
    """Sum over steps of each head's loss, and in how many it had labels [2, K]."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.finished: list[int] = []
        """Heads that train no more."""
        self.skipped: Counter[int] = Counter()
        """In how many steps of this epoch a head's gradient was not finite."""
        self._remaining: list[Remaining] = []  # in a list: not a sub-module, the checkpoint holds all heads anyway
        self._step_in_epoch = 0

    def features(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return what the heads take [B, D] float32, of features or images."""
        raise NotImplementedError

    # -- steps -------------------------------------------------------------------------------------------------------

    def on_fit_start(self) -> None:
        """Say how many steps the data puts into one call."""
        data, steps = self._data, self.hparams["steps_per_call"]
        if data is not None:
            if steps > 1:
                measured = bounded_steps(steps, step_seconds(self.heads, data.batch_size, self.device))
                steps = self.trainer.strategy.broadcast(measured)
            data.steps_per_call = steps

    def on_train_start(self) -> None:
        """Count steps and calls from where the run goes on; finished heads stay finished."""
        self._step_in_epoch = 0
        self.train_loss = self.train_loss.to(self.device)
        positions: Any = getattr(self.trainer.train_dataloader, "positions", None)
        if (resumed := getattr(positions, "resumed", None)) is not None:
            if resumed.epoch == self.current_epoch:
                self._step_in_epoch = resumed.step
            else:
                self.train_loss.zero_()
            progress = self.trainer.fit_loop.epoch_loop.batch_progress
            count_calls(progress, positions.num_calls(resumed.step), len(positions))
        if self.finished:
            self._leave_out()

    def on_train_epoch_start(self) -> None:
        """Count steps and losses anew; not called where a run goes on within an epoch."""
        self._step_in_epoch = 0
        self.train_loss.zero_()

    def training_step(self, batches: list[EmotionBatch | PairBatch], batch_idx: int) -> dict[str, torch.Tensor]:
        """Take one optimiser step per batch; returns the loss of the last: the sum over heads of their mean losses."""
        trainer, loss, first = self.trainer, torch.zeros(()), self._step_in_epoch
        progress = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        optimizer, scheduler = trainer.optimizers[0], trainer.lr_scheduler_configs[0].scheduler
        assert isinstance(optimizer, HeadwiseAdamW)
        assert isinstance(scheduler, LRScheduler)
        rank, world = (0, 1) if self._alone else (trainer.global_rank, trainer.world_size)
        seed, epoch = getattr(self._data, "seed", 0), self.current_epoch
        few = self._remaining[0] if self._remaining else None
        stack = Stack(self.heads, self.objective) if few is None else Stack(few.heads, few.objective)
        labelled = np.zeros(stack.heads.num_heads)  # steps with labels of each head: known without asking a device
        for step, batch in enumerate(batches, start=first):
            if 0 <= trainer.max_steps <= trainer.global_step:
                # the epoch's end was not reached: no validation there, as with one step a call
                trainer.fit_loop.epoch_loop._skip_next_val = True
                break
            # dropout is a pure function of the step: whatever was drawn before it, and in a resumed run, too
            seed_step(sample_seed(seed, epoch, step, rank), self.device)
            progress.increment_ready()
            batch = batch if few is None else few.kept.narrow(batch)
            loss = self._optimiser_step(optimizer, stack, batch, world)
            scheduler.step()
            progress.increment_completed()
            labelled += 1
            labelled[list(batch.idle)] -= 1
        if few is None:
            labelled[self.finished] = 0
        self._step_in_epoch = first + len(batches)
        self.train_loss[1, self._columns] += torch.from_numpy(labelled).to(self.train_loss)
        return {"loss": loss}

    def _optimiser_step(
        self, optimizer: HeadwiseAdamW, stack: Stack, batch: EmotionBatch | PairBatch, world_size: int
    ) -> torch.Tensor:
        parameters = optimizer.param_groups[0]["params"]
        for parameter in parameters:  # before the forward pass: the old gradients would stay alive through it
            parameter.grad = None
        per_head = stack.objective(stack.heads, self.features(batch.inputs), batch)
        loss = per_head.sum()
        # gradients are averaged over processes, whose parts add up to the global mean: hence the factor
        if self._alone:
            loss.backward()  # Lightning's own call takes longer than this step of small heads
        else:
            self.manual_backward(loss * world_size)
        with torch.no_grad():
            if self._remaining:
                self.train_loss[0].index_add_(0, self._columns, per_head)
            else:
                self.train_loss[0] += per_head
        finite = clip_per_head(parameters, self.hparams["clip_norm"])
        optimizer.idle = batch.idle if self._remaining else (*batch.idle, *self.finished)
        # the one wait for the device: exact for every head, at the price of a few hundredths of a millisecond
        if not bool(finite.all()):
            bad = torch.nonzero(~finite).flatten()
            self.skipped.update((self._columns[bad] if self._remaining else bad).tolist())
            optimizer.idle = (*optimizer.idle, *bad.tolist())
        optimizer.step()
        return loss.detach()

    @property
    def _columns(self) -> Any:
        """Where the heads that still train are among all."""
        return self._remaining[0].kept.columns if self._remaining else slice(None)

    @property
    def objective(self) -> Objective:
        """What all heads minimise."""
        weight = self.positive_weight if self.hparams["imbalance"] == "balanced" else None
        return Objective(self.hparams["loss"], self.hparams["huber_delta"], self.low, self.high, weight)

    # -- finished heads ----------------------------------------------------------------------------------------------

    def finish(self, heads: Sequence[int]) -> None:
        """Train some heads no more: they keep their weights and leave the stack that is computed in a step.

        Under DDP they are left as they are, but still computed: its gradient buckets are made once.
        """
        self._write_back()
        previous = self.finished
        self.finished = sorted({*previous, *heads})
        self._leave_out()
        if self._compacts:
            optimizer = self.trainer.optimizers[0]
            assert isinstance(optimizer, HeadwiseAdamW)
            stacked = [head for head in range(self.heads.num_heads) if head not in previous]
            self._compact()
            kept = [stacked.index(head) for head in stacked if head not in self.finished]
            optimizer.select(kept, self._remaining[0].heads.parameters())

    def _leave_out(self) -> None:
        if self._data is not None:
            self._data.leave_out(self.finished)
        self.trainer.should_stop = self.trainer.should_stop or len(self.finished) == self.heads.num_heads

    @property
    def _compacts(self) -> bool:
        some = 0 < len(self.finished) < self.heads.num_heads
        return some and self._trainer is not None and self._alone  # without a Trainer a checkpoint is only looked at

    def _compact(self) -> None:
        remaining = [head for head in range(self.heads.num_heads) if head not in self.finished]
        self._remaining = [Remaining.of(self.heads, self.objective, remaining)]

    def _write_back(self) -> None:
        if self._remaining:
            self.heads.put(self._columns.tolist(), self._remaining[0].heads)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Return the state with all heads up to date."""
        self._write_back()
        return super().state_dict(*args, **kwargs)

    def on_validation_start(self) -> None:
        """Evaluate what was trained last; the same on every process."""
        self._write_back()
        if getattr(self.trainer.strategy, "replicated", False):
            for parameter in self.heads.parameters():
                torch.distributed.broadcast(parameter.data, src=0)

    # -- optimiser ---------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """AdamW over the heads only; warm-up and cosine per step."""
        given, optimizer = self.hparams, self.adamw(self.heads.parameters())
        if self._compacts:
            self._compact()
            optimizer.select(self._columns.tolist(), self._remaining[0].heads.parameters())
        schedule = warmup_cosine(optimizer, self._num_steps(), given["warmup_share"], given["final_lr_share"])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step", "name": "lr"}}

    def adamw(self, parameters: Iterable[torch.nn.Parameter]) -> HeadwiseAdamW:
        """Return an optimiser of all heads with this module's options, over parameters [K, ...]."""
        given = self.hparams
        scale, decay = own_rates(given["per_emotion"], self.taxonomy.slugs, given["lr"], given["weight_decay"])
        rates = {"eps": given["adam_eps"], "lr_scale": scale, "head_weight_decay": decay}
        return HeadwiseAdamW(parameters, given["lr"], given["weight_decay"], **rates)

    def _num_steps(self) -> int:
        trainer, data = self.trainer, self._data
        if data is None:
            return int(trainer.estimated_stepping_batches)
        return num_optimiser_steps(data.num_steps, trainer.limit_train_batches, trainer.max_epochs, trainer.max_steps)

    # -- the epoch's end ---------------------------------------------------------------------------------------------

    def on_train_epoch_end(self) -> None:
        """Log the epoch's mean loss, per head and over heads, once."""
        replicated = getattr(self.trainer.strategy, "replicated", False)
        total = self.train_loss.clone()
        total = total if replicated else self.trainer.strategy.reduce(total, reduce_op="sum")
        total[1] = self.train_loss[1]  # every process counts the same steps
        self.publish(self.epoch_losses(total, self.current_epoch, self.trainer.optimizers[0]))

    def epoch_losses(self, sums: torch.Tensor, epoch: int, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """Return an epoch's figures of training, from sums as in `train_loss`; begin to count losses and skips anew.

        Raises:
            DataError: no head has a finite loss.
        """
        sums = sums.clone()
        self.train_loss.zero_()
        if self.skipped:
            most = [f"{self.taxonomy.names[head]} ({times})" for head, times in self.skipped.most_common(5)]
            rank_zero_warn(
                f"epoch {epoch}: non-finite gradient, step skipped for {', '.join(most)}"
                f"{' and others' if len(self.skipped) > 5 else ''}; lower model.lr if this goes on"
            )
            self.skipped.clear()
        return {**mean_losses(sums, self.taxonomy.slugs, epoch), "train/lr": optimizer.param_groups[0]["lr"]}

    def publish(self, values: Mapping[str, float]) -> None:
        """Give an epoch's figures to callbacks and loggers; `log_dict` would take 30 ms for those of 40 emotions."""
        self.trainer.callback_metrics.update({name: torch.tensor(value) for name, value in values.items()})
        for logger in () if self.trainer.sanity_checking else self.loggers:
            logger.log_metrics({**values, "epoch": self.current_epoch}, step=max(0, self.global_step - 1))

    @property
    def _alone(self) -> bool:
        """Whether this process trains without adding up gradients with others."""
        return self.trainer.world_size == 1 or bool(getattr(self.trainer.strategy, "replicated", False))

    @property
    def _data(self) -> LabelSource | None:
        data: LabelSource | None = getattr(self.trainer, "datamodule", None)
        return data

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the optimiser's state of all heads, so that it does not depend on how they were computed; the losses."""
        checkpoint["finished_heads"] = self.finished
        shared = self._trainer is not None and not self._alone
        checkpoint["train_loss"] = self.all_gather(self.train_loss) if shared else self.train_loss[None].clone()
        if self._remaining and "optimizer_states" in checkpoint:
            checkpoint["optimizer_states"] = [self._remaining[0].kept.widen(checkpoint["optimizer_states"][0])]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up which heads have finished, and the losses of an epoch that was not."""
        self.finished = list(checkpoint.get("finished_heads", []))
        if "train_loss" in checkpoint:
            place = (0, 1) if self._trainer is None or self._alone else (self.global_rank, self.trainer.world_size)
            self.train_loss.copy_(own_losses(checkpoint["train_loss"], *place))
        if self._compacts and "optimizer_states" in checkpoint:
            remaining = [head for head in range(self.heads.num_heads) if head not in self.finished]
            checkpoint["optimizer_states"] = [narrow_state(checkpoint["optimizer_states"][0], remaining)]
