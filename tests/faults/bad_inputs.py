"""Rows of bad input: what is given to the real command line, and what it has to do about it."""

import contextlib
import io
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import forking

from emonet_lightning.cli import main

EXIT = {"usage": 2, "data": 65, "missing": 66, "io": 74, "interrupted": 75, "environment": 78}


class Place(NamedTuple):
    """Where a row works.

    Args:
        folder: of its own, empty.
        sets: small packed sets by name.
        encoder: options of a small encoder.
    """

    folder: Path
    sets: Mapping[str, Path]
    encoder: Sequence[str]

    @property
    def out(self) -> Path:
        """Folder to write to."""
        return self.folder / "out"

    def fit(self, *words: str) -> list[str]:
        """A short run."""
        return [
            "fit", "--data=SyntheticFaces", f"--data.path={self.sets['big']}", "--data.batch_size=40",
            "--model.widths=[8]", "--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--trainer.devices=1",
            "--trainer.enable_progress_bar=false", "--figures=false", *self.encoder, f"--out={self.out}", *words,
        ]  # fmt: skip


class Told(NamedTuple):
    """What a command said and did."""

    code: int
    stdout: str
    stderr: str


class Row(NamedTuple):
    """One bad input.

    Args:
        name: `row-046 rating 8`.
        do: makes the input and runs the command; returns what is wrong with what it did, or nothing.
        quick: whether it is one of the quick form.
    """

    name: str
    do: Callable[[Place], str | None]
    quick: bool


ROWS: dict[str, Row] = {}
NOT_HERE: dict[str, str] = {}
"""Rows of the catalogue that this project has no place for, with the reason."""


def row(number: int, title: str, quick: bool = True) -> Callable[[Callable[[Place], str | None]], Any]:
    """Enter a row of the catalogue."""

    def enter(do: Callable[[Place], str | None]) -> Callable[[Place], str | None]:
        name = f"row-{number:03d} {title}"
        assert name not in ROWS
        ROWS[name] = Row(name, do, quick)
        return do

    return enter


def run(argv: Sequence[str]) -> Told:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(word) for word in argv])
        except SystemExit as error:
            code = int(error.code or 0)
    return Told(code, out.getvalue(), err.getvalue())


def run_apart(argv: Sequence[str], timeout: float = 120, **options: Any) -> Told:
    """Run a command in a process of its own: another environment, other limits."""
    child = forking.start([str(word) for word in argv], **options)
    code = child.wait(timeout)
    return Told(code, child.stdout.read_text(errors="replace"), child.said())


def run_bound(argv: Sequence[str], timeout: float = 120) -> Told:
    """Run a command without the privileges of an administrator, whom no permission stops."""
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    command = [*drop, sys.executable, "-m", "emonet_lightning", *map(str, argv)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    return Told(done.returncode, done.stdout, done.stderr)


def refused(told: Told, kind: str, says: str, out: Path | None = None) -> str | None:
    """Whether it was refused as it should be: one line, the right exit code, nothing half-written."""
    errors = [line for line in told.stderr.splitlines() if line.startswith("error:")]
    tail = " | ".join(told.stderr.strip().splitlines()[-3:])[-600:]
    if told.code != EXIT[kind]:
        return f"exit code {told.code}, not {EXIT[kind]}: {tail}"
    if len(errors) != 1:
        return f"{len(errors)} error lines: {tail}"
    if "Traceback" in told.stderr:
        return f"a traceback: {tail}"
    if not re.search(says, errors[0]):
        return f"does not say {says!r}: {errors[0][:400]}"
    if out is not None:
        names = ("manifest.json", "DONE", "agreement.json", "results.json", "*.tmp", "*.tar", "*.ckpt")
        left = [found.name for name in names for found in out.rglob(name)]
        if left:
            return f"left {left}"
    return None


def taken(told: Told, says: str = "") -> str | None:
    """Whether it was done, with what it had to say (a warning, a count)."""
    tail = " | ".join(told.stderr.strip().splitlines()[-3:])[-600:]
    if told.code != 0:
        return f"exit code {told.code}: {tail}"
    if not re.search(says, told.stderr + told.stdout):
        return f"does not say {says!r}: {tail}"
    return None
