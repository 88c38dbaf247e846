"""Figures of a run as PNG bytes: curves of the stages, bars per emotion, systems with intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from emonet_lightning.reporting.drawing import BLUE, DARK, GREY, HATCHES, ORANGE, PALETTE, frame, nothing, png, short
from emonet_lightning.reporting.run_record import LOSS, SCORE, EmotionFigures, StageRecord
from emonet_lightning.taxonomy import Taxonomy


def curves(stages: Sequence[StageRecord], taxonomy: Taxonomy) -> bytes:
    """Draw training loss and validation score over steps, one row per stage."""
    figure = Figure(figsize=(10, 0.6 + 2.9 * len(stages)), layout="constrained")
    rows = figure.subplots(len(stages), 2, squeeze=False)
    for (left, right), stage in zip(rows, stages, strict=True):
        _loss_curve(left, stage)
        _score_curve(right, stage, taxonomy)
        for axes in (left, right):
            axes.set_xlim(0, 1.04 * max(stage.num_steps, 1))
    return png(figure)


def _loss_curve(axes: Axes, stage: StageRecord) -> None:
    steps, values = stage.series(LOSS)
    frame(axes, f"{stage.name}: training loss", "optimiser step", "loss, mean over emotions")
    if not len(values):
        return nothing(axes, "no training loss logged")
    axes.plot(steps, values, color=BLUE, linewidth=1.4, marker="o" if len(values) < 40 else "", markersize=3)
    if (values > 0).all() and values.max() > 10 * values.min():
        axes.set_yscale("log")
    return None


def _score_curve(axes: Axes, stage: StageRecord, taxonomy: Taxonomy) -> None:
    steps, values = stage.series(SCORE)
    frame(axes, f"{stage.name}: validation score", "optimiser step", "score (no unit, 1 is perfect)")
    if not len(values):
        return nothing(axes, "no validation score logged")
    single = [stage.series(f"{SCORE}/{slug}") for slug in taxonomy.slugs]
    for x, y in single:
        axes.plot(x, y, color=GREY, linewidth=0.6, alpha=0.45, zorder=1)
    axes.plot(steps, values, color=BLUE, linewidth=2, zorder=3, marker="o" if len(values) < 40 else "", markersize=3)
    best = stage.best(SCORE)
    assert best is not None
    epoch = "" if best.epoch is None else f", epoch {best.epoch}"
    axes.plot(best.step, best.value, "o", color=ORANGE, markeredgecolor=DARK, markersize=8, zorder=4)
    handles = [
        Line2D([], [], color=BLUE, linewidth=2, label="mean"),
        Line2D(
            [], [], color=ORANGE, marker="o", markeredgecolor=DARK, linestyle="", label=f"best {best.value:.3f}{epoch}"
        ),
    ]
    if any(len(y) for _, y in single):
        handles.insert(1, Line2D([], [], color=GREY, linewidth=1, label="single emotions"))
    axes.legend(handles=handles, fontsize=8, framealpha=0.9, loc="best")
    return None


def emotion_bars(emotions: EmotionFigures, taxonomy: Taxonomy) -> bytes:
    """Draw one horizontal bar per emotion, highest first, coloured by family; interval and what to read it beside."""
    order = emotions.order()
    undefined = [k for k in range(len(taxonomy)) if k not in set(order)]
    shown = order + undefined
    figure = Figure(figsize=(9.5, 2.2 + 0.235 * len(shown)), layout="constrained")
    axes = figure.subplots()
    title = "Figure per emotion, highest first" + (f"; {len(undefined)} not defined" if undefined else "")
    frame(axes, title, emotions.title, "")
    families = list(dict.fromkeys(d.family for d in taxonomy.dimensions))
    style = {name: (PALETTE[i % len(PALETTE)], HATCHES[i // len(PALETTE) % 4]) for i, name in enumerate(families)}
    for row, k in enumerate(shown):
        colour, hatch = style[taxonomy.dimensions[k].family]
        value = emotions.values[k]
        if np.isnan(value):
            axes.text(0, row, " not defined", va="center", fontsize=7.5, color=GREY)
            continue
        axes.barh(row, value, color=colour, hatch=hatch, edgecolor="white", linewidth=0.3, height=0.78)
        if not np.isnan(emotions.low[k]):
            axes.plot([emotions.low[k], emotions.high[k]], [row, row], color=DARK, linewidth=1, zorder=3)
    axes.plot(
        emotions.beside[shown], np.arange(len(shown)), "D", color="white", markeredgecolor=DARK, markersize=5, zorder=4
    )
    handles: list[Any] = []
    if families != [None]:
        handles += [
            Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=name or "extra dimension")
            for name, (colour, hatch) in style.items()
        ]
    if not np.isnan(emotions.low).all():
        handles.append(Line2D([], [], color=DARK, linewidth=1, label="bootstrap interval"))
    if not np.isnan(emotions.beside).all():
        human = Line2D(
            [], [], marker="D", color="white", markeredgecolor=DARK, linestyle="", label=emotions.beside_name
        )
        handles.append(human)
    if order:
        mean = float(np.mean(emotions.values[order]))
        axes.axvline(mean, color=DARK, linewidth=1, linestyle="--", zorder=0)
        handles.append(Line2D([], [], color=DARK, linewidth=1, linestyle="--", label=f"mean {mean:.3f}"))
    axes.axvline(0, color=DARK, linewidth=0.8)
    axes.set_yticks(range(len(shown)), [short(taxonomy.names[k]) for k in shown], fontsize=8)
    axes.set_ylim(len(shown) - 0.4, -0.6)  # the best on top
    if handles:  # below the axes: inside, it would hide marks
        figure.legend(handles=handles, fontsize=8, loc="outside lower center", ncols=3, frameon=False)
    return png(figure)
