"""A command under limits: how long it took and how much memory, told in a file, in a child that may not take more."""

import json
import os
import resource
import time
from collections.abc import Sequence
from pathlib import Path

NOTE = "EMONET_LIMITS_NOTE"
GIBIBYTE = 2**30


def limited(argv: Sequence[str]) -> int:
    """Run a command line with at most 1 GiB of memory beside what is there; tells seconds and the peak.

    The peak is of all that the process has in memory, libraries included.
    """
    from emonet_lightning.cli import main

    own = _kibibytes("VmData") * 1024 + GIBIBYTE
    resource.setrlimit(resource.RLIMIT_DATA, (own, own))
    started, code = time.perf_counter(), 1
    try:
        code = main(list(argv))
    except SystemExit as error:
        code = int(error.code or 0)
    finally:
        told = {"seconds": time.perf_counter() - started, "peak": _kibibytes("VmHWM") * 1024}
        Path(os.environ[NOTE]).write_text(json.dumps(told))
    return code


def _kibibytes(field: str) -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0])
