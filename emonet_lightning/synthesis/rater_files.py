"""Answers of simulated raters as text, in the layouts of the released files."""

import csv
import io

import numpy as np

from emonet_lightning.ratings.long_form import Ratings
from emonet_lightning.ratings.panel import Panel
from emonet_lightning.taxonomy import Taxonomy

Array = np.ndarray


def ratings_text(panel: Panel, taxonomy: Taxonomy) -> str:
    """Return ratings in the layout of the released `hq.csv`: a row per image and rater, touched emotions alone."""
    names = [f"{dimension.family}|{dimension.name}" for dimension in taxonomy.dimensions]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["image", "annotator", "human", "annotations"])
    for image, row in enumerate(panel.order):
        for rater in sorted(np.flatnonzero(row >= 0), key=lambda r: row[r]):
            levels = panel.values[image, rater]
            answers = {names[k]: int(levels[k]) for k in np.flatnonzero(levels > 0)}
            rows.writerow([panel.images[image], panel.raters[rater], True, str(answers)])
    return text.getvalue()


def truth_text(images: list[str], intensities: Array, taxonomy: Taxonomy) -> str:
    """Return intensities [N, K] as a table: `image`, then a column per emotion."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["image", *taxonomy.slugs])
    for image, row in zip(images, intensities, strict=True):
        rows.writerow([image, *(f"{value:.4f}" for value in row)])
    return text.getvalue()


def votes_text(ratings: Ratings, prompted: Array) -> str:
    """Return votes in the layout of the released `binary.csv`, with what each image was made for [N] as `prompted`."""
    names = Taxonomy.load("emonet40").names
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", "annotator", "value", "emotion", "prompted"])
    for row, rater, emotion, value in zip(*(part.tolist() for part in _columns(ratings)), strict=True):
        target = names[int(prompted[row])]
        rows.writerow([ratings.keys[row], ratings.raters[rater], value > 0, names[emotion], target])
    return text.getvalue()


def _columns(ratings: Ratings) -> tuple[Array, ...]:
    return ratings.row, ratings.rater, ratings.slug_index, ratings.value
