"""experts.md of `synthesize experts`: what simulated experts were aimed at and what came out; its figure."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from emonet_lightning.io import atomic_write, write_json
from emonet_lightning.reporting.drawing import BLUE, DARK, ORANGE, frame, save, short
from emonet_lightning.reporting.markdown import literal, number, table
from emonet_lightning.synthesis.expressions import load_expressions
from emonet_lightning.synthesis.released_targets import OUTCOMES, RatingFigures, VoteFigures, released_ratings
from emonet_lightning.taxonomy import Taxonomy

RELIABLE = ("elation", "amusement", "anger", "astonishment_surprise", "thankfulness_gratitude")
"""Emotions on which the released experts agree (alpha of 0.3 or more)."""


def write_experts_report(
    folder: Path, about: dict[str, Any], ratings: RatingFigures, votes: VoteFigures | None, aim: VoteFigures | None
) -> dict[str, Any]:
    """Write `experts.json`, `experts.md` and `figures/`, and print the totals.

    Args:
        folder: where to.
        about: options, for the report.
        ratings: figures of the simulated ratings.
        votes: figures of the simulated votes.
        aim: figures of the released votes, where their file was given.

    Returns:
        Content of `experts.json`: `about`, and `figures`: `{figure, released, simulated}`, and `emotions`.
    """
    released = released_ratings()
    rows = list(_totals(released, ratings, votes, aim))
    slugs, names = load_expressions().slugs, Taxonomy.load("emonet40").names
    emotions = [
        {
            "slug": slug,
            "alpha": [released.alpha[k], ratings.alpha[k]],
            "anchor": [released.anchor[k], ratings.anchor[k]],
            "rate": ratings.rate[k],
            "three_yes": [None if found is None else found.outcomes[k, 0] for found in (aim, votes)],
            "contrast_yes": [None if found is None else found.contrast[k] for found in (aim, votes)],
        }
        for k, slug in enumerate(slugs)
    ]
    found = {
        "about": about,
        "figures": [{"figure": figure, "released": a, "simulated": b} for figure, a, b in rows],
        "emotions": emotions,
    }
    sections = [
        "# Simulated experts beside the released ones",
        ", ".join(f"{key}: {value}" for key, value in about.items()) + ". Nobody rated anything here: the answers are "
        "drawn from a model, to test what is computed from answers.",
        table(["figure", "released", "simulated"], ([figure, number(a), number(b)] for figure, a, b in rows)),
        "![alpha and anchor](figures/experts.png)",
        "How often an emotion is above 0 in the released ratings is not published: the preset takes it in proportion "
        "to how often an emotion's prompt was confirmed by the first vote. Which emotions are taken for each other, "
        "attention, and use of the scale are set, not fitted: the published figures do not tell them apart.",
        table(
            ["emotion", "alpha", "simulated", "anchor", "simulated", "above 0", "three yes", "simulated"],
            (
                [
                    literal(names[k]),
                    *(number(value) for value in (*row["alpha"], *row["anchor"], row["rate"], *row["three_yes"])),
                ]
                for k, row in enumerate(emotions)
            ),
        ),
    ]
    save(agreement_figure(released, ratings, votes, aim), folder / "figures", "experts")
    atomic_write(folder / "experts.md", "\n\n".join(sections) + "\n")
    write_json(folder / "experts.json", found)
    shown = Table("figure", "released", "simulated")
    for figure, a, b in rows:
        shown.add_row(figure, number(a), number(b))
    Console().print(shown)
    Console(soft_wrap=True).print(f"written: {folder}", highlight=False, markup=False)
    return found


def _totals(
    released: RatingFigures, ratings: RatingFigures, votes: VoteFigures | None, aim: VoteFigures | None
) -> Iterable[tuple[str, float | None, float | None]]:
    few = np.isin(load_expressions().slugs, RELIABLE)
    yield "emotions above 0 per answer, mean", released.row_mean, ratings.row_mean
    yield "emotions above 0 per answer, standard deviation", released.row_std, ratings.row_std
    for name, chosen in (("40 emotions", np.ones(len(few), dtype=bool)), ("5 reliable", few), ("35 others", ~few)):
        yield f"alpha (interval), {name}", released.alpha[chosen].mean(), ratings.alpha[chosen].mean()
        yield f"anchor kappa, {name}", released.anchor[chosen].mean(), ratings.anchor[chosen].mean()
    yield "alpha, mean absolute difference", 0.0, float(np.abs(ratings.alpha - released.alpha).mean())
    yield "alpha, largest difference", 0.0, float(np.abs(ratings.alpha - released.alpha).max())
    yield "anchor, mean absolute difference", 0.0, float(np.abs(ratings.anchor - released.anchor).mean())
    if votes is None:
        return
    for place, outcome in enumerate(OUTCOMES):
        share = None if aim is None else float(aim.total[place])
        yield f"votes on targets: {outcome}", share, float(votes.total[place])
    yield "votes on contrasts: yes", None if aim is None else aim.contrast.mean(), votes.contrast.mean()
    both = [(None if aim is None else aim.outcomes[:, 0], "released"), (votes.outcomes[:, 0], "simulated")]
    for what, pick in (("least", np.min), ("most", np.max)):
        values = [None if share is None else float(pick(share)) for share, _ in both]
        yield f"three yes, emotion with the {what}", values[0], values[1]
    if aim is not None:
        yield "three yes, correlation over emotions", 1.0, float(np.corrcoef(aim.outcomes[:, 0], both[1][0])[0, 1])
        yield "yes on contrasts, correlation over emotions", 1.0, float(np.corrcoef(aim.contrast, votes.contrast)[0, 1])


def agreement_figure(
    released: RatingFigures, ratings: RatingFigures, votes: VoteFigures | None, aim: VoteFigures | None
) -> Figure:
    """Draw each emotion's figure of the released experts against that of the simulated ones."""
    panels: list[tuple[str, Any, Any, str]] = [
        ("alpha (interval)", released.alpha, ratings.alpha, BLUE),
        ("anchor kappa", released.anchor, ratings.anchor, BLUE),
    ]
    if votes is not None and aim is not None:
        panels.append(("share of targets with three yes", aim.outcomes[:, 0], votes.outcomes[:, 0], ORANGE))
    figure = Figure(figsize=(4.1 * len(panels), 4.3), layout="constrained")
    names = Taxonomy.load("emonet40").names
    for axes, (title, x, y, colour) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        frame(axes, title, "released experts", "simulated experts")
        ends = [min(x.min(), y.min()) - 0.04, max(x.max(), y.max()) + 0.06]
        axes.plot(ends, ends, color=DARK, linewidth=0.8, zorder=1)
        axes.scatter(x, y, s=22, color=colour, alpha=0.8, linewidth=0, zorder=2)
        k = int(np.argmax(np.abs(y - x)))
        line = {"arrowstyle": "-", "color": DARK, "linewidth": 0.6}
        axes.annotate(
            f"largest difference: {y[k] - x[k]:+.3f}\n{short(names[k])}",
            xy=(x[k], y[k]),
            xytext=(0.97, 0.05),
            textcoords="axes fraction",
            arrowprops=line,
            fontsize=8,
            ha="right",
        )
        axes.set(xlim=ends, ylim=ends, aspect="equal")
    figure.suptitle("One dot per emotion; on the line, simulated experts answer like the released ones", fontsize=10)
    return figure
