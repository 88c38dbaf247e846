"""Figure of a design of prompts: how far each pair of levels is from its even share."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from emonet_lightning.reporting.drawing import DARK, nothing, short

_MAX_ROWS, _MAX_COLUMNS = 60, 80


def balance_figure(
    names: Sequence[str], levels: Sequence[Sequence[str]], counts: dict[tuple[int, int], np.ndarray], title: str
) -> Figure:
    """Draw the longest axis against all others: a cell for each pair of levels.

    Args:
        names: of the axes [K].
        levels: of each axis.
        counts: images of each pair of levels, by axes, the lower number first.
        title: said above.

    Returns:
        The figure; its colour is the count minus the even share, in images.
    """
    varying = [axis for axis in range(len(names)) if len(levels[axis]) > 1]
    if len(varying) < 2:
        figure = Figure(figsize=(6, 2), layout="constrained")
        nothing(figure.subplots(), "fewer than two axes vary: there are no pairs to balance")
        return figure
    long = max(varying, key=lambda axis: len(levels[axis]))
    others = [axis for axis in varying if axis != long]
    rows = min(len(levels[long]), _MAX_ROWS)
    widths = [min(len(levels[axis]), _MAX_COLUMNS) for axis in others]
    figure = Figure(figsize=(4.6 + 0.27 * sum(widths), 3.0 + 0.19 * rows), layout="constrained")
    panels = figure.subplots(1, len(others), sharey=True, squeeze=False, gridspec_kw={"width_ratios": widths})[0]
    tables = []
    for axis in others:
        table = counts[min(long, axis), max(long, axis)]
        table = table if long < axis else table.T
        tables.append((table - table.mean())[:rows, :_MAX_COLUMNS])
    bound = max(1.0, *(float(np.abs(table).max()) for table in tables))
    norm = TwoSlopeNorm(0.0, -bound, bound)
    for panel, axis, table, width in zip(panels, others, tables, widths, strict=True):
        image = panel.pcolormesh(table, cmap="RdBu_r", norm=norm, edgecolors="white", linewidth=0.4)
        whole = counts[min(long, axis), max(long, axis)]
        least, most = int(whole.min()), int(whole.max())
        told = (
            f"{least:,} each"
            if least == most
            else f"{least:,} or {most:,}"
            if most - least == 1
            else f"{least:,} to {most:,}"
        )
        panel.set_title(f"{names[axis]}\n{told}", loc="left", fontsize=9)
        panel.set_xticks(np.arange(width) + 0.5, [short(str(level), 30) for level in levels[axis]][:width])
        panel.tick_params(axis="x", rotation=90, labelsize=8, length=0)
        panel.tick_params(axis="y", labelsize=8, length=0)
        panel.spines[:].set_visible(False)
    panels[0].set_yticks(np.arange(rows) + 0.5, [short(str(level), 34) for level in levels[long]][:rows])
    panels[0].set_ylabel(names[long], fontsize=9)
    panels[0].invert_yaxis()
    bar = figure.colorbar(image, ax=list(panels), shrink=0.6, pad=0.01)
    bar.set_label("images more (red) or fewer (blue) than the even share", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left", color=DARK)
    return figure
