"""What all figures share: colours, frame, rendering.

Drawn on `Figure` objects, not through pyplot, so that no display and no global state is involved. Colours are those of
Okabe and Ito, which colour-blind readers can tell apart; where there are more families than colours, hatching helps.
"""

import io
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from emonet_lightning.io import atomic_write

BLUE, ORANGE, GREY, DARK = "#0072B2", "#E69F00", "#8A8A8A", "#222222"
PALETTE = (BLUE, "#56B4E9", "#D55E00", ORANGE, "#009E73", "#CC79A7", GREY)
HUMAN = DARK
"""Humans have this colour in every figure, and nothing else has it."""
HATCHES = ("", "///", "...", "xxx")
_DPI = 130


def frame(axes: Axes, title: str, x: str, y: str) -> None:
    """Label axes and take off what is not needed to read them."""
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if "step" in x:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def nothing(axes: Axes, text: str) -> None:
    """Say in words why there is nothing to see."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY)
    axes.set_xticks([])
    axes.set_yticks([])


def short(name: str, width: int = 44) -> str:
    """Cut a long name for a label; `$` and a leading `_` are no commands to matplotlib here."""
    cut = textwrap.shorten(name, width, placeholder=" ...") if " " in name else name[:width]
    return cut.replace("$", r"\$").replace("_", " _", 1) if cut.startswith("_") else cut.replace("$", r"\$")


def family_styles(families: Sequence[str | None]) -> dict[str | None, tuple[str, str]]:
    """Colour and hatch of each family, in order of first mention; more families than colours differ by hatch."""
    names = list(dict.fromkeys(families))
    return {name: (PALETTE[i % len(PALETTE)], HATCHES[i // len(PALETTE) % 4]) for i, name in enumerate(names)}


def legend_below(figure: Figure, handles: Sequence[Any], num_columns: int = 3) -> None:
    """Put a legend outside the axes, where it hides nothing; long labels on a narrow figure need one column."""
    if handles:
        figure.legend(handles=handles, fontsize=8, loc="outside lower center", ncols=num_columns, frameon=False)


def leave_room(figure: Figure) -> None:
    """Leave room on the left: long names of emotions are a little wider than the layout reckons."""
    figure.set_layout_engine(ConstrainedLayoutEngine(rect=(0.025, 0.0, 0.975, 1.0)))


def png(figure: Figure) -> bytes:
    """Render as PNG; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.set_dpi(_DPI)
    # the canvas itself: `savefig` draws once more, for a layout that is placed already
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()


def pdf(figure: Figure) -> bytes:
    """Render as PDF for print; equal figures give equal bytes."""
    buffer = io.BytesIO()
    FigureCanvasPdf(figure).print_pdf(buffer, metadata={"CreationDate": None, "Creator": None, "Producer": None})
    return buffer.getvalue()


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write `name.png` to be looked at and `name.pdf` to be printed; returns both paths.

    Raises:
        OutputError: the folder cannot be written.
    """
    paths = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name in a script that the font lacks: drawn as boxes
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # placed once for both: that takes longer than drawing
        for ending, render in (("png", png), ("pdf", pdf)):
            paths.append(Path(folder) / f"{name}.{ending}")
            atomic_write(paths[-1], render(figure))
    return paths
