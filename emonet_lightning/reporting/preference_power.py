"""Table and figure of `preference power`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, ScalarFormatter
from rich.console import Console
from rich.table import Table

from emonet_lightning.io import write_json
from emonet_lightning.reporting.drawing import BLUE, DARK, GREY, ORANGE, frame, save
from emonet_lightning.reporting.votes_shares import percent

_KINDS = {
    "clustered": ("other images and judges", BLUE, "o-"),
    "crossed": ("the same by crossed bootstrap", GREY, "^:"),
    "wilson": ("Wilson: as if answers were independent", ORANGE, "s--"),
}
_PRINTED = ("clustered", "wilson")


def write_power(found: Mapping[str, Any], folder: Path | None) -> None:
    """Print the table and what it says; write `power.json` and `figures/power.png` where a folder is given."""
    console = Console(soft_wrap=True)
    judges = found["judges"]
    shown = Table(
        title=f"true preference {found['preference']:.0%}, {judges['num_judges']} judges, {found['per_image']} an "
        f"image; {found['num_studies']} simulated studies of each size, {found['level']:.0%} intervals",
        title_justify="left",
    )
    shown.add_column("images", justify="right")
    shown.add_column("answers", justify="right")
    for kind in _PRINTED:
        for what in (f"{kind}\n±", "\npower", "\ncovers"):
            shown.add_column(what, justify="right")
    for row in found["sizes"]:
        cells = [
            text
            for kind in _PRINTED
            for text in (
                f"{row[kind]['width'] / 2:.1%}",
                percent(row[kind]["power"]),
                percent(row[kind]["coverage"]),
            )
        ]
        shown.add_row(str(row["num_images"]), str(row["num_comparisons"]), *cells)
    console.print(shown)
    for line in (_least(found, "width"), _least(found, "power")):
        console.print(line, highlight=False, markup=False)
    if folder is not None:
        save(power_figure(found), folder / "figures", "power")
        write_json(folder / "power.json", found)
        console.print(f"written: {folder / 'power.json'}", highlight=False, markup=False)


def power_figure(found: Mapping[str, Any]) -> Figure:
    """Draw half width, power and coverage over the number of images."""
    figure = Figure(figsize=(11.5, 3.7), layout="constrained")
    sizes = [row["num_images"] for row in found["sizes"]]
    wanted = found["wanted"]
    panels = figure.subplots(1, 3)
    for axes, title, line in zip(
        panels,
        ("Half width of the interval", "Power: interval leaves out 50%", "Coverage of the true preference"),
        (wanted["width"] / 2, wanted["power"], found["level"]),
        strict=True,
    ):
        frame(axes, title, "images", "")
        axes.axhline(line, color=DARK, linewidth=0.9, linestyle=":")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_xscale("log")
        axes.set_xticks(sizes)
        axes.minorticks_off()
        axes.xaxis.set_major_formatter(ScalarFormatter())
    for kind, (label, colour, style) in _KINDS.items():
        rows = [row[kind] for row in found["sizes"]]
        panels[0].plot(sizes, [row["width"] / 2 for row in rows], style, color=colour, label=label, markersize=5)
        for axes, key in ((panels[1], "power"), (panels[2], "coverage")):
            axes.plot(sizes, [row[key]["value"] for row in rows], style, color=colour, markersize=5)
            low, high = ([row[key][end] for row in rows] for end in ("low", "high"))
            axes.fill_between(sizes, low, high, color=colour, alpha=0.15, linewidth=0)
    panels[0].set_ylim(bottom=0)
    panels[1].set_ylim(-0.02, 1.02)
    panels[2].set_ylim(min(0.6, *(row[kind]["coverage"]["low"] for row in found["sizes"] for kind in _KINDS)), 1.01)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=9, loc="outside lower center", ncols=3, frameon=False)
    judges = found["judges"]
    figure.suptitle(
        f"If {found['preference']:.0%} is true: {judges['num_judges']} judges, {found['per_image']} an image; log-odds "
        f"differ by {judges['image_sd']:g} over images and {judges['judge_sd']:g} over judges",
        fontsize=10,
        x=0.01,
        ha="left",
    )
    return figure


def _least(found: Mapping[str, Any], what: str) -> str:
    """Say which of the sizes is the smallest that is enough, by the interval for other images and judges."""
    wanted = found["wanted"][what]
    words = f"an interval of ±{wanted / 2:.1%}" if what == "width" else f"a power of {wanted:.0%}"
    for row in found["sizes"]:
        own = row["clustered"]
        if (own["width"] <= wanted) if what == "width" else (own["power"]["value"] >= wanted):
            return f"{words}: {row['num_images']} images ({row['num_comparisons']} comparisons)"
    return f"{words}: not with up to {found['sizes'][-1]['num_images']} images; more judges help where images do not"
