"""What is known of a sweep's trials: a line in `trials.jsonl` for each thing that happens, synced before it counts.

A kill loses at most what was not written yet, which is then done again in the same way. Everything else (the table,
the figures, what a sampler knows) is made of these lines.
"""

import contextlib
import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from emonet_lightning.appending import append_line
from emonet_lightning.errors import DataError
from emonet_lightning.io import atomic_write, read_bytes
from emonet_lightning.redaction import redact

TRIALS_FILE, TABLE_FILE = "trials.jsonl", "trials.parquet"
TRIALS_FOLDER = "trials"
OPEN, FINISHED, STOPPED, FAILED, INTERRUPTED = "open", "finished", "stopped early", "failed", "interrupted"
OVER = (FINISHED, STOPPED, FAILED)
"""States of a trial that is not started again."""


class Rung(NamedTuple):
    """What came of a trial at a rung of early termination.

    Attributes:
        rung: validation, from 0.
        value: of the metric there, which other trials are compared with.
        kept: whether the trial went on.
        score: best value up to there.
        epoch: of that value.
    """

    rung: int
    value: float
    kept: bool
    score: float
    epoch: int


@dataclass
class Trial:
    """One trial.

    Attributes:
        number: from 0.
        parameters: options of `fit`, by name.
        positions: where each was drawn, in [0, 1).
        state: `open` (proposed, and perhaps running), `finished`, `stopped early`, `failed` or `interrupted`.
        score: best value of the metric over the epochs of its last stage, up to the rung where it was stopped.
        epoch: of that value.
        seconds: that its starts took, of those that ended.
        starts: how often it was started.
        reason: why it failed.
        rungs: what came of it at each rung that it reached.
    """

    number: int
    parameters: dict[str, Any]
    positions: dict[str, float]
    state: str = OPEN
    score: float | None = None
    epoch: int | None = None
    seconds: float = 0.0
    starts: int = 0
    reason: str | None = None
    rungs: dict[int, Rung] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether it is not started again."""
        return self.state in OVER

    def folder(self, sweep: Path) -> Path:
        """Return the folder of its run."""
        return sweep / TRIALS_FOLDER / f"{self.number:04d}"

    def log(self, sweep: Path) -> Path:
        """Return the file of what it prints and says."""
        return sweep / TRIALS_FOLDER / f"{self.number:04d}.log"

    @property
    def stopped(self) -> Rung | None:
        """The rung at which it was stopped."""
        return next((rung for rung in self.rungs.values() if not rung.kept), None)


class Record:
    """The trials of a sweep's folder.

    Args:
        folder: of the sweep.

    Raises:
        DataError: a line that no sweep writes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / TRIALS_FILE
        self._trials: dict[int, Trial] = {}
        lines = read_bytes(self.path).split(b"\n") if self.path.is_file() else []
        for number, line in enumerate(lines, 1):
            try:
                event = json.loads(line)
            except ValueError:  # its writer was killed, and whoever came after began a new line
                continue
            try:
                self._take(event)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                reason = f"{type(error).__name__}: {error}"
                raise DataError(
                    f"{self.path}, line {number}: is no event of a sweep ({reason}); bring back a good copy of the "
                    "file, or take the line out"
                ) from error

    @property
    def trials(self) -> list[Trial]:
        """All trials, by number."""
        return [self._trials[number] for number in sorted(self._trials)]

    def best(self, maximise: bool) -> Trial | None:
        """Return the finished or stopped trial with the best score; of equal ones the first."""
        scored = [trial for trial in self.trials if trial.state in (FINISHED, STOPPED) and trial.score is not None]
        sign = -1.0 if maximise else 1.0
        return min(scored, key=lambda trial: (sign * float(trial.score or 0.0), trial.number), default=None)

    def add(self, event: str, trial: int, **content: Any) -> Trial:
        """Write an event and take it in.

        Args:
            event: `proposed` (parameters, positions), `started`, `rung` (fields of Rung), or `ended` (state, score,
                epoch, seconds, exit_code, reason).
            trial: its number.
            content: of the event.

        Raises:
            OutputError: the operating system refused.
        """
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line = {"event": event, "trial": trial, "time": now, **content}
        append_line(self.path, lambda before: json.dumps(redact(line), ensure_ascii=False))
        self._take(line)
        return self._trials[trial]

    def _take(self, line: dict[str, Any]) -> None:
        event, number = line["event"], int(line["trial"])
        if event == "proposed":
            self._trials[number] = Trial(number, dict(line["parameters"]), dict(line["positions"]))
            return
        trial = self._trials[number]
        if event == "started":
            trial.state = OPEN
            trial.starts += 1
        elif event == "rung":
            rung = Rung(*(line[key] for key in Rung._fields))
            trial.rungs[rung.rung] = rung
        elif event == "ended":
            if line["state"] not in (*OVER, INTERRUPTED):
                raise ValueError(f"unknown state {line['state']!r}")
            trial.state, trial.score, trial.epoch = line["state"], line["score"], line["epoch"]
            trial.reason = line["reason"]
            trial.seconds += float(line["seconds"])
        else:
            raise ValueError(f"unknown event {event!r}")

    def write_table(self, names: Sequence[str]) -> Path:
        """Write `trials.parquet`: a row a trial, a column a parameter; returns its path.

        Args:
            names: of the parameters.

        Raises:
            OutputError: the operating system refused.
        """
        import pyarrow as arrow
        import pyarrow.parquet as parquet

        rows = self.trials
        columns: dict[str, Any] = {
            "trial": arrow.array([row.number for row in rows], arrow.int32()),
            "state": [row.state for row in rows],
            "score": arrow.array([row.score for row in rows], arrow.float64()),
            "epoch": arrow.array([row.epoch for row in rows], arrow.int32()),
            "stopped_at": arrow.array([row.stopped and row.stopped.rung for row in rows], arrow.int32()),
            "seconds": arrow.array([row.seconds for row in rows], arrow.float64()),
            "starts": arrow.array([row.starts for row in rows], arrow.int32()),
            "reason": arrow.array([row.reason for row in rows], arrow.string()),
            "folder": [str(row.folder(Path())) for row in rows],
        }
        for name in names:
            columns[f"parameters/{name}"] = _column([row.parameters.get(name) for row in rows])
        table = arrow.table(columns)
        path = self.folder / TABLE_FILE
        atomic_write(path, lambda temporary: parquet.write_table(table, temporary))
        return path


def _column(values: list[Any]) -> Any:
    """Return a column of one type: numbers where all are, else text as it stands in YAML."""
    import pyarrow as arrow

    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int} or kinds <= {bool} or kinds <= {str}:
        return arrow.array(values)
    if kinds <= {int, float}:
        return arrow.array([None if value is None else float(value) for value in values], arrow.float64())
    return arrow.array([None if value is None else str(value) for value in values], arrow.string())


def values_of(path: Path, metric: str) -> list[tuple[int, float]]:
    """Return epoch and value of a metric, in the order of a run's `metrics.jsonl`; lines that are not whole are left.

    Args:
        path: of the file; it may not be there yet.
        metric: name of what is logged.
    """
    found: list[tuple[int, float]] = []
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return found
    for line in lines:
        if metric.encode() not in line:
            continue
        with contextlib.suppress(ValueError, KeyError, TypeError):
            content = json.loads(line)
            if content.get(metric) is not None:
                found.append((int(content["epoch"] or 0), float(content[metric])))
    return found


def best_of(values: Sequence[tuple[int, float]], maximise: bool) -> tuple[int, float] | None:
    """Return epoch and value of the best one; of equal ones the first."""
    sign = -1.0 if maximise else 1.0
    return min(values, key=lambda pair: sign * pair[1], default=None)
