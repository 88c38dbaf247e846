"""Published figures of the released expert ratings, computed again and set beside what was published.

The publication's own conventions are kept here and nowhere else: of a system's repeated rows the last counts, scores
are held in single precision, an emotion that a row does not name is missing, and a correlation needs 100 images.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

import numpy as np

from emonet_lightning.errors import DataError
from emonet_lightning.evaluation.agreement import krippendorff_alpha, oracle_kappa_binned, pooled_rater_kappa, spearman
from emonet_lightning.evaluation.catalogue import RELIABLE_ALPHA
from emonet_lightning.evaluation.columns import Array, column_mean
from emonet_lightning.evaluation.estimates import Sets, emotion_sets
from emonet_lightning.evaluation.trivial import trivial_systems
from emonet_lightning.ratings.panel import Panel, SystemScores, slots
from emonet_lightning.taxonomy import Taxonomy
from emonet_lightning.yaml_files import parse_yaml

_FILE = resources.files("emonet_lightning") / "evaluation" / "released_figures.yaml"
_MIN_IMAGES = 100


class Check(NamedTuple):
    """One published figure."""

    metric: str
    what: str
    computed: float | None
    """None where the file has nothing to compute it from."""
    published: float
    tolerance: float

    @property
    def is_hit(self) -> bool:
        """Whether the computed figure is within tolerance."""
        return self.computed is not None and abs(self.computed - self.published) <= self.tolerance


def compare_published(
    panel: Panel,
    systems: Sequence[SystemScores],
    taxonomy: Taxonomy,
    published: Mapping[str, Any] | None = None,
) -> list[Check]:
    """Return every published figure beside the one computed from a panel and its systems.

    Args:
        panel: the released expert ratings, untouched emotions as the file has them.
        systems: of the same file; of repeated rows the last counts.
        taxonomy: the 40 emotions.
        published: the figures, in the form of `released_figures.yaml`, which is read by default.

    Raises:
        DataError: the taxonomy is another one.
    """
    published = published or parse_yaml(_FILE.read_bytes(), "released figures")
    for slug in published["alpha_interval"]["emotions"]:
        if slug not in taxonomy.slugs:
            raise DataError(f"taxonomy '{taxonomy.name}' has no '{slug}'; the published figures are of emonet40")
    return list(_checks(published, panel, {system.name: system for system in systems}, taxonomy))


def _checks(
    published: Mapping[str, Any],
    panel: Panel,
    systems: dict[str, SystemScores],
    taxonomy: Taxonomy,
) -> Iterator[Check]:
    k, dimension = taxonomy.num_emotions, taxonomy.dimensions[0]
    values, by_slot = panel.values[..., :k], slots(panel)[..., :k]
    given = ~np.isnan(values).all(axis=2)
    for what, computed in (
        ("images", len(panel.images)),
        ("raters", len(panel.raters)),
        ("ratings_per_image", given.sum(axis=1).mean()),
    ):
        yield Check("ratings", what, float(computed), float(published["ratings"][what]), 0.0)
    figures = published["alpha_interval"]
    alpha = krippendorff_alpha(values, "interval")
    for slug, value in figures["emotions"].items():
        yield Check("alpha_interval", slug, float(alpha[taxonomy.slugs.index(slug)]), value, figures["tolerance"])
    yield Check("alpha_interval", "mean", _mean(alpha), figures["mean"], figures["mean_tolerance"])
    sets = emotion_sets(alpha, RELIABLE_ALPHA)
    figures = published["kappa_pooled"]
    anchor = pooled_rater_kappa(by_slot, dimension.low, dimension.high)
    for name in sets:
        yield Check("kappa_pooled", f"raters, {name}", _mean(anchor[sets[name]]), figures[name], figures["tolerance"])
    figures = published["oracle_kappa_binned"]
    trivial = {system.name: system for system in trivial_systems(panel, taxonomy.slugs)}
    for group, tolerance, found in (
        ("systems", "tolerance", systems),
        ("trivial", "trivial_tolerance", trivial),
    ):
        for name, wanted in figures[group].items():
            system = found.get(name)
            kappa = None
            if system is not None:
                kappa = oracle_kappa_binned(_single(system.scores[:, :k]), by_slot, dimension.low, dimension.high)
            yield from _of_sets("oracle_kappa_binned", name, kappa, wanted, sets, figures[tolerance])
    figures, target = published["spearman"], column_mean(values.swapaxes(0, 1))
    for name, wanted in figures["systems"].items():
        rho = None
        if name in systems:
            scores = _single(systems[name].scores[:, :k])
            both = ~np.isnan(scores) & ~np.isnan(target)
            rho = spearman(np.where(both, scores, np.nan), np.where(both, target, np.nan))
            rho = np.where(both.sum(axis=0) >= _MIN_IMAGES, rho, np.nan)
        yield from _of_sets("spearman", name, rho, wanted, sets, figures["tolerance"])
    present = (values > 0).sum(axis=2)[given]
    for what, value in (("mean", present.mean()), ("std", present.std())):
        figures = published["present_emotions"]
        yield Check("present emotions of a rater's image", what, float(value), figures[what], figures["tolerance"])


def _of_sets(
    metric: str, name: str, values: Array | None, wanted: dict[str, float], sets: Sets, tolerance: float
) -> Iterator[Check]:
    for chosen, figure in wanted.items():
        computed = None if values is None else _mean(values[sets[chosen]])
        yield Check(metric, f"{name}, {chosen}", computed, figure, tolerance)


def _mean(values: Array) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _single(scores: Array) -> Array:
    return scores.astype(np.float32).astype(np.float64)
