"""Systems that see no face: what a model must beat, and the prompted label as a reference of what was asked for."""

import numpy as np

from emonet_lightning.evaluation.columns import Array, column_mean
from emonet_lightning.ratings.panel import Panel, SystemScores

PROMPTED = "prompted label"


def trivial_systems(
    panel: Panel,
    slugs: list[str],
    *,
    subject: SystemScores | None = None,
    train_mean: Array | None = None,
    seed: int = 0,
) -> list[SystemScores]:
    """Return the trivial systems of a panel.

    Args:
        panel: images and ratings.
        slugs: of the panel's dimensions.
        subject: its scores are also given to other images, which keeps their distribution and loses the faces.
        train_mean: mean target per dimension over a training set [K]; without it the mean of these very ratings stands
            in, which only an oracle knows, and is named so.
        seed: of `random` and of the permutation.

    Returns:
        `all-zero`, `training mean` or `oracle mean`, `random` (uniform 0..1), `NAME permuted`, and `prompted label`
        (1 for the emotion that the generator was asked for) where it is known.
    """
    size = (len(panel.images), panel.values.shape[2])
    # a first call of this generator, and single precision, as the published random baseline
    found = [
        SystemScores("all-zero", np.zeros(size), "trivial"),
        SystemScores(
            "oracle mean" if train_mean is None else "training mean",
            np.broadcast_to(_mean_rating(panel) if train_mean is None else train_mean, size),
            "trivial",
        ),
        SystemScores(
            "random", np.random.default_rng(seed).random(size).astype(np.float32).astype(np.float64), "trivial"
        ),
    ]
    if subject is not None:
        order = np.random.default_rng(seed).permutation(len(panel.images))
        found.append(SystemScores(f"{subject.name} permuted", subject.scores[order], "trivial"))
    if panel.prompted is not None and any(panel.prompted):
        found.append(SystemScores(PROMPTED, _one_hot(panel.prompted, slugs), "reference"))
    return found


def _mean_rating(panel: Panel) -> Array:
    return column_mean(panel.values.reshape(-1, panel.values.shape[2]))


def _one_hot(prompted: list[str | None], slugs: list[str]) -> Array:
    return np.array([[float(slug == own) for own in slugs] for slug in prompted])
