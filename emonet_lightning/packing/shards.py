"""pack: turns a source of samples into WebDataset shards, ratings and a manifest.

Shards are cut in source order, so a shard's bytes depend on its own samples only: any number of processes, killed and
started again, make equal files. What needs all samples (splits, digests) waits until every shard is there.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from emonet_lightning import interruption
from emonet_lightning.bad_samples import (
    BAD_SAMPLES,
    OPTION,
    TRAINING,
    Skip,
    SkipBudget,
    check_fraction,
    read_bad_samples,
)
from emonet_lightning.errors import DataError, EnvironmentProblem, InterruptedRunError, UsageError
from emonet_lightning.io import fingerprint, sha256_bytes
from emonet_lightning.packing.claiming import already_packed, claimed
from emonet_lightning.packing.manifest import NearDuplicates, SplitOptions, finish
from emonet_lightning.packing.packed import VERSION, PackedSet
from emonet_lightning.packing.samples import Fingerprinted, RawSample, Source
from emonet_lightning.packing.shard_writer import WORK_DIR, PackJob, is_finished, skipped, write_shard
from emonet_lightning.packing.verifying import VerifyReport
from emonet_lightning.progress import progress_bar
from emonet_lightning.ratings.long_form import Kind, Ratings
from emonet_lightning.taxonomy import Taxonomy

if TYPE_CHECKING:
    from emonet_lightning.faces.crops import FaceCropper

__all__ = ["Kind", "PackedSet", "Ratings", "RawSample", "Source", "VerifyReport", "pack"]

MIN_IMAGES_PER_PROCESS = 1000


def pack(
    source: Source,
    out_dir: Path | str,
    taxonomy: Taxonomy,
    *,
    splits: dict[str, float] | None = None,
    shard_size: int = 1000,
    num_processes: int = 1,
    seed: int = 0,
    sealed: bool = False,
    hash_near_duplicates: bool = True,
    near_duplicates: NearDuplicates = "group",
    near_duplicate_distance: int = 4,
    max_bad_fraction: float | None = None,
    cropper: "FaceCropper | None" = None,
    progress: bool = True,
) -> PackedSet:
    """Pack a source; resumable after a kill, with equal bytes for any number of processes.

    Args:
        source: samples by index; picklable where `num_processes` > 1.
        out_dir: folder of the set; new, empty, or holding the same set unfinished or finished.
        taxonomy: columns that the ratings refer to.
        splits: share of each split; None puts everything in `train`, or in `test` for a sealed set.
        shard_size: samples per shard.
        num_processes: most processes that read, hash and write; fewer where one would get under 1,000 images, since
            starting one takes seconds.
        seed: draw of the splits.
        sealed: mark the set as for testing only, and remember its images so that copies are known (see `seals`).
        hash_near_duplicates: compute the perceptual hash of each image.
        near_duplicates: `group` keeps near duplicates in one split, `error` refuses them, `ignore` lets them be.
        near_duplicate_distance: differing bits of 64 up to which images are near duplicates.
        max_bad_fraction: share of the samples whose image may be bad; these are left out and listed in
            `bad_samples.jsonl`. None: 0.1 %, and none of a set without a training split.
        cropper: cuts the largest face out of each image, and the manifest says how; an image without one is bad.
        progress: show a progress bar and what was found.

    Returns:
        The packed set, opened.

    Raises:
        DataError: a sample is wrong, too many images are bad, a key is given twice, or near duplicates exceed 1 % of
            the set.
        UsageError: the folder holds something else.
        InterruptedRunError: stopped by the keyboard; the same call resumes.
    """
    out_dir = Path(out_dir)
    if len(source) == 0:
        raise DataError(f"{source.name}: no samples to pack")
    if shard_size < 1 or num_processes < 1:
        raise UsageError(f"shard_size {shard_size}, num_processes {num_processes}: both must be at least 1")
    if max_bad_fraction is None:
        judged = sealed or (splits is not None and not set(splits) - {"val", "test"})
        max_bad_fraction = 0.0 if judged else TRAINING
    check_fraction(OPTION, max_bad_fraction)
    budget = SkipBudget(source.name, len(source), max_bad_fraction)
    options = SplitOptions(
        splits=splits or {"test" if sealed else "train": 1.0},
        seed=seed,
        sealed=sealed,
        near_duplicates=near_duplicates,
        near_duplicate_distance=near_duplicate_distance,
    )
    shards_of = {
        "source": _source_fingerprint(source),
        "taxonomy": taxonomy.to_dict(),
        "shard_size": shard_size,
        "perceptual_hash": hash_near_duplicates,
        **({} if cropper is None else {"faces": cropper.fingerprint}),
    }
    inputs = fingerprint([VERSION, shards_of, list(options.splits.items()), *options[1:]])
    console = Console(stderr=True, quiet=not progress, soft_wrap=True)
    job = PackJob(source, taxonomy, out_dir, shard_size, hash_near_duplicates, cropper)
    # a call that was killed at its very end leaves its notes beside a finished set
    if not already_packed(out_dir, inputs) or (out_dir / WORK_DIR).is_dir():
        with claimed(out_dir, fingerprint(shards_of), console):
            if not already_packed(out_dir, inputs):  # another call may have finished it meanwhile
                num_shards = _write_shards(job, num_processes, progress, budget)
                budget.check()
                finish(job, num_shards, inputs, options, budget, console)
                return PackedSet.open(out_dir)
    packed = PackedSet.open(out_dir)
    _check_left_out(packed, budget)
    console.print(f"{out_dir}: already holds this set (same names, sizes, labels and options); nothing to do")
    return packed


def _check_left_out(packed: PackedSet, budget: SkipBudget) -> None:
    """Hold a set that was finished under another budget to this one, in the words of packing it anew."""
    path, num_skips = packed.path / BAD_SAMPLES, budget.expected - packed.num_samples
    listed = read_bad_samples(path)[0] if path.is_file() else []
    error = f"{path}: does not list all that was left out; delete {packed.path} and pack it again"
    unlisted = Skip("?", "", "not listed", error)
    budget.skips = [*listed, *[unlisted] * num_skips][:num_skips]  # the set counts, its list only names
    budget.check()


def _source_fingerprint(source: Source) -> str:
    probes = sorted({0, len(source) // 2, len(source) - 1})
    samples = [source[row] for row in probes]
    content = [[s.key, sha256_bytes(s.image), s.ratings, s.prompted, s.group, s.split, s.meta] for s in samples]
    own = source.fingerprint() if isinstance(source, Fingerprinted) else ""
    return fingerprint([source.name, source.kind, source.licence, len(source), content, own])


def _write_shards(job: PackJob, num_processes: int, progress: bool, budget: SkipBudget) -> int:
    num_shards = -(-len(job.source) // job.shard_size)

    def done(number: int) -> None:
        for skip in skipped(job.out_dir, number):
            budget.add(skip)

    try:
        with progress_bar(f"packing {job.source.name}", len(job.source), "images", progress) as advance:
            todo = []
            for number in range(num_shards):
                if is_finished(job.out_dir, number):
                    advance(len(job.rows(number)))
                    done(number)
                else:
                    todo.append(number)
            num_workers = min(num_processes, len(todo), len(todo) * job.shard_size // MIN_IMAGES_PER_PROCESS)
            if num_workers > 1:
                _in_processes(job, todo, num_workers, advance, done)
            else:
                for number in todo:
                    write_shard(job, number, advance)
                    done(number)
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"{job.out_dir}: interrupted; the same command resumes after the shards that are done"
        ) from None
    return num_shards


def _in_processes(
    job: PackJob, todo: list[int], num_workers: int, advance: Callable[[int], None], done: Callable[[int], None]
) -> None:
    # spawn: forking a process that runs threads (torch, OpenCV, the progress bar) can deadlock
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    pool = ProcessPoolExecutor(num_workers, context, initializer=_start_worker, initargs=(job, counter))
    try:
        pending, told = {pool.submit(_work, number) for number in todo}, 0
        while pending:
            finished, pending = wait(pending, timeout=0.25, return_when=FIRST_EXCEPTION)
            for future in finished:
                done(future.result())
            count = counter.value
            advance(count - told)
            told = count
    except BrokenProcessPool as error:
        interruption.check(f"packing {job.source.name}")  # the signal went to the workers as well
        raise EnvironmentProblem(
            "a packing process was killed (out of memory?); run the command again with a lower --num_processes"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_job: PackJob
_counter: Any


def _start_worker(job: PackJob, counter: Any) -> None:
    global _job, _counter
    _job, _counter = job, counter
    parent = multiprocessing.parent_process()
    assert parent is not None
    for number in interruption.SIGNALS:  # theirs is the parent's business
        signal.signal(number, signal.SIG_IGN)

    def leave_with_parent() -> None:  # a killed parent cannot stop its workers
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()


def _work(number: int) -> int:
    def advance(count: int) -> None:
        with _counter.get_lock():
            _counter.value += count

    write_shard(_job, number, advance)
    return number
