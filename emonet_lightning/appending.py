"""Files of lines that several processes add to: a line is whole or broken off, never mixed with another."""

import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from emonet_lightning.io import make_folder, write_errors


def append_line(path: Path | str, line_after: Callable[[bytes], str]) -> None:
    """Append one line to a file of lines that several processes may write at once; it is synced before this returns.

    A last line that was broken off (its writer was killed) is left as it is; the new one starts after it.

    Args:
        path: the file; made, with its folder, where it is not there.
        line_after: given the content so far, which nobody changes meanwhile, returns the line.

    Raises:
        OutputError: the operating system refused.
    """
    make_folder(Path(path).parent)
    with write_errors(path), open(path, "a+b", buffering=0) as stream:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0)
        content = stream.read()
        start = "\n" if content and not content.endswith(b"\n") else ""
        line = f"{start}{line_after(content)}\n".encode()
        if stream.write(line) != len(line):
            raise OSError("the file system is full")
        os.fsync(stream.fileno())
