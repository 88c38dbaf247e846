"""Figures of the transfer report, drawn from what transfer.json holds."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from emonet_lightning.reporting.drawing import BLUE, DARK, GREY, ORANGE, frame, save, short

STYLES = {
    "any_hit": ("any-hit (lenient)", ORANGE),
    "argmax": ("argmax", BLUE),
    "class_sum": ("class-summed", "#009E73"),
}
"""Rule -> its name and colour in every figure."""
MANY = 14
"""Classes from which on cells are small and labels slanted."""
_WHITE_EDGE = patheffects.withStroke(linewidth=4.2, foreground="white")


def draw(folder: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Write all figures as PNG and PDF.

    Returns:
        File names without ending: `accuracy`, `heads_on`, and `confusion` -> {system: name}.
    """
    names: dict[str, Any] = {"accuracy": "accuracy", "heads_on": "heads_on", "confusion": {}}
    save(_accuracy(content), folder, "accuracy")
    save(_heads_on(content), folder, "heads_on")
    given = [name for name, system in content["systems"].items() if system["kind"] == "system"]
    for number, name in enumerate(given, 1):
        file = "confusion" if len(given) == 1 else f"confusion_{number}_{re.sub(r'[^A-Za-z0-9.-]+', '_', name)[:40]}"
        save(_confusion(content, name), folder, file)
        names["confusion"][name] = file
    return names


def _accuracy(content: Mapping[str, Any]) -> Figure:
    systems = content["systems"]
    level = content["bootstrap"]["level"]
    figure = Figure(figsize=(11, 1.9 + 0.45 * len(systems)), layout="constrained")
    for axes, (rule, (title, colour)) in zip(figure.subplots(1, 3, sharey=True), STYLES.items(), strict=True):
        frame(axes, title, "accuracy", "")
        for y, system in enumerate(systems.values()):
            found = system["rules"][rule]["accuracy"]
            by_chance = found["chance"]
            axes.barh(y, by_chance["high"] - by_chance["low"], 0.62, by_chance["low"], color="#CFCFCF", zorder=1)
            axes.plot([by_chance["value"]] * 2, [y - 0.31, y + 0.31], color=GREY, linewidth=1.6, zorder=2)
            if found["low"] is not None:
                axes.plot([found["low"], found["high"]], [y, y], color=colour, linewidth=2.2, zorder=3)
            axes.plot(found["value"], y, "o", color=colour, markersize=6, zorder=4)
            axes.text(1.03, y, f"{found['value']:.3f}", va="center", fontsize=8.5)
        axes.grid(visible=False, axis="y")
        axes.set_xlim(-0.02, 1.2)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.set_yticks(range(len(systems)), [short(name, 28) for name in systems], fontsize=9)
        axes.set_ylim(len(systems) - 0.5, -0.5)
    handles: list[Any] = [
        Line2D([], [], color=DARK, marker="o", linewidth=2.2, label=f"accuracy with {level:.0%} interval"),
        Patch(color="#CFCFCF", label=f"{level:.0%} of shuffled labels (line: their mean)"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8.5, frameon=False)
    return figure


def _confusion(content: Mapping[str, Any], name: str) -> Figure:
    classes = content["map"]["classes"]
    rules = content["systems"][name]["rules"]
    side = max(3.6, (0.5 if len(classes) < MANY else 0.27) * len(classes))
    figure = Figure(figsize=(2 * side + 3, side + 4.6), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=[side + 0.8, 3.2])
    for column, rule in enumerate(("argmax", "class_sum")):
        accuracy = rules[rule]["accuracy"]["value"]
        title = f"{STYLES[rule][0]}: {accuracy:.1%} of images right"
        matrix(figure.add_subplot(grid[0, column]), np.array(rules[rule]["counts"]), classes, title)
    handles = _recall(figure.add_subplot(grid[1, :]), rules, classes, content["bootstrap"]["level"])
    figure.legend(handles=handles, fontsize=8.5, ncols=5, loc="outside lower center", frameon=False)
    figure.suptitle(f"{short(name)} on {short(content['map']['name'])}", x=0.01, ha="left", fontsize=12)
    return figure


def matrix(axes: Axes, counts: Any, classes: list[str], title: str) -> None:
    """Draw counts of images by true class (row) and named class (column) [C, C]."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 8 if len(classes) < MANY else 6.5
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if shares[row, column] > 0.55 else DARK
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=size, color=colour)
    for place in range(len(classes)):
        frame_of_right = Rectangle((place - 0.5, place - 0.5), 1, 1, fill=False, edgecolor=ORANGE, linewidth=1.6)
        axes.add_patch(frame_of_right)
    names = [class_label(name) for name in classes]
    axes.set_xticks(range(len(classes)), names, rotation=40, ha="right", rotation_mode="anchor", fontsize=size)
    axes.set_yticks(range(len(classes)), names, fontsize=size)
    axes.set_xlabel("class that the system names", fontsize=9)
    axes.set_ylabel("true class", fontsize=9)
    axes.set_title(title + "\n(images; framed: right; darker: larger share of the row)", loc="left", fontsize=9.5)


def _recall(axes: Axes, rules: Mapping[str, Any], classes: list[str], level: float) -> list[Any]:
    frame(axes, "Share of each class that is right, by rule", "", "recall")
    for offset, (rule, (_, colour)) in zip((-0.27, 0.0, 0.27), STYLES.items(), strict=True):
        for place, found in enumerate(rules[rule]["per_class"]):
            x = place + offset
            if found["value"] is None:
                continue
            axes.bar(x, found["value"], 0.25, color=colour, zorder=2)
            if found["low"] is not None:
                axes.plot([x, x], [found["low"], found["high"]], color=DARK, linewidth=1, zorder=3)
            line = axes.plot(
                [x - 0.125, x + 0.125], [found["chance"]["value"]] * 2, color=GREY, linewidth=2.4, zorder=4
            )
            line[0].set(solid_capstyle="butt", path_effects=[_WHITE_EDGE])
    axes.set_ylim(0, 1.04)
    sizes = [found["n"] for found in rules["any_hit"]["per_class"]]
    if len(classes) < MANY:
        names = [f"{class_label(name)}\nn={n}" for name, n in zip(classes, sizes, strict=True)]
        axes.set_xticks(range(len(classes)), names, fontsize=8.5)
    else:
        names = [f"{class_label(name)} ({n})" for name, n in zip(classes, sizes, strict=True)]
        axes.set_xticks(range(len(classes)), names, fontsize=7.5, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.6, len(classes) - 0.4)
    handles: list[Any] = [Patch(color=colour, label=name) for name, colour in STYLES.values()]
    handles += [
        Line2D([], [], color=DARK, linewidth=1, label=f"Wilson {level:.0%} interval"),
        Line2D([], [], color=GREY, linewidth=2.4, label="chance (labels shuffled)"),
    ]
    return handles


def class_label(name: str) -> str:
    """Cut the name of a class for an axis."""
    return short(name if len(name) <= 20 else f"{name[:19]}…")


def _heads_on(content: Mapping[str, Any]) -> Figure:
    shown = {name: system["heads_on"] for name, system in content["systems"].items() if system["heads_on"]}
    last = max(int(np.nonzero(np.array(found["distribution"]) > 0.05)[0].max()) for found in shown.values())
    figure = Figure(figsize=(9, 1.1 + 1.75 * len(shown)), layout="constrained")
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, found) in zip(panels, shown.items(), strict=True):
        given = content["systems"][name]["kind"] == "system"
        counts = found["distribution"][: last + 1]
        rules = content["systems"][name]["rules"]
        classes = rules["any_hit"]["classes_named"]["value"]
        title = (
            f"{short(name, 32)}: {found['value']:.1f} heads on per image, which name {classes:.1f} of "
            f"{len(content['map']['classes'])} classes"
        )
        frame(axes, title, "", "images")
        axes.bar(range(last + 1), counts, 0.8, color=BLUE if given else GREY)
        axes.axvline(found["value"], color=ORANGE, linewidth=1.8)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[-1].set_xlabel(
        f"heads with softmax above the cutoff {content['map']['cutoff']:.4g}, of {content['map']['num_heads']} "
        "(line: mean)",
        fontsize=9,
    )
    panels[-1].set_xlim(-0.6, last + 0.6)
    return figure
