"""Optimiser steps: how many a run takes and a call holds, and the learning rate of each (warm-up, then a cosine)."""

import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from emonet_lightning.errors import UsageError

MAX_CALL_SECONDS = 1.0
"""How long one call of several steps may take: signals and saves wait for its end."""
# at their defaults in the Trainer; any other value would count calls where its user means steps
_UNCOUNTED = {"val_check_interval": (None, 1.0), "log_every_n_steps": (None, 50)}


def warmup_cosine(
    optimizer: torch.optim.Optimizer, num_steps: int, warmup_share: float, final_share: float
) -> LambdaLR:
    """Return a scheduler to be stepped after every optimiser step.

    Args:
        optimizer: whose rate is the peak.
        num_steps: of the whole run.
        warmup_share: share of the steps over which the rate rises linearly from near 0, in [0, 1).
        final_share: share of the peak that the last step uses, in [0, 1].
    """
    if not 0 <= warmup_share < 1 or not 0 <= final_share <= 1:
        raise UsageError(f"model.warmup_share {warmup_share} and model.final_lr_share {final_share} must be in [0, 1)")
    warmup = round(warmup_share * num_steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = min(1.0, (step - warmup) / max(1, num_steps - warmup))
        return final_share + (1 - final_share) * (1 + math.cos(math.pi * progress)) / 2

    return LambdaLR(optimizer, factor)


def num_optimiser_steps(
    steps_per_epoch: int, limit_train_batches: float | int | None, max_epochs: int | None, max_steps: int
) -> int:
    """Return the optimiser steps of a whole run; the last three as the Trainer has them."""
    if isinstance(limit_train_batches, int):
        steps_per_epoch = min(steps_per_epoch, limit_train_batches)
    elif limit_train_batches is not None:
        steps_per_epoch = int(steps_per_epoch * limit_train_batches)
    if max_epochs == -1:
        return max_steps
    total = steps_per_epoch * (max_epochs or 1)
    return total if max_steps < 0 else min(total, max_steps)


def bounded_steps(asked: int, step_seconds: float) -> int:
    """Return how many steps a call takes: what is asked for, as far as they fit into `MAX_CALL_SECONDS`."""
    return max(1, min(asked, int(MAX_CALL_SECONDS / max(step_seconds, 1e-6))))


def step_seconds(heads: Any, num_rows: int, device: torch.device) -> float:
    """Measure about what a step of heads takes, by a forward and backward pass on a few rows of zeros."""
    rows = max(1, min(64, num_rows))
    if device.type == "cuda":
        rows = num_rows  # a pass there takes as long for few rows
    with torch.random.fork_rng(devices=[]):
        features = torch.zeros(rows, heads.in_features, device=device)
        seconds = []
        for _ in range(2):  # the first one loads libraries
            started = time.perf_counter()
            heads(features).sum().backward()
            float(features[0, 0])  # waits for the device
            seconds.append(time.perf_counter() - started)
    heads.zero_grad()
    return 1.5 * seconds[-1] * num_rows / rows


def count_calls(progress: Any, calls_left: int, num_calls: int) -> None:
    """Let Lightning's count of an epoch's calls say what is left, whatever the steps a call before the run stopped.

    Args:
        progress: `batch_progress` of its epoch loop.
        calls_left: until the epoch's end.
        num_calls: of a whole epoch.
    """
    current = progress.current
    unfinished = current.ready - current.completed  # 1 where the checkpoint was written within a call
    current.ready = current.started = current.processed = num_calls - calls_left
    current.completed = current.ready - unfinished


def check_steps_per_call(steps: int, trainer: Mapping[str, Any]) -> None:
    """Refuse options of the Trainer that would count calls where their user means optimiser steps.

    Args:
        steps: optimiser steps in one call of `training_step`.
        trainer: options of the Trainer by name.

    Raises:
        UsageError: names the option.
    """
    if steps < 1:
        raise UsageError(f"model.steps_per_call: {steps} must be at least 1")
    if steps == 1:
        return
    for name, allowed in _UNCOUNTED.items():
        if trainer[name] not in allowed:
            raise UsageError(
                f"trainer.{name}: {trainer[name]} counts calls of {steps} steps; leave it at its default "
                "(validation and metrics come once an epoch), or set model.steps_per_call: 1"
            )
    limit = trainer["limit_train_batches"]
    if isinstance(limit, float) and limit != 1.0:
        raise UsageError(
            f"trainer.limit_train_batches: {limit} is a share of calls of {steps} steps; give a number of steps, "
            "or set model.steps_per_call: 1"
        )
