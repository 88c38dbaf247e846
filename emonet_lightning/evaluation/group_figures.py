"""A system's agreement and calibration, and the raters' agreement, within any group of a panel's images."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.evaluation.association import spearman
from emonet_lightning.evaluation.binning import gold_levels, quantile_bin
from emonet_lightning.evaluation.bootstrap import draws, num_units, unit_codes
from emonet_lightning.evaluation.columns import Array, column_mean, mean_rating, ratio, sums
from emonet_lightning.evaluation.estimates import count_constant_as_zero, varied
from emonet_lightning.evaluation.kappa import pooled_rater_kappa, pooled_system_kappa
from emonet_lightning.evaluation.left_out import rater_spearman
from emonet_lightning.evaluation.score_traits import off_scale
from emonet_lightning.ratings.panel import Panel, SystemScores, slots
from emonet_lightning.taxonomy import Taxonomy

NUM_RANDOM_GROUPS = 100
"""Over which the effect of a group's size on kappa is averaged."""


class Figures(NamedTuple):
    """One group's figures under all draws."""

    per_emotion: dict[str, Array]
    """`spearman`, `kappa`, `bias` [1+B, K]."""
    raters: dict[str, Array]
    """`spearman`, `kappa` [1+B, K]."""
    pooled: dict[str, Array]
    """`slope`, `calibration_error` [1+B]."""


class Judge:
    """Computes the figures of any group of a panel's images, all under the same draws.

    Args:
        panel: ratings [N, R, K] of emotions only.
        system: its scores, or None.
        taxonomy: columns; their levels are the scale.
        num_draws: bootstrap draws of images, or of persons where the panel has groups.
        seed: of the draws.
    """

    def __init__(
        self, panel: Panel, system: SystemScores | None, taxonomy: Taxonomy, num_draws: int, seed: int
    ) -> None:
        self.low, self.high = taxonomy.dimensions[0].low, taxonomy.dimensions[0].high
        self.values, self.slots = panel.values, slots(panel)
        self.target = mean_rating(self.values)
        self.persons = panel.groups
        self.scores = None if system is None else system.scores
        self.judged = ~np.isnan(self.target).all(axis=1)
        self.levels, self.notes = None, []
        if self.scores is not None:
            scored = ~np.isnan(self.scores).all(axis=1)
            if num_left := int((self.judged & ~scored).sum()):
                self.notes = [f"{num_left} rated images without a score are left out"]
            self.judged &= scored
            # cut once, on all images together: a group whose scores are shifted loses agreement by that
            self.levels = quantile_bin(self.scores, gold_levels(self.slots, self.low, self.high))
        self.off_scale = system is not None and not system.on_scale and off_scale(system.scores, self.low, self.high)
        self.weights = draws(len(panel.images), num_draws, seed, panel.groups)
        self.seed = seed

    def figures(self, rows: NDArray[np.intp]) -> Figures:
        """Return the figures of some images."""
        weights = self.weights[:, rows]
        values, by_slot, target = self.values[rows], self.slots[rows], self.target[rows]
        raters = {
            "spearman": rater_spearman(values, weights),
            "kappa": pooled_rater_kappa(by_slot, self.low, self.high, weights),
        }
        if self.scores is None or self.levels is None:
            return Figures({}, raters, {})
        scores = self.scores[rows]
        target = np.where(np.isnan(scores), np.nan, target)
        scored = np.asarray(~np.isnan(scores).all(axis=0))
        own = {
            "spearman": count_constant_as_zero(spearman(scores, target, weights), varied(target, weights), scored),
            "kappa": pooled_system_kappa(self.levels[rows], by_slot, self.low, self.high, weights),
        }
        if self.off_scale:
            return Figures(own, raters, {})
        error = scores - target
        given = ~np.isnan(error)
        own["bias"] = _quotient(sums(weights, np.where(given, error, 0.0)), sums(weights, given.astype(np.float64)))
        return Figures(own, raters, self._calibration(scores, target, weights))

    def kappa_by_chance(self, num_images: int) -> tuple[Array, Array]:
        """Return how far kappa of a random group of so many images is from that of all images, on average.

        Kappa of few images is lower by chance alone: those on which it rests may be missing. Groups are whole persons.

        Returns:
            Of the system and of the raters [K]; 0 where not defined.
        """
        rows = np.flatnonzero(self.judged)
        codes, count = unit_codes(len(rows), None if self.persons is None else [self.persons[row] for row in rows])
        rng = np.random.default_rng(self.seed)
        weights = np.ones((1 + NUM_RANDOM_GROUPS, len(codes)))
        for row in weights[1:]:
            order = rng.permutation(count)
            sizes = np.bincount(codes, minlength=count)[order].cumsum()
            row[:] = np.isin(codes, order[: 1 + np.searchsorted(sizes, num_images)])
        by_slot = self.slots[rows]
        raters = _shift(pooled_rater_kappa(by_slot, self.low, self.high, weights))
        if self.levels is None:
            return np.zeros_like(raters), raters
        return _shift(pooled_system_kappa(self.levels[rows], by_slot, self.low, self.high, weights)), raters

    def units(self, rows: NDArray[np.intp]) -> int:
        """Return how many images, or persons, the draws draw of these rows."""
        return num_units(len(rows), None if self.persons is None else [self.persons[row] for row in rows])

    def num_persons(self, rows: NDArray[np.intp]) -> int | None:
        """Return how many persons are in these images; None where they are not known."""
        if self.persons is None:
            return None
        return len({self.persons[row] for row in rows} - {None})

    def _calibration(self, scores: Array, target: Array, weights: Array) -> dict[str, Array]:
        """Slope and calibration error [1+B] of all emotions of the images together."""
        both = ~np.isnan(scores) & ~np.isnan(target)
        x, y = np.where(both, scores, 0.0), np.where(both, target, 0.0)
        moments = np.stack([part.sum(axis=1) for part in (both.astype(np.float64), x, y, x * x, x * y)], axis=1)
        n, sum_x, sum_y, sum_xx, sum_xy = sums(weights, moments).T
        place = np.clip(np.rint(x), self.low, self.high) - self.low
        apart = []
        for bin_ in range(round(self.high - self.low) + 1):
            inside = both & (place == bin_)
            apart.append(np.abs(sums(weights, np.where(inside, x - y, 0.0).sum(axis=1, keepdims=True))[:, 0]))
        return {
            "slope": ratio(n * sum_xy - sum_x * sum_y, n * sum_xx - sum_x**2),
            "calibration_error": ratio(np.sum(apart, axis=0), n),
        }


def _shift(values: Array) -> Array:
    """Mean of the rows after the first, minus the first [K]; 0 where either is not defined."""
    drawn = column_mean(values[1:])
    return np.nan_to_num(drawn - values[0])


def _quotient(total: Array, count: Array) -> Array:
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
