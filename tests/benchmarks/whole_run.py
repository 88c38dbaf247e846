"""Row 14: the naive Lightning training of `naive_lightning.py` against `python -m emonet_lightning fit`, whole runs.

Same JPEGs (512 px, about 65 kB), same encoder weights (the embedded default, float32), same heads (Small), batch 256,
10 epochs, validation every epoch. Each run is a process of its own with two cores and one thread an operator; naive has
two loader workers. The clock starts when the libraries are imported (both sides import the same ones, the seconds are
stated) and stops when fit returns: reading, encoding, training, validating, checkpoints and logs are inside.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Line, Settings, Timing, cpu_seconds, peak_memory_gib, ratio_line

EPOCHS, BATCH = 10, 256


def whole_run(settings: Settings) -> Iterator[Line]:
    """Row 14."""
    from inputs import photo_set

    for kind, target in (("dense", ">= 8"), ("binary", ">= 15")):
        packed = photo_set(settings, kind)
        found: dict[str, list[dict[str, Any]]] = {"naive": [], "ours": []}
        for number in range(settings.num_rounds(2)):
            for side in ("naive", "ours") if number % 2 == 0 else ("ours", "naive"):
                run = _side(side, packed.path, kind, settings.pick(EPOCHS, 2))
                found[side].append(run)
                print(f"    {kind}, {side}: {run['cpu']:.1f} CPU-s, {run['wall']:.1f} s, {run['quality']}", flush=True)
        # what a run takes before and after the work: command line, checks, report with figures
        fixed = _side("ours", photo_set(settings, kind, 60).path, kind, 1)["cpu"]
        yield from _lines(kind, target, found, _parts(packed, kind, settings), fixed)


def _lines(
    kind: str, target: str, found: dict[str, list[dict[str, Any]]], parts: dict[str, float], fixed: float
) -> Iterator[Line]:
    timings = {
        side: Timing([run["cpu"] for run in runs], [run["wall"] for run in runs]) for side, runs in found.items()
    }
    name = "dense labels" if kind == "dense" else "BINARY-like labels (2 of 40)"
    quality = {side: float(np.median([run["quality"] for run in runs])) for side, runs in found.items()}
    memory = {side: found[side][0]["memory"] for side in found}
    metric = "Spearman" if kind == "dense" else "average precision"
    note = (
        f"{metric} of the last epoch, mean over emotions: naive {quality['naive']:.3f}, ours {quality['ours']:.3f}; "
        + "; ".join(f"{side} {m['own']:.2f} GiB + {m['largest_child']:.2f} GiB a worker" for side, m in memory.items())
    )
    yield ratio_line(f"{name}, CPU time", timings, "naive", "ours", target, note, quality=quality, memory=memory)
    yield ratio_line(f"{name}, wall time", timings, "naive", "ours", by="wall")
    naive, ours = (float(np.median(timings[side].cpu)) for side in ("naive", "ours"))
    ceiling = sum(parts.values())
    spent = ", ".join(f"{part} {seconds:.2f}" for part, seconds in parts.items())
    yield Line(
        f"{name}, share of the ceiling reached",
        ceiling / ours,
        "x",
        ">= 0.8",
        f"ceiling {naive / ceiling:.1f}x: CPU seconds that cannot be avoided, measured bare: {spent}; "
        f"our fit on 60 images, one epoch, takes {fixed:.1f} CPU-s: command line, checks and report do not shrink",
        {"ceiling": naive / ceiling, "parts": parts},
    )
    imports = [float(np.median([run["imports"] for run in found[side]])) for side in ("naive", "ours")]
    with_imports = (naive + imports[0]) / (ours + imports[1])
    note = f"imports: naive {imports[0]:.1f} CPU-s, ours {imports[1]:.1f} CPU-s, whatever the number of images"
    yield Line(f"{name}, CPU time from the start of Python", with_imports, "x", "", note)


def _side(side: str, folder: Path, kind: str, epochs: int) -> dict[str, Any]:
    """Run one side in a process of its own, with an empty cache."""
    with tempfile.TemporaryDirectory() as out:
        environment = {**os.environ, "EMONET_CACHE": f"{out}/cache"}
        command = [sys.executable, __file__, side, str(folder), kind, str(epochs), out]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        report = Path(out, "report.json")
        if done.returncode or not report.exists():
            raise RuntimeError(f"{side} run failed: {done.stderr[-3000:]}")
        return json.loads(report.read_text())


def _parts(packed: Any, kind: str, settings: Settings) -> dict[str, float]:
    """Return CPU seconds that no implementation on these operators avoids, each measured alone, best of three."""
    import simplejpeg
    import torch
    from head_loop import stacked_step
    from sparse_rows import pairs_step

    from emonet_lightning.encoders import EncoderSpec, FrozenEncoder
    from emonet_lightning.heads import EmotionHeads

    encoder = FrozenEncoder.load(EncoderSpec())
    size, epochs = encoder.preprocess.size, settings.pick(EPOCHS, 2)
    images = [packed.read_image(row) for row in range(100)]
    pixels = [torch.from_numpy(simplejpeg.decode_jpeg(data)).permute(2, 0, 1)[None] for data in images]

    def resize() -> None:
        for image in pixels:
            torch.nn.functional.interpolate(image, (size, size), mode="bicubic", antialias=True)

    batch = torch.randint(0, 255, (96, 3, size, size), dtype=torch.uint8)
    x, target = torch.randn(BATCH, encoder.dim), torch.rand(BATCH, 40)
    heads = EmotionHeads(40, encoder.dim, (128, 32), 0.1)
    step = stacked_step(heads, x, target, clip=1.0)
    if kind == "binary":
        mask = torch.zeros(BATCH, 40, dtype=torch.bool).scatter_(1, torch.rand(BATCH, 40).topk(2).indices, True)
        step = pairs_step(heads, x, target, mask)
    num_train, num_val = len(packed.splits["train"]), len(packed.splits["val"])

    def infer() -> None:
        with torch.no_grad():
            heads(x)

    return {
        "decode": _best(lambda: [simplejpeg.decode_jpeg(data) for data in images]) / 100 * len(packed),
        "resize": _best(resize) / 100 * len(packed),
        "encode": _best(lambda: encoder.encode(batch)) / 96 * len(packed),
        "steps of the heads": _best(step, 10) * -(-num_train // BATCH) * epochs,
        "validation": _best(infer, 10) * num_val / BATCH * epochs,
    }


def _best(call: Callable[[], object], repeat: int = 1) -> float:
    call()
    seconds = []
    for _ in range(3):
        start = time.process_time()
        for _ in range(repeat):
            call()
        seconds.append((time.process_time() - start) / repeat)
    return min(seconds)


def _naive(folder: Path, kind: str, epochs: int, out: Path) -> tuple[Callable[[], None], Callable[[], float]]:
    """Import what the naive side needs; return the run, and the quality that it reached."""
    import naive_lightning
    import timm  # noqa: F401  (before the clock starts)
    import torch

    from emonet_lightning.encoders import EncoderSpec, FrozenEncoder
    from emonet_lightning.metrics import val_score
    from emonet_lightning.taxonomy import Taxonomy

    slugs, found = Taxonomy.load("emonet40").slugs, []

    def run() -> None:
        encoder = FrozenEncoder.load(EncoderSpec())
        module = encoder.module.to(memory_format=torch.contiguous_format)
        found[:] = naive_lightning.train(folder, module, encoder.preprocess.size, slugs, kind == "binary", epochs, out)

    def quality() -> float:
        scores, target, mask = found
        truth = np.where(mask, target / (7 if kind == "binary" else 1), np.nan).astype(float)
        metric = "average_precision" if kind == "binary" else "spearman"
        return val_score(scores.astype(float), truth, metric, np.zeros(40), 40).mean

    return run, quality


def _ours(folder: Path, kind: str, epochs: int, out: Path) -> tuple[Callable[[], None], Callable[[], float]]:
    """Import what our side needs; return the run, and the quality that it reached."""
    # what the command itself imports on its way, here before the clock starts
    import matplotlib.figure  # noqa: F401
    import timm  # noqa: F401

    import emonet_lightning.export
    import emonet_lightning.reporting.run_figures
    import emonet_lightning.reporting.run_report
    import emonet_lightning.stages  # noqa: F401
    from emonet_lightning.cli import main

    options = ["--data", "ExpertBinary" if kind == "binary" else "SyntheticFaces", f"--data.path={folder}"]
    options += [f"--data.batch_size={BATCH}", f"--trainer.max_epochs={epochs}", "--trainer.accelerator=cpu"]

    def run() -> None:
        code = main(["fit", "--model.widths=small", "--trainer.devices=1", *options, f"--out={out}/run"])
        if code:
            raise SystemExit(code)

    def quality() -> float:
        lines = [json.loads(line) for line in (out / "run" / "metrics.jsonl").read_text().splitlines()]
        last = [line["val/score"] for line in lines if "val/score" in line][-1]
        return float("nan") if last is None else last  # too few validation rows to judge any emotion

    return run, quality


def _main() -> None:
    """Run one side in this process and report."""
    import warnings

    warnings.filterwarnings("ignore")
    side, folder, kind, epochs, out = sys.argv[1:]
    run, quality = {"naive": _naive, "ours": _ours}[side](Path(folder), kind, int(epochs), Path(out))
    imports, started = cpu_seconds(), time.perf_counter()
    run()
    report = {"cpu": cpu_seconds() - imports, "wall": time.perf_counter() - started, "imports": imports}
    report |= {"memory": peak_memory_gib(), "quality": quality()}
    Path(out, "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    _main()
