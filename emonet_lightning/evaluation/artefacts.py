"""How much of each head's output says which generator made the picture, beyond what the picture shows.

Scores are freed of the labels by least squares, and what is left is explained by the generators (Frisch, Waugh and
Lovell; the share is a partial eta squared). Chance is the same figure with the generators shuffled over persons.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.evaluation.columns import Array
from emonet_lightning.evaluation.estimates import number
from emonet_lightning.evaluation.multiple_comparisons import holm

Codes = NDArray[np.int64]
DEFINITIONS = {
    "generator": "share of the variance of a head's score that the generators explain (eta squared)",
    "beyond_labels": "the same of what is left of the score once all labels are taken out by least squares (partial "
    "eta squared); with few images, the first principal components of the labels, one for every ten images",
    "chance": "mean of that share with the generators shuffled over persons or prompts; where one of these has "
    "pictures of several generators, within them, and in rendered faces between the styles of one face",
    "excess": "(share - chance) / (1 - chance): 0 where the generators explain no more than shuffled ones",
    "p, p_holm": "share of the shuffles, the true order counted with them, that reach the share; corrected for the "
    "number of heads (Holm 1979)",
    "probe": "share of the same remainder along the directions by which a probe tells the generators of pictures that "
    "it was not trained on; probe_chance: along as many random directions of the features, mean",
    "gap": "highest minus lowest mean of the remainder over the generators, in standard deviations of the score",
}
_NUM_DIRECTIONS = 100


class Remainder(NamedTuple):
    """Scores without what labels explain."""

    basis: Array
    """Orthonormal columns that were taken out [N, m]."""
    scores: Array
    """What is left [N, K]."""


def artefact_reliance(
    scores: Array,
    labels: Array | None,
    codes: Codes,
    groups: Codes,
    names: list[str],
    *,
    features: Array | None = None,
    decided: Array | None = None,
    num_permutations: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Return how much of each head's score the generators explain, one entry per head, in their order.

    Args:
        scores: [N, K].
        labels: what is known of the pictures [N, L], NaN: nothing; None: no labels at all.
        codes: generator of each picture [N], 0..G-1.
        groups: person or prompt of each picture, or number of those that differ by the generator alone [N].
        names: of the generators.
        features: [N, D], for random directions.
        decided: decision values of a probe [N, G].
        num_permutations: shuffles of the generators.
        seed: of shuffles and directions.

    Returns:
        Entries as in `DEFINITIONS`; `high` and `low` name the generators with the highest and lowest mean.
    """
    rng = np.random.default_rng(seed)
    plain, rest = _without(scores, None), _without(scores, labels)
    spread = scores.std(axis=0)
    one_hot = np.eye(len(names))
    share = _explained(rest, one_hot[codes])
    total, reached = np.zeros(len(share)), np.ones(len(share))
    for _ in range(num_permutations):
        shuffled = _explained(rest, one_hot[shuffle(codes, groups, rng)])
        total += shuffled
        reached += shuffled >= share - 1e-12
    expected = total / num_permutations
    p = reached / (1 + num_permutations)
    corrected = holm(p.tolist())
    eta = _explained(plain, one_hot[codes])
    along = None if decided is None else _explained(rest, decided)
    random = None
    if features is not None and decided is not None:
        scaled = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-9)
        drawn = (rng.normal(size=(features.shape[1], len(names) - 1)) for _ in range(_NUM_DIRECTIONS))
        random = np.mean([_explained(rest, scaled @ directions) for directions in drawn], axis=0)
    means = np.stack([rest.scores[codes == code].mean(axis=0) for code in range(len(names))])
    found = []
    for k in range(scores.shape[1]):
        gap = float(np.ptp(means[:, k]) / spread[k]) if spread[k] > 0 else 0.0
        found.append(
            {
                "generator": number(eta[k]),
                "beyond_labels": number(share[k]),
                "chance": number(expected[k]),
                "excess": number((share[k] - expected[k]) / max(1 - expected[k], 1e-12)),
                "p": number(p[k]),
                "p_holm": number(corrected[k]),
                "probe": None if along is None else number(along[k]),
                "probe_chance": None if random is None else number(random[k]),
                "gap": gap,
                "high": names[int(means[:, k].argmax())],
                "low": names[int(means[:, k].argmin())],
            }
        )
    return found


def shuffle(codes: Codes, groups: Codes, rng: np.random.Generator) -> Codes:
    """Shuffle generators over groups where each group has one, else within groups."""
    firsts, unit = np.unique(groups, return_index=True, return_inverse=True)[1:]
    if (codes == codes[firsts][unit]).all():
        return codes[firsts][rng.permutation(len(firsts))][unit]
    shuffled = np.empty_like(codes)
    shuffled[np.argsort(unit, kind="stable")] = codes[np.lexsort((rng.random(len(codes)), unit))]
    return shuffled


def _without(scores: Array, labels: Array | None) -> Remainder:
    columns = [np.full((len(scores), 1), len(scores) ** -0.5)]
    if labels is not None:
        known = ~np.isnan(labels)
        counts = known.sum(axis=0)
        filled = np.where(known, labels, 0.0)
        mean = filled.sum(axis=0) / np.maximum(counts, 1)
        centred = np.where(known, labels - mean, 0.0)
        most = max(1, min(labels.shape[1], len(scores) // 10))
        columns.append(_orthonormal(centred)[:, :most])
    basis = np.hstack(columns)
    return Remainder(basis, scores - basis @ (basis.T @ scores))


def _explained(rest: Remainder, columns: Array) -> Array:
    """Share of what is left of the scores that columns [N, c] explain [K]; 0 where nothing is left."""
    own = _orthonormal(columns - rest.basis @ (rest.basis.T @ columns))
    power = np.square(rest.scores).sum(axis=0)
    shares: Array = np.square(own.T @ rest.scores).sum(axis=0) / np.where(power > 1e-18, power, 1.0)
    return np.where(power > 1e-18, shares, 0.0)


def _orthonormal(columns: Array) -> Array:
    """Orthonormal basis of the columns' span, widest direction first."""
    left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return left[:, sizes > 1e-9 * max(1.0, float(sizes.max(initial=0.0)))]
