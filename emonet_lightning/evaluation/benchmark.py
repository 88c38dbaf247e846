"""Judging systems beside human raters: everything that `agreement.json` says.

The trade-off: each system is judged on the images that it scored, so that one that skipped some is not thrown out;
where two systems have not scored the same images, their difference says so.

agreement.json (`schema`: emonet_lightning agreement 1; undefined figures are null):

    taxonomy        name, digest, emotions [K] of name, slug, family
    ratings         name, num_images, num_raters, raters, num_ratings, raters_per_image {min, mean, max}, low, high,
                    notes (what was normalised while reading)
    bootstrap       num_draws, seed, level, unit (image or group), num_units
    reliable        emotions (slugs) whose alpha_interval is at least the threshold
    metrics         {key: name, rule (one sentence), human (key of the raters' figure beside it), higher_is_better}
    headline        keys of the main table; present_threshold: mean rating from which an emotion is present
    humans          metrics {key: SUMMARY}, per_rater {key: {rater: mean over emotions}}
    systems         {name: kind (system, trivial or reference), notes, num_images, num_emotions_scored,
                     metrics {key: SUMMARY}}
    differences     subject, of [{metric, set, system, difference (subject minus system), low, high, num_emotions,
                     same_images}], paired on the same draws
    against_humans  [{system, metric, set, difference (system minus humans), low, high, num_emotions}]
    over_raters     kappa_truncate with intervals over draws of raters, not images: humans and systems {set: ESTIMATE},
                    against_humans
    reliability     {system: bin_mean_score, bin_mean_rating, n per level}
    pairwise        annotators (num_humans raters first), kappa [A][A] mean over emotions, num_undefined [A][A]
    released_protocol, group_tests   tables and tests of the released analysis
    SUMMARY         sets {all, reliable, rest: ESTIMATE}, per_emotion {value, low, high, n (images)} [K]
    ESTIMATE        value, low, high, num_emotions (in the mean), num_undefined (left out, or counted as 0 by the rule)
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from emonet_lightning.evaluation.agreement import draws, judge_raters, judge_system, rater_scores
from emonet_lightning.evaluation.catalogue import HEADLINE, HUMAN_METRICS, METRICS, RELIABLE_ALPHA
from emonet_lightning.evaluation.columns import Array, column_mean
from emonet_lightning.evaluation.estimates import (
    Sets,
    count_constant_as_zero,
    difference,
    emotion_sets,
    number,
    numbers,
    summary,
)
from emonet_lightning.evaluation.pairwise import Pairs, group_of
from emonet_lightning.ratings.panel import Panel, SystemScores, slots
from emonet_lightning.taxonomy import Taxonomy

SCHEMA = "emonet_lightning agreement 1"
NUM_DRAWS, LEVEL = 500, 0.95


def judge(
    panel: Panel,
    systems: Sequence[SystemScores],
    taxonomy: Taxonomy,
    *,
    subject: str | None = None,
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
    level: float = LEVEL,
    present_threshold: float | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Judge systems against the raters of a panel, and the raters against each other.

    Args:
        panel: ratings [N, R, K] of all dimensions of the taxonomy; extra dimensions are left out here.
        systems: scores of the same images; trivial systems among them.
        taxonomy: columns.
        subject: the system that is compared with all others; the first one by default.
        num_draws: bootstrap draws of images, or of groups of images where the panel has groups.
        seed: of the draws.
        level: coverage of the percentile intervals.
        present_threshold: an emotion is present where the mean rating is at least this; one level above the lowest by
            default.
        advance: called with 1 after the raters and after each system.

    Returns:
        The content of `agreement.json`, as described above.
    """
    k = taxonomy.num_emotions
    low, high = taxonomy.dimensions[0].low, taxonomy.dimensions[0].high
    values, by_slot = panel.values[..., :k], slots(panel)[..., :k]
    threshold = low + 1 if present_threshold is None else present_threshold
    weights = draws(len(panel.images), num_draws, seed, panel.groups)
    human = judge_raters(values, by_slot, low, high, weights, threshold)
    advance(1)
    sets = emotion_sets(human["alpha_interval"][0], RELIABLE_ALPHA)
    rated = ~np.isnan(values).all(axis=1)  # [N, K]
    found: dict[str, dict[str, Array]] = {}
    for system in systems:
        found[system.name] = judge_system(system.scores[:, :k], values, by_slot, low, high, weights, threshold)
        advance(1)
    target = column_mean(values.swapaxes(0, 1))
    varied = np.array([len(np.unique(column[~np.isnan(column)])) > 1 for column in target.T])
    means = {s.name: _in_means(found[s.name], varied, ~np.isnan(s.scores[:, :k]).all(axis=0)) for s in systems}
    subject = subject if subject is not None else next((s.name for s in systems if s.kind == "system"), None)
    only = [system._replace(scores=system.scores[:, :k]) for system in systems]
    pairs = Pairs(panel._replace(values=values), only, low, high)
    groups = [*["Human Annotators"] * pairs.num_raters, *(group_of(system) for system in systems)]
    return {
        "schema": SCHEMA,
        "taxonomy": {
            "name": taxonomy.name,
            "digest": taxonomy.digest,
            "emotions": [{"name": d.name, "slug": d.slug, "family": d.family} for d in taxonomy.dimensions[:k]],
        },
        "ratings": _describe(panel, values, low, high),
        "bootstrap": _bootstrap(panel, num_draws, seed, level),
        "reliable": {
            "metric": "alpha_interval",
            "threshold": RELIABLE_ALPHA,
            "emotions": [slug for slug, is_in in zip(taxonomy.slugs, sets["reliable"], strict=False) if is_in],
        },
        "metrics": {
            key: {
                "name": metric.name,
                "rule": metric.rule,
                "human": metric.human,
                "higher_is_better": metric.higher_is_better,
            }
            for key, metric in {**METRICS, **HUMAN_METRICS}.items()
        },
        "present_threshold": threshold,
        "headline": list(HEADLINE),
        "humans": {
            "metrics": {key: summary(own, own, rated.sum(axis=0), sets, level) for key, own in human.items()},
            "per_rater": {
                key: {rater: number(mean) for rater, mean in zip(panel.raters, column_mean(per.T), strict=True)}
                for key, per in rater_scores(values, low, high).items()
            },
        },
        "systems": {
            system.name: _system(system, found[system.name], means[system.name], rated, sets, level)
            for system in systems
        },
        "differences": _differences(subject, systems, means, sets, level),
        "against_humans": _against_humans(means, human, sets, level),
        "reliability": {s.name: reliability(s.scores[:, :k], target, low, high) for s in systems if s.kind == "system"},
        "over_raters": pairs.over_raters(num_draws, seed, level, sets),
        "pairwise": pairs.matrix(),
        "released_protocol": pairs.released_protocol(groups, taxonomy.names),
        "group_tests": pairs.group_tests(groups),
    }


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


def _in_means(values: Mapping[str, Array], varied: Any, scored: Any) -> dict[str, Array]:
    return {
        key: count_constant_as_zero(own, varied, scored) if METRICS[key].constant_as_zero else own
        for key, own in values.items()
    }


def _describe(panel: Panel, values: Array, low: float, high: float) -> dict[str, Any]:
    given = ~np.isnan(values).all(axis=2)  # [N, R]
    count = given.sum(axis=1)
    return {
        "name": panel.name,
        "num_images": len(panel.images),
        "num_raters": len(panel.raters),
        "raters": panel.raters,
        "num_ratings": int((~np.isnan(values)).sum()),
        "raters_per_image": {"min": int(count.min()), "mean": float(count.mean()), "max": int(count.max())},
        "low": low,
        "high": high,
        "notes": list(panel.notes),
    }


def _bootstrap(panel: Panel, num_draws: int, seed: int, level: float) -> dict[str, Any]:
    groups = panel.groups
    named = {group for group in groups or [] if group is not None}
    singles = len(panel.images) if groups is None else sum(group is None for group in groups)
    return {
        "num_draws": num_draws,
        "seed": seed,
        "level": level,
        "unit": "group" if named else "image",
        "num_units": singles + len(named),
    }


def _system(
    system: SystemScores,
    own: Mapping[str, Array],
    in_means: Mapping[str, Array],
    rated: Any,
    sets: Sets,
    level: float,
) -> dict[str, Any]:
    scored = ~np.isnan(system.scores[:, : rated.shape[1]])
    num = (rated & scored).sum(axis=0)
    return {
        "kind": system.kind,
        "notes": list(system.notes),
        "num_images": int(scored.any(axis=1).sum()),
        "num_emotions_scored": int(scored.any(axis=0).sum()),
        "metrics": {key: summary(in_means[key], own[key], num, sets, level) for key in METRICS},
    }


def _differences(
    subject: str | None, systems: Sequence[SystemScores], means: Mapping[str, Any], sets: Sets, level: float
) -> dict[str, Any]:
    """The subject minus each other system: paired, since all share their draws."""
    by_name = {system.name: ~np.isnan(system.scores) for system in systems}
    found: list[dict[str, Any]] = []
    if subject is None:
        return {"subject": None, "of": found}
    for name in means:
        if name == subject:
            continue
        same = bool((by_name[subject].any(axis=1) == by_name[name].any(axis=1)).all())
        for key in METRICS:
            for chosen, emotions in sets.items():
                gap = difference(means[subject][key], means[name][key], emotions, level)
                found.append({"metric": key, "set": chosen, "system": name, **gap, "same_images": same})
    return {"subject": subject, "of": found}


def _against_humans(
    means: Mapping[str, Mapping[str, Array]], human: Mapping[str, Array], sets: Sets, level: float
) -> list[dict[str, Any]]:
    """Each system minus the human figure beside it, paired."""
    found = []
    for name, values in means.items():
        for key, metric in METRICS.items():
            if metric.human is None:
                continue
            for chosen, emotions in sets.items():
                gap = difference(values[key], human[metric.human], emotions, level)
                found.append({"system": name, "metric": key, "set": chosen, **gap})
    return found
