"""Checkpoints that are whole or absent, say what they hold in their name, and are not trusted blindly.

`step=000000123-<sha256>.ckpt`: one rename commits content and digest together. PyTorch's own format does not check
itself: of one-bit flips in a saved file 99 % load, to wrong weights.
"""

import contextlib
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO

from emonet_lightning.encoder_files import digest_record, remember_digest, weights_digest
from emonet_lightning.errors import DataError, MissingInputError, OutputError, UsageError
from emonet_lightning.io import atomic_write, atomic_write_named, make_folder, sha256_file
from emonet_lightning.messages import is_first_process, say

FOLDER = "checkpoints"
SET_ASIDE, REPLACED = "set_aside", "replaced"
DIGEST = "{sha256}"
"""In a path to save to: where the digest shall stand."""
_NAME = re.compile(r"step=(\d{9,})-([0-9a-f]{64})\.ckpt")
_LARGEST_STEP = 10**15
_NEEDED = ("state_dict", "global_step", "epoch", "loops", "optimizer_states", "lr_schedulers", "callbacks")


class DamagedCheckpoint(DataError):
    """A file that is no checkpoint, or not any more."""


class ForeignCheckpoint(DataError):
    """A checkpoint that is whole, but of another run."""


def checkpoint_name(step: int) -> str:
    """Return the name to save under, for `VerifiedCheckpointIO`."""
    return f"step={step:09d}-{DIGEST}.ckpt"


class Named(NamedTuple):
    """A checkpoint of this project, by what its name says."""

    step: int
    sha256: str
    path: Path


def named_checkpoints(folder: Path | str) -> list[Named]:
    """Return the checkpoints of a folder that say their digest, the newest first; nothing is read."""
    found = ((path, _NAME.fullmatch(path.name)) for path in Path(folder).glob("*.ckpt"))
    return sorted((Named(int(name[1]), name[2], path) for path, name in found if name), reverse=True)


class VerifiedCheckpointIO(CheckpointIO):
    """How the Trainer writes and reads checkpoints: atomically, verified after the save, code is never run."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint; where the path's name holds `{sha256}`, its digest takes that place.

        Raises:
            OutputError: too little space, refused by the operating system, or not read back as written.
        """
        path = Path(path)
        make_folder(path.parent)
        need, free = _num_bytes(checkpoint), shutil.disk_usage(path.parent).free
        if free < 1.1 * need:
            raise OutputError(
                f"{path.parent}: {free // 2**20} MiB are free, a checkpoint takes {need // 2**20}; make space, "
                "the checkpoints before are kept"
            )
        if DIGEST in path.name:
            written = atomic_write_named(
                path.parent,
                lambda stream: torch.save(checkpoint, cast(BinaryIO, stream)),
                lambda digest: path.name.replace(DIGEST, digest),
            )
            name = _NAME.fullmatch(written.name)
            if name and sha256_file(written) != name[2]:
                raise OutputError(
                    f"{written}: was not read back as it was written; the disk is failing, choose another"
                )
        else:
            # a name that is written again: without a record, a kill between the two leaves no digest to differ from
            with contextlib.suppress(OSError):
                digest_record(path).unlink(missing_ok=True)
            remember_digest(path, atomic_write(path, lambda temporary: torch.save(checkpoint, temporary)))

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint to go on from; see `load_verified`."""
        return load_verified(path)

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)


def load_verified(path: Path | str) -> dict[str, Any]:
    """Return the content of a checkpoint on the CPU, after its digest, counters and values were looked at.

    The digest is that of its name; of a file without, the one that was recorded when it was written or first used.

    Raises:
        UsageError: an address on a network.
        MissingInputError: no such file.
        DamagedCheckpoint: damaged, no checkpoint, impossible counters, or values that are not finite.
        OutputError: the operating system does not read it.
    """
    if "://" in str(path):
        raise UsageError(f"{path}: a checkpoint is a local file; download it, look at its digest, and name the file")
    path = Path(path)
    if not path.is_file():
        raise MissingInputError(f"{path}: no such checkpoint")
    name = _NAME.fullmatch(path.name)
    try:
        if name is None:
            _compare_with_record(path)
        elif (found := sha256_file(path)) != name[2]:
            raise DamagedCheckpoint(f"{path}: damaged checkpoint (sha256 {found[:12]}, its name says {name[2][:12]})")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (DamagedCheckpoint, MissingInputError):
        raise
    except OSError as error:
        raise _unreadable(path, error) from error
    except Exception as error:  # PyTorch raises RuntimeError, EOFError, UnpicklingError, KeyError, ...
        reason = " ".join(str(error).split("\n")[0].split())[:150] or type(error).__name__
        raise DamagedCheckpoint(f"{path}: not a checkpoint that can be read without running code ({reason})") from error
    _check_content(path, content, int(name[1]) if name else None)
    return cast(dict[str, Any], content)


def _compare_with_record(path: Path) -> None:
    try:
        weights_digest(path, verify=True)
    except DataError as error:
        raise DamagedCheckpoint(
            f"{path}: content changed since first use: copy the checkpoint again if it is damaged; if it was replaced "
            f"on purpose, delete {digest_record(path)}"
        ) from error


def _unreadable(path: Path, error: OSError) -> OutputError | MissingInputError:
    if isinstance(error, FileNotFoundError):
        return MissingInputError(f"{path}: no such checkpoint")
    return OutputError(f"{path}: cannot be read ({error.strerror or error})")


def check_run(checkpoint: Mapping[str, Any], expected: Mapping[str, str], where: Path | str) -> None:
    """Compare what a checkpoint says of its run with this run.

    Args:
        checkpoint: content.
        expected: `run` (id), `taxonomy`, `encoder` and whatever else is known, each a fingerprint.
        where: named in errors.

    Raises:
        ForeignCheckpoint: another run's.
        DataError: this run's, with another taxonomy order, encoder or preprocessing.
    """
    recorded = checkpoint.get("run") or {}
    for key, now in expected.items():
        before = recorded.get(key)
        if before == now:
            continue
        text = f"{where}: checkpoint with {key} {str(before)[:16]}, this run has {now[:16]}"
        if key == "run":
            raise ForeignCheckpoint(f"{text}; to begin with its heads use --model.init_heads_from and another --out")
        raise DataError(f"{text}; use what it was trained with, or another --out")


def newest_valid(folder: Path | str, expected: Mapping[str, str]) -> Path | None:
    """Return the newest checkpoint by step that is whole, of this run, and complete; None where there is none at all.

    Damaged files and those of other runs are moved to `set_aside/` and named; those that the operating system does
    not read are named and stay.

    Raises:
        DataError: there are checkpoints, but none that can be used; or another encoder, taxonomy or preprocessing.
    """
    folder = Path(folder)
    refused: list[str] = []
    for path in _newest_first(folder, refused):
        try:
            content = load_verified(path)
            check_run(content, expected, path)
            _check_companions(folder, content)
            return path
        except MissingInputError:  # another process set it aside meanwhile
            continue
        except (DamagedCheckpoint, ForeignCheckpoint) as error:
            refused.append(str(error))
            _set_aside(path, str(error))
        except OutputError as error:
            refused.append(_pass_over(error))
    if not refused and any((folder / SET_ASIDE).glob("*")):
        refused.append(f"all are in {SET_ASIDE}/")
    if refused:
        raise DataError(
            f"{folder}: no checkpoint can be used ({refused[0]}); copy a good one back, "
            "or begin anew with --resume never"
        )
    return None


def replace_all(folder: Path | str) -> None:
    """Move all checkpoints of a folder, used or set aside, to `replaced/`: a run begins anew."""
    folder = Path(folder)
    for path in sorted([*folder.glob("*.ckpt"), *(folder / SET_ASIDE).glob("*")]):
        _set_aside(path, f"{path}: the run begins anew", folder / REPLACED)


def best_heads_files(folder: Path, steps: list[int]) -> set[Path]:
    """Return the files of best heads that checkpoints of these steps can name: of each the last two up to it."""
    files = {int(path.stem.partition("=")[2]): path for path in folder.glob("best_heads-step=*.safetensors")}
    return {files[own] for step in steps for own in sorted(own for own in files if own <= step)[-2:]}


def _newest_first(folder: Path, refused: list[str]) -> Iterator[Path]:
    """Yield all checkpoints by falling step; only those that do not say theirs are read for it."""
    steps = [(found.step, found.path) for found in named_checkpoints(folder)]
    for path in folder.glob("*.ckpt"):
        if not _NAME.fullmatch(path.name):
            try:
                steps.append((int(load_verified(path)["global_step"]), path))
            except MissingInputError:
                continue
            except DamagedCheckpoint as error:
                _set_aside(path, str(error))
            except OutputError as error:
                refused.append(_pass_over(error))
    yield from (path for _, path in sorted(steps, reverse=True))


def _pass_over(error: OutputError) -> str:
    say(f"{error}; the one before is tried")
    return str(error)


def _set_aside(path: Path, reason: str, folder: Path | None = None) -> None:
    if not is_first_process():
        return
    target = make_folder(folder or path.parent / SET_ASIDE) / path.name
    for number in range(1, 1000):
        if not target.exists():
            break
        target = target.with_name(f"{path.name}.{number}")
    path.rename(target)
    say(f"{reason}; moved to {target.parent}/")


def _check_companions(folder: Path, content: Mapping[str, Any]) -> None:
    """Look at the files that a checkpoint names: the best heads so far."""
    for state in content["callbacks"].values():
        file = state.get("file") if isinstance(state, dict) else None
        if file:
            path = folder / str(file["name"])
            try:
                whole = path.is_file() and sha256_file(path) == file["sha256"]
            except OSError as error:
                raise _unreadable(path, error) from error
            if not whole:
                step = content["global_step"]
                raise DamagedCheckpoint(f"{path}: best heads of the checkpoint of step {step} are missing or damaged")


def _check_content(path: Path, content: Any, step: int | None) -> None:
    if not isinstance(content, dict) or any(key not in content for key in _NEEDED):
        raise DamagedCheckpoint(f"{path}: not a checkpoint of a run; heads alone are used with --model.init_heads_from")
    for key in ("global_step", "epoch"):
        value = content[key]
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _LARGEST_STEP:
            raise DamagedCheckpoint(f"{path}: impossible checkpoint: {key} is {value}")
    if step is not None and content["global_step"] != step:
        raise DamagedCheckpoint(f"{path}: impossible checkpoint: global_step is {content['global_step']}")
    for group in ("state_dict", "optimizer_states"):
        for name, value in _tensors(content[group], group):
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise DamagedCheckpoint(f"{path}: impossible checkpoint: '{name}' holds values that are not finite")


def _tensors(content: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(content, torch.Tensor):
        yield name, content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from _tensors(value, f"{name}.{key}")
    elif isinstance(content, list | tuple):
        for number, value in enumerate(content):
            yield from _tensors(value, f"{name}.{number}")


def _num_bytes(content: Any) -> int:
    return sum(value.numel() * value.element_size() for _, value in _tensors(content, "")) + 2**16
