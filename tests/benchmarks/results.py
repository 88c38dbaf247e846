"""RESULTS.json and RESULTS.md: what was measured, where, when, and whether the target was met.

A run of some rows replaces these rows and leaves the others as they are, each with its own date, machine and load.
"""

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from registry import ROWS

PACKAGES = ("torch", "lightning", "timm", "webdataset", "simplejpeg", "pillow", "numpy", "scikit-learn", "krippendorff")
HEAD = """# Benchmark

Made by `python tests/benchmarks/run.py` (`--rows 3,14` measures some rows anew and keeps the others). Both sides of a
row run in turns (A B, B A, ...) in one process; a figure is the median over rounds of the ratio other / ours within a
round, quartiles in brackets. CPU s: CPU seconds per call or run, all threads; wall s: the same by the clock on the
wall, where other programs on the machine count. Load: of the last minute, before and after the row. Peak memory:
largest resident size of the row's process (+ largest child process), both sides and their data. Rows of training steps
run with an allocator that keeps freed memory (`KEEP_MEMORY` in `registry.py` says why), the others as users run them.
"""


def machine() -> dict[str, Any]:
    """Return hardware, versions and commit of this run."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": f"{len(os.sched_getaffinity(0))} cores {model}",
        "memory": f"{memory:.0f} GiB",
        "gpu": _gpu(),
        "python": platform.python_version(),
        "versions": versions,
        "commit": commit or "unknown",
    }


def _gpu() -> str:
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "none"


def update(folder: Path, measured: dict[str, dict[str, Any]], quick: bool) -> Path:
    """Merge rows into RESULTS.json and write RESULTS.md anew.

    Args:
        folder: where both files are.
        measured: row number -> what its process reported.
        quick: the figures come from tiny sizes.

    Returns:
        The Markdown file.
    """
    path = folder / "RESULTS.json"
    content = json.loads(path.read_text()) if path.exists() else {"rows": {}}
    described = machine()
    for number, report in measured.items():
        skipped = all(line["verdict"] == "skipped" for line in report["lines"]) and not report["error"]
        if skipped and number in content["rows"]:
            continue  # figures from a machine with a GPU are not replaced by none
        date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
        content["rows"][number] = {**report, "date": date, "quick": quick, "machine": described}
    content["rows"] = {row.number: content["rows"][row.number] for row in ROWS if row.number in content["rows"]}
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    text = folder / "RESULTS.md"
    text.write_text(markdown(content["rows"]))
    return text


def markdown(rows: dict[str, dict[str, Any]]) -> str:
    """Return the table, and below it what has to be known of each row."""
    machines: list[dict[str, Any]] = []
    for report in rows.values():
        if report["machine"] not in machines:
            machines.append(report["machine"])
    parts = [HEAD]
    for number, found in enumerate(machines, start=1):
        versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
        parts.append(
            f"Machine {number}: {found['cpu']}, {found['memory']}, GPU: {found['gpu']}; Python {found['python']}, "
            f"{versions}; commit {found['commit']}.\n"
        )
    if any(report["quick"] for report in rows.values()):
        parts.append(
            "**Rows marked `quick` come from tiny sizes and few rounds: they show that a row runs, no more.**\n"
        )
    head = "| # | what | target | measured | | other: CPU s / wall s | ours: CPU s / wall s |"
    parts += [head, "|---|---|---|---|---|---|---|"]
    for number, report in rows.items():
        parts.append(f"| **{number}** | **{report['title']}** | | | | | |")
        parts += [_table_line(line) for line in report["lines"]]
        if report.get("error"):
            parts.append(f"| | the row failed: `{report['error']}` | | | FAILED | | |")
    parts.append("")
    for number, report in rows.items():
        notes = [f"- {line['what']}: {line['note']}" for line in report["lines"] if line["note"]]
        memory = report.get("peak_memory_gib", {})
        load = " -> ".join(f"{value:.1f}" for value in report["load"])
        parts.append(
            f"**Row {number}** ({report['date']}, machine {machines.index(report['machine']) + 1}"
            f"{', quick' if report['quick'] else ''}): {report['threads']} thread(s) an operator, load {load}, "
            f"{report['seconds']:.0f} s in all, peak memory {memory.get('own', 0):.2f} GiB"
            f" + {memory.get('largest_child', 0):.2f} GiB.\n" + "\n".join(notes) + ("\n" if notes else "")
        )
    return "\n".join(parts)


def _table_line(line: dict[str, Any]) -> str:
    details = line["details"]
    sides = ["", ""]
    if "cpu" in details and "wall" in details:
        sides = [f"{_short(details['cpu'][s])} / {_short(details['wall'][s])}" for s in ("other", "ours")]
    return (
        f"| | {line['what']} | {line['target'].replace('>=', '≥').replace('<=', '≤')} | {figure(line)} "
        f"| {line['verdict']} | {sides[0]} | {sides[1]} |"
    )


def figure(line: dict[str, Any]) -> str:
    """Return a figure with its unit and quartiles."""
    if line["value"] is None:
        return "-"
    text = _short(line["value"]) + {"x": "x", "relative": ""}.get(line["unit"], f" {line['unit']}")
    own = line["details"].get(line["details"].get("clock", ""), {})
    if own.get("rounds", 1) > 1:
        text += f" [{_short(own['low'])}, {_short(own['high'])}], {own['rounds']} rounds"
    return text


def _short(value: float) -> str:
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
