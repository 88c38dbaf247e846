"""The command `predict`: EmotionRecognizer over a folder, an image or a packed set, into one table."""

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from rich.console import Console

from emonet_lightning.data.plan import locate
from emonet_lightning.encoders import EncoderSpec
from emonet_lightning.errors import DataError, EmoNetError, MissingInputError, UsageError, nearest
from emonet_lightning.image_files import OTHER_SUFFIXES, SUFFIXES
from emonet_lightning.io import atomic_write, make_folder, read_json, remove_temporary, write_errors
from emonet_lightning.messages import say
from emonet_lightning.packing.packed import FORMAT, MANIFEST, PackedSet
from emonet_lightning.progress import progress_bar
from emonet_lightning.recognizer import EmotionRecognizer, ImageLike

__all__ = ["EmotionRecognizer", "predict_command"]

FORMATS = (".csv", ".parquet", ".jsonl")
BAD_FILES = ".bad_files.jsonl"
"""Follows the table's name: tables of one folder keep their lists apart."""


def predict_command(
    input: str,
    out: str,
    run: str | None = None,
    heads: str | None = None,
    encoder: EncoderSpec | None = None,
    weights: str | None = None,
    values: Literal["scores", "mean_subtracted", "softmax"] = "scores",
    split: str | None = None,
    on_error: Literal["stop", "skip"] = "stop",
    device: str | None = None,
    batch_size: int = 32,
    num_threads: int | None = None,
    progress: bool = True,
) -> None:
    """Score images with trained heads and write one row per image.

    Args:
        input: an image, a folder of images (read with its subfolders), a packed set, or `embedded:hq`.
        out: table to write, `.csv`, `.parquet` or `.jsonl`: column `file` (path below the input folder, or sample
            key), then one column per emotion.
        run: run folder that holds the heads.
        heads: folder of exported heads, or of released .pth files (instead of `run`).
        encoder: the encoder, if not the recorded one (released files: the paper's), e.g. `--encoder.name timm/NAME`.
        weights: where the encoder's weight file is now, e.g. one that `fetch encoder` brought.
        values: scores; mean_subtracted (minus the neutral means); softmax over the emotions (extra dimensions empty).
        split: of a packed set, this split only.
        on_error: `stop` at an unreadable image, or `skip` it and list it in TABLE.bad_files.jsonl beside the table.
        device: cpu, cuda or cuda:N; default: the GPU if there is one.
        batch_size: images per forward pass.
        num_threads: threads that decode; default: one per core, at most 16.
        progress: show a bar with images/s.

    Raises:
        UsageError: neither or both of `run` and `heads`, or an unknown table format.
        MissingInputError: no such input, or no images in it.
        DataError: an unreadable image (named), or heads that do not fit.
        OutputError: the table cannot be written; told before the first image is scored.
    """
    if (run is None) == (heads is None):
        raise UsageError("predict: give either --run DIR or --heads DIR")
    target = Path(out)
    if target.suffix not in FORMATS:
        raise UsageError(f"{out}: unknown table format; {nearest(target.suffix, FORMATS)}")
    if batch_size < 1:
        raise UsageError(f"batch_size: {batch_size} is below 1")
    images = find_images(locate(input, None), split)
    bad_files = target.with_name(target.name + BAD_FILES)
    _make_way(target, bad_files)
    recognizer = EmotionRecognizer.load(str(run or heads), device, encoder, weights)
    if values != "scores":
        getattr(recognizer.predictions(np.zeros((1, len(recognizer.bundle.taxonomy)))), values)  # refuse now, not later

    bad: list[dict[str, str]] = []
    names: list[str] = []
    blocks: list[np.ndarray] = []
    started = time.monotonic()
    with progress_bar("predict", len(images), "images", progress) as advance:

        def note(name: str, error: EmoNetError) -> None:
            bad.append({"file": name, "error": str(error)})
            advance(1)

        threads = num_threads or min(16, len(os.sched_getaffinity(0)))
        skip = note if on_error == "skip" else None
        for batch, scores in recognizer.stream(images, batch_size, skip, threads):
            names += batch
            blocks.append(scores)
            advance(len(batch))
    seconds = time.monotonic() - started
    if skip:
        lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in bad)
        atomic_write(bad_files, lines)
    if not blocks:
        raise DataError(f"{input}: none of {len(images)} images could be read; see {bad_files}")
    predictions = recognizer.predictions(np.concatenate(blocks))
    table = pd.DataFrame(getattr(predictions, values), columns=predictions.slugs)
    table.insert(0, "file", names)
    atomic_write(target, lambda path: _write(table, path, target.suffix))
    skipped = f", {len(bad)} unreadable in {bad_files}" if bad else ""
    Console(stderr=True).print(
        f"{len(names)} images in {seconds:.1f} s ({len(names) / max(seconds, 1e-9):.1f} images/s) to {out}{skipped}",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )


def find_images(path: Path, split: str | None) -> list[tuple[str, ImageLike | Callable[[], bytes]]]:
    """Return (key, where to read it) of an image, a folder of images or a packed set, without reading a picture."""
    if path.is_file():
        return [(path.name, path)]
    if not path.is_dir():
        raise MissingInputError(f"{path}: no such file or folder; give an image, a folder of images or a packed set")
    if is_packed(path):
        return _packed_images(PackedSet.open(path), split)
    if split is not None:
        raise UsageError(f"{path}: --split is for packed sets, this is a folder")
    found, others = [], Counter[str]()
    for file in sorted(_walk(path)):
        suffix = file.suffix.lower()
        if suffix in SUFFIXES:
            found.append(file)
        elif suffix in OTHER_SUFFIXES:
            others[suffix] += 1
    if others:
        listed = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
        say(f"{path}: left out, not {', '.join(sorted(SUFFIXES))}: {listed}; convert them first")
    if not found:
        raise MissingInputError(f"{path}: no images ({', '.join(sorted(SUFFIXES))}) in it or below")
    return [(file.relative_to(path).as_posix(), file) for file in found]


def is_packed(folder: Path) -> bool:
    """Return whether a folder is a packed set, and not one of images."""
    manifest = folder / MANIFEST
    content = read_json(manifest) if manifest.is_file() else None
    return isinstance(content, dict) and content.get("format") == FORMAT


def _packed_images(packed: PackedSet, split: str | None) -> list[tuple[str, ImageLike | Callable[[], bytes]]]:
    if split is not None and split not in packed.splits:
        raise UsageError(f"{packed.path}: no split '{split}'; {nearest(split, packed.splits)}")
    rows = range(packed.num_samples) if split is None else packed.splits[split].tolist()
    return [(packed.keys[row], partial(packed.read_image, row)) for row in rows]


def _walk(folder: Path) -> Iterator[Path]:
    """Yield files; linked folders are followed, each real folder once."""
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(place))
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(os.path.join(place, name)) not in seen
        )
        for name in files:
            if not name.startswith("."):
                yield Path(place) / name


def _make_way(target: Path, bad_files: Path) -> None:
    """See that the table can be written, and remove what a call that was killed left of it."""
    make_folder(target.parent)
    with write_errors(target), tempfile.TemporaryFile(dir=target.parent):
        if target.is_dir():
            raise IsADirectoryError(21, "Is a directory", str(target))
        for path in (target, bad_files):
            remove_temporary(path.parent, path.name)


def _write(table: pd.DataFrame, path: Path, suffix: str) -> None:
    if suffix == ".csv":
        table.to_csv(path, index=False)
    elif suffix == ".parquet":
        table.to_parquet(path, index=False)
    else:
        table.to_json(path, orient="records", lines=True, double_precision=9, force_ascii=False)
