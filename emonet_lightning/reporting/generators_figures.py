"""Figures of the report on generators, drawn from what generators.json holds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from emonet_lightning.reporting.drawing import BLUE, DARK, GREY, ORANGE, frame, leave_room, legend_below, save, short

_SURE = 0.05


def draw(folder: Path, content: Mapping[str, Any]) -> list[str]:
    """Write all figures as PNG and PDF; returns their names without ending."""
    figures = {"probe": probe(content), "reliance": reliance(content)}
    if content["transfer"]:
        figures["transfer"] = transfer(content)
    for name, figure in figures.items():
        save(figure, folder, name)
    return list(figures)


def transfer(content: Mapping[str, Any]) -> Figure:
    """Draw agreement by generator trained on and tested on, and what leaving the tested one out costs."""
    found, names = content["transfer"], [short(entry["name"], 22) for entry in content["generators"]]
    rows = [*found["matrix"], found["others"]]
    labels = [*names, "all others"]
    if found["heads"]:
        rows, labels = [*rows, found["heads"]], [*labels, "(trained heads)"]
    values = np.array([[np.nan if cell["value"] is None else cell["value"] for cell in row] for row in rows])
    figure = Figure(figsize=(5.2 + 1.5 * len(names), 2.6 + 0.5 * len(rows)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    high = max(float(np.nanmax(values)), 0.05)
    left.imshow(values, cmap="Blues", vmin=min(0.0, float(np.nanmin(values))), vmax=high, aspect="auto")
    for row, column in np.ndindex(*values.shape):
        colour = "white" if values[row, column] > 0.6 * high else DARK
        within = row == column
        left.text(
            column, row, f"{values[row, column]:.2f}", ha="center", va="center", fontsize=9, color=colour,
            fontweight="bold" if within else "normal",
        )  # fmt: skip
    for line in (len(names) - 0.5, len(names) + 0.5):
        left.axhline(line, color="white", linewidth=3)
    left.set_xticks(range(len(names)), names, fontsize=8.5, rotation=25, ha="right", rotation_mode="anchor")
    left.set_yticks(range(len(labels)), labels, fontsize=8.5)
    left.set_xlabel("tested on", fontsize=9)
    left.set_ylabel("read-out trained on", fontsize=9)
    left.tick_params(length=0)
    left.spines[:].set_visible(False)
    left.set_title("Agreement (bold: within, other persons)", loc="left", fontsize=10.5)
    frame(right, "Drop when the generator is left out", "agreement within minus left out", "")
    for y, drop in enumerate(found["drop"]):
        right.plot([drop["low"], drop["high"]], [y, y], color=ORANGE, linewidth=2.4)
        right.plot(drop["difference"], y, "o", color=ORANGE, markersize=6)
    right.axvline(0, color=GREY, linewidth=1)
    right.set_yticks(range(len(names)), names, fontsize=8.5)
    right.set_ylim(len(names) - 0.5, -0.5)
    return figure


def probe(content: Mapping[str, Any]) -> Figure:
    """Draw how the probe names generators."""
    names = [short(entry["name"], 22) for entry in content["generators"]]
    found = content["probe"]
    counts = np.array(found["counts"])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(3.6 + 0.8 * len(names), 2.4 + 0.6 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(*counts.shape):
        colour = "white" if shares[row, column] > 0.55 else DARK
        axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks(range(len(names)), names, fontsize=8.5, rotation=25, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names, fontsize=8.5)
    axes.set_xlabel("generator that the probe names (pictures)", fontsize=9)
    axes.set_ylabel("true generator", fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    accuracy = found["accuracy"]
    figure.suptitle(
        f"Features tell the generator: {accuracy['value']:.1%} right\n(shuffled generators "
        f"{accuracy['chance']['value']:.1%})",
        x=0.01, ha="left", fontsize=11,
    )  # fmt: skip
    return figure


def reliance(content: Mapping[str, Any]) -> Figure:
    """Draw how much of every head's score the generators explain beyond the labels."""
    entries: Sequence[Mapping[str, Any]] = content["reliance"]
    entries = sorted(entries, key=lambda entry: entry["beyond_labels"])
    figure = Figure(figsize=(9.5, 2.0 + 0.21 * len(entries)), layout="constrained")
    leave_room(figure)
    axes = figure.subplots()
    known = content["images"]["truth"] is not None
    frame(axes, "How much of each head's score the generator explains", "share of variance", "")
    for y, entry in enumerate(entries):
        sure = entry["p_holm"] is not None and entry["p_holm"] <= _SURE
        axes.barh(y, entry["beyond_labels"], 0.7, color=ORANGE if sure else "#CFCFCF", zorder=2)
        axes.plot([entry["chance"]] * 2, [y - 0.4, y + 0.4], color=DARK, linewidth=1.6, zorder=3)
        if entry["probe"] is not None:
            axes.plot(entry["probe"], y, "o", color=BLUE, markersize=4, zorder=4)
    _bounds(axes, entries)
    beyond = "beyond the labels" if known else "(no labels are known: what pictures show is in it)"
    handles: list[Any] = [
        Patch(color=ORANGE, label=f"generator, {beyond}; Holm p at most {_SURE}"),
        Patch(color="#CFCFCF", label="the same, not told from shuffled generators"),
        Line2D([], [], color=DARK, linewidth=1.6, label="shuffled generators (mean)"),
        Line2D([], [], color=BLUE, marker="o", linestyle="", markersize=4, label="along the probe's directions"),
    ]
    legend_below(figure, handles, 2)
    return figure


def _bounds(axes: Axes, entries: Sequence[Mapping[str, Any]]) -> None:
    axes.set_yticks(range(len(entries)), [short(entry["name"], 28) for entry in entries], fontsize=7.5)
    axes.set_ylim(-0.8, len(entries) - 0.2)
    axes.set_xlim(0, None)
