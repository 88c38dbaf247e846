"""Figures over all emotions: systems beside humans, scores by group, human rating at each score."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from emonet_lightning.reporting.agreement_values import (
    FEWEST_IN_BIN,
    HUMANS,
    OFF_SCALE,
    compared_key,
    endings,
    group_title,
    human_of,
    is_off_scale,
    num_fewer,
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
    names, metrics, total = ranked(found), found["headline"], len(found["taxonomy"]["emotions"])
    has_partial, some_lack = False, False
    figure = Figure(figsize=(1.9 + 2.9 * len(metrics), 1.5 + 0.27 * (len(names) + 1)), layout="constrained")
    panels = figure.subplots(1, len(metrics), squeeze=False, sharey=True)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        beside = human_of(found, metric)
        human = summary(found, None, beside)
        note = "" if beside is None else f"\nhumans: {human_label(found, metric)}"
        frame(axes, "", title_of(found, metric) + note, "")
        if human.get("low") is not None:
            axes.axvspan(human["low"], human["high"], color=HUMAN, alpha=0.22, linewidth=0)
        for row, name in enumerate([None, *names]):
            own = human if name is None else summary(found, name, metric)
            colour = HUMAN if name is None else BLUE if found["systems"][name]["kind"] == "system" else GREY
            is_off = is_off_scale(found, name, metric)
            if is_off or own.get("value") is None:
                words, place = OFF_SCALE if is_off else "not defined", axes.get_yaxis_transform()
                axes.text(0.02, row, words, transform=place, va="center", fontsize=7.5, color=GREY)
                continue
            is_part = name is not None and num_fewer(found, name, metric) is not None
            has_partial, some_lack = has_partial | is_part, some_lack | (own.get("num_emotions") not in (None, total))
            if own.get("low") is not None:
                axes.hlines(row, own["low"], own["high"], color=colour, linewidth=2.5, alpha=0.6)
            face = "white" if is_part else colour
            axes.plot(
                own["value"], row, "oD"[not row], color=colour, markersize=6, markerfacecolor=face, markeredgewidth=1.3
            )
        axes.axvline(0, color=DARK, linewidth=0.8, zorder=0)
    over = f"mean over {'at most ' * some_lack}{total} emotion(s){', hollow: over fewer than others' * has_partial}"
    figure.suptitle(f"Systems and humans, {over}", x=0.01, ha="left", fontsize=11)
    labels = [short(name) + endings(found, name) for name in names]
    panels[0].set_yticks(range(len(names) + 1), [HUMANS, *labels], fontsize=8)
    panels[0].set_ylim(len(names) + 0.6, -0.6)
    kinds = {found["systems"][name]["kind"] for name in names}
    handles: list[Any] = []
    if any(summary(found, None, human_of(found, metric)) for metric in metrics):
        handles.append(Patch(facecolor=HUMAN, alpha=0.22, label=f"{HUMANS}: interval"))
    if "system" in kinds:
        handles.append(Line2D([], [], color=BLUE, marker="o", linewidth=2.5, label="system"))
    if kinds - {"system"}:
        handles.append(Line2D([], [], color=GREY, marker="o", linewidth=2.5, label="trivial or reference"))
    if has_partial:
        what = "not on all emotions; compare it only by the paired table"
        handles.append(Line2D([], [], color=GREY, marker="o", markerfacecolor="white", linewidth=2.5, label=what))
    legend_below(figure, handles)
    return figure


def human_label(found: Mapping[str, Any], metric: str) -> str:
    """What the human figure beside a metric is; a rater beside a system may not be like for like."""
    if compared_key(found, metric) != metric:
        return "one rater against the others"
    return title_of(found, human_of(found, metric))


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
        is_off = is_off_scale(found, name, metric)
        others.setdefault(group, {})[name] = [] if is_off else well_defined(per_emotion(found, name, metric, "value"))
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
        is_system = any(found["systems"][name]["kind"] == "system" for name in own if name in found["systems"])
        colour = HUMAN if row < num_human_groups else BLUE if is_system else GREY
        pooled = [value for values in own.values() for value in values]
        num_off = sum(is_off_scale(found, name, metric) for name in own)
        off = f", {num_off} {OFF_SCALE}" if num_off else ""
        counted = f"{len(own)} annotator{'s' * (len(own) != 1)}{off}, {len(pooled)} values"
        labels.append(f"{short(group_title(group), 60)}\n{counted}")
        if not pooled:
            words = f" {OFF_SCALE}" if num_off else " not defined"
            axes.text(0, row, words, va="center", fontsize=7.5, color=GREY)
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
    headline = title_of(found, found["headline"][0])
    left_out = f", first {len(shown)} of {len(names)} by the headline, {headline}" if len(names) > len(shown) else ""
    figure.suptitle(f"Human rating at each score{left_out}", x=0.01, ha="left", fontsize=11)
    panels = figure.subplots(num_rows, num_columns, squeeze=False, sharey=True)
    for axes in panels.flat[len(shown) :]:
        axes.set_visible(bool(not shown))
    if not shown:
        nothing(panels[0, 0], "no system has scores")
    most, least = low, low
    for place, (axes, name) in enumerate(zip(panels.flat, shown, strict=False)):
        own = pooled[name]
        bins = zip(own["bin_mean_score"], own["bin_mean_rating"], own["n"], strict=True)
        kept = [bin for bin in bins if None not in bin and bin[2] >= FEWEST_IN_BIN]
        score, rating, count = np.array(kept, dtype=np.float64).reshape(-1, 3).T
        bottom = place + num_columns >= len(shown)
        frame(
            axes,
            "",
            "mean score of the system" if bottom else "",
            "mean human rating" if not place % num_columns else "",
        )
        axes.set_title(short(name, 30) + endings(found, name), loc="left", fontsize=9)
        axes.plot([low, high], [low, high], color=HUMAN, linewidth=1, linestyle="--", zorder=1)
        area = 12 + 90 * count / max(count.max(initial=1), 1)
        axes.plot(score, rating, color=BLUE, linewidth=1.2, zorder=2)
        axes.scatter(score, rating, s=area, color=BLUE, alpha=0.75, linewidth=0, zorder=3, clip_on=False)
        right = score.max(initial=low)
        if right <= low or right > low + 0.3 * (high - low):  # else 0..1 scores, which fill their panel too
            right = max(high, right)  # heads' scores have no end
        axes.set_xlim(score.min(initial=low) - 0.04 * (right - low), right + 0.04 * (right - low))
        most, least = max(most, rating.max(initial=low)), min(least, rating.min(initial=low))
    reach = max(most - least, 0.1 * (high - low))  # raters rarely say much: their range, not that of the levels
    panels[0, 0].set_ylim(least - 0.06 * reach, least + 1.15 * reach)
    identity = Line2D([], [], color=HUMAN, linestyle="--", linewidth=1, label="here the score is the mean human rating")
    what = f"bin of scores, all emotions, n from {FEWEST_IN_BIN}; larger with more ratings"
    size = Line2D([], [], color=BLUE, marker="o", linewidth=1.2, label=what)
    legend_below(figure, [identity, size], 1 if num_columns < 3 else 2)
    return figure
