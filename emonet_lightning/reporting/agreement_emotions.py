"""Figures of single emotions: systems over the human band, and the raters' alpha."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from emonet_lightning.reporting.agreement_figures import human_label
from emonet_lightning.reporting.agreement_values import (
    HUMANS,
    OFF_SCALE,
    by_alpha,
    endings,
    human_of,
    is_off_scale,
    per_emotion,
    ranked,
    title_of,
    well_defined,
)
from emonet_lightning.reporting.drawing import (
    DARK,
    GREY,
    HUMAN,
    PALETTE,
    family_styles,
    frame,
    legend_below,
    short,
)

_MARKERS = "osD^vP"
_DISTINCT = tuple(zip([colour for colour in PALETTE if colour != GREY], _MARKERS, strict=True))
"""Colour and marker of the systems that are drawn distinctly, best first."""


def by_emotion(found: Mapping[str, Any], metric: str) -> Figure:
    """Draw systems per emotion, over the band of the humans' interval; emotions by alpha, highest on top."""
    order, human = by_alpha(found), human_of(found, metric)
    on_scale = [name for name in ranked(found) if not is_off_scale(found, name, metric)]
    distinct = _distinct(found, on_scale)
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
    values = {name: _column(found, name, metric, "value")[order] for name in on_scale}
    for name in on_scale:
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
        label = f"above: alpha at least {found['reliable']['threshold']:g} (point estimate)"
        handles.append(Line2D([], [], color=DARK, linewidth=1, linestyle=":", label=label))
    _emotion_axis(axes, found, order)
    if well_defined(band[0]):
        handles.append(Patch(facecolor=HUMAN, alpha=0.22, label=f"{HUMANS}: interval"))
        handles.append(Line2D([], [], color=HUMAN, linewidth=2.2, label=f"{HUMANS}: {human_label(found, metric)}"))
    for name, (colour, marker) in distinct.items():
        label = short(name) + endings(found, name)
        handles.append(Line2D([], [], color=colour, marker=marker, markersize=5, linewidth=1, label=label))
    if len(on_scale) > len(distinct):
        label = f"{len(on_scale) - len(distinct)} other systems, trivial ones included"
        handles.append(Line2D([], [], color=GREY, marker="|", markersize=8, linestyle="", label=label))
    if num_off := len(found["systems"]) - len(on_scale):
        handles.append(Line2D([], [], linestyle="", label=f"not drawn: {num_off} {OFF_SCALE}"))
    legend_below(figure, handles)
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
    count, reached = len(found["reliable"]["emotions"]), f"alpha at least {threshold:g} (point estimate)"
    handles: list[Any] = [Line2D([], [], color=DARK, linestyle="--", label=f"{reached}: {count} of {len(order)}")]
    if list(styles) != [None]:
        handles += [
            Line2D(
                [], [], color=colour, marker="s" if hatch else "o", linewidth=2.4, label=short(family or "no family")
            )
            for family, (colour, hatch) in styles.items()
        ]
    legend_below(figure, handles)
    return figure


def _emotion_axis(axes: Axes, found: Mapping[str, Any], order: Sequence[int]) -> None:
    axes.set_yticks(range(len(order)), [short(found["taxonomy"]["emotions"][k]["name"]) for k in order], fontsize=8)
    axes.set_ylim(len(order) - 0.4, -0.6)


def _column(found: Mapping[str, Any], name: str | None, metric: str | None, part: str) -> np.ndarray:
    return np.array(per_emotion(found, name, metric, part), dtype=np.float64)
