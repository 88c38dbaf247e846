"""Write sites: every point of writing every kind of file that a command passes, found by running it once."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import forking
import moments

from emonet_lightning.fail_points import VARIABLE

ERRNOS = ("EACCES", "ENOSPC", "EIO", "EROFS", "EDQUOT")
AGAIN = "again "
"""Begins the command of a site that is passed when the run goes on."""


class Site(NamedTuple):
    """A point of writing a kind of file.

    Args:
        command: that writes it.
        pattern: of the file's name.
        point: of `fail_points.POINTS`.
        times: how often the command passes it.
    """

    command: str
    pattern: str
    point: str
    times: int = 1

    def fails(self, action: str, nth: int = 1) -> dict[str, str]:
        """Environment in which it fails: `kill`, or an error of the operating system."""
        return {VARIABLE: f"{self.pattern}@{self.point}={action}#{nth}"}

    def __str__(self) -> str:
        return f"{self.command} {self.pattern}@{self.point}"


def kind(name: str) -> str:
    """Pattern of the files that are of a kind with this one."""
    name = re.sub(r"step=\d+", "step=*", name)
    name = re.sub(r"\*-x\.ckpt$", "*.ckpt", name)
    name = re.sub(r"^.*\.(pth|png|pdf)$", r"*.\1", name)
    return re.sub(r"\d{3,}", "*", re.sub(r"[0-9a-f]{16,}", "*", name))


def sites_of(command: str, argv: Sequence[str], environment: dict[str, str], note: Path) -> list[Site]:
    """Run a command and return the sites that it passed, in the order of their first time."""
    own = {**environment, VARIABLE: moments.NEVER, moments.RECORD: str(note)}
    code, said = forking.run(argv, 120, env=own, target=moments.recorded)
    assert code == 0, said[-500:]
    passed: Counter[tuple[str, str]] = Counter()
    for line in note.read_text().splitlines():
        name, _, point = line.rpartition(" ")
        passed[kind(name), point] += 1
    return [Site(command, pattern, point, times) for (pattern, point), times in passed.items()]
