"""Heat map of the agreement of every annotator with every other, humans first."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from emonet_lightning.reporting.agreement_values import OFF_SCALE, endings, is_off_scale, title_of
from emonet_lightning.reporting.drawing import DARK, GREY, HUMAN, short

_COLOURS = colormaps["cividis"]
_ITSELF = "#F2F2F2"
_UNDEFINED, _OFF = "////", "...."
_CELL, _MAX_PRINTED = 0.44, 40
"""Inches of a cell in which its value can be read; with more annotators cells shrink, and colours alone remain."""


def heatmap(found: Mapping[str, Any]) -> Figure:
    """Draw pairwise agreement with its values; a line parts humans from systems; hatched: undefined, or off scale.

    A corner mark says that some emotions of a cell were undefined and are not in its mean.
    """
    pairwise = found["pairwise"]
    names, num_humans = pairwise["annotators"], pairwise["num_humans"]
    values = np.array(pairwise["kappa"], dtype=np.float64).reshape(len(names), len(names))
    undefined = np.array(pairwise["num_undefined"], dtype=np.float64).reshape(values.shape)
    cell = _CELL * min(1.0, _MAX_PRINTED / max(len(names), 1))
    side = cell * max(len(names), 3)
    printed = len(names) <= _MAX_PRINTED
    size = min(8.0, 0.8 * 72 * cell)  # of labels, in points
    figure = Figure(figsize=(3.6 + side, 3.0 + side), layout="compressed")
    axes = figure.subplots()
    own = np.eye(len(names), dtype=bool)
    is_off = np.array([is_off_scale(found, name, pairwise["metric"]) for name in names], dtype=bool)
    off = (is_off[:, None] | is_off) & ~own
    values = np.where(off, np.nan, values)
    missing = np.isnan(values) & ~own & ~off
    known = values[~np.isnan(values) & ~own]
    low, high = (min(0.0, known.min()), max(known.max(), 1e-3)) if len(known) else (0.0, 1.0)
    axes.set_facecolor(_ITSELF)
    image = axes.imshow(np.where(own, np.nan, values), cmap=_COLOURS, vmin=low, vmax=high)
    edges = np.arange(len(names) + 1) - 0.5
    for cells, hatch in ((missing, _UNDEFINED), (off, _OFF)):
        if cells.any():
            blank, white = np.ma.masked_array(np.ones(values.shape), ~cells), ListedColormap(["white"])
            axes.pcolor(edges, edges, blank, cmap=white, hatch=hatch, edgecolor=GREY, linewidth=0)
    for a, b in np.argwhere(~np.isnan(values) & ~own) if printed else ():
        colour = _COLOURS((values[a, b] - low) / (high - low))
        ink = "white" if np.dot(colour[:3], (0.299, 0.587, 0.114)) < 0.47 else "black"
        text = f"{values[a, b]:.2f}".replace("-0.00", "0.00")
        axes.text(b, a, text, ha="center", va="center", fontsize=8, color=ink, in_layout=False)
        if undefined[a, b] > 0:
            axes.plot(b + 0.36, a - 0.36, "o", color=ink, markersize=2.6, markeredgewidth=0, in_layout=False)
    lines = np.arange(len(names) - 1) + 0.5
    axes.set_xticks(lines, minor=True)
    axes.set_yticks(lines, minor=True)
    axes.grid(which="minor", color="white", linewidth=0.4)
    if 0 < num_humans < len(names):
        axes.axhline(num_humans - 0.5, color=HUMAN, linewidth=2.5)
        axes.axvline(num_humans - 0.5, color=HUMAN, linewidth=2.5)
    labels = [short(name, 40) + (endings(found, name) if name in found["systems"] else "") for name in names]
    axes.set_xticks(range(len(names)), labels, fontsize=size, rotation=90)
    axes.set_yticks(range(len(names)), labels, fontsize=size)
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        for place, label in enumerate(ticks):
            label.set_fontweight("bold" if place < num_humans else "normal")
            label.set_color(HUMAN if place < num_humans else "#444444")
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    figure.suptitle("Agreement of every two annotators", x=0.01, ha="left", fontsize=11)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=30)
    bar.set_label(f"{title_of(found, pairwise['metric'])}, mean over emotions", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    handles: list[Any] = [Patch(facecolor=_ITSELF, label="with itself")]
    if missing.any():
        handles.append(Patch(facecolor="white", edgecolor=GREY, hatch=_UNDEFINED, linewidth=0, label="not defined"))
    if off.any():
        words = f"{OFF_SCALE}: scores within 0..1"
        handles.append(Patch(facecolor="white", edgecolor=GREY, hatch=_OFF, linewidth=0, label=words))
    if printed and (undefined[~np.isnan(values)] > 0).any():
        dot = Line2D(
            [], [], color=DARK, marker="o", markersize=2.6, linestyle="", label="not defined for some emotions"
        )
        handles.append(dot)
    figure.legend(handles=handles, fontsize=8, loc="outside lower center", ncols=3, frameon=False)
    return figure
