"""Every annotator against every other, and the released analysis of who could pass for an expert."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import mannwhitneyu

from emonet_lightning.evaluation.agreement import over_raters, quadratic_kappa, rater_kappa, system_kappa
from emonet_lightning.evaluation.columns import Array, column_mean
from emonet_lightning.evaluation.estimates import Sets, difference, estimate, number, numbers
from emonet_lightning.ratings.panel import Panel, SystemScores

HUMANS = "the raters themselves"
MAX_RATERS = 60
"""More raters than this are not shown one by one."""
NOT_EQUAL = "two-sided Mann-Whitney U test; p > 0.05 is a test that found nothing, no evidence of equality"
_NUM_DRAWS = 1000
_SEED = 42  # of the released analysis


class Pairs:
    """Kappa (rule truncate) of all pairs of annotators, raters first."""

    def __init__(self, panel: Panel, systems: Sequence[SystemScores], low: float, high: float) -> None:
        """Compute all pairs.

        Args:
            panel: ratings [N, R, K].
            systems: scores [N, K] each, extra dimensions left out like those of the panel.
            low: lowest level.
            high: highest level.
        """
        raters = panel.raters if len(panel.raters) <= MAX_RATERS else []
        values = panel.values[:, : len(raters)]
        self.num_raters = len(raters)
        self.annotators = [*raters, *(system.name for system in systems)]
        size = len(self.annotators)
        self.kappa: Array = np.full((size, size, panel.values.shape[2]), np.nan)
        if raters:
            self.kappa[: len(raters), : len(raters)] = rater_kappa(values, low, high, "truncate")
        for s, system in enumerate(systems, len(raters)):
            if raters:
                self._set(s, slice(0, len(raters)), system_kappa(system.scores, values, low, high, "truncate"))
            for t, other in enumerate(systems[: s - len(raters)], len(raters)):
                self._set(s, t, quadratic_kappa(system.scores, other.scores, low, high, "truncate"))

    def _set(self, row: int, column: int | slice, kappa: Array) -> None:
        self.kappa[row, column] = kappa
        self.kappa[column, row] = kappa

    def matrix(self) -> dict[str, Any]:
        """Return `annotators`, `num_humans`, mean `kappa` over emotions and `num_undefined` emotions of each pair."""
        means = column_mean(self.kappa.transpose(2, 0, 1))
        undefined = np.isnan(self.kappa).sum(axis=2)
        np.fill_diagonal(undefined, 0)
        return {
            "metric": "kappa_truncate",
            "annotators": self.annotators,
            "num_humans": self.num_raters,
            "kappa": [numbers(row) for row in means],
            "num_undefined": undefined.tolist(),
        }

    def over_raters(self, num_draws: int, seed: int, level: float, sets: Sets) -> dict[str, Any]:
        """Return intervals of kappa over draws of raters: how far the figures depend on who was asked.

        Args:
            num_draws: draws of raters.
            seed: of the draws.
            level: coverage of the intervals.
            sets: of emotions.

        Returns:
            `humans` and `systems`: name -> set -> estimate; `against_humans`: name -> set -> difference. Empty where
            there are fewer than three raters, or none one by one.
        """
        if self.num_raters < 3:
            return {}
        names = self.annotators[self.num_raters :]
        pairs = self.kappa[: self.num_raters, : self.num_raters]
        of_systems = {name: self.kappa[self.num_raters + s, : self.num_raters] for s, name in enumerate(names)}
        found = over_raters(pairs, of_systems, num_draws, seed, HUMANS)
        estimates = {
            name: {chosen: estimate(values, emotions, level, np.isnan(values[0])) for chosen, emotions in sets.items()}
            for name, values in found.items()
        }
        return {
            "metric": "kappa_truncate",
            "num_draws": num_draws,
            "num_raters": self.num_raters,
            "humans": estimates.pop(HUMANS),
            "systems": estimates,
            "against_humans": {
                name: {
                    chosen: difference(found[name], found[HUMANS], emotions, level) for chosen, emotions in sets.items()
                }
                for name in names
            },
        }

    def released_protocol(self, groups: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
        """Return the tables of the released analysis.

        Args:
            groups: of the annotators.
            names: of the emotions.

        Returns:
            Name -> `group`; `per_emotion` [K]; `average`, `std` (ddof 1), `median` and `top_emotion` of the per-emotion
            means of kappa with the raters (a rater: with the others); `could_be_annotator_p`: Mann-Whitney test of its
            kappas with raters against the raters' own pairs. Empty where there are no raters one by one.
        """
        humans = self.kappa[:, : self.num_raters]  # [A, R, K]
        if not self.num_raters:
            return {}
        own = column_mean(humans.swapaxes(0, 1))  # [A, K]
        upper = np.triu_indices(self.num_raters, k=1)
        found: dict[str, Any] = {}
        for a, (name, group) in enumerate(zip(self.annotators, groups, strict=True)):
            values = own[a][~np.isnan(own[a])]
            is_rater = a < self.num_raters
            others = (upper[0] != a) & (upper[1] != a) if is_rater else np.ones(len(upper[0]), dtype=bool)
            pairs = humans[upper[0][others], upper[1][others]]
            found[name] = {
                "group": group,
                "average": number(values.mean()) if len(values) else None,
                "std": number(values.std(ddof=1)) if len(values) > 1 else None,
                "median": number(np.median(values)) if len(values) else None,
                "top_emotion": names[int(np.nanargmax(own[a]))] if len(values) else None,
                "num_undefined": int(np.isnan(own[a]).sum()),
                "per_emotion": numbers(own[a]),
                "could_be_annotator_p": _mann_whitney(humans[a], pairs),
            }
        return found

    def group_tests(self, groups: Sequence[str]) -> list[dict[str, Any]]:
        """Return tests between groups of annotators on all their (annotator, emotion) values.

        Args:
            groups: of the annotators.

        Returns:
            `first`, `second`, `p` (Mann-Whitney), `difference` of means with its bootstrap interval `low`, `high`.
        """
        return _group_tests(column_mean(self.kappa[:, : self.num_raters].swapaxes(0, 1)), groups)


def group_of(system: SystemScores) -> str:
    """Return the group that the released analysis puts an annotator in, by its name."""
    if system.kind != "system":
        return "Trivial"
    name = system.name
    if "Empathic Insight" in name:
        return "Our Models"
    if name.startswith("Hume Face"):
        return "Proprietary"
    if name == "Random Baseline":
        return "Random Baseline"
    return {"MS": "VLM multi-shot", "ZS": "VLM zero-shot"}.get(name[-2:], "Systems")


def _group_tests(own: Array, groups: Sequence[str]) -> list[dict[str, Any]]:
    names = list(dict.fromkeys(groups))
    values = {}
    for name in names:
        each = own[[group == name for group in groups]]
        values[name] = each[~np.isnan(each)]
    found = []
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            a, b = values[first], values[second]
            low, high, gap = np.nan, np.nan, np.nan
            if len(a) and len(b):
                rng = np.random.default_rng(_SEED)  # created anew for each pair, as released
                draws = [rng.choice(a, len(a)).mean() - rng.choice(b, len(b)).mean() for _ in range(_NUM_DRAWS)]
                (low, high), gap = np.percentile(draws, [2.5, 97.5]), a.mean() - b.mean()
            found.append(
                {
                    "first": first,
                    "second": second,
                    "p": _mann_whitney(a, b),
                    "difference": number(gap),
                    "low": number(low),
                    "high": number(high),
                }
            )
    return found


def _mann_whitney(a: Array, b: Array) -> float | None:
    a, b = a[~np.isnan(a)], b[~np.isnan(b)]
    return float(mannwhitneyu(a, b, alternative="two-sided").pvalue) if len(a) and len(b) else None
