"""Which generator made each picture: from a table, from the packed set, or from the name of the file."""

import re
from pathlib import Path

import numpy as np

from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.ratings.image_facts import image_facts
from emonet_lightning.robustness.conditions import table
from emonet_lightning.robustness.picture_sets import PictureSet
from emonet_lightning.yaml_files import read_yaml


def generators_of(
    pictures: PictureSet, generators: str | None, field: str | None, patterns: str | None
) -> tuple[list[str | None], str]:
    """Return the generator of each picture, None where no pattern fits, and in words where that is from.

    Args:
        pictures: N pictures.
        generators: CSV file (image, generator).
        field: of the packed records' `meta`.
        patterns: YAML file `generator: regular expression` for file names; by default those of the released HQ files.

    Raises:
        UsageError: more than one of the three, or a field of no packed set.
        DataError: an image that is not in the table, a record without the field, or a pattern that is none.
    """
    if sum(option is not None for option in (generators, field, patterns)) > 1:
        raise UsageError("evaluate generators: give one of --generators, --generator-field, --patterns")
    if generators is not None:
        return list(
            image_facts(generators, "generator", pictures.names)
        ), f"column generator of {Path(generators).name}"
    if field is not None:
        return _from_records(pictures, field), f"field {field} of the packed records"
    known = {name: _compiled(name, pattern) for name, pattern in _patterns(patterns).items()}
    found = [next((name for name, own in known.items() if own.search(picture)), None) for picture in pictures.names]
    return list(found), f"names of the files ({'released HQ' if patterns is None else Path(patterns).name})"


def codes_of(found: list[str | None], where: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return names of the generators, the code of each picture that has one, and the rows of these pictures.

    Raises:
        DataError: fewer than two generators.
    """
    names = sorted({name for name in found if name is not None})
    if len(names) < 2:
        raise DataError(
            f"{where}: {len(names)} generators found ({', '.join(names) or 'none'}); two are needed; give "
            "--generators FILE (image, generator) or --patterns FILE"
        )
    rows = np.array([row for row, name in enumerate(found) if name is not None], dtype=np.int64)
    return names, np.array([names.index(str(found[row])) for row in rows], dtype=np.int64), rows


def _from_records(pictures: PictureSet, field: str) -> list[str | None]:
    if pictures.packed is None:
        raise UsageError(f"--generator-field {field}: {pictures.path} is no packed set; give --generators FILE")
    found: list[str | None] = []
    for name, row in zip(pictures.names, pictures.rows, strict=True):
        value = (pictures.packed.read_record(row).get("meta") or {}).get(field)
        if value is None:
            raise DataError(f"{pictures.path}: sample '{name}' has no '{field}' in its meta; give --generators FILE")
        found.append(str(value))
    return found


def _patterns(path: str | None) -> dict[str, str]:
    content = table()["generators"] if path is None else read_yaml(path)
    if not isinstance(content, dict) or not all(isinstance(own, str) for own in content.values()) or not content:
        raise DataError(f"{path}: lines of `generator: regular expression` are needed")
    return {str(name): own for name, own in content.items()}


def _compiled(name: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise DataError(f"pattern of generator '{name}': '{pattern}' is no regular expression ({error})") from None
