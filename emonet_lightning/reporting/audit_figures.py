"""Figures of the audit, drawn from what audit.json holds: groups with intervals, and group x emotion heat maps."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from emonet_lightning.reporting.drawing import BLUE, DARK, GREY, HUMAN, ORANGE, family_styles, frame, save, short

_COLOURS = colormaps["PuOr_r"]
_HATCH, _CELL = "////", 0.27
_PANELS = {
    "spearman": "Spearman with the mean rating",
    "kappa": "kappa with single ratings\n(lower where images are few)",
    "bias": "bias: score minus rating (levels)",
}


def draw(folder: Path, content: Mapping[str, Any]) -> dict[str, list[str]]:
    """Write all figures as PNG and PDF; returns the file names, without ending, of each attribute."""
    names: dict[str, list[str]] = {}
    for attribute in content["attributes"]:
        word = re.sub(r"[^A-Za-z0-9.-]+", "_", attribute)[:40]
        levels = [entry for entry in content["by"] if entry["attribute"] == attribute]
        own = names.setdefault(attribute, [])
        save(_groups(content, attribute, levels), folder, f"groups_{word}")
        own.append(f"groups_{word}")
        for measure in ("spearman", "bias"):
            if any("difference" in entry["per_emotion"].get(measure, {}) for entry in levels):
                save(_heat_map(content, attribute, levels, measure), folder, f"emotions_{measure}_{word}")
                own.append(f"emotions_{measure}_{word}")
    return names


def _told(content: Mapping[str, Any], attribute: str) -> str:
    return f"{short(attribute)} ({content['provenance']['kind']})"


def _groups(content: Mapping[str, Any], attribute: str, levels: list[Mapping[str, Any]]) -> Figure:
    measures = [key for key in _PANELS if content["all"][key] or content["all"]["raters"].get(key)]
    figure = Figure(figsize=(3.2 + 3.3 * len(measures), 1.9 + 0.42 * len(levels)), layout="constrained")
    for axes, measure in zip(figure.subplots(1, len(measures), sharey=True, squeeze=False)[0], measures, strict=True):
        frame(axes, _PANELS[measure], "", "")
        whole = content["all"][measure]
        if whole:
            axes.axvline(whole["value"], color=ORANGE, linewidth=1.2, zorder=1)
        if measure == "bias":
            axes.axvline(0, color=GREY, linewidth=1, linestyle=":", zorder=1)
        for y, entry in enumerate(levels):
            for found, colour, at in (
                (entry["raters"].get(measure), HUMAN, y + 0.17),
                (entry[measure], BLUE, y - 0.12),
            ):
                if found:
                    axes.plot([found["low"], found["high"]], [at, at], color=colour, linewidth=2, zorder=2)
                    axes.plot(found["value"], at, "o", color=colour, markersize=5.5, zorder=3)
        for y in (y for y, entry in enumerate(levels) if entry["too_few"]):
            axes.axhspan(y - 0.42, y + 0.42, facecolor="none", edgecolor="#CFCFCF", hatch=_HATCH, linewidth=0, zorder=0)
        axes.grid(visible=False, axis="y")
        axes.set_ylim(len(levels) - 0.5, -0.5)
    first = figure.axes[0]
    counts = [f"{short(entry['level'], 34)}  n={entry['n']}" for entry in levels]
    first.set_yticks(range(len(levels)), counts, fontsize=8.5)
    level = content["bootstrap"]["level"]
    handles: list[Any] = [Line2D([], [], color=HUMAN, marker="o", linewidth=2, label="raters among themselves")]
    if content["system"] is not None:
        handles.insert(0, Line2D([], [], color=BLUE, marker="o", linewidth=2, label=short(content["system"], 30)))
        handles.append(Line2D([], [], color=ORANGE, linewidth=1.2, label="system, all images"))
    if any(entry["too_few"] for entry in levels):
        few = f"too few images (under {content['least']})"
        handles.append(Patch(facecolor="white", edgecolor="#CFCFCF", hatch=_HATCH, linewidth=0, label=few))
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8.5, frameon=False)
    title = f"By {_told(content, attribute)}: each group alone, with its {level:.0%} interval"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11.5)
    return figure


def _heat_map(content: Mapping[str, Any], attribute: str, levels: list[Mapping[str, Any]], measure: str) -> Figure:
    emotions = content["emotions"]
    families = family_styles([emotion["family"] for emotion in emotions])
    order = sorted(range(len(emotions)), key=lambda k: list(families).index(emotions[k]["family"]))
    values = _matrix(levels, measure, "difference", len(emotions))[:, order].T  # [K, L]
    p = _matrix(levels, measure, "p_holm", len(emotions))[:, order].T
    figure = Figure(figsize=(4.6 + 0.62 * len(levels), 3.4 + _CELL * len(emotions)), layout="compressed")
    axes = figure.subplots()
    largest = max(float(np.nanmax(np.abs(values))) if (~np.isnan(values)).any() else 0.0, 1e-3)
    image = axes.imshow(values, cmap=_COLOURS, vmin=-largest, vmax=largest, aspect="auto")
    for k, level in np.argwhere(np.isnan(values)):
        axes.add_patch(
            Rectangle((level - 0.5, k - 0.5), 1, 1, facecolor="white", edgecolor="#BBBBBB", hatch=_HATCH, linewidth=0)
        )
    shown = p < 0.05
    for k, level in np.argwhere(shown):
        dark = abs(values[k, level]) / largest > 0.6
        axes.plot(level, k, "o", color="white" if dark else DARK, markersize=3.6)
    axes.set_xticks(np.arange(len(levels) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(emotions) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=0.6)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    labels = [f"{short(entry['level'], 30)}  n={entry['n']}" for entry in levels]
    axes.set_xticks(range(len(levels)), labels, rotation=50, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(emotions)), [short(emotions[k]["name"], 32) for k in order], fontsize=8)
    bar = figure.colorbar(image, ax=axes, shrink=0.9 if len(emotions) < 10 else 0.6, aspect=30)
    sign = "scores are higher" if measure == "bias" else "better"
    bar.set_label(f"difference from all images\n(above 0: {sign} in this group)", fontsize=8.5)
    bar.ax.tick_params(labelsize=8)
    handles: list[Any] = []
    if shown.any():
        words = "differs from all images (p < 0.05, Holm over all cells)"
        handles.append(Line2D([], [], color=DARK, marker="o", markersize=3.6, linestyle="", label=words))
    elif num_cells := int((~np.isnan(p)).sum()):
        words = f"no cell differs from all images after correction (Holm over {num_cells} cells)"
        handles.append(Line2D([], [], linestyle="", label=words))
    if np.isnan(values).any():
        words = f"too few images (under {content['least']}), or not defined"
        handles.append(Patch(facecolor="white", edgecolor="#BBBBBB", hatch=_HATCH, linewidth=0, label=words))
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=1, fontsize=8.5, frameon=False)
    title = f"{short(content['system'], 30)}: {measure if measure == 'bias' else 'Spearman'} by emotion"
    figure.suptitle(f"{title} and {_told(content, attribute)}", x=0.01, ha="left", fontsize=11)
    return figure


def _matrix(levels: list[Mapping[str, Any]], measure: str, part: str, width: int) -> Any:
    """One part of all groups' emotions [L, K], NaN where there is none."""
    rows = [entry["per_emotion"].get(measure, {}).get(part) or [None] * width for entry in levels]
    return np.array(rows, dtype=np.float64)
