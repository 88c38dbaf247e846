"""Figures of the agreement report: per emotion against the human band, alpha, scores by group, reliability."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from emonet_lightning.reporting.agreement_tables import (
    HUMANS,
    by_alpha,
    human_of,
    per_emotion,
    ranked,
    summary,
    title_of,
    well_defined,
)
from emonet_lightning.reporting.drawing import BLUE, DARK, GREY, HUMAN, PALETTE, family_styles, frame, nothing, short

_MARKERS = "osD^vP"
_DISTINCT = tuple(zip([colour for colour in PALETTE if colour != GREY], _MARKERS, strict=True))
"""Colour and marker of the systems that are drawn distinctly, best first."""
_MAX_PANELS = 12
_GROUPS = ("Our Models", "Proprietary", "VLM multi-shot", "VLM zero-shot", "Random Baseline", "Systems", "Trivial")
"""Groups of systems in the published order, then those of users."""


def overview(found: Mapping[str, Any]) -> Figure:
    """Draw the headline metrics of every system, mean over all emotions, over the band of the humans' interval."""
    names, metrics = ranked(found), found["headline"]
    figure = Figure(figsize=(1.9 + 2.9 * len(metrics), 1.5 + 0.27 * (len(names) + 1)), layout="constrained")
    figure.suptitle(f"Systems and humans, mean over {len(found['taxonomy']['emotions'])} emotion(s)", x=0.01, ha="left")
    panels = figure.subplots(1, len(metrics), squeeze=False, sharey=True)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        frame(axes, "", title_of(found, metric), "")
        human = summary(found, None, human_of(found, metric))
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
    handles = [
        Patch(facecolor=HUMAN, alpha=0.22, label=f"{HUMANS}: interval"),
        Line2D([], [], color=BLUE, marker="o", linewidth=2.5, label="system"),
        Line2D([], [], color=GREY, marker="o", linewidth=2.5, label="trivial or reference"),
    ]
    _legend(figure, handles if names else handles[:1])
    return figure


def by_emotion(found: Mapping[str, Any], metric: str) -> Figure:
    """Draw systems per emotion, over the band of the humans' interval; emotions by alpha, highest on top."""
    order, human = by_alpha(found), human_of(found, metric)
    names = ranked(found)
    distinct = _distinct(found, names)
    figure = Figure(figsize=(10, 2.4 + 0.27 * len(order)), layout="constrained")
    axes = figure.subplots()
    frame(axes, "", f"{title_of(found, metric)}, {found['bootstrap']['level']:.0%} interval", "")
    figure.suptitle(
        f"{title_of(found, metric)} per emotion, by the raters' alpha: systems and the human band",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    axes.use_sticky_edges = False
    rows = np.arange(len(order))
    values = {name: _column(found, name, metric, "value")[order] for name in names}
    for name in names:
        if name not in distinct:
            axes.plot(values[name], rows, "|", color=GREY, markersize=7, markeredgewidth=1, zorder=2)
    band = [_column(found, None, human, part)[order] for part in ("value", "low", "high")]
    axes.barh(rows, band[2] - band[1], left=band[1], height=0.86, color=HUMAN, alpha=0.22, linewidth=0, zorder=1)
    axes.vlines(band[0], rows - 0.43, rows + 0.43, color=HUMAN, linewidth=2.2, zorder=3)
    spread = np.linspace(-0.26, 0.26, len(distinct)) if len(distinct) > 1 else np.zeros(1)
    for (name, (colour, marker)), shift in zip(distinct.items(), spread, strict=False):
        low, high = (_column(found, name, metric, part)[order] for part in ("low", "high"))
        axes.hlines(rows + shift, low, high, color=colour, linewidth=1, alpha=0.7, zorder=4)
        axes.plot(values[name], rows + shift, marker, color=colour, markersize=4.5, markeredgewidth=0, zorder=5)
    axes.axvline(0, color=DARK, linewidth=0.8, zorder=0)
    handles: list[Any] = []
    if not well_defined(np.concatenate([band[0], *values.values()])):
        axes.set_xlim(-0.1, 1)
        axes.text(0.5, 0.5, "not defined for any emotion", transform=axes.transAxes, ha="center", color=GREY)
    elif 0 < (count := len(found["reliable"]["emotions"])) < len(order):
        axes.axhline(count - 0.5, color=DARK, linewidth=1, linestyle=":")
        label = f"above: reliable, alpha from {found['reliable']['threshold']:g}"
        handles.append(Line2D([], [], color=DARK, linewidth=1, linestyle=":", label=label))
    _emotion_axis(axes, found, order)
    if well_defined(band[0]):
        handles.append(Patch(facecolor=HUMAN, alpha=0.22, label=f"{HUMANS}: interval"))
        handles.append(Line2D([], [], color=HUMAN, linewidth=2.2, label=f"{HUMANS}: {title_of(found, human)}"))
    for name, (colour, marker) in distinct.items():
        handles.append(Line2D([], [], color=colour, marker=marker, markersize=5, linewidth=1, label=short(name)))
    if len(names) > len(distinct):
        label = f"{len(names) - len(distinct)} other systems, trivial ones included"
        handles.append(Line2D([], [], color=GREY, marker="|", markersize=8, linestyle="", label=label))
    _legend(figure, handles)
    return figure


def _distinct(found: Mapping[str, Any], names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Systems with a colour of their own: the subject of the comparison, then the best."""
    subject = (found.get("differences") or {}).get("subject")
    systems = [name for name in names if found["systems"][name]["kind"] == "system"] or list(names)
    chosen = systems[: len(_DISTINCT)]
    if subject in systems and subject not in chosen:
        chosen[-1] = subject
    return dict(zip(chosen, _DISTINCT, strict=False))


def alpha(found: Mapping[str, Any]) -> Figure:
    """Draw Krippendorff's alpha of the raters per emotion with its interval, and the threshold of reliability."""
    metric, threshold = found["reliable"]["metric"], found["reliable"]["threshold"]
    order, emotions = by_alpha(found), found["taxonomy"]["emotions"]
    styles = family_styles([emotion.get("family") for emotion in emotions])
    figure = Figure(figsize=(9.5, 2.2 + 0.25 * len(order)), layout="constrained")
    axes = figure.subplots()
    frame(axes, "", f"Krippendorff's {title_of(found, metric)}, {found['bootstrap']['level']:.0%} interval", "")
    figure.suptitle("How far the raters agree with each other, per emotion", x=0.01, ha="left", fontsize=11)
    value, low, high = (_column(found, None, metric, part) for part in ("value", "low", "high"))
    for row, k in enumerate(order):
        colour, hatch = styles[emotions[k].get("family")]
        if np.isnan(value[k]):
            axes.text(0.01, row, "not defined", va="center", fontsize=7.5, color=GREY)
            continue
        axes.hlines(row, low[k], high[k], color=colour, linewidth=2.4, alpha=0.6)
        axes.plot(value[k], row, "s" if hatch else "o", color=colour, markersize=6.5, markeredgecolor="white")
    axes.axvline(0, color=DARK, linewidth=0.8, zorder=0)
    axes.axvline(threshold, color=DARK, linewidth=1.2, linestyle="--", zorder=0)
    if not well_defined(value):
        axes.set_xlim(-0.1, 1)
    _emotion_axis(axes, found, order)
    count = len(found["reliable"]["emotions"])
    handles: list[Any] = [
        Line2D([], [], color=DARK, linestyle="--", label=f"reliable from {threshold:g}: {count} of {len(order)}")
    ]
    if list(styles) != [None]:
        handles += [
            Line2D(
                [], [], color=colour, marker="s" if hatch else "o", linewidth=2.4, label=short(family or "no family")
            )
            for family, (colour, hatch) in styles.items()
        ]
    _legend(figure, handles)
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
    _legend(figure, [box, mean])
    return figure


def reliability(found: Mapping[str, Any], low: float, high: float) -> Figure:
    """Draw, per system, the mean human rating in bins of the system's score; on the diagonal it rates as humans do."""
    pooled = found.get("reliability") or {}
    names = [name for name in ranked(found) if well_defined((pooled.get(name) or {}).get("bin_mean_score") or [])]
    shown = names[:_MAX_PANELS]
    num_columns = min(4, max(len(shown), 1))
    num_rows = -(-max(len(shown), 1) // num_columns)
    figure = Figure(figsize=(1.2 + 2.6 * num_columns, 1.3 + 2.5 * num_rows), layout="constrained")
    left_out = f" (the first {len(shown)} of {len(names)})" if len(names) > len(shown) else ""
    figure.suptitle(f"Human rating at each score{left_out}", x=0.01, ha="left", fontsize=11)
    panels = figure.subplots(num_rows, num_columns, squeeze=False, sharey=True)
    for axes in panels.flat[len(shown) :]:
        axes.set_visible(bool(not shown))
    if not shown:
        nothing(panels[0, 0], "no system has scores")
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
        axes.scatter(score, rating, s=area, color=BLUE, alpha=0.75, linewidth=0, zorder=3)
        margin = 0.04 * (high - low)
        right = score.max(initial=low)
        right = high if right <= low or right > low + 0.3 * (high - low) else right  # 0..1 scores fill their panel too
        axes.set_xlim(score.min(initial=low) - 0.04 * (right - low), right + 0.04 * (right - low))
        axes.set_ylim(low - margin, high + margin)
    identity = Line2D(
        [], [], color=HUMAN, linestyle="--", linewidth=1, label="diagonal: the score is the mean human rating"
    )
    size = Line2D(
        [], [], color=BLUE, marker="o", linewidth=1.2, label="bin of scores, all emotions; larger with more ratings"
    )
    _legend(figure, [identity, size])
    return figure


def _column(found: Mapping[str, Any], name: str | None, metric: str | None, part: str) -> np.ndarray:
    return np.array(per_emotion(found, name, metric, part), dtype=np.float64)


def _emotion_axis(axes: Axes, found: Mapping[str, Any], order: Sequence[int]) -> None:
    axes.set_yticks(range(len(order)), [short(found["taxonomy"]["emotions"][k]["name"]) for k in order], fontsize=8)
    axes.set_ylim(len(order) - 0.4, -0.6)


def _legend(figure: Figure, handles: Sequence[Any]) -> None:
    if handles:
        figure.legend(handles=handles, fontsize=8, loc="outside lower center", ncols=3, frameon=False)
