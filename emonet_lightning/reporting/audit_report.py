"""audit.md and the console's table, from what audit.json holds; nothing is measured here."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from emonet_lightning.io import atomic_write
from emonet_lightning.reporting.agreement_reading import RESPONSIBLE_USE
from emonet_lightning.reporting.markdown import estimate, literal, table

REPORT_FILE = "audit.md"
MEASURES = {"spearman": "Spearman", "kappa": "kappa", "bias": "bias"}
TOO_FEW = "too few"
_CONVINCING = 0.05


def write_report(folder: Path, content: Mapping[str, Any]) -> Path:
    """Write `audit.md` and `figures/` into a folder; returns the path of `audit.md`.

    Raises:
        OutputError: the folder cannot be written.
    """
    from emonet_lightning.reporting import audit_figures  # here, so that the module loads without matplotlib

    names = audit_figures.draw(Path(folder) / "figures", content)
    path = Path(folder) / REPORT_FILE
    atomic_write(path, "\n\n".join(sections(content, names)) + "\n")
    return path


def sections(content: Mapping[str, Any], figures: Mapping[str, list[str]]) -> Iterable[str]:
    """Yield the parts of `audit.md`; `figures`: the files of each attribute, as `audit_figures.draw` returns them."""
    title = "raters among themselves" if content["system"] is None else literal(content["system"])
    yield f"# Audit by group: {title}"
    yield RESPONSIBLE_USE
    yield f"**{content['provenance']['meaning']}**"
    yield _setting(content)
    if content["bootstrap"]["unit"] == "image":
        yield (
            "Images of one person are not independent; if several images show one person, give a column `person` or "
            "--persons."
        )
    yield "## Worst groups"
    yield from _gaps(content)
    for attribute, about in content["attributes"].items():
        yield f"## By {literal(attribute)} ({content['provenance']['kind']})"
        yield _table(content, attribute)
        yield from _remarks(content, attribute, about)
        for name in figures.get(attribute, []):
            yield f"![{_caption(name)}, by {literal(attribute)}](figures/{name}.png)"
    yield "## Definitions"
    lines = [f"- {literal(term)}: {text}" for term, text in content["definitions"].items()]
    yield "\n".join([*lines, "- every figure by emotion, and the spellings behind each group: audit.json"])
    notes = [*content["notes"], *content["ratings"]["notes"], *content["system_notes"]]
    if notes:
        yield "## Notes"
        yield "\n".join(f"- {literal(note)}" for note in notes)


def _setting(content: Mapping[str, Any]) -> str:
    rated, drawn, scale = content["ratings"], content["bootstrap"], content["scale"]
    taken = (
        f"Scores lie within 0..1, ratings go from {scale['low']:g} to {scale['high']:g}: such scores are no levels, so "
        "bias and calibration are not given"
        if scale["is_off_scale"]
        else f"Scores are taken as levels of the raters' scale, {scale['low']:g} to {scale['high']:g}, as they are"
    )
    return (
        f"{rated['num_images']} images, {rated['num_raters']} raters, {len(content['emotions'])} emotions"
        + (f", {content['all']['persons']} persons" if content["all"]["persons"] is not None else "")
        + f". {taken}. Intervals: {drawn['level']:.0%}, {drawn['num_draws']} draws of {drawn['num_units']} "
        f"{drawn['unit']}s, seed {drawn['seed']}. Groups of fewer than {content['least']} images: '{TOO_FEW}' in place "
        "of numbers."
    )


def _gaps(content: Mapping[str, Any]) -> Iterable[str]:
    for part, owner in (("gaps", content["system"]), ("rater_gaps", "raters among themselves")):
        if not content[part]:
            continue
        rows = [
            [
                literal(gap["attribute"]),
                MEASURES[gap["measure"]],
                literal(gap["worst"]),
                literal(gap["best"]),
                estimate(gap, "gap", sign=True),
                p_text(gap["p_holm"]),
                verdict(gap),
            ]
            for gap in content[part]
        ]
        yield f"**{literal(owner)}**"
        yield table(["attribute", "measure", "worst", "against", "gap [for all comparisons]", "p (Holm)", ""], rows)
    if not content["gaps"] and not content["rater_gaps"]:
        yield "Fewer than two groups of any attribute have enough images: no gap can be told."
        return
    yield (
        "The worst of several groups always is somewhat worse; the interval and p allow for the choice. 'Not shown' "
        "means that these images do not show a gap, not that there is none: see how wide its interval is."
    )


def verdict(gap: Mapping[str, Any]) -> str:
    """Return in words whether a gap is more than the choice of the worst group explains."""
    p = gap["p_holm"]
    return "not defined" if p is None else "**gap**" if p < _CONVINCING else "not shown"


def _table(content: Mapping[str, Any], attribute: str) -> str:
    header = ["group", "images", "persons"]
    with_system = content["system"] is not None
    if with_system:
        header += ["Spearman", "kappa", "bias", "slope", "calibration error"]
    header += ["raters: Spearman", "raters: kappa"]
    rows = []
    for entry in [{"level": "all images", **content["all"]}, *_levels(content, attribute)]:
        bold = "**" if entry["level"] == "all images" else ""
        row = [f"{bold}{literal(entry['level'])}{bold}", str(entry["n"])]
        row.append("-" if entry["persons"] is None else str(entry["persons"]))
        figures = [entry[key] for key in (*MEASURES, "slope", "calibration_error")] if with_system else []
        figures += [entry["raters"][key] for key in ("spearman", "kappa")]
        row += [TOO_FEW if entry["too_few"] else estimate(figure) for figure in figures]
        rows.append(row)
    return table(header, rows)


def _levels(content: Mapping[str, Any], attribute: str) -> list[Mapping[str, Any]]:
    return [entry for entry in content["by"] if entry["attribute"] == attribute]


def _remarks(content: Mapping[str, Any], attribute: str, about: Mapping[str, Any]) -> Iterable[str]:
    total = len(content["emotions"])
    fewer = {MEASURES[key]: len(found) for key, found in about["emotions"].items() if len(found) < total}
    if fewer:
        counts = ", ".join(f"{name} {count}" for name, count in fewer.items())
        yield f"Means over the emotions that have a value in every group, of {total}: {counts}."
    joined = [
        f"{literal(entry['level'])}: {', '.join(literal(raw) for raw in entry['raw'])}"
        for entry in _levels(content, attribute)
        if len(entry["raw"]) > 1 and " to " not in entry["level"] and " x " not in attribute
    ]
    if joined:
        yield f"Joined spellings: {'; '.join(joined)}."


def _caption(name: str) -> str:
    if name.startswith("groups"):
        return "Figures of each group with intervals"
    measure = "bias" if "_bias" in name else "Spearman"
    return f"{measure} by group and emotion, as difference from all images"


def p_text(value: float | None) -> str:
    """Return a p value with three decimals."""
    return "-" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def console_table(content: Mapping[str, Any]) -> Table:
    """Return worst groups and gaps for a terminal."""
    title = f"Audit by group ({content['provenance']['kind']}): {content['system'] or 'raters among themselves'}"
    shown = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    shown.add_column("attribute", overflow="fold", min_width=9)
    shown.add_column("measure", no_wrap=True)
    for column in ("worst", "against"):
        shown.add_column(column, overflow="fold", min_width=7)
    for column in ("gap", "p (Holm)"):
        shown.add_column(column, justify="right", no_wrap=True, min_width=7)
    for gap in content["gaps"] or content["rater_gaps"]:
        cells = (gap["attribute"], MEASURES[gap["measure"]], gap["worst"], gap["best"], estimate(gap, "gap", sign=True))
        style = "bold" if gap["p_holm"] is not None and gap["p_holm"] < _CONVINCING else ""
        shown.add_row(*map(Text, (*cells, p_text(gap["p_holm"]))), style=style)
    return shown
