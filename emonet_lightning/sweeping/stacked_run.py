"""`sweep run --stacked`: the trials of a sweep side by side in this process, as far as what they vary allows.

Trials that differ in options of the heads, their loss and their optimiser train as one stack over features that are
encoded once; those that differ in anything else take turns. There are no checkpoints: trials that a stop or a kill left
open begin anew, from the cached features, and end with the same figures.
"""

import shutil
import time
from collections.abc import Sequence
from typing import Any

from emonet_lightning.callbacks import METRICS_FILE
from emonet_lightning.checkpoints import FOLDER
from emonet_lightning.composition import Options, compose
from emonet_lightning.errors import InterruptedRunError, UsageError
from emonet_lightning.messages import say
from emonet_lightning.sweeping.halving import Halving
from emonet_lightning.sweeping.progress import SweepBar
from emonet_lightning.sweeping.proposals import propose
from emonet_lightning.sweeping.record import FAILED, FINISHED, INTERRUPTED, STOPPED, Record, Trial, best_of, values_of
from emonet_lightning.sweeping.stackable import which_cannot_stack
from emonet_lightning.sweeping.stacked import train_stacked
from emonet_lightning.sweeping.sweep_file import SweepFile
from emonet_lightning.yaml_files import parse_yaml

_NO_SERVER = ("--trainer.logger=false", "--trainer.enable_progress_bar=false")


def check_stacked(sweep: SweepFile) -> list[str]:
    """Return the swept options in which stacked trials cannot differ, and say so of each.

    Raises:
        UsageError: a sweep whose trials cannot be known before others have ended, or that has stages.
    """
    if sweep.method == "bayes":
        raise UsageError(
            f"{sweep.path}: method bayes: each trial is proposed from those that ended before it, --stacked trains "
            "them at once; use method random or grid, or leave --stacked out"
        )
    if sweep.early is not None:
        raise UsageError(
            f"{sweep.path}: early_terminate: stacked trials are dropped by --halving, or by best_heads.patience; take "
            "it out of the file, or leave --stacked out"
        )
    first = {parameter.name: parameter.samples()[0] for parameter in sweep.parameters}
    if len(compose(Options.split(sweep.fit_words(first)))) > 1:
        raise UsageError(f"{sweep.path}: command: a run of several stages cannot be stacked; leave --stacked out")
    names = [parameter.name for parameter in sweep.parameters if len(parameter.samples()) > 1]
    apart = which_cannot_stack(names)
    for name, why in apart.items():
        say(f"{name}: trials that differ in it take turns ({why})")
    if apart.keys() >= set(names):
        raise UsageError(
            f"{sweep.path}: parameters: none of {', '.join(names) or 'them'} is an option that stacked trials may "
            "differ in; leave --stacked out"
        )
    return [parameter.name for parameter in sweep.parameters if parameter.name not in names or parameter.name in apart]


class StackedRun:
    """A start of a stacked sweep.

    Args:
        sweep: what is swept.
        record: of its folder.
        seed: of the sweep.
        limit: of trials.
        apart: options that are the same within a stack, of `check_stacked`.
        size: trials that train at once; each takes 24 bytes a weight of its heads.
        halving: drops trials on the way; None trains all to the end.
        bar: shows how far it is.
    """

    def __init__(
        self,
        sweep: SweepFile,
        record: Record,
        seed: int,
        limit: int,
        apart: Sequence[str],
        size: int,
        halving: Halving | None,
        bar: SweepBar,
    ) -> None:
        self.sweep = sweep
        self.record = record
        self.apart = apart
        self.size = size
        self.halving = halving
        self.bar = bar
        known = {trial.number for trial in record.trials}
        for number in range(limit):
            if number not in known:
                parameters, positions = propose(sweep, seed, number, ())
                record.add("proposed", number, parameters=parameters, positions=positions)

    def run(self, again: Sequence[int] = ()) -> None:
        """Train all trials that are not over, and those to be started again.

        Raises:
            InterruptedRunError: it was asked to stop; the trials of the stack at work begin anew.
            EmoNetError: what no trial can go on with.
        """
        groups: dict[str, list[Trial]] = {}
        for trial in self.record.trials:
            if not trial.is_over or trial.number in again:
                shared = repr([trial.parameters[name] for name in self.apart])
                groups.setdefault(shared, []).append(trial)
        for trials in groups.values():
            for start in range(0, len(trials), self.size):
                self._train(trials[start : start + self.size])

    def _train(self, trials: Sequence[Trial]) -> None:
        words = self.sweep.fit_words({name: trials[0].parameters[name] for name in self.apart})
        points = [
            {name: _value(value, name) for name, value in trial.parameters.items() if name not in self.apart}
            for trial in trials
        ]
        folders = [trial.folder(self.record.folder) for trial in trials]
        for trial, folder in zip(trials, folders, strict=True):
            # of a start as a run of its own: what is trained here has none, and must not be taken for its end
            shutil.rmtree(folder / FOLDER, ignore_errors=True)
            self.record.add("started", trial.number, stacked=True)
        started = time.monotonic()
        try:
            results = train_stacked([*words, *_NO_SERVER], points, folders, halving=self.halving)
        except InterruptedRunError as error:
            for trial in trials:
                self._end(trial, INTERRUPTED, (time.monotonic() - started) / len(trials), None, None)
            over = sum(trial.is_over for trial in self.record.trials)
            raise InterruptedRunError(
                f"{self.record.folder}: {error}; {over} of {len(self.record.trials)} trials are over"
            ) from error
        seconds = (time.monotonic() - started) / len(trials)  # a trial of a stack has no time of its own
        for trial, result in zip(trials, results, strict=True):
            best = best_of(values_of(result.folder / METRICS_FILE, self.sweep.metric), self.sweep.maximise)
            if result.error or best is None:
                reason = result.error or f"logged no {self.sweep.metric}: there are no validation rows"
                self._end(trial, FAILED, seconds, None, reason)
            else:
                dropped = self.halving is not None and bool(result.ended)
                self._end(trial, STOPPED if dropped else FINISHED, seconds, best, None)

    def _end(
        self, trial: Trial, state: str, seconds: float, best: tuple[int, float] | None, reason: str | None
    ) -> None:
        epoch, score = best or (None, None)
        content: dict[str, Any] = {"state": state, "score": score, "epoch": epoch, "reason": reason}
        self.record.add("ended", trial.number, seconds=round(seconds, 3), exit_code=None, **content)
        self.bar.ended(trial, self.record)


def _value(value: Any, name: str) -> Any:
    """Return a value as the command line would read it: `"[64]"` is a list there."""
    return parse_yaml(value.encode(), name) if isinstance(value, str) else value
