"""A `python` for the shell of a test: `python -m emonet_lightning ...` is forked from a process that has imported all.

`place` writes it into a folder of the PATH; everything else that is asked of it is done by the real interpreter. Its
standard streams, folder, variables and exit code are the caller's.
"""

import atexit
import contextlib
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path

from emonet_lightning.fork_server import ONE_THREAD, settle

_CLIENT = """#!{python} -IS
import json, os, signal, socket, sys
if sys.argv[1:3] != ["-m", "emonet_lightning"]:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
told = json.dumps({{"argv": sys.argv[3:], "cwd": os.getcwd(), "env": dict(os.environ)}}).encode()
socket.send_fds(server, [len(told).to_bytes(8, "little")], [0, 1, 2])
server.sendall(told)
answer = server.makefile("rb")
child = int(answer.readline())
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: os.kill(child, number))
code = answer.readline()
sys.exit(int(code) if code else 70)
"""


@contextlib.contextmanager
def place(folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Write `python` into a folder and serve it.

    Args:
        folder: where to; nobody else's.
        environment: of the process that imports the project and is forked.
    """
    address = str(folder / "socket")
    server = subprocess.Popen(
        [sys.executable, __file__, address], env={**environment, **ONE_THREAD}, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        script = folder / "python"
        script.write_text(_CLIENT.format(python=sys.executable, address=address))
        script.chmod(0o755)
        yield
    finally:
        server.kill()
        server.wait()


def _serve(address: str) -> None:
    import lightning  # noqa: F401  what most commands import
    import sklearn.linear_model  # noqa: F401
    import timm  # noqa: F401
    import webdataset  # noqa: F401

    import emonet_lightning.cli
    import emonet_lightning.packing.commands
    import emonet_lightning.recognizer
    import emonet_lightning.reporting.run_report
    import emonet_lightning.run_cli
    import emonet_lightning.stages  # noqa: F401

    gc.freeze()  # a collection in a fork would write to, and so copy, every page
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        while True:
            caller, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _attend(caller)
            caller.close()


def _attend(caller: socket.socket) -> None:
    """Fork the command, and tell the caller its number and then its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, streams, _, _ = socket.recv_fds(caller, 8, 3)
    with caller.makefile("rb") as incoming:
        told = json.loads(incoming.read(int.from_bytes(length, "little")))
    child = os.fork()
    if child == 0:
        os.setsid()
        caller.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        settle(told["env"], told["cwd"])
        sys.argv = ["emonet_lightning", *told["argv"]]
        os._exit(_command())
    caller.sendall(f"{child}\n".encode())
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    caller.sendall(f"{code if code >= 0 else 128 - code}\n".encode())
    os._exit(0)


def _command() -> int:
    """Run `python -m emonet_lightning`; an interpreter's end without taking down what the server had imported."""
    try:
        runpy.run_module("emonet_lightning", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    _serve(sys.argv[1])
