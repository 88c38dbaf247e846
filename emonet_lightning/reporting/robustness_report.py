"""robustness.md and the console's lines, from what robustness.json holds; nothing is measured here."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from emonet_lightning.io import atomic_write
from emonet_lightning.reporting.agreement_reading import RESPONSIBLE_USE
from emonet_lightning.reporting.markdown import estimate, few_drawn, interval, literal, number, table

REPORT_FILE = "robustness.md"
_NAMED = 3
"""Emotions that a line names."""


def write_robustness_report(folder: Path, content: Mapping[str, Any]) -> Path:
    """Write `robustness.md` and `figures/` into a folder; returns the path of the former.

    Raises:
        OutputError: the folder cannot be written.
    """
    from emonet_lightning.reporting import robustness_figures  # here, so that the module loads without matplotlib

    drawn = robustness_figures.draw(Path(folder) / "figures", content)
    path = Path(folder) / REPORT_FILE
    atomic_write(path, "\n\n".join(sections(content, drawn)) + "\n")
    return path


def sections(content: Mapping[str, Any], drawn: Sequence[str]) -> Iterable[str]:
    """Yield the parts of `robustness.md`; `drawn` are the names of the figures."""
    heads, options = content["heads"], content["options"]
    names = {entry["slug"]: entry["name"] for entry in heads["emotions"]}
    yield "# Robustness"
    yield RESPONSIBLE_USE
    yield (
        f"Heads of {literal(heads['folder'])} ({len(names)} emotions of {literal(heads['taxonomy'])}, encoder "
        f"{literal(str(heads['encoder']))}). Intervals: {options['level']:.0%} of {options['num_draws']} bootstrap "
        f"draws, seed {options['seed']}."
    )
    faces, images = content["faces"], content["images"]
    if faces:
        labels = [names[slug] for slug in faces["emotions"]]
        yield "## Rendered faces, one condition at a time"
        yield (
            f"{faces['num_faces']} faces ({faces['num_persons']} persons, each with every one of {len(labels)} "
            f"emotions) of {faces['size']} pixels; {faces['num_pictures']} pictures. The same persons, expressions and "
            "scenes at every level. These are drawings: what breaks here breaks under control, and what holds here may "
            f"still break on photographs.{few_drawn(faces['num_persons'], 'persons')}"
        )
        yield from _sweeps(faces["factors"], faces["anchor"], labels)
        yield "![Agreement and rank stability by condition](figures/factors.png)"
        yield "![Every emotion at each condition's hardest level](figures/factors_emotions.png)"
        if faces["intensity"]:
            yield "## Intensity of the expression"
            yield from _intensity(faces["intensity"], labels)
            yield "![Score against intensity](figures/intensity.png)"
    if images:
        yield f"## Corruptions of {literal(images['name'])}"
        people = f" of {images['num_groups']} persons or other groups" if images["num_groups"] else ""
        truth = images["truth"]
        yield (
            f"{images['num_images']} images{people}, each at severity 0 (as it is) to 5. "
            + (f"Agreement is with: {truth}." if truth else "Nothing is known of them, so there is no agreement: ")
            + ("" if truth else "the table says how far scores move, not which of them are right.")
            + few_drawn(images["num_groups"] or images["num_images"], "groups" if images["num_groups"] else "images")
        )
        yield from _sweeps(images["corruptions"], images["anchor"], list(names.values()))
        yield "![Agreement and rank stability by corruption](figures/corruptions.png)"
        yield "![Every emotion at each corruption's hardest severity](figures/corruptions_emotions.png)"
        rows = [
            [sweep["name"], sweep["setting"], *(f"{value:g}" for value in sweep["values"])]
            for sweep in images["corruptions"]
        ]
        yield "Severities:"
        yield table(["corruption", "setting", "1", "2", "3", "4", "5"], rows)
    yield "## Definitions"
    yield "\n".join(f"- {term}: {text}" for term, text in content["definitions"].items())
    yield f"Every emotion at every level: robustness.json. Figures: {', '.join(drawn)} (PNG and PDF)."


def _sweeps(sweeps: Sequence[Mapping[str, Any]], anchor: Mapping[str, Any] | None, labels: list[str]) -> Iterable[str]:
    from emonet_lightning.reporting.robustness_figures import hardest_level

    judged = "agreement" in sweeps[0]["levels"][0]
    if judged and anchor:
        yield f"Human anchor: {estimate(anchor)} ({literal(anchor['source'])})."
        below = [sweep["name"] for sweep in sweeps if sweep.get("undisturbed_below_anchor")]
        if below:
            yield (
                f"**Below the anchor already undisturbed: {', '.join(below)}.** For these the first level below the "
                "anchor says nothing of the condition; read where agreement is first lost, and where half of it is."
            )
    with_raters = any("with_raters" in sweep["levels"][0] for sweep in sweeps)
    rows = []
    for sweep in sweeps:
        hardest = hardest_level(sweep)
        cells = [sweep["name"], f"{sweep['undisturbed']:g}", f"{hardest['level']:g}", estimate(hardest["stability"])]
        if judged:
            undisturbed = next(row for row in sweep["levels"] if row["level"] == sweep["undisturbed"])
            cells += [
                estimate(undisturbed["agreement"]),
                estimate(hardest["agreement"]),
                estimate(hardest["loss"], "difference"),
                _levels(sweep["first_loss"]),
                _levels(sweep["first_half_lost"]),
            ]
            if anchor:
                cells += [estimate(undisturbed["with_raters"])] if "with_raters" in undisturbed else ["-"] * with_raters
                cells += [first_below(sweep, "first_below_anchor"), first_below(sweep, "first_surely_below_anchor")]
        cells.append(_most_shifted(hardest, labels))
        rows.append(cells)
    header = ["condition", "undisturbed", "hardest level", "rank stability there"]
    if judged:
        header += ["agreement undisturbed", "agreement there", "loss there", "first loss at", "half lost at"]
        header += ["with the raters undisturbed"] * with_raters if anchor else []
        header += ["first below the anchor", "surely below"] if anchor else []
    yield table([*header, "scores that move most there (SD)"], rows)


def first_below(sweep: Mapping[str, Any], key: str) -> str:
    """Return the first levels below the anchor in words."""
    if key not in sweep:
        return "-"
    return "undisturbed" if sweep[key.replace("first", "undisturbed", 1)] else _levels(sweep[key])


def _levels(found: Mapping[str, float | None]) -> str:
    return ", ".join(f"{level:g}" for level in found.values() if level is not None) or "none"


def _most_shifted(row: Mapping[str, Any], labels: list[str]) -> str:
    moves = [(value, name) for value, name in zip(row["shift_in_sd"]["per_emotion"], labels, strict=True) if value]
    moves.sort(key=lambda pair: -abs(pair[0]))
    return ", ".join(f"{literal(name)} {value:+.1f}" for value, name in moves[:_NAMED]) or "-"


def _intensity(found: Mapping[str, Any], labels: list[str]) -> Iterable[str]:
    yield (
        f"One emotion alone at intensity {found['levels'][0]:g} to {found['levels'][-1]:g} on a face that otherwise "
        f"rests, {found['num_persons']} persons. Spearman correlation of its score and the intensity within a person: "
        f"{estimate(found['monotonicity'])}, mean over emotions; share of persons whose score never falls on the way "
        f"up: {estimate(found['rising'])}."
    )
    order = sorted(range(len(labels)), key=lambda k: found["monotonicity"]["per_emotion"][k])
    chosen = [*order[:5], *[k for k in order[-5:] if k not in order[:5]]]
    parts = ("monotonicity", "rising")
    rows = [
        [literal(labels[k])]
        + [
            f"{number(found[part]['per_emotion'][k])} "
            + interval({"low": found[part]["per_emotion_low"][k], "high": found[part]["per_emotion_high"][k]})
            for part in parts
        ]
        for k in chosen
    ]
    yield table(["emotion (least and most monotone)", "monotonicity", "share that never falls"], rows)


def print_robustness(folder: Path, content: Mapping[str, Any]) -> None:
    """Print a line per condition, and where the report lies."""
    console = Console()
    for part, key in ((content["faces"], "factors"), (content["images"], "corruptions")):
        if part:
            console.print(_console_table(part, key))
    if content["faces"] and content["faces"]["intensity"]:
        found = content["faces"]["intensity"]["monotonicity"]
        console.print(f"score against intensity within a person: {estimate(found)}", highlight=False, markup=False)
    console.print(f"report: {folder / REPORT_FILE}", highlight=False, markup=False, soft_wrap=True)


def _console_table(part: Mapping[str, Any], key: str) -> Table:
    from emonet_lightning.reporting.robustness_figures import hardest_level

    judged = "agreement" in part[key][0]["levels"][0]
    anchor = part["anchor"] if judged else None
    title = "Rendered faces" if key == "factors" else f"Corruptions of {part['name']}"
    title += f"; human anchor {number(anchor['value'])}" if anchor else ""
    shown = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=0)
    shown.add_column("condition", no_wrap=True)
    header = ["hardest level", "ranks kept there"] + (
        ["agrees there", "agrees at start", "first loss", "half lost"] if judged else []
    )
    for column in [*header, *(["below anchor"] if anchor else [])]:
        shown.add_column(column, justify="right", width=max(6, *(len(word) for word in column.split())))
    for sweep in part[key]:
        row = hardest_level(sweep)
        cells = [sweep["name"], f"{row['level']:g}", number(row["stability"]["value"])]
        if judged:
            undisturbed = next(own for own in sweep["levels"] if own["level"] == sweep["undisturbed"])
            cells += [number(row["agreement"]["value"]), number(undisturbed["agreement"]["value"])]
            cells += [_levels(sweep["first_loss"]), _levels(sweep["first_half_lost"])]
        if anchor:
            cells.append(first_below(sweep, "first_below_anchor").replace("undisturbed", "start"))
        shown.add_row(*cells)
    return shown
