"""What a system's scores are like, apart from how well they agree: their scale, their ties, their calibration."""

from typing import Any

import numpy as np

from emonet_lightning.evaluation.binning import oracle_kappa_binned
from emonet_lightning.evaluation.columns import Array
from emonet_lightning.evaluation.estimates import Sets, numbers

_NUM_ORDERS = 10


def off_scale(scores: Array, low: float, high: float) -> bool:
    """Return whether scores [N, K] lie on 0..1, in fractions, where the ratings go higher; shares are not levels."""
    given = scores[~np.isnan(scores)]
    if high <= 1 or low > 0 or not len(given):
        return False
    return bool(given.min() >= 0 and given.max() <= 1 and (given != np.rint(given)).any())


def tie_spread(
    scores: Array, slots: Array, low: float, high: float, sets: Sets, seed: int = 0
) -> dict[str, float | int] | None:
    """Return how far the binned kappa depends on the order of images, by which equal scores are told apart.

    Args:
        scores: [N, K], NaN where none.
        slots: ratings by position [N, S, K].
        low: lowest level.
        high: highest level.
        sets: of emotions.
        seed: of the orders.

    Returns:
        `num_orders`, and per set the standard deviation over random orders of the mean over emotions; None where no two
        images share a score.
    """
    given = [column[~np.isnan(column)] for column in scores.T]
    if all(len(np.unique(column)) == len(column) for column in given):
        return None
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(scores)) for _ in range(_NUM_ORDERS)]
    kappa = np.array([oracle_kappa_binned(scores[order], slots[order], low, high) for order in orders])
    defined = ~np.isnan(kappa).any(axis=0)
    found: dict[str, float | int] = {"num_orders": _NUM_ORDERS}
    for name, chosen in sets.items():
        used = chosen & defined
        found[name] = float(kappa[:, used].mean(axis=1).std(ddof=1)) if used.any() else 0.0
    return found


def reliability(scores: Array, target: Array, low: float, high: float) -> dict[str, Any]:
    """Return what raters say on average where a system gives a certain score, over all emotions together.

    Args:
        scores: [N, K], NaN where none.
        target: mean ratings [N, K].
        low: lowest level.
        high: highest level.

    Returns:
        Per bin, as many as there are levels, of equal width over the system's own range: `bin_mean_score`,
        `bin_mean_rating`, `n`.
    """
    both = ~np.isnan(scores) & ~np.isnan(target)
    score, rating = scores[both], target[both]
    size = round(high - low) + 1
    edges = np.linspace(score.min(), score.max(), size + 1)[1:-1] if len(score) else np.zeros(0)
    place = np.searchsorted(edges, score, side="right")
    count = np.bincount(place, minlength=size)
    sums = (np.bincount(place, weights=values, minlength=size) for values in (score, rating))
    mean_score, mean_rating = (np.where(count > 0, total / np.maximum(count, 1), np.nan) for total in sums)
    return {"bin_mean_score": numbers(mean_score), "bin_mean_rating": numbers(mean_rating), "n": count.tolist()}
