"""The command `evaluate agreement`: ratings and scores in, `agreement.json`, tables and figures out."""

from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from emonet_lightning.errors import DataError, UsageError, nearest
from emonet_lightning.evaluation.benchmark import judge
from emonet_lightning.evaluation.check_released import Check, compare_published
from emonet_lightning.evaluation.trivial import trivial_systems
from emonet_lightning.io import write_json
from emonet_lightning.options import pairs
from emonet_lightning.progress import progress_bar
from emonet_lightning.ratings.image_facts import image_facts
from emonet_lightning.ratings.index_map import read_index_map
from emonet_lightning.ratings.panel import SystemScores
from emonet_lightning.ratings.panel_files import read_panel
from emonet_lightning.ratings.systems import Duplicates, Missing, read_named_scores
from emonet_lightning.taxonomy import Taxonomy

AGREEMENT_FILE = "agreement.json"


def agreement_command(
    ratings: str,
    out: str | None = None,
    system: list[str] | None = None,
    taxonomy: str = "emonet40",
    subject: str | None = None,
    human: Literal["all"] | None = None,
    untouched: Literal["zero", "missing"] | None = None,
    missing: Missing = "missing",
    duplicates: Duplicates = "mean",
    rescale: dict[str, float] | str | None = None,
    columns: dict[str, str] | str | None = None,
    split: str | None = None,
    index_map: str | None = None,
    prompts: str | None = None,
    groups: str | None = None,
    num_draws: int = 500,
    seed: int = 0,
    level: float = 0.95,
    present_threshold: float | None = None,
    check_released: bool = False,
    progress: bool = True,
) -> None:
    """Judge systems against human raters, and the raters against each other.

    Args:
        ratings: experts' ratings: the released `hq.csv` (its model rows are systems), the released HQ Parquet file or
            folder, or a CSV file (image, rater, emotion, rating; other layouts as in `pack`).
        out: folder of `agreement.json`, `agreement.md` and `figures/`.
        system: `NAME=FILE`, scores of a system: what `predict` writes, CSV (image and a column per emotion, or long),
            Parquet or JSONL; may be given several times.
        taxonomy: `emonet40`, or a YAML file of your own emotions.
        subject: system that all others are compared with; the first `--system`, else the first of the file.
        human: `all` where every row is a person's and the file has no column `human`.
        untouched: what an emotion that a rater left out means: `zero` or `missing`; by default `zero` in files with a
            dict per image (their raters saw all sliders), `missing` in long ones.
        missing: what an emotion that a system left out means; `zero` is the released analysis.
        duplicates: repeated rows of a system: their `mean`, or the `last`.
        rescale: factor of a system's scores, as `--rescale "Hume Face*=7"`.
        columns: names of the file's columns, as `--columns image=foto,rater=who`.
        split: use only this split of a file with a column `split`.
        index_map: JSON of file name to row number, to join `hq.csv` and HQ Parquet.
        prompts: CSV file (image, emotion) of what each image was made for: the system `prompted label`; HQ Parquet
            knows it.
        groups: CSV file (image, group) of the person in each image, or of another cluster; the bootstrap then draws
            groups. A column `group` of the ratings does the same.
        num_draws: bootstrap draws of images, or of groups.
        seed: of draws and random systems.
        level: coverage of the intervals.
        present_threshold: an emotion is present where the mean rating is at least this; one level above the lowest by
            default.
        check_released: compute the published figures of the released ratings anew and compare; a miss exits with 65.
        progress: show a progress bar.
    """
    spec = Taxonomy.load(taxonomy)
    if out is None and not check_released:
        raise UsageError("evaluate agreement: name a folder for the report with --out DIR (or use --check_released)")
    if num_draws < 2 or not 0 < level < 1:
        raise UsageError(f"--num_draws {num_draws} --level {level}: at least 2 draws and a level between 0 and 1")
    if seed < 0:
        raise UsageError(f"--seed {seed}: a whole number from 0 is needed")
    rows = None if index_map is None else read_index_map(Path(index_map))
    options: dict[str, Any] = {
        "human": human,
        "index_map": rows,
        "columns": pairs("columns", columns),
        "split": split,
        "rescale": _factors(rescale),
        "progress": progress,
    }
    if check_released:
        panel, systems = read_panel(ratings, spec, untouched="missing", duplicates="last", **options)
        _report_checks(ratings, compare_published(panel, systems, spec))
    if out is None:
        return
    panel, systems = read_panel(ratings, spec, untouched=untouched, missing=missing, duplicates=duplicates, **options)
    if prompts is not None:
        asked = image_facts(prompts, "emotion", panel.images, rows)
        panel = panel._replace(prompted=[spec.slugs[spec.index(name, prompts)] for name in asked])
    if groups is not None:
        panel = panel._replace(groups=list(image_facts(groups, "group", panel.images, rows)))
    own = [read_named_scores(word, spec, panel.images, rows, missing, duplicates) for word in system or []]
    systems = [*own, *systems]
    if subject is not None and subject not in [s.name for s in systems]:
        raise UsageError(f"--subject '{subject}': no such system; {nearest(subject, [s.name for s in systems])}")
    first = next((s for s in systems if s.name == subject), systems[0] if systems else None)
    everyone = [*systems, *trivial_systems(panel, spec.slugs, subject=first, seed=seed)]
    _check_names(panel.raters, everyone)
    with progress_bar("judging", len(everyone) + 1, "systems", progress) as advance:
        found = judge(
            panel,
            everyone,
            spec,
            subject=None if first is None else first.name,
            num_draws=num_draws,
            seed=seed,
            level=level,
            present_threshold=present_threshold,
            advance=advance,
        )
    write_agreement(Path(out), found, spec)


def write_agreement(out: Path, found: dict[str, Any], taxonomy: Taxonomy) -> None:
    """Write `agreement.json`, the report and its figures, and print the main table."""
    from emonet_lightning.reporting.agreement_report import write_agreement_report
    from emonet_lightning.reporting.agreement_tables import headline_table

    write_agreement_report(out, found, taxonomy)
    write_json(out / AGREEMENT_FILE, found)  # last: where it is, the report is whole
    console = Console()
    for note in found["ratings"]["notes"]:
        console.print(f"{found['ratings']['name']}: {note}", highlight=False, markup=False)
    console.print(headline_table(found))
    console.print(f"report: {out / 'agreement.md'}", highlight=False, markup=False)


def _factors(rescale: dict[str, float] | str | None) -> dict[str, float]:
    try:
        return {name: float(factor) for name, factor in (pairs("rescale", rescale) or {}).items()}
    except ValueError:
        raise UsageError(f"--rescale '{rescale}': write NAME=FACTOR with a number") from None


def _check_names(raters: list[str], systems: list[SystemScores]) -> None:
    """Refuse a name that means two: figures are kept by name, and one would take the other's place."""
    trivial = ", ".join(s.name for s in systems if s.kind != "system")
    seen = {"humans", *raters}
    for system in systems:
        if system.name in seen:
            raise UsageError(
                f"--system '{system.name}': two systems or raters of this name; give each its own (always there: "
                f"humans, {trivial})"
            )
        seen.add(system.name)


def _report_checks(ratings: str, checks: list[Check]) -> None:
    table = Table(title="Published figures, computed again", title_justify="left", title_style="bold")
    for column in ("figure", "of", "computed", "published", "tolerance", ""):
        table.add_column(column, justify="right" if column in ("computed", "published", "tolerance") else "left")
    for check in checks:
        verdict = "cannot be computed" if check.computed is None else "within" if check.is_hit else "MISS"
        computed = "-" if check.computed is None else f"{check.computed:.4f}"
        style = "bold red" if verdict == "MISS" else ""
        row = (check.metric, check.what, computed, f"{check.published:.4f}", f"{check.tolerance:g}", verdict)
        table.add_row(*row, style=style)
    Console().print(table)
    misses = [check for check in checks if check.computed is not None and not check.is_hit]
    known = sum(check.computed is not None for check in checks)
    if misses:
        raise DataError(
            f"{ratings}: {len(misses)} of {known} published figures are missed, first {misses[0].metric} of "
            f"{misses[0].what}; is this the released file, unchanged?"
        )
    Console().print(f"{known} of {len(checks)} published figures computed, all within tolerance", highlight=False)
