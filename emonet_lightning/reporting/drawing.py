"""What all figures share: colours, frame, rendering.

Drawn on `Figure` objects, not through pyplot, so that no display and no global state is involved. Colours are those of
Okabe and Ito, which colour-blind readers can tell apart; where there are more families than colours, hatching helps.
"""

import io
import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

BLUE, ORANGE, GREY, DARK = "#0072B2", "#E69F00", "#8A8A8A", "#222222"
PALETTE = (BLUE, "#56B4E9", "#D55E00", ORANGE, "#009E73", "#CC79A7", GREY)
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


def short(name: str) -> str:
    """Cut a long name for a label."""
    return textwrap.shorten(name, 44, placeholder=" ...") if " " in name else name[:44]


def png(figure: Figure) -> bytes:
    """Render as PNG; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()
