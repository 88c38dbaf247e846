"""Row 16: how times grow with rows, with heads and with processes."""

import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from statistics import median

from fits import build, fit
from head_loop import DROPOUT, FEATURES, made_up_batch, stacked_step
from inputs import photo_set
from loop_rows import BATCH, cached_data
from measuring import Line, Settings, interleave

from emonet_lightning.heads import WIDTHS, EmotionHeads


def growth(settings: Settings) -> Iterator[Line]:
    """Row 16."""
    yield _with_rows(settings)
    yield _with_heads(settings)
    yield from _with_processes(settings)


def _with_rows(settings: Settings) -> Line:
    """Time per row of an epoch on cached features: narrow heads, so that feeding is a large part of it."""
    sizes = settings.pick((10_000, 50_000, 100_000, 200_000), (1024, 2048))
    per_row: dict[int, list[float]] = {size: [] for size in sizes}
    rounds = settings.num_rounds(3)
    for number in range(rounds + 1):
        for size in sizes if number % 2 else reversed(sizes):
            data = cached_data(settings, size, BATCH)
            # equally many rows in each turn, so that a turn lasts as long for few rows as for many
            epochs = max(1, sizes[-1] // size) if number else 1
            clock = fit(build(data, widths=[8]), data, epochs)
            if number:
                per_row[size].append(1e6 * sum(clock.cpu) / (epochs * size))
        print(f"    round {number} of {rounds}", flush=True)
    ratio = median(last / first for first, last in zip(per_row[sizes[0]], per_row[sizes[-1]], strict=True))
    curve = ", ".join(f"{size:,} rows: {median(values):.2f} us" for size, values in per_row.items())
    what = f"CPU time per row of a training epoch, {sizes[-1]:,} rows / {sizes[0]:,}"
    return Line(what, ratio, "x", "<= 1.1", f"heads of width 8, batch 1024: {curve}", {"us_per_row": per_row})


def _with_heads(settings: Settings) -> Line:
    """Time of a step of 10 to 160 Small heads, batch 256."""
    numbers = settings.pick((10, 20, 40, 80, 160), (10, 20))
    sides = {}
    for number in numbers:
        heads = EmotionHeads(number, FEATURES, WIDTHS["small"], DROPOUT)
        sides[str(number)] = stacked_step(heads, *made_up_batch(256, number))
    timings = interleave(sides, settings.num_rounds(9), say="heads")
    first, last = str(numbers[0]), str(numbers[-1])
    pairs = zip(timings[first].cpu, timings[last].cpu, strict=True)
    ratio = median(b / numbers[-1] / (a / numbers[0]) for a, b in pairs)
    curve = ", ".join(f"{n} heads: {1e3 * median(timings[str(n)].cpu) / n:.2f} ms" for n in numbers)
    what = f"CPU time of a step per head, {last} heads / {first}"
    return Line(
        what, ratio, "x", "<= 1", f"Small heads, batch 256: {curve}", {"steps": {k: t.cpu for k, t in timings.items()}}
    )


def _with_processes(settings: Settings) -> Iterator[Line]:
    """Images per second of `embed` with one and with two processes, one thread each (rank 0 and 1 of 2)."""
    packed = photo_set(settings)
    speeds: dict[int, list[float]] = {1: [], 2: []}
    for number in range(settings.num_rounds(3)):
        for world in (1, 2) if number % 2 == 0 else (2, 1):
            with tempfile.TemporaryDirectory() as cache:
                speeds[world].append(_embed(str(packed.path), cache, world))
    ratio = median(two / one for one, two in zip(speeds[1], speeds[2], strict=True))
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    note = (
        f"wall time, {median(speeds[1]):.0f} and {median(speeds[2]):.0f} images/s of 512 px, one core a process, "
        f"{cores} cores, load {load:.1f} when done (2 is this row's own)"
    )
    yield Line("encode pass, images/s of 2 processes / 1", ratio, "x", ">= 1.8", note, {"images_per_s": speeds})


def _embed(path: str, cache: str, world: int) -> float:
    """Run `embed` in `world` processes at once, each on a core of its own; return images per second of them all."""
    # without a core of its own one process decodes on the second core while it encodes on the first
    program = (
        "import os, sys; os.sched_setaffinity(0, {int(sys.argv.pop(1))}); "
        "from emonet_lightning.cli import main; sys.exit(main())"
    )
    cores = sorted(os.sched_getaffinity(0))
    arguments = ["embed", path, "--cache_dir", cache, "--device", "cpu", "--num_threads", "1"]
    texts = [""] * world

    def run(rank: int) -> None:
        options = ["--rank", str(rank), "--world_size", str(world)]
        command = [sys.executable, "-c", program, str(cores[rank % len(cores)]), *arguments, *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        texts[rank] = done.stdout if not done.returncode else done.stderr

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [re.search(r"(\d+) encoded here in ([\d.]+) s", text) for text in texts]
    if not all(found):
        raise RuntimeError(f"embed: {texts}")
    counts = [(int(match[1]), float(match[2])) for match in found if match]
    return sum(count for count, _ in counts) / max(seconds for _, seconds in counts)
