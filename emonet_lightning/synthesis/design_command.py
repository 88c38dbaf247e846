"""The command `synthesize design`: a balanced design of prompts, and how balanced it is."""

from itertools import combinations
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from emonet_lightning.errors import UsageError
from emonet_lightning.io import write_json
from emonet_lightning.synthesis.balance import Spread, measure, pair_counts
from emonet_lightning.synthesis.prompt_axes import load_prompts
from emonet_lightning.synthesis.prompts import Design, make_design, write_design
from emonet_lightning.taxonomy import Taxonomy


def design_command(
    images: int,
    out: str = "prompts.jsonl",
    axes: str | None = None,
    templates: list[str] | None = None,
    only: list[str] | None = None,
    taxonomy: str = "emonet40",
    seed: int = 0,
    figure: bool = True,
) -> None:
    """Design prompts in which every emotion meets every ethnicity, age, gender and wording equally often.

    Writes JSON lines, `NAME.balance.json` with the whole design's facts and, as a figure, `NAME.balance.png` and
    `.pdf`. Any number of images is possible; how near to even each axis and each pair of axes is, is printed.

    Args:
        images: how many; the full factorial of the shipped axes has 11,760.
        out: file of JSON lines, a prompt each.
        axes: YAML file of your own axes and wordings (`emonet_lightning/synthesis/prompts.yaml` is an example).
        templates: names of wordings, or a text with slots as {emotion}, {keywords}, {age}; may be given several
            times, and is then an axis that is balanced as well. Shipped are binary, hq_closeup and hq_portrait.
        only: AXIS=LEVEL,LEVEL takes part of an axis; may be given several times.
        taxonomy: `emonet40`, or a YAML file of your own emotions and keywords.
        seed: another seed, another design and other noise for each image.
        figure: draw it.

    Raises:
        UsageError: a size, wording, axis or level that there is not.
        DataError: a file that does not describe axes or wordings; names it.
    """
    path = Path(out)
    if path.suffix != ".jsonl":
        raise UsageError(f"--out {out}: must end with .jsonl")
    spec = load_prompts(Taxonomy.load(taxonomy), axes, templates or (), only or ())
    design = make_design(spec, images, seed, progress=True)
    varying = [number for number, size in enumerate(design.sizes) if size > 1] or [0]
    names, sizes = [spec.axes[number].name for number in varying], [design.sizes[number] for number in varying]
    levels = design.levels[:, varying]
    spreads = measure(levels, names, sizes)
    write_design(design, path)
    write_json(path.with_suffix(".balance.json"), _facts(design, spreads))
    if figure:
        from emonet_lightning.reporting.drawing import save
        from emonet_lightning.reporting.prompt_figures import balance_figure

        counts = {(one, two): pair_counts(levels, one, two, sizes) for one, two in combinations(range(len(names)), 2)}
        title = f"Images per pair of levels, {images:,} prompts in all"
        drawn = balance_figure(names, [spec.axes[number].levels for number in varying], counts, title)
        save(drawn, path.parent, f"{path.stem}.balance")
    console = Console(width=110)
    console.print(_table(spreads, f"{images:,} prompts", len(varying)))
    console.print(f"{verdict(spreads)}\n{path}: design {design.digest[:16]}, seed {seed}", highlight=False)


def verdict(spreads: list[Spread]) -> str:
    """Say in one sentence whether a design could be more even."""
    missed = [" x ".join(spread.axes) for spread in spreads if not spread.is_best and len(spread.axes) <= 2]
    if not missed:
        return "every level and every pair of levels within one image of all others: no design is more even"
    return f"{len(missed)} tables more uneven than each alone has to be: {', '.join(missed[:4])}"


def _table(spreads: list[Spread], title: str, num_axes: int) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("axes", no_wrap=True)
    for header in ("levels", "images each", "max deviation", "least possible"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("reached")
    for spread in spreads:
        whole = len(spread.axes) == num_axes > 2
        name = "cells of all axes" if whole else " x ".join(spread.axes)
        least, most = f"{spread.smallest:,}", f"{spread.largest:,}"
        table.add_row(
            escape(name), f"{spread.num_combinations:,}", least if least == most else f"{least}..{most}",
            f"{spread.deviation:.3f}", f"{spread.least_deviation:.3f}", "yes" if spread.is_best else "no",
        )  # fmt: skip
    return table


def _facts(design: Design, spreads: list[Spread]) -> dict[str, Any]:
    spec = design.spec
    return {
        "design": design.digest,
        "images": len(design.levels),
        "seed": design.seed,
        "taxonomy": {"name": spec.taxonomy.name, "digest": spec.taxonomy.digest},
        "axes": {axis.name: list(axis.levels) for axis in spec.axes},
        "templates": dict(spec.templates),
        "balance": [{**spread._asdict(), "is_best": spread.is_best} for spread in spreads],
    }
