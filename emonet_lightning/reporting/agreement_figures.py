"""Figures over all emotions: systems beside humans, scores by group, human rating at each score."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from emonet_lightning.reporting.agreement_tables import (
    HUMANS,
    human_of,
    per_emotion,
    ranked,
    summary,
    title_of,
    well_defined,
)
from emonet_lightning.reporting.drawing import BLUE, DARK, GREY, HUMAN, frame, legend_below, nothing, short

_MAX_PANELS = 12
_GROUPS = ("Our Models", "Proprietary", "VLM multi-shot", "VLM zero-shot", "Random Baseline", "Systems", "Trivial")
"""Groups of systems in the published order, then those of users."""


def overview(found: Mapping[str, Any]) -> Figure:
    """Draw the headline metrics of every system, mean over all emotions, over the band of the humans' interval."""
    names, metrics = ranked(found), found["headline"]
    figure = Figure(figsize=(1.9 + 2.9 * len(metrics), 1.5 + 0.27 * (len(names) + 1)), layout="constrained")
    figure.suptitle(
        f"Systems and humans, mean over {len(found['taxonomy']['emotions'])} emotion(s)", x=0.01, ha="left", fontsize=11
    )
    panels = figure.subplots(1, len(metrics), squeeze=False, sharey=True)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        beside = human_of(found, metric)
        human = summary(found, None, beside)
        note = "" if beside in (None, metric) else f"\nhumans: {title_of(found, beside)}"
        frame(axes, "", title_of(found, metric) + note, "")
        if human.get("low") is not None:
            axes.axvspan(human["low"], human["high"], color=HUMAN, alpha=0.22, linewidth=0)
        for row, own in enumerate([human, *(summary(found, name, metric) for name in names)]):
            colour = HUMAN if not row else BLUE if found["systems"][names[row - 1]]["kind"] == "system" else GREY
            if own.get("value") is None:
                axes.text(
                    0.02,
                    row,
                    "not defined",
                    transform=axes.get_yaxis_transform(),
                    va="center",
                    fontsize=7.5,
                    color=GREY,
                )
                continue
            axes.plot(own["value"], row, "oD"[not row], color=colour, markersize=6, markeredgewidth=0)
            if own.get("low") is not None:
                axes.hlines(row, own["low"], own["high"], color=colour, linewidth=2.5, alpha=0.6)
        axes.axvline(0, color=DARK, linewidth=0.8, zorder=0)
    panels[0].set_yticks(range(len(names) + 1), [HUMANS, *map(short, names)], fontsize=8)
    panels[0].set_ylim(len(names) + 0.6, -0.6)
    kinds = {found["systems"][name]["kind"] for name in names}
    handles: list[Any] = []
    if any(summary(found, None, human_of(found, metric)) for metric in metrics):
        handles.append(Patch(facecolor=HUMAN, alpha=0.22, label=f"{HUMANS}: interval"))
    if "system" in kinds:
        handles.append(Line2D([], [], color=BLUE, marker="o", linewidth=2.5, label="system"))
    if kinds - {"system"}:
        handles.append(Line2D([], [], color=GREY, marker="o", linewidth=2.5, label="trivial or reference"))
    legend_below(figure, handles)
    return figure


def by_group(found: Mapping[str, Any], metric: str) -> Figure:
    """Draw the spread of per-emotion scores in each group of annotators, and each annotator's mean."""
    groups: dict[str, dict[str, list[float]]] = {}
    released = found.get("released_protocol") or {}
    for name in found["ratings"]["raters"]:
        own = released.get(name, {})
        if own.get("per_emotion"):
            groups.setdefault(own.get("group") or HUMANS, {})[name] = well_defined(own["per_emotion"])
    if not groups and well_defined(per_emotion(found, None, metric, "value")):
        groups[HUMANS] = {HUMANS: well_defined(per_emotion(found, None, metric, "value"))}
    num_human_groups = len(groups)
    others: dict[str, dict[str, list[float]]] = {}
    for name in ranked(found):
        kind = {"system": "Systems", "trivial": "Trivial", "reference": "Reference"}[found["systems"][name]["kind"]]
        group = released.get(name, {}).get("group") or kind
        others.setdefault(group, {})[name] = well_defined(per_emotion(found, name, metric, "value"))
    groups |= dict(
        sorted(others.items(), key=lambda item: _GROUPS.index(item[0]) if item[0] in _GROUPS else len(_GROUPS))
    )
    figure = Figure(figsize=(9.5, 2.0 + 0.62 * max(len(groups), 1)), layout="constrained")
    axes = figure.subplots()
    frame(axes, "", f"{title_of(found, metric)} with the human raters, one value per annotator and emotion", "")
    figure.suptitle("Scores by group of annotators", x=0.01, ha="left", fontsize=11)
    if not any(values for own in groups.values() for values in own.values()):
        nothing(axes, "no score is defined")
        return figure
    labels = []
    for row, (group, own) in enumerate(groups.items()):
        colour = HUMAN if row < num_human_groups else BLUE
        pooled = [value for values in own.values() for value in values]
        labels.append(f"{short(group, 30)}\n{len(own)} annotator{'s' * (len(own) != 1)}, {len(pooled)} values")
        if not pooled:
            axes.text(0, row, " not defined", va="center", fontsize=7.5, color=GREY)
            continue
        lines = {"color": colour, "linewidth": 1.3}
        axes.boxplot(
            [pooled],
            positions=[row],
            widths=0.5,
            orientation="horizontal",
            patch_artist=True,
            boxprops={"facecolor": colour, "alpha": 0.25, "edgecolor": colour},
            medianprops={"color": colour, "linewidth": 2.2},
            whiskerprops=lines,
            capprops=lines,
            flierprops={
                "marker": "o",
                "markersize": 2.5,
                "markerfacecolor": colour,
                "markeredgewidth": 0,
                "alpha": 0.5,
            },
            manage_ticks=False,
        )
        means = [float(np.mean(values)) for values in own.values() if values]
        axes.plot(means, [row] * len(means), "D", color="white", markeredgecolor=colour, markersize=5, zorder=4)
    axes.axvline(0, color=DARK, linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(groups)), labels, fontsize=8)
    axes.set_ylim(len(groups) - 0.4, -0.6)
    box = Patch(facecolor=GREY, alpha=0.4, label="middle half of the values, line at the median")
    mean = Line2D([], [], marker="D", color="white", markeredgecolor=DARK, linestyle="", label="mean of one annotator")
    legend_below(figure, [box, mean])
    return figure


def reliability(found: Mapping[str, Any], low: float, high: float) -> Figure:
    """Draw, per system, the mean human rating in bins of the system's score; on the dashed line both are one."""
    pooled = found.get("reliability") or {}
    names = [name for name in ranked(found) if well_defined((pooled.get(name) or {}).get("bin_mean_score") or [])]
    shown = names[:_MAX_PANELS]
    num_columns = min(4, max(len(shown), 1))
    num_rows = -(-max(len(shown), 1) // num_columns)
    figure = Figure(figsize=(max(1.2 + 2.6 * num_columns, 6.4), 1.3 + 2.5 * num_rows), layout="constrained")
    left_out = f" (the first {len(shown)} of {len(names)})" if len(names) > len(shown) else ""
    figure.suptitle(f"Human rating at each score{left_out}", x=0.01, ha="left", fontsize=11)
    panels = figure.subplots(num_rows, num_columns, squeeze=False, sharey=True)
    for axes in panels.flat[len(shown) :]:
        axes.set_visible(bool(not shown))
    if not shown:
        nothing(panels[0, 0], "no system has scores")
    most, least = low, low
    for place, (axes, name) in enumerate(zip(panels.flat, shown, strict=False)):
        own = pooled[name]
        kept = [
            bin for bin in zip(own["bin_mean_score"], own["bin_mean_rating"], own["n"], strict=True) if None not in bin
        ]
        score, rating, count = np.array(kept, dtype=np.float64).reshape(-1, 3).T
        bottom = place + num_columns >= len(shown)
        frame(
            axes,
            "",
            "mean score of the system" if bottom else "",
            "mean human rating" if not place % num_columns else "",
        )
        axes.set_title(short(name, 30), loc="left", fontsize=9)
        axes.plot([low, high], [low, high], color=HUMAN, linewidth=1, linestyle="--", zorder=1)
        area = 12 + 90 * count / max(count.max(initial=1), 1)
        axes.plot(score, rating, color=BLUE, linewidth=1.2, zorder=2)
        axes.scatter(score, rating, s=area, color=BLUE, alpha=0.75, linewidth=0, zorder=3, clip_on=False)
        right = score.max(initial=low)
        right = high if right <= low or right > low + 0.3 * (high - low) else right  # 0..1 scores fill their panel too
        axes.set_xlim(score.min(initial=low) - 0.04 * (right - low), right + 0.04 * (right - low))
        most, least = max(most, rating.max(initial=low)), min(least, rating.min(initial=low))
    reach = max(most - least, 0.1 * (high - low))  # raters rarely say much: their range, not that of the levels
    panels[0, 0].set_ylim(least - 0.06 * reach, least + 1.15 * reach)
    identity = Line2D([], [], color=HUMAN, linestyle="--", linewidth=1, label="here the score is the mean human rating")
    size = Line2D(
        [], [], color=BLUE, marker="o", linewidth=1.2, label="bin of scores, all emotions; larger with more ratings"
    )
    legend_below(figure, [identity, size])
    return figure
