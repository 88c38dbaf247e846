"""Row 15: speed of the agreement core against one library call per emotion, pair and draw.

`python tests/benchmarks/agreement_speed.py` runs it alone, and times a whole report as well. Both sides take turns on
the same draws; the libraries only on a stated sample of draws and emotions, from which their time is extrapolated.
Times are CPU seconds of the process: other work on the machine does not count.
"""

import argparse
import itertools
import resource
import time
from collections.abc import Callable, Iterator

import krippendorff
import numpy as np
from measuring import Line, Settings, Timing, interleave, ratio_line
from sklearn.metrics import cohen_kappa_score

from emonet_lightning.evaluation import agreement

EMOTIONS, SLOTS, IMAGES, DRAWS, RATERS = 40, 4, 2500, 1000, 8


def made_up(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a truth [N, K], ratings by position [N, 4, K], and the same by rater [N, 8, K] with gaps."""
    rng = np.random.default_rng(seed)
    truth = np.maximum(rng.normal(0, 2.5, (IMAGES, EMOTIONS)), 0)
    slots = np.clip(np.rint(truth[:, None] + rng.normal(0, 1.5, (IMAGES, SLOTS, EMOTIONS))), 0, 7)
    values = np.full((IMAGES, RATERS, EMOTIONS), np.nan)
    raters = np.argsort(rng.random((IMAGES, RATERS)), axis=1)[:, :SLOTS]
    values[np.arange(IMAGES)[:, None], raters] = slots
    return truth, slots, values


def compare(
    name: str,
    target: float,
    core: Callable[[], np.ndarray],
    library: Callable[[int, int], np.ndarray],
    drawn: list[int],
    emotions: list[int],
    calls: int,
    rounds: int,
) -> Iterator[Line]:
    """Yield the ratio of interleaved rounds, and the largest difference on the sample."""
    cells = list(itertools.product(drawn, emotions))
    found: list[np.ndarray] = []
    expected: list[np.ndarray] = []

    def ours() -> None:
        found[:] = [core()]

    def by_library() -> None:
        expected[:] = [library(draw, k) for draw, k in cells]

    timings = interleave({"library": by_library, "ours": ours}, rounds)
    scale = DRAWS * EMOTIONS / len(cells)
    timings["library"] = Timing(*([scale * value for value in clock] for clock in timings["library"]))
    pairs = zip(cells, expected, strict=True)
    difference = max(float(np.abs(found[0][draw, ..., k] - value).max()) for (draw, k), value in pairs)
    sample = f"{len(drawn)} draws x {len(emotions)} emotions = {len(drawn) * len(emotions) * calls} calls"
    note = f"{EMOTIONS} emotions, {IMAGES} images, {DRAWS} draws; the library's time is extrapolated from {sample}"
    yield ratio_line(name, timings, "library", "ours", f">= {target:.0f}", note)
    yield Line(f"{name}: largest difference", difference, "", "<= 1e-12")


def against_libraries(rounds: int, num_drawn: int) -> Iterator[Line]:
    """Kappa against scikit-learn, alpha against krippendorff."""
    _, slots, _ = made_up()
    weights = agreement.draws(IMAGES, DRAWS, 0)
    rows = [np.repeat(np.arange(IMAGES), counts.astype(int)) for counts in weights[: num_drawn + 1]]
    drawn, emotions = list(range(1, num_drawn + 1)), [0, 13, 26, 39]
    whole = slots.astype(int)

    def by_scikit_learn(draw: int, k: int) -> np.ndarray:
        found = np.full((SLOTS, SLOTS), np.nan)
        for i, j in itertools.combinations(range(SLOTS), 2):
            a, b = whole[rows[draw], i, k], whole[rows[draw], j, k]
            found[i, j] = cohen_kappa_score(a, b, weights="quadratic", labels=range(8))
        return found[np.triu_indices(SLOTS, k=1)]

    i, j = np.triu_indices(SLOTS, k=1)
    yield from compare(
        "quadratic kappa, 6 pairs",
        1000,
        lambda: agreement.rater_kappa(slots, 0, 7, "round", weights)[:, i, j],
        by_scikit_learn,
        drawn,
        emotions,
        len(i),
        rounds,
    )
    gappy = slots.copy()
    gappy[np.random.default_rng(1).random(slots.shape) < 0.3] = np.nan
    for level, target in (("interval", 500), ("nominal", 50), ("ordinal", 50)):
        yield from compare(
            f"alpha, {level}, 30 % missing",
            target,
            lambda level=level: agreement.krippendorff_alpha(gappy, level, weights),
            lambda draw, k, level=level: krippendorff.alpha(
                reliability_data=gappy[rows[draw], :, k].T, level_of_measurement=level
            ),
            drawn,
            emotions,
            1,
            rounds,
        )


def row(settings: Settings) -> Iterator[Line]:
    """Row 15."""
    yield from against_libraries(settings.num_rounds(5), settings.pick(5, 1))


def whole_report(num_systems: int, num_draws: int) -> None:
    """All figures of all systems and raters, on the wall clock."""
    truth, slots, values = made_up()
    rng = np.random.default_rng(2)
    weights = agreement.draws(IMAGES, num_draws, 0)
    wall, cpu = time.perf_counter(), time.process_time()
    agreement.judge_raters(values, slots, 0, 7, weights)
    print(f"judge_raters: {time.perf_counter() - wall:.1f} s wall, {time.process_time() - cpu:.1f} s CPU")
    wall, cpu = time.perf_counter(), time.process_time()
    for system in range(num_systems):
        scores = truth + rng.normal(0, 0.5 + 0.2 * system, truth.shape)
        agreement.judge_system(np.rint(scores) if system % 2 else scores, values, slots, 0, 7, weights)
    print(
        f"judge_system x {num_systems}: {time.perf_counter() - wall:.1f} s wall, {time.process_time() - cpu:.1f} s CPU"
    )
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB ({num_draws} draws)")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--drawn", type=int, default=5, help="draws on which the libraries run")
    parser.add_argument("--systems", type=int, default=19)
    parser.add_argument("--draws", type=int, default=500, help="of the whole report")
    args = parser.parse_args()
    print(
        f"{EMOTIONS} emotions x {SLOTS} rater positions x {IMAGES} images x {DRAWS} draws, "
        f"medians of {args.rounds} rounds"
    )
    whole_report(args.systems, args.draws)
    for line in against_libraries(args.rounds, args.drawn):
        print(f"{line.what:42s} {line.value:9.3g}{line.unit} (target {line.target}) {line.verdict}   {line.note}")


if __name__ == "__main__":
    main()
