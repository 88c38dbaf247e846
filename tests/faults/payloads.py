"""Files, names and addresses that would run code or open a connection where they are trusted."""

import functools
import io
import os
import pickle
import socket
import tarfile
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch


class Calls:
    """A value that, unpickled, is the call of a function."""

    def __init__(self, function: Callable[..., Any], *words: Any) -> None:
        self._call = function, words

    def __reduce__(self) -> Any:
        return self._call


class Listener:
    """A socket on this machine that counts who connects."""

    def __init__(self) -> None:
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            connection.close()

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


def calls(canary: Path, url: str) -> dict[str, Calls]:
    """Values that leave a canary, or connect, when a pickle of them is read."""
    write = f"open({str(canary)!r}, 'w').close()"
    return {
        "os.system": Calls(os.system, f"touch {canary}"),
        "exec": Calls(exec, write),
        "eval": Calls(eval, write),
        "pathlib": Calls(Path.touch, canary),
        "nested pickle": Calls(pickle.loads, pickle.dumps(Calls(os.system, f"touch {canary}"))),
        "connection": Calls(urllib.request.urlopen, url),
        "partial": Calls(functools.partial(os.system, f"touch {canary}").__call__),
    }


def _saved(content: Any, zipped: bool = True) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


def containers(call: Calls, state: dict[str, Any]) -> dict[str, bytes]:
    """A call in files of each form that holds tensors.

    Args:
        call: what must not be run.
        state: what such a file should hold.
    """
    array = io.BytesIO()
    np.save(array, np.array([call], dtype=object), allow_pickle=True)
    return {
        "zip": _saved({**state, "more": call}),
        "zip, first": _saved([call, state]),
        "legacy": _saved({**state, "more": call}, zipped=False),
        "pickle": pickle.dumps({**state, "more": call}),
        "protocol 0": pickle.dumps(call, protocol=0),
        "npy": array.getvalue(),
    }


def with_member(shard: Path, name: str, content: bytes) -> None:
    """Add a member to a shard."""
    with tarfile.open(shard, "a") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))


def yaml_texts(canary: Path) -> dict[str, str]:
    """YAML that a reader which is not safe would run."""
    touch = f"touch {canary}"
    return {
        "apply": f"neutral: !!python/object/apply:os.system ['{touch}']\n",
        "new": f"neutral: !!python/object/new:subprocess.Popen [['touch', '{canary}']]\n",
        "name": "neutral: !!python/name:os.system\n",
        "module": "neutral: !!python/module:evil_module\n",
        "key": f"? !!python/object/apply:os.system ['{touch}']\n: 1\n",
        "verbatim": f"neutral: !<tag:yaml.org,2002:python/object/apply:os.system> ['{touch}']\n",
        "directive": f"%TAG ! tag:yaml.org,2002:python/object/apply:\n---\nneutral: !os.system ['{touch}']\n",
    }
