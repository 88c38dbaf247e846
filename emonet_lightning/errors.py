"""Errors that a user can act on, each with the process exit code that it leads to.

The exit codes are a documented contract (README) for schedulers: sysexits.h values where one fits.
"""

import difflib
from collections.abc import Iterable


class EmoNetError(Exception):
    """A problem that its user can mend: the message is one line that names the thing and the remedy."""

    exit_code = 70


class UsageError(EmoNetError):
    """An option is unknown or does not fit the others (exit 2)."""

    exit_code = 2


class CrashLoopError(EmoNetError):
    """A run was started again and again without getting further (exit 70)."""


class DataError(EmoNetError):
    """Input was read and is wrong (exit 65)."""

    exit_code = 65


class MissingInputError(EmoNetError):
    """Input that was named does not exist (exit 66)."""

    exit_code = 66


class OutputError(EmoNetError):
    """A file could not be read or written by the operating system (exit 74)."""

    exit_code = 74


class InterruptedRunError(EmoNetError):
    """The run was asked to stop and can be resumed (exit 75)."""

    exit_code = 75


class SaidElsewhere(EmoNetError):
    """Another process of the run has printed the cause; this one only ends, with the same exit code.

    Args:
        exit_code: of the process that failed first.
        seen: what this process met, which often is no more than the other one's absence.
    """

    def __init__(self, exit_code: int, seen: str) -> None:
        super().__init__(seen)
        self.exit_code = exit_code


class EnvironmentProblem(EmoNetError):
    """The machine lacks something: network, a package, a device (exit 78)."""

    exit_code = 78


def code_of(error: BaseException) -> int:
    """Return the exit code that an error leads to: 1 for one that nobody has foreseen."""
    if isinstance(error, EmoNetError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return InterruptedRunError.exit_code
    return OutputError.exit_code if isinstance(error, OSError) else 1


def nearest(name: str, choices: Iterable[str], count: int = 3) -> str:
    """Return a phrase that offers the names closest to `name`, or the first choices if none is close."""
    choices = list(choices)
    by_lower = {choice.lower(): choice for choice in choices}
    close = [by_lower[found] for found in difflib.get_close_matches(name.lower(), by_lower, n=count, cutoff=0.5)]
    if close:
        return "did you mean " + " or ".join(repr(choice) for choice in close) + "?"
    return "choose from " + ", ".join(repr(choice) for choice in choices[:12]) + (", ..." if len(choices) > 12 else "")
