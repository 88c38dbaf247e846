"""Figures of a preference study: preferred by emotion and by judge, strengths of systems."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from emonet_lightning.reporting.drawing import BLUE, DARK, GREY, ORANGE, frame, legend_below, nothing, short

_SURE = 0.05


def preference_figures(found: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Figure]:
    """Draw what `annotation.preference_analysis.analyse` returned; name -> figure.

    `preference_emotions` and `preference_judges` always, `preference_strengths` with more than two systems.
    """
    emotions = [{**row, "name": names.get(row["emotion"], row["emotion"])} for row in found["emotions"]]
    judges = [{**row, "name": row["rater"]} for row in found["judges"] if row["value"] is not None]
    figures = {
        "preference_emotions": forest(found, emotions, "Preferred, by the emotion that the image is about"),
        "preference_judges": forest(found, judges, "Preferred, by judge"),
    }
    if found["strengths"]:
        figures["preference_strengths"] = strengths(found)
    return figures


def forest(found: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Draw a share with its interval for each row, the highest on top, and that of all comparisons below."""
    ordered = sorted(rows, key=lambda row: (-row["value"], row["name"]))
    figure = Figure(figsize=(8.2, 2.3 + 0.235 * (len(ordered) + 1)), layout="constrained")
    axes = figure.subplots()
    subject, reference = short(found["subject"], 32), short(found["reference"], 32)
    frame(axes, title, f"share of comparisons in which '{subject}' was preferred to '{reference}'", "")
    overall = found["overall"]
    if overall["value"] is None or not ordered:
        nothing(axes, "these two systems were not compared")
        return figure
    axes.axvspan(overall["low"], overall["high"], color=DARK, alpha=0.12, linewidth=0)
    axes.axvline(0.5, color=DARK, linewidth=0.9, linestyle="--", zorder=1)
    for place, row in enumerate(ordered):
        sure = row.get("p_holm") is not None and row["p_holm"] < _SURE
        _whisker(axes, place, row, BLUE if row["value"] >= 0.5 else ORANGE, filled=sure)
    _whisker(axes, len(ordered) + 0.5, overall, DARK, filled=True, marker="D")
    labels = [f"{short(row['name'])} ({row['n']})" for row in ordered]
    axes.set_yticks([*range(len(ordered)), len(ordered) + 0.5], [*labels, f"all comparisons ({overall['n']:,})"])
    axes.set_ylim(len(ordered) + 1.1, -0.7)
    axes.set_xlim(-0.01, 1.01)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    level = f"{found['options']['level']:.0%}"
    legend_below(
        figure,
        [
            Line2D([], [], color=BLUE, marker="o", linewidth=2.2, label=f"'{subject}' preferred more often than not"),
            Line2D([], [], color=ORANGE, marker="o", linewidth=2.2, label="less often"),
            Line2D([], [], color=GREY, marker="o", markerfacecolor="white", linewidth=0, label=_hollow(ordered)),
            Patch(facecolor=DARK, alpha=0.12, label=f"all comparisons, Wilson {level}"),
            Line2D([], [], color=DARK, linewidth=0.9, label="thin: other images and judges, too"),
        ],
        num_columns=2,
    )
    return figure


def strengths(found: Mapping[str, Any]) -> Figure:
    """Draw each system's Bradley-Terry strength with its interval, the strongest on top."""
    rows = sorted((row for row in found["strengths"] if row["value"] is not None), key=lambda row: -row["value"])
    figure = Figure(figsize=(7.6, 1.7 + 0.36 * max(len(rows), 1)), layout="constrained")
    axes = figure.subplots()
    frame(axes, "Strength of the systems (Bradley-Terry)", "log-odds of being preferred to an average one of these", "")
    if not rows:
        nothing(axes, "only one side was ever chosen: no strength can be told")
        return figure
    axes.axvline(0, color=DARK, linewidth=0.9, linestyle="--", zorder=1)
    for place, row in enumerate(rows):
        if row["low"] is not None:
            axes.hlines(place, row["low"], row["high"], color=BLUE, linewidth=2.2, alpha=0.7)
        axes.plot(row["value"], place, "o", color=BLUE, markersize=6)
    axes.set_yticks(range(len(rows)), [short(row["system"]) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    level = f"{found['options']['level']:.0%}"
    label = f"{level} interval: other images and judges"
    legend_below(figure, [Line2D([], [], color=BLUE, marker="o", linewidth=2.2, label=label)])
    return figure


def _whisker(axes: Axes, place: float, row: Mapping[str, Any], colour: str, filled: bool, marker: str = "o") -> None:
    axes.hlines(place, row["low"], row["high"], color=colour, linewidth=2.2, alpha=0.7)
    wide = row["clustered"]
    if wide["high"] - wide["low"] < 1:  # of one image or one judge nothing is known about others
        axes.hlines(place, wide["low"], wide["high"], color=colour, linewidth=0.9)
    face = colour if filled else "white"
    axes.plot(row["value"], place, marker, color=colour, markerfacecolor=face, markersize=5.5, markeredgewidth=1.2)


def _hollow(rows: Sequence[Mapping[str, Any]]) -> str:
    return f"hollow: not told from one half (Holm, {len(rows)} tests)"
