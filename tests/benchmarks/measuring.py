"""Timing of two or more sides in turns, and what one measured line of a row says.

Sides take turns A B / B A ... in one process; a figure is the median over rounds of the ratio within a round, so that
a machine that is busier in one minute than in the next changes both sides of a ratio alike. CPU seconds are those of
all threads of the process (and of its ended children); other programs on the machine do not count.
"""

import os
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass
class Settings:
    """How a row is to be run."""

    rounds: int | None = None
    """Rounds of each comparison; None: the row's own."""
    quick: bool = False
    """Smallest sizes that still run every line: to see whether a row works, not to publish."""
    work: str = "."
    """Folder for made-up images, sets and caches, kept between rows."""

    def pick(self, full: Any, quick: Any) -> Any:
        """Return the size for this run."""
        return quick if self.quick else full

    def num_rounds(self, full: int, quick: int = 1) -> int:
        """Return how many rounds a comparison takes."""
        return self.rounds or self.pick(full, quick)


@dataclass
class Line:
    """One measured figure of a row."""

    what: str
    """What was measured, in one short phrase that names both sides' difference."""
    value: float | None
    """The figure; None: nothing to measure here (`note` says why)."""
    unit: str = "x"
    """`x` for a ratio other / ours, else the unit."""
    target: str = ""
    """`>= 20`, `<= 1e-06`, or empty: stated without a target."""
    note: str = ""
    """What has to be known to read the figure; why a target is missed."""
    details: dict[str, Any] = field(default_factory=dict)
    """Seconds of each side, quartiles, sizes: JSON-able."""

    @property
    def verdict(self) -> str:
        """`met`, `MISSED`, `stated` (no target) or `skipped`."""
        if self.value is None:
            return "skipped"
        if not self.target:
            return "stated"
        sign, bound = self.target.split()
        met = self.value >= float(bound) if sign == ">=" else self.value <= float(bound)
        return "met" if met else "MISSED"


class Timing(NamedTuple):
    """Seconds per call of one side, round by round."""

    cpu: list[float]
    wall: list[float]


def cpu_seconds() -> float:
    """Return CPU seconds of this process, all its threads, and its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def clock(call: Callable[[], object]) -> tuple[float, float]:
    """Return CPU and wall seconds of one call."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    call()
    return cpu_seconds() - cpu, time.perf_counter() - wall


def interleave(
    sides: Mapping[str, Callable[[], object]],
    rounds: int,
    repeat: int = 1,
    warmup: int = 1,
    synchronise: Callable[[], object] | None = None,
    say: str = "",
) -> dict[str, Timing]:
    """Time sides in turns: in order in even rounds, in reverse in odd ones.

    Args:
        sides: name -> what to call.
        rounds: how many times each side has its turn.
        repeat: calls in one turn; seconds are divided by it.
        warmup: calls of each side before anything is timed.
        synchronise: called before a clock is read (a GPU's queue).
        say: announces progress under this name.
    """
    timings = {name: Timing([], []) for name in sides}
    for call in sides.values():
        for _ in range(warmup):
            call()
    for number in range(rounds):
        order = list(sides) if number % 2 == 0 else list(reversed(sides))
        for name in order:

            def turn(call: Callable[[], object] = sides[name]) -> None:
                for _ in range(repeat):
                    call()
                if synchronise:
                    synchronise()

            if synchronise:
                synchronise()
            cpu, wall = clock(turn)
            timings[name].cpu.append(cpu / repeat)
            timings[name].wall.append(wall / repeat)
    if say:
        medians = ", ".join(f"{name} {statistics.median(t.cpu):.4g} CPU-s" for name, t in timings.items())
        print(f"    {say}: {medians}", flush=True)
    return timings


def paired(other: list[float], ours: list[float]) -> dict[str, float]:
    """Return median, quartiles and number of the per-round ratios other / ours."""
    ratios = sorted(a / b for a, b in zip(other, ours, strict=True))
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else (ratios[0],) * 3
    return {"median": statistics.median(ratios), "low": low, "high": high, "rounds": len(ratios)}


def ratio_line(
    what: str,
    timings: Mapping[str, Timing],
    other: str,
    ours: str,
    target: str = "",
    note: str = "",
    by: str = "cpu",
    inverse: bool = False,
    **details: Any,
) -> Line:
    """Return the line of a comparison.

    Args:
        what: see `Line`.
        timings: what `interleave` returned.
        other: name of the other side.
        ours: name of our side.
        target: see `Line`.
        note: see `Line`.
        by: `cpu` or `wall`: the clock that the figure is taken from; both are kept.
        inverse: the figure is ours / other (for targets such as <= 1.05).
        details: kept as they are.
    """
    found: dict[str, Any] = {"clock": by}
    for name, seconds in (("cpu", 0), ("wall", 1)):
        pair = (timings[other][seconds], timings[ours][seconds])
        found[name] = {
            "other": statistics.median(pair[0]),
            "ours": statistics.median(pair[1]),
            **paired(*(reversed(pair) if inverse else pair)),
        }
    return Line(
        what, found[by]["median"], "x", target, note, {"sides": {"other": other, "ours": ours}, **found, **details}
    )


def peak_memory_gib() -> dict[str, float]:
    """Return the largest resident size of this process, and of the largest of its ended children, GiB."""
    with open("/proc/self/status") as stream:
        own = next(int(line.split()[1]) for line in stream if line.startswith("VmHWM"))
    return {"own": own / 2**20, "largest_child": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20}


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))
