"""Trials as processes: forked from one that has imported everything, each `fit` in a session of its own.

A trial ends with its sweep: it watches for the sweep's process, and its file of output is locked, so that a sweep that
is started again at once waits for what a killed one left behind.
"""

import contextlib
import fcntl
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emonet_lightning import fork_server
from emonet_lightning.io import make_folder

PRELOAD = ("emonet_lightning.sweeping.warm",)


class TrialProcess:
    """A trial that runs.

    Args:
        words: of the command line, `fit` first.
        log: file that its output is added to.
        threads: that it computes with.
        gpu: device that it sees, as CUDA_VISIBLE_DEVICES names it; None leaves that as it is.
    """

    def __init__(self, words: Sequence[str], log: Path, threads: int, gpu: str | None) -> None:
        make_folder(log.parent)
        environment = {**os.environ, **({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})}
        environment.pop("SLURM_RESTART_COUNT", None)  # of the sweep: a new trial has no run to go on with
        fork_server.serve(PRELOAD)
        arguments = (list(words), environment, os.getcwd(), str(log), threads)
        self._process = fork_server.context.Process(target=_trial, args=arguments, name=log.stem)
        self._process.start()

    @property
    def sentinel(self) -> Any:
        """What becomes ready when it ends."""
        return self._process.sentinel

    @property
    def exit_code(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def stop(self) -> None:
        """Ask it to save and end."""
        if self._process.is_alive() and self._process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGTERM)


def _trial(words: list[str], environment: Mapping[str, str], folder: str, log: str, threads: int) -> None:
    """Run one trial in this process, which was just forked."""
    os.setsid()
    sweep = multiprocessing.parent_process()
    threading.Thread(target=_end_with, args=(sweep,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(handle, fcntl.LOCK_EX)  # held for as long as anything of this trial lives
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.set_inheritable(1, True)
    fork_server.settle(environment, folder)
    sys.argv = ["python -m emonet_lightning", *words]
    import torch

    torch.set_num_threads(threads)
    from emonet_lightning.cli import main

    sys.exit(main(words))


def _end_with(sweep: Any) -> None:
    """End this session as soon as the sweep's process is gone: nobody would wait for its result."""
    if sweep is not None:
        sweep.join()
        os.killpg(0, signal.SIGKILL)
