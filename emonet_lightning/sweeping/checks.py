"""What is found out of a sweep before its first trial: its keys and values, by the command line that trials go through.

A sweep runs for hours and is looked at afterwards; each of these would have shown only then.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from emonet_lightning.composition import Options, compose
from emonet_lightning.errors import EmoNetError, UsageError, nearest
from emonet_lightning.io import fingerprint
from emonet_lightning.preflight import check_run, logged_figures
from emonet_lightning.run_cli import EmoNetCLI
from emonet_lightning.same_run import decisive
from emonet_lightning.sweeping.sweep_file import SweepFile
from emonet_lightning.taxonomy import Taxonomy

OWN = ("out", "run", "resume", "ckpt_path")
"""Options that each trial has of its own."""


class Checked(NamedTuple):
    """A sweep that can be run.

    Attributes:
        trains: digest of what its first trial trains: the files that its command names may change.
        gpus: of each worker, as CUDA_VISIBLE_DEVICES names it; None of one that trains on the CPU.
    """

    trains: str
    gpus: list[str | None]


def check_sweep(sweep: SweepFile, workers: int) -> Checked:
    """Refuse a sweep that some trial of cannot run, or that must not be run; nothing is written or trained.

    Args:
        sweep: read from its file.
        workers: trials at a time.

    Raises:
        EmoNetError: the first thing that is wrong, with file and field.
    """
    _check_names(sweep)
    first = {parameter.name: parameter.samples()[0] for parameter in sweep.parameters}
    stages = _parsed(sweep, first, "")
    for field, point in _others(sweep, first):
        _parsed(sweep, point, field)
    _check_metric(sweep, stages[-1].run_config)
    with _named(f"{sweep.path}: the first trial"):
        check_run(stages)
    trainer = stages[-1].run_config["trainer"]
    return Checked(fingerprint([decisive(stage.run_config) for stage in stages]), _gpus(trainer, workers))


def trial_words(sweep: SweepFile, point: dict[str, Any], folder: Path) -> list[str]:
    """Return the command line of a trial: `fit`, the file's words, and what changes no result but costs time."""
    words = ["fit", *sweep.fit_words(point), "--figures=false", "--trainer.enable_progress_bar=false"]
    if any("WandbLogger" in word for word in words):
        words.append("--trainer.logger=false")  # there is no sweep on a server that would look at it
    return [*words, "--out", str(folder)]


def last_stage(sweep: SweepFile, point: dict[str, Any], folder: Path) -> Path:
    """Return the folder of a trial's last stage, whose validation its score is taken from."""
    name = compose(Options.split(sweep.fit_words(point)))[-1].name
    return folder / name if name else folder


def _gpus(trainer: dict[str, Any], workers: int) -> list[str | None]:
    import torch

    if trainer["accelerator"] not in ("auto", "gpu", "cuda"):
        return [None] * workers
    count = torch.cuda.device_count()
    if not count and trainer["accelerator"] == "auto":
        return [None] * workers
    if workers > count:
        raise UsageError(
            f"--workers {workers}: more than the {count} GPUs here, and each trial trains on one; give --workers "
            f"{max(count, 1)}, or --trainer.accelerator=cpu in the file's command"
        )
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return list((visible or [str(index) for index in range(count)])[:workers])


def _check_names(sweep: SweepFile) -> None:
    parameters = [(f"parameters.{parameter.name}", parameter.name) for parameter in sweep.parameters]
    words = [("command", word.removeprefix("--").partition("=")[0]) for word in sweep.words if word.startswith("--")]
    for field, name in (*parameters, *words):
        if name in OWN:
            raise UsageError(f"{sweep.path}: {field}: each trial has '{name}' of its own; take it out of the file")


def _check_metric(sweep: SweepFile, config: dict[str, Any]) -> None:
    if sweep.metric.startswith("test/"):
        raise UsageError(
            f"{sweep.path}: metric.name: '{sweep.metric}' is of the test set; no sweep may choose by it, use val/score"
        )
    model = config["model"]
    logged = logged_figures(Taxonomy.load(model["taxonomy"], model["extra_dimensions"]).slugs)
    if sweep.metric not in logged:
        raise UsageError(
            f"{sweep.path}: metric.name: '{sweep.metric}' is never logged by fit; {nearest(sweep.metric, logged)}"
        )


def _others(sweep: SweepFile, first: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield field and point for every other value of each parameter, all else as in the first point."""
    for parameter in sweep.parameters:
        for value in parameter.samples()[1:]:
            yield f"parameters.{parameter.name}: ", {**first, parameter.name: value}


def _parsed(sweep: SweepFile, point: dict[str, Any], field: str) -> list[EmoNetCLI]:
    """Parse a point's command line as `fit` does, all stages."""
    with _named(f"{sweep.path}: {field}".rstrip(": ")):
        stages = [
            EmoNetCLI(["fit", *stage.arguments], dry=True) for stage in compose(Options.split(sweep.fit_words(point)))
        ]
        for stage in stages:
            _check_config(stage.run_config)
    return stages


def _check_config(config: dict[str, Any]) -> None:
    """Refuse what a trial alone may do, but none of a sweep's."""
    if config["test_data"] is not None:
        raise UsageError(
            "test_data is set: a sweep never looks at the test set, and every trial's test would be counted; add "
            "--test_data=null to the command, and test the best trial once"
        )
    data = config["data"]["init_args"]
    for split in ("train_split", "val_split"):
        if data.get(split) in ("test", data.get("test_split")):
            raise UsageError(f"data.{split}: '{data[split]}' is the test split, which no sweep may choose by")
    if str(config["trainer"]["devices"]) not in ("1", "auto", "[0]"):
        raise UsageError(
            f"trainer.devices: {config['trainer']['devices']}: each trial trains on one device, several run at once "
            "with --workers; add --trainer.devices=1 to the command"
        )


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Say where in the sweep an error is."""
    try:
        yield
    except EmoNetError as error:
        raise type(error)(f"{where}: {error}") from error
