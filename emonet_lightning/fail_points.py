"""Named points of writing a file at which a test can make the process die or the operating system refuse.

Off unless the environment asks for it. Every file that must not be lost is written by one function, so these few
points are all the moments at which a kill could leave it half-written.
"""

import errno
import fnmatch
import os
import signal
from collections import Counter
from collections.abc import Callable

VARIABLE = "EMONET_FAILPOINT"
POINTS = ("opened", "half", "written", "synced", "renamed", "folder_synced")
_times: Counter[str] = Counter()


def fail_points(name: str) -> Callable[[str], None]:
    """Return a function that fails at a named point of writing a file, where the variable asks for it.

    `GLOB@POINT=ACTION[#N]`, several separated by commas: at the N-th time that a file of such a name gets to POINT,
    kill this process (`kill`), send it a signal (`SIGTERM`), or raise an error of the operating system (`ENOSPC`).
    """
    asked = os.environ.get(VARIABLE)
    if not asked:
        return lambda point: None

    def failure(point: str) -> None:
        for rule in asked.split(","):
            where, _, action = rule.rpartition("=")
            pattern, _, at = where.rpartition("@")
            action, _, time = action.partition("#")
            if at != point or not fnmatch.fnmatchcase(name, pattern):
                continue
            _times[rule] += 1
            if _times[rule] != int(time or 1):
                continue
            if action == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            elif action.startswith("SIG"):
                os.kill(os.getpid(), signal.Signals[action])
            else:
                raise OSError(getattr(errno, action), os.strerror(getattr(errno, action)))

    return failure
