"""Row 18: what exactness under faults costs in packing and encoding; the same calls with it, and with it switched off.

Switched off here and nowhere else: digests of shards, of samples' JSON and of cache blocks, comparing images with
their digests, syncing files and folders, and looking for signals after each image. The digests of images stay: they
also find images that are there twice, and name the features of a set.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

from inputs import photo_set
from measuring import Line, Settings, interleave, ratio_line

from emonet_lightning import interruption, io
from emonet_lightning.cli import main
from emonet_lightning.data import cache_blocks
from emonet_lightning.data.embeddings import build_cache
from emonet_lightning.encoders import EncoderSpec
from emonet_lightning.packing import shard_writer
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.taxonomy import Taxonomy


def write_folder(made: PackedSet, count: int, folder: Path) -> Path:
    """Write images and a table of their ratings, as people have them; returns the table."""
    lines, slugs = [], Taxonomy.load("emonet40").slugs
    for row in range(count):
        (folder / f"{row:05d}.jpg").write_bytes(made.read_image(row))
        (ratings,) = made.read_record(row)["ratings"].values()
        lines.append(",".join([f"{row:05d}.jpg", *(str(ratings.get(slug, 0)) for slug in slugs)]))
    table = folder / "labels.csv"
    table.write_text("\n".join([",".join(["image", *slugs]), *lines, ""]))
    return table


class _Undigested(io.HashingStream):
    """Hands on what it is given."""

    def write(self, data: Any) -> int:
        return self._raw.write(data)


@contextlib.contextmanager
def switched_off() -> Iterator[None]:
    """Pack and encode as if nothing could go wrong; images are taken to be those that were packed."""
    image_digest = io.sha256_bytes
    with contextlib.ExitStack() as stack:

        def put(place: object, name: str, value: object) -> None:
            stack.enter_context(mock.patch.object(place, name, value))

        put(os, "fsync", lambda handle: None)
        put(io, "HashingStream", _Undigested)
        put(io, "sha256_file", lambda path: "0" * 64)
        put(shard_writer, "sha256_bytes", lambda content: image_digest(content) if len(content) > 8192 else "0" * 64)
        put(cache_blocks, "_digest", lambda block, *rest: "0" * 64)
        put(interruption, "check", lambda what: None)
        put(PackedSet, "check_files", lambda self: None)
        put(PackedSet, "read_image", _unseen)
        yield


def _unseen(self: PackedSet, row: int) -> bytes:
    index = self.manifest["index"]
    return self._read(row, index["image_offset"][row], index["image_bytes"][row])


def packing_and_encoding(settings: Settings) -> Iterator[Line]:
    """Row 18, on 512 px photograph-like JPEGs."""
    made, folder = photo_set(settings), Path(tempfile.mkdtemp(dir=settings.work))
    images = folder / "images"
    images.mkdir()
    table = write_folder(made, settings.pick(3000, 100), images)  # three shards

    def packing(*words: str) -> Callable[[], None]:
        def call() -> None:
            said = StringIO()
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                given = [str(images), f"--labels={table}", f"--out={folder / 'set'}", "--num_processes=1"]
                code = main(["pack", *given, "--progress=false", *words])
            if code:
                raise RuntimeError(said.getvalue()[-800:])
            shutil.rmtree(folder / "set")

        return call

    def encoding() -> None:
        build_cache(made, EncoderSpec(), folder / "cache", num_threads=1, progress=False)
        shutil.rmtree(folder / "cache")

    def plain(call: Callable[[], None]) -> Callable[[], None]:
        def off() -> None:
            with switched_off():
                call()

        return off

    try:
        for what, call in (
            ("packing, as by default: with / switched off", packing()),
            ("packing, near duplicates not looked for: with / switched off", packing("--near_duplicates=ignore")),
            ("encoding with the embedded encoder: with / switched off", encoding),
        ):
            sides = {"switched off": plain(call), "with": call}
            timings = interleave(sides, settings.num_rounds(7), say=what)
            for by in ("cpu", "wall"):
                target = "" if "not looked" in what else "<= 1.03"
                line = f"{what}, {'CPU' if by == 'cpu' else 'wall'} time"
                yield ratio_line(line, timings, "switched off", "with", target, by=by, inverse=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
