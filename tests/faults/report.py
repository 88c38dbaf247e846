"""Write RESULTS.md from the results files: `python tests/faults/report.py`.

RESULTS.json keeps the tallies: a campaign whose results file is not on this machine keeps its figures.
"""

import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from campaign import read_outcomes, results_folder  # noqa: E402

WHAT = {
    "sigkill": ("SIGKILL at random moments, then resumed: not the same bits", "kills"),
    "order": ("order of the samples differs with processes or workers", ""),
    "signals": ("SIGTERM, SIGUSR1, SIGINT in each phase: a checkpoint more than a step old, or exit code 0", ""),
    "write_kills": ("kills at write sites and in the save: newest not loadable, or an older one lost", "struck"),
    "damaged_checkpoints": (
        "newest checkpoint flipped, cut, emptied, foreign: not resumed from the one before",
        "",
    ),
    "write_errors": ("EACCES, ENOSPC, EIO, EROFS, EDQUOT at write sites: said to be saved, or state lost", "struck"),
    "shard_mutations": ("shard mutations of 8 kinds: silent loss, silent wrong content, false alarms", ""),
    "flips_checkpoint": ("one-bit flips in a checkpoint: accepted", ""),
    "flips_heads": ("one-bit flips in exported heads, safetensors and .pth: accepted", ""),
    "bit_flips_cache": ("one-bit flips in a feature cache: accepted, or not mended by the next build", ""),
    "flips_encoder": ("one-bit flips in an encoder's weights: accepted", ""),
    "bad_inputs": ("bad inputs: traceback, wrong exit code, or a line that does not name file and field", ""),
    "mutated_configs": ("mutated configurations of every shipped file: traceback, hang, or invalid one accepted", ""),
    "malicious_files": ("malicious files: code executed, or a connection made", ""),
    "settings_bombs": ("resource bombs in settings, tables and weights: not refused within 5 s and 1 GiB", ""),
    "shard_bombs": ("resource bombs in shards and images: not refused within 5 s and 1 GiB", ""),
    "cache_kills": ("builds of a feature cache killed, alone and among others: the next ones end with other bytes", ""),
    "pack_kills": ("packing killed: the next call ends with another set, or writes a finished shard again", ""),
    "secrets": ("secrets given in 25 ways, as they are, quoted or in base64: found in an output", ""),
    "ranks": ("one of two processes killed: not all down within 20 s, or not resumed to the same bits", ""),
}
"""Of each campaign: what counts as a failure, and the number that its trials tell, where a trial is several faults."""
BESIDE = {
    "compare_sigkill": "killed three times, then resumed: other bits, or other log, than a run never killed",
    "compare_sigterm": "asked to stop by SIGTERM: exit code 0 though not finished",
    "compare_shards": "a shard damaged: silent loss, or silent wrong content",
    "compare_flips": "one bit flipped in a checkpoint or safetensors file: accepted",
}

SHOWN = {
    "tests/faults/test_slurm_jobs.py": "a real Slurm: two tasks train over gloo; a job signalled before its limit is "
    "requeued and ends with the same bits; one that is not requeued fails aloud; an array of four encodes the bytes of "
    "one process; two nodes read the cache from their own disks",
    "tests/faults/test_slurm_scripts.py": "60 hostile words, as arguments and variables of Slurm's scripts, do nothing",
    "tests/faults/test_wandb_mirror.py": "W&B's offline files of 5 killed segments have each step once; a run does not "
    "notice that W&B's service dies, or that there is no key or network",
    "tests/test_processes.py": "a signal to either of two processes stops both; an error of one is said once; other "
    "code in one is refused",
}
"""What is not counted in trials: file of the tests, and what they show."""
COSTS = ("17", "18")
"""Rows of the benchmark that measure what all of this costs."""


def main() -> int:
    """Merge the results files into RESULTS.json and write RESULTS.md beside it."""
    kept = HERE / "RESULTS.json"
    tallies: dict[str, dict[str, Any]] = json.loads(kept.read_text()) if kept.is_file() else {}
    for path in sorted(results_folder().glob("*.jsonl")):
        name, form = path.name.split(".")[:2]
        if outcomes := read_outcomes(path):
            tallies.setdefault(name, {})[form] = tally_of(name, outcomes)
    kept.write_text(json.dumps(tallies, indent=1, sort_keys=True) + "\n")
    (HERE / "RESULTS.md").write_text(text_of(tallies))
    return 0


def tally_of(name: str, outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of one form of a campaign."""
    counted = WHAT.get(name, ("", ""))[1]
    tally: dict[str, Any] = {
        "trials": len(outcomes),
        "faults": round(sum(outcome.get(counted, 0) for outcome in outcomes)) if counted else len(outcomes),
        "failed": sum(not outcome["ok"] for outcome in outcomes),
        "seconds": round(sum(outcome["seconds"] for outcome in outcomes)),
        "date": max(outcome["time"] for outcome in outcomes)[:10],
        "machine": Counter(outcome["machine"] for outcome in outcomes).most_common(1)[0][0],
        "test": max(outcome["test"] for outcome in outcomes),
        "sources": sorted({outcome["source"] for outcome in outcomes}),
    }
    if any("naive_ok" in outcome for outcome in outcomes):
        tally["naive_failed"] = sum(not outcome["naive_ok"] for outcome in outcomes)
    if any("phases" in outcome for outcome in outcomes):
        tally["phases"] = dict(sum((Counter(outcome.get("phases", {})) for outcome in outcomes), Counter()))
    return tally


def text_of(tallies: dict[str, dict[str, Any]]) -> str:
    """Return the tables."""
    lines = [
        "# Exact under faults: results",
        "",
        "Written by `python tests/faults/report.py`. Each figure is failures of faults, in the quick form (part of "
        "`pytest`) and in the full form; the command is that of the full form, without `-m slow` it is the quick one. "
        "A full campaign that was stopped goes on where it was.",
        "",
        "| what must not happen | quick | full | command | date | machine |",
        "|---|---|---|---|---|---|",
    ]
    rest = sorted(set(tallies) - set(WHAT) - set(BESIDE))
    for name in [*WHAT, *rest]:
        if name not in tallies:
            continue
        what = WHAT[name][0] if name in WHAT else described(name, tallies[name])
        forms = tallies[name]
        newest = forms.get("full") or forms["quick"]
        lines.append(
            f"| {what} | {figure(forms.get('quick'))} | {figure(forms.get('full'))} | `{command(newest)}` "
            f"| {newest['date']} | {newest['machine']} |"
        )
    kills = tallies.get("sigkill", {}).get("full") or tallies.get("sigkill", {}).get("quick")
    if kills and "phases" in kills:
        where = ", ".join(f"{count} in {phase}" for phase, count in sorted(kills["phases"].items()))
        lines += ["", f"Where the SIGKILLs of the first row fell: {where}."]
    lines += [
        "",
        "## The plain stack beside it",
        "",
        "The plain stack is `tests/faults/naive.py`: Lightning's `ModelCheckpoint` and webdataset's pipeline, seeded, "
        "with deterministic shuffling, resumed from `last.ckpt`. Both get the same faults in one run.",
        "",
        "| the same fault | plain stack: failures of trials | this project | command | date |",
        "|---|---|---|---|---|",
    ]
    for name, what in BESIDE.items():
        if name in tallies:
            found = tallies[name].get("full") or tallies[name]["quick"]
            lines.append(
                f"| {what} | {found['naive_failed']} of {found['trials']} | {figure(found)} | `{command(found)}` "
                f"| {found['date']} |"
            )
    lines += ["", "## Shown by tests", "", "| what | command |", "|---|---|"]
    lines += [f"| {what} | `python -m pytest -m 'slow or not slow' -n 0 {file}` |" for file, what in SHOWN.items()]
    return "\n".join([*lines, *cost_lines()]) + "\n"


def cost_lines() -> list[str]:
    """Return the table of what exactness costs, from the benchmark's results."""
    rows = json.loads((HERE.parent / "benchmarks" / "RESULTS.json").read_text())["rows"]
    lines = [
        "",
        "## What it costs",
        "",
        "The same calls with all of it and with it switched off, in turns, medians; the target is 3 %.",
        "",
        "| what | with / switched off [quartiles] | target | command | date |",
        "|---|---|---|---|---|",
    ]
    for number in COSTS:
        for line in rows[number]["lines"] if number in rows else []:
            spread = line["details"][line["details"]["clock"]]
            what = line["what"].replace(": with / switched off", "")
            lines.append(
                f"| {what} | {line['value']:.3f} [{spread['low']:.3f}, {spread['high']:.3f}] | {line['verdict']} "
                f"| `python tests/benchmarks/run.py --rows {number}` | {rows[number]['date']} |"
            )
    return lines


def figure(tally: dict[str, Any] | None) -> str:
    """Failures of faults."""
    return "-" if tally is None else f"{tally['failed']} of {tally['faults']:,}"


def described(name: str, forms: dict[str, Any]) -> str:
    """What a campaign is about, by the name of its test."""
    test = next(iter(forms.values()))["test"]
    found = re.search(r"::test_(\w+)", test)
    return f"{name}: {found[1].replace('_', ' ')} (does not hold)" if found else name


def command(tally: dict[str, Any]) -> str:
    """The command that runs a campaign again."""
    file, _, test = tally["test"].partition("::")
    slow = "" if "quick" in test else "-m slow "
    return f"python -m pytest {slow}-n 0 {file}::{test.partition('[')[0]}"


if __name__ == "__main__":
    sys.exit(main())
