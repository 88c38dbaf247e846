"""Runs a design through a pipeline: rounds of blocks, gates, another try for what is dropped, and a packed set.

An image is a function of the design, its id, the attempt and the options, its block of fixed neighbours; so processes
share blocks by number, any of them may be killed, and the same command ends with the same bytes. Copies of each other
can only be found when a round is whole: whoever finds it so begins the next one, alone, with the few that are left.
"""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.folder_lock import claimed
from emonet_lightning.io import atomic_write, make_folder, read_json, sha256_bytes, write_json
from emonet_lightning.messages import say
from emonet_lightning.packing.claiming import GENERATION
from emonet_lightning.packing.packed import MANIFEST, PackedSet
from emonet_lightning.packing.shards import pack
from emonet_lightning.progress import progress_bar
from emonet_lightning.synthesis.blocks import GeneratedImages, Kept, Made, Todo, block_path, is_made, write_block
from emonet_lightning.synthesis.gates import Gates, ImageCheck, encode_image
from emonet_lightning.synthesis.outcomes import judge, reasons_of, report
from emonet_lightning.synthesis.prompts import Prompts, attempt_seed
from emonet_lightning.taxonomy import Taxonomy

PLAN, REPORT, DROPPED, BLOCKS = "plan.json", "report.json", "dropped.jsonl", "blocks"
_HELD = "another process finishes this set"
_BLOCK = 32
"""Images of a block, rounded up to whole batches: what a kill can lose."""

Draw = Callable[[list[str], list[int]], list[np.ndarray]]


@dataclass(frozen=True)
class Run:
    """What is generated where: all that the images depend on, but for the pipeline itself."""

    prompts: Prompts
    out: Path
    taxonomy: Taxonomy
    gates: Gates
    plan: dict[str, Any]
    """Everything that decides about the bytes, as it is recorded; another plan is refused in the same folder."""
    batch_size: int
    image_format: str
    quality: int
    splits: dict[str, float] | None = None
    rank: int = 0
    world_size: int = 1
    progress: bool = True

    @property
    def folder(self) -> Path:
        """Where blocks, plan and report are."""
        return self.out / GENERATION


def generate(run: Run, load: Callable[[], Draw], source: Callable[[list[Kept]], GeneratedImages]) -> PackedSet | None:
    """Make what is missing; return the packed set, or None where other processes have not finished their share.

    Args:
        run: what is made.
        load: loads the pipeline; called only if an image is missing.
        source: makes a source for packing of the images that are kept.

    Raises:
        UsageError: the folder holds images of another design or of other options.
        DataError: no image is kept.
        InterruptedRunError: the process was asked to stop; finished blocks are kept.
    """
    check = ImageCheck(run.gates)
    _hold_plan(run)
    if (run.folder / REPORT).is_file() and (run.out / MANIFEST).is_file():
        with contextlib.suppress(UsageError), claimed(run.folder, _HELD):  # a kill may have left blocks, and the lock
            shutil.rmtree(run.folder / BLOCKS, ignore_errors=True)
        return PackedSet.open(run.out)
    draw = _Once(load)
    first = [Todo(row, 0) for row in range(len(run.prompts.records))]
    _make_blocks(run, 0, first, draw, check, run.rank, run.world_size)
    if any(not is_made(path) for path, _ in _blocks(run, 0, first)):
        return None
    try:
        with claimed(run.folder, _HELD):
            return _finish(run, first, draw, check, source)
    except UsageError as error:
        if run.world_size == 1 or _HELD not in str(error):
            raise
        return None


def _finish(
    run: Run, first: list[Todo], draw: Draw, check: ImageCheck, source: Callable[[list[Kept]], GeneratedImages]
) -> PackedSet:
    rounds = [first]
    outcome = judge(_paths(run, rounds), run.prompts.records, run.gates)
    while outcome.again:
        rounds.append(outcome.again)
        _make_blocks(run, len(rounds) - 1, outcome.again, draw, check)
        outcome = judge(_paths(run, rounds), run.prompts.records, run.gates)
    if not outcome.kept:
        why = ", ".join(f"{count} {reason}" for reason, count in reasons_of(outcome.dropped).items())
        raise DataError(f"{run.out}: no image passed the gates ({why}); look at the pipeline, or loosen --gates")
    alone = run.gates.near_duplicates == "keep" and run.splits is None  # copies cannot straddle a single split
    packed = pack(
        source(outcome.kept),
        run.out,
        run.taxonomy,
        splits=run.splits,
        near_duplicates="ignore" if alone else "group",
        near_duplicate_distance=run.gates.near_duplicate_distance,
        progress=run.progress,
    )
    lines = [json.dumps(entry, ensure_ascii=False) for entry in outcome.dropped]
    atomic_write(run.folder / DROPPED, "".join(f"{line}\n" for line in lines))
    write_json(run.folder / REPORT, report(outcome, run.prompts.records, run.plan))
    shutil.rmtree(run.folder / BLOCKS, ignore_errors=True)
    return packed


class _Once:
    """Loads the pipeline when the first image is needed."""

    def __init__(self, load: Callable[[], Draw]) -> None:
        self._load = load
        self._draw: Draw | None = None

    def __call__(self, prompts: list[str], seeds: list[int]) -> list[np.ndarray]:
        if self._draw is None:
            self._draw = self._load()
        return self._draw(prompts, seeds)


def _hold_plan(run: Run) -> None:
    """Write the plan, or compare it with the one that is there."""
    path = run.folder / PLAN
    begun_work = (run.folder / REPORT).is_file() or any((run.folder / BLOCKS).glob("*.json"))
    if not path.is_file() or not begun_work:
        if run.out.is_dir() and any(entry.name != GENERATION for entry in run.out.iterdir()):
            raise UsageError(f"{run.out}: holds other files; choose a new or empty --out")
        make_folder(run.folder)
        write_json(path, run.plan)
        return
    begun, now = read_json(path), json.loads(json.dumps(run.plan))
    for key in now:
        if key != "made_with" and begun.get(key) != now[key]:
            told = _told(begun.get(key), now[key])
            raise UsageError(f"{run.out}: was begun with {key} {told}; give the same options, or another --out")
    if begun.get("made_with") != now["made_with"]:
        say(f"{run.out}: was begun with {begun.get('made_with')}, goes on with {now['made_with']}: images may differ")


def _told(begun: Any, now: Any) -> str:
    if isinstance(begun, dict) and isinstance(now, dict):
        key = next(key for key in {**begun, **now} if begun.get(key) != now.get(key))
        return f"{key} {_told(begun.get(key), now.get(key))}"
    return f"{begun!r}, not {now!r}"


def _blocks(run: Run, round_number: int, todo: list[Todo]) -> Iterable[tuple[Path, list[Todo]]]:
    size = run.batch_size * -(-_BLOCK // run.batch_size)
    for number, start in enumerate(range(0, len(todo), size)):
        yield block_path(run.folder / BLOCKS, round_number, number), todo[start : start + size]


def _paths(run: Run, rounds: list[list[Todo]]) -> list[list[Path]]:
    return [[path for path, _ in _blocks(run, number, todo)] for number, todo in enumerate(rounds)]


def _make_blocks(
    run: Run, round_number: int, todo: list[Todo], draw: Draw, check: ImageCheck, rank: int = 0, world_size: int = 1
) -> None:
    mine = list(_blocks(run, round_number, todo))[rank::world_size]
    missing = [(path, part) for path, part in mine if not is_made(path)]
    if not missing:
        return
    make_folder(run.folder / BLOCKS)
    what = f"generating {run.prompts.path.name}" + (f", again ({round_number})" if round_number else "")
    with progress_bar(what, sum(len(part) for _, part in mine), "images", run.progress) as advance:
        advance(sum(len(part) for _, part in mine) - sum(len(part) for _, part in missing))
        for path, part in missing:
            _make_block(run, path, part, draw, check, advance)


def _make_block(
    run: Run, path: Path, todo: list[Todo], draw: Draw, check: ImageCheck, advance: Callable[[int], None]
) -> None:
    """Make the images of one block; what a gate drops is tried again at once, while attempts are left."""
    records = run.prompts.records
    rejected: dict[int, list[list[Any]]] = {entry.row: [] for entry in todo}
    found: dict[int, tuple[bytes, Made]] = {}
    waiting = todo
    while waiting:
        again: list[Todo] = []
        for start in range(0, len(waiting), run.batch_size):
            batch = waiting[start : start + run.batch_size]
            seeds = [attempt_seed(records[entry.row], entry.attempt) for entry in batch]
            images = draw([records[entry.row]["prompt"] for entry in batch], seeds)
            for entry, seed, pixels in zip(batch, seeds, images, strict=True):
                content = encode_image(pixels, run.image_format, run.quality)
                reason, phash = check(pixels, content, records[entry.row]["id"])
                kept = reason is None
                if not kept:
                    rejected[entry.row].append([entry.attempt, seed, reason])
                    if entry.attempt + 1 < run.gates.attempts:
                        again.append(Todo(entry.row, entry.attempt + 1))
                        continue
                made = Made(entry.row, entry.attempt, seed, 0, len(content) if kept else 0, "", f"{phash:016x}", [])
                found[entry.row] = (content if kept else b"", made)
                advance(1)
        waiting = again
    images_in_order: list[bytes] = []
    made_in_order: list[Made] = []
    offset = 0
    for entry in todo:
        content, made = found[entry.row]
        made_in_order.append(made._replace(offset=offset, sha256=sha256_bytes(content), rejected=rejected[entry.row]))
        images_in_order.append(content)
        offset += len(content)
    write_block(path, images_in_order, made_in_order)
