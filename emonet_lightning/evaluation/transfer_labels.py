"""The true class of each image, its group, and which images all systems have."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.errors import DataError, UsageError, nearest
from emonet_lightning.evaluation.class_maps import ClassMap
from emonet_lightning.evaluation.transfer_input import ScoreFile
from emonet_lightning.ratings.image_facts import image_facts
from emonet_lightning.ratings.index_map import ImageNames


def shared_images(files: Mapping[str, ScoreFile]) -> tuple[list[str], list[list[int]], list[str]]:
    """Return the images that all systems have, in the first one's order, and their rows in each file."""
    first, *others = files.values()
    indices = [(ImageNames(other.images), str(other.path)) for other in others]
    rows: list[list[int]] = []
    for row, image in enumerate(first.images):
        places = [names.find(image, where) for names, where in indices]
        if None not in places:
            rows.append([row, *(place for place in places if place is not None)])
    if not rows:
        raise DataError(
            f"{others[0].path}: none of its images is in {first.path} ('{others[0].images[0]}', '{first.images[0]}'); "
            "scores of the same images are needed"
        )
    notes = [
        f"{len(file.images) - len(rows)} of the {len(file.images)} images of '{name}' are left out: "
        "another system lacks them"
        for name, file in files.items()
        if len(file.images) > len(rows)
    ]
    return [first.images[row[0]] for row in rows], [list(column) for column in zip(*rows, strict=True)], notes


def true_classes(
    class_map: ClassMap, file: ScoreFile, rows: Sequence[int], labels: str | None, label_column: str | None
) -> NDArray[np.int64]:
    """Return the true class of each of the file's rows [N]."""
    if labels is not None and label_column is not None:
        raise UsageError("give either --labels or --label-column, not both")
    wheres, images = [file.rows[row].where for row in rows], [file.images[row] for row in rows]
    field = label_column or class_map.field
    found: Sequence[Any]
    if labels is not None:
        found = image_facts(labels, "label", images)
        wheres = [f"{labels}, image '{image}'" for image in images]
    elif field is not None:
        known = [file.rows[row].fields for row in rows]
        for fields, where in zip(known, wheres, strict=True):
            if field not in fields:
                raise DataError(
                    f"{where}: no '{field}', which holds the class; {nearest(field, fields)}; "
                    "name it by --label-column NAME, or give --labels FILE.csv"
                )
        found = [fields[field] for fields in known]
    elif class_map.pattern is not None:
        found = [class_map.label_in_path(image, where) for image, where in zip(images, wheres, strict=True)]
    else:
        raise UsageError(
            f"map '{class_map.name}' does not say where labels are: give --labels FILE.csv or --label-column NAME"
        )
    return np.array([class_map.class_of(label, where) for label, where in zip(found, wheres, strict=True)])
