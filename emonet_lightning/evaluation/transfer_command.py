"""The command `evaluate transfer`: scores of emotions against the classes of another dataset."""

from pathlib import Path
from typing import Any

import numpy as np

from emonet_lightning.errors import UsageError
from emonet_lightning.evaluation.bootstrap import draws, num_units
from emonet_lightning.evaluation.class_maps import ClassMap
from emonet_lightning.evaluation.transfer import METRICS, RULES, decide, judge, trivial_systems
from emonet_lightning.evaluation.transfer_input import Values, read_score_file
from emonet_lightning.evaluation.transfer_labels import group_of, shared_images, true_classes
from emonet_lightning.io import make_folder, write_json
from emonet_lightning.taxonomy import Taxonomy

SCHEMA = "emonet_lightning transfer 1"
RESULT_FILE = "transfer.json"


def transfer_command(
    scores: str,
    map: str,
    out: str,
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
) -> None:
    """Judge scores of emotions by the classes of another dataset: the released any-hit rule and stricter ones.

    Writes transfer.json (every figure with n, interval and what shuffled labels reach), transfer.md and figures.

    Args:
        scores: file of scores: the released JSON lines, or a table that `predict` wrote (.csv, .parquet, .jsonl).
            Several systems are compared on the images that all have: `--scores NAME=FILE,NAME=FILE`.
        map: `ferd`, `affectnet`, or a YAML file that maps emotions to classes of your own (keys: see the shipped
            taxonomies/maps/ferd.yaml).
        out: folder for the report.
        taxonomy: `emonet40`, or the YAML file of your own emotions that the heads were trained on.
        values: what a table's columns hold, as in `predict --values`. Released lines say it themselves.
        neutral_means: means that raw scores are taken from: `released`, or a JSON or YAML file `slug: mean`. Released
            lines are read with the released ones by default.
        labels: CSV file with columns image and label, instead of what the map says.
        label_column: column of the score file that holds the class, instead of what the map says.
        groups: CSV file with columns image and group (person); groups are then drawn in place of images.
        num_draws: bootstrap draws.
        num_permutations: shuffles of the labels that show chance.
        seed: of draws, shuffles and random scores.
        level: coverage of the intervals.

    Raises:
        UsageError: options that do not fit each other.
        MissingInputError: a file or map that is not there.
        DataError: wrong content; names the line, the head or class, and the remedy.
        OutputError: the folder cannot be written.
    """
    from emonet_lightning.reporting.transfer_report import console_table, write_report

    for option, value, least in (("num-draws", num_draws, 1), ("num-permutations", num_permutations, 1)):
        if value < least:
            raise UsageError(f"--{option} {value}: at least {least}")
    if not 0 < level < 1:
        raise UsageError(f"--level {level}: a share between 0 and 1, such as 0.95")
    columns = Taxonomy.load(taxonomy)
    class_map = ClassMap.load(map, columns)
    folder = make_folder(out)
    files = {
        name: read_score_file(Path(path), class_map, columns, values, neutral_means)
        for name, path in _named(scores).items()
    }
    images, rows, notes = shared_images(files)
    first = next(iter(files.values()))
    truth = true_classes(class_map, first, rows[0], labels, label_column)
    persons = None if groups is None else group_of(groups, images)
    weights = draws(len(images), num_draws, seed, persons)
    num_classes, num_heads = len(class_map.classes), len(class_map.heads)
    emotion = columns.dimensions[0]
    trivial = trivial_systems(
        truth, class_map.head_class, num_classes, class_map.cutoff, emotion.low, emotion.high, seed
    )
    decisions = {
        name: decide(file.scores[own], class_map.head_class, num_classes, class_map.cutoff)
        for (name, file), own in zip(files.items(), rows, strict=True)
    }
    found = judge(
        {**decisions, **trivial},
        truth,
        weights,
        num_heads=num_heads,
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
    content = {
        "schema": SCHEMA,
        "map": _describe(class_map, columns),
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
        **found,
    }
    write_json(folder / RESULT_FILE, content)
    write_report(folder, content)
    from rich.console import Console

    console = Console()
    console.print(console_table(content))
    console.print(f"{folder / 'transfer.md'}, {folder / RESULT_FILE}", highlight=False, markup=False, soft_wrap=True)


def _named(scores: str) -> dict[str, str]:
    """Read `FILE` or `NAME=FILE,NAME=FILE`."""
    if "=" not in scores or Path(scores).is_file():
        return {Path(scores).stem: scores}
    found: dict[str, str] = {}
    for part in scores.split(","):
        name, equals, path = (piece.strip() for piece in part.partition("="))
        if not equals or not name or not path:
            raise UsageError(f"--scores {scores}: '{part}' is not NAME=FILE; write --scores a=x.jsonl,b=y.csv")
        if name in found:
            raise UsageError(f"--scores {scores}: two systems are named '{name}'; give each its own name")
        found[name] = path
    return found


def _origin(class_map: ClassMap, labels: str | None, label_column: str | None) -> str:
    if labels is not None:
        return f"file {Path(labels).name}"
    field = label_column or class_map.field
    return f"field '{field}' of the scores" if field else "file name"


def _describe(class_map: ClassMap, taxonomy: Taxonomy) -> dict[str, Any]:
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
