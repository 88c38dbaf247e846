"""Bradley-Terry strengths of more than two systems (Bradley and Terry 1952), with the judges' habit of a side."""

import numpy as np
from numpy.typing import NDArray

_RIDGE = 100.0
"""Inverse of the penalty: as good as none, unless a system wins or loses all."""


def strengths(
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    chose_left: NDArray[np.bool_],
    num_systems: int,
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Fit log P(left) / P(right) = strength of left - strength of right + side, in each draw.

    Args:
        left: system on the left of each answer [n].
        right: system on the right [n].
        chose_left: [n].
        num_systems: S.
        weights: how often each answer counts [D, n].

    Returns:
        [D, S], mean 0; NaN for a draw in which only one side was chosen.
    """
    from sklearn.linear_model import LogisticRegression

    # answers with equal systems, sides and choice are one row, counted
    cells, cell = np.unique(np.stack([left, right, chose_left], axis=1), axis=0, return_inverse=True)
    counts = weights @ np.eye(len(cells))[cell.reshape(-1)]
    sides = np.eye(num_systems)
    difference = sides[cells[:, 0]] - sides[cells[:, 1]]
    found = np.full((len(weights), num_systems), np.nan)
    model = LogisticRegression(C=_RIDGE)
    for row, count in zip(found, counts, strict=True):
        used = count > 0
        if len(np.unique(cells[used, 2])) < 2:
            continue
        model.fit(difference[used], cells[used, 2], sample_weight=count[used])
        row[:] = model.coef_[0] - model.coef_[0].mean()
    return found
