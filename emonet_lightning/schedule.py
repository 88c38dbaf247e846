"""Learning rate per step: linear warm-up, then a cosine."""

import math

import torch
from torch.optim.lr_scheduler import LambdaLR

from emonet_lightning.errors import UsageError


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
