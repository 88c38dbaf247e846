"""The commands `sweep run` and `sweep status`."""

import os
from pathlib import Path
from typing import NamedTuple

from emonet_lightning import fork_server, slurm
from emonet_lightning.errors import InterruptedRunError, UsageError
from emonet_lightning.messages import say
from emonet_lightning.sweeping.folder import About, begin, read
from emonet_lightning.sweeping.record import FAILED, FINISHED, INTERRUPTED, STOPPED, TABLE_FILE, Record
from emonet_lightning.sweeping.sweep_file import SweepFile

FIGURES = "figures"


def sweep_run_command(
    file: str,
    out: str | None = None,
    trials: int | None = None,
    workers: int = 1,
    seed: int = 0,
    one_at_a_time: bool = False,
    retry_failed: bool = False,
    stacked: bool = False,
    halving: bool = False,
    stack_size: int = 16,
) -> None:
    """Run a W&B sweep file here, without a server or account: grid, random or bayes, hyperband, several at a time.

    Each trial is a run of `fit` in `DIR/trials/NUMBER`; its score is the best epoch's value of the file's metric in its
    last stage: one choice a trial, where the mean of each head's own best epoch would be forty, and flatter noise. The
    same command goes on with a sweep that was stopped or killed, or with more trials. Writes `trials.jsonl` (all that
    happens), `trials.parquet` (a row a trial) and `figures/` into the sweep's folder.

    Args:
        file: W&B sweep file whose command runs `python -m emonet_lightning fit`.
        out: folder of the sweep; default `runs/sweep-NAME`.
        trials: how many in all; default the file's run_cap, or all points of a grid.
        workers: trials at a time; on GPUs each has one of its own, on the CPU they share the cores.
        seed: of random and proposed points; grid and random trials are functions of seed and number.
        one_at_a_time: of a grid, not every combination: the first value of each parameter, and one other at a time,
            with every `seed_everything`; what `sweep report` compares best for the money.
        retry_failed: start trials again that failed.
        stacked: train trials side by side in this process, where they differ in options of heads, loss and optimiser
            alone; others take turns. Of grid or random sweeps; without dropout the figures are those of single runs.
        halving: of stacked trials, the best two go on after 1/8 of the epochs, the best one after 1/4.
        stack_size: stacked trials that train at once; each takes 24 bytes a weight of its heads.
    """
    from emonet_lightning.folder_lock import claimed
    from emonet_lightning.io import make_folder
    from emonet_lightning.sweeping.workers import PRELOAD

    given = (("workers", workers, 1), ("trials", trials, 1), ("seed", seed, 0), ("stack_size", stack_size, 1))
    for option, value, least in given:
        if value is not None and value < least:
            raise UsageError(f"--{option} {value}: must be at least {least}")
    if halving and not stacked:
        raise UsageError("--halving: is for stacked trials; add --stacked, or give the file an early_terminate")
    if stacked and workers > 1:
        raise UsageError(f"--workers {workers}: stacked trials train in one process; leave --workers or --stacked out")
    sweep = SweepFile.read(file)
    if one_at_a_time:
        sweep = sweep.changing_one()
    limit = _limit(sweep, trials)
    if not stacked:
        fork_server.serve(PRELOAD)  # it imports while this process does
    from emonet_lightning.sweeping.checks import check_sweep

    checked = check_sweep(sweep, workers)
    stack = _Stack(_apart(sweep), stack_size, halving) if stacked else None
    folder = make_folder(Path(out) if out is not None else Path("runs") / f"sweep-{Path(file).stem}")
    with claimed(folder, "another sweep runs in this folder; `sweep status` says how far it is"):
        begin(folder, sweep, About(seed, checked.trains, limit))
        record = Record(folder)
        again = [trial.number for trial in record.trials if trial.state == FAILED and retry_failed]
        over = sum(trial.is_over for trial in record.trials)
        if over >= limit and over == len(record.trials) and not again:
            say(f"{folder}: all {over} trials are over; nothing to do (give more --trials to go on)")
            if not _is_reported(record):  # it was stopped after its last trial
                _report(sweep, record)
        else:
            with slurm.requeued():
                _run(sweep, record, seed, limit, checked.gpus, again, stack)
    sweep_status_command(str(folder))


class _Stack(NamedTuple):
    """How stacked trials train: `apart` are options that are the same in a stack."""

    apart: list[str]
    size: int
    halving: bool


def _apart(sweep: SweepFile) -> list[str]:
    from emonet_lightning.sweeping.stacked_run import check_stacked

    return check_stacked(sweep)


def _run(
    sweep: SweepFile,
    record: Record,
    seed: int,
    limit: int,
    gpus: list[str | None],
    again: list[int],
    stack: _Stack | None,
) -> None:
    from emonet_lightning.sweeping.progress import SweepBar

    try:
        with SweepBar(limit, sweep.metric, sweep.maximise) as bar:
            if stack is None:
                from emonet_lightning.sweeping.running import SweepRun

                threads = max(1, _cores() // len(gpus))
                SweepRun(sweep, record, seed, limit, gpus, threads, bar).run(again)
            else:
                from emonet_lightning.sweeping.halving import Halving
                from emonet_lightning.sweeping.stacked_run import StackedRun

                halving = Halving() if stack.halving else None
                StackedRun(sweep, record, seed, limit, stack.apart, stack.size, halving, bar).run(again)
    except InterruptedRunError:
        if record.trials:
            record.write_table([parameter.name for parameter in sweep.parameters])
        raise
    _report(sweep, record)


def _report(sweep: SweepFile, record: Record) -> None:
    from emonet_lightning.sweeping.figures import draw

    record.write_table([parameter.name for parameter in sweep.parameters])
    draw(sweep, record.trials, record.folder / FIGURES)


def _is_reported(record: Record) -> bool:
    """Whether table and figures are of all that happened."""
    written = (record.folder / TABLE_FILE, record.folder / FIGURES / "importance.pdf")  # first and last
    return all(path.is_file() and path.stat().st_mtime >= record.path.stat().st_mtime for path in written)


def sweep_status_command(folder: str) -> None:
    """Say how far a sweep is, at any time, also while it runs: trials by state, the best one, time left.

    Args:
        folder: of the sweep, the --out of `sweep run`.
    """
    sweep, about = read(Path(folder))
    record = Record(Path(folder))
    trials = record.trials
    counts = {
        state: sum(trial.state == state for trial in trials) for state in (FINISHED, STOPPED, FAILED, INTERRUPTED)
    }
    over = sum(trial.is_over for trial in trials)
    unfinished = [trial for trial in trials if not trial.is_over]
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none is over"
    print(f"{folder}: {sweep.method} sweep, {over} of {max(about.trials, len(trials))} trials are over ({told})")
    for trial in unfinished:
        print(f"  trial {trial.number}: begun, {trial.starts} starts, {_shown(trial.parameters)}")
    took = [trial.seconds for trial in trials if trial.is_over]
    if took:
        mean = sum(took) / len(took)
        left = max(about.trials - over, 0)
        print(
            f"  {mean:.1f} s a trial" + (f", {left} left: {left * mean / 60:.1f} minutes of one worker" if left else "")
        )
    best = record.best(sweep.maximise)
    if best is None:
        print("  no trial has a score yet")
        return
    print(
        f"  best: trial {best.number}, {sweep.metric} {best.score:.4f} in epoch {best.epoch}, {_shown(best.parameters)}"
    )
    print(f"  {best.folder(record.folder)}")


def _shown(parameters: dict[str, object]) -> str:
    return " ".join(
        f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value}" for name, value in parameters.items()
    )


def _limit(sweep: SweepFile, trials: int | None) -> int:
    """Return how many trials there are in all.

    Raises:
        UsageError: nothing says so.
    """
    asked = trials if trials is not None else sweep.run_cap
    if sweep.method == "grid":
        size = sweep.grid_size()
        if trials is not None and trials > size:
            say(f"{sweep.path}: the grid has {size} points; --trials {trials} runs all of them")
        return min(asked or size, size)
    if asked is None:
        raise UsageError(f"{sweep.path}: method {sweep.method} has no end; give --trials N, or run_cap in the file")
    return asked


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
