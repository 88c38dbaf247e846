"""Figures of the robustness report, drawn from what robustness.json holds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from emonet_lightning.reporting.drawing import (
    BLUE,
    DARK,
    GREY,
    HUMAN,
    ORANGE,
    frame,
    leave_room,
    legend_below,
    save,
    short,
)

_PER_ROW = 4
_LOST = "#D55E00"
_RATERS = "#009E73"


def draw(folder: Path, content: Mapping[str, Any]) -> list[str]:
    """Write all figures as PNG and PDF; returns their names without ending."""
    names = {entry["slug"]: entry["name"] for entry in content["heads"]["emotions"]}
    figures: dict[str, Figure] = {}
    faces, images = content["faces"], content["images"]
    if faces:
        labels = [names[slug] for slug in faces["emotions"]]
        figures["factors"] = curves(faces["factors"], faces["anchor"], "Rendered faces, one condition at a time")
        figures["factors_emotions"] = emotions(faces["factors"], labels)
        if faces["intensity"]:
            figures["intensity"] = intensity(faces["intensity"], labels)
    if images:
        title = f"Corruptions of {short(images['name'])}: {images['num_images']} images"
        figures["corruptions"] = curves(images["corruptions"], images["anchor"], title)
        figures["corruptions_emotions"] = emotions(images["corruptions"], list(names.values()))
    for name, figure in figures.items():
        save(figure, folder, name)
    return list(figures)


def curves(sweeps: Sequence[Mapping[str, Any]], anchor: Mapping[str, Any] | None, title: str) -> Figure:
    """Draw agreement and rank stability over the levels of every condition, one panel each."""
    columns = min(_PER_ROW, len(sweeps))
    rows = -(-len(sweeps) // columns)
    figure = Figure(figsize=(max(4.6, 3.1 * columns), 1.3 + 2.35 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    judged = "agreement" in sweeps[0]["levels"][0]
    for place, axes in enumerate(panels):
        if place < len(sweeps):
            _curve(axes, sweeps[place], anchor, place % columns == 0)
        else:
            axes.set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    handles: list[Any] = []
    if judged:
        handles.append(Line2D([], [], color=BLUE, marker="o", markersize=4, label="agreement with the known truth"))
    if any("with_raters" in sweep["levels"][0] for sweep in sweeps):
        handles.append(Line2D([], [], color=_RATERS, marker="D", markersize=4, label="agreement with simulated raters"))
    handles.append(Line2D([], [], color=ORANGE, marker="s", markersize=4, label="rank stability (against undisturbed)"))
    handles.append(Patch(color=GREY, alpha=0.3, label="interval"))
    if judged and anchor:
        handles.append(Line2D([], [], color=HUMAN, linestyle="--", label=f"human anchor {anchor['value']:.2f}"))
    handles.append(Line2D([], [], color=GREY, linestyle=":", label="undisturbed level"))
    if judged:
        for style, label in (("v", "first level with a loss"), ("X", "first level with half of it lost")):
            handles.append(Line2D([], [], color=_LOST, marker=style, linestyle="", markersize=7, label=label))
    legend_below(figure, handles, 3 if columns > 1 else 1)
    return figure


def _curve(axes: Axes, sweep: Mapping[str, Any], anchor: Mapping[str, Any] | None, is_first: bool) -> None:
    levels = [row["level"] for row in sweep["levels"]]
    x = np.arange(len(levels))
    frame(axes, sweep["name"].replace("_", " "), _unit(sweep), "mean over emotions" if is_first else "")
    axes.axvline(levels.index(sweep["undisturbed"]), color=GREY, linestyle=":", linewidth=1.2)
    for part, colour, marker in (("stability", ORANGE, "s"), ("with_raters", _RATERS, "D"), ("agreement", BLUE, "o")):
        if part not in sweep["levels"][0]:
            continue
        value, low, high = (
            np.array([np.nan if row[part][key] is None else row[part][key] for row in sweep["levels"]])
            for key in ("value", "low", "high")
        )
        axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(x, value, color=colour, marker=marker, markersize=3.5, linewidth=1.5)
        if part == "agreement":
            for key, style in (("first_loss", "v"), ("first_half_lost", "X")):
                for place in (levels.index(level) for level in sweep[key].values() if level is not None):
                    axes.plot(place, value[place], style, color=_LOST, markersize=7.5, zorder=5)
    if anchor and "first_below_anchor" in sweep:
        axes.axhline(anchor["value"], color=HUMAN, linestyle="--", linewidth=1.1)
    axes.set_xticks(x, [f"{level:g}" for level in levels])
    axes.set_ylim(-0.12, 1.05)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])


def emotions(sweeps: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> Figure:
    """Draw emotion by condition at each condition's hardest level: rank stability, and shift of the score."""
    hardest = [hardest_level(sweep) for sweep in sweeps]
    kept = _matrix([row["stability"]["per_emotion"] for row in hardest])
    shift = _matrix([row["shift_in_sd"]["per_emotion"] for row in hardest])
    order = np.argsort(np.nanmean(kept, axis=1))
    height = 2.6 + 0.21 * len(labels)
    figure = Figure(figsize=(4.4 + 0.84 * len(sweeps), height), layout="constrained")
    leave_room(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    largest = float(np.nanmax(np.abs(shift))) if np.isfinite(shift).any() else 1.0
    panels = (
        (left, kept, "viridis", 0.0, 1.0, "rank stability"),
        (right, shift, "PuOr", -min(largest, 3.0), min(largest, 3.0), "shift of the score, in SD"),
    )
    ticks = [f"{s['name'].replace('_', ' ')} {row['level']:g}" for s, row in zip(sweeps, hardest, strict=True)]
    for axes, values, colours, low, high, title in panels:
        image = axes.imshow(values[order], cmap=colours, vmin=low, vmax=high, aspect="auto")
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_xticks(range(len(sweeps)), ticks, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xticks(np.arange(len(sweeps) - 1) + 0.5, minor=True)
        axes.grid(which="minor", axis="x", color="white", linewidth=1)
        axes.tick_params(which="minor", length=0)
        beyond = "both" if np.nanmax(np.abs(values)) > high else "neither"
        bar = figure.colorbar(image, ax=axes, shrink=0.5, aspect=25, pad=0.02, extend=beyond)
        bar.ax.tick_params(labelsize=8)
    left.set_yticks(range(len(labels)), [short(labels[row], 28) for row in order], fontsize=7.5)
    figure.suptitle(
        "Every emotion at each condition's hardest level (least stable emotions on top)", x=0.01, ha="left", fontsize=12
    )
    return figure


def hardest_level(sweep: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the level at which the order of pictures is kept least."""
    others = [row for row in sweep["levels"] if row["level"] != sweep["undisturbed"]]
    return min(others, key=lambda row: 1.0 if row["stability"]["value"] is None else row["stability"]["value"])


def intensity(found: Mapping[str, Any], labels: Sequence[str]) -> Figure:
    """Draw how the score of the emotion that is shown follows its intensity."""
    value = _matrix([found["monotonicity"]["per_emotion"]])[:, 0]
    low = _matrix([found["monotonicity"]["per_emotion_low"]])[:, 0]
    high = _matrix([found["monotonicity"]["per_emotion_high"]])[:, 0]
    scores = _matrix(found["mean_score"]).T
    figure = Figure(figsize=(11, 2.2 + 0.2 * len(labels)), layout="constrained")
    leave_room(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
    order = np.argsort(value)
    frame(left, "Score against intensity, within each person", "Spearman correlation, mean over persons", "")
    y = np.arange(len(labels))
    left.hlines(y, low[order], high[order], color=BLUE, alpha=0.45, linewidth=2.4)
    left.plot(value[order], y, "o", color=BLUE, markersize=4.5)
    left.axvline(0, color=GREY, linewidth=1)
    left.axvline(found["monotonicity"]["value"], color=ORANGE, linewidth=1.5)
    left.set_yticks(y, [short(labels[row], 28) for row in order], fontsize=7.5)
    left.set_xlim(min(-0.02, 1.05 * float(np.nanmin(low))), 1.02)
    left.set_ylim(-0.8, len(labels) - 0.2)
    frame(right, "Mean score of the emotion that is shown", "intensity", "score minus score at rest")
    rest = scores - scores[:1]
    named = [int(order[0]), int(order[-1])]
    for k in range(len(labels)):
        if k not in named:
            right.plot(found["levels"], rest[:, k], color=GREY, alpha=0.35, linewidth=0.9)
    right.plot(found["levels"], rest.mean(axis=1), color=ORANGE, linewidth=2.6, label="mean over emotions")
    for k, colour, word in ((named[1], BLUE, "most monotone"), (named[0], DARK, "least monotone")):
        right.plot(found["levels"], rest[:, k], color=colour, linewidth=1.8, label=f"{word}: {short(labels[k], 26)}")
    right.legend(fontsize=8, frameon=False, loc="upper left")
    return figure


def _unit(sweep: Mapping[str, Any]) -> str:
    if "setting" not in sweep:
        return short(sweep.get("unit", ""), 40)
    return f"severity: {sweep['setting']}, {sweep['values'][0]:g} to {sweep['values'][-1]:g}"


def _matrix(columns: Sequence[Sequence[float | None]]) -> Any:
    """Columns of numbers and None as an array [K, columns]."""
    return np.array([[np.nan if v is None else v for v in column] for column in columns], dtype=np.float64).T
