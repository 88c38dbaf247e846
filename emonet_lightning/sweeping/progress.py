"""What is shown of a sweep while it runs: a bar with the best so far, or a line a trial where that is no terminal."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from emonet_lightning.messages import say
from emonet_lightning.sweeping.record import INTERRUPTED, Record, Trial


class SweepBar:
    """Progress of a sweep, on standard error.

    Args:
        total: trials.
        metric: its name.
        maximise: whether more is better.
    """

    def __init__(self, total: int, metric: str, maximise: bool) -> None:
        self.total = total
        self.metric = metric
        self.maximise = maximise
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("left"), TimeRemainingColumn(),
        )  # fmt: skip
        self._bar = Progress(*columns, console=console) if console.is_terminal else None
        self._task = self._bar.add_task("trials", total=total) if self._bar is not None else None

    def __enter__(self) -> "SweepBar":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def ended(self, trial: Trial, record: Record) -> None:
        """Show that a start of a trial has ended, and the best so far."""
        over = sum(other.is_over for other in record.trials)
        best = record.best(self.maximise)
        so_far = "none has a score" if best is None else f"best {best.score:.4f} (trial {best.number})"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=over, description=so_far)
            if trial.reason is None or trial.state == INTERRUPTED:
                return
        score = "" if trial.score is None else f" {self.metric} {trial.score:.4f},"
        reason = f" ({trial.reason})" if trial.reason else ""
        say(f"trial {trial.number}: {trial.state},{score} {trial.seconds:.1f} s{reason}; {over}/{self.total}, {so_far}")
