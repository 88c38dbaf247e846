"""Samples that cannot be used while the others can: skipped, counted by reason, listed, and only so many of them.

Whoever reads many samples keeps a budget. Within it a bad sample is left out and named in a file; beyond it the work
ends with an error that names the first ten. Nothing is ever left out without a line.
"""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.io import atomic_write, read_bytes

BAD_SAMPLES = "bad_samples.jsonl"
OPTION = "max_bad_fraction"
TRAINING = 0.001
"""Share of training samples that may be bad, unless an option says otherwise; of validation and test samples, none."""
NAMED = 10
"""Bad samples that an error names."""


class BadSample(DataError):
    """One sample is bad: `reason` in a word or two, the message as a line that names it."""

    def __init__(self, message: str, reason: str = "damaged") -> None:
        super().__init__(message)
        self.reason = reason


class Skip(NamedTuple):
    """A sample that was left out."""

    sample: str
    """Its key."""
    file: str
    """Where it is from."""
    reason: str
    error: str


class SkipBudget:
    """How many samples may be bad, and which were.

    Args:
        what: is read, to name in the error.
        expected: number of samples that should be there.
        fraction: of them that may be bad.
    """

    def __init__(self, what: str, expected: int, fraction: float) -> None:
        self.what = what
        self.expected = expected
        self.fraction = fraction
        self.allowed = int(fraction * expected + 1e-9)
        self.skips: list[Skip] = []

    def add(self, skip: Skip) -> None:
        """Count one.

        Raises:
            DataError: there are too many, and enough of them to name.
        """
        self.skips.append(skip)
        if len(self.skips) >= self.allowed + NAMED:
            self.check()

    def check(self) -> None:
        """Compare with the budget.

        Raises:
            DataError: there are too many; names the first ten.
        """
        if len(self.skips) <= self.allowed:
            return
        first, *others = self.skips[:NAMED]
        also = "".join(f", '{skip.sample}' ({skip.reason})" for skip in others)
        raise DataError(
            f"{first.error} ({self.what}: {len(self.skips)} bad of {self.expected} samples, {OPTION} "
            f"{self.fraction:g} allows {self.allowed}" + (f"; also{also[1:]}" if also else "") + ")"
        )


def check_fraction(name: str, value: float) -> None:
    """Refuse a budget that is no share.

    Raises:
        UsageError: not in 0 .. 1.
    """
    if not 0 <= value <= 1:
        raise UsageError(f"{name}: {value} must be a share from 0 to 1")


def reasons(skips: Iterable[Skip]) -> dict[str, int]:
    """Return how many were left out for which reason, by name."""
    return dict(sorted(Counter(skip.reason for skip in skips).items()))


def in_words(counts: dict[str, int]) -> str:
    """Return counts by reason as `3 truncated, 1 format`."""
    return ", ".join(f"{count} {reason}" for reason, count in counts.items())


def write_bad_samples(path: Path, skips: Iterable[Skip]) -> None:
    """Write what was left out, a JSON line each."""
    lines = [json.dumps(skip._asdict(), ensure_ascii=False) for skip in skips]
    atomic_write(path, "".join(f"{line}\n" for line in lines))


def read_bad_samples(path: Path) -> tuple[list[Skip], int]:
    """Read what `write_bad_samples` wrote: what was left out, and how many lines are damaged."""
    found = [_listed(line) for line in read_bytes(path).splitlines()]
    return [skip for skip in found if skip is not None], found.count(None)


def _listed(line: bytes) -> Skip | None:
    """Return what a line of the list says; None of a damaged one."""
    try:
        skip = Skip(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None
    return skip if all(isinstance(part, str) for part in skip) else None
