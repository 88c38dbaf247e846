"""The process that sends a run's lines to W&B: apart from training, which never waits for it and outlives it.

It is told on standard input how far the run's files are final, sends the lines up to there, and ends with its parent.
Each row names how many lines of each file went before it; the next start of the run reads that from the rows that are
there, so that each line is sent once, however often sender, service or run were killed.

Only one sender of a run works at a time: its log file is locked, and W&B's service, which inherits it, holds the lock
until it has written all that it was given.
"""

import contextlib
import fcntl
import json
import os
import select
import sys
import time
from collections.abc import Iterator
from heapq import merge
from pathlib import Path
from typing import Any, NamedTuple

from emonet_lightning import wandb_offline
from emonet_lightning.errors import DataError
from emonet_lightning.io import read_bytes
from emonet_lightning.json_lines import json_objects

METRICS, TIMING = "metrics.jsonl", "timing.jsonl"
STEP = "trainer/global_step"
LOG_FILE = "mirror.log"
_SENT = {METRICS: "mirror/metrics_lines", TIMING: "mirror/timing_lines"}
_TEST = "mirror/test"
_LOCK_SECONDS = 60.0
_INIT_SECONDS = 30.0
_LAST_STEP = 2**53
_REMEDY = "the file was damaged after the run wrote it; take the line out, or bring back a copy of the file"


class Cursor(NamedTuple):
    """What a W&B run has: lines of each file, and tests."""

    lines: dict[str, int]
    tests: int

    @property
    def rows(self) -> int:
        """Rows in all: W&B's own step of the next one."""
        return sum(self.lines.values()) + self.tests


def final_lines(folder: Path, sizes: dict[str, int] | None) -> dict[str, list[dict[str, Any]]]:
    """Read a run's lines, in the files' order.

    Args:
        folder: of the run.
        sizes: bytes of each file that are final; None for all of them.

    Raises:
        DataError: a line that no run writes; file, line and key are named. What was broken off behind the last line's
            end is none.
    """
    found = {}
    for name in _SENT:
        path = folder / name
        content = read_bytes(path) if path.is_file() else b""
        end = len(content) if sizes is None else sizes.get(name, 0)
        whole = content[:end].rpartition(b"\n")[0]
        lines = json_objects(whole.split(b"\n"), path, _REMEDY)
        found[name] = [_checked(line, where) for _, where, line in lines]
    return found


def _checked(line: dict[str, Any], where: str) -> dict[str, Any]:
    """One line of a run's file: step and epoch, whole numbers or null, and measured numbers, null where not finite."""
    if "step" not in line:
        raise DataError(f"{where}: has no 'step'; {_REMEDY}")
    for key, value in line.items():
        whole = key in ("step", "epoch")
        if value is None or (type(value) is int and -_LAST_STEP <= value <= _LAST_STEP):
            continue
        if whole or type(value) is not float:
            kind = "whole number" if whole else "number"
            raise DataError(f"{where}: {key[:80]!r} is no {kind} ({str(value)[:40]!r}); {_REMEDY}")
    return line


def unsent(lines: dict[str, list[dict[str, Any]]], cursor: Cursor) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield file and line of what comes after a cursor, by step of the run; metrics before times."""
    files = [[(name, line) for line in lines[name][cursor.lines[name] :]] for name in _SENT]
    yield from merge(*files, key=lambda pair: pair[1]["step"] if pair[1]["step"] is not None else -1)


class Sender:
    """One W&B run.

    Args:
        order: `init` (arguments of wandb.init), `offline`, `lines` (the run's folder); `anew` to send everything
            whatever is there; `instead` false to fail where W&B cannot be reached, not to log offline instead.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        self.init = order["init"]
        self.offline = order["offline"]
        self.run: Any = None
        self.warning = ""
        self.cursor = Cursor({name: 0 for name in _SENT}, 0)
        self._begin(order.get("instead", True))
        if not order.get("anew"):
            self.cursor = self._found(Path(order["lines"]))

    def _begin(self, instead: bool) -> None:
        import wandb

        common: dict[str, Any] = {
            "console": "off", "silent": True, "disable_git": True, "disable_code": True, "save_code": False,
            "x_disable_meta": True, "x_disable_stats": True, "x_disable_machine_info": True,
            "x_save_requirements": False, "init_timeout": _INIT_SECONDS,
        }  # fmt: skip
        folder = Path(self.init["dir"])
        while any(folder.glob(f"wandb/*run-{time.strftime('%Y%m%d_%H%M%S')}-{self.init['id']}")):
            time.sleep(0.1)  # W&B names a segment by the second, and would overwrite it
        mode: dict[str, Any] = {"mode": "offline"} if self.offline else {}
        try:
            self.run = wandb.init(**self.init, settings=wandb.Settings(**common, **mode))
        except Exception as error:
            if self.offline or not instead:
                raise
            # no key, no network: what is written offline can be sent later
            self.warning = f"cannot be reached ({_one_line(error)}); logging offline"
            self.run = wandb.init(**self.init, settings=wandb.Settings(**common, mode="offline"))
        self.run.define_metric(STEP)
        self.run.define_metric("*", step_metric=STEP)
        self.run.define_metric("mirror/*", hidden=True)

    def _found(self, folder: Path) -> Cursor:
        """How far the run got in earlier starts."""
        if self.run.offline:
            rows = [row for path in wandb_offline.segments(self.init["dir"], self.run.id) for row in _safely(path)]
            sent = {name: max((int(row.get(key, 0)) for row in rows), default=0) for name, key in _SENT.items()}
            return Cursor(sent, max((int(row.get(_TEST, 0)) for row in rows), default=0))
        known = {key: self.run.summary.get(key) for key in (*_SENT.values(), _TEST)}
        if any(value is not None for value in known.values()):
            return Cursor({name: int(known[key] or 0) for name, key in _SENT.items()}, int(known[_TEST] or 0))
        # a run that was resumed before its summary arrived: it has as many rows as its step says
        ahead = list(unsent(final_lines(folder, None), self.cursor))[: int(self.run.step)]
        return Cursor({name: sum(own == name for own, _ in ahead) for name in _SENT}, 0)

    def send(self, folder: Path, sizes: dict[str, int] | None) -> None:
        """Send the lines that are final and not there yet."""
        for name, line in unsent(final_lines(folder, sizes), self.cursor):
            values = {key: value for key, value in line.items() if key not in ("step", "epoch")}
            values = {key: float("nan") if value is None else value for key, value in values.items()}
            epoch = {} if line.get("epoch") is None else {"epoch": line["epoch"]}
            lines = {**self.cursor.lines, name: self.cursor.lines[name] + 1}
            self._log({STEP: line["step"] or 0, **epoch, **values}, Cursor(lines, self.cursor.tests))

    def send_test(self, test: dict[str, Any]) -> None:
        """Send a test's figures, unless an earlier start of the run has: `metrics`, `step`, `table`, `figures`."""
        import wandb

        if self.cursor.tests:
            return
        row: dict[str, Any] = {STEP: test["step"], **test["metrics"]}
        if test.get("table"):
            row["test/systems"] = wandb.Table(columns=test["table"][0], data=test["table"][1:])
        figures = [Path(path) for path in test.get("figures", ()) if Path(path).is_file()]
        if figures:
            row["test/figures"] = [wandb.Image(str(path), caption=path.stem) for path in figures]
        self._log(row, Cursor(self.cursor.lines, 1))

    def _log(self, row: dict[str, Any], after: Cursor) -> None:
        counts = {**{key: after.lines[name] for name, key in _SENT.items()}, _TEST: after.tests}
        self.run.log({**row, **counts}, step=self.cursor.rows, commit=True)
        self.cursor = after

    def end(self, exit_code: int, preempting: bool) -> None:
        """Close the run; one that will go on is marked so."""
        import wandb

        if preempting:
            self.run.mark_preempting()
        self.run.finish(exit_code=exit_code)
        wandb.teardown(exit_code)  # waits for the service, which writes its last 32 KB after it has said it is done


def _safely(path: Path) -> list[dict[str, Any]]:
    """Rows of an earlier segment; of a damaged one those before the damage."""
    found: list[dict[str, Any]] = []
    with contextlib.suppress(ValueError):
        found.extend(wandb_offline.rows(path))
    return found


def _one_line(error: BaseException) -> str:
    from emonet_lightning.redaction import redact

    return redact(" ".join(f"{type(error).__name__}: {error}".split())[:200])


# -- the process -----------------------------------------------------------------------------------------------------


def main() -> int:
    """Send what standard input says, until it ends or says so."""
    listener = os.dup(1)  # not inherited by W&B's service, which would keep the terminal or pipe open
    os.dup2(2, 1)
    orders = _orders(os.getppid())
    order = next(orders)
    folder = Path(order["lines"])
    if not _locked():
        print("another sender of this run is at work", file=sys.stderr, flush=True)
        return 1
    try:
        sender = Sender(order)
        if sender.warning:
            with contextlib.suppress(OSError):
                os.write(listener, f"W&B {sender.warning}; {order['later']}\n".encode())
        end: dict[str, Any] = {"end": 1, "preempting": False}
        for order in orders:
            if "sizes" in order:
                sender.send(folder, order["sizes"])
            if "test" in order:
                sender.send_test(json.loads(Path(order["test"]).read_text()))
            if "end" in order:
                end = order
                break
        sender.end(end["end"], end["preempting"])
    except BaseException as error:
        print(_one_line(error), file=sys.stderr, flush=True)
        os._exit(1)  # W&B's own handlers at exit would wait for a service that is gone
    return 0


def _orders(parent: int) -> Iterator[dict[str, Any]]:
    """Lines of standard input, parsed, until it is closed or the parent is gone."""
    pending = b""
    while os.getppid() == parent:
        if not select.select([0], [], [], 1.0)[0]:
            continue
        received = os.read(0, 1 << 16)
        if not received:
            return
        *lines, pending = (pending + received).split(b"\n")
        for line in lines:
            yield json.loads(line)


def _locked() -> bool:
    """Take the lock on the log file that standard error is."""
    until = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(2, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.1)
        except OSError:  # a file system without locks
            return True


if __name__ == "__main__":
    import signal

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):  # meant for the run, which says when to end
        signal.signal(number, signal.SIG_IGN)
    sys.exit(main())
