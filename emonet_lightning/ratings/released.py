"""The released label files `binary.csv` and `hq.csv`, and what the votes of a binary set say."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from emonet_lightning.errors import DataError
from emonet_lightning.ratings.layouts import read_labels
from emonet_lightning.ratings.long_form import Ratings
from emonet_lightning.taxonomy import Taxonomy


def read_binary_csv(path: Path | str, taxonomy: Taxonomy) -> Ratings:
    """Read the released `binary.csv` (`path,annotator,value,emotion`); image ids stay zero-padded text.

    Raises:
        MissingInputError: no such file.
        DataError: names the line.
    """
    labels = read_labels(
        Path(path), taxonomy, {"image": "path", "rater": "annotator", "rating": "value", "emotion": "emotion"}
    )
    if labels.kind != "binary":
        raise DataError(f"{path}: column 'value' must hold True or False")
    return labels.ratings


def read_hq_csv(path: Path | str, taxonomy: Taxonomy, human: bool = True) -> Ratings:
    """Read the released `hq.csv` (`image,annotator,human,annotations`).

    Args:
        path: the file.
        taxonomy: columns.
        human: the experts' rows, or else the rows of models (repeated rows of a model are averaged).

    Raises:
        MissingInputError: no such file.
        DataError: names the line.
    """
    return read_labels(Path(path), taxonomy, {"image": "image", "annotations": "annotations"}, human=human).ratings


_RELEASED_ROLE = {"human-1": 1, "human-2": 1, "human-6": 1, "human-3": -1, "human-5": -1, "human-7": -1}
"""Raters of the released set who saw only targets (1) or only contrasts (-1); human-4 saw both."""


class BinaryQuestions(NamedTuple):
    """Questions of a binary set: one entry per (image, emotion) that was asked."""

    row: np.ndarray
    """int64 [n]."""
    slug_index: np.ndarray
    """int64 [n]."""
    num_yes: np.ndarray
    """int64 [n]."""
    num_no: np.ndarray
    """int64 [n]."""
    is_target: np.ndarray
    """bool [n]: the image was made for this emotion; else it is the fixed contrast."""
    ambiguous: np.ndarray
    """bool [n]: nothing tells target from contrast (both asked once, both no)."""


def binary_questions(ratings: Ratings, prompted: list[str | None] | None = None) -> BinaryQuestions:
    """Count the votes of each question, and tell targets from contrasts.

    A prompted emotion is the target. Without one the votes tell: a question asked more than once is the target; of two
    asked once, the released set's raters tell (human-1, 2 and 6 saw targets only, human-3, 5 and 7 contrasts only),
    then a yes is the contrast, since a target's yes was followed up. Otherwise the first emotion is taken, marked
    ambiguous.

    Args:
        ratings: of kind `binary`.
        prompted: slug per row, where known.
    """
    num_slugs = len(ratings.slugs)
    cells, inverse = np.unique(ratings.row * num_slugs + ratings.slug_index, return_inverse=True)
    row, slug_index = cells // num_slugs, cells % num_slugs
    yes = np.bincount(inverse, weights=ratings.value, minlength=len(cells)).astype(np.int64)
    asked = np.bincount(inverse, minlength=len(cells))
    lean = np.array(
        [{"1": 1, "2": 1, "6": 1, "3": -1, "5": -1, "7": -1}.get(r.removeprefix("human-"), 0) for r in ratings.raters]
    )
    by_rater = np.bincount(inverse, weights=lean[ratings.rater], minlength=len(cells))
    # one score decides: votes first, then who was asked, then that a single yes marks the contrast
    score = 100.0 * (asked > 1) + 10.0 * np.sign(by_rater) - 1.0 * (yes > 0)
    if prompted is not None:
        known = {slug: i for i, slug in enumerate(ratings.slugs)}
        wanted = np.array([-1 if slug is None else known[slug] for slug in prompted])
        score = np.where(wanted[row] < 0, score, np.where(wanted[row] == slug_index, 1000.0, -1000.0))
    order = np.lexsort((slug_index, -score, row))
    first = np.ones(len(order), dtype=bool)
    first[1:] = row[order][1:] != row[order][:-1]
    is_target = np.zeros(len(cells), dtype=bool)
    is_target[order[first]] = True
    if prompted is not None:
        is_target &= score > -1000.0
    tied = (row[order][1:] == row[order][:-1]) & (score[order][1:] == score[order][:-1])
    ambiguous = np.isin(row, row[order][1:][tied])
    return BinaryQuestions(row, slug_index, yes, asked - yes, is_target, ambiguous)
