"""Transfer to real faces: how far the heads' answers are from what the same frozen features allow.

transfer.json (`schema`: emonet_lightning image transfer 1; undefined figures are null):

    options        set, map, only, num_folds, on_error, faces, no_face, as asked for
    set            name, source, digest of the description, folder name, images_digest
    map            name, source, classes [C], num_heads M, heads {class: slugs}, not_mapped, cutoff
    taxonomy       name, digest
    heads          heads, encoder (name, fingerprint, preprocess), features, where the neutral means are from
    images         num_images, num_persons (null: not said), per_class {class: n}, notes
    faces          cut (whether crops were encoded), crop (how faces are found and cut), its fingerprint,
                   num_without (a face), no_face
    folds          num_folds, seed, unit (person or image)
    bootstrap      num_draws, seed, level, unit, num_units
    permutations   num_permutations, seed, level
    ways, metrics, definitions   key -> what it is, in a sentence
    results        {way: accuracy, macro_recall, macro_f1 (each FIGURE with chance), classes_named FIGURE,
                    per_class [C] of FIGURE with count and chance, counts [C][C], learns_from}
    differences    [{way, minus, metric, FIGURE}], paired on the same draws
    headline       zero_shot, probe, distance: FIGUREs of accuracy
    groups         fewest, by {group: [{level, n, num_persons, ways {way: FIGURE}, or null where n is below `fewest`}]}
    framing        what is not the face: see `evaluation.framing.judge_framing`; definitions
    FIGURE         value, low, high, n (images behind it), chance {value, low, high, p}
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from emonet_lightning.evaluation.bootstrap import draws, num_units
from emonet_lightning.evaluation.class_maps import ClassMap
from emonet_lightning.evaluation.columns import Array, ratio
from emonet_lightning.evaluation.estimates import point
from emonet_lightning.evaluation.framing import ABOVE, FEWEST, PROBES, NotTheFace, judge_framing
from emonet_lightning.evaluation.probing import (
    linear_probe,
    out_of_fold,
    person_folds,
    rare_classes,
    scaled_classes,
    standardised_heads,
)
from emonet_lightning.evaluation.transfer import METRICS, judge
from emonet_lightning.evaluation.transfer_decisions import RULES, Credits, Decisions, Labels, decide, one_hot
from emonet_lightning.progress import progress_bar

SCHEMA = "emonet_lightning image transfer 1"
ZERO_SHOT, PROBE = "argmax", "feature_probe"
WAYS = {
    **RULES,
    "z_scored": "each head set to mean 0 and deviation 1 on the images of other folds (no labels needed), "
    "then the class of the highest",
    "scaled": "a slope and an offset per class on the log of the summed exponentials of its z-scored "
    "heads, by logistic regression one against the rest (Platt) on other folds",
    "score_probe": "logistic regression on all standardised scores of the heads, fitted on other folds",
    "feature_probe": "logistic regression on the standardised frozen features themselves, fitted on other folds: the "
    "ceiling that a linear head reaches with labels of this set",
    "most_frequent": "the class with most images, for every image",
}
LEARNS_FROM = {
    "any_hit": "nothing", "argmax": "nothing", "class_sum": "nothing", "z_scored": "images", "scaled": "classes",
    "score_probe": "classes", "feature_probe": "classes", "most_frequent": "classes",
}  # fmt: skip
"""What of the judged set's other folds a way has seen."""
BY_GROUP = ("argmax", "z_scored", "feature_probe")
DEFINITIONS = {
    "scores": "of the heads, minus each head's mean on neutral faces; only heads of the set's classes are mapped",
    "cutoff": "of any-hit: the map's factor over the number of mapped heads, as released where all classes are there",
    "folds": "persons are dealt into folds with about equal classes (scikit-learn's StratifiedGroupKFold); what is "
    "fitted for a fold has seen no image of its persons",
    "distance": "accuracy of zero-shot argmax minus accuracy of the probe on features, on the same draws of persons",
    "low, high": "percentile interval over draws of persons, of images where no persons are known; predictions are "
    "held, what was fitted is not fitted again; Wilson score interval for the recall of a class and for an accuracy of "
    "0 or 1, images taken as independent",
    "chance": "the same figure with the true classes shuffled over the images, predictions as they are: mean and range "
    "of the shuffles; p: share of the shuffles, the true order counted with them, that reach the figure; images are "
    "shuffled as if independent",
    "counts": "images by true class (row) and named class (column); any-hit may name several",
    "group": f"accuracy within a level of a group; too few: below {FEWEST} images; intervals are not corrected for the "
    "number of levels",
}


class Faces(NamedTuple):
    """A set of N encoded faces, for the protocol."""

    scores: Array
    """Mean-subtracted scores of all heads [N, K]."""
    features: Array
    """Frozen features [N, D]."""
    labels: Labels
    """Classes of the map [N]."""
    persons: Sequence[str] | None
    groups: Mapping[str, Sequence[str | None]]
    """Name -> level of each image [N]; None: not known."""
    level_order: Mapping[str, Sequence[str]]
    """Name -> its levels, as the report lists them."""
    not_the_face: NotTheFace
    """What the images show beside the face."""
    cut: bool = False
    """Crops were encoded, not whole images."""


def judge_faces(
    faces: Faces,
    class_map: ClassMap,
    *,
    num_folds: int = 5,
    num_draws: int = 500,
    num_permutations: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    progress: bool = False,
) -> tuple[dict[str, Any], ClassMap]:
    """Return what transfer.json holds of the results, and the map with the classes that have images.

    Classes without an image are taken out of the map, heads included: the choice is among the set's classes.

    Raises:
        DataError: too few persons for two folds, or no emotion mapped to the set's classes.
    """
    notes = []
    shown = sorted(set(faces.labels.tolist()))
    absent = [name for number, name in enumerate(class_map.classes) if number not in shown]
    if absent:
        notes.append(f"no image of {', '.join(absent)}: these classes and their heads take no part")
    chosen = class_map.among(shown)
    labels = np.searchsorted(shown, faces.labels)
    num_classes = len(shown)
    fold, number = person_folds(labels, faces.persons, num_folds, seed)
    if number < num_folds:
        notes.append(f"{number} folds in place of {num_folds}: no class is shown by more {_unit(faces)}s")
    if rare := rare_classes(labels, faces.persons, number):
        listed = ", ".join(f"{chosen.classes[place]} {count}" for place, count in rare.items())
        notes.append(f"classes of fewer {_unit(faces)}s than folds, so that some folds cannot learn them: {listed}")
    for place, name in enumerate(chosen.classes):
        if place not in chosen.head_class:
            notes.append(f"no emotion is mapped to class '{name}': its images are wrong by every rule of the heads")
    with progress_bar("calibrate and probe", 4 * number, "fits", progress) as advance:
        credits = _credits(faces, chosen, labels, fold, num_classes, advance)
    weights = draws(len(labels), num_draws, seed, faces.persons)
    judged = judge(
        {way: Decisions({"named": found}, None) for way, found in credits.items()},
        labels,
        weights,
        subjects=WAYS,
        num_permutations=num_permutations,
        seed=seed,
        level=level,
    )
    results = {
        way: {**system["rules"]["named"], "learns_from": LEARNS_FROM[way]} for way, system in judged["systems"].items()
    }
    differences = [
        {"way": found["system"], **{key: value for key, value in found.items() if key not in ("system", "rule")}}
        for found in judged["differences"]
    ]
    return {
        "schema": SCHEMA,
        "images": {
            "num_images": len(labels),
            "num_persons": None if faces.persons is None else len(set(faces.persons)),
            "per_class": {name: int((labels == place).sum()) for place, name in enumerate(chosen.classes)},
            "notes": notes,
        },
        "folds": {"num_folds": number, "seed": seed, "unit": _unit(faces)},
        "bootstrap": {
            "num_draws": num_draws,
            "seed": seed,
            "level": level,
            "unit": _unit(faces),
            "num_units": num_units(len(labels), faces.persons),
        },
        "permutations": {"num_permutations": num_permutations, "seed": seed, "level": level},
        "ways": WAYS,
        "metrics": METRICS,
        "definitions": DEFINITIONS,
        "results": results,
        "differences": differences,
        "headline": {
            "zero_shot": results[ZERO_SHOT]["accuracy"],
            "probe": results[PROBE]["accuracy"],
            "distance": next(
                {key: found[key] for key in ("value", "low", "high", "n")}
                for found in differences
                if (found["way"], found["minus"], found["metric"]) == (ZERO_SHOT, PROBE, "accuracy")
            ),
        },
        "groups": {
            "fewest": FEWEST,
            "by": {
                name: _levels(levels, faces.level_order[name], faces, credits, labels, weights, level)
                for name, levels in faces.groups.items()
            },
        },
        "framing": {
            **judge_framing(
                faces.not_the_face,
                labels,
                faces.persons,
                fold,
                cut=faces.cut,
                num_draws=num_draws,
                num_permutations=num_permutations,
                seed=seed,
                level=level,
            ),
            "definitions": {**PROBES, "above": ABOVE},
        },
    }, chosen


def _unit(faces: Faces) -> str:
    return "image" if faces.persons is None else "person"


def _credits(
    faces: Faces,
    chosen: ClassMap,
    labels: Labels,
    fold: Labels,
    num_classes: int,
    advance: Callable[[int], None],
) -> dict[str, Credits]:
    scores = faces.scores[:, chosen.heads]
    found: dict[str, Credits] = dict(decide(scores, chosen.head_class, num_classes, chosen.cutoff).credits)
    for way, fit, values in (
        ("z_scored", standardised_heads(chosen.head_class, num_classes), scores),
        ("scaled", scaled_classes(chosen.head_class, num_classes), scores),
        ("score_probe", linear_probe(num_classes), faces.scores),
        ("feature_probe", linear_probe(num_classes), faces.features),
    ):
        found[way] = one_hot(out_of_fold(fit, values, labels, fold, advance), num_classes)
    most = np.full(len(labels), np.bincount(labels, minlength=num_classes).argmax())
    return {**found, "most_frequent": one_hot(most, num_classes)}


def _levels(
    levels: Sequence[str | None],
    order: Sequence[str],
    faces: Faces,
    credits: Mapping[str, Credits],
    labels: Labels,
    weights: Array,
    coverage: float,
) -> list[dict[str, Any]]:
    known = np.array(["" if value is None else value for value in levels])
    found = []
    for name in order:
        inside = known == name
        persons = (
            None if faces.persons is None else len({faces.persons[row] for row in np.flatnonzero(inside).tolist()})
        )
        entry: dict[str, Any] = {"level": name, "n": int(inside.sum()), "num_persons": persons, "ways": None}
        if entry["n"] >= FEWEST:
            entry["ways"] = {}
            for way in BY_GROUP:
                right = credits[way][np.arange(len(labels)), labels] & inside
                accuracy = ratio(weights @ right, weights @ inside)
                entry["ways"][way] = {**point(accuracy, coverage), "n": entry["n"]}
        found.append(entry)
    return found
