"""One start of a run: what it goes on from, whether it may, and what is noted of how it ended."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emonet_lightning import slurm
from emonet_lightning.attempts import DONE as ENDED
from emonet_lightning.attempts import INTERRUPTED, begin_attempt, end_attempt
from emonet_lightning.checkpoints import FOLDER, check_run, load_verified, named_checkpoints, newest_valid, replace_all
from emonet_lightning.data.cache_folders import cache_folders
from emonet_lightning.data.face_data import FaceDataModule
from emonet_lightning.encoders import EncoderSpec, encoder_fingerprint
from emonet_lightning.errors import DataError, InterruptedRunError, MissingInputError, UsageError
from emonet_lightning.io import fingerprint, remove_temporary
from emonet_lightning.messages import is_first_process, say
from emonet_lightning.run_identity import IDENTITY_FILE, run_id
from emonet_lightning.same_run import decisive
from emonet_lightning.taxonomy import Taxonomy

DONE = "DONE"
"""Marker of a finished run or stage: nothing else says so."""


@dataclass(frozen=True)
class Attempt:
    """A start of a run.

    Attributes:
        run: id of the run.
        resume: `auto`, `required` or `never`.
    """

    run: str
    resume: str

    def identity(self, config: dict[str, Any]) -> dict[str, str]:
        """Return the fingerprints that a checkpoint of a stage names, before its data were looked at."""
        model = config["model"]
        return {
            "run": self.run,
            "config": fingerprint(decisive(config)),
            "taxonomy": Taxonomy.load(model["taxonomy"], model["extra_dimensions"]).digest,
            "encoder": encoder_fingerprint(EncoderSpec(**model["encoder"])),
        }

    def checkpoint(self, folder: Path, identity: dict[str, str], asked: str | None = None) -> Path | None:
        """Return the checkpoint that a stage goes on from; None where it begins.

        Args:
            folder: of the stage.
            identity: that checkpoints of this run name.
            asked: `ckpt_path`. A command is given again on every restart, so what was saved later comes first.

        Raises:
            DataError: there are checkpoints, but none can be used.
            MissingInputError: what was asked for is not there.
        """
        if self.resume == "never":
            return None
        named = Path(asked) if asked and not is_pruned(asked, folder) else None
        if named and _newest_step(folder) < 0:
            return named  # there is no choice: it is looked at when it is loaded
        step = _step(named, identity) if named else -1
        if named and _newest_step(folder) <= step:
            return named
        try:
            found = newest_valid(folder / FOLDER, identity)
        except DataError:
            if named is None:
                raise
            found = None
        if named and (found is None or _step(found, identity) <= step):
            return named
        if found is not None and asked:
            say(
                f"{folder}: unfinished; going on from {found}, which is newer than --ckpt_path {asked} (to go back, "
                "move the newer ones away)"
            )
        elif found is not None:
            say(f"{folder}: unfinished; going on from {found}")
        elif self.resume == "required":
            say(f"{folder}: nothing was saved before the restart; it begins")
        return found


def begins_anew(config: dict[str, Any]) -> bool:
    """Whether a start does not go on with what is there."""
    return _resume(config) == "never"


def is_pruned(asked: str | None, folder: Path) -> bool:
    """Whether a checkpoint that was asked for is gone, and by its name older than what a stage's folder holds."""
    name = re.match(r"step=([0-9]{9,15})-", Path(asked).name) if asked else None
    return name is not None and not Path(str(asked)).is_file() and int(name[1]) < _newest_step(folder)


def _step(checkpoint: Path, identity: dict[str, str]) -> int:
    """Return the step of a checkpoint: as its name says it, for it is looked at when it is loaded, or of this run."""
    for found in named_checkpoints(checkpoint.parent):
        if found.path == checkpoint:
            return found.step
    content = load_verified(checkpoint)
    check_run(content, identity, checkpoint)
    return int(content["global_step"])


def _newest_step(folder: Path) -> int:
    return max((found.step for found in named_checkpoints(folder / FOLDER)), default=-1)


def _resume(config: dict[str, Any]) -> str:
    """Return how a start goes on: a job that Slurm started again was begun by its first start."""
    asked = str(config["resume"] or "auto")
    if slurm.number("SLURM_RESTART_COUNT") and config["resume"] in (None, "never"):
        return "required"
    return asked


@contextmanager
def attempt(
    folder: Path,
    stages: list[Path],
    config: dict[str, Any],
    data: Sequence[tuple[FaceDataModule, FaceDataModule | None]],
) -> Iterator[Attempt]:
    """Begin a start of a run, and note its end.

    Args:
        folder: of the run, held against others.
        stages: folders of its stages.
        config: with `resume`, `ckpt_path` and `max_stuck_restarts`.
        data: what unfinished stages train and test on.

    Raises:
        UsageError: `resume` beside `ckpt_path`.
        MissingInputError: there must be a run to go on with, and there is none.
        CrashLoopError: it was started too often without getting further.
    """
    resume = _resume(config)
    if config["resume"] and config["ckpt_path"]:
        raise UsageError(f"--ckpt_path {config['ckpt_path']} names where to go on from, --resume looks for it; use one")
    if resume == "required" and not (folder / IDENTITY_FILE).is_file():
        raise MissingInputError(
            f"{folder}: holds no run to go on with (--resume required, the default after a restart by Slurm); "
            "name the run's folder with --out, or begin one with --resume auto"
        )
    if is_first_process():
        for own in {folder, *stages}:
            for place in (own, own / FOLDER, own / "export", own / "figures"):
                remove_temporary(place)
            if resume == "never":  # also of stages that were finished: the run is not
                (own / DONE).unlink(missing_ok=True)
                replace_all(own / FOLDER)
    run = Attempt(run_id(folder), resume)
    begin_attempt(folder, _progress(stages, data), config["max_stuck_restarts"])
    try:
        yield run
    except InterruptedRunError as error:
        end_attempt(folder, INTERRUPTED)
        # whoever was interrupted knows nothing of the command; a job that Slurm starts again goes on all the same
        if resume == "never" and "SLURM_JOB_ID" not in os.environ and str(error).endswith(" goes on"):
            raise InterruptedRunError(f"{error} if --resume never is left out") from error
        raise
    except BaseException as error:
        end_attempt(folder, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        raise
    end_attempt(folder, ENDED)


def _progress(stages: list[Path], data: Sequence[tuple[FaceDataModule, FaceDataModule | None]]) -> list[int]:
    """How far a run is: finished stages, steps in the newest checkpoint of the others, blocks of its features."""
    if not is_first_process():  # only the first one notes it
        return []
    finished = [own for own in stages if (own / DONE).is_file()]
    steps = [found.step for own in stages if own not in finished for found in named_checkpoints(own / FOLDER)]
    caches = {cache for train, _ in data for cache in cache_folders(train, train.views)}
    caches |= {cache for _, test in data if test is not None for cache in cache_folders(test, 1)}
    blocks = sum(1 for cache in caches for _ in cache.glob("*.safetensors"))
    return [len(finished), max(steps, default=0), blocks]
