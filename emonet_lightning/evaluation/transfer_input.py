"""Scores of images for the transfer protocol: the released JSON lines, and tables as `predict` writes them.

The released lines hold each head's raw score, the score minus its neutral mean, and its softmax. Only the raw score is
used; the other two are recomputed and must agree, so that a file of other heads, or one read with other neutral means,
is told.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.special import softmax

from emonet_lightning.errors import DataError, UsageError, nearest
from emonet_lightning.evaluation.class_maps import ClassMap
from emonet_lightning.evaluation.columns import Array
from emonet_lightning.io import sha256_file
from emonet_lightning.json_lines import read_json_lines
from emonet_lightning.ratings.answers import is_finite, parse_value
from emonet_lightning.ratings.files import open_table
from emonet_lightning.ratings.tables import ROLES
from emonet_lightning.taxonomy import Taxonomy, released_neutral_means
from emonet_lightning.yaml_files import read_yaml

Values = Literal["scores", "mean_subtracted", "softmax"]
TOLERANCE = 1e-6
"""How far a file's own mean-subtracted score and softmax may lie from those recomputed."""


class Row(NamedTuple):
    """One image of a score file."""

    where: str
    """File and line, for errors."""
    fields: dict[str, Any]


class ScoreFile(NamedTuple):
    """Scores of N images."""

    path: Path
    images: list[str]
    rows: list[Row]
    scores: Array
    """Mean-subtracted scores of the mapped heads [N, M], finite."""
    checked: dict[str, Any]
    """What of the file was recomputed, and the largest difference found."""

    def describe(self) -> dict[str, Any]:
        """Return name and digest of the file and what was checked, as primitives."""
        return {"file": self.path.name, "sha256": sha256_file(self.path), "checked": self.checked}


def read_score_file(
    path: Path, class_map: ClassMap, taxonomy: Taxonomy, values: Values, neutral_means: str | None
) -> ScoreFile:
    """Read the scores of a file, whatever its form, as mean-subtracted scores of the mapped heads.

    Args:
        path: `.jsonl` (released, or of `predict`), `.csv` or `.parquet`.
        class_map: which heads are needed.
        taxonomy: names of the heads.
        values: what the columns of a table hold; released lines say it themselves.
        neutral_means: `released`, a JSON or YAML file, or None: the released ones for released lines.

    Raises:
        DataError: a damaged line, an image twice, a head missing, a value that is no finite number, or a file that
            disagrees with what is recomputed from it; names line, head and remedy.
        UsageError: raw scores in a table without neutral means.
    """
    rows = _read_rows(path)
    images = _images(rows, path)
    if "results" in rows[0].fields:
        means = _neutral_means(neutral_means or "released", taxonomy)
        raw, given = _released(rows, taxonomy, class_map)
        return ScoreFile(
            path, images, rows, (raw - means)[:, class_map.heads], _check(rows, raw, means, given, taxonomy)
        )
    scores = _table(rows, taxonomy, class_map)
    if values == "scores":
        if neutral_means is None:
            raise UsageError(
                f"{path}: raw scores need the heads' neutral means: give --neutral-means FILE (or released), or a "
                "table made by predict --values mean_subtracted, with --values mean_subtracted here too"
            )
        scores = scores - _neutral_means(neutral_means, taxonomy)[class_map.heads]
    elif values == "softmax":
        scores = _logarithm(scores, rows)
    return ScoreFile(path, images, rows, scores, {})


def _read_rows(path: Path) -> list[Row]:
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        rows = [Row(where, fields) for _, where, fields in read_json_lines(path)]
    elif suffix in (".csv", ".tsv", ".parquet"):
        table, _ = open_table(path, {})
        rows = [
            Row(table.where(number), dict(zip(table.header, cells, strict=True)))
            for number, cells in enumerate(table.rows)
        ]
    else:
        raise UsageError(f"{path}: unknown form of scores; give .jsonl, .csv or .parquet")
    if not rows:
        raise DataError(f"{path}: no rows; one line per image is needed")
    return rows


def _images(rows: Sequence[Row], path: Path) -> list[str]:
    column = next((key for role in ROLES["image"] for key in rows[0].fields if key.lower() == role), None)
    if column is None:
        raise DataError(f"{path}: no column for the image ({', '.join(ROLES['image'])}); rename one")
    seen: dict[str, str] = {}
    for where, fields in rows:
        name = fields.get(column)
        if name is None or str(name) == "":
            raise DataError(f"{where}: no '{column}'; name the image")
        if str(name) in seen:
            raise DataError(f"{where}: image '{name}' is there already ({seen[str(name)]}); keep one of them")
        seen[str(name)] = where
    return list(seen)


def _released(
    rows: Sequence[Row], taxonomy: Taxonomy, class_map: ClassMap
) -> tuple[Array, dict[Literal["mean_subtracted", "softmax"], Array]]:
    """Return raw scores [N, K], and what the file says of the other two; NaN where it says nothing."""
    found = np.full((3, len(rows), len(taxonomy)), np.nan)
    known: dict[tuple[str, ...], dict[int, str]] = {}
    for number, (where, fields) in enumerate(rows):
        results = fields.get("results")
        if not isinstance(results, dict):
            raise DataError(f"{where}: no 'results' with the heads' scores; write the line again")
        for column, head in _heads(results, taxonomy, where, known).items():
            entry = results[head]
            if not isinstance(entry, dict):
                continue
            for place, kind in enumerate(("raw", "mean_subtracted", "softmax")):
                found[place, number, column] = _value(entry.get(kind), f"{where}: {kind} of '{head}'")
    _require(found[0][:, class_map.heads], rows, class_map, taxonomy, [name for names in known for name in names])
    return found[0], {"mean_subtracted": found[1], "softmax": found[2]}


def _table(rows: Sequence[Row], taxonomy: Taxonomy, class_map: ClassMap) -> Array:
    scores = np.full((len(rows), len(class_map.heads)), np.nan)
    known: dict[tuple[str, ...], dict[int, str]] = {}
    for number, (where, fields) in enumerate(rows):
        heads = _heads(fields, taxonomy, where, known)
        for m, column in enumerate(class_map.heads.tolist()):
            if (name := heads.get(column)) is not None:
                scores[number, m] = _value(fields[name], f"{where}: '{name}'")
    _require(scores, rows, class_map, taxonomy, [name for names in known for name in names])
    return scores


def _heads(
    fields: Iterable[str], taxonomy: Taxonomy, where: str, known: dict[tuple[str, ...], dict[int, str]]
) -> dict[int, str]:
    """Return column -> name of the fields that are heads' scores.

    Args:
        fields: names of a line.
        taxonomy: columns.
        where: file and line, for errors.
        known: what was found for the names of other lines, which most lines share.

    Raises:
        DataError: two names of one head: which counted would be up to their order.
    """
    names = tuple(fields)
    if names not in known:
        heads: dict[int, str] = {}
        for name in names:
            column = _column(name, taxonomy)
            if column is not None and heads.setdefault(column, name) != name:
                raise DataError(
                    f"{where}: '{heads[column]}' and '{name}' are both scores of '{taxonomy.slugs[column]}'; keep one"
                )
        known[names] = heads
    return known[names]


def _column(name: str, taxonomy: Taxonomy) -> int | None:
    try:
        return taxonomy.index(name)
    except DataError:  # an extra dimension, or a column of another kind; a head that is needed is missed later
        return None


def _value(value: Any, where: str) -> float:
    """Return a score; NaN where there is none."""
    if isinstance(value, str):
        value = parse_value(value, where)
    if value is None:
        return np.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or not is_finite(value):
        raise DataError(
            f"{where} is {str(value)[:40]}, not a finite number; score the image again, or leave its line out"
        )
    return float(value)


def _require(scores: Array, rows: Sequence[Row], class_map: ClassMap, taxonomy: Taxonomy, names: Iterable[str]) -> None:
    missing = np.argwhere(np.isnan(scores))
    if len(missing):
        row, m = missing[0]
        slug = taxonomy.slugs[class_map.heads[m]]
        raise DataError(
            f"{rows[row].where}: no score of '{slug}', which map '{class_map.name}' needs "
            f"({nearest(slug, names)}); add it, or leave the emotion out of a map of your own"
        )


def _check(
    rows: Sequence[Row],
    raw: Array,
    means: Array,
    given: Mapping[Literal["mean_subtracted", "softmax"], Array],
    taxonomy: Taxonomy,
) -> dict[str, Any]:
    """Compare the file's own values with those recomputed [N, K]; a softmax only if all emotions are there."""
    whole = raw[:, : taxonomy.num_emotions]
    recomputed = {"mean_subtracted": raw - means, "softmax": np.full_like(raw, np.nan)}
    if not np.isnan(whole).any():
        recomputed["softmax"][:, : taxonomy.num_emotions] = softmax(whole - means[: taxonomy.num_emotions], axis=1)
    found: dict[str, Any] = {"tolerance": TOLERANCE}
    for kind, own in given.items():
        apart = np.nan_to_num(np.abs(own - recomputed[kind]))
        wrong = np.argwhere(apart > TOLERANCE)
        if len(wrong):
            row, column = wrong[0].tolist()
            raise DataError(
                f"{rows[row].where}: {kind} of '{taxonomy.slugs[column]}' is {own[row, column]:.7g}, but raw score and "
                f"neutral means give {recomputed[kind][row, column]:.7g}; give the neutral means of the heads that "
                "made the file by --neutral-means FILE"
            )
        compared = int((~np.isnan(own) & ~np.isnan(recomputed[kind])).sum())
        found[kind] = {"num_values": compared, "largest_difference": float(apart.max()) if compared else None}
    return found


def _neutral_means(source: str, taxonomy: Taxonomy) -> Array:
    if source == "released":
        try:
            return np.array(released_neutral_means(taxonomy))
        except KeyError as error:
            raise UsageError(
                f"--neutral-means released: there are none of {error} (taxonomy '{taxonomy.name}'); give a file"
            ) from None
    content = read_yaml(source)  # JSON is YAML
    if isinstance(content, dict) and isinstance(content.get("neutral_mean"), dict):
        content = content["neutral_mean"]
    if not isinstance(content, dict):
        raise DataError(f"{source}: neutral means are written as 'slug: mean', one per emotion")
    given = {str(slug): _value(mean, f"{source}: '{slug}'") for slug, mean in content.items()}
    for slug in taxonomy.slugs:
        if slug not in given:
            raise DataError(f"{source}: no neutral mean of '{slug}'; {nearest(slug, given)}")
    return np.array([given[slug] for slug in taxonomy.slugs])


def _logarithm(shares: Array, rows: Sequence[Row]) -> Array:
    """Turn softmax values into scores that have this softmax."""
    outside = np.argwhere((shares <= 0) | (shares > 1))
    if len(outside):
        row, m = outside[0]
        raise DataError(
            f"{rows[row].where}: softmax {shares[row, m]:.6g} is not above 0 and at most 1; name what the table holds "
            "by --values scores or mean_subtracted"
        )
    return np.asarray(np.log(shares))
