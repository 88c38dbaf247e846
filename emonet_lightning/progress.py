"""Progress bar of the long data jobs: done, rate, time left."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_REFRESH = 0.1  # seconds; computing the rate costs more than reading a small image


@contextmanager
def progress_bar(what: str, total: int, unit: str, show: bool) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error; yields a function that advances it by so many.

    Args:
        what: what is done, in words.
        total: how many there are.
        unit: of what, for the rate.
        show: False shows nothing.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not show) as bar:
        task = bar.add_task(what, total=total, rate="")

        waiting, shown = 0, 0.0

        def advance(count: int) -> None:
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
