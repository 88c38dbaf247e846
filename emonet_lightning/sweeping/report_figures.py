"""Figures of a sweep's report: differences with intervals, cost against score, learning curves, scaling."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from emonet_lightning.evaluation.columns import Array
from emonet_lightning.reporting.drawing import BLUE, DARK, GREY, ORANGE, PALETTE, frame, legend_below, nothing, short
from emonet_lightning.sweeping.scaling import PowerLaw


def _log(axes: Axes) -> None:
    """Scale x by its logarithm, with numbers that people write."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value < 1e6 else f"{value:.0e}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def differences(found: Mapping[str, Any]) -> Figure:
    """Draw each difference to the baseline with its interval, one row each, factors apart."""
    rows = found["differences"]
    figure = Figure(figsize=(9, 1.8 + 0.32 * len(rows)), layout="constrained")
    axes = figure.subplots()
    frame(axes, "Difference to the baseline level", f"{found['metric']}, mean over emotions", "")
    for place, one in enumerate(rows):
        sure = one["p_holm"] is not None and one["p_holm"] < 1 - found["coverage"]
        colour = BLUE if sure else GREY
        if not np.isnan(one["low"]):
            axes.plot([one["low"], one["high"]], [place, place], color=colour, linewidth=2)
        axes.plot(one["value"], place, "o", color=colour, markeredgecolor=DARK, markersize=6, zorder=3)
        if place and rows[place - 1]["factor"] != one["factor"]:
            axes.axhline(place - 0.5, color="#DDDDDD", linewidth=0.8)
    axes.axvline(0, color=DARK, linewidth=1)
    axes.set_yticks(range(len(rows)), [_label(one) for one in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    marks = [(BLUE, "differs, corrected for all comparisons (Holm)"), (GREY, "no evidence of a difference")]
    legend_below(figure, [Line2D([], [], color=c, marker="o", markeredgecolor=DARK, label=text) for c, text in marks])
    return figure


def _label(one: Mapping[str, Any]) -> str:
    return short(f"{one['factor'].rpartition('.')[2]}: {one['level']} - {one['baseline']}", 60)


def pareto(found: Mapping[str, Any]) -> Figure:
    """Draw score against seconds and against parameters; what nothing beats is joined by a line."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    titles = {"seconds": "seconds a trial", "num_parameters": "parameters of all heads"}
    for axes, (cost, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        frame(axes, f"Score against {title}", title, f"{found['metric']}, mean over emotions")
        rows = [row for row in found["pareto"] if np.isfinite(row[cost])]
        axes.plot([row[cost] for row in rows], [row["score"] for row in rows], "o", color=GREY, markersize=5)
        front = sorted((row[cost], row["score"]) for row in rows if row[f"is_best_for_{cost}"])
        axes.plot(*zip(*front, strict=True), "o-", color=BLUE, markeredgecolor=DARK, markersize=6) if front else None
        values = [row[cost] for row in rows]
        if values and min(values) > 0 and max(values) > 10 * min(values):
            _log(axes)
    return figure


def curves(found: Mapping[str, Any]) -> Figure:
    """Draw the validation score over epochs, one panel a factor, one line a level with its spread and its fit."""
    factors = found["curves"]
    columns = min(3, len(factors))
    rows = -(-len(factors) // columns)
    figure = Figure(figsize=(4.6 * columns, 0.6 + 3.2 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (factor, levels) in zip(panels, factors.items(), strict=False):
        frame(axes, short(factor, 36), "epoch", "validation score")
        drawn = [one for one in levels if one["epochs"]]
        if not drawn:
            nothing(axes, "no validation in common")
            continue
        for place, one in enumerate(drawn):
            mean, sd = np.array(one["mean"]), np.array(one["sd"])
            style = ("-", "--", ":")[place // len(PALETTE) % 3]
            colour = PALETTE[place % len(PALETTE)]
            axes.plot(one["epochs"], mean, style, color=colour, label=short(str(one["level"]), 24))
            if one["law"]:
                axes.plot(
                    one["epochs"], _fitted(one["law"], np.array(one["epochs"]) + 1.0), color=colour, linewidth=0.6
                )
            axes.fill_between(one["epochs"], mean - sd, mean + sd, color=colour, alpha=0.12, linewidth=0)
        axes.legend(fontsize=7, framealpha=0.9)
    for axes in panels[len(factors) :]:
        axes.set_visible(False)
    return figure


def _fitted(law: Mapping[str, Any], amounts: Array) -> Array:
    return PowerLaw(**{name: law[name] for name in PowerLaw._fields}).at(amounts)


def scaling(found: Mapping[str, Any]) -> Figure:
    """Draw scores over amounts with the fitted law."""
    laws: Sequence[tuple[str, Mapping[str, Any]]] = list(found["scaling"].items())
    figure = Figure(figsize=(6 * len(laws), 4), layout="constrained")
    for axes, (factor, law) in zip(figure.subplots(1, len(laws), squeeze=False).ravel(), laws, strict=True):
        frame(axes, "Scaling, fitted power law", short(factor), f"{found['metric']}, mean over emotions")
        axes.plot(law["amounts"], law["scores"], "o", color=GREY, label="trials")
        amounts = np.geomspace(min(law["amounts"]), max(law["amounts"]), 100)
        axes.plot(
            amounts,
            _fitted(law, amounts),
            color=BLUE,
            label=f"R2 {law['r2']:.3f}",
        )
        axes.axhline(law["ceiling"], color=ORANGE, linestyle="--", linewidth=1, label=f"ceiling {law['ceiling']:.3f}")
        _log(axes)
        axes.legend(fontsize=8)
    return figure
