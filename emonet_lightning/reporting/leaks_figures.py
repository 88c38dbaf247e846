"""Figures of the leak audit: the pairs themselves, and the scores that the threshold stands between."""

from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import ScalarFormatter

from emonet_lightning.decoding import decode_image
from emonet_lightning.leakage.image_sets import ImageSet
from emonet_lightning.reporting.drawing import BLUE, DARK, GREY, ORANGE, frame, legend_below, nothing, save, short

COLUMNS = 6
MAX_PAIRS = 18
_PER_ROW = 1.75  # inches
_BINS = np.linspace(-0.2, 1, 61).tolist()


def draw(folder: Path, content: Mapping[str, Any], sets: Sequence[ImageSet]) -> list[str]:
    """Write all figures as PNG and PDF; returns their names without ending."""
    names = ["scores"]
    save(_scores(content), folder, "scores")
    if content["pairs"] or content["rejected"]:
        save(_pairs(content, sets), folder, "pairs")
        names.append("pairs")
    return names


def _pairs(content: Mapping[str, Any], sets: Sequence[ImageSet]) -> Figure:
    """Contact sheet: the strongest copies of each kind in turn, and the best of what is no copy."""
    parts = [
        (f"Copies, the strongest of each kind ({len(content['pairs'])} in all)", _in_turn(content["pairs"]), ORANGE),
        (
            f"No copies: the highest scores below the threshold of {content['calibration']['threshold']:.3f}",
            content["rejected"][:COLUMNS],
            GREY,
        ),
    ]
    parts = [part for part in parts if part[1]]
    rows = [-(-len(pairs) // COLUMNS) for _, pairs, _ in parts]
    figure = Figure(figsize=(2.1 * COLUMNS, _PER_ROW * sum(rows) + 0.4 * len(parts)), layout="constrained")
    blocks = figure.subfigures(len(parts), 1, squeeze=False, height_ratios=[_PER_ROW * count + 0.4 for count in rows])
    rows_of = [{key: row for row, key in enumerate(each.keys)} for each in sets]
    for block, (title, pairs, colour), count in zip(blocks[:, 0], parts, rows, strict=True):
        block.suptitle(title, fontsize=11, x=0.005, ha="left")
        grid = block.subplots(count, COLUMNS, squeeze=False)
        for axes in grid.flat:
            axes.axis("off")
        for axes, pair in zip(grid.flat, pairs, strict=False):
            _pair(axes, pair, colour, sets, rows_of)
    return figure


def _in_turn(pairs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The first pairs of each kind in turn, sorted by kind again."""
    kinds = list(dict.fromkeys(pair["kind"] for pair in pairs))
    by_kind = [[pair for pair in pairs if pair["kind"] == kind] for kind in kinds]
    turns = [pair for pair in chain.from_iterable(zip_longest(*by_kind)) if pair is not None][:MAX_PAIRS]
    return sorted(turns, key=lambda pair: kinds.index(pair["kind"]))


def _pair(
    axes: Axes,
    pair: Mapping[str, Any],
    colour: str,
    sets: Sequence[ImageSet],
    rows_of: Sequence[Mapping[str, int]],
) -> None:
    for place, side in enumerate(("first", "second")):
        end = pair[side]
        images = sets[end["set"]]
        pixels = decode_image(images.read(rows_of[end["set"]][end["key"]]), end["key"])
        height, width = pixels.shape[:2]
        tall = height / max(height, width)
        wide = width / max(height, width)
        left = place * 1.04 + (1 - wide) / 2
        axes.imshow(pixels, extent=(left, left + wide, (1 - tall) / 2, (1 + tall) / 2), aspect="equal")
        label = f"{end['key'].rpartition('/')[2]}"
        axes.text(
            place * 1.04 + 0.5, -0.04, f"{short(label, 17)}\n{short(end['split'], 17)}",
            ha="center", va="top", fontsize=6, color=DARK,
        )  # fmt: skip
    axes.set_xlim(0, 2.04)
    axes.set_ylim(-0.28, 1)
    kind = pair["kind"] if colour == ORANGE else "no copy"
    shown = f"{kind}  {pair['score']:.3f}" + ("  across" if pair["across_test_boundary"] and colour == ORANGE else "")
    axes.set_title(shown, fontsize=8, color=DARK, pad=2)


def _scores(content: Mapping[str, Any]) -> Figure:
    found = content["calibration"]
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    frame(axes, "Copies found, and how alike images of other groups are", "score", "images or pairs")
    null = list(chain.from_iterable(each["scores"] for each in found["sets"]))
    copies = [pair["score"] for pair in content["pairs"]]
    handles: list[Artist] = []
    shown = (
        (null, BLUE, f"nearest image of another group, same set ({len(null)} images)"),
        (copies, ORANGE, f"copies found ({len(copies)} pairs)"),
    )
    for values, colour, label in shown:
        if values:
            axes.hist(values, _BINS, color=colour, alpha=0.75)
            handles.append(Patch(color=colour, alpha=0.75, label=label))
    if not copies:
        axes.set_title("No copies; how alike images of other groups are", loc="left", fontsize=11)
    if not null and not copies:
        nothing(axes, "too few images to compare")
        return figure
    line = axes.axvline(found["threshold"], color=DARK, linewidth=1.4, linestyle="--")
    line.set_label(f"threshold {found['threshold']:.3f}")
    axes.set_yscale("symlog", linthresh=1)
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.set_ylim(0)
    axes.set_xlim(min([0.0, *null, *copies]) - 0.02, 1.02)
    legend_below(figure, [*handles, line])
    return figure
