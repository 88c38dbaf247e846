"""What images themselves teach, always tried on persons held out: calibration of the heads, and linear probes.

Every way here is fitted on all folds but one and judged on that one, so a class is never named for an image, or another
image of the same person, that the way has learnt from.
"""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from emonet_lightning.errors import DataError
from emonet_lightning.evaluation.columns import Array
from emonet_lightning.evaluation.transfer_decisions import Labels

Fit = Callable[[Array, Labels], Callable[[Array], Array]]
"""From values [n, D] and classes [n] of the training folds to what names values [m, D]: evidence [m, C]."""


def person_folds(
    labels: Labels, persons: Sequence[str] | None, num_folds: int, seed: int
) -> tuple[NDArray[np.int64], int]:
    """Put images into folds of about equal classes; all images of a person are in one fold.

    Args:
        labels: classes [N].
        persons: of each image [N]; None: each image is a person of its own.
        num_folds: asked for; there are fewer where fewer persons show the class that most persons show.
        seed: of the shuffle (scikit-learn's StratifiedGroupKFold).

    Returns:
        Fold of each image [N], and the number of folds.

    Raises:
        DataError: fewer than two persons, or no class that two persons show.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    names = np.arange(len(labels)) if persons is None else np.unique(np.array(persons), return_inverse=True)[1]
    most = max(len(set(names[labels == number].tolist())) for number in set(labels.tolist()))
    number = min(num_folds, most)
    if number < 2:
        raise DataError(
            "no class is shown by two persons, so nothing can be fitted on some and judged on others; give more images"
        )
    splitter = StratifiedGroupKFold(number, shuffle=True, random_state=seed)
    fold = np.empty(len(labels), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)  # told by `rare_classes`
        for place, (_, held_out) in enumerate(splitter.split(labels, labels, names)):
            fold[held_out] = place
    return fold, number


def out_of_fold(
    fit: Fit, values: Array, labels: Labels, fold: NDArray[np.int64], advance: Callable[[int], None] = lambda _: None
) -> Labels:
    """Return the class named for each image [N] by what was fitted on the other folds.

    Args:
        fit: what is fitted.
        values: scores or features [N, D].
        labels: classes [N].
        fold: of each image [N].
        advance: is told of each fold that is done.
    """
    named = np.empty(len(labels), dtype=np.int64)
    for place in np.unique(fold):
        held_out = fold == place
        named[held_out] = fit(values[~held_out], labels[~held_out])(values[held_out]).argmax(axis=1)
        advance(1)
    return named


def linear_probe(num_classes: int) -> Fit:
    """Return how a probe is fitted: standardised values, multinomial logistic regression (scikit-learn, C = 1)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def fit(values: Array, labels: Labels) -> Callable[[Array], Array]:
        present = np.unique(labels)
        if len(present) < 2:
            return lambda others: np.tile(np.eye(num_classes)[present[0]], (len(others), 1))
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        with warnings.catch_warnings():  # of sets with a few images a class
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            probe.fit(values, labels)

        def evidence(others: Array) -> Array:
            found = np.full((len(others), num_classes), -np.inf)
            found[:, present] = probe.predict_proba(others)
            return found

        return evidence

    return fit


def standardised_heads(head_class: Labels, num_classes: int) -> Fit:
    """Return how each head is set to mean 0 and deviation 1 on the training folds, which needs no labels.

    Evidence for a class is its strongest head; a head without deviation says nothing.

    Args:
        head_class: class of each head [M].
        num_classes: C.
    """

    def fit(scores: Array, _: Labels) -> Callable[[Array], Array]:
        standard = _standardise(scores)

        def evidence(others: Array) -> Array:
            found = np.full((len(others), num_classes), -np.inf)
            for number in np.unique(head_class):
                found[:, number] = standard(others)[:, head_class == number].max(axis=1)
            return found

        return evidence

    return fit


def scaled_classes(head_class: Labels, num_classes: int) -> Fit:
    """Return how each class gets a slope and an offset of its own, by logistic regression (Platt) one against the rest.

    A class's evidence before that is the log of its standardised heads' summed exponentials. A class without heads, or
    without images in the training folds, is never named.

    Args:
        head_class: class of each head [M].
        num_classes: C.
    """
    from sklearn.linear_model import LogisticRegression

    mapped = np.unique(head_class).tolist()

    def fit(scores: Array, labels: Labels) -> Callable[[Array], Array]:
        standard = _standardise(scores)

        def pooled(values: Array, number: int) -> Array:
            return np.asarray(logsumexp(standard(values)[:, head_class == number], axis=1, keepdims=True))

        scales = {
            number: LogisticRegression().fit(pooled(scores, number), labels == number)
            for number in mapped
            if 0 < (labels == number).sum() < len(labels)
        }

        def evidence(others: Array) -> Array:
            found = np.full((len(others), num_classes), -np.inf)
            for number, scale in scales.items():
                found[:, number] = scale.predict_proba(pooled(others, number))[:, 1]
            if not scales:
                found[:, labels[0]] = 0
            return found

        return evidence

    return fit


def _standardise(scores: Array) -> Callable[[Array], Array]:
    mean, deviation = scores.mean(axis=0), scores.std(axis=0)
    dead = deviation < 1e-9
    return lambda values: np.where(dead, 0.0, (values - mean) / np.where(dead, 1.0, deviation))


def rare_classes(labels: Labels, persons: Sequence[str] | None, num_folds: int) -> dict[int, int]:
    """Return class -> persons who show it, of classes that fewer persons show than there are folds."""
    names = [str(row) for row in range(len(labels))] if persons is None else list(persons)
    shown = {number: {names[row] for row in np.flatnonzero(labels == number)} for number in set(labels.tolist())}
    return {number: len(found) for number, found in sorted(shown.items()) if len(found) < num_folds}
