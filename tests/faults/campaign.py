"""Campaigns: many trials of one kind of fault, each noted as it ends, so that hours of them can be stopped and go on.

A quick campaign runs every trial; a full one skips those that the results file names already. Nothing is asserted
here: a test runs a campaign and asserts `tally.failed == []`.
"""

import functools
import hashlib
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
AGAIN = "EMONET_FAULTS_AGAIN"
"""`failed` runs trials again that failed before, `changed` those of other source code, `all` every one."""


@dataclass
class Tally:
    """What a campaign found.

    Args:
        name: of the campaign.
        outcomes: one dict a trial: `trial`, `ok`, and whatever the trial told.
        skipped: trials that were done before.
    """

    name: str
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    skipped: int = 0

    @property
    def failed(self) -> list[dict[str, Any]]:
        """Outcomes that are not ok."""
        return [outcome for outcome in self.outcomes if not outcome["ok"]]

    def total(self, key: str) -> float:
        """Return the sum of a number that trials told."""
        return sum(float(outcome.get(key, 0)) for outcome in self.outcomes)

    def __str__(self) -> str:
        seconds = self.total("seconds")
        return f"{self.name}: {len(self.outcomes)} trials, {len(self.failed)} failed, {seconds:.0f} s"


def results_folder() -> Path:
    """Folder of the results files."""
    folder = Path(os.environ.get("EMONET_FAULT_RESULTS") or HERE / "results")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def results_file(name: str, full: bool) -> Path:
    """File of a campaign's outcomes, a JSON line each."""
    return results_folder() / f"{name}.{'full' if full else 'quick'}.jsonl"


def run_campaign(name: str, trials: Sequence[str], run: Callable[[str], dict[str, Any]], *, full: bool) -> Tally:
    """Run the trials of a campaign, one after the other.

    Args:
        name: of the campaign and of its results file; letters, digits and underscores.
        trials: names; whatever is random in a trial comes from its name.
        run: of a trial; returns a dict with `ok` and details as JSON holds them. What it raises is a failure.
        full: skip trials whose outcome the results file has; a quick campaign begins its file anew.

    Returns:
        Outcomes of all these trials, those of earlier sessions included.
    """
    if len(set(trials)) != len(trials):
        raise ValueError(f"{name}: two trials of one name")
    path = results_file(name, full)
    if not full:
        path.unlink(missing_ok=True)
    done = {outcome["trial"]: outcome for outcome in read_outcomes(path) if _counts(outcome)}
    tally = Tally(name)
    for number, trial in enumerate(trials, start=1):
        if trial in done:
            tally.outcomes.append(done[trial])
            tally.skipped += 1
            continue
        started = time.monotonic()
        try:
            found = run(trial)
            outcome = {**found, "ok": bool(found["ok"])}
        except Exception as error:  # a trial that breaks is a finding, and no reason to stop
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}:{last.lineno}"
            outcome = {"ok": False, "error": f"{type(error).__name__} at {where}: {error}"[:2000]}
        outcome = {
            "trial": trial, **outcome, "seconds": round(time.monotonic() - started, 2),
            "time": time.strftime("%Y-%m-%d %H:%M", time.gmtime()), "source": source_digest(), "test": _test(),
            "machine": machine(),
        }  # fmt: skip
        with path.open("a") as stream:
            stream.write(json.dumps(outcome, default=str) + "\n")
        tally.outcomes.append(outcome)
        print(
            f"[{name}] {number}/{len(trials)} {trial}: {'ok' if outcome['ok'] else 'FAILED'} "
            f"{outcome['seconds']:.1f} s; so far {len(tally.failed)} failed",
            file=sys.stderr, flush=True,
        )  # fmt: skip
    return tally


def read_outcomes(path: Path) -> list[dict[str, Any]]:
    """Outcomes in a results file; of a trial that is there twice the last; a line that was cut off is left out."""
    found: dict[str, dict[str, Any]] = {}
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            outcome = json.loads(line)
        except ValueError:
            continue
        found[outcome["trial"]] = outcome
    return list(found.values())


@functools.cache
def source_digest() -> str:
    """Digest of the package's source code, of which a trial speaks."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "emonet_lightning").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@functools.cache
def machine() -> str:
    """The machine, in words."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []:
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{len(os.sched_getaffinity(0))} cores of {model}, no GPU used"


def _counts(outcome: dict[str, Any]) -> bool:
    again = os.environ.get(AGAIN)
    if again == "all" or (again == "failed" and not outcome["ok"]):
        return False
    return not (again == "changed" and outcome.get("source") != source_digest())


def _test() -> str:
    return os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0]
