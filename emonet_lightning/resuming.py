"""One start of a run: what it goes on from, whether it may, and what is noted of how it ended."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emonet_lightning.attempts import DONE as ENDED
from emonet_lightning.attempts import INTERRUPTED, begin_attempt, end_attempt
from emonet_lightning.checkpoints import FOLDER, named_checkpoints, newest_valid, replace_all
from emonet_lightning.data.plan import features_folder
from emonet_lightning.encoders import EncoderSpec, encoder_fingerprint
from emonet_lightning.errors import InterruptedRunError, MissingInputError, UsageError
from emonet_lightning.io import fingerprint, remove_temporary
from emonet_lightning.messages import is_first_process, say
from emonet_lightning.preflight import decisive
from emonet_lightning.run_identity import IDENTITY_FILE, run_id
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

    def checkpoint(self, folder: Path, identity: dict[str, str]) -> Path | None:
        """Return the checkpoint that a stage goes on from; None where it begins.

        Raises:
            DataError: there are checkpoints, but none can be used.
        """
        if self.resume == "never":
            return None
        found = newest_valid(folder / FOLDER, identity)
        if found is not None:
            say(f"{folder}: unfinished; going on from {found}")
        elif self.resume == "required":
            say(f"{folder}: nothing was saved before the restart; it begins")
        return found


@contextmanager
def attempt(folder: Path, stages: list[Path], config: dict[str, Any]) -> Iterator[Attempt]:
    """Begin a start of a run, and note its end.

    Args:
        folder: of the run, held against others.
        stages: folders of its stages.
        config: with `resume`, `ckpt_path`, `max_stuck_restarts` and `data`.

    Raises:
        UsageError: `resume` beside `ckpt_path`.
        MissingInputError: there must be a run to go on with, and there is none.
        CrashLoopError: it was started too often without getting further.
    """
    resume = config["resume"] or ("required" if int(os.environ.get("SLURM_RESTART_COUNT") or 0) else "auto")
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
            if resume == "never" and not (own / DONE).is_file():
                replace_all(own / FOLDER)
    run = Attempt(run_id(folder), resume)
    begin_attempt(folder, _progress(stages, config), config["max_stuck_restarts"])
    try:
        yield run
    except InterruptedRunError:
        end_attempt(folder, INTERRUPTED)
        raise
    except BaseException as error:
        end_attempt(folder, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        raise
    end_attempt(folder, ENDED)


def _progress(stages: list[Path], config: dict[str, Any]) -> list[int]:
    """How far a run is: finished stages, steps in the newest checkpoint of the others, blocks of features."""
    finished = [own for own in stages if (own / DONE).is_file()]
    steps = [found.step for own in stages if own not in finished for found in named_checkpoints(own / FOLDER)]
    options = config["data"]["init_args"] if config["data"] else {}
    blocks = sum(1 for _ in features_folder(options.get("cache_dir")).glob("*/*.safetensors"))
    return [len(finished), max(steps, default=0), blocks]
