"""Systems compared on the same samples: mean Spearman with paired bootstrap intervals, and reference systems.

Every draw resamples images (or whole groups of images, such as persons) once for all systems, so the interval of a
difference is paired. The trade-off: values are sorted once, and each draw re-ranks by cumulative counts of its sample
weights, which equals ranking the resampled rows and needs no sort per draw.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emonet_lightning.evaluation.agreement import mean_rating, rater_spearman
from emonet_lightning.evaluation.columns import MIN_VALUES, Array, column_mean, float64

PROMPTED = "prompted label"
METHOD = (
    "mean over emotions of the Spearman correlation with the {target}; emotions whose target is constant are left out "
    "for all systems; a system that is constant (or has a NaN) has no rank correlation and counts as 0; "
    "percentile intervals from draws of {unit}, the same draws for all systems"
)
_BLOCK = 2_000_000  # draws x samples held at once


def reference_systems(
    scores: ArrayLike,
    ratings: ArrayLike,
    prompted: ArrayLike | None = None,
    seed: int = 0,
    train_mean: ArrayLike | None = None,
) -> dict[str, Array]:
    """Return systems that a model must beat, and the prompted label as a reference where it is known.

    Args:
        scores: the model's [N, K].
        ratings: [N, K] or [N, R, K]; its size is all that is used.
        prompted: one-hot emotion that the generator was asked for [N, K]; no row of it for real photographs.
        seed: of `random` and `permuted embeddings`.
        train_mean: mean target per emotion over the training set [K]; without it the model's own mean stands in.

    Returns:
        Name -> scores [N, K]: `all-zero`, `mean`, `random` (uniform 0..1), `permuted embeddings` (the model's scores of
        other samples: right distribution, wrong faces) and, where known, `prompted label`.

    Raises:
        ValueError: the shapes differ.
    """
    scores = float64(scores)
    if np.shape(ratings)[0] != len(scores) or np.shape(ratings)[-1] != scores.shape[1]:
        raise ValueError(
            f"scores {scores.shape} and ratings {np.shape(ratings)} are not of the same samples and emotions"
        )
    rng = np.random.default_rng(seed)
    constant = column_mean(scores) if train_mean is None else float64(train_mean)
    systems = {
        "all-zero": np.zeros_like(scores),
        "mean": np.broadcast_to(constant, scores.shape),
        "random": rng.random(scores.shape),
        "permuted embeddings": scores[rng.permutation(len(scores))],
    }
    if prompted is not None:
        systems[PROMPTED] = float64(prompted)
    return systems


def compare(
    systems: Mapping[str, ArrayLike],
    ratings: ArrayLike,
    *,
    subject: str | None = None,
    num_draws: int = 500,
    seed: int = 0,
    level: float = 0.95,
    groups: Sequence[object] | None = None,
) -> dict[str, Any]:
    """Return mean Spearman, intervals and paired differences of several systems on the same samples.

    Args:
        systems: name -> scores [N, K]; pass emotions only, no extra dimensions.
        ratings: targets [N, K], or raters kept apart [N, R, K] of whom the mean is the target; NaN is missing.
        subject: the system that the others are subtracted from; the first by default.
        num_draws: bootstrap draws.
        seed: of the draws.
        level: coverage of the percentile intervals.
        groups: group of each sample (person, prompt); whole groups are then drawn in place of samples. Samples of group
            None are drawn singly.

    Returns:
        JSON-able: `method`, `num_samples`, `num_emotions` (with a defined target), `num_draws`, `seed`, `level`,
        `subject`; `systems`: name -> `spearman`, `low`, `high`, `num_undefined` (emotions counted as 0) and
        `per_emotion` -> lists [K] `spearman`, `low`, `high` (None where the target is undefined); `differences`:
        name -> `difference` (subject minus this system), `low`, `high`; with raters kept apart also `raters` ->
        `spearman`, and `per_emotion` [K]: a rater with the mean of the others, mean over raters, then emotions.

    Raises:
        ValueError: the shapes differ, or `subject` is not among the systems.
    """
    ratings = float64(ratings)
    target = mean_rating(ratings) if ratings.ndim == 3 else ratings
    scores = {name: float64(values) for name, values in systems.items()}
    subject = subject if subject is not None else next(iter(scores))
    if subject not in scores:
        raise ValueError(f"subject {subject!r} is not among the systems {list(scores)}")
    if groups is not None and len(groups) != len(target):
        raise ValueError(f"{len(groups)} groups for {len(target)} samples")
    for name, values in scores.items():
        if values.shape != target.shape:
            raise ValueError(f"system {name!r}: scores {values.shape}, but target {target.shape}")
    weights = _draw(len(target), num_draws, seed, groups)
    # The first row of weights is the sample as it is: point estimates come from the same code as the draws.
    weights = np.concatenate([np.ones((1, len(target))), weights])
    values, undefined = _weighted_spearman(list(scores.values()), target, weights)  # [S, 1+B, K], [S]
    means = column_mean(values.transpose(2, 0, 1))  # [S, 1+B]
    tail = (1 - level) / 2 * 100
    found: dict[str, Any] = {
        "method": METHOD.format(
            target="mean of the raters" if ratings.ndim == 3 else "target",
            unit="groups" if _any_group(groups) else "samples",
        ),
        "num_samples": len(target),
        "num_emotions": int((~np.isnan(values[0, 0])).sum()),
        "num_draws": num_draws,
        "seed": seed,
        "level": level,
        "subject": subject,
        "systems": {},
        "differences": {},
    }
    at = list(scores).index(subject)
    for s, name in enumerate(scores):
        found["systems"][name] = {
            **_estimate("spearman", means[s], tail),
            "num_undefined": undefined[s],
            "per_emotion": _per_emotion(values[s], tail),
        }
        if s != at:
            found["differences"][name] = _estimate("difference", means[at] - means[s], tail)
    if ratings.ndim == 3:
        per_emotion = column_mean(rater_spearman(ratings))
        found["raters"] = {
            "spearman": _number(column_mean(per_emotion[:, None])[0]),
            "per_emotion": [_number(value) for value in per_emotion],
        }
    return found


def _any_group(groups: Sequence[object] | None) -> bool:
    return groups is not None and any(group is not None for group in groups)


def _draw(num_samples: int, num_draws: int, seed: int, groups: Sequence[object] | None) -> Array:
    """How often each sample occurs in each draw [B, N]."""
    codes = np.arange(num_samples)
    if groups is not None:
        known: dict[object, int] = {}
        keys = [("single", row) if group is None else ("group", group) for row, group in enumerate(groups)]
        codes = np.array([known.setdefault(key, len(known)) for key in keys])
    num_units = int(codes.max()) + 1
    counts = np.random.default_rng(seed).multinomial(num_units, np.full(num_units, 1 / num_units), size=num_draws)
    return counts[:, codes].astype(np.float64)


def _weighted_spearman(systems: list[Array], target: Array, weights: Array) -> tuple[Array, list[int]]:
    """Spearman of each system, draw and emotion [S, B, K] (NaN: target undefined); columns without a figure [S]."""
    num_draws, num_samples = weights.shape
    values = np.full((len(systems), num_draws, target.shape[1]), np.nan)
    undefined = [0] * len(systems)
    step = max(1, _BLOCK // max(num_samples, 1))
    for k in range(target.shape[1]):
        rows = np.flatnonzero(~np.isnan(target[:, k]))
        if len(rows) < MIN_VALUES or np.ptp(target[rows, k]) == 0:
            continue
        goal = _Ranking(target[rows, k])
        broken = [bool(np.isnan(scores[rows, k]).any() or np.ptp(scores[rows, k]) == 0) for scores in systems]
        ranked = [None if bad else _Ranking(scores[rows, k]) for bad, scores in zip(broken, systems, strict=True)]
        for start in range(0, num_draws, step):
            block = slice(start, start + step)
            weight = weights[block][:, rows]
            total = weight.sum(axis=1)
            target_rank, target_square = goal.centred(weight, total)
            defined = (total >= MIN_VALUES) & (target_square > 0)
            for s, ranking in enumerate(ranked):
                if ranking is None:
                    values[s, block, k] = np.where(defined, 0.0, np.nan)
                    continue
                rank, square = ranking.centred(weight, total)
                both = (weight * rank * target_rank).sum(axis=1)
                product = np.sqrt(square) * np.sqrt(target_square)
                rho = np.where(product > 0, both / np.where(product > 0, product, 1.0), 0.0)
                values[s, block, k] = np.where(defined, rho, np.nan)
        undefined = [count + bad for count, bad in zip(undefined, broken, strict=True)]
    return values, undefined


class _Ranking:
    """One column, sorted once, that gives average ranks under any sample counts."""

    def __init__(self, column: Array) -> None:
        self.order = np.argsort(column)
        ordered = column[self.order]
        self.first = np.searchsorted(ordered, column, side="left")  # [N] start of the sample's tied group
        self.end = np.searchsorted(ordered, column, side="right")  # [N] one past its last

    def centred(self, weight: Array, total: Array) -> tuple[Array, Array]:
        """Return ranks minus their mean [B, N], twice over (whole numbers), and their weighted sum of squares [B]."""
        cumulative = np.zeros((len(weight), weight.shape[1] + 1))
        np.cumsum(weight[:, self.order], axis=1, out=cumulative[:, 1:])
        # Average rank in a tied group: (copies below + 1 + copies up to its end) / 2; over all: (copies + 1) / 2.
        rank = cumulative[:, self.first] + cumulative[:, self.end] - total[:, None]
        return rank, (weight * rank**2).sum(axis=1)


def _estimate(name: str, values: Array, tail: float) -> dict[str, float | None]:
    """Point estimate (first value) and percentile interval of the draws (the others)."""
    low, high = _interval(values[1:], tail)
    return {name: _number(values[0]), "low": _number(low), "high": _number(high)}


def _per_emotion(values: Array, tail: float) -> dict[str, list[float | None]]:
    estimates = [_estimate("spearman", column, tail) for column in values.T]
    return {key: [estimate[key] for estimate in estimates] for key in ("spearman", "low", "high")}


def _interval(draws: Array, tail: float) -> NDArray[np.float64]:
    draws = draws[~np.isnan(draws)]
    return np.percentile(draws, [tail, 100 - tail]) if len(draws) else np.full(2, np.nan)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
