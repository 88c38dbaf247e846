"""Who writes which share of a cache: claims with a heartbeat, by files alone.

Ranks do not talk to each other here: a collective would hang with the rank that failed, and the same files also serve
two jobs that start on one cache at once. The one trade-off is latency: a waiting rank looks every half second.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from emonet_lightning import errors, interruption
from emonet_lightning.io import atomic_write

BEAT_SECONDS = 2.0
POLL_SECONDS = 0.5
SILENCE_SECONDS = 10.0
"""A claim that has not moved for so long is not respected; at worst a block is written twice, with equal bytes."""
STALL_SECONDS = 120.0
"""How long a rank waits while no writer at all is seen; covers ranks that start late."""


class WriterClaim:
    """Rank `rank` of a build says that it is alive, until it has written its share or failed.

    Use as a context manager around the writing. While another live process holds the claim, `__enter__` waits; the
    blocks which that one wrote are then found finished.
    """

    def __init__(self, folder: Path, rank: int) -> None:
        self.path = folder / f"writer-{rank}.json"
        self._claim: dict[str, Any] = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "rank": rank,
            "id": uuid.uuid4().hex,
            "beat": 0,
        }
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "WriterClaim":
        watch = Watch()
        while watch.is_live(self.path, SILENCE_SECONDS):
            interruption.check(f"{self.path.parent}: waiting for another writer")
            time.sleep(POLL_SECONDS)
        self._write()
        self._thread.start()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._stop.set()
        self._thread.join()
        if error is None:
            self.path.unlink(missing_ok=True)
            return
        plain = isinstance(error, errors.EmoNetError)
        text = str(error) if plain else f"{type(error).__name__}: {' '.join(str(error).split())}"
        known = next(base.__name__ for base in type(error).__mro__ if hasattr(errors, base.__name__)) if plain else ""
        self._claim |= {"error": text, "kind": known or "EmoNetError"}
        try:
            self._write()
        except errors.OutputError:  # the error itself is what its user needs to see
            return

    def _run(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            self._claim["beat"] += 1
            try:
                self._write()
            except errors.OutputError:  # writing a block will meet the same problem and say so
                continue

    def _write(self) -> None:
        atomic_write(self.path, json.dumps(self._claim) + "\n")


class Watch:
    """Judges claims by whether they change while being watched, so hosts need no common clock."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[str, float]] = {}

    def read(self, path: Path) -> dict[str, Any] | None:
        """Return a claim, or None if there is none."""
        try:
            text = path.read_text()
            claim: dict[str, Any] = json.loads(text)
        except (OSError, ValueError):
            return None
        if self._seen.get(path, ("", 0.0))[0] != text:
            self._seen[path] = (text, time.monotonic())
        return claim

    def is_live(self, path: Path, silence: float) -> bool:
        """Whether a claim's process is alive: not known dead on this host, and a beat within `silence` seconds."""
        claim = self.read(path)
        if claim is None or "error" in claim:
            return False
        here = claim["host"] == socket.gethostname()
        if here and not _process_exists(int(claim["pid"])):
            return False
        return time.monotonic() - self._seen[path][1] < silence


def earlier_claims(folder: Path) -> set[str]:
    """Return the ids of claims that dead or failed writers have left: those say nothing about a build that begins."""
    watch = Watch()
    claims = {path: watch.read(path) for path in folder.glob("writer-*.json")}
    return {claim["id"] for path, claim in claims.items() if claim and not watch.is_live(path, float("inf"))}


def wait_for_blocks(folder: Path, missing: Callable[[], list[str]], earlier: set[str], stall_seconds: float) -> None:
    """Wait until the other writers have finished.

    Args:
        folder: where the claims are.
        missing: returns the names of blocks that are not there yet.
        earlier: `earlier_claims` as this build began.
        stall_seconds: how long no writer may be seen alive.

    Raises:
        EmoNetError: what another writer failed of.
        InterruptedRunError: writers died; finished blocks are kept.
    """
    watch, last_life = Watch(), time.monotonic()
    while absent := missing():
        interruption.check(f"{folder}: waiting for other writers")
        dead = []
        for path in sorted(folder.glob("writer-*.json")):
            claim = watch.read(path)
            if claim is None or claim["id"] in earlier:
                continue
            if "error" in claim:
                kind = getattr(errors, claim["kind"], errors.EmoNetError)
                raise kind(f"{claim['error']} (met by writer {claim['rank']} on {claim['host']})")
            if watch.is_live(path, stall_seconds):
                last_life = time.monotonic()
            else:
                dead.append(f"writer {claim['rank']} (pid {claim['pid']} on {claim['host']})")
        quiet = time.monotonic() - last_life
        if quiet > (4 * POLL_SECONDS if dead else stall_seconds) and missing() == absent:
            who = f"{', '.join(dead)} died" if dead else f"no writer was seen for {stall_seconds:g} s"
            raise errors.InterruptedRunError(
                f"{folder}: {len(absent)} blocks are missing ({absent[0]}, ...) and {who}; "
                "start again, finished blocks are kept"
            )
        time.sleep(POLL_SECONDS)


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
