"""Whom a system fails: its agreement with raters and its calibration, in each group of images.

Agreement is taken within a group, so that a difference between groups' means is no agreement. The trade-off: a figure
of a group depends on how much its images differ, which is why that of the raters among themselves stands beside it.

audit.json (`schema`: emonet_lightning audit 1; undefined figures are null):

    provenance      {kind, meaning}: prompted, perceived, self-declared or rendered
    system          name, null: raters among themselves alone
    ratings         name, num_images, num_raters, low, high, notes
    scale           how scores were taken, is_off_scale (no calibration then)
    all             LEVEL of all images
    by              [{attribute, level, raw, ...LEVEL}]
    gaps            [{attribute, measure, worst, best, gap (worst minus best), low, high, p_holm, num_comparisons}] of
                     the system; `best` is the best level, or `all others`; of kappa after what the sizes of groups do
    rater_gaps      the same of the raters among themselves
    attributes      {attribute: {levels, num_unknown, emotions {measure: slugs in its means}}}
    bootstrap       num_draws, seed, level, unit, num_units
    emotions        [K] of name, slug, family
    LEVEL           n (images), persons, too_few, spearman, kappa, bias, slope, calibration_error (each value, low,
                     high or null), raters {spearman, kappa}, per_emotion {spearman, bias: {value, low, high,
                     difference (from all images), p_holm} [K]}
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.evaluation.audit_groups import Attribute
from emonet_lightning.evaluation.bootstrap import interval
from emonet_lightning.evaluation.columns import Array, column_mean
from emonet_lightning.evaluation.estimates import number, numbers, point
from emonet_lightning.evaluation.group_figures import Figures, Judge
from emonet_lightning.evaluation.group_gaps import find_gaps, p_value
from emonet_lightning.evaluation.multiple_comparisons import holm
from emonet_lightning.ratings.panel import Panel, SystemScores
from emonet_lightning.taxonomy import Taxonomy

SCHEMA = "emonet_lightning audit 1"
MEASURES = ("spearman", "kappa", "bias")
"""Figures of a system that are compared between groups."""
RATER_MEASURES = ("spearman", "kappa")


def audit(
    panel: Panel,
    system: SystemScores | None,
    taxonomy: Taxonomy,
    attributes: Sequence[Attribute],
    *,
    num_draws: int = 500,
    seed: int = 0,
    level: float = 0.95,
    least: int = 20,
    advance: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Judge a system and the raters in every group of images.

    Args:
        panel: ratings of emotions only; draws are of persons where it has groups.
        system: its scores, or None for the raters among themselves alone.
        taxonomy: columns.
        attributes: how images are divided.
        num_draws: bootstrap draws.
        seed: of the draws.
        level: coverage of the intervals.
        least: images below which a group has too few for any number.
        advance: called with 1 after all images, and after each group.

    Returns:
        The content of audit.json as described above, without provenance, options and definitions.
    """
    judge = Judge(panel, system, taxonomy, num_draws, seed)
    rows = np.flatnonzero(judge.judged)
    whole = judge.figures(rows)
    advance(1)
    every = np.ones(taxonomy.num_emotions, dtype=bool)
    by: list[dict[str, Any]] = []
    gaps: dict[str, list[dict[str, Any]]] = {"gaps": [], "rater_gaps": []}
    told = {}
    for attribute in attributes:
        inside = [rows[attribute.place[rows] == number_] for number_ in range(len(attribute.levels))]
        found: list[Figures | None] = []
        for place in inside:
            found.append(judge.figures(place) if len(place) >= least else None)
            advance(1)
        known = [figures for figures in found if figures is not None]
        shared = _shared(known)
        entries = [_level(judge, place, figures, shared, level) for place, figures in zip(inside, found, strict=True)]
        _compare_emotions(entries, found, whole, np.array([judge.units(place) for place in inside]), level)
        names = zip(attribute.levels, attribute.raw, entries, strict=True)
        by += [{"attribute": attribute.name, "level": name, "raw": raw, **entry} for name, raw, entry in names]
        kept = [number_ for number_, figures in enumerate(found) if figures is not None]
        sizes = np.array([[len(inside[number_]), judge.units(inside[number_])] for number_ in kept]).reshape(-1, 2)
        by_chance = {int(n): judge.kappa_by_chance(int(n)) for n in np.unique(sizes[:, 0])} if len(kept) > 1 else {}
        for side, (part, measures) in enumerate((("gaps", MEASURES), ("rater_gaps", RATER_MEASURES))):
            for measure in measures:
                if not known or measure not in _parts(known[0], part):
                    continue
                values = [_parts(figures, part)[measure] for figures in known]
                if measure == "kappa" and by_chance:
                    values = [one - by_chance[int(n)][side] for one, n in zip(values, sizes[:, 0], strict=True)]
                means = np.stack([_mean(one, shared[part, measure]) for one in values], axis=1)
                names_kept = [attribute.levels[number_] for number_ in kept]
                chosen = find_gaps(names_kept, means, sizes[:, 0], sizes[:, 1], level, by_size=measure == "bias")
                gaps[part] += [{"attribute": attribute.name, "measure": measure, **gap} for gap in chosen]
        told[attribute.name] = {
            "levels": attribute.levels,
            "num_unknown": int((attribute.place[rows] < 0).sum()),
            "emotions": {
                measure: [taxonomy.slugs[k] for k in np.flatnonzero(chosen)]
                for (part, measure), chosen in shared.items()
                if part == "gaps" or system is None
            },
        }
    alone = {key: every for key in _shared([whole])}
    units = judge.units(np.arange(len(panel.images)))
    return {
        "schema": SCHEMA,
        "system": None if system is None else system.name,
        "system_notes": [] if system is None else [*system.notes, *judge.notes],
        "emotions": [{"name": d.name, "slug": d.slug, "family": d.family} for d in taxonomy.dimensions[: len(every)]],
        "ratings": {
            "name": panel.name,
            "num_images": len(rows),
            "num_raters": len(panel.raters),
            "low": judge.low,
            "high": judge.high,
            "notes": list(panel.notes),
        },
        "scale": {"is_off_scale": judge.off_scale, "low": judge.low, "high": judge.high},
        "least": least,
        "bootstrap": {
            "num_draws": num_draws,
            "seed": seed,
            "level": level,
            "unit": "image" if panel.groups is None else "person",
            "num_units": units,
        },
        "all": _level(judge, rows, whole, alone, level),
        "by": by,
        **gaps,
        "attributes": told,
    }


def _parts(figures: Figures, part: str) -> Mapping[str, Array]:
    return figures.per_emotion if part == "gaps" else figures.raters


def _shared(found: Sequence[Figures]) -> dict[tuple[str, str], NDArray[np.bool_]]:
    """Emotions that have a value in all groups, per part and measure: means over others could not be compared."""
    return {
        (part, measure): np.asarray(~np.isnan([_parts(figures, part)[measure][0] for figures in found]).any(axis=0))
        for part in ("gaps", "rater_gaps")
        for measure in (_parts(found[0], part) if found else ())
    }


def _mean(values: Array, emotions: NDArray[np.bool_]) -> Array:
    """Mean over some emotions [1+B] of values [1+B, K]."""
    used = emotions & ~np.isnan(values[0])
    return column_mean(values[:, used].T) if used.any() else np.full(len(values), np.nan)


def _level(
    judge: Judge,
    rows: NDArray[np.intp],
    figures: Figures | None,
    shared: Mapping[tuple[str, str], NDArray[np.bool_]],
    level: float,
) -> dict[str, Any]:
    found: dict[str, Any] = {"n": len(rows), "persons": judge.num_persons(rows), "too_few": figures is None}
    own = {} if figures is None else figures.per_emotion
    pooled = {} if figures is None else figures.pooled
    for measure in MEASURES:
        found[measure] = _point(_mean(own[measure], shared["gaps", measure]), level) if measure in own else None
    for measure in ("slope", "calibration_error"):
        found[measure] = _point(pooled[measure], level) if measure in pooled else None
    found["raters"] = {
        measure: None
        if figures is None
        else _point(_mean(figures.raters[measure], shared["rater_gaps", measure]), level)
        for measure in RATER_MEASURES
    }
    found["per_emotion"] = {}
    for measure in ("spearman", "bias"):
        if measure in own:
            low, high = interval(own[measure], level)
            value = {"value": numbers(own[measure][0]), "low": numbers(low), "high": numbers(high)}
            found["per_emotion"][measure] = value
    return found


def _point(values: Array, level: float) -> dict[str, Any] | None:
    """Value with its percentile interval, None where undefined."""
    if np.isnan(values[0]):
        return None
    found = point(values, level)
    return {key: found[key] for key in ("value", "low", "high", "is_biased")}


def _compare_emotions(
    entries: Sequence[dict[str, Any]], found: Sequence[Figures | None], whole: Figures, units: Array, level: float
) -> None:
    """Add to each group's emotions the difference from all images, its p corrected for all groups and emotions."""
    kept = [number_ for number_, figures in enumerate(found) if figures is not None]
    for measure in ("spearman", "bias"):
        if not kept or measure not in whole.per_emotion:
            continue
        apart = [figures.per_emotion[measure] - whole.per_emotion[measure] for figures in found if figures is not None]
        p = np.stack([p_value(one, int(units[number_])) for one, number_ in zip(apart, kept, strict=True)])
        corrected = holm(p.ravel().tolist()).reshape(p.shape)
        for number_, one, own in zip(kept, apart, corrected, strict=True):
            entries[number_]["per_emotion"][measure] |= {
                "difference": numbers(one[0]),
                "p_holm": [number(value) for value in own],
            }
