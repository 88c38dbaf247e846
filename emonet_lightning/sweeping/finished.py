"""The trials of a sweep that have finished, as what comes after it reads them."""

from pathlib import Path
from typing import Any, NamedTuple

from emonet_lightning.messages import say
from emonet_lightning.sweeping.checks import last_stage
from emonet_lightning.sweeping.folder import read
from emonet_lightning.sweeping.record import FINISHED, Record


class TrialRun(NamedTuple):
    """A finished trial of a sweep."""

    number: int
    folder: Path
    point: dict[str, Any]
    """Option -> value that the sweep gave it."""
    seconds: float


def finished_trials(folder: Path) -> tuple[list[TrialRun], int]:
    """Return the finished trials of a sweep, and how many saw its validation images; it says how many are left out.

    Raises:
        MissingInputError: the folder is not that of a sweep.
        DataError: its record is damaged.
    """
    sweep, _ = read(folder)
    trials = Record(folder).trials
    runs = [
        TrialRun(
            trial.number, last_stage(sweep, trial.parameters, trial.folder(folder)), trial.parameters, trial.seconds
        )
        for trial in trials
        if trial.state == FINISHED
    ]
    seen = sum(trial.starts > 0 for trial in trials)
    if len(runs) < seen:
        say(f"{folder}: {len(runs)} of {seen} trials have finished; the others are counted, not compared")
    return runs, seen
