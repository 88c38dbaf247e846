"""Trials as processes: forked from one that has imported everything, each `fit` in a session of its own.

The fork server has one thread and no device, so a fork of it is as good as a new interpreter and costs no imports. A
trial ends with its sweep: it watches for the sweep's process, and its file of output is locked, so that a sweep that is
started again at once waits for what a killed one left behind.
"""

import contextlib
import fcntl
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emonet_lightning.io import make_folder

_ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
"""Of the process that is forked: threads do not live through a fork."""
_context = multiprocessing.get_context("forkserver")


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
        serve()
        arguments = (list(words), environment, os.getcwd(), str(log), threads)
        self._process = _context.Process(target=_trial, args=arguments, name=log.stem)
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


def serve() -> None:
    """Start the fork server, where it is not there; it imports while this process goes on."""
    from multiprocessing import forkserver

    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(_ONE_THREAD)
    try:
        _context.set_forkserver_preload(["emonet_lightning.sweeping.warm"])
        forkserver.ensure_running()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


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
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    os.chdir(folder)
    multiprocessing.set_start_method(None, force=True)  # of workers: as in a process that was not forked from a server
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
