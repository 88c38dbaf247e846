"""Run the benchmark: `python tests/benchmarks/run.py [--rows 1,3,14] [--rounds N] [--quick] [--gpu] [--out DIR]`.

Each row runs in a process of its own, so that peak memory, threads and allocator settings are the row's; a row that
fails leaves the others alone. Results go to RESULTS.md and RESULTS.json beside this file (of a quick run: into the
working folder), and rows that were not run keep their earlier figures.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from registry import KEEP_MEMORY, ROWS, Row, chosen  # noqa: E402
from results import figure, update  # noqa: E402


def main() -> int:
    """Run the chosen rows one after the other; returns 1 if one failed (a missed target is no failure)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", help="e.g. 1,3,14 or G1; default: all that need no GPU")
    parser.add_argument("--rounds", type=int, help="rounds of each comparison; default: the row's own number")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does everything run?")
    parser.add_argument("--gpu", action="store_true", help="GPU rows as well, where there is a GPU")
    parser.add_argument("--out", type=Path, help="folder of RESULTS.md and RESULTS.json")
    parser.add_argument("--work", type=Path, help="folder of made-up data, kept for the next run")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--report", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    work = args.work or Path(tempfile.gettempdir()) / f"emonet_benchmarks_{os.getuid()}"
    if args.worker:
        return _work(args.worker, args, work)
    out = args.out or (work / "quick" if args.quick else HERE)
    work.mkdir(parents=True, exist_ok=True)
    started, failed = time.monotonic(), []
    for row in chosen(args.rows, args.gpu):
        report = _run_row(row, args, work)
        text = update(out, {row.number: report}, args.quick)
        if report.get("error"):
            failed.append(row.number)
    print(
        f"\n{time.monotonic() - started:.0f} s; results: {text}" + (f"; failed: {', '.join(failed)}" if failed else "")
    )
    return 1 if failed else 0


def _run_row(row: Row, args: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Run one row in its own process and return its report."""
    print(f"\n== row {row.number}: {row.title}", flush=True)
    report = work / f"row_{row.number}.json"
    report.unlink(missing_ok=True)
    command = [sys.executable, __file__, "--worker", row.number, "--report", str(report), "--work", str(work)]
    command += ["--quick"] if args.quick else []
    command += ["--rounds", str(args.rounds)] if args.rounds else []
    threads = str(row.threads)
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "HF_HUB_OFFLINE": "1",
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "EMONET_CACHE": str(work / "cache"),
        "EMONET_STATE": str(work / "state"),
        **(KEEP_MEMORY if row.keep_memory else {}),
        **row.environment,
    }
    load, started = os.getloadavg()[0], time.monotonic()
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    error = ""
    try:
        code = process.wait(row.timeout_s)
        error = f"exit code {code}" if code else ""
    except subprocess.TimeoutExpired:
        error = f"not done after {row.timeout_s} s"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # its own session: nothing else is in it
            process.wait()
    found = json.loads(report.read_text()) if report.exists() else {"lines": []}
    found["error"] = error or found.get("error", "")
    found.update(title=row.title, threads=row.threads, load=[load, os.getloadavg()[0]])
    found["seconds"] = time.monotonic() - started
    for line in found["lines"]:
        target = f" (target {line['target']})" if line["target"] else ""
        print(f"  {line['verdict']:8s} {line['what']}: {figure(line)}{target}")
    if found["error"]:
        print(f"  FAILED: {found['error']}")
    print(f"  {found['seconds']:.0f} s, load {load:.1f} -> {found['load'][1]:.1f}", flush=True)
    return found


def _work(number: str, args: argparse.Namespace, work: Path) -> int:
    """Measure one row in this process and write its report."""
    import importlib
    import warnings

    from measuring import Line, Settings

    warnings.filterwarnings("ignore")
    row = next(row for row in ROWS if row.number == number)
    lines: list[Line] = []
    error = ""
    try:
        import torch

        torch.set_num_threads(row.threads)
        if row.gpu and not torch.cuda.is_available():
            lines = [Line(row.title, None, note="no GPU here: skipped")]
        else:
            module, function = row.function.split(":")
            settings = Settings(args.rounds, args.quick, str(work))
            for line in getattr(importlib.import_module(module), function)(settings):
                lines.append(line)
                _write_report(args.report, lines, "not finished")  # what is measured is kept whatever comes
    except Exception as problem:  # reported in the table; the other rows go on
        traceback.print_exc()
        error = " ".join(f"{type(problem).__name__}: {problem}".split())[:200]
    _write_report(args.report, lines, error)
    return 0


def _write_report(path: Path, lines: list[Any], error: str) -> None:
    from measuring import peak_memory_gib

    content = [{**vars(line), "verdict": line.verdict} for line in lines]
    path.write_text(json.dumps({"lines": content, "peak_memory_gib": peak_memory_gib(), "error": error}))


if __name__ == "__main__":
    sys.exit(main())
