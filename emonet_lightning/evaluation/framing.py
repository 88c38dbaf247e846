"""Whether the classes of a set of photos can be told without looking at the faces.

If smiling people were photographed from another height than others, or before another wall, a probe on whole images
learns that. So the same probe, on the same folds, is fitted to what is not the face. Where it names classes better
than chance, the probe on the features is no measure of expression.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.evaluation.bootstrap import draws
from emonet_lightning.evaluation.columns import Array
from emonet_lightning.evaluation.probing import linear_probe, out_of_fold
from emonet_lightning.evaluation.transfer import judge
from emonet_lightning.evaluation.transfer_decisions import Decisions, Labels, one_hot

FEWEST = 20
"""Images of a set, or of a group, below which no figure is given."""
PLACE, SURROUNDINGS, BOX, PHOTO = "place", "surroundings", "box", "photo"
COUNTED = (PLACE, SURROUNDINGS)
"""Probes that tell framing."""
PROBES = {
    PLACE: "where the midpoint of the eyes is in the photo, as shares of its width and height; expressions move it "
    "little, unless the head bows or turns",
    SURROUNDINGS: "hair, neck and background: mean colours of the cells, of 16 by 16 into which the pictures that are "
    "encoded are divided, that no face reaches into, its box widened by a tenth; the same cells for all images; images "
    "whose face does reach into one are left out",
    BOX: "width and height of the face's box as shares of the photo; shown, but not counted as framing: an open "
    "mouth makes a box longer, a smile wider",
    PHOTO: "logarithms of the photo's width and height in pixels, which tell sources apart; shown, but not counted as "
    "framing: pictures are encoded at one size",
}
"""Probe -> what it sees; all are fitted as the probe on the features, on images with a face."""
ABOVE = (
    "a probe is above chance where its interval lies above the mean of shuffled labels, and at most 1% of the "
    "shuffles reach it"
)
_P = 0.01


class NotTheFace(NamedTuple):
    """What n of N images, those with a face, show that is not the face."""

    rows: NDArray[np.int64]
    """Their numbers among all images [n]."""
    place: Array
    """Midpoint of the eyes as shares of width and height of the photo [n, 2]."""
    photo: Array
    """Logarithms of these [n, 2]."""
    box: Array
    """Width and height of the face's box, as shares of the photo's [n, 2]."""
    surroundings: Array
    """Colours around the face [m, D]."""
    with_surroundings: NDArray[np.bool_]
    """Which of the n images these are of [n]; none where faces reach everywhere."""


def judge_framing(
    shown: NotTheFace,
    labels: Labels,
    persons: Sequence[str] | None,
    fold: NDArray[np.int64],
    *,
    cut: bool,
    num_draws: int = 500,
    num_permutations: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """Return how well classes are told from what is not the face.

    Args:
        shown: what is not the face.
        labels: classes [N], 0..C-1.
        persons: of each image [N]; None: each image is a person of its own.
        fold: of each image [N], as for the other probes.
        cut: crops are encoded, which do not show where in the photo the face was.
        num_draws: bootstrap draws.
        num_permutations: shuffles of the labels.
        seed: of draws and shuffles.
        level: coverage of the intervals.

    Returns:
        `num_faces`; `probes` {name: accuracy FIGURE with chance, `num_numbers` that it sees and `above`, or null where
        there are fewer than `FEWEST` images, or one class}; `framing`: probes above chance that see what the encoder
        sees; `photos`: those that see what crops hide.
    """
    everything = np.ones(len(shown.rows), np.bool_)
    probes: dict[str, Any] = {}
    for name, values, among in (
        (PLACE, shown.place, everything),
        (SURROUNDINGS, shown.surroundings, shown.with_surroundings),
        (BOX, shown.box, everything),
        (PHOTO, shown.photo, everything),
    ):
        rows = shown.rows[among]
        present, classes = np.unique(labels[rows], return_inverse=True)
        if len(rows) < FEWEST or len(present) < 2 or len(np.unique(fold[rows])) < 2:
            probes[name] = None
            continue
        named = one_hot(out_of_fold(linear_probe(len(present)), values, classes, fold[rows]), len(present))
        found = judge(
            {name: Decisions({"named": named}, None)},
            classes,
            draws(len(rows), num_draws, seed, None if persons is None else [persons[row] for row in rows]),
            subjects=(),
            num_permutations=num_permutations,
            seed=seed,
            level=level,
        )["systems"][name]["rules"]["named"]["accuracy"]
        probes[name] = {**found, "num_numbers": values.shape[1], "above": _is_above(found)}
    above = [name for name in COUNTED if probes[name] and probes[name]["above"]]
    hidden = [PLACE] if cut else []
    return {
        "num_faces": len(shown.rows),
        "probes": probes,
        "framing": [name for name in above if name not in hidden],
        "photos": [name for name in above if name in hidden],
    }


def _is_above(found: dict[str, Any]) -> bool:
    by_chance = found["chance"]
    return found["low"] is not None and found["low"] > by_chance["value"] and by_chance["p"] <= _P
