"""What a taxonomy itself says of two emotions: keywords that both have, the family that both are in."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.evaluation.columns import Array
from emonet_lightning.evaluation.estimates import number
from emonet_lightning.taxonomy import Dimension

RELATIONS = ("shared keyword", "same family", "neither")


def shared_keywords(dimensions: Sequence[Dimension]) -> list[list[list[str]]]:
    """Return the keywords that two emotions share [K][K], in any case; an emotion with itself: all of its own."""
    words = [{word.casefold() for word in dimension.keywords} for dimension in dimensions]
    return [[sorted(one & two) for two in words] for one in words]


def same_family(dimensions: Sequence[Dimension]) -> NDArray[np.bool_]:
    """Return whether two emotions are of one family [K, K]."""
    names = [dimension.family for dimension in dimensions]
    return np.array([[one is not None and one == two for two in names] for one in names], dtype=bool)


def by_relation(dimensions: Sequence[Dimension], matrices: dict[str, Array]) -> list[dict[str, Any]]:
    """Return the mean of matrices [K, K] over pairs with a shared keyword, of one family without one, and neither.

    Returns:
        `relation`, `num_pairs`, and each matrix's mean, None where there is no such pair.
    """
    upper = np.triu_indices(len(dimensions), 1)
    shared = np.array([[bool(words) for words in row] for row in shared_keywords(dimensions)])[upper]
    family = same_family(dimensions)[upper] & ~shared
    chosen = {"shared keyword": shared, "same family": family, "neither": ~shared & ~family}
    return [
        {
            "relation": relation,
            "num_pairs": int(chosen[relation].sum()),
            **{
                name: number(matrix[upper][chosen[relation]].mean()) if chosen[relation].any() else None
                for name, matrix in matrices.items()
            },
        }
        for relation in RELATIONS
    ]
