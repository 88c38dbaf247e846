"""Which classes a system's scores name for each image [N, C], by each rule; and systems that see no image.

Argmax rules name one class, the released any-hit rule every class with a head above the cutoff. A system of many random
score sets names a class to the share of the sets that name it.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

from emonet_lightning.evaluation.columns import Array, float64

Labels = NDArray[np.int64]
Credits = NDArray[np.bool_] | Array
NUM_RANDOM_SETS = 200
"""Least number of sets of random scores that their expectation is taken over."""
_RANDOM_IMAGES = 100_000  # in all sets together, so that the expectation of few images is also told to three decimals
_BLOCK = 10_000  # of these images, held at once
RULES = {
    "any_hit": "right where any head mapped to the true class has a softmax above the cutoff, so several classes can "
    "be right for one image (the released rule)",
    "argmax": "class of the mapped head with the highest score; of equal heads the first in the taxonomy's order",
    "class_sum": "class whose heads' softmax sums to most; of equal classes the first",
}


class Decisions(NamedTuple):
    """What a system's scores say about N images."""

    credits: dict[str, Credits]
    """Rule -> [N, C]: the classes that it names, or the share of many score sets that name them."""
    heads_on: Credits | None
    """Whether (or in what share of the sets) so many mapped heads are on [N, 0..M]; None for a system without heads."""


def mapped_softmax(scores: ArrayLike) -> Array:
    """Softmax over each image's mapped heads [N, M] of mean-subtracted scores, temperature 1."""
    return np.asarray(softmax(float64(scores), axis=1))


def decide(scores: ArrayLike, head_class: Labels, num_classes: int, cutoff: float) -> Decisions:
    """Apply all rules.

    Args:
        scores: mean-subtracted scores of the mapped heads, finite [N, M].
        head_class: class of each head [M].
        num_classes: C.
        cutoff: softmax above which a head is on.
    """
    scores = float64(scores)
    shares = mapped_softmax(scores)
    member = np.eye(num_classes, dtype=bool)[head_class]  # [M, C]
    on = shares > cutoff
    return Decisions(
        {
            "any_hit": (on.astype(np.int64) @ member) > 0,
            "argmax": one_hot(head_class[scores.argmax(axis=1)], num_classes),
            "class_sum": one_hot((shares @ member).argmax(axis=1), num_classes),
        },
        one_hot(on.sum(axis=1), len(head_class) + 1),
    )


def trivial_systems(
    labels: Labels, head_class: Labels, num_classes: int, cutoff: float, low: float, high: float, seed: int
) -> dict[str, Decisions]:
    """Return what needs no model: the most frequent class, the expectation of random scores in low..high, equal scores.

    Random scores say the same of each image: the share of all images of all sets for which they name a class.
    """
    size = (len(labels), len(head_class))
    most = np.full(len(labels), np.bincount(labels, minlength=num_classes).argmax())
    named, heads_on = _expected(
        max(NUM_RANDOM_SETS * size[0], _RANDOM_IMAGES), tuple(head_class.tolist()), num_classes, cutoff, low, high, seed
    )
    every = (size[0], 1)
    return {
        "most frequent class": Decisions({rule: one_hot(most, num_classes) for rule in RULES}, None),
        "random scores": Decisions(
            {rule: np.tile(share, every) for rule, share in named.items()}, np.tile(heads_on, every)
        ),
        "equal scores": decide(np.zeros(size), head_class, num_classes, cutoff),
    }


@cache
def _expected(
    num_images: int,
    head_class: tuple[int, ...],
    num_classes: int,
    cutoff: float,
    low: float,
    high: float,
    seed: int,
) -> tuple[dict[str, Array], Array]:
    """Return how often random scores name each class, rule -> [C], and have each number of heads on [M + 1]."""
    rng = np.random.default_rng([seed, 1])
    sums = {rule: np.zeros(num_classes) for rule in RULES}
    heads_on = np.zeros(1 + len(head_class))
    for start in range(0, num_images, _BLOCK):
        scores = rng.uniform(low, high, (min(_BLOCK, num_images - start), len(head_class)))
        decided = decide(scores, np.array(head_class), num_classes, cutoff)
        for rule, named in decided.credits.items():
            sums[rule] += named.sum(axis=0) / num_images
        if decided.heads_on is not None:
            heads_on += decided.heads_on.sum(axis=0) / num_images
    return sums, heads_on


def one_hot(classes: NDArray[np.int64], num_classes: int) -> NDArray[np.bool_]:
    """Return whether a class is the one given [N, C]."""
    return np.eye(num_classes, dtype=bool)[classes]
