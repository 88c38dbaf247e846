"""The ledger of tests: every use of a test split is one line beside the set's manifest, and is never taken back.

A split that was looked at a hundred times has chosen a system, not judged one; so reports print the count. Results
themselves do not hold it: they must be equal for equal heads.
"""

import datetime
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from emonet_lightning.appending import append_line
from emonet_lightning.errors import OutputError
from emonet_lightning.io import fingerprint, read_bytes, read_json
from emonet_lightning.packing.seals import state_root, warn_once

if TYPE_CHECKING:
    from emonet_lightning.packing.packed import PackedSet

LEDGER_FILE = "test_ledger.jsonl"
USE_FILE = "test_use.json"
"""In a run's folder: how often the split was used when the run was tested on it."""


class Use(NamedTuple):
    """A test as the ledger counts it."""

    set_name: str
    split: str
    num_uses: int
    """Of this split, or of a sealed set whole or in part; this one included."""
    num_heads: int
    """Different heads among them."""

    def sentence(self) -> str:
        """Return what a report says."""
        times = "once" if self.num_uses == 1 else f"{self.num_uses} times"
        heads = "1 set of heads" if self.num_heads == 1 else f"{self.num_heads} different heads"
        return f"this test split ('{self.split}' of {self.set_name}) was used {times} ({heads})"


def record_test(packed: "PackedSet", rows: np.ndarray, *, run: str, config: str, heads: str) -> Use | None:
    """Enter a test into the ledger of its set.

    The ledger lies beside the set's manifest or, where that cannot be written, in the state folder (with a warning);
    both are counted.

    Args:
        packed: the set.
        rows: of it, that were tested on.
        run: name of the run's folder.
        config: digest of the resolved configuration.
        heads: digest of the heads.

    Returns:
        The count; None, with a warning, where no ledger could be written.
    """
    split = split_name(packed, rows)
    beside, apart = packed.path / LEDGER_FILE, state_root() / "ledgers" / f"{packed.digest}.jsonl"
    found: list[Use] = []

    def line(content: bytes, other: Path) -> str:
        # a copied folder takes its ledger along, so entries tell which set they are of
        # a sealed set is one test split: testing on parts of it, such as folds, does not begin a new count
        counted = None if packed.sealed else split
        known = [entry for entry in _entries([content, _content(other)]) if _is(entry, packed.digest, counted)]
        use = Use(packed.name, split, len(known) + 1, len({heads, *(entry["heads"] for entry in known)}))
        found.append(use)
        entry = {
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "run": run,
            "config": config,
            "heads": heads,
            "set": packed.digest,
            "split": split,
            "num_samples": len(rows),
            "use": use.num_uses,
        }
        return json.dumps(entry, ensure_ascii=False)

    try:
        append_line(beside, lambda content: line(content, apart))
    except OutputError as error:
        warn_once(f"{error}; this test is counted in {apart}")
        try:
            append_line(apart, lambda content: line(content, beside))
        except OutputError as second:
            warn_once(f"{second}; this test is not counted anywhere")
            return None
    return found[-1]


def split_name(packed: "PackedSet", rows: np.ndarray) -> str:
    """Return the name of the set's split that consists of these rows; of other rows, their number and digest."""
    for name, own in packed.splits.items():
        if np.array_equal(own, rows):
            return name
    return "all" if len(rows) == packed.num_samples else f"{len(rows)} rows {fingerprint(rows.tolist())[:8]}"


def use_of_run(folder: Path) -> Use | None:
    """Return what the ledger counted when a run was last tested; None where it was not."""
    return Use(**read_json(folder / USE_FILE)) if (folder / USE_FILE).is_file() else None


def _is(entry: Any, digest: str, split: str | None) -> bool:
    """Whether a line is a test of this set, and of this split unless None."""
    if not isinstance(entry, dict) or not isinstance(entry.get("heads"), str):
        return False
    return entry.get("set") == digest and split in (None, entry.get("split"))


def _entries(ledgers: Iterable[bytes]) -> Iterable[Any]:
    for line in b"\n".join(ledgers).splitlines():
        try:
            yield json.loads(line)
        except ValueError:  # whoever wrote it was killed; it stays where it is
            continue


def _content(path: Path) -> bytes:
    try:
        return read_bytes(path) if path.is_file() else b""
    except OutputError:
        return b""
