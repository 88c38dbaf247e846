"""Processes forked from one that has imported everything: no run of many pays for imports.

The fork server has one thread and no device, so a fork of it is as good as a new interpreter. There is one in a
process; whoever asks first says what it imports.
"""

import multiprocessing
import os
import tempfile
from collections.abc import Mapping, Sequence

ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
"""Variables of the process that is forked: threads do not live through a fork."""
context = multiprocessing.get_context("forkserver")


def serve(preload: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Start the fork server, where it is not there; it imports while this process goes on.

    Args:
        preload: modules that it imports.
        environment: variables of its own, beside those that keep it to one thread.
    """
    from multiprocessing import forkserver

    own = {**ONE_THREAD, **(environment or {})}
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        context.set_forkserver_preload(list(preload))
        forkserver.ensure_running()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def settle(environment: Mapping[str, str], folder: str) -> None:
    """Make a process that was just forked like one that was started with these variables in this folder."""
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    os.chdir(folder)
    multiprocessing.set_start_method(None, force=True)  # of workers: as in a process that was not forked from a server
