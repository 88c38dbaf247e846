"""Transfer to another dataset's classes: three ways from 40 scores to a class, and what each is worth by chance.

All rules have one form here: which classes a rule names for each image [N, C]. So recall, F1,
shuffled labels and bootstrap draws are the same few sums for all of them, taken for all draws by one matrix product.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from emonet_lightning.evaluation.bootstrap import interval
from emonet_lightning.evaluation.columns import Array
from emonet_lightning.evaluation.shares import share
from emonet_lightning.evaluation.transfer_decisions import NUM_RANDOM_SETS, Credits, Decisions, Labels, one_hot

METRICS = {
    "accuracy": "share of images for which the rule names the true class",
    "macro_recall": "share within each class, mean over classes with images",
    "macro_f1": "2 TP / (images of the class + images for which the rule names it), mean over classes with images",
}
DEFINITIONS = {
    "scores": "raw score minus the head's mean on neutral faces; softmax over the mapped heads, temperature 1",
    "low, high": "percentile interval of the bootstrap draws; a class that a draw does not hold is left out of that "
    "draw's means; without an interval where all draws are equal; Wilson score interval for the recall of a class and "
    "for an accuracy of 0 or 1, images taken as independent",
    "chance": "the same figure with the true classes shuffled over the images: mean and range of the shuffles; p: "
    "share of the shuffles, the true order counted with them, that reach the figure",
    "heads_on": "mapped heads of an image whose softmax is above the cutoff, mean over images",
    "classes_named": "classes of an image that the rule names, mean over images",
    "counts": "images by true class (row) and named class (column); any-hit may name several; of random scores their "
    "expectation",
    "most frequent class": "trivial: named for every image",
    "random scores": f"trivial: expectation over at least {NUM_RANDOM_SETS} seeded sets of scores, uniform over the "
    "taxonomy's levels; F1 is that of the expected counts. Its interval is the expectation's; a single set varies "
    "more",
    "equal scores": "trivial: the same score for all heads, so that ties decide",
}
_BLOCK = 4_000_000  # permuted labels held at once


class Tally(NamedTuple):
    """Figures of one rule, the sample itself first, then its draws."""

    recall: Array
    """[1+B, C]; NaN where a draw has no image of the class."""
    metrics: dict[str, Array]
    """Metric -> [1+B]."""


def tally(credits: Credits, labels: Labels, weights: Array) -> Tally:
    """Return recall per class, accuracy, macro recall and macro F1 of one rule for all draws.

    Args:
        credits: classes that the rule names, or shares of score sets that name them [N, C].
        labels: true classes [N].
        weights: how often each image counts [1+B, N], the first row all ones.
    """
    num_classes = credits.shape[1]
    truth = one_hot(labels, num_classes)
    size, named, right = np.split(weights @ np.hstack([truth, credits, truth * credits]), 3, axis=1)  # each [1+B, C]
    with np.errstate(invalid="ignore"):
        recall = np.where(size > 0, right / size, np.nan)
        f1 = np.where(size > 0, 2 * right / (size + named), np.nan)
    return Tally(
        recall,
        {
            "accuracy": right.sum(axis=1) / size.sum(axis=1),
            "macro_recall": np.nanmean(recall, axis=1),
            "macro_f1": np.nanmean(f1, axis=1),
        },
    )


def permuted_recalls(credits: Sequence[Credits], labels: Labels, num_permutations: int, seed: int) -> Array:
    """Return recall per class of each rule when true labels are shuffled over images [rules, P, C]; NaN: no images.

    All rules see the same shuffles: permutation p is the p-th of `default_rng(seed).permuted` rows.
    """
    num_classes = credits[0].shape[1]
    size = np.bincount(labels, minlength=num_classes).astype(np.float64)
    rng = np.random.default_rng(seed)
    result = np.empty((len(credits), num_permutations, num_classes))
    step = max(1, _BLOCK // max(1, len(labels)))
    rows = np.arange(len(labels))
    for start in range(0, num_permutations, step):
        shuffled = rng.permuted(np.tile(labels, (min(step, num_permutations - start), 1)), axis=1)
        cell = shuffled + num_classes * np.arange(len(shuffled))[:, None]
        for rule, credit in enumerate(credits):
            hits = credit[rows, shuffled].ravel()
            right = np.bincount(cell.ravel(), hits, minlength=len(shuffled) * num_classes)
            result[rule, start : start + len(shuffled)] = right.reshape(-1, num_classes)
    return np.divide(result, size, out=np.full_like(result, np.nan), where=size > 0)


def chance(observed: float, permuted: Array, level: float) -> dict[str, Any]:
    """Return what shuffled labels reach: mean, range, and how often they reach the observed figure.

    Args:
        observed: figure with the true labels.
        permuted: the same figure with shuffled labels [P].
        level: share of the shuffles inside `low`..`high`.
    """
    low, high = np.quantile(permuted, [(1 - level) / 2, (1 + level) / 2])
    reached = int((permuted >= observed - 1e-12).sum())  # sums in another order differ in the last bit
    return {
        "value": float(permuted.mean()),
        "low": float(low),
        "high": float(high),
        "p": (1 + reached) / (1 + len(permuted)),
    }


def judge(
    decisions: Mapping[str, Decisions],
    labels: Labels,
    weights: Array,
    *,
    subjects: Collection[str],
    num_permutations: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """Return every system's figures and the paired differences between systems.

    Args:
        decisions: system -> what its scores say of the same N images.
        labels: true classes [N], 0..C-1.
        weights: bootstrap draws [1+B, N] from `bootstrap.draws`, the sample itself first; shared by all systems, so
            that differences are paired.
        subjects: systems from which those after them are subtracted.
        num_permutations: shuffles of the true labels.
        seed: of the shuffles.
        level: coverage of intervals.

    Returns:
        `systems`: name -> `rules` (per rule the metrics, each with chance, `per_class` lists [C] and `counts`, true
        class by named class) and `heads_on`; `differences`: one entry per pair, rule and metric.
    """
    systems, draws = {}, {}
    every = [credits for decided in decisions.values() for credits in decided.credits.values()]
    shuffled_of = np.split(permuted_recalls(every, labels, num_permutations, seed), len(decisions))
    for (name, decided), shuffled in zip(decisions.items(), shuffled_of, strict=True):
        tallies = {rule: tally(credits, labels, weights) for rule, credits in decided.credits.items()}
        systems[name] = {
            "rules": {
                rule: _rule(tallies[rule], decided.credits[rule], labels, permuted, weights, level)
                for rule, permuted in zip(tallies, shuffled, strict=True)
            },
            "heads_on": _heads_on(decided.heads_on, weights, level),
        }
        draws[name] = {rule: found.metrics for rule, found in tallies.items()}
    names = list(decisions)
    differences = [
        {"system": one, "minus": other, "rule": rule, "metric": metric}
        | _estimate(draws[one][rule][metric] - draws[other][rule][metric], level)
        | {"n": len(labels)}
        for place, one in enumerate(names)
        if one in subjects
        for other in names[place + 1 :]
        for rule in draws[one]
        if rule in draws[other]
        for metric in METRICS
    ]
    return {"systems": systems, "differences": differences}


def _rule(
    found: Tally, credits: Credits, labels: Labels, permuted: Array, weights: Array, level: float
) -> dict[str, Any]:
    num_classes = credits.shape[1]
    truth = one_hot(labels, num_classes)
    size = truth.sum(axis=0)
    right = permuted * size
    by_chance = {
        "accuracy": np.nansum(right, axis=1) / size.sum(),
        "macro_recall": np.nanmean(permuted, axis=1),
        "macro_f1": np.nanmean(2 * right / np.maximum(size + credits.sum(axis=0), 1), axis=1),
    }
    figures: dict[str, Any] = {
        metric: {
            **_figure(values, level),
            "n": len(labels),
            "chance": chance(float(values[0]), by_chance[metric], level),
        }
        for metric, values in found.metrics.items()
    }
    counts = truth.T.astype(np.int64) @ credits
    is_counted = credits.dtype == np.bool_  # an expectation is no count of images
    if is_counted and figures["accuracy"]["value"] in (0, 1):
        bounds = share(counts.trace(), len(labels), level)
        figures["accuracy"] |= {"low": bounds["low"], "high": bounds["high"]}
    per_class: list[dict[str, Any]] = [
        {
            **(share(counts[c, c], size[c], level) if is_counted else _figure(found.recall[:, c], level)),
            "n": int(size[c]),
            "chance": chance(float(found.recall[0, c]), permuted[:, c], level) if size[c] else None,
        }
        for c in range(num_classes)
    ]
    named = credits.sum(axis=1)
    return figures | {
        "classes_named": {**_figure(weights @ named / weights.sum(axis=1), level), "n": len(labels)},
        "per_class": per_class,
        "counts": counts.tolist(),
    }


def _heads_on(heads_on: Credits | None, weights: Array, level: float) -> dict[str, Any] | None:
    if heads_on is None:
        return None
    counts = heads_on @ np.arange(heads_on.shape[1])
    return {
        **_figure(weights @ counts / weights.sum(axis=1), level),
        "n": len(heads_on),
        "distribution": heads_on.sum(axis=0).tolist(),
    }


def _figure(values: Array, level: float) -> dict[str, float | None]:
    """Return an estimate, without interval where the draws do not vary: they tell nothing of images not here."""
    found = _estimate(values, level)
    varies = found["value"] is not None and np.nanmax(values) - np.nanmin(values) > 1e-12
    return found if varies else found | {"low": None, "high": None}


def _estimate(values: Array, level: float) -> dict[str, float | None]:
    """Return a figure and its interval from the sample itself and its draws [1+B]; None where undefined."""
    if np.isnan(values[0]):
        return {"value": None, "low": None, "high": None}
    low, high = interval(values, level)
    return {"value": float(values[0]), "low": float(low), "high": float(high)}
