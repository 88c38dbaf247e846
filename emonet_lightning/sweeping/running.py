"""The loop of a sweep: start trials, watch them, record what came of each; nothing it knows is in memory only.

A trial that was proposed is never proposed again: it is run to its end, in its own folder, by whichever start of the
sweep gets there. A sweep that is asked to stop asks its trials, which save, and ends when they have.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

from emonet_lightning import interruption
from emonet_lightning.errors import DataError, EmoNetError, InterruptedRunError, OutputError
from emonet_lightning.sweeping.checks import last_stage, trial_words
from emonet_lightning.sweeping.early import compare
from emonet_lightning.sweeping.progress import SweepBar
from emonet_lightning.sweeping.proposals import propose
from emonet_lightning.sweeping.record import FAILED, FINISHED, INTERRUPTED, STOPPED, Record, Trial, best_of, values_of
from emonet_lightning.sweeping.sweep_file import SweepFile
from emonet_lightning.sweeping.workers import TrialProcess

_POLL_SECONDS = 0.1
_MOST_KILLS = 5
"""Starts of a trial that may be killed by somebody else in one start of the sweep."""
_FAILURES_AT_FIRST = 3
"""Trials that fail before any other ends: then all would."""


@dataclass
class _Running:
    trial: Trial
    process: TrialProcess
    metrics: Path
    started: float
    size: int = -1


class SweepRun:
    """A start of a sweep.

    Args:
        sweep: what is swept.
        record: of its folder.
        seed: of the sweep.
        limit: of trials.
        gpus: of each worker.
        threads: that each worker computes with.
        bar: shows how far it is.
    """

    def __init__(
        self,
        sweep: SweepFile,
        record: Record,
        seed: int,
        limit: int,
        gpus: Sequence[str | None],
        threads: int,
        bar: SweepBar,
    ) -> None:
        self.sweep = sweep
        self.record = record
        self.seed = seed
        self.limit = limit
        self.gpus = gpus
        self.threads = threads
        self.bar = bar
        self._running: dict[int, _Running] = {}
        self._kills: dict[int, int] = {}
        self._problem: EmoNetError | None = None
        self._asked = False
        self._waiting: list[int] = []

    def run(self, again: Sequence[int] = ()) -> None:
        """Run all trials to their end.

        Args:
            again: trials that failed before and are to be started again.

        Raises:
            InterruptedRunError: it was asked to stop; its trials have saved.
            EmoNetError: what no trial can go on with.
        """
        self._waiting = sorted({trial.number for trial in self.record.trials if not trial.is_over} | set(again))
        try:
            while True:
                self._collect()
                self._compare_all()
                if self._stops():
                    self._stop_all()
                else:
                    self._fill()
                if not self._running:
                    break
                wait([running.process.sentinel for running in self._running.values()], _POLL_SECONDS)
        finally:
            for running in self._running.values():  # an error of the sweep itself: its trials save all the same
                running.process.stop()
        if self._problem is not None:
            raise self._problem
        if interruption.requested():
            over = sum(trial.is_over for trial in self.record.trials)
            raise InterruptedRunError(
                f"{self.record.folder}: interrupted by {interruption.requested()}; {over} of {self.limit} trials are "
                "over, the same command goes on"
            )

    def _stops(self) -> bool:
        return self._problem is not None or interruption.requested() is not None

    def _stop_all(self) -> None:
        if not self._asked:
            for running in self._running.values():
                running.process.stop()
        self._asked = True

    # -- starting ----------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Start a trial on each free worker."""
        for worker in range(len(self.gpus)):
            while worker not in self._running and not self._stops():
                trial = self._next()
                if trial is None:
                    return
                if trial.stopped is not None:  # the sweep was killed before it ended
                    self._end(trial, STOPPED, 0.0, None)
                else:
                    self._start(worker, trial)

    def _next(self) -> Trial | None:
        """Return the next trial: first those that were begun before, then a new one, which is recorded; or None."""
        known = {trial.number: trial for trial in self.record.trials}
        if self._waiting:
            return known[self._waiting.pop(0)]
        number = next(number for number in range(len(known) + 1) if number not in known)
        if number >= self.limit:
            return None
        parameters, positions = propose(self.sweep, self.seed, number, self.record.trials)
        return self.record.add("proposed", number, parameters=parameters, positions=positions)

    def _start(self, worker: int, trial: Trial) -> None:
        folder = trial.folder(self.record.folder)
        words = trial_words(self.sweep, trial.parameters, folder)
        metrics = last_stage(self.sweep, trial.parameters, folder) / "metrics.jsonl"
        self.record.add("started", trial.number, worker=worker, gpu=self.gpus[worker])
        process = TrialProcess(words, trial.log(self.record.folder), self.threads, self.gpus[worker])
        self._running[worker] = _Running(trial, process, metrics, time.monotonic())

    # -- watching ----------------------------------------------------------------------------------------------------

    def _compare_all(self) -> None:
        for running in self._running.values():
            self._compare(running)

    def _compare(self, running: _Running) -> None:
        """Compare a trial with the others at the rungs that it has reached since, and stop it if it is not kept."""
        early = self.sweep.early
        if early is None or running.trial.stopped is not None:
            return
        size = running.metrics.stat().st_size if running.metrics.is_file() else -1
        if size == running.size:
            return
        running.size = size
        values = values_of(running.metrics, self.sweep.metric)
        while (rung := compare(early, running.trial, self.record.trials, values, self.sweep.maximise)) is not None:
            self.record.add("rung", running.trial.number, **rung._asdict())
            if not rung.kept:
                running.process.stop()

    def _collect(self) -> None:
        """Record the trials that have ended."""
        for worker, running in list(self._running.items()):
            code = running.process.exit_code
            if code is None:
                continue
            running.size = -1
            self._compare(running)  # a short one may have ended before it was looked at
            del self._running[worker]
            self._take(running, code)

    def _take(self, running: _Running, code: int) -> None:
        trial, seconds = running.trial, time.monotonic() - running.started
        if trial.stopped is not None:
            self._end(trial, STOPPED, seconds, code)
            return
        best = best_of(values_of(running.metrics, self.sweep.metric), self.sweep.maximise)
        if code == 0 and best is not None:
            self._end(trial, FINISHED, seconds, code, best)
        elif code == 0:
            reason = f"logged no {self.sweep.metric}: there are no validation rows, or no labels on them"
            self._end(trial, FAILED, seconds, code, reason=reason)
        elif code == InterruptedRunError.exit_code or code < 0:
            self._interrupted(trial, seconds, code)
        elif code == OutputError.exit_code:
            self._end(trial, INTERRUPTED, seconds, code, reason=self._said(trial))
            self._problem = OutputError(f"trial {trial.number}: {self._said(trial)}; the same command goes on")
        else:
            self._end(trial, FAILED, seconds, code, reason=self._said(trial))

    def _interrupted(self, trial: Trial, seconds: float, code: int) -> None:
        """Let a trial that was stopped or killed by somebody else go on, but not for ever."""
        self._kills[trial.number] = self._kills.get(trial.number, 0) + (not self._asked)
        if self._kills[trial.number] >= _MOST_KILLS:
            reason = f"ended by signal {-code}" if code < 0 else "interrupted"
            self._end(trial, FAILED, seconds, code, reason=f"{reason}, {_MOST_KILLS} times")
            return
        self._end(trial, INTERRUPTED, seconds, code)
        self._waiting.insert(0, trial.number)

    def _said(self, trial: Trial) -> str:
        """Return the last thing that a trial said."""
        log = trial.log(self.record.folder)
        lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        return last.removeprefix("error: ")[:300]

    def _end(
        self,
        trial: Trial,
        state: str,
        seconds: float,
        code: int | None,
        best: tuple[int, float] | None = None,
        reason: str | None = None,
    ) -> None:
        if trial.stopped is not None:
            best = (trial.stopped.epoch, trial.stopped.score)
        epoch, score = best or (None, None)
        if score is not None and not math.isfinite(score):
            score = None
        content = {"state": state, "score": score, "epoch": epoch, "reason": reason, "exit_code": code}
        self.record.add("ended", trial.number, seconds=round(seconds, 3), **content)
        self.bar.ended(trial, self.record)
        ends = [other.state for other in self.record.trials if other.is_over]
        if len(ends) == ends.count(FAILED) == _FAILURES_AT_FIRST and self._problem is None:
            self._problem = DataError(
                f"{trial.log(self.record.folder)}: the first {len(ends)} trials failed, the last with: {trial.reason}; "
                "mend the cause, then start the same command with --retry_failed"
            )
