"""What a run will read, before it reads it: where sets are, which rows are for what, and the plan in words."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from emonet_lightning.data.feature_store import FeatureStore, MappedFeatures
from emonet_lightning.data.inputs import FeatureInputs
from emonet_lightning.data.labels import LabelTable, resting_levels
from emonet_lightning.data.pairs import BalancedPairs, RowPairs
from emonet_lightning.data.rows import PairBatches, RowBatches
from emonet_lightning.data.sampling import WINDOW_BLOCKS, TrainPlan, epoch_order
from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.local_paths import expand_home
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.packing.seals import Seal, refuse_sealed
from emonet_lightning.taxonomy import Taxonomy

EMBEDDED = "embedded:"
LEARNT = {"fit": ("train", "val"), "validate": ("val",)}
"""Rows that a stage learns from, or chooses by."""


class Folds(NamedTuple):
    """Cross-validation in place of a set's splits."""

    number: int
    """Of folds; 0 for the set's own splits."""
    test: int
    """Fold to test on."""
    seed: int
    val_share: float
    """Share of the other folds to validate on."""


def cache_root(cache_dir: str | None) -> Path:
    """Return the folder for features and embedded sets: the option, `$EMONET_CACHE`, or `~/.cache/emonet_lightning`."""
    return expand_home(cache_dir or os.environ.get("EMONET_CACHE") or "~/.cache/emonet_lightning")


def features_folder(cache_dir: str | None) -> Path:
    """Return the folder of cached features: in it one folder for each encoder, set and view."""
    return cache_root(cache_dir) / "features"


def locate(path: str, cache_dir: str | None) -> Path:
    """Return the folder of a packed set; `embedded:NAME` is rendered and packed at first use.

    Raises:
        UsageError: no embedded set of that name.
        MissingInputError: below the home of a user who is not known here.
    """
    if not path.startswith(EMBEDDED):
        return expand_home(path)
    from emonet_lightning.synthesis.embedded import pack_embedded

    return pack_embedded(embedded_name(path), cache_root(cache_dir) / "embedded")


def embedded_name(path: str, option: str = "data.path") -> str:
    """Return NAME of `embedded:NAME`.

    Raises:
        UsageError: no embedded set of that name.
    """
    from emonet_lightning.synthesis.embedded import EMBEDDED_SETS

    name = path.removeprefix(EMBEDDED)
    if name not in EMBEDDED_SETS:
        raise UsageError(f"{option}: '{path}' is not an embedded set; choose from {', '.join(EMBEDDED_SETS)}")
    return name


def grouped_folds(groups: Sequence[str | None], num_folds: int, seed: int) -> np.ndarray:
    """Deal samples to folds [N] so that a group stays whole and folds are of near-equal size.

    Raises:
        DataError: fewer groups than folds.
    """
    names = [group if group is not None else f"\0{row}" for row, group in enumerate(groups)]
    unique, inverse, counts = np.unique(np.array(names, dtype=object), return_inverse=True, return_counts=True)
    if len(unique) < num_folds:
        raise DataError(f"data.num_folds: {num_folds} folds need as many groups; the set has {len(unique)}")
    fold_of_group, sizes = np.zeros(len(unique), dtype=np.int64), np.zeros(num_folds, dtype=np.int64)
    for group in epoch_order(seed, 0, len(unique)):
        fold_of_group[group] = sizes.argmin()
        sizes[fold_of_group[group]] += counts[group]
    return fold_of_group[inverse]


def choose_rows(
    sets: Sequence[PackedSet],
    split_names: dict[str, str],
    shares: Sequence[float],
    folds: Folds,
    seed: int,
) -> dict[str, np.ndarray]:
    """Return the rows of `train`, `val` and `test` over the concatenated sets, each ascending.

    Args:
        sets: packed sets; rows of set i follow those of set i - 1.
        split_names: name of each split in the sets.
        shares: share of each set's training rows that is used.
        folds: of the last set.
        seed: of shares.
    """
    train, start = [], 0
    last = sets[-1]
    for packed, share in zip(sets, shares, strict=True):
        if not 0 <= share <= 1:
            raise UsageError(f"data.train_share: {share} must be in 0..1")
        own = packed.splits.get(split_names["train"], np.zeros(0, dtype=np.int64))
        if packed is last and folds.number:
            parts = grouped_folds(packed.groups, folds.number, folds.seed)
            own, test = np.flatnonzero(parts != folds.test), np.flatnonzero(parts == folds.test)
            val = np.zeros(0, dtype=np.int64)
            if folds.val_share > 0:
                count = max(2, round(1 / folds.val_share))
                inner = grouped_folds([packed.groups[row] for row in own], count, folds.seed + 1)
                own, val = own[inner != 0], own[inner == 0]
        elif packed is last:
            val = packed.splits.get(split_names["val"], np.zeros(0, dtype=np.int64))
            test = packed.splits.get(split_names["test"], np.zeros(0, dtype=np.int64))
            if not len(test) and (packed.sealed or not packed.splits):
                test = np.arange(packed.num_samples)
        if share < 1:
            count = max(1, round(share * len(own))) if share else 0
            own = np.sort(own[epoch_order(seed, 0, len(own))[:count]])
        train.append(own + start)
        start += packed.num_samples
    offset = start - last.num_samples
    return {"train": np.concatenate(train), "val": val + offset, "test": test + offset}


def check_set(packed: PackedSet, stage: str, taxonomy: Taxonomy) -> None:
    """Refuse a set that is not for this stage or not of these columns, before anything is encoded.

    Raises:
        DataError: it is sealed and not for a test, or of another taxonomy or order.
    """
    if packed.sealed and stage in LEARNT:
        act = {"fit": "train", "validate": "validate"}[stage]
        raise DataError(f"{packed.path}: this set is sealed, for testing only; {act} on another")
    # answers are stored by slug; still, a set of another taxonomy or order is refused, not guessed at
    slugs = [entry["slug"] for entry in packed.taxonomy["dimensions"]]
    size = min(len(slugs), len(taxonomy))
    same = slugs[:size] == taxonomy.slugs[:size] and packed.taxonomy["num_emotions"] == taxonomy.num_emotions
    if not same:
        taxonomy.check_digest(packed.taxonomy["digest"], str(packed.path))


def check_seals(sets: Sequence[PackedSet], rows: dict[str, np.ndarray], stage: str, seals: Iterable[Seal]) -> None:
    """Refuse sealed images among the rows that a stage learns from or chooses by; what a test reads is free.

    Args:
        sets: packed sets, concatenated.
        rows: as `choose_rows` returned them.
        stage: `fit`, `validate` or `test`.
        seals: what must not be among them.

    Raises:
        DataError: see `refuse_sealed`.
    """
    seals, start = list(seals), 0
    learnt = np.concatenate([rows[name] for name in LEARNT.get(stage, ())] or [np.zeros(0, dtype=np.int64)])
    for packed in sets:
        own = learnt - start
        refuse_sealed(packed, own[(own >= 0) & (own < packed.num_samples)], seals)
        start += packed.num_samples


def describe(
    sets: Sequence[PackedSet],
    rows: dict[str, np.ndarray],
    labels: LabelTable,
    taxonomy: Taxonomy,
    batches: RowBatches | PairBatches,
    steps_per_call: int,
) -> str:
    """Return the plan of a training run in a few lines."""
    used = labels.take(rows["train"])
    per_head = used.mask.sum(0)
    positive = int((used.mask & (used.target > resting_levels(taxonomy))).sum())
    lines = [
        f"data: {' + '.join(f'{packed.name} ({packed.kind}, {packed.num_samples:,} images)' for packed in sets)}",
        f"rows: {len(rows['train']):,} train, {len(rows['val']):,} val, {len(rows['test']):,} test",
        f"steps: {batches.plan.num_steps:,} an epoch of {_sampling(batches)}"
        + (f"; {steps_per_call} steps a call" if steps_per_call > 1 else ""),
        f"labels: {int(per_head.sum()):,} on {int((per_head > 0).sum())} of {len(taxonomy)} heads "
        f"({per_head.min():,}..{per_head.max():,} a head), {positive:,} above the resting level; "
        f"{labels.num_filled:,} untouched answers read as 0; "
        f"{int(used.mask.size - per_head.sum()):,} questions not asked are masked",
    ]
    if isinstance(batches.inputs, FeatureInputs):
        lines.insert(3, f"features: {_features(batches.inputs.store)}")
    empty = [taxonomy.names[column] for column in np.flatnonzero(per_head == 0)]
    if empty:
        lines.append(f"heads without a label are left as they are: {', '.join(empty)}")
    return "\n".join(lines)


def _sampling(batches: RowBatches | PairBatches) -> str:
    plan = batches.plan
    if isinstance(plan, BalancedPairs):
        fewer = f", {plan.drawn.min()} at least" if plan.drawn.min() < plan.per_head else ""
        return f"{plan.drawn.sum():,} pairs, balanced: {plan.per_head} a head{fewer}"
    if isinstance(plan, RowPairs):
        return f"{plan.plan.batch_size:,} rows, of which only labelled pairs are computed{_order(plan.plan)}"
    assert isinstance(plan, TrainPlan)
    return f"{plan.batch_size:,} rows{_order(plan)}"


def _order(plan: TrainPlan) -> str:
    return f"; shuffled within windows of {WINDOW_BLOCKS} blocks" if plan.blocks is not None else ""


def _features(store: FeatureStore) -> str:
    size = f"{2 * store.num_views * store.num_rows * store.dim / 1e6:,.1f} MB"
    if isinstance(store, MappedFeatures):
        return f"{size}, memory-mapped"
    return f"{size} in memory" if store.device.type == "cpu" else f"{size} on {store.device}"
