"""Figures of the confusion report, drawn from what confusion.json holds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy.cluster.hierarchy import dendrogram

from emonet_lightning.reporting.drawing import (
    BLUE,
    DARK,
    GREY,
    HUMAN,
    ORANGE,
    family_styles,
    frame,
    legend_below,
    save,
    short,
)
from emonet_lightning.reporting.example_images import ImageFinder

_CELL, _THUMBNAIL = 0.2, 160
_COLOURS, _RING = "RdBu_r", "#009E73"


def draw(folder: Path, content: Mapping[str, Any], images: ImageFinder | None) -> list[str]:
    """Write all figures as PNG and PDF; returns their names without ending."""
    figures = {
        "correlations": _matrices(content, "correlations", "rank correlation"),
        "partial_correlations": _matrices(content, "partial", "partial correlation of ranks"),
        "worst_pairs": _worst_pairs(content),
    }
    if content["trees"]["comparison"]:
        figures["dendrograms"] = _trees(content)
    overlap = content["overlap"]
    if any(found["num_pairs"] for found in overlap["by_relation"][:2]):
        figures["overlap"] = _overlap(content)
    if images is not None:
        figures["examples"] = _examples(content, images)
    for name, figure in figures.items():
        save(figure, folder, name)
    return list(figures)


def _matrices(content: Mapping[str, Any], kind: str, what: str) -> Figure:
    """Ratings, scores and their difference, in the order of the raters' tree."""
    order = content["trees"]["order"]["raters"]
    names = [short(content["emotions"][k]["name"], 26) for k in order]
    cell = _CELL if len(names) > 10 else 0.42
    side = max(cell * len(names), 2.2)
    figure = Figure(figsize=(3 * side + 4.2, side + (3.2 if len(names) > 10 else 1.6)), layout="compressed")
    panels = figure.subplots(1, 3, sharey=True)
    raters, system = (np.array(content[kind][owner], dtype=np.float64) for owner in ("raters", "system"))
    upper = np.triu_indices(len(names), 1)
    # most correlations are small: the colours go as far as all but the largest hundredth do
    largest = max(float(np.quantile(np.abs([raters[upper], system[upper]]), 0.99)), 0.05)
    titles = ("raters' mean rating", short(content["system"], 30), "system minus raters")
    for axes, title, matrix in zip(panels, titles, (raters, system, system - raters), strict=True):
        matrix = matrix[np.ix_(order, order)]
        np.fill_diagonal(matrix, np.nan)
        axes.set_facecolor("#D5D5D5")
        axes.imshow(matrix, cmap=_COLOURS, vmin=-largest, vmax=largest)
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(title, loc="left", fontsize=12)
    place = {k: position for position, k in enumerate(order)}
    slugs = [emotion["slug"] for emotion in content["emotions"]]
    for pair in content["pairs"]:
        if pair["is_fused"]:
            a, b = (place[slugs.index(pair[key])] for key in ("first", "second"))
            panels[2].plot(
                [a, b], [b, a], "o", markerfacecolor="none", markeredgecolor=_RING, markeredgewidth=2, markersize=17
            )
    bar = figure.colorbar(panels[0].images[0], ax=panels, shrink=0.7, aspect=30, extend="both")
    bar.set_label(f"{what} over images,\nand difference of two", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    if any(pair["is_fused"] for pair in content["pairs"]):
        mark = Line2D([], [], markerfacecolor="none", markeredgecolor=_RING, marker="o", markersize=12, linestyle="")
        mark.set_label("fused, of the worst pairs")
        legend_below(figure, [mark])
    title = f"Emotions that go together ({what}), in the order of the raters' tree"
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    return figure


def _worst_pairs(content: Mapping[str, Any]) -> Figure:
    pairs, names = content["pairs"], _names(content, 24)
    figure = Figure(figsize=(11.5, 2.0 + 0.42 * len(pairs)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    titles = ("correlation of the two emotions", "told apart: difference follows the ratings'")
    for axes, key, title in zip(panels, ("correlation", "told_apart"), titles, strict=True):
        frame(axes, title, "", "")
        axes.axvline(0, color=GREY, linewidth=1, linestyle=":")
        for y, pair in enumerate(pairs):
            found = pair[key]
            known = [found[owner] for owner in ("raters", "system") if found[owner] is not None]
            if len(known) == 2:
                axes.plot(known, [y, y], color="#BBBBBB", linewidth=2.4, zorder=1)
            for owner, colour in (("raters", HUMAN), ("system", BLUE)):
                if found[owner] is not None:
                    axes.plot(found[owner], y, "o", color=colour, markersize=7, zorder=2)
        axes.grid(visible=False, axis="y")
        axes.set_ylim(len(pairs) - 0.5, -0.5)
    labels = [f"{names[pair['first']]} - {names[pair['second']]}" for pair in pairs]
    panels[0].set_yticks(range(len(pairs)), labels, fontsize=8.5)
    for label, pair in zip(panels[0].get_yticklabels(), pairs, strict=True):
        label.set_fontweight("bold" if pair["is_fused"] else "normal")
    handles = [
        Line2D([], [], color=BLUE, marker="o", linestyle="", label=short(content["system"], 30)),
        Line2D([], [], color=HUMAN, marker="o", linestyle="", label="raters (left: their mean; right: a single one)"),
    ]
    if any(pair["is_fused"] for pair in pairs):
        handles.append(Line2D([], [], linestyle="", label="bold: fused"))
    legend_below(figure, handles)
    count = content["num_fused"] or "none"
    title = f"{short(content['system'], 30)}: the {len(pairs)} worst of {content['num_pairs']} pairs, {count} fused"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11.5)
    return figure


def _trees(content: Mapping[str, Any]) -> Figure:
    """Both trees face to face, a line for each emotion between them."""
    emotions, trees = content["emotions"], content["trees"]
    styles = family_styles([emotion["family"] for emotion in emotions])
    height = 2.2 + 0.2 * len(emotions)
    figure = Figure(figsize=(13, height), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=[3, 5.2, 3])
    place: dict[str, dict[int, int]] = {}
    for axes, owner, title in (
        (left, "raters", "raters' mean rating"),
        (right, "system", short(content["system"], 30)),
    ):
        own: dict[int, int] = {k: 10 * position + 5 for position, k in enumerate(trees["order"][owner])}
        backward = owner == "system" and _runs_backward(place["raters"], own)
        if backward:
            own = {k: 10 * len(emotions) - y for k, y in own.items()}
        place[owner] = own
        _dendrogram(axes, np.array(trees[owner]), title, from_right=owner == "raters", backward=backward)
    for k, emotion in enumerate(emotions):
        colour = styles[emotion["family"]][0]
        ends = [place["raters"][k], place["system"][k]]
        middle.plot([0.36, 0.64], ends, color=colour, linewidth=1.6)
        for x, y, align in ((0.35, ends[0], "right"), (0.65, ends[1], "left")):
            middle.text(x, y, short(emotion["name"], 30), ha=align, va="center", fontsize=7.5, color=DARK)
    middle.set_xlim(0, 1)
    middle.set_ylim(10 * len(emotions), 0)
    middle.axis("off")
    families = [family for family in styles if family is not None]
    legend_below(figure, [Patch(color=styles[family][0], label=short(family, 40)) for family in families])
    found = trees["comparison"]
    title = f"Trees of emotions; cophenetic correlation {found['cophenetic']:.2f}" if found["cophenetic"] else "Trees"
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    return figure


def _runs_backward(one: Mapping[int, int], other: Mapping[int, int]) -> bool:
    """Whether fewer lines cross when the other tree is turned upside down."""
    first, second = (np.array([places[k] for k in sorted(places)], dtype=np.float64) for places in (one, other))
    return bool(((first - first.mean()) * (second - second.mean())).sum() < 0)


def _dendrogram(axes: Axes, tree: Any, title: str, from_right: bool, backward: bool) -> None:
    drawn = dendrogram(tree, no_plot=True)
    for heights, places in zip(drawn["dcoord"], drawn["icoord"], strict=True):
        axes.plot(heights, places, color=DARK, linewidth=1.1)
    ends = (10 * (len(tree) + 1), 0)
    axes.set_ylim(*(ends[::-1] if backward else ends))
    largest = float(tree[:, 2].max()) * 1.04
    axes.set_xlim(*((largest, 0) if from_right else (0, largest)))
    axes.set_yticks([])
    axes.set_xlabel("1 - correlation", fontsize=8.5)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.set_title(title, loc="left", fontsize=10.5)


def _overlap(content: Mapping[str, Any]) -> Figure:
    order = content["trees"]["order"]["raters"]
    names = [short(content["emotions"][k]["name"], 28) for k in order]
    overlap = content["overlap"]
    words = np.array([[len(words) for words in row] for row in overlap["shared_keywords"]])[np.ix_(order, order)]
    family = np.array(overlap["same_family"], dtype=int)[np.ix_(order, order)]
    shown = np.where(words > 0, 2, family)
    np.fill_diagonal(shown, 0)
    np.fill_diagonal(words, 0)
    cell = 0.22 if len(names) > 10 else 0.45
    figure = Figure(figsize=(3.2 + cell * len(names), 3.4 + cell * len(names)), layout="compressed")
    axes = figure.subplots()
    axes.imshow(shown, cmap=ListedColormap(["#F4F4F4", "#A9CDE4", ORANGE]), vmin=0, vmax=2)
    for row, column in np.argwhere(words > 0):
        axes.text(column, row, str(words[row, column]), ha="center", va="center", fontsize=7)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    handles = [Patch(color=ORANGE, label="shared keywords (their number)"), Patch(color="#A9CDE4", label="same family")]
    legend_below(figure, handles)
    title = "Overlap in the taxonomy, in the order of the raters' tree"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def _examples(content: Mapping[str, Any], images: ImageFinder) -> Figure:
    """A row of faces for each pair: rated as the first emotion on the left, as the second on the right."""
    pairs, names = content["pairs"], _names(content, 22)
    count = content["options"]["examples"]
    figure = Figure(figsize=(2.3 + 2.1 * 2 * count, 0.9 + 2.15 * len(pairs)), layout="constrained")
    panels = figure.subplots(len(pairs), 2 * count, squeeze=False)
    for row, pair in zip(panels, pairs, strict=True):
        for side, start in (("first", 0), ("second", count)):
            found = pair["examples"][side]
            for place in range(count):
                axes = row[start + place]
                axes.axis("off")
                if place < len(found):
                    axes.imshow(images.thumbnail(found[place]["image"], _THUMBNAIL))
                    axes.set_title(_caption(pair, found[place], names), fontsize=6.8, loc="left")
            if not found:
                row[start].text(
                    0.5, 0.5, f"no face rated more\n{names[pair[side]]}", ha="center", va="center", fontsize=8
                )
    title = (
        "Worst pairs: faces that raters tell apart (left half: more of the first emotion than usual, right half: of "
        "the second)\nraters' mean rating | score of each emotion"
    )
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.5)
    return figure


def _caption(pair: Mapping[str, Any], example: Mapping[str, Sequence[float]], names: Mapping[str, str]) -> str:
    lines = [
        f"{names[pair[key]]}: {rating:.1f} | {score:.2f}"
        for key, rating, score in zip(("first", "second"), example["ratings"], example["scores"], strict=True)
    ]
    return "\n".join(lines)


def _names(content: Mapping[str, Any], width: int) -> dict[str, str]:
    return {emotion["slug"]: short(emotion["name"], width) for emotion in content["emotions"]}
