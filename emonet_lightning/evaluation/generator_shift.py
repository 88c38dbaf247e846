"""Read-outs of frozen features across generators: trained on one, tested on another; and a probe that names them.

The read-out (ridge regression) stands in for heads: it is fitted in a second, so it can be fitted anew for every
generator. Every cell of the matrix is trained on as many images, so that cells differ by generator alone.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.errors import DataError
from emonet_lightning.evaluation.bootstrap import draws
from emonet_lightning.evaluation.columns import Array
from emonet_lightning.evaluation.degradation import rank_agreement
from emonet_lightning.evaluation.estimates import difference, estimate, numbers, point
from emonet_lightning.evaluation.transfer import chance, permuted_recalls

Codes = NDArray[np.int64]
_PENALTIES = tuple(10.0**power for power in range(-1, 6))
_LEAST = 10
"""Images of a generator below which nothing is said of it."""


def folds_of(codes: Codes, groups: Codes, num_folds: int, seed: int, names: Sequence[str]) -> list[Codes]:
    """Deal images to folds, groups whole, generators spread evenly; returns the rows of each fold.

    Args:
        codes: generator of each image [N].
        groups: person or prompt of each image [N].
        num_folds: at most so many; fewer where a generator has fewer groups.
        seed: of the deal.
        names: of the generators.

    Raises:
        DataError: a generator with fewer than 10 images or 2 groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    for code, name in enumerate(names):
        num, num_groups = int((codes == code).sum()), len(np.unique(groups[codes == code]))
        if num < _LEAST or num_groups < 2:
            raise DataError(
                f"generator '{name}': {num} images of {num_groups} persons or prompts; at least {_LEAST} of 2 are "
                "needed; leave it out or add images"
            )
    num_folds = min(num_folds, min(len(np.unique(groups[codes == code])) for code in range(len(names))))
    folds = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed).split(codes, codes, groups)
    return [np.asarray(test, dtype=np.int64) for _, test in folds]


def transfer_matrix(
    features: Array,
    truth: Array,
    codes: Codes,
    groups: Codes,
    names: Sequence[str],
    *,
    num_folds: int = 5,
    num_draws: int = 200,
    seed: int = 0,
    level: float = 0.95,
    own: Array | None = None,
) -> dict[str, Any]:
    """Return the agreement of read-outs trained on one generator (or all others) and tested on each.

    Args:
        features: [N, D].
        truth: what is known of the images [N, K]; NaN: nothing.
        codes: generator of each image [N].
        groups: person or prompt of each image [N]; on both sides of no split.
        names: of the G generators.
        num_folds: for training and testing within one generator.
        num_draws: bootstrap draws of groups.
        seed: of folds, choice of training images and draws.
        level: coverage of the intervals.
        own: scores of trained heads [N, K], judged on the same images.

    Returns:
        `num_training` images of every cell, `matrix` [train][test], `others` (all other generators to each), `drop`
        (within minus others, paired) and `heads`: per generator, each a mean over emotions with interval.
    """
    folds = folds_of(codes, groups, num_folds, seed, names)
    num_training = min(int((codes == code).sum()) for code in range(len(names))) * (len(folds) - 1) // len(folds)
    rng = np.random.default_rng(seed)
    places = [np.flatnonzero(codes == code) for code in range(len(names))]
    scores = np.full((len(names) + 1, *truth.shape), np.nan)
    for test in folds:
        for code in range(len(names)):
            for source in range(len(names) + 1):
                target = test[codes[test] == code]
                pool = np.flatnonzero(codes != code) if source == len(names) else places[source]
                pool = pool[~np.isin(groups[pool], groups[target])]
                chosen = rng.permutation(pool)[:num_training]
                if len(target) and len(chosen):
                    scores[source, target] = _ridge(features[chosen], truth[chosen], features[target])
    figures = {}
    for code, rows in enumerate(places):
        weights = draws(len(rows), num_draws, seed, groups[rows].tolist())
        figures[code] = [rank_agreement(found[rows], truth[rows], weights) for found in scores]
        if own is not None:
            figures[code].append(rank_agreement(own[rows], truth[rows], weights))
    whole = np.ones(truth.shape[1], dtype=bool)

    def cell(values: Array) -> dict[str, Any]:
        return {
            **estimate(values, whole, level, np.isnan(values[0])),
            "per_emotion": numbers(values[0]),
        }

    generators = range(len(names))
    return {
        "num_training": num_training,
        "num_folds": len(folds),
        "matrix": [[cell(figures[test][train]) for test in generators] for train in generators],
        "others": [cell(figures[test][len(names)]) for test in generators],
        "drop": [difference(figures[g][g], figures[g][len(names)], whole, level) for g in generators],
        "heads": None if own is None else [cell(figures[test][-1]) for test in generators],
    }


def probe_generators(
    features: Array,
    codes: Codes,
    groups: Codes,
    names: Sequence[str],
    *,
    num_folds: int = 5,
    num_draws: int = 200,
    num_permutations: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[dict[str, Any], Array]:
    """Predict the generator from features by logistic regression, groups kept whole; arguments as before.

    Returns:
        `accuracy` (balanced: mean recall of the generators, with interval, and what shuffled generators reach),
        `counts` true by predicted; and the decision values of images that were not trained on [N, G].
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = folds_of(codes, groups, num_folds, seed, names)
    decided = np.zeros((len(codes), len(names)))
    for test in folds:
        train = np.setdiff1d(np.arange(len(codes)), test)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced"))
        model.fit(features[train], codes[train])
        decided[test] = model.predict_log_proba(features[test])
    credit = np.eye(len(names), dtype=bool)[decided.argmax(axis=1)]
    truth = np.eye(len(names), dtype=bool)[codes]
    weights = draws(len(codes), num_draws, seed, groups.tolist())
    size, right = weights @ truth, weights @ (truth & credit)
    with np.errstate(invalid="ignore"):
        recall = np.where(size > 0, right / size, np.nan)
    accuracy = np.nanmean(recall, axis=1)
    shuffled = permuted_recalls([credit], codes, num_permutations, seed)[0].mean(axis=1)
    counts = (truth.T.astype(np.int64) @ credit).tolist()
    found = {
        "accuracy": {**point(accuracy, level), "chance": chance(float(accuracy[0]), shuffled, level)},
        "recall": [point(recall[:, code], level) for code in range(len(names))],
        "counts": counts,
        "num_folds": len(folds),
    }
    return found, decided


def _ridge(features: Array, truth: Array, others: Array) -> Array:
    """Fit one ridge regression for all emotions, or one each where not all are known of all images; [M, K]."""
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(features)
    x, z = scaler.transform(features), scaler.transform(others)
    known = ~np.isnan(truth)
    if known.all():
        return np.asarray(RidgeCV(_PENALTIES).fit(x, truth).predict(z)).reshape(len(z), -1)
    found = np.full((len(z), truth.shape[1]), np.nan)
    for k in range(truth.shape[1]):
        rows = known[:, k]
        if rows.sum() > 2:
            found[:, k] = RidgeCV(_PENALTIES).fit(x[rows], truth[rows, k]).predict(z)
    return found
