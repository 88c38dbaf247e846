"""Figures of a transfer to real faces, drawn from what transfer.json holds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from emonet_lightning.evaluation.framing import COUNTED
from emonet_lightning.reporting.drawing import BLUE, DARK, GREY, ORANGE, frame, legend_below, save, short
from emonet_lightning.reporting.framing_report import FRAMING_NAMES
from emonet_lightning.reporting.image_transfer_report import NAMES, SHOWN
from emonet_lightning.reporting.transfer_figures import MANY, class_label, matrix

_GREEN, _PURPLE = "#009E73", "#CC79A7"
_COLOURS = {
    "any_hit": ORANGE, "argmax": ORANGE, "class_sum": ORANGE, "z_scored": BLUE, "scaled": BLUE,
    "score_probe": _GREEN, "feature_probe": _GREEN, "most_frequent": GREY,
}  # fmt: skip


def draw(folder: Path, content: Mapping[str, Any]) -> None:
    """Write `accuracy`, `recall` and `confusion` as PNG and PDF."""
    save(_accuracy(content), folder, "accuracy")
    save(_recall(content), folder, "recall")
    save(_confusion(content), folder, "confusion")


def _title(content: Mapping[str, Any]) -> str:
    images = content["images"]
    persons = "" if images["num_persons"] is None else f" of {images['num_persons']} persons"
    heads = f"{content['heads']['heads']} on {content['heads']['encoder']['name']}"
    what = "cut-out faces" if content["faces"]["cut"] else "images"
    return f"{short(content['set']['name'])}, {images['num_images']} {what}{persons}; heads {short(heads, 60)}"


def _accuracy(content: Mapping[str, Any]) -> Figure:
    level = content["bootstrap"]["level"]
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    axes = figure.subplots()
    frame(axes, _title(content), "accuracy", "")
    rows = {name: (content["results"][way]["accuracy"], _COLOURS[way], "o") for way, name in NAMES.items()}
    for probe in COUNTED:
        if content["framing"]["probes"][probe]:
            rows[FRAMING_NAMES[probe]] = (content["framing"]["probes"][probe], _PURPLE, "D")
    for y, (found, colour, marker) in enumerate(rows.values()):
        by_chance = found["chance"]
        axes.barh(y, by_chance["high"] - by_chance["low"], 0.62, by_chance["low"], color="#CFCFCF", zorder=1)
        axes.plot([by_chance["value"]] * 2, [y - 0.31, y + 0.31], color=GREY, linewidth=1.6, zorder=2)
        if found["low"] is not None:
            axes.plot([found["low"], found["high"]], [y, y], color=colour, linewidth=2.4, zorder=3)
        axes.plot(found["value"], y, marker, color=colour, markersize=6.5, zorder=4)
        axes.text(1.02, y, f"{found['value']:.3f}", va="center", fontsize=9)
    axes.grid(visible=False, axis="y")
    axes.set_xlim(-0.02, 1.1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_yticks(range(len(rows)), list(rows), fontsize=9)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    unit = content["bootstrap"]["unit"]
    legend_below(
        figure,
        [
            Line2D([], [], color=DARK, marker="o", linewidth=2.4, label=f"accuracy, {level:.0%} interval over {unit}s"),
            Patch(color="#CFCFCF", label=f"{level:.0%} of shuffled labels (line: their mean)"),
            Line2D([], [], color=ORANGE, marker="o", linestyle="", label="has seen nothing of the set"),
            Line2D([], [], color=BLUE, marker="o", linestyle="", label="calibrated on other folds"),
            Line2D([], [], color=_GREEN, marker="o", linestyle="", label="fitted on other folds"),
            Line2D([], [], color=_PURPLE, marker="D", linestyle="", label="the same, sees no face"),
        ],
        num_columns=2,
    )
    return figure


def _recall(content: Mapping[str, Any]) -> Figure:
    classes = content["map"]["classes"]
    many = len(classes) >= MANY
    figure = Figure(figsize=(max(7.5, 0.62 * len(classes) + 2), 4.6), layout="constrained")
    axes = figure.subplots()
    frame(axes, f"Share of each class that is right: {short(content['set']['name'])}", "", "recall")
    for offset, way in zip((-0.27, 0.0, 0.27), SHOWN, strict=True):
        for place, found in enumerate(content["results"][way]["per_class"]):
            axes.bar(place + offset, found["value"], 0.25, color=_COLOURS[way], zorder=2)
            axes.plot([place + offset] * 2, [found["low"], found["high"]], color=DARK, linewidth=1, zorder=3)
            if found["value"] == 0:  # told from a bar that is not there
                axes.plot(place + offset, 0, "o", color=_COLOURS[way], markersize=4, zorder=4, clip_on=False)
    sizes = content["images"]["per_class"]
    names = [f"{class_label(name)}{' ' if many else chr(10)}(n={sizes[name]})" for name in classes]
    slanted: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if many else {}
    axes.set_xticks(range(len(classes)), names, fontsize=7.5 if many else 8.5, **slanted)
    axes.set_xlim(-0.6, len(classes) - 0.4)
    axes.set_ylim(0, 1.04)
    handles: list[Any] = [Patch(color=_COLOURS[way], label=NAMES[way]) for way in SHOWN]
    handles.append(
        Line2D([], [], color=DARK, linewidth=1, label=f"Wilson {content['bootstrap']['level']:.0%} interval")
    )
    legend_below(figure, handles, num_columns=4)
    return figure


def _confusion(content: Mapping[str, Any]) -> Figure:
    classes = content["map"]["classes"]
    side = max(3.4, (0.55 if len(classes) < MANY else 0.27) * len(classes))
    figure = Figure(figsize=(2 * side + 3.4, side + 1.8), layout="constrained")
    for axes, way in zip(figure.subplots(1, 2), ("argmax", "feature_probe"), strict=True):
        found = content["results"][way]
        title = f"{NAMES[way]}: {found['accuracy']['value']:.1%} of images right"
        matrix(axes, np.array(found["counts"]), classes, title)
    figure.suptitle(_title(content), x=0.01, ha="left", fontsize=11)
    return figure
