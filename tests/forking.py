"""Commands of the project as children of one process that has imported everything: no trial pays for imports.

A child is a session of its own, so that its workers can be signalled with it. What is killed, is killed by its id.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emonet_lightning import fork_server
from emonet_lightning.fork_server import ONE_THREAD

PRELOADED = [
    "emonet_lightning.cli", "emonet_lightning.stages", "emonet_lightning.run_cli", "emonet_lightning.export",
    "emonet_lightning.reporting.run_report", "emonet_lightning.packing.commands", "emonet_lightning.packing.shards",
    "emonet_lightning.data.embed_command", "timm", "open_clip", "webdataset", "torch.distributed", "scipy.stats",
    "torch._dynamo", "torchvision.transforms", "sklearn.metrics", "warm",
]  # fmt: skip


class Child:
    """A command that runs.

    Args:
        process: from the fork server, or an interpreter of its own.
        stdout: file of what it prints.
        stderr: file of what it says.
    """

    def __init__(self, process: Any, stdout: Path, stderr: Path) -> None:
        self._process = process
        self.pid: int = process.pid
        self.stdout = stdout
        self.stderr = stderr

    def poll(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        if isinstance(self._process, subprocess.Popen):
            return self._process.poll()
        code: int | None = self._process.exitcode
        return code

    def wait(self, timeout: float) -> int:
        """Exit code, negative for a signal; a child that is not done by then is killed.

        Raises:
            TimeoutError: it was; the message ends with what it said last.
        """
        deadline = time.monotonic() + timeout
        if isinstance(self._process, subprocess.Popen):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        else:
            self._process.join(timeout)
        code = self.poll()
        if code is None:
            self.kill(signal.SIGKILL, group=True)
            raise TimeoutError(f"not done after {timeout:.0f} s; it said: {self.said()[-500:]}")
        assert time.monotonic() < deadline + 60
        return code

    def watch(self, seconds: float, until: Callable[[], bool] = lambda: False) -> int | None:
        """Exit code if it ends within that time, or before something is so; else None."""
        deadline = time.monotonic() + seconds
        while self.poll() is None and time.monotonic() < deadline and not until():
            time.sleep(0.002)
        return self.poll()

    def kill(self, number: int = signal.SIGKILL, group: bool = False) -> bool:
        """Send a signal to the process, or to its whole session; returns whether it was still there."""
        if self.poll() is not None and not group:
            return False
        try:
            if group and os.getpgid(self.pid) == self.pid:
                os.killpg(self.pid, number)
            elif self.poll() is None:
                os.kill(self.pid, number)
            return True
        except ProcessLookupError:
            if group:  # the leader is gone, its workers may not be; their group keeps the number from being reused
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, number)
            return False

    def said(self) -> str:
        """What it has said so far (standard error)."""
        return self.stderr.read_text(errors="replace")


def start(
    argv: Sequence[str],
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    fresh: bool = False,
    target: Callable[[Sequence[str]], int] | None = None,
) -> Child:
    """Start a command of the project.

    Args:
        argv: after `python -m emonet_lightning`.
        env: variables beside those of this process.
        cwd: to run in.
        fresh: start an interpreter instead of forking: seconds slower, and all of its start-up is there.
        target: called with argv instead of the command line; returns the exit code. A function of a module.
    """
    folder = Path(tempfile.mkdtemp(prefix="child-"))
    stdout, stderr = folder / "stdout", folder / "stderr"
    stdout.touch()
    stderr.touch()
    environment = {**os.environ, **ONE_THREAD, **(env or {})}
    if fresh:
        with stdout.open("wb") as out, stderr.open("wb") as err:
            process: Any = subprocess.Popen(
                [sys.executable, "-m", "emonet_lightning", *argv],
                stdout=out, stderr=err, stdin=subprocess.DEVNULL, env=environment, cwd=cwd, start_new_session=True,
                preexec_fn=_listen,
            )  # fmt: skip
    else:
        _serve()
        arguments = (list(argv), environment, str(cwd or os.getcwd()), str(stdout), str(stderr), target)
        process = fork_server.context.Process(target=_child, args=arguments)
        process.start()
    return Child(process, stdout, stderr)


def run(argv: Sequence[str], timeout: float = 120, **options: Any) -> tuple[int, str]:
    """Run a command to its end; returns its exit code and what it said."""
    child = start(argv, **options)
    code = child.wait(timeout)
    return code, child.said()


def start_all(
    argv: Sequence[str],
    env: Mapping[str, str] | None = None,
    extra: Sequence[Mapping[str, str]] = ({}, {}),
    targets: Sequence[Callable[[Sequence[str]], int] | None] = (None, None),
) -> list[Child]:
    """Start all processes of a run, as a scheduler does.

    Args:
        argv: of each.
        env: variables of all of them.
        extra: variables of each process; as many processes are started.
        targets: of `start`, for each process.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    rendezvous = {**(env or {}), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}
    return [
        start(argv, env={**rendezvous, "LOCAL_RANK": str(rank), **own}, target=target)
        for rank, (own, target) in enumerate(zip(extra, targets, strict=True))
    ]


def _serve() -> None:
    """Start the fork server, where it is not there."""
    here = str(Path(__file__).resolve().parent)
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    fork_server.serve(PRELOADED, {"PYTHONPATH": path})


def _listen() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # what runs in the background ignores Ctrl-C


def _child(
    argv: list[str],
    environment: dict[str, str],
    cwd: str,
    stdout: str,
    stderr: str,
    target: Callable[[Sequence[str]], int] | None,
) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for path, number in ((stdout, 1), (stderr, 2)):
        handle = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(handle, number)
        os.close(handle)
    fork_server.settle(environment, cwd)
    sys.argv = ["python -m emonet_lightning", *argv]
    from lightning.fabric.utilities.rank_zero import _get_rank, rank_zero_only

    rank_zero_only.rank = _get_rank() or 0  # found out at its import otherwise
    if target is None:
        from emonet_lightning.cli import main

        target = main
    sys.exit(target(argv))
