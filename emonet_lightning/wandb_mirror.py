"""W&B as a mirror of a run's own files: it may be slow, gone or never there, and the run does not notice.

`metrics.jsonl` is the truth. A process of its own sends what is final in it (`wandb_sender`); here is what starts
that process, tells it how far the files are final, and says once if it cannot work.
"""

import atexit
import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger

from emonet_lightning import interruption
from emonet_lightning.callbacks import RunLogger
from emonet_lightning.errors import InterruptedRunError, UsageError
from emonet_lightning.io import make_folder, write_json
from emonet_lightning.messages import is_first_process, say
from emonet_lightning.redaction import redact
from emonet_lightning.run_identity import agents_run, run_id
from emonet_lightning.wandb_sender import LOG_FILE

_END_SECONDS, _INTERRUPTED_SECONDS = 30.0, 5.0  # for W&B to take the last lines; a grace period is short
_RETRY_SECONDS = (5.0, 30.0, 120.0)
"""Pauses before a sender that died is started again."""


class WandbMirror(Logger):
    """Stands for Lightning's WandbLogger in a run.

    Args:
        init: arguments of `wandb.init`, without secrets; `id` and `dir` are among them.
        lines: folder of `metrics.jsonl`; None where no run writes one (`test`, `validate`).
        offline: write W&B's own files only.
    """

    def __init__(self, init: dict[str, Any], lines: Path | None, offline: bool) -> None:
        super().__init__()
        self.init = init
        self.offline = offline
        self._temporary = tempfile.TemporaryDirectory(prefix="wandb-lines-") if lines is None else None
        self._own = RunLogger(Path(self._temporary.name)) if self._temporary is not None else None
        self.lines = lines or Path(self._temporary.name)  # type: ignore[union-attr]
        self._log = Path(init["dir"]) / "wandb" / LOG_FILE
        self._sender: subprocess.Popen[bytes] | None = None
        self._last: dict[str, dict[str, Any]] = {}
        self._starts = 0
        self._retry_at: float | None = None
        self._said = self._closed = False
        self._pid = os.getpid()

    @property
    def name(self) -> str:
        """Project."""
        return str(self.init.get("project") or "")

    @property
    def save_dir(self) -> str:
        """Folder of W&B's own files."""
        return str(self.init["dir"])

    @property
    def version(self) -> str:
        """Id of the W&B run."""
        return str(self.init["id"])

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Start the sender: the run begins. It has the configuration already."""
        self._start()

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Nothing in a run, whose lines are sent once they are final; elsewhere a line of its own."""
        if self._own is not None:
            self._own.log_metrics(metrics, step)

    def log_test(self, metrics: dict[str, float], step: int, table: list[list[Any]], figures: Sequence[Path]) -> None:
        """Send a test's figures once.

        Args:
            metrics: by name.
            step: of the heads.
            table: of the systems, header first; empty for none.
            figures: drawn diagrams, never faces.
        """
        if not is_first_process():
            return
        path = self._log.parent / "test.json"
        content = {"metrics": metrics, "step": step, "table": table, "figures": [str(path) for path in figures]}
        with contextlib.suppress(Exception):  # it is only a mirror
            write_json(path, redact(content))
            self._tell("test", {"test": str(path)})
            if self._own is not None:
                self.committed(step)
                self.close()

    def committed(self, step: int) -> None:
        """Send what the run's files hold now: a checkpoint knows it, it will not be written again.

        Args:
            step: of the checkpoint.
        """
        self._tell("sizes", {"sizes": RunLogger(self.lines).sizes()})

    def finalize(self, status: str) -> None:
        """Send the last lines of a part of the run that ended well; end the sender of one that did not."""
        if status == "success":
            self.committed(-1)
        else:
            self.close(1)

    def close(self, exit_code: int = 0) -> None:
        """End the W&B run; waits for the last lines, but not for ever.

        Args:
            exit_code: that W&B shows.
        """
        if self._closed or os.getpid() != self._pid or not is_first_process():
            return
        interrupted = exit_code != 0 and interruption.requested() is not None
        if self._sender is not None and not interrupted:
            self._start(at_once=True)  # one that died gets a last chance
        end = {"end": InterruptedRunError.exit_code if interrupted else exit_code, "preempting": interrupted}
        self._write(end)
        self._closed = True
        if self._sender is None:
            return
        seconds = _INTERRUPTED_SECONDS if interrupted else _END_SECONDS
        try:
            code = self._sender.wait(seconds)
        except subprocess.TimeoutExpired:
            self._sender.kill()
            self._warn(f"took no more lines within {seconds:.0f} s")
        else:
            if code:
                self._warn(self._reason())
        with contextlib.suppress(OSError):
            self._sender.stdin.close()  # type: ignore[union-attr]

    # -- the process -------------------------------------------------------------------------------------------------

    def _start(self, at_once: bool = False) -> None:
        """Start the sender where none is at work and it is worth another try."""
        if self._closed or os.getpid() != self._pid or not is_first_process():
            return
        if self._sender is not None:
            if self._sender.poll() is None:
                return
            if self._retry_at is None:
                self._warn(self._reason())
                self._retry_at = time.monotonic() + _RETRY_SECONDS[min(self._starts, len(_RETRY_SECONDS)) - 1]
            if self._starts > len(_RETRY_SECONDS) or (time.monotonic() < self._retry_at and not at_once):
                return
        self._starts += 1
        self._retry_at = None
        try:
            make_folder(self._log.parent)
            with self._log.open("ab") as log:
                self._sender = subprocess.Popen(
                    [sys.executable, "-m", "emonet_lightning.wandb_sender"],
                    stdin=subprocess.PIPE, stdout=2, stderr=log, bufsize=0, start_new_session=True,
                )  # fmt: skip
            os.set_blocking(self._sender.stdin.fileno(), False)  # type: ignore[union-attr]
        except Exception as error:
            self._warn(f"{type(error).__name__}: {error}")
            self._closed = True
            return
        if self._starts == 1:
            atexit.register(self.close, int(self._own is None))
        later = "" if self._own else f"`python -m emonet_lightning mirror {self.lines}` sends the run later"
        self._write({"init": self.init, "offline": self.offline, "lines": str(self.lines), "later": later})
        for order in self._last.values():
            self._write(order)

    def _tell(self, kind: str, order: dict[str, Any]) -> None:
        self._start()
        self._last[kind] = order
        self._write(order)

    def _write(self, order: dict[str, Any]) -> None:
        """Write a line to the sender, if it takes it at once: the next one says all that this one does."""
        if self._sender is None or self._sender.stdin is None or os.getpid() != self._pid:
            return
        with contextlib.suppress(OSError, ValueError):
            self._sender.stdin.write(json.dumps(order).encode() + b"\n")

    def _reason(self) -> str:
        """Last line of the sender's log."""
        with contextlib.suppress(OSError):
            lines = self._log.read_text(errors="replace").split("\n")
            return next((line for line in reversed(lines) if line.strip()), "its sender ended")[:300]
        return "its sender ended"

    def _warn(self, reason: str) -> None:
        if not self._said:
            later = "" if self._own else f"; `python -m emonet_lightning mirror {self.lines}` sends what is missing"
            say(f"W&B {redact(reason)}; the run goes on without it, its own files have everything{later}")
        self._said = True


def mirrored(loggers: Sequence[Logger], folder: Path | None, run: Path | None, config: dict[str, Any]) -> list[Logger]:
    """Put a mirror in the place of each WandbLogger.

    Args:
        loggers: as configured.
        folder: of the stage that writes `metrics.jsonl`; None in `test` and `validate`.
        run: folder of all stages.
        config: of the run, which W&B shows, without secrets.

    Raises:
        UsageError: checkpoints should be uploaded.
    """
    found = []
    for logger in loggers:
        if not isinstance(logger, WandbLogger):
            found.append(logger)
            continue
        if logger._log_model:
            raise UsageError("trainer.logger.log_model: checkpoints are not sent to W&B; leave it out")
        init = {key: value for key, value in logger._wandb_init.items() if value is not None}
        if folder is None:
            own = secrets.token_hex(8)
        else:
            own = run_id(run or folder)
            own = agents_run() or (own if run in (None, folder) else f"{own}-{folder.name}")
        init = {"id": own, "dir": str(folder or "."), **init, "resume": "allow", "allow_val_change": True}
        init = redact({**init, "config": {**config, **(init.get("config") or {})}})
        found.append(WandbMirror(init, folder, logger._offline))
    return found
