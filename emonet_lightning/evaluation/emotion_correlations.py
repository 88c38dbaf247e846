"""How emotions go together over images: rank correlations, and partial ones that hold all other emotions fixed.

Ranks are taken once over all images and kept in the draws: doubled, they are whole numbers, so sums are exact.
"""

import numpy as np
from scipy.stats import rankdata

from emonet_lightning.evaluation.columns import Array, sums


def centred_ranks(values: Array) -> Array:
    """Return twice the average rank of each value in its column, less its mean: whole numbers [N, K]."""
    return np.asarray(2 * rankdata(values, axis=0) - (len(values) + 1), dtype=np.float64)


def correlations(columns: Array, weights: Array) -> Array:
    """Return linear correlations of columns [N, K] in each draw [D, N], as [D, K, K]; of ranks, Spearman's.

    NaN where a column is constant in a draw.
    """
    i, j = np.triu_indices(columns.shape[1])
    moments = sums(
        weights, np.concatenate([np.ones((len(columns), 1)), columns, columns[:, i] * columns[:, j]], axis=1)
    )
    n, mean, product = moments[:, :1], moments[:, 1 : 1 + columns.shape[1]], moments[:, 1 + columns.shape[1] :]
    covariance = np.zeros((len(weights), columns.shape[1], columns.shape[1]))
    covariance[:, i, j] = covariance[:, j, i] = n * product - mean[:, i] * mean[:, j]
    own = np.sqrt(np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 0.0))
    scale = own[:, :, None] * own[:, None, :]
    found = np.where(scale > 0, covariance / np.where(scale > 0, scale, 1.0), np.nan)
    return np.clip(found, -1.0, 1.0)


def shrinkage_of(columns: Array) -> float:
    """Return how far the correlations of columns [N, K] are shrunk toward 0 (Ledoit and Wolf 2004), 0..1."""
    from sklearn.covariance import ledoit_wolf_shrinkage  # here: it takes a second to import

    return float(ledoit_wolf_shrinkage((columns - columns.mean(axis=0)) / columns.std(axis=0)))


def partial_correlations(correlation: Array, shrinkage: float) -> Array:
    """Return partial correlations [..., K, K]: of two emotions when all others are held fixed.

    They are the inverse of the shrunk correlations (1 - s) R + s I, scaled, with the other sign; NaN where R is not
    defined.
    """
    k = correlation.shape[-1]
    defined = ~np.isnan(correlation).any(axis=(-2, -1), keepdims=True)
    filled = np.where(defined, correlation, np.eye(k))
    inverse = np.linalg.inv((1 - shrinkage) * filled + max(shrinkage, 1e-6) * np.eye(k))
    own = np.sqrt(np.diagonal(inverse, axis1=-2, axis2=-1))
    found = -inverse / (own[..., :, None] * own[..., None, :])
    found[..., np.arange(k), np.arange(k)] = 1.0
    return np.where(defined, found, np.nan)
