"""Metrics of the training loop: scores are collected by row, gathered once, sorted, and judged in float64.

So a figure does not depend on batch size, workers or processes. The statistics themselves are the project's one
implementation in `evaluation.agreement`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from emonet_lightning.evaluation.agreement import average_precision, spearman

CONSTANT = 1e-6
"""A head whose scores spread (max - min) less than this on a set is dead or constant."""
MIN_SUPPORT = 5
"""Positives and negatives that an emotion's own score needs before an epoch is chosen by it."""


class ScoreTable(Metric):
    """Scores [N, K] by row, whatever processes saw which; padding rows (key -1) are left out."""

    full_state_update = False
    key: list[torch.Tensor]
    scores: list[torch.Tensor]

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.add_state("key", default=[], dist_reduce_fx="cat")
        self.add_state("scores", default=[], dist_reduce_fx="cat")

    def update(self, key: torch.Tensor, scores: torch.Tensor) -> None:
        """Add rows: key [B] int64, scores [B, K]."""
        real = key >= 0
        self.key.append(key[real])
        self.scores.append(scores[real].float())

    def compute(self) -> tuple[np.ndarray, np.ndarray]:
        """Return rows [N] ascending, each once, and their scores [N, K] float64."""
        if len(self.key) == 0:  # a list, or one tensor once gathered
            return np.zeros(0, dtype=np.int64), np.zeros((0, self.num_heads))
        key, scores = dim_zero_cat(self.key).cpu().numpy(), dim_zero_cat(self.scores).cpu().numpy()
        rows, first = np.unique(key, return_index=True)
        return rows, scores[first].astype(np.float64)


@dataclass(frozen=True)
class ValScore:
    """The loss-free `val/score` of each head, its mean over emotions, and whether it may choose an epoch."""

    metric: str
    per_head: np.ndarray
    """[K] float64, NaN where undefined."""
    mean: float
    """Over the emotions (no extra dimensions) whose score is defined; NaN if none is."""
    selectable: np.ndarray
    """[K] bool: at least MIN_SUPPORT positives and negatives."""
    constant: np.ndarray
    """[K] bool: the head gives every sample the same score."""


def val_score(scores: np.ndarray, truth: np.ndarray, metric: str, low: np.ndarray, num_emotions: int) -> ValScore:
    """Judge scores against truth.

    Args:
        scores: [N, K].
        truth: [N, K], NaN where there is none.
        metric: `spearman`, or `average_precision` of a truth of 1 and 0.
        low: [K], the level at which an emotion is absent (an extra dimension's middle).
        num_emotions: how many leading columns count for the mean.
    """
    per_head = average_precision(scores, truth) if metric == "average_precision" else spearman(scores, truth)
    given = ~np.isnan(truth)
    present = np.where(given, truth, -np.inf) > (0.5 if metric == "average_precision" else low)
    positives, negatives = present.sum(0), (given & ~present).sum(0)
    emotions = per_head[:num_emotions]
    defined = emotions[~np.isnan(emotions)]
    return ValScore(
        metric=metric,
        per_head=per_head,
        mean=float(defined.mean()) if len(defined) else float("nan"),
        selectable=(positives >= MIN_SUPPORT) & (negatives >= MIN_SUPPORT) & ~np.isnan(per_head),
        constant=np.ptp(scores, axis=0) < CONSTANT if len(scores) else np.zeros(scores.shape[1], dtype=bool),
    )


def named(prefix: str, values: Any, slugs: list[str]) -> dict[str, float]:
    """Return `prefix/slug` -> value for the values that are defined."""
    return {f"{prefix}/{slug}": float(value) for slug, value in zip(slugs, values, strict=True) if not np.isnan(value)}
