"""Trees of emotions: which ones a system, and which ones the raters, put together; and how alike the trees are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import cophenet, fcluster, leaves_list, linkage
from scipy.spatial.distance import squareform

from emonet_lightning.evaluation.columns import Array
from emonet_lightning.evaluation.estimates import number

NUM_PERMUTATIONS = 1000


def tree_of(correlation: Array) -> Array:
    """Return the tree of emotions [K - 1, 4], as `scipy.cluster.hierarchy.linkage`.

    Average linkage on the distance 1 - correlation, with the order of leaves that puts like ones side by side.
    """
    return np.asarray(linkage(_distances(correlation), "average", optimal_ordering=True))


def leaves(tree: Array) -> list[int]:
    """Return the emotions in the order of a tree's leaves."""
    return [int(leaf) for leaf in leaves_list(tree)]


def compare_trees(
    raters: Array, system: Array, families: Sequence[str | None], num_clusters: int | None = None, seed: int = 0
) -> dict[str, Any]:
    """Return how alike two trees of the same emotions are.

    Args:
        raters: correlations [K, K].
        system: correlations [K, K].
        families: of each emotion.
        num_clusters: that both trees are cut into; by default as many as there are families, else the root of K.
        seed: of the permutations.

    Returns:
        `cophenetic` (correlation of the heights at which two emotions meet, in one tree and in the other), its `p` by
        permuted emotions; `fit_raters` and `fit_system` (correlation of a tree's heights with its distances);
        `num_clusters`, `clusters_raters`, `clusters_system` [K], `adjusted_rand` of the two and of each with the
        families (None where there are no families).
    """
    from sklearn.metrics import adjusted_rand_score  # here: it takes a second to import

    trees = tree_of(raters), tree_of(system)
    heights = [squareform(cophenet(tree)) for tree in trees]
    k = len(raters)
    upper = np.triu_indices(k, 1)
    found = _correlation(heights[0][upper], heights[1][upper])
    rng = np.random.default_rng(seed)
    permuted = []
    for _ in range(NUM_PERMUTATIONS):
        order = rng.permutation(k)
        permuted.append(_correlation(heights[0][upper], heights[1][np.ix_(order, order)][upper]))
    # the order as it is counts as one of them, so that p is never 0
    above = 1 + int(np.sum(np.array(permuted) >= found - 1e-12))
    named = [family for family in families if family is not None]
    count = num_clusters or (len(set(named)) if len(set(named)) > 1 else round(k**0.5))
    count = min(max(count, 2), k)
    clusters = [fcluster(tree, count, "maxclust") for tree in trees]
    alike = {"raters_system": float(adjusted_rand_score(*clusters))}
    for name, own in zip(("raters", "system"), clusters, strict=True):
        alike[f"{name}_families"] = float(adjusted_rand_score(families, own)) if len(named) == k else np.nan
    return {
        "cophenetic": number(found),
        "p": None if np.isnan(found) else above / (NUM_PERMUTATIONS + 1),
        "fit_raters": number(_correlation(heights[0][upper], _distances(raters))),
        "fit_system": number(_correlation(heights[1][upper], _distances(system))),
        "num_clusters": count,
        "clusters_raters": [int(cluster) for cluster in clusters[0]],
        "clusters_system": [int(cluster) for cluster in clusters[1]],
        "adjusted_rand": {name: number(value) for name, value in alike.items()},
    }


def _distances(correlation: Array) -> Array:
    upper = np.triu_indices(len(correlation), 1)
    return np.maximum(1 - correlation[upper], 0.0)


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    a, b = a - a.mean(), b - b.mean()
    product = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / product) if product > 0 else np.nan
