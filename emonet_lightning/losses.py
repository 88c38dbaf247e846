"""Losses as pure functions of outputs [B, K] or of (row, head) pairs [P], the map from head output to score that each
implies, and the reduction to a mean per head.

All evaluation uses scores, never raw outputs, so runs with different losses compare.
"""

from typing import Literal, get_args

import torch
from torch.nn import functional

from emonet_lightning.heads import OutputMap

Loss = Literal["mse", "mae", "huber", "bce", "coral"]
LOSSES: tuple[str, ...] = get_args(Loss)

OUTPUT_MAP: dict[str, OutputMap] = {
    "mse": "identity",
    "mae": "identity",
    "huber": "identity",
    "bce": "sigmoid",
    "coral": "coral",
}
"""identity: the output is the score. sigmoid: low + (high - low) * sigmoid(output).
coral: low + sum over levels of sigmoid(output + ordered bias) (Cao et al. 2020, arXiv 1901.07884)."""


def num_thresholds(loss: str, low: torch.Tensor, high: torch.Tensor) -> int:
    """Return how many ordinal biases a head needs: the widest range's number of steps, 0 without CORAL."""
    return int((high - low).max().item()) if OUTPUT_MAP[loss] == "coral" else 0


def to_scores(
    raw: torch.Tensor,
    output_map: str,
    low: torch.Tensor,
    high: torch.Tensor,
    thresholds: torch.Tensor | None = None,
) -> torch.Tensor:
    """Map raw outputs to scores on the taxonomy's scale.

    Args:
        raw: [B, K], or [P] for pairs; then all that is [K] below is each pair's own, such as `low[head]` [P].
        output_map: identity, sigmoid or coral.
        low: [K], lowest level.
        high: [K], highest level.
        thresholds: [K, L] ordered biases, for coral.
    """
    if output_map == "identity":
        return raw
    if output_map == "sigmoid":
        return low + (high - low) * torch.sigmoid(raw)
    assert thresholds is not None
    used = _used_levels(low, high, thresholds)
    return low + (torch.sigmoid(raw.unsqueeze(-1) + thresholds) * used).sum(-1)


def elementwise_loss(
    loss: str,
    raw: torch.Tensor,
    target: torch.Tensor,
    low: torch.Tensor,
    high: torch.Tensor,
    thresholds: torch.Tensor | None = None,
    huber_delta: float = 1.0,
) -> torch.Tensor:
    """Return the loss of each output, in the shape of `raw`; arguments as in `to_scores`, target on the score scale.

    Targets between two levels are soft labels for bce and coral.
    """
    if loss == "mse":
        return functional.mse_loss(raw, target, reduction="none")
    if loss == "mae":
        return functional.l1_loss(raw, target, reduction="none")
    if loss == "huber":
        return functional.huber_loss(raw, target, reduction="none", delta=huber_delta)
    if loss == "bce":
        share = ((target - low) / (high - low)).clamp(0, 1)
        return functional.binary_cross_entropy_with_logits(raw, share, reduction="none")
    assert thresholds is not None
    used = _used_levels(low, high, thresholds)  # [K, L]
    steps = torch.arange(thresholds.shape[1], device=raw.device, dtype=raw.dtype)
    passed = (target.unsqueeze(-1) - low.unsqueeze(-1) - steps).clamp(0, 1)  # [B, K, L]
    each = functional.binary_cross_entropy_with_logits(raw.unsqueeze(-1) + thresholds, passed, reduction="none")
    return (each * used).sum(-1) / used.sum(-1)


def per_head_mean(loss: torch.Tensor, mask: torch.Tensor, num_labels: torch.Tensor) -> torch.Tensor:
    """Return each head's mean loss over its labelled rows of the global batch [K]; 0 for a head without labels.

    The objective is the sum of these, so a head's gradient is what it would be alone. On several processes each
    returns its own rows' part, and the parts add up.

    Args:
        loss: [B, K].
        mask: [B, K] bool.
        num_labels: [K], labelled rows in the global batch.
    """
    return loss.masked_fill(~mask, 0.0).sum(0) / num_labels.clamp(min=1)


def per_head_sum_of_pairs(loss: torch.Tensor, head: torch.Tensor, num_labels: torch.Tensor) -> torch.Tensor:
    """Return what `per_head_mean` does [K], from labelled pairs.

    Args:
        loss: [P].
        head: [P] int64.
        num_labels: [K], labelled rows in the global batch.
    """
    return torch.zeros_like(num_labels).index_add(0, head, loss) / num_labels.clamp(min=1)


def balanced_weights(share: torch.Tensor, max_weight: float) -> torch.Tensor:
    """Return the weights [2, K] of labels at rest and of labels above it: the odds against the latter, bounded.

    Args:
        share: share of labels above the resting level [K]; NaN for a head without labels.
        max_weight: bound of the odds, which are at least 1.

    Returns:
        Weights whose mean over a head's labels is 1, so that the learning rate keeps its meaning.
    """
    share = share.nan_to_num(0.5)
    above = ((1 - share) / share.clamp(min=1e-9)).clamp(1.0, max_weight)
    return torch.stack([torch.ones_like(share), above]) / (1 - share + above * share)


def _used_levels(low: torch.Tensor, high: torch.Tensor, thresholds: torch.Tensor) -> torch.Tensor:
    """[K, L] 1 where a level exists: dimensions with a narrower range use fewer biases."""
    steps = torch.arange(thresholds.shape[1], device=thresholds.device)
    return (steps < (high - low).unsqueeze(-1)).to(thresholds.dtype)
