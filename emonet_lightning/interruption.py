"""Being asked to stop: a signal sets a flag, and whoever works looks at it where everything so far is safe.

The handler does nothing else. To save, to log or to talk to other processes in it could meet them half-way through
the same thing, and hang. A second signal ends the process at once.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from emonet_lightning.errors import InterruptedRunError

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_received: int = 0


def install() -> None:
    """Answer SIGTERM, Ctrl-C and SIGUSR1 (sent by schedulers before a time limit) with a flag, from now on."""
    global _received
    _received = 0
    for number in SIGNALS:
        signal.signal(number, _note)


def uninstall() -> None:
    """Answer these signals as Python does."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def installed() -> Iterator[None]:
    """Answer with a flag while a command runs; its caller's handlers are put back."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    install()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def requested() -> str | None:
    """Name of the signal that was received, as SIGTERM; None if there was none."""
    return signal.Signals(_received).name if _received else None


def check(what: str) -> None:
    """Stop here if it was asked for; call it where everything that was done so far is kept.

    Args:
        what: is interrupted, in words.

    Raises:
        InterruptedRunError: a signal was received.
    """
    if _received:
        raise InterruptedRunError(
            f"{what}: interrupted by {requested()}; finished parts are kept, the same command goes on"
        )


def _note(number: int, frame: FrameType | None) -> None:
    global _received
    if _received:
        os._exit(128 + number)
    _received = number
