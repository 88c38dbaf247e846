"""What is found out before the first step of a run: names, files and sets of all its stages, and whether they chain.

A missing folder in the last stage should cost seconds, not the days of the stages before it.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer

from emonet_lightning.bundle import HeadsBundle
from emonet_lightning.callbacks import BestHeads
from emonet_lightning.data.face_data import NO_STATISTICS, FaceDataModule
from emonet_lightning.data.plan import EMBEDDED, cache_root, check_seals, embedded_name
from emonet_lightning.data.sampling import check_batch_size
from emonet_lightning.encoders import EncoderSpec, encoder_fingerprint, feature_dim
from emonet_lightning.errors import EmoNetError, MissingInputError, UsageError, nearest
from emonet_lightning.heads import resolve_widths
from emonet_lightning.io import make_folder
from emonet_lightning.local_paths import expand_home
from emonet_lightning.losses import OUTPUT_MAP
from emonet_lightning.objective import head_options
from emonet_lightning.packing.packed import MANIFEST, PackedSet
from emonet_lightning.packing.seals import refuse_sealed, seal_of
from emonet_lightning.run_cli import EmoNetCLI
from emonet_lightning.schedule import check_steps_per_call
from emonet_lightning.synthesis.embedded import SPLITS
from emonet_lightning.taxonomy import Taxonomy

_BUILT = {"logger", "callbacks", "enable_checkpointing", "enable_progress_bar", "deterministic", "benchmark"}


def check_run(stages: Sequence[EmoNetCLI]) -> None:
    """Refuse a run that some stage of cannot work; nothing is written or trained.

    Args:
        stages: parsed, in order.

    Raises:
        EmoNetError: the first stage that would fail, and why.
    """
    from emonet_lightning.export import check_forms
    from emonet_lightning.image_inputs import find_images

    learnt, tested = [], []
    for stage in stages:
        data, test_data = _check_stage(stage, stage.run_config)
        learnt.append(data)
        tested += [packed for packed in (test_data.sets if test_data else ()) if packed.sealed]
    seals = [seal_of(packed) for packed in tested]  # the state folder may be out of reach; this run's own are known
    for data in learnt:
        if data.rows:
            check_seals(data.sets, data.rows, "fit", seals)
    last = stages[-1].run_config
    output_map, forms = OUTPUT_MAP[last["model"]["loss"]], last["export"]
    onnx = "onnx" in forms or "onnx_images" in forms
    check_forms(output_map, last["model"]["l2_normalise"], onnx=onnx, released="released" in forms)
    if (last["neutral"] or "").startswith(EMBEDDED):
        embedded_name(last["neutral"], "neutral")
    elif last["neutral"]:
        neutral = expand_home(last["neutral"])
        find_images(neutral, split=None)
        if (neutral / MANIFEST).is_file():  # means of the test's own faces would be fitted on it
            packed = PackedSet.open(neutral)
            refuse_sealed(packed, np.arange(len(packed)), seals)
    for before, after in itertools.pairwise(stages):
        _check_chain(before.run_config["model"], after.run_config["model"])


def _check_stage(stage: EmoNetCLI, config: dict[str, Any]) -> tuple[FaceDataModule, FaceDataModule | None]:
    model = config["model"]
    _check_trainer(config["trainer"])
    check_steps_per_call(model["steps_per_call"], config["trainer"])
    BestHeads(**config["best_heads"])  # looks at its options
    taxonomy = Taxonomy.load(model["taxonomy"], model["extra_dimensions"])
    _check_monitors(config, taxonomy.slugs)
    head_options(model["per_emotion"] or {}, taxonomy)
    resolve_widths(model["widths"])
    spec = EncoderSpec(**model["encoder"])
    feature_dim(spec)
    fingerprint = encoder_fingerprint(spec)  # looks the weights up
    if model["init_heads_from"]:
        folder = model["init_heads_from"]
        HeadsBundle.load(folder, taxonomy).check_encoder(fingerprint, folder)
    if config["ckpt_path"] and not Path(config["ckpt_path"]).is_file():
        raise MissingInputError(f"{config['ckpt_path']}: no such checkpoint")
    stage.check_parts()
    data, test_data = stage.build_data()
    make_folder(cache_root(data.cache_dir))
    if data.mode == "images" and model["standardise"]:
        raise UsageError(NO_STATISTICS)
    if data.mode == "images" and spec.resize_on == "device":
        raise UsageError("encoder.resize_on: device is for the encode pass (data.mode: cached); use host with images")
    check_batch_size(data.batch_size, num_rows=1, world_size=1)  # the number of processes is known only later
    for found, use in ((data, "fit"), (test_data, "test")):
        embedded = [part.path for part in found.parts if part.path.startswith(EMBEDDED)] if found else []
        if found is not None and embedded:
            _check_embedded(found, embedded, use)
        elif found is not None:
            found.open(use)
    return data, test_data


def _check_embedded(data: FaceDataModule, paths: Sequence[str], use: str) -> None:
    """Refuse what `FaceDataModule.open` would; an embedded set is rendered at its first use, and not to look at it."""
    names = [embedded_name(path) for path in paths]
    if use != "fit":
        return
    split = data.split_names["train"]
    for name in names:
        if name not in SPLITS:
            raise UsageError(f"data.path: '{EMBEDDED}{name}' is sealed, for testing only; train on another")
        if split not in SPLITS[name] and not data.folds.number:
            known = nearest(split, SPLITS[name])
            raise UsageError(f"data.train_split: '{EMBEDDED}{name}' has no split '{split}'; {known}")


def logged_figures(slugs: Sequence[str]) -> list[str]:
    """Return the names of all that `fit` logs of training and validation."""
    every = [f"{name}/{slug}" for name in ("val/score", "train/loss") for slug in slugs]
    return ["val/score", "val/num_constant_heads", "train/loss", "train/lr", *every]


def _check_monitors(config: Any, slugs: Sequence[str], where: str = "") -> None:
    """Refuse to stop, keep or choose by a figure of test data or one that is never logged, wherever one is named."""
    if isinstance(config, str):
        if ("monitor" in where or "metric" in where) and (config.startswith("test/") or "oracle_" in config):
            raise UsageError(f"{where}: '{config}' is a figure of test data; monitor one of validation, as val/score")
        if where.startswith("trainer.callbacks") and where.endswith(".monitor"):
            logged = logged_figures(slugs)
            if config not in logged:
                raise UsageError(f"{where}: '{config}' is never logged; {nearest(config, logged)}")
    elif isinstance(config, dict):
        for key, value in config.items():
            _check_monitors(value, slugs, f"{where}.{key}" if where else key)
    elif isinstance(config, list):
        for value in config:
            _check_monitors(value, slugs, where)


def _check_trainer(trainer: dict[str, Any]) -> None:
    """Refuse options of the Trainer that would silently train something else, or fail within."""
    if trainer["gradient_clip_val"]:
        raise UsageError("trainer.gradient_clip_val clips all heads by one norm; use model.clip_norm, for each its own")
    if trainer["accumulate_grad_batches"] != 1:
        raise UsageError("trainer.accumulate_grad_batches: a head's mean is over one batch; raise data.batch_size")
    if trainer["overfit_batches"]:
        raise UsageError("trainer.overfit_batches would replace the sample order; use data.train_share")
    if trainer["precision"] not in (None, "32-true", "32", 32, "64-true", "64", 64):
        raise UsageError(
            f"trainer.precision: {trainer['precision']}: weights are kept in 32-true; set model.heads_dtype: bfloat16 "
            "for the heads' products, model.encoder.dtype for the encoder"
        )
    if trainer["max_epochs"] == -1 and trainer["max_steps"] == -1:
        raise UsageError("trainer.max_epochs: -1 has no end, which the learning rate's schedule needs; name a number")
    plain = {key: value for key, value in trainer.items() if key not in _BUILT and not _names_class(value)}
    try:
        Trainer(**plain, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    except EmoNetError:
        raise
    except (ValueError, TypeError, KeyError, RuntimeError, MisconfigurationException) as error:
        raise UsageError(f"trainer: {' '.join(str(error).split())[:300]}") from error


def _names_class(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return any(isinstance(inner, dict) and "class_path" in inner for inner in values)


def _check_chain(before: dict[str, Any], after: dict[str, Any]) -> None:
    for key in ("taxonomy", "extra_dimensions", "encoder", "l2_normalise"):
        if before[key] != after[key]:
            raise UsageError(f"stages: model.{key} must be the same in all stages, since each starts from heads")
    if resolve_widths(before["widths"]) != resolve_widths(after["widths"]):
        raise UsageError("stages: model.widths must be the same in all stages, since each starts from heads")
    maps = OUTPUT_MAP[before["loss"]], OUTPUT_MAP[after["loss"]]
    if maps[0] != maps[1] and not after["reinit_last_layer"]:
        raise UsageError(
            f"stages: model.loss '{before['loss']}' gives scores as a '{maps[0]}' of outputs, '{after['loss']}' as a "
            f"'{maps[1]}'; set model.reinit_last_layer: true in the later stage, or keep the loss"
        )
