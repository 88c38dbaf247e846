"""The command `sweep report`: what a sweep found, as a table with intervals and figures."""

from pathlib import Path
from typing import Any

from emonet_lightning.errors import UsageError


def sweep_report_command(
    folder: str,
    out: str | None = None,
    baseline: dict[str, Any] | None = None,
    num_draws: int = 1000,
    seed: int = 0,
) -> None:
    """Compare the trials of a sweep: each factor's levels with its baseline, cost, learning curves, scaling.

    All finished trials are scored again on the validation images of the baseline, under the same draws of images.
    Differences are paired by all other options and the seed; their intervals are over seeds and images. Writes
    `ablation.md`, `ablation.json` and `figures/` as PNG and PDF. No test set is read.

    Args:
        folder: of the sweep, the --out of `sweep run`; it may still run.
        out: folder of the report; default `report` in the sweep's folder.
        baseline: option -> level to compare with, e.g. '{model.lr: 0.001}'; default the first trial's level of each.
        num_draws: of images, for the intervals.
        seed: of these draws.
    """
    from emonet_lightning.sweeping.findings import findings
    from emonet_lightning.sweeping.finished import finished_trials
    from emonet_lightning.sweeping.report import write_ablation

    for option, value, least in (("num_draws", num_draws, 2), ("seed", seed, 0)):
        if value < least:
            raise UsageError(f"--{option} {value}: must be at least {least}")
    place = Path(folder)
    runs, seen = finished_trials(place)
    found = findings(runs, baseline, num_trials=seen, num_draws=num_draws, seed=seed)
    paths = write_ablation(Path(out) if out is not None else place / "report", found, place.name)
    for one in found["differences"]:
        interval = f" [{one['low']:+.4f}, {one['high']:+.4f}]" if one["low"] == one["low"] else ""
        print(f"{one['factor']}: {one['level']} - {one['baseline']}: {one['value']:+.4f}{interval}")
    best = found["best"]
    print(
        f"best of {found['num_trials']} trials that saw the {found['num_images']} validation images: trial "
        f"{best['trial']}, {found['metric']} {best['score']:.4f}, of which {found['optimism']['expected']:.4f} is luck"
    )
    print(paths[0])
