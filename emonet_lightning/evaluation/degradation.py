"""What scores lose as one condition of the picture gets harder, all else the same.

Everything here is a function of scores, truth and levels; where the pictures come from does not matter. Values of a
figure come as [1+B, K]: the sample itself, then its bootstrap draws.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from emonet_lightning.evaluation.association import spearman
from emonet_lightning.evaluation.bootstrap import interval
from emonet_lightning.evaluation.columns import Array, column_mean, ratio
from emonet_lightning.evaluation.estimates import count_constant_as_zero, difference, estimate, numbers, varied

DEFINITIONS = {
    "agreement": "Spearman correlation of an emotion's scores with what is known of the same pictures (planted "
    "intensities, or the raters' mean), over the pictures of one level; mean over emotions; a head that gives all "
    "pictures one score counts as 0",
    "with_raters": "the same with the mean of the simulated raters but one, mean over who is left out; this is "
    "compared with the anchor, for which each rater is compared with the others; raters see the undisturbed face",
    "stability": "Spearman correlation of an emotion's scores at a level with its scores of the same pictures "
    "undisturbed: 1 where the order of pictures is kept",
    "loss": "agreement undisturbed minus agreement at the level, paired on the same draws; mean over emotions",
    "shift": "mean change of an emotion's score against the same pictures undisturbed, in units of the score; "
    "shift_in_sd: over the standard deviation of the undisturbed scores",
    "first_below_anchor": "first level, going outward from the undisturbed one, at which agreement (of rendered faces: "
    "with_raters) is below the anchor; surely: its whole interval is; rising and falling: on either side of the "
    "undisturbed level",
    "first_loss": "first level at which the interval of the loss lies above 0",
    "first_half_lost": "first level at which agreement is below half of the undisturbed one",
    "low, high": "percentile interval of bootstrap draws of persons (of pictures where persons are not known)",
}


Measure = Callable[[Array, Array, Array], Array]
"""Agreement [1+B, K] of scores and truth [N, K] under counts of pictures [1+B, N]."""


class Sweep(NamedTuple):
    """One condition at several levels, everything else the same: L levels, N pictures, K emotions."""

    name: str
    levels: Sequence[float]
    """In order of the condition."""
    undisturbed: int
    """Place of the level that others are compared with."""
    scores: Array
    """[L, N, K]."""
    truth: Array | None = None
    """What is known of the pictures [L, N, K], NaN: nothing; None where it is not known of any."""
    unit: str = ""


def judge_sweep(
    sweep: Sweep,
    weights: Array,
    anchor: float | None = None,
    level: float = 0.95,
    measure: Measure = spearman,
    ratings: Array | None = None,
) -> dict[str, Any]:
    """Return agreement, stability and shift at every level, and the first levels at which something is lost.

    Args:
        sweep: scores and truth.
        weights: counts of pictures [1+B, N] from `bootstrap.draws`.
        anchor: agreement of humans; None: nothing is compared with it.
        level: coverage of the intervals.
        measure: of agreement.
        ratings: of the undisturbed pictures [R, N, K]; the anchor is then compared with the agreement with the raters.

    Returns:
        `levels` (each with `level`, `stability`, `shift`, `shift_in_sd`, with truth `agreement` and `loss`, with
        ratings `with_raters`), `undisturbed` and the first levels.
    """
    own = sweep.scores[sweep.undisturbed]
    spread = own.std(axis=0)
    moved = varied(own, weights)
    before = None if sweep.truth is None else rank_agreement(own, sweep.truth[sweep.undisturbed], weights, measure)
    whole = np.ones(own.shape[1], dtype=bool)
    rows: list[dict[str, Any]] = []
    for place, value in enumerate(sweep.levels):
        scores = sweep.scores[place]
        row: dict[str, Any] = {"level": value}
        if sweep.truth is not None and before is not None:
            truth = sweep.truth[place]
            found = rank_agreement(scores, truth, weights, measure)
            row["agreement"] = _summary(found, whole, level)
            row["loss"] = {**difference(before, found, whole, level), "per_emotion": numbers(before[0] - found[0])}
        if ratings is not None:
            row["with_raters"] = _summary(against_raters(scores, ratings, weights), whole, level)
        kept = spearman(scores, own, weights)
        row["stability"] = _summary(count_constant_as_zero(kept, moved, moved), whole, level)
        change = ratio(weights @ (scores - own), weights.sum(axis=1)[:, None])
        row["shift"] = _summary(change, whole, level)
        row["shift_in_sd"] = {"per_emotion": numbers(ratio(change[0], spread))}
        rows.append(row)
    return {
        "name": sweep.name,
        "unit": sweep.unit,
        "num_pictures": int(own.shape[0]),
        "undisturbed": sweep.levels[sweep.undisturbed],
        "levels": rows,
        **_first_levels(rows, sweep, anchor),
    }


def first_levels(levels: Sequence[float], undisturbed: int, holds: Sequence[bool]) -> dict[str, float | None]:
    """Return the first level, outward from the undisturbed one on either side, at which something holds."""
    after = (levels[i] for i in range(undisturbed + 1, len(levels)) if holds[i])
    before = (levels[i] for i in range(undisturbed - 1, -1, -1) if holds[i])
    return {"falling": next(before, None), "rising": next(after, None)}


def follow_intensity(scores: Array, levels: Sequence[float], weights: Array, level: float = 0.95) -> dict[str, Any]:
    """Return how scores follow the intensity of an expression.

    Args:
        scores: of the emotion that is shown, [L, P, K] for P persons.
        levels: intensities [L], rising.
        weights: counts of persons [1+B, P].
        level: coverage of the intervals.

    Returns:
        `monotonicity`: Spearman correlation of score and intensity within each person, mean over persons (a constant
        score counts as 0); `rising`: share of persons whose score never falls and rises in all; `mean_score`: by level
        and emotion.
    """
    ranks = rankdata(scores, axis=0)
    ranks = ranks - ranks.mean(axis=0)
    order = rankdata(levels) - (len(levels) + 1) / 2
    both = np.einsum("l,lpk->pk", order, ranks)
    size = np.sqrt(np.square(order).sum() * np.square(ranks).sum(axis=0))
    within = np.where(size > 0, both / np.where(size > 0, size, 1.0), 0.0)
    steps = np.diff(scores, axis=0)
    rising = ((steps >= 0).all(axis=0) & (scores[-1] > scores[0])).astype(np.float64)
    persons = weights.sum(axis=1)[:, None]
    whole = np.ones(scores.shape[2], dtype=bool)
    return {
        "levels": list(levels),
        "num_persons": int(scores.shape[1]),
        "monotonicity": _summary(weights @ within / persons, whole, level),
        "rising": _summary(weights @ rising / persons, whole, level),
        "mean_score": [numbers(row) for row in scores.mean(axis=1)],
    }


def anchor_of(ratings: Array, weights: Array, level: float = 0.95) -> dict[str, Any]:
    """Return the agreement of each rater with the mean of the others, mean over raters.

    Args:
        ratings: [R, N, K], all raters of all pictures.
        weights: counts of pictures [1+B, N].
        level: coverage of the interval.
    """
    each = [rank_agreement(own, others, weights) for own, others in zip(ratings, _others(ratings), strict=True)]
    return _summary(column_mean(np.stack(each)), np.ones(ratings.shape[2], dtype=bool), level)


def against_raters(scores: Array, ratings: Array, weights: Array) -> Array:
    """Return the agreement [1+B, K] of scores with the mean of the raters but one, mean over who is left out.

    That is like for like with `anchor_of`: a rater, too, is compared with all others.
    """
    return column_mean(np.stack([rank_agreement(scores, others, weights) for others in _others(ratings)]))


def _others(ratings: Array) -> Array:
    """Mean of the other raters of each rater [R, N, K]."""
    return (ratings.sum(axis=0) - ratings) / (len(ratings) - 1)


def rank_agreement(scores: Array, truth: Array, weights: Array, measure: Measure = spearman) -> Array:
    """Return the agreement of scores and truth [N, K] under counts of pictures [1+B, N].

    Returns:
        [1+B, K]; 0 for a head that gives all pictures one score, NaN where the truth does not vary.
    """
    found = measure(scores, truth, weights)
    known = ~np.isnan(truth)
    scored = np.asarray(known.any(axis=0) & ~(np.isnan(scores) & known).any(axis=0))
    return count_constant_as_zero(found, varied(truth, weights), scored)


def _summary(values: Array, whole: NDArray[np.bool_], level: float) -> dict[str, Any]:
    """The mean over emotions with its interval, and each emotion's value with its own."""
    low, high = interval(values, level)
    gaps = np.isnan(values[0])
    return {
        **estimate(values, whole, level, gaps),
        "per_emotion": numbers(values[0]),
        "per_emotion_low": numbers(np.where(gaps, np.nan, low)),
        "per_emotion_high": numbers(np.where(gaps, np.nan, high)),
    }


def _first_levels(rows: Sequence[Mapping[str, Any]], sweep: Sweep, anchor: float | None) -> dict[str, Any]:
    if sweep.truth is None:
        return {}

    def holds(part: str, key: str, bound: float, sign: int) -> list[bool]:
        values = [row[part][key] for row in rows]
        return [value is not None and sign * (value - bound) > 0 for value in values]

    found: dict[str, Any] = {
        "first_loss": first_levels(sweep.levels, sweep.undisturbed, holds("loss", "low", 0.0, 1)),
        "first_half_lost": {"falling": None, "rising": None},
    }
    before = rows[sweep.undisturbed]["agreement"]["value"]
    if before is not None and before > 0:
        lost = holds("agreement", "value", before / 2, -1)
        found["first_half_lost"] = first_levels(sweep.levels, sweep.undisturbed, lost)
    if anchor is not None:
        part = "with_raters" if "with_raters" in rows[0] else "agreement"
        below, surely = holds(part, "value", anchor, -1), holds(part, "high", anchor, -1)
        found["undisturbed_below_anchor"] = below[sweep.undisturbed]
        found["undisturbed_surely_below_anchor"] = surely[sweep.undisturbed]
        found["first_below_anchor"] = first_levels(sweep.levels, sweep.undisturbed, below)
        found["first_surely_below_anchor"] = first_levels(sweep.levels, sweep.undisturbed, surely)
    return found
