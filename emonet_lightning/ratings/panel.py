"""Panel: raters kept apart on the same images, and the scores of systems on those images."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Panel(NamedTuple):
    """N images, R raters, K dimensions in a taxonomy's order."""

    name: str
    images: list[str]
    """As the file names them [N]."""
    raters: list[str]
    values: Array
    """[N, R, K] on the taxonomy's levels; NaN: not rated."""
    order: NDArray[np.int64]
    """Place of the rater among the image's raters, in file order [N, R]; -1: did not rate it. Estimators that pool
    rater positions depend on it."""
    prompted: list[str | None] | None = None
    """Slug of the emotion that each image was made for, where known."""
    groups: list[str | None] | None = None
    """Person (or other cluster) of each image, where known."""
    notes: tuple[str, ...] = ()
    """What was normalised while reading, each with its count."""


class SystemScores(NamedTuple):
    """Scores of one system on a panel's images."""

    name: str
    scores: Array
    """[N, K], any finite scale; NaN: the system gave none."""
    kind: Literal["system", "trivial", "reference"] = "system"
    notes: tuple[str, ...] = ()
    on_scale: bool = False
    """Known to be on the scale of the ratings, however small the values are."""


def slots(panel: Panel) -> Array:
    """Return the ratings by position, not by rater [N, S, K]: the first rater of each image in file order, the second.

    S is the largest number of raters of one image; NaN where an image has fewer.
    """
    num_images, _, num_dimensions = panel.values.shape
    num_slots = int(panel.order.max(initial=-1)) + 1
    result = np.full((num_images, num_slots, num_dimensions), np.nan)
    image, rater = np.nonzero(panel.order >= 0)
    result[image, panel.order[image, rater]] = panel.values[image, rater]
    return result
