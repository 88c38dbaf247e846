"""Trials scored again on one set of validation images, under the same draws of images.

What a trial logged as `val/score` is compared with its own labels: where a rule for labels is what is swept, trials
would be judged by different truths. Here the truth is that of one trial, the baseline, and the heads are those that
each trial kept. They were kept by these very images, for every trial alike: a difference between trials is fair, the
level of the best one is not (see `ablation.optimism`). Test sets are never read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from emonet_lightning.bundle import HeadsBundle
from emonet_lightning.data.face_data import FaceDataModule
from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.evaluation.association import average_precision, spearman
from emonet_lightning.evaluation.bootstrap import draws, num_units
from emonet_lightning.evaluation.columns import Array, column_mean
from emonet_lightning.evaluation.estimates import count_constant_as_zero, varied
from emonet_lightning.evaluation.run_judgement import clusters
from emonet_lightning.io import fingerprint
from emonet_lightning.judging import judged_config, run_config
from emonet_lightning.run_cli import EmoNetCLI
from emonet_lightning.yaml_files import dump_yaml


class ValidationRows(NamedTuple):
    """Validation rows of a configuration: what they are, what they show, what raters say of it."""

    ids: list[str]
    """Digest of the set and key in it of each row [N]."""
    groups: list[str | None]
    """Who is shown [N]."""
    truth: Array
    """[N, K], NaN where there is none."""
    metric: str
    """`spearman` or `average_precision`."""
    features: torch.Tensor
    """[N, D] of this configuration's encoder."""


def validation_rows(config: dict[str, Any]) -> ValidationRows:
    """Return the validation rows of a run's configuration, with features from the cache; missing ones are encoded.

    Raises:
        UsageError: there are none, or the run trains on images, not on cached features.
    """
    words = ["validate", "--config", dump_yaml(judged_config(config))]
    data, _ = EmoNetCLI(words, dry=True).build_data()
    if data.mode != "cached":
        raise UsageError("data.mode: images has no features to score again; sweep over cached ones")
    data.prepare_data()
    data.setup("validate")
    loader = data.val_dataloader()
    found = {
        int(key): row
        for batches in loader
        for batch in batches
        for key, row in zip(batch.key.tolist(), batch.inputs.float(), strict=True)
        if key >= 0
    }
    rows = np.array(sorted(found), dtype=np.int64)
    ids, groups = _names(data, rows)
    features = torch.stack([found[row] for row in rows.tolist()])
    return ValidationRows(ids, groups, data.truth(rows), data.score_metric, features)


def _names(data: FaceDataModule, rows: np.ndarray) -> tuple[list[str], list[str | None]]:
    ids, groups = [], []
    starts = np.cumsum([0, *data.set_sizes()])
    for row in rows.tolist():
        part = int(np.searchsorted(starts, row, side="right")) - 1
        packed, own = data.sets[part], row - int(starts[part])
        ids.append(f"{packed.digest[:16]}/{packed.keys[own]}")
        groups.append(packed.groups[own])
    return ids, groups


class Judged(NamedTuple):
    """How trials score on the baseline's validation rows."""

    values: list[Array]
    """Mean over emotions [1+B] of each trial: as the rows are, then under each draw of them."""
    by_emotion: list[Array]
    """The same of each emotion [K, 1+B]; NaN where the rows say nothing of it."""
    tied: list[float]
    """Share of images to which a trial gives the score that it gives most often, mean over emotions."""
    metric: str
    num_images: int
    num_units: int
    """What is drawn: images, or people where images of one person are known to be."""


def score_trials(folders: Sequence[Path], baseline: Path, num_draws: int = 1000, seed: int = 0) -> Judged:
    """Score the heads that each trial kept on the baseline's validation rows.

    Args:
        folders: of finished trials.
        baseline: the one whose validation rows and truth all are judged by.
        num_draws: B.
        seed: of the draws, which all trials share.

    Raises:
        DataError: a trial was validated on other images, or has other columns.
        UsageError: see `validation_rows`.
    """
    own = run_config(baseline)
    known = {_data_of(own): validation_rows(own)}
    (judge,) = known.values()
    units = clusters(judge.groups)
    weights = draws(len(judge.ids), num_draws, seed, units)
    taxonomy = HeadsBundle.load(baseline).taxonomy
    truth = judge.truth[:, : taxonomy.num_emotions]
    target_varied = varied(truth, weights)
    by_emotion, tied = [], []
    for folder in folders:
        config = run_config(folder)
        if (data := _data_of(config)) not in known:
            known[data] = validation_rows(config)
        rows = known[data]
        if rows.ids != judge.ids:
            raise DataError(f"{folder}: was validated on other images than {baseline}; trials must share them")
        bundle = HeadsBundle.load(folder, taxonomy)
        scores = bundle.scores(rows.features).double().numpy()[:, : taxonomy.num_emotions]
        by_emotion.append(_scores(scores, truth, judge.metric, weights, target_varied))
        tied.append(
            float(np.mean([np.unique(column, return_counts=True)[1].max() for column in scores.T]) / len(scores))
        )
    values = [column_mean(own[~np.isnan(own[:, 0])], axis=0) for own in by_emotion]
    return Judged(values, by_emotion, tied, judge.metric, len(judge.ids), num_units(len(judge.ids), units))


def _data_of(config: dict[str, Any]) -> str:
    return fingerprint([config["data"], config["model"]["encoder"]])


def _scores(scores: Array, truth: Array, metric: str, weights: Array, target_varied: Any) -> Array:
    """Of each emotion [K, 1+B]; a head that gives all images one score, or none, counts as 0: it knows nothing."""
    values = (average_precision if metric == "average_precision" else spearman)(scores, truth, weights)
    return count_constant_as_zero(values, target_varied, np.ones(scores.shape[1], dtype=bool)).T
