"""The command `evaluate audit`: agreement and calibration by group of images, worst group, gaps."""

from typing import Any, Literal

from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.evaluation.audit import audit
from emonet_lightning.evaluation.audit_groups import RELEASED, UNKNOWN, read_groups
from emonet_lightning.evaluation.group_figures import NUM_RANDOM_GROUPS
from emonet_lightning.evaluation.panel_input import read_panel_input
from emonet_lightning.io import make_folder, write_json
from emonet_lightning.progress import progress_bar
from emonet_lightning.ratings.systems import Duplicates, Missing
from emonet_lightning.taxonomy import Taxonomy

RESULT_FILE = "audit.json"
Provenance = Literal["prompted", "perceived", "self-declared", "rendered"]
MEANINGS: dict[str, str] = {
    "prompted": "Groups are prompted: what an image generator was asked for. They are neither perceived by people nor "
    "self-declared by persons, and nobody checked that the images show them.",
    "perceived": "Groups are perceived: what other people took the pictured persons for, not prompted, and not what "
    "the persons declare themselves.",
    "self-declared": "Groups are self-declared by the pictured persons, neither prompted nor perceived by others.",
    "rendered": "Groups are rendered: factors of a drawing program, of drawn faces; no person was prompted for, "
    "perceived or asked.",
}
DEFINITIONS = {
    "spearman": "rank correlation of scores with the mean rating, within the group, mean over emotions; a system that "
    "gives all images of a group one score of an emotion counts as 0 there",
    "kappa": "quadratically weighted Cohen's kappa with single ratings, pooled over an image's raters, within the "
    "group, mean over emotions; scores are cut into levels once, on all images together, so that the levels' shares "
    "are those of the rounded mean rating (an oracle); raters: all pairs of raters of an image, pooled. Kappa of few "
    "images is lower by chance alone: only its gaps allow for that",
    "bias": "mean of score minus mean rating within the group, in levels, mean over emotions: above 0 the system sees "
    "more than raters do; biases of emotions may cancel, the heat map shows them one by one",
    "slope": "rise of the mean rating per level of score (least squares), all emotions of the group together; 1 is "
    "calibrated, below 1 the scores are too extreme",
    "calibration error": "mean distance of score and mean rating within bins around each level, weighted by images and "
    "emotions, all emotions together (as the expected calibration error); it is larger in small groups by chance "
    "alone, so groups are not compared by it",
    "raters": "Spearman: each rater with the mean of the others, mean over raters, so with one rater fewer than the "
    "system; kappa is like for like. A group on which raters agree less is harder for a system, too",
    "mean over emotions": "over those that have a value in all groups of the attribute that have enough images",
    "worst": "the group with the lowest agreement; of bias, the one with the largest bias of either sign",
    "gap": "worst minus best group, and worst group minus the mean of all others (each with the weight of its images), "
    "on the same draws. Kappas are first rid of what a group's size does to them, the mean difference from all images "
    f"of {NUM_RANDOM_GROUPS} random groups as large, so their gap is not the difference of the kappas shown",
    "interval": "of a figure: percentiles of the draws, for it alone; † marks one whose draws lie to one side of the "
    "sample, as kappa's do where images are few. Of a gap: Student's t with the draws' standard "
    "deviation, widened for all comparisons that could have been picked (Bonferroni: all pairs of groups, or each "
    "group with the others), since the worst of many is always somewhat worse",
    "p (Holm)": "of the gap, corrected for the same comparisons within its attribute and measure (Holm), not for the "
    "number of attributes and measures",
    "too few": "a group with fewer images than --least has no figure and takes no part in gaps",
    "unknown": f"a fact that is empty or one of {', '.join(sorted(UNKNOWN - {''}))} is not known; such images are in "
    "no group of the attribute",
}


def audit_command(
    ratings: str,
    groups: str,
    out: str,
    system: str | None = None,
    by: list[str] | str | None = None,
    provenance: Provenance = "prompted",
    taxonomy: str = "emonet40",
    bins: str = "4",
    canonical: str = RELEASED,
    cross: str | None = None,
    persons: str | None = None,
    least: int = 20,
    human: Literal["all"] | None = None,
    untouched: Literal["zero", "missing"] | None = None,
    missing: Missing = "missing",
    duplicates: Duplicates = "mean",
    columns: dict[str, str] | str | None = None,
    index_map: str | None = None,
    num_draws: int = 500,
    seed: int = 0,
    level: float = 0.95,
    progress: bool = True,
) -> None:
    """Judge a system by group of images: agreement with raters, calibration, worst group, gap with interval.

    Writes audit.json, audit.md and figures. Each output says where the groups come from (--provenance).

    Args:
        ratings: experts' ratings, as for `evaluate agreement`.
        groups: CSV file (image and a column per attribute: ethnicity, age, gender ...; `person` names persons), or a
            packed set, whose facts are taken.
        out: folder for the report.
        system: `NAME=FILE`, scores of a system; or the name of a system in the file of ratings, by default its first.
            Without any, raters are judged among themselves alone.
        by: attributes, as `--by ethnicity,age`; by default all columns of the table with at most 40 levels, of a packed
            set ethnicity, age and gender.
        provenance: where the groups come from: `prompted` (asked of a generator), `perceived` (by other people),
            `self-declared` (by the pictured persons) or `rendered` (factors of drawn faces).
        taxonomy: `emonet40`, or a YAML file of your own emotions.
        bins: equally filled bins of columns with more than 8 different numbers, or `age=30:50,skin=3`: inner edges, or
            a number for each column.
        canonical: names that several spellings stand for: `released` (the 14 ethnicities of EmoNet-Face's prompts),
            `none`, or a YAML file of the shape of the shipped taxonomies/groups.yaml.
        cross: two attributes whose pairs of levels are groups too, as `--cross ethnicity,gender`.
        persons: CSV file (image, group) of the person in each image; draws are then of persons.
        least: images below which a group has too few for a number.
        human: as for `evaluate agreement`.
        untouched: as for `evaluate agreement`.
        missing: as for `evaluate agreement`.
        duplicates: as for `evaluate agreement`.
        columns: names of the file's columns, as `--columns image=foto,rater=who`.
        index_map: JSON of file name to row number.
        num_draws: bootstrap draws of images, or of persons.
        seed: of the draws.
        level: coverage of the intervals.
        progress: show a progress bar.

    Raises:
        UsageError: options that do not fit each other.
        MissingInputError: a file that is not there.
        DataError: wrong content; names the line, image or column.
        OutputError: the folder cannot be written.
    """
    from rich.console import Console

    from emonet_lightning.reporting.audit_report import console_table, write_report

    if num_draws < 20 or not 0 < level < 1 or least < 3 or seed < 0:
        raise UsageError(
            f"--num_draws {num_draws} --level {level} --least {least} --seed {seed}: at least 20 draws, a level "
            "between 0 and 1, at least 3 images and a seed from 0"
        )
    spec = Taxonomy.load(taxonomy)
    found = read_panel_input(
        ratings,
        system,
        spec,
        human=human,
        untouched=untouched,
        missing=missing,
        duplicates=duplicates,
        columns=columns,
        index_map=index_map,
        persons=persons,
        progress=progress,
    )
    panel = found.panel
    named = read_groups(
        groups,
        panel.images,
        _words(by),
        bins=bins,
        canonical=canonical,
        cross=_words(cross),
        index_map=found.rows,
    )
    if panel.groups is None and named.persons is not None:
        panel = panel._replace(groups=named.persons)
    if len(panel.raters) < 2 and found.system is None:
        raise DataError(
            f"{ratings}: one rater and no system: nothing to compare; name a system with --system NAME=FILE"
        )
    folder = make_folder(out)
    total = 1 + sum(len(attribute.levels) for attribute in named.attributes)
    with progress_bar("auditing", total, "groups", progress) as advance:
        content = audit(
            panel,
            found.system,
            spec,
            named.attributes,
            num_draws=num_draws,
            seed=seed,
            level=level,
            least=least,
            advance=advance,
        )
    options: dict[str, Any] = {
        "ratings": ratings, "groups": groups, "system": system, "by": _words(by), "provenance": provenance,
        "taxonomy": taxonomy, "bins": bins, "canonical": canonical, "cross": _words(cross), "persons": persons,
        "least": least, "untouched": untouched, "missing": missing, "duplicates": duplicates, "num_draws": num_draws,
        "seed": seed, "level": level,
    }  # fmt: skip
    content = {
        "schema": content.pop("schema"),
        "provenance": {"kind": provenance, "meaning": MEANINGS[provenance]},
        "options": options,
        "definitions": DEFINITIONS,
        "notes": named.notes,
        **content,
    }
    write_report(folder, content)
    write_json(folder / RESULT_FILE, content)  # last: where it is, the report is whole
    console = Console()
    console.print(console_table(content))
    for line in (MEANINGS[provenance], *named.notes, f"{folder / 'audit.md'}, {folder / RESULT_FILE}"):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _words(given: list[str] | str | None) -> list[str]:
    """Read `a,b`, or a list of such words."""
    words = [given] if isinstance(given, str) else given or []
    return [part.strip() for word in words for part in word.split(",") if part.strip()]
