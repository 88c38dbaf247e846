"""The transfer protocol as a whole: from files of scores to everything that the report shows.

transfer.json (`schema`: emonet_lightning transfer 1; undefined figures are null):

    map            name, source, digest, classes [C], num_heads M, heads {class: slugs}, not_mapped, cutoff_factor,
                   cutoff
    taxonomy       name, digest
    images         num_images, per_class {class: n}, labels (where the true class is from), notes
    bootstrap      num_draws, seed, level, unit (image or group), num_units
    permutations   num_permutations, seed, level
    rules, metrics, definitions   key -> the rule in a sentence
    systems        {name: kind (system or trivial), file, sha256, checked (values recomputed, largest difference),
                     rules {any_hit, argmax, class_sum: accuracy, macro_recall, macro_f1 (each FIGURE with chance),
                            classes_named FIGURE, per_class [C] of FIGURE with count and chance, counts [C][C]},
                     heads_on FIGURE with distribution [M+1] (images by number of heads on); null without heads}
    differences    [{system, minus, rule, metric, FIGURE}], paired on the same draws
    FIGURE         value, low, high, n (images behind it), chance {value, low, high, p}
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from emonet_lightning.errors import UsageError
from emonet_lightning.evaluation.bootstrap import draws, num_units
from emonet_lightning.evaluation.class_maps import ClassMap
from emonet_lightning.evaluation.transfer import DEFINITIONS, METRICS, judge
from emonet_lightning.evaluation.transfer_decisions import RULES, decide, trivial_systems
from emonet_lightning.evaluation.transfer_input import Values, read_score_file
from emonet_lightning.evaluation.transfer_labels import shared_images, true_classes
from emonet_lightning.ratings.image_facts import image_facts
from emonet_lightning.taxonomy import Taxonomy

SCHEMA = "emonet_lightning transfer 1"


def run_transfer(
    scores: Mapping[str, Path],
    map: str,
    *,
    taxonomy: str = "emonet40",
    values: Values = "scores",
    neutral_means: str | None = None,
    labels: str | None = None,
    label_column: str | None = None,
    groups: str | None = None,
    num_draws: int = 500,
    num_permutations: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """Return what transfer.json holds, with NaN-free primitives; writes nothing.

    Args:
        scores: system -> file of its scores; other options as for `transfer_command`.

    Raises:
        UsageError: options that do not fit each other.
        MissingInputError: a file or map that is not there.
        DataError: wrong content; names the line, the head or class, and the remedy.
    """
    check_draws(num_draws, num_permutations, seed, level)
    columns = Taxonomy.load(taxonomy)
    class_map = ClassMap.load(map, columns)
    files = {name: read_score_file(path, class_map, columns, values, neutral_means) for name, path in scores.items()}
    images, rows, notes = shared_images(files)
    first = next(iter(files.values()))
    truth = true_classes(class_map, first, rows[0], labels, label_column)
    persons = None if groups is None else image_facts(groups, "group", images)
    weights = draws(len(images), num_draws, seed, persons)
    num_classes = len(class_map.classes)
    emotion = columns.dimensions[0]
    trivial = trivial_systems(
        truth, class_map.head_class, num_classes, class_map.cutoff, emotion.low, emotion.high, seed
    )
    for name in trivial.keys() & files.keys():
        raise UsageError(f"a system may not be named '{name}', which is one of the trivial systems; name it otherwise")
    decisions = {
        name: decide(file.scores[own], class_map.head_class, num_classes, class_map.cutoff)
        for (name, file), own in zip(files.items(), rows, strict=True)
    }
    found = judge(
        {**decisions, **trivial},
        truth,
        weights,
        subjects=set(files),
        num_permutations=num_permutations,
        seed=seed,
        level=level,
    )
    for name, system in found["systems"].items():
        system["kind"] = "system" if name in files else "trivial"
        system |= files[name].describe() if name in files else {}
    size = np.bincount(truth, minlength=num_classes).tolist()
    mapped = set(class_map.head_class.tolist())
    for number, name in enumerate(class_map.classes):
        if number not in mapped:
            notes.append(f"no emotion is mapped to class '{name}': its {size[number]} images are wrong by every rule")
        if not size[number]:
            notes.append(f"no image of class '{name}': it is left out of means over classes")
    return {
        "schema": SCHEMA,
        "map": describe_map(class_map, columns),
        "taxonomy": {"name": columns.name, "digest": columns.digest},
        "images": {
            "num_images": len(images),
            "per_class": dict(zip(class_map.classes, size, strict=True)),
            "labels": _origin(class_map, labels, label_column),
            "notes": notes,
        },
        "bootstrap": {
            "num_draws": num_draws,
            "seed": seed,
            "level": level,
            "unit": "image" if persons is None else "group",
            "num_units": num_units(len(images), persons),
        },
        "permutations": {"num_permutations": num_permutations, "seed": seed, "level": level},
        "rules": RULES,
        "metrics": METRICS,
        "definitions": DEFINITIONS,
        **found,
    }


def check_draws(num_draws: int, num_permutations: int, seed: int, level: float) -> None:
    """Refuse numbers that give no intervals or no chance.

    Raises:
        UsageError: names the option.
    """
    for option, value, least in (
        ("num-draws", num_draws, 1),
        ("num-permutations", num_permutations, 1),
        ("seed", seed, 0),
    ):
        if value < least:
            raise UsageError(f"--{option} {value}: at least {least}")
    if not 0 < level < 1:
        raise UsageError(f"--level {level}: a share between 0 and 1, such as 0.95")


def _origin(class_map: ClassMap, labels: str | None, label_column: str | None) -> str:
    if labels is not None:
        return f"file {Path(labels).name}"
    field = label_column or class_map.field
    return f"field '{field}' of the scores" if field else "file name"


def describe_map(class_map: ClassMap, taxonomy: Taxonomy) -> dict[str, Any]:
    """Return name, classes, heads and cutoff of a map as primitives."""
    slugs = [taxonomy.slugs[column] for column in class_map.heads.tolist()]
    return {
        "name": class_map.name,
        "source": class_map.source,
        "digest": class_map.digest,
        "classes": class_map.classes,
        "num_heads": len(slugs),
        "heads": {
            name: [slug for slug, own in zip(slugs, class_map.head_class.tolist(), strict=True) if own == number]
            for number, name in enumerate(class_map.classes)
        },
        "not_mapped": [slug for slug in taxonomy.slugs if slug not in slugs],
        "cutoff_factor": class_map.cutoff_factor,
        "cutoff": class_map.cutoff,
    }
