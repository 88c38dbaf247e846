"""Designs of prompts: which emotion, ethnicity, age, gender and wording each image is asked for, as JSON lines.

An id says what is asked for and nothing of the design around it: equal ids have equal prompts and, under one seed,
equal seeds, in a design of any size. Which ids a design has is chosen for its size: whole copies of the full factorial
are part of every larger design, the balanced rest of one size need not be (see `balance`).
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.io import atomic_write_stream
from emonet_lightning.json_lines import read_json_lines
from emonet_lightning.packing.samples import check_key, normalise_key
from emonet_lightning.synthesis.balance import balanced_levels
from emonet_lightning.synthesis.prompt_axes import EMOTION, PromptSpec

MAX_IMAGES = 10_000_000
_DIGITS = 12  # of a hash in an id: 48 bits


class Design(NamedTuple):
    """A design in memory."""

    spec: PromptSpec
    seed: int
    levels: np.ndarray
    """Level of each image and axis, int64 [N, K]."""
    replicate: np.ndarray
    """How many images of the same cell stand before this one, int64 [N]."""
    digest: str
    """Hex sha256 of all lines but for this digest itself."""

    @property
    def sizes(self) -> list[int]:
        """Number of levels of each axis [K]."""
        return [len(axis.levels) for axis in self.spec.axes]


class Prompts(NamedTuple):
    """A file of prompts as it is read back."""

    path: Path
    records: list[dict[str, Any]]
    """A line each: `id`, `prompt` and `seed` always, `prompted` where an emotion was asked for."""
    digest: str


def make_design(spec: PromptSpec, num: int, seed: int = 0, progress: bool = False) -> Design:
    """Choose the images of a balanced design.

    Args:
        spec: axes and wordings.
        num: number of images.
        seed: another seed, other images and other noise.
        progress: show a bar where balancing takes long.

    Returns:
        The design, in an order in which each part of it holds a bit of everything.

    Raises:
        UsageError: a size of which there is no design.
    """
    if not 1 <= num <= MAX_IMAGES:
        raise UsageError(f"--images {num}: must be 1 to {MAX_IMAGES:,}")
    if seed < 0:
        raise UsageError(f"--seed {seed}: must be 0 or more")
    sizes = [len(axis.levels) for axis in spec.axes]
    levels = balanced_levels(sizes, num, seed, progress)
    cells, cell = np.unique(levels, axis=0, return_inverse=True)
    cell = cell.reshape(-1)
    by_cell = np.argsort(cell, kind="stable")
    starts = np.searchsorted(cell[by_cell], np.arange(len(cells)))
    replicate = np.empty(num, dtype=np.int64)
    replicate[by_cell] = np.arange(num) - starts[cell[by_cell]]
    # by a hash of the cell: in every design two images stand in the same order
    keys = np.array([_number(f"{seed}:{row}") for row in cells.tolist()], dtype=np.uint64)
    order = np.lexsort((keys[cell], replicate))
    design = Design(spec, seed, levels[order], replicate[order], "")
    digest = hashlib.sha256()
    for line in _lines(design):
        digest.update(line.encode() + b"\n")
    return design._replace(digest=digest.hexdigest())


def image_seed(seed: int, name: str) -> int:
    """Return the seed of an image's noise, below 2**48: a function of the design's seed and the image's id alone."""
    return _number(f"{seed}:{name}")


def attempt_seed(record: dict[str, Any], attempt: int) -> int:
    """Return the seed of a prompt's image: its own, and one derived from it for each further attempt."""
    return int(record["seed"]) if attempt == 0 else _number(f"{record['seed']}:{record['id']}:{attempt}")


def write_design(design: Design, path: Path) -> None:
    """Write a design as JSON lines, each with all of its fields and the design's digest."""

    def write(stream: BinaryIO) -> None:
        for line in _lines(design):
            stream.write(f'{line[:-1]}, "design": "{design.digest}"}}\n'.encode())

    atomic_write_stream(path, write)


def read_prompts(path: Path) -> Prompts:
    """Read a design, or a file of one's own: a JSON line for each image, `id` and `prompt` are needed.

    Raises:
        MissingInputError: no such file.
        DataError: a line that is no prompt, an id that stands twice, or a design that was changed; names the line.
    """
    records: list[dict[str, Any]] = []
    digest, claimed, seen = hashlib.sha256(), set(), set()
    for _, where, record in read_json_lines(path):
        claimed.add(record.pop("design", None))
        digest.update(json.dumps(record, ensure_ascii=False).encode() + b"\n")
        name = record.get("id")
        if not isinstance(name, str) or not isinstance(record.get("prompt"), str) or not record["prompt"].strip():
            raise DataError(f"{where}: 'id' and 'prompt' must be texts; make the file by `synthesize design`")
        check_key(name, where)
        if name in seen:
            raise DataError(f"{where}: id '{name}' stands twice; make ids unique")
        seen.add(name)
        wrong = next((key for key, value in record.items() if not isinstance(value, str | int | float)), None)
        if wrong is not None:
            raise DataError(f"{where}: field '{wrong}' is neither text nor a number; write it as one, or leave it out")
        seed = record.setdefault("seed", image_seed(0, name))
        if type(seed) is not int or not 0 <= seed < 2**63:
            raise DataError(f"{where}: 'seed' must be a whole number from 0 to 2**63 - 1")
        records.append(record)
    if not records:
        raise DataError(f"{path}: holds no prompt; make it by `synthesize design`")
    found = digest.hexdigest()
    if claimed != {None} and claimed != {found}:
        raise DataError(
            f"{path}: is not the design that was written (its lines have digest {found[:12]}, not what they say); make "
            "it again, or remove 'design' from all lines to use them as prompts of your own"
        )
    return Prompts(path, records, found)


def _lines(design: Design) -> Iterator[str]:
    """JSON of each image, without the digest."""
    known: dict[tuple[int, ...], tuple[str, str]] = {}
    for levels, replicate in zip(map(tuple, design.levels.tolist()), design.replicate.tolist(), strict=True):
        if levels not in known:
            known[levels] = _cell(design.spec, levels)
        cell, rest = known[levels]
        name = f"{cell}-{replicate:05d}"
        seed = image_seed(design.seed, name)
        yield f'{{"id": {json.dumps(name, ensure_ascii=False)}, "replicate": {replicate}, "seed": {seed}, {rest}'


def _cell(spec: PromptSpec, levels: tuple[int, ...]) -> tuple[str, str]:
    """Name of a cell, and the part of its JSON that all of its images share."""
    named = {axis.name: axis.levels[level] for axis, level in zip(spec.axes, levels, strict=True)}
    emotion = spec.taxonomy.dimensions[spec.taxonomy.index(named[EMOTION])]
    prompt = spec.prompt(named)
    fields = {"prompt": prompt, "prompted": emotion.slug, **named, "keywords": ", ".join(emotion.keywords)}
    name = f"{normalise_key(emotion.slug)[:60]}-{_hash(json.dumps([prompt, named]))[:_DIGITS]}"
    return name, json.dumps({"cell": name, **fields}, ensure_ascii=False)[1:]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _number(text: str) -> int:
    return int(_hash(text)[:_DIGITS], 16)
