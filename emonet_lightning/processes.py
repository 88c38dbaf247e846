"""Several processes of one run: they begin alike, they end together, and one of them says why.

A process that is gone shows in the next collective operation of the others, as an error of the transport. But they may
be in none for minutes (the encode pass), so each also watches those that it can see: parent and children.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from emonet_lightning.errors import EmoNetError, InterruptedRunError, SaidElsewhere, UsageError, code_of
from emonet_lightning.io import fingerprint, sha256_file
from emonet_lightning.meeting import STARTED_BY_FIRST
from emonet_lightning.messages import is_first_process

FAILURE_FILE = ".failure"
_POLL_SECONDS = 0.5
_GRACE_SECONDS = 8.0  # for a process to end by itself after another one has died
_noted: set[Path] = set()
_folders: list[Path] = []  # of the run that this process works at
# of a process: where it reads and writes, and with which devices, workers and threads
_EACH_ITS_OWN = {
    *("out", "ckpt_path", "init_heads_from", "cache_dir", "default_root_dir", "logger", "resume", "max_stuck_restarts"),
    *("accelerator", "devices", "num_nodes", "num_workers", "num_threads", "profiler"),
    *("enable_progress_bar", "enable_model_summary"),
}


def several() -> bool:
    """Whether this run has more than one process."""
    return torch.distributed.is_available() and torch.distributed.is_initialized() and _world_size() > 1


def check_alike(**known: str) -> None:
    """Compare what every process knows, as fingerprints; nothing where there is one process.

    Raises:
        UsageError: one differs; names what, and which process.
    """
    if not several():
        return
    every: list[Any] = [None] * _world_size()
    torch.distributed.all_gather_object(every, known)
    for rank, other in enumerate(every):
        for key, value in every[0].items():
            if other.get(key) != value:
                raise UsageError(
                    f"process {rank} has other {key} ({str(other.get(key))[:24]}) than process 0 ({value[:24]}); start "
                    "all of them with the same code, configuration and files"
                )


def run_fingerprints(config: dict[str, Any]) -> dict[str, str]:
    """Return what all processes of a run must have in common before they train, each as a short text.

    Args:
        config: resolved, with the checkpoint that this process goes on from: one may have found another one damaged.
    """
    checkpoint = config.get("ckpt_path")
    return {
        "configuration": fingerprint(_in_common(config)),
        "checkpoint to go on from": Path(checkpoint).name if checkpoint else "none",
    }


def _in_common(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _in_common(inner) for key, inner in value.items() if key not in _EACH_ITS_OWN}


def code_fingerprint() -> str:
    """Digest of this package's source files and PyTorch's version."""
    root = Path(__file__).parent
    files = {str(path.relative_to(root)): sha256_file(path) for path in sorted(root.rglob("*.py"))}
    return fingerprint([files, torch.__version__.partition("+")[0]])


# -- one of them says why --------------------------------------------------------------------------------------------


@contextmanager
def said_once(folder: Path) -> Iterator[None]:
    """Let only the process that failed first say why; an error of the transport becomes one line.

    Raises:
        SaidElsewhere: another process has said it.
    """
    if is_first_process():
        (folder / FAILURE_FILE).unlink(missing_ok=True)
    _folders.append(folder)
    try:
        yield
    except Exception as error:
        if not several():
            raise
        plain = error
        if not isinstance(error, EmoNetError) and is_transport_error(error):
            plain = InterruptedRunError(f"{folder}: a process of this run has died; the same command goes on")
        if not note_failure(folder, plain):
            raise SaidElsewhere(noted_code(folder), str(plain)) from error
        if plain is error:
            raise
        raise plain from error
    else:
        if is_first_process():
            (folder / FAILURE_FILE).unlink(missing_ok=True)
    finally:
        _folders.remove(folder)


def note_failure(folder: Path, error: BaseException | None = None) -> bool:
    """Say that this process has failed, and the exit code that it leads to, for all processes to end with.

    Args:
        folder: of the run.
        error: why; the exception that is being handled by default.

    Returns:
        Whether it is the first process that failed.
    """
    if folder in _noted:
        return True
    try:
        handle = os.open(folder / FAILURE_FILE, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return False
    except OSError:  # a folder that cannot be written: better said twice than never
        return True
    _noted.add(folder)
    with contextlib.suppress(OSError), open(handle, "w") as stream:  # without a code the others end as interrupted
        stream.write(f"{exit_code(error or sys.exception())}\n")
    return True


def noted_code(folder: Path, default: int = InterruptedRunError.exit_code) -> int:
    """Return the exit code of the process that failed first; `default` where none is noted."""
    for _ in range(10):  # between the file and its content
        try:
            return int((folder / FAILURE_FILE).read_text())
        except ValueError:
            time.sleep(_POLL_SECONDS / 10)
        except OSError:
            break
    return default


def exit_code(error: BaseException | None) -> int:
    """Return the code that a run ends with after an error; none is an end from outside."""
    if error is None or is_transport_error(error):
        return InterruptedRunError.exit_code
    return UsageError.exit_code if isinstance(error, MisconfigurationException) else code_of(error)


def is_transport_error(error: BaseException) -> bool:
    """Whether an error says no more than that another process is gone."""
    if isinstance(error, torch.distributed.DistError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in text for word in ("gloo", "nccl", "connection closed"))


# -- they end together -----------------------------------------------------------------------------------------------


class WatchedLauncher(_SubprocessScriptLauncher):
    """Starts the processes of further devices, and ends all when one dies: with a line that says so."""

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        """Start the other processes, then call `function`."""
        environment = self.cluster_environment
        environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not environment.creates_processes_externally:
            os.environ[STARTED_BY_FIRST] = str(os.getpid())  # the children inherit it
            self._call_children_scripts()
            threading.Thread(target=_watch_children, args=(self.procs,), daemon=True).start()
        return function(*args, **kwargs)


def watch_parent() -> None:
    """End this process soon after the one that started it, where that was the first process of the run."""
    parent = int(os.environ.get(STARTED_BY_FIRST) or os.getpid())
    if parent != os.getpid() and int(os.environ.get("LOCAL_RANK") or 0) > 0:
        threading.Thread(target=_watch_parent, args=(parent,), daemon=True).start()


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    time.sleep(_GRACE_SECONDS)
    os._exit(_code_of_run())


def _watch_children(children: Sequence[subprocess.Popen[bytes]]) -> None:
    while all(child.poll() is None or child.returncode == 0 for child in children):
        if all(child.returncode == 0 for child in children):
            return
        time.sleep(_POLL_SECONDS)
    time.sleep(_GRACE_SECONDS)  # this process usually meets it in a collective operation, and ends in order
    rank, dead = next((rank, child) for rank, child in enumerate(children, start=1) if child.returncode)
    for child in children:
        with contextlib.suppress(OSError):
            child.kill()
    code = _code_of_run(max(dead.returncode, 0) or InterruptedRunError.exit_code)
    if not _said_by_another():
        how = f"was killed by signal {-dead.returncode}" if dead.returncode < 0 else f"ended with {dead.returncode}"
        goes_on = "; the same command goes on" if code == InterruptedRunError.exit_code else ""
        print(f"error: process {rank} of this run {how}{goes_on}", file=sys.stderr, flush=True)
    os._exit(code)


def _code_of_run(default: int = InterruptedRunError.exit_code) -> int:
    return noted_code(_folders[-1], default) if _folders else default


def _said_by_another() -> bool:
    return bool(_folders) and _folders[-1] not in _noted and (_folders[-1] / FAILURE_FILE).exists()


def _world_size() -> int:
    return int(torch.distributed.get_world_size())
