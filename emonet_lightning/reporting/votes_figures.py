"""Figures of a file of votes: outcomes per emotion, agreement, contrast pairs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from emonet_lightning.reporting.drawing import BLUE, DARK, GREY, ORANGE, frame, short
from emonet_lightning.reporting.votes_shares import FIRST_NO, yes_on_contrast, yes_on_target

LIGHT_BLUE, VERMILION, PALE = "#56B4E9", "#D55E00", "#D9D9D9"
_SEQUENTIAL = {
    "three_yes": (BLUE, ""),
    "two_yes_then_no": (LIGHT_BLUE, ""),
    "yes_then_no": (ORANGE, ""),
    "no": (VERMILION, ""),
    "yes_only": (PALE, "///"),
}
_GENERAL = {
    "all_yes": (BLUE, ""),
    "more_yes": (LIGHT_BLUE, ""),
    "tie": (PALE, ""),
    "more_no": (ORANGE, ""),
    "all_no": (VERMILION, ""),
    "single_yes": (LIGHT_BLUE, "///"),
    "single_no": (ORANGE, "///"),
}
_AGREEMENT = {"full": (BLUE, ""), "partial": (LIGHT_BLUE, ""), "disagreement": (ORANGE, "")}
AGREEMENT = {
    "full": "full: all votes the same",
    "partial": "partial: a majority, not all",
    "disagreement": "disagreement: as many yes as no",
}


def votes_figures(found: Mapping[str, Any]) -> dict[str, Figure]:
    """Draw what `evaluation.votes.describe_votes` found; name -> figure.

    `votes_outcomes` and `votes_agreement` always; `votes_pairs` where the contrast pairs are fixed.
    """
    figures = {"votes_outcomes": outcome_bars(found), "votes_agreement": agreement_bars(found)}
    if found["contrast_pairs"] and found["contrast_pairs"]["holds"]:
        figures["votes_pairs"] = pair_bars(found)
    return figures


def outcome_bars(found: Mapping[str, Any]) -> Figure:
    """Draw stacked shares of outcomes, a bar per emotion, the most agreed yes on top; beside it yes as the contrast."""
    in_sequence = found["structure"]["holds"]
    styles = _SEQUENTIAL if in_sequence else _GENERAL
    rows = sorted(found["emotions"], key=lambda row: _order(row, list(styles)), reverse=True)
    figure, axes = _rows_figure(len(rows), 2 if in_sequence else 1)
    what = "targets" if in_sequence else "questions"
    frame(
        axes[0],
        f"How the {what} of each emotion were answered",
        f"share of the emotion's {what} (their number in brackets)",
        "",
    )
    counted = "num_targets" if in_sequence else "num_questions"
    handles = _stack(axes[0], [row["outcomes"] for row in rows], styles, found["outcomes"])
    _name_rows(axes[0], rows, [row[counted] for row in rows])
    if in_sequence:
        shares = [row["outcomes"]["contrast_yes"] for row in rows]
        frame(axes[1], "Yes as the contrast", "share of contrasts, 95% interval", "")
        _points(axes[1], shares)
    figure.legend(handles=handles, fontsize=9, loc="outside upper center", ncols=5 if in_sequence else 4, frameon=False)
    return figure


def agreement_bars(found: Mapping[str, Any]) -> Figure:
    """Draw shares of full, partial and no agreement over the questions with at least two votes."""
    rows = [row for row in found["emotions"] if row["agreement"]["full"]["n"]]
    rows.sort(key=lambda row: row["agreement"]["full"]["value"], reverse=True)
    figure, (axes,) = _rows_figure(len(rows), 1)
    frame(
        axes,
        "Agreement on questions with at least two votes",
        "share of these questions (their number in brackets)",
        "",
    )
    handles = _stack(axes, [row["agreement"] for row in rows], _AGREEMENT, AGREEMENT)
    _name_rows(axes, rows, [row["agreement"]["full"]["n"] for row in rows])
    if found["structure"]["holds"]:
        axes.set_xlabel(f"{axes.get_xlabel()}\n{FIRST_NO}")
    figure.legend(handles=handles, fontsize=9, loc="outside upper center", ncols=3, frameon=False)
    return figure


def pair_bars(found: Mapping[str, Any]) -> Figure:
    """Draw each contrast pair as one row: its two emotions left and right, each as target and as contrast."""
    of = {row["slug"]: row for row in found["emotions"]}
    pairs = [
        sorted((of[slug] for slug in pair["emotions"]), key=_most_yes, reverse=True)
        for pair in found["contrast_pairs"]["pairs"]
    ]
    pairs.sort(key=lambda pair: _most_yes(pair[0]), reverse=True)
    figure = Figure(figsize=(11, 1.7 + 0.36 * len(pairs)), layout="constrained")
    sides = figure.subplots(1, 2)
    y = np.arange(len(pairs))
    for side, axes in enumerate(sides):
        rows = [pair[side] for pair in pairs]
        frame(axes, "", "share of images with a yes on the first vote", "")
        _bars(axes, y - 0.19, [yes_on_target(row) for row in rows], BLUE, "asked as the target")
        _bars(axes, y + 0.19, [yes_on_contrast(row) for row in rows], ORANGE, "asked as the contrast")
        axes.set_yticks(y, [short(row["name"]) for row in rows], fontsize=9)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0, 1)
    sides[0].invert_xaxis()
    sides[1].yaxis.tick_right()
    for axes in sides:
        axes.spines[["left"]].set_visible(False)
    figure.suptitle(
        "Fixed contrast pairs: an image made for one emotion was also asked about the other one in its row", fontsize=11
    )
    handles = [*sides[0].containers, Line2D([], [], color=DARK, linewidth=1.4, label="Wilson 95% interval")]
    figure.legend(handles=handles, fontsize=9, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _bars(axes: Axes, places: Any, shares: Sequence[Mapping[str, Any]], colour: str, label: str) -> None:
    axes.barh(places, [share["value"] or 0.0 for share in shares], 0.36, color=colour, label=label)
    for place, share in zip(places, shares, strict=True):
        if share["n"]:
            axes.plot([share["low"], share["high"]], [place, place], color=DARK, linewidth=1.4, solid_capstyle="butt")


def _most_yes(row: Mapping[str, Any]) -> float:
    return yes_on_target(row)["value"] or 0.0


def _order(row: Mapping[str, Any], keys: Sequence[str]) -> tuple[float, ...]:
    return tuple(row["outcomes"][key]["value"] or 0.0 for key in keys[:3])


def _rows_figure(num_rows: int, num_columns: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(8.5 + 3.0 * (num_columns - 1), 1.6 + 0.245 * max(num_rows, 3)), layout="constrained")
    ratios = [2.4, 1.0][:num_columns]
    return figure, list(figure.subplots(1, num_columns, squeeze=False, sharey=True, width_ratios=ratios)[0])


def _name_rows(axes: Axes, rows: Sequence[Mapping[str, Any]], counts: Sequence[int]) -> None:
    names = [f"{short(row['name'])}  ({count:,})" for row, count in zip(rows, counts, strict=True)]
    axes.set_yticks(range(len(rows)), names, fontsize=8.5)
    axes.set_ylim(len(rows) - 0.4, -0.6)  # the first on top
    axes.set_xlim(0, 1)


def _stack(
    axes: Axes,
    shares: Sequence[Mapping[str, Any]],
    styles: Mapping[str, tuple[str, str]],
    words: Mapping[str, str],
) -> list[Any]:
    left = np.zeros(len(shares))
    handles = []
    for key, (colour, hatch) in styles.items():
        width = np.array([share[key]["value"] or 0.0 for share in shares])
        bars = axes.barh(
            np.arange(len(shares)), width, 0.8, left, color=colour, hatch=hatch, edgecolor="white", linewidth=0.4
        )
        bars.set_label(words[key])
        handles.append(bars)
        for row, share in enumerate(width):
            if share >= 0.06:
                text_colour = "white" if colour in (BLUE, VERMILION) else DARK
                text = axes.text(left[row] + share / 2, row, f"{share:.0%}", ha="center", va="center", fontsize=7)
                text.set_color(text_colour)
                if hatch:  # digits are hard to read on lines
                    text.set_bbox({"facecolor": colour, "edgecolor": "none", "pad": 0.8})
        left += width
    return handles


def _points(axes: Axes, shares: Sequence[Mapping[str, Any]]) -> None:
    for row, share in enumerate(shares):
        if share["n"]:
            axes.plot([share["low"], share["high"]], [row, row], color=GREY, linewidth=2, solid_capstyle="butt")
            axes.plot(share["value"], row, "o", color=DARK, markersize=4)
    axes.set_xlim(left=0)
    axes.tick_params(axis="y", length=0, labelleft=False)
