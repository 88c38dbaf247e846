"""Rows of a run whose image cannot be read: which are left out of training, and whether there are too many."""

from collections.abc import Mapping, Sequence

import numpy as np

from emonet_lightning.bad_samples import Skip, SkipBudget
from emonet_lightning.data.cache_blocks import BadRows
from emonet_lightning.errors import DataError
from emonet_lightning.packing.packed import PackedSet

STAGES = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}
"""Rows that a stage reads."""


def skip_of(sets: Sequence[PackedSet], row: int, reason: str) -> Skip:
    """Return what to say of a row over concatenated sets."""
    start = 0
    for packed in sets:
        if row - start < packed.num_samples:
            key, file = packed.keys[row - start], f"{packed.path / packed.shard_of(row - start)}"
            return Skip(key, file, reason, f"{file}: image of sample '{key}' cannot be read ({reason}); copy it again")
        start += packed.num_samples
    raise DataError(f"row {row} is beyond the {start} rows of the sets")


def bad_training_rows(
    sets: Sequence[PackedSet], rows: Mapping[str, np.ndarray], bad: BadRows, stage: str, fraction: float
) -> BadRows:
    """Return which training rows of a stage are to be left out.

    Args:
        sets: concatenated.
        rows: of each split.
        bad: rows over all sets that could not be encoded.
        stage: `fit`, `validate` or `test`.
        fraction: of the training rows that may be bad; of validation and test rows, none may.

    Raises:
        DataError: too many; names the first ten.
    """
    found: BadRows = {}
    for name in STAGES.get(stage, ()):
        own = sorted(set(rows[name].tolist()) & bad.keys())
        budget = SkipBudget(f"{name} rows", len(rows[name]), fraction if name == "train" else 0.0)
        for row in own:
            budget.add(skip_of(sets, row, bad[row]))
        budget.check()
        if name == "train":
            found = {row: bad[row] for row in own}
    return found
