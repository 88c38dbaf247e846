"""Raters' panel and one system beside it, read as options of a command name them."""

from pathlib import Path
from typing import Any, Literal, NamedTuple

from emonet_lightning.errors import UsageError, nearest
from emonet_lightning.options import pairs
from emonet_lightning.ratings.image_facts import image_facts
from emonet_lightning.ratings.index_map import read_index_map
from emonet_lightning.ratings.panel import Panel, SystemScores
from emonet_lightning.ratings.panel_files import read_panel
from emonet_lightning.ratings.systems import Duplicates, Missing, read_named_scores
from emonet_lightning.taxonomy import Taxonomy


class PanelInput(NamedTuple):
    """What was read; emotions only, no extra dimensions."""

    panel: Panel
    system: SystemScores | None
    rows: dict[str, int] | None
    """The index map: file name -> row."""


def read_panel_input(
    ratings: str,
    system: str | None,
    taxonomy: Taxonomy,
    *,
    human: Literal["all"] | None = None,
    untouched: Literal["zero", "missing"] | None = None,
    missing: Missing = "missing",
    duplicates: Duplicates = "mean",
    columns: dict[str, str] | str | None = None,
    index_map: str | None = None,
    persons: str | None = None,
    progress: bool = True,
) -> PanelInput:
    """Read ratings and the scores of one system.

    Args:
        ratings: file, as for `read_panel`.
        system: `NAME=FILE`, or the name of a system in the file of ratings; None: its first system, where it has one.
        taxonomy: columns.
        human: as for `read_panel`.
        untouched: as for `read_panel`.
        missing: as for `read_panel`.
        duplicates: as for `read_panel`.
        columns: names of the file's columns, as an option gives them.
        index_map: JSON file of file name -> row number.
        persons: CSV file (image, group); a column `group` of the ratings does the same.
        progress: show a bar.

    Raises:
        UsageError: no such system in the file.
        MissingInputError: a file that is not there.
        DataError: names the line and what is wrong.
    """
    rows = None if index_map is None else read_index_map(Path(index_map))
    options: dict[str, Any] = {"human": human, "untouched": untouched, "missing": missing, "duplicates": duplicates}
    panel, inside = read_panel(
        ratings, taxonomy, index_map=rows, columns=pairs("columns", columns), progress=progress, **options
    )
    if persons is not None:
        panel = panel._replace(groups=list(image_facts(persons, "group", panel.images, rows)))
    known = {found.name: found for found in inside}
    chosen: SystemScores | None
    if system is None:
        chosen = inside[0] if inside else None
    elif "=" in system:
        chosen = read_named_scores(system, taxonomy, panel.images, rows, missing, duplicates)
    elif system in known:
        chosen = known[system]
    else:
        offer = nearest(system, known) if known else "the file of ratings holds no system"
        raise UsageError(f"--system '{system}': write NAME=FILE, or name a system of {ratings}; {offer}")
    k = taxonomy.num_emotions
    return PanelInput(
        panel._replace(values=panel.values[..., :k]),
        None if chosen is None else chosen._replace(scores=chosen.scores[:, :k]),
        rows,
    )
