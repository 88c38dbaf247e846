"""EmotionBatch: what every loader yields and every step takes."""

from typing import NamedTuple

import torch


class EmotionBatch(NamedTuple):
    """One process's share of a global batch of `B` rows (a NamedTuple: dataclasses are neither collated nor pinned)."""

    inputs: torch.Tensor
    """Pooled features [B, D] float, or images [B, 3, H, W] uint8."""
    target: torch.Tensor
    """What the loss compares with, on the score scale [B, K] float32; arbitrary where `mask` is False."""
    mask: torch.Tensor
    """Which questions were asked [B, K] bool; an all-False row is padding."""
    key: torch.Tensor
    """Row of the sample in its data set [B] int64; -1 is padding."""
    num_labels: torch.Tensor
    """Labelled rows per head in the *global* batch [K] float32: the same on all processes."""
