"""preference.md of `preference analyse`, and its lines on the console; every number is from `preference.json`."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from emonet_lightning.io import atomic_write
from emonet_lightning.reporting.agreement_reading import RESPONSIBLE_USE
from emonet_lightning.reporting.drawing import save
from emonet_lightning.reporting.markdown import literal, number, table
from emonet_lightning.reporting.preference_figures import preference_figures
from emonet_lightning.reporting.votes_shares import bounds, percent

REPORT_FILE = "preference.md"
_SURE = 0.05


def write_preference_report(found: Mapping[str, Any], folder: Path, names: Mapping[str, str]) -> None:
    """Write `preference.md` and its figures (PNG and PDF in `figures/`).

    Args:
        found: what `annotation.preference_analysis.analyse` returned.
        folder: where to.
        names: of the emotions by slug; those not in it are called by their slug.

    Raises:
        OutputError: the folder cannot be written.
    """
    figures = preference_figures(found, names)
    for name, figure in figures.items():
        save(figure, folder / "figures", name)
    sections = _sections(found, names, list(figures))
    atomic_write(folder / REPORT_FILE, "\n\n".join(sections) + "\n")


def print_preference(found: Mapping[str, Any], folder: Path) -> None:
    """Print the main figures and where the report lies."""
    console = Console(soft_wrap=True)
    for line in (headline(found), _side(found), _agree(found), f"report: {folder / REPORT_FILE}"):
        console.print(line, highlight=False, markup=False)


def headline(found: Mapping[str, Any]) -> str:
    """Return the result in a sentence, with n and both intervals."""
    own = found["overall"]
    if not own["n"]:
        return f"'{found['subject']}' and '{found['reference']}' were not compared by anyone."
    others = "other images and judges" if own["num_judges"] > 1 else "other images, this judge"
    return (
        f"'{found['subject']}' was preferred to '{found['reference']}' in {percent(own)} of comparisons (n = "
        f"{own['n']:,}: {own['num_images']:,} images, {own['num_judges']} judges; {_level(found)} intervals: Wilson "
        f"{bounds(own)}, {others} {bounds(own['clustered'])}; p {_p(own['p'])})."
    )


def _sections(found: Mapping[str, Any], names: Mapping[str, str], figures: list[str]) -> Iterable[str]:
    counts, rules = found["counts"], found["rules"]
    yield "# Blind preference study"
    yield literal(headline(found))
    yield RESPONSIBLE_USE
    yield (
        f"{counts['answers']:,} answers of {counts['judges']} judges on {counts['pairs_answered']:,} of "
        f"{counts['pairs']:,} pairs ({counts['images']:,} images). {_side(found)} {_agree(found)} {_time(found)}"
    )
    yield table(
        ["systems", "pairs shown", "equal lists", "an empty list", "not scored by both"],
        (
            [
                f"{literal(entry['first'])} and {literal(entry['second'])}",
                *(str(entry[key]) for key in ("shown", "equal", "empty", "not_scored")),
            ]
            for entry in counts["left_out"]
        ),
    )
    if found["overall"].get("equal_half") is not None:
        half = found["overall"]["equal_half"]
        yield f"Pairs with equal lists were not shown. Were they judged and half counted for each: {half:.1%}."
    yield "\n".join(f"- {literal(rules[key])}" for key in ("preferred", "wilson", "clustered", "p"))
    if found["overall"]["n"]:
        crossed = found["overall"]["crossed"]
        yield f"All comparisons by crossed bootstrap: {bounds(crossed)} ({found['rules']['crossed']})."
    yield "## Emotions"
    yield (
        f"An image counts for one emotion: {literal(found['about'])}. "
        f"{sum(_is_sure(row, 'p_holm') for row in found['emotions'])} of {len(found['emotions'])} differ from one half "
        f"(p_holm < {_SURE})."
    )
    yield "![preferred, by emotion](figures/preference_emotions.png)"
    yield _rows(found["emotions"], "emotion", names)
    yield "## Judges"
    yield "![preferred, by judge](figures/preference_judges.png)"
    yield _rows(found["judges"], "rater", {})
    yield table(
        ["judge", "left", "p", "p_holm", "median seconds", f"under {1:g} s"],
        (
            [
                literal(row["rater"]),
                f"{percent(row['left'])} {bounds(row['left'])}",
                _p(row["left_p"]),
                _p(row["left_p_holm"]),
                number(row["seconds"]["median"]),
                f"{row['seconds']['num_hasty']} of {row['seconds']['n']}",
            ]
            for row in found["judges"]
        ),
    )
    yield "\n".join(f"- {literal(rules[key])}" for key in ("side", "agreement"))
    if found["strengths"]:
        yield "## Systems"
        yield "![strengths](figures/preference_strengths.png)"
        yield table(
            ["system", "strength"],
            (
                [literal(row["system"]), f"{number(row['value'], True)} [{number(row['low'])}, {number(row['high'])}]"]
                for row in sorted(found["strengths"], key=lambda row: -(row["value"] or 0))
            ),
        )
        yield table(
            ["first", "second", "first preferred", "n", "Wilson", "other images and judges"],
            (
                [
                    literal(row["first"]),
                    literal(row["second"]),
                    percent(row),
                    str(row["n"]),
                    bounds(row),
                    bounds(row["clustered"]),
                ]
                for row in found["pairwise"]
            ),
        )
        yield f"- {literal(rules['strengths'])}"


def _rows(rows: list[Mapping[str, Any]], what: str, names: Mapping[str, str]) -> str:
    ordered = sorted(rows, key=lambda row: -1 if row["value"] is None else -row["value"])
    return table(
        [what, "preferred", "n", "images", "Wilson", "other images and judges", "p", "p_holm"],
        (
            [
                literal(names.get(row[what], row[what])),
                percent(row),
                str(row["n"]),
                str(row["num_images"]),
                bounds(row),
                bounds(row["clustered"]),
                _p(row["p"]),
                _p(row["p_holm"]),
            ]
            for row in ordered
        ),
    )


def _side(found: Mapping[str, Any]) -> str:
    side = found["side"]
    return f"Left was chosen in {percent(side['left'])} {bounds(side['left'])} of answers (p {_p(side['p'])})."


def _agree(found: Mapping[str, Any]) -> str:
    own = found["agreement"]
    if not own["num_pairs"]:
        return "No pair was answered by two judges, so their agreement is not known."
    return (
        f"On {own['num_pairs']:,} pairs with several judges, two judges chose the same in {own['same_choice']:.1%} "
        f"(alpha {number(own['alpha'])})."
    )


def _time(found: Mapping[str, Any]) -> str:
    own = found["seconds"]
    if not own["n"]:
        return "Durations were not measured."
    return (
        f"Median {own['median']:.1f} s an answer (quarters {own['first_quarter']:.1f} to {own['last_quarter']:.1f}); "
        f"{own['num_hasty']:,} under 1 s."
    )


def _level(found: Mapping[str, Any]) -> str:
    return f"{found['options']['level']:.0%}"


def _is_sure(row: Mapping[str, Any], key: str) -> bool:
    return row[key] is not None and row[key] < _SURE


def _p(value: float | None) -> str:
    return "-" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"
