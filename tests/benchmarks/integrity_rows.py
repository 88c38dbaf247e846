"""Row 17: what exactness under faults costs in training; the same command with it, and with it switched off.

Switched off here and nowhere else: looking for signals between batches, digests of checkpoints and of the feature
cache, reading a checkpoint back, syncing logs, random states, and the ledger of samples.
"""

import contextlib
import functools
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from inputs import cached_set, so400m
from lightning.pytorch import Trainer
from measuring import Line, Settings, Timing, clock, ratio_line

from emonet_lightning import checkpoints, saving, stopping
from emonet_lightning.callbacks import RunLogger
from emonet_lightning.cli import main
from emonet_lightning.data import cache_blocks

DIGEST = "0" * 64


def plain_save(self: object, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
    """Write a checkpoint beside its place and rename it: no digest, no sync, not read back."""
    path = Path(str(path).replace(checkpoints.DIGEST, DIGEST))
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


@contextlib.contextmanager
def switched_off() -> Iterator[None]:
    """Train as if nothing could go wrong."""
    with contextlib.ExitStack() as stack:
        for place, name, value in (
            (stopping.StopBetweenBatches, "on_train_batch_end", lambda *args, **kwargs: None),
            (stopping.StopBetweenBatches, "on_validation_batch_end", lambda *args, **kwargs: None),
            (checkpoints.VerifiedCheckpointIO, "save_checkpoint", plain_save),
            (saving, "random_state", dict),
            (RunLogger, "sync", lambda self: None),
            (cache_blocks, "_digest", lambda block, *rest: _recorded(block)),
        ):
            stack.enter_context(mock.patch.object(place, name, value))
        yield


def _recorded(block: cache_blocks.Block) -> str:
    """Return the digest that a block's file names, unseen."""
    import json

    from safetensors import safe_open

    with safe_open(block.path, "pt") as stream:
        return str(json.loads(stream.metadata()["block"])[1])


def training_cost(settings: Settings) -> Iterator[Line]:
    """Row 17: `fit` on cached features as users run it; seconds are those of `Trainer.fit`."""
    spec = so400m(settings.work)
    made = cached_set(settings.work, "dense", settings.pick(40_960, 2048), spec)
    for widths, every, epochs in (("small", 30, settings.pick(4, 1)), ("small", 0, settings.pick(2, 1))):
        timings = {"with": Timing([], []), "switched off": Timing([], [])}
        for number in range(settings.num_rounds(3) + 1):
            for side in ("with", "switched off") if number % 2 else ("switched off", "with"):
                seconds = _fit(made, spec, widths, every, epochs, side == "with")
                if number:  # the first turn warms up
                    timings[side].cpu.append(seconds[0])
                    timings[side].wall.append(seconds[1])
        saves = "a checkpoint each epoch" if every == 0 else "checkpoints as by default"
        line = f"40,960 cached rows, Small heads, batch 1024, {saves}: with / switched off"
        yield ratio_line(line, timings, "switched off", "with", "<= 1.03", inverse=True)


def _fit(made: dict[str, Any], spec: Any, widths: str, every: int, epochs: int, on: bool) -> tuple[float, float]:
    found: list[tuple[float, float]] = []
    original = Trainer.fit

    @functools.wraps(original)  # options of `fit` are read from its signature
    def timed(self: Trainer, *args: Any, **kwargs: Any) -> None:
        with contextlib.nullcontext() if on else switched_off():
            found.append(clock(lambda: original(self, *args, **kwargs)))

    cache_blocks._VERIFIED.clear()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(Trainer, "fit", timed))
        said = stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        words = [
            "fit", "--data=SyntheticFaces", *(f"--data.{key}={value}" for key, value in made.items()),
            f"--model.encoder.name={spec.name}", f"--model.encoder.weights={spec.weights}", f"--model.widths={widths}",
            "--data.batch_size=1024", f"--trainer.max_epochs={epochs}", "--trainer.accelerator=cpu",
            "--trainer.devices=1", "--trainer.enable_progress_bar=false", f"--checkpoint_every={every}",
            f"--out={Path(folder) / 'run'}",
        ]  # fmt: skip
        code = main(words)
        if code:
            raise RuntimeError(said.getvalue()[-800:])
    return found[0]
