"""Judging systems beside human raters: everything that `agreement.json` says.

The trade-off: each system is judged on the images that it scored, so that one that skipped some is not thrown out;
where two systems have not scored the same images, their difference says so.

agreement.json (`schema`: emonet_lightning agreement 1; undefined figures are null):

    taxonomy        name, digest, emotions [K] of name, slug, family
    ratings         name, num_images, num_raters, raters, num_ratings, raters_per_image {min, mean, max}, low, high,
                    notes (what was normalised while reading)
    bootstrap       num_draws, seed, level, unit (image or group), num_units
    reliable        emotions (slugs) whose alpha_interval is at least the threshold; uncertain: its interval holds it
    metrics         {key: name, rule (one sentence), human (key of the raters' figure beside it), higher_is_better,
                     against_humans (key of the figure that is like for like with it, null: none), own_scale}
    headline        keys of the main table; present_threshold: mean rating from which an emotion is present
    humans          metrics {key: SUMMARY}, per_rater {set: {key: {rater: mean over emotions}}},
                     num_present [K] images, undefined_pairs {num_pairs, apart, constant} [K] pairs of raters
    systems         {name: kind (system, trivial or reference), notes, num_images, images_per_emotion {min, max},
                     num_emotions_scored, off_scale (on 0..1), tie_spread (sd of the binned kappa over orders of
                     images), metrics {key: SUMMARY}}
    differences     subject, of [{metric, set, system, difference (subject minus system), low, high, num_emotions,
                     same_images, off_scale}], paired on the same draws
    against_humans  [{system, metric, set, difference (system minus humans), low, high, num_emotions, same_images,
                     off_scale}]
    over_raters     kappa_truncate with intervals over draws of raters, not images: humans and systems {set: ESTIMATE},
                    against_humans
    reliability     {system: bin_mean_score, bin_mean_rating, n per level}
    pairwise        annotators (num_humans raters first), kappa [A][A] mean over emotions, num_undefined [A][A]
    released_protocol, group_tests   tables and tests of the released analysis
    SUMMARY         sets {all, reliable, rest: ESTIMATE}, per_emotion {value, low, high, n (images)} [K]
    ESTIMATE        value, low, high, bias (mean of draws minus value), is_biased (by more than a quarter of their
                     standard deviation: the percentile interval is off centre), num_emotions (in the mean),
                     num_undefined (left out, or counted as 0 by the rule)
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.evaluation.agreement import (
    draws,
    interval,
    judge_left_out,
    judge_raters,
    judge_system,
    rater_scores,
    undefined_pairs,
)
from emonet_lightning.evaluation.catalogue import HEADLINE, HUMAN_METRICS, METRICS, RELIABLE_ALPHA
from emonet_lightning.evaluation.columns import Array, column_mean
from emonet_lightning.evaluation.estimates import (
    Sets,
    count_constant_as_zero,
    difference,
    emotion_sets,
    number,
    summary,
    varied,
)
from emonet_lightning.evaluation.pairwise import Pairs, group_of
from emonet_lightning.evaluation.score_traits import off_scale, reliability, tie_spread
from emonet_lightning.ratings.panel import Panel, SystemScores, slots
from emonet_lightning.taxonomy import Taxonomy

SCHEMA = "emonet_lightning agreement 1"
NUM_DRAWS, LEVEL = 500, 0.95
Mask = NDArray[np.bool_]


class Judged(NamedTuple):
    """One system with its figures."""

    system: SystemScores
    """Without extra dimensions."""
    own: dict[str, Array]
    """Figures [1+B, K], NaN where undefined."""
    in_means: dict[str, Array]
    """As they go into means over emotions [1+B, K]."""
    scored: Mask
    """Which images and emotions it scored [N, K]."""
    off_scale: bool


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
    rated = np.asarray(~np.isnan(values).all(axis=1))  # [N, K]
    undefined = undefined_pairs(values, low, high)
    single = rater_scores(values, low, high, threshold)
    target = column_mean(values.swapaxes(0, 1))
    in_draws = varied(target, weights)
    judged: list[Judged] = []
    for system in systems:
        own = system._replace(scores=system.scores[:, :k])
        figures = judge_system(own.scores, values, by_slot, low, high, weights, threshold)
        figures |= judge_left_out(own.scores, values, weights, threshold)
        scored = np.asarray(~np.isnan(own.scores))
        in_means = {
            key: count_constant_as_zero(found, in_draws, np.asarray(scored.any(axis=0)))
            if METRICS[key].constant_as_zero
            else found
            for key, found in figures.items()
        }
        judged.append(Judged(own, figures, in_means, scored, _is_off_scale(own, low, high)))
        advance(1)
    subject = subject if subject is not None else next((s.name for s in systems if s.kind == "system"), None)
    pairs = Pairs(panel._replace(values=values), [one.system for one in judged], low, high)
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
            "uncertain": _uncertain(human["alpha_interval"], taxonomy.slugs, level),
        },
        "metrics": {
            key: {
                "name": metric.name,
                "rule": metric.rule,
                "human": metric.human,
                "higher_is_better": metric.higher_is_better,
                "against_humans": metric.against_humans,
                "own_scale": metric.own_scale,
            }
            for key, metric in {**METRICS, **HUMAN_METRICS}.items()
        },
        "present_threshold": threshold,
        "headline": list(HEADLINE),
        "humans": {
            "metrics": {key: summary(own, own, rated.sum(axis=0), sets, level) for key, own in human.items()},
            "per_rater": {
                name: {
                    key: {
                        rater: number(mean)
                        for rater, mean in zip(panel.raters, column_mean(per[:, chosen].T), strict=True)
                    }
                    for key, per in single.items()
                }
                for name, chosen in sets.items()
            },
            "undefined_pairs": {name: sums.tolist() for name, sums in undefined._asdict().items()},
            "num_present": (target >= threshold).sum(axis=0).tolist(),
        },
        "systems": {
            one.system.name: {
                **_system(one, rated, sets, level),
                "tie_spread": tie_spread(one.system.scores, by_slot, low, high, sets),
            }
            for one in judged
        },
        "differences": _differences(subject, judged, sets, level),
        "against_humans": _against_humans(judged, human, rated, sets, level),
        "reliability": {
            one.system.name: reliability(one.system.scores, target, low, high)
            for one in judged
            if one.system.kind == "system"
        },
        "over_raters": pairs.over_raters(num_draws, seed, level, sets),
        "pairwise": pairs.matrix(),
        "released_protocol": pairs.released_protocol(groups, taxonomy.names),
        "group_tests": pairs.group_tests(groups),
    }


def _is_off_scale(system: SystemScores, low: float, high: float) -> bool:
    return system.kind == "system" and not system.on_scale and off_scale(system.scores, low, high)


def _uncertain(alpha: Array, slugs: Sequence[str], level: float) -> list[str]:
    """Emotions whose interval of alpha holds the threshold: draws of images put them in either set."""
    low, high = interval(alpha, level)
    return [slug for slug, a, b in zip(slugs, low, high, strict=False) if a < RELIABLE_ALPHA <= b]


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


def _system(one: Judged, rated: Mask, sets: Sets, level: float) -> dict[str, Any]:
    num = (rated & one.scored).sum(axis=0)
    used = num[one.scored.any(axis=0)]
    return {
        "kind": one.system.kind,
        "notes": list(one.system.notes),
        "num_images": int(one.scored.any(axis=1).sum()),
        "images_per_emotion": {"min": int(used.min()), "max": int(used.max())} if len(used) else {"min": 0, "max": 0},
        "num_emotions_scored": int(one.scored.any(axis=0).sum()),
        "off_scale": one.off_scale,
        "metrics": {key: summary(one.in_means[key], one.own[key], num, sets, level) for key in METRICS},
    }


def _differences(subject: str | None, judged: Sequence[Judged], sets: Sets, level: float) -> dict[str, Any]:
    """The subject minus each other system: paired, since all share their draws."""
    found: list[dict[str, Any]] = []
    first = next((one for one in judged if one.system.name == subject), None)
    if first is None:
        return {"subject": None, "of": found}
    for other in judged:
        if other is first:
            continue
        same = bool((first.scored == other.scored).all())
        for key, metric in METRICS.items():
            off = metric.own_scale and (first.off_scale or other.off_scale)
            for chosen, emotions in sets.items():
                gap = difference(first.in_means[key], other.in_means[key], emotions, level)
                entry = {"metric": key, "set": chosen, "system": other.system.name, **gap}
                found.append({**entry, "same_images": same, "off_scale": off})
    return {"subject": subject, "of": found}


def _against_humans(
    judged: Sequence[Judged], human: Mapping[str, Array], rated: Mask, sets: Sets, level: float
) -> list[dict[str, Any]]:
    """Each system minus the human figure beside it, paired; only figures that are like for like."""
    found = []
    for one in judged:
        same = bool(one.scored[rated].all())
        for key, metric in METRICS.items():
            if metric.against_humans != key or metric.human is None:
                continue
            for chosen, emotions in sets.items():
                gap = difference(one.in_means[key], human[metric.human], emotions, level)
                entry = {"system": one.system.name, "metric": key, "set": chosen, **gap}
                found.append({**entry, "same_images": same, "off_scale": metric.own_scale and one.off_scale})
    return found
