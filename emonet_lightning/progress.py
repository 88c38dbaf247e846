"""Progress bar of the long data jobs: done, rate, time left; between two items such a job can be stopped."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from emonet_lightning import interruption

_REFRESH = 0.1  # seconds; computing the rate costs more than reading a small image
_LINE_SECONDS = 30.0  # between lines in a log file


@contextmanager
def progress_bar(what: str, total: int, unit: str, show: bool) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error, or a line now and then where that is no terminal; yields a function to advance it.

    Args:
        what: what is done, in words.
        total: how many there are.
        unit: of what, for the rate.
        show: False shows nothing.

    Raises:
        InterruptedRunError: from the function, once the process was asked to stop.
    """
    console = Console(stderr=True)
    if show and not console.is_terminal:
        yield _log_lines(what, total, unit)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not show) as bar:
        task = bar.add_task(what, total=total, rate="")

        waiting, shown = 0, 0.0

        def advance(count: int) -> None:
            interruption.check(what)
            nonlocal waiting, shown
            waiting += count
            if time.monotonic() - shown < _REFRESH and bar.tasks[0].completed + waiting < total:
                return
            bar.advance(task, waiting)
            waiting, shown = 0, time.monotonic()
            speed = bar.tasks[0].finished_speed or bar.tasks[0].speed
            if speed:
                bar.update(task, rate=f"{speed:.0f} {unit}/s")

        yield advance


def _log_lines(what: str, total: int, unit: str) -> Callable[[int], None]:
    started = shown = time.monotonic()
    done = 0

    def advance(count: int) -> None:
        interruption.check(what)
        nonlocal done, shown
        done += count
        now = time.monotonic()
        if done < total and now - shown < _LINE_SECONDS:
            return
        shown, speed = now, done / max(now - started, 1e-9)
        left = timedelta(seconds=round((total - done) / speed)) if done else "unknown time"  # told of nothing so far
        print(f"{what}: {done}/{total} {unit}, {speed:.0f} {unit}/s, {left} left", file=sys.stderr, flush=True)

    return advance
