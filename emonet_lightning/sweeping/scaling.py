"""How a score grows with something that is counted, as the share of the training data: a saturating power law."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import OptimizeWarning, curve_fit

from emonet_lightning.evaluation.columns import Array

MIN_LEVELS = 4
"""Three parameters cannot be judged by three points."""
_EXPONENTS = (0.01, 5.0)
"""A fit that ends at one of these is none: the scores do not bend as a power law does."""


class PowerLaw(NamedTuple):
    """score = ceiling - loss * amount ** -exponent, the amount in units of the largest one that was measured."""

    ceiling: float
    loss: float
    exponent: float
    r2: float
    unit: float

    def at(self, amount: Array) -> Array:
        """Return the score at amounts [N]."""
        return self.ceiling - self.loss * (np.asarray(amount, dtype=np.float64) / self.unit) ** -self.exponent


def fit_power_law(amounts: Sequence[float], scores: Sequence[float]) -> PowerLaw | None:
    """Fit by least squares; None where it says nothing: too few different amounts, no fit that converges or bends.

    Args:
        amounts: above 0, several scores may share one.
        scores: as many.
    """
    x, y = np.asarray(amounts, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if len(np.unique(x)) < MIN_LEVELS or (x <= 0).any() or not np.isfinite(y).all() or np.ptp(y) == 0:
        return None
    unit = float(x.max())

    def law(x: Array, ceiling: float, loss: float, exponent: float) -> Array:
        return ceiling - loss * x**-exponent

    with warnings.catch_warnings():
        warnings.simplefilter("error", OptimizeWarning)  # no covariance: the parameters are not determined
        try:
            bounds = ([-1.0, 0.0, _EXPONENTS[0]], [1.5, 10.0, _EXPONENTS[1]])
            begin = (float(y.max()) + 0.01, max(float(np.ptp(y)), 1e-3), 0.5)
            (ceiling, loss, exponent), _ = curve_fit(law, x / unit, y, p0=begin, bounds=bounds)
        except (RuntimeError, OptimizeWarning, ValueError):
            return None
    if not _EXPONENTS[0] * 1.01 < exponent < _EXPONENTS[1] * 0.99:
        return None
    residual = y - law(x / unit, ceiling, loss, exponent)
    r2 = 1 - float(residual @ residual) / float(((y - y.mean()) ** 2).sum())
    return PowerLaw(float(ceiling), float(loss), float(exponent), r2, unit)
