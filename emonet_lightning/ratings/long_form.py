"""Ratings in long form: one entry per answer that was really given."""

from typing import Literal, NamedTuple

import numpy as np

Kind = Literal["dense", "binary", "rated"]
"""`dense`: one generated label set; `binary`: experts' yes or no; `rated`: several raters on the taxonomy's levels."""


class Ratings(NamedTuple):
    """Answers in long form: one entry per (image, rater, emotion) that was really answered."""

    row: np.ndarray
    """Row of the image, int64 [n]."""
    rater: np.ndarray
    """Index into `raters`, int64 [n]."""
    raters: list[str]
    slug_index: np.ndarray
    """Index into `slugs`, int64 [n]."""
    slugs: list[str]
    value: np.ndarray
    """float32 [n]: 1 or 0 for a yes or no, else on the taxonomy's levels."""
    keys: list[str]
    """Name of each row."""
    silent: np.ndarray | None = None
    """(row, rater) of those who saw the image and left every emotion untouched, int64 [m, 2]."""
