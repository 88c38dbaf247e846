"""confusion.md and the console's table, from what confusion.json holds; nothing is measured here."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from emonet_lightning.io import atomic_write
from emonet_lightning.reporting.agreement_reading import RESPONSIBLE_USE
from emonet_lightning.reporting.audit_report import p_text
from emonet_lightning.reporting.example_images import ImageFinder
from emonet_lightning.reporting.markdown import estimate, literal, number, table

REPORT_FILE = "confusion.md"


def write_report(folder: Path, content: Mapping[str, Any], images: ImageFinder | None) -> Path:
    """Write `confusion.md` and `figures/` into a folder; returns the path of `confusion.md`.

    Raises:
        OutputError: the folder cannot be written.
        MissingInputError: an example image is not among `images`.
    """
    from emonet_lightning.reporting import confusion_figures  # here, so that the module loads without matplotlib

    names = confusion_figures.draw(Path(folder) / "figures", content, images)
    path = Path(folder) / REPORT_FILE
    atomic_write(path, "\n\n".join(sections(content, names)) + "\n")
    return path


def sections(content: Mapping[str, Any], figures: Iterable[str]) -> Iterable[str]:
    """Yield the parts of `confusion.md`; `figures` names the files that there are."""
    there = set(figures)
    names = {emotion["slug"]: literal(emotion["name"]) for emotion in content["emotions"]}
    system = literal(content["system"])
    yield f"# Emotions that {system} cannot tell apart"
    yield RESPONSIBLE_USE
    yield _setting(content)
    if content["bootstrap"]["unit"] == "image":
        yield "Images of one person are not independent; if several images show one person, give --groups."
    yield "## Worst pairs"
    yield _verdict(content)
    yield _pairs(content, names)
    yield "![Correlation of each pair in scores and ratings, and how well it is told apart](figures/worst_pairs.png)"
    if "examples" in there:
        yield "![Images on which raters tell the worst pairs apart](figures/examples.png)"
    else:
        yield (
            "Images on which raters tell the pairs apart most, compared with how each emotion is usually rated "
            "(ratings and scores of both: confusion.json):"
        )
        yield "\n".join(_example_lines(content, names))
    yield "## Emotions that go together"
    yield "![Correlations of ratings and of scores](figures/correlations.png)"
    yield "![Partial correlations of ratings and of scores](figures/partial_correlations.png)"
    yield from _trees(content, there)
    yield "## Beside the taxonomy"
    yield _overlap(content)
    if "overlap" in there:
        yield "![Keywords and families that emotions share](figures/overlap.png)"
    yield "## Definitions"
    lines = [f"- {literal(term)}: {text}" for term, text in content["definitions"].items()]
    yield "\n".join([*lines, "- all matrices, of partial correlations too: confusion.json"])
    notes = [*content["ratings"]["notes"], *content["system_notes"]]
    notes += [f"left out: {one['slug']} ({one['reason']})" for one in content["left_out"]]
    if content["num_incomplete"]:
        notes.append(f"{content['num_incomplete']} images without all scores and ratings are left out")
    if notes:
        yield "## Notes"
        yield "\n".join(f"- {literal(note)}" for note in notes)


def _setting(content: Mapping[str, Any]) -> str:
    drawn, shrinkage = content["bootstrap"], content["partial"]["shrinkage"]
    left_out = len(content["left_out"])
    return (
        f"{content['num_images']} images, {content['ratings']['num_raters']} raters, "
        f"{len(content['emotions'])} emotions"
        + (f" ({left_out} more are left out, see the notes)" if left_out else "")
        + f". Intervals: {drawn['level']:.0%}, {drawn['num_draws']} draws of {drawn['num_units']} {drawn['unit']}s, "
        f"seed {drawn['seed']}. Shrinkage of the partial correlations: {shrinkage['system']:.3f} (system), "
        f"{shrinkage['raters']:.3f} (raters)."
    )


def _verdict(content: Mapping[str, Any]) -> str:
    fused, total = content["num_fused"], content["num_pairs"]
    text = (
        f"**{fused} of {total} pairs are fused**, {content['num_blurred']} more are blurred: their scores go together "
        "more than their ratings do (highly so, where they are fused)"
    )
    if content["num_raters_told_apart"]:
        return text + ", and the system tells them apart less than a single rater does. These pairs come first."
    return text + (
        ", and the difference of the scores says little of that of the ratings. How well a single rater tells them "
        "apart is not known here."
    )


def verdict(pair: Mapping[str, Any]) -> str:
    """Return `fused`, `blurred` or `-`."""
    return "fused" if pair["is_fused"] else "blurred" if pair["is_blurred"] else "-"


def _pairs(content: Mapping[str, Any], names: Mapping[str, str]) -> str:
    rows = []
    for pair in content["pairs"]:
        own, part, apart = pair["correlation"], pair["partial"], pair["told_apart"]
        bold = "**" if pair["is_fused"] else ""
        taxonomy = ", ".join(pair["shared_keywords"]) or ("same family" if pair["same_family"] else "-")
        rows.append(
            [
                f"{bold}{names[pair['first']]} - {names[pair['second']]}{bold}",
                verdict(pair),
                number(own["system"]),
                number(own["raters"]),
                estimate(own, "excess", sign=True),
                p_text(own["p_holm"]),
                f"{number(part['system'])} / {number(part['raters'])}",
                f"{number(apart['system'])} / {number(apart['raters'])}",
                estimate(apart, "difference", sign=True),
                literal(taxonomy),
            ]
        )
    level = f"{content['bootstrap']['level']:.0%}"
    header = ["pair", "verdict", "correlation: system", "raters", f"excess [{level}]", "p (Holm)"]
    header += ["partial: system / raters", "told apart: system / a rater", f"difference [{level}]", "in the taxonomy"]
    return table(header, rows)


def _example_lines(content: Mapping[str, Any], names: Mapping[str, str]) -> Iterable[str]:
    for pair in content["pairs"]:
        sides = []
        for side, other in (("first", "second"), ("second", "first")):
            files = ", ".join(literal(example["image"]) for example in pair["examples"][side]) or "none"
            sides.append(f"{names[pair[side]]} more than {names[pair[other]]}: {files}")
        yield f"- {'; '.join(sides)}"


def _trees(content: Mapping[str, Any], there: set[str]) -> Iterable[str]:
    found = content["trees"]["comparison"]
    if "dendrograms" in there:
        yield "![Trees of emotions, of raters and system](figures/dendrograms.png)"
    if found is None:
        yield "Two emotions make no tree to compare."
        return
    alike = found["adjusted_rand"]
    text = (
        f"Cophenetic correlation of the two trees: {number(found['cophenetic'])} (p {p_text(found['p'])} by permuted "
        f"emotions). Cut into {found['num_clusters']} clusters each, their adjusted Rand index is "
        f"{number(alike['raters_system'])}"
    )
    if alike["raters_families"] is not None:
        text += (
            f"; with the taxonomy's families: raters {number(alike['raters_families'])}, system "
            f"{number(alike['system_families'])}"
        )
    yield text + (
        f". Each tree keeps the correlations that it is made of to {number(found['fit_raters'])} (raters) and "
        f"{number(found['fit_system'])} (system)."
    )


def _overlap(content: Mapping[str, Any]) -> str:
    rows = [
        [found["relation"], str(found["num_pairs"]), number(found["system"]), number(found["raters"])]
        for found in content["overlap"]["by_relation"]
    ]
    return table(["pairs of emotions with", "pairs", "mean correlation: system", "raters"], rows)


def console_table(content: Mapping[str, Any]) -> Table:
    """Return the worst pairs for a terminal."""
    names = {emotion["slug"]: emotion["name"] for emotion in content["emotions"]}
    title = (
        f"{content['system']}: {content['num_fused']} of {content['num_pairs']} pairs are fused, "
        f"{content['num_blurred']} more blurred"
    )
    shown = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    shown.add_column("pair", overflow="fold")
    shown.add_column("", no_wrap=True)
    for column in ("r: system / raters", "p (Holm)", "apart: system / a rater"):
        shown.add_column(column, justify="right")
    for pair in content["pairs"]:
        own, apart = pair["correlation"], pair["told_apart"]
        cells = (
            f"{names[pair['first']]} - {names[pair['second']]}",
            verdict(pair),
            f"{number(own['system'])} / {number(own['raters'])}",
            p_text(own["p_holm"]),
            f"{number(apart['system'])} / {number(apart['raters'])}",
        )
        shown.add_row(*map(Text, cells), style="bold" if pair["is_fused"] else "")
    return shown
