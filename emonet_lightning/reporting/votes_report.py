"""votes.md of `evaluate votes`, its figures and its lines on the console; every number is from `votes.json`."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emonet_lightning.io import atomic_write
from emonet_lightning.reporting.agreement_reading import RESPONSIBLE_USE
from emonet_lightning.reporting.markdown import literal, table
from emonet_lightning.reporting.votes_shares import FIRST_NO, bounds, percent, yes_on_contrast, yes_on_target

REPORT_FILE = "votes.md"
_CAPTIONS = {
    "votes_outcomes": "Outcomes per emotion",
    "votes_agreement": "Agreement per emotion",
    "votes_pairs": "Contrast pairs",
}
_DECISIONS = {
    "only_question": "it was the only question of its image",
    "prompted": "the file says what the image was made for",
    "asked_more_than_once": "it was asked more than once: only targets are followed up",
    "raters": "its rater saw only targets, or that of the other question only contrasts, on images decided above",
    "yes_is_contrast": "of two questions asked once, one yes and one no, the yes is the contrast: a target's yes "
    "would have been followed up",
    "file_order": "**ambiguous**: nothing above tells; the question that is first in the file is taken as the target",
    "first_emotion": "**ambiguous**: nothing above tells; the first emotion in the taxonomy's order is taken",
}


def write_votes_report(found: Mapping[str, Any], folder: Path) -> Path:
    """Write `votes.md` and its figures (PNG and PDF in `figures/`).

    Args:
        found: what `evaluation.votes.describe_votes` returned.
        folder: where to.

    Returns:
        Path of `votes.md`.

    Raises:
        OutputError: the folder cannot be written.
    """
    from emonet_lightning.reporting.drawing import save
    from emonet_lightning.reporting.votes_figures import votes_figures

    figures = votes_figures(found)
    for name, figure in figures.items():
        save(figure, folder / "figures", name)
    path = folder / REPORT_FILE
    atomic_write(path, "\n\n".join(_sections(found, list(figures))) + "\n")
    return path


def print_votes(found: Mapping[str, Any], folder: Path) -> None:
    """Print the totals and where the report lies."""
    from rich.console import Console
    from rich.table import Table

    shown = Table("", "count", "of", "share", "95% interval", title=f"{found['votes']['name']}", title_justify="left")
    for words, share in _total_rows(found):
        shown.add_row(words, f"{share['count']:,}", f"{share['n']:,}", percent(share), bounds(share))
    console = Console(soft_wrap=True)
    console.print(shown)
    for rule, given in found["total"]["targets"].items():
        console.print(f"{rule}: {_target_words(given)}")
    if found["ambiguous"] and found["ambiguous"]["num_images"]:
        console.print(_ambiguity(found["ambiguous"]))
    console.print(f"written: {folder / 'votes.json'}, {folder / REPORT_FILE}, {folder / 'figures'}")


def _sections(found: Mapping[str, Any], figures: Sequence[str]) -> Iterable[str]:
    votes, structure, rules = found["votes"], found["structure"], found["rules"]
    yield f"# Votes of {literal(votes['name'])}"
    yield (
        f"{votes['num_votes']:,} votes ({votes['num_yes']:,} yes, {votes['num_no']:,} no) of {votes['num_raters']} "
        f"raters on {votes['num_questions']:,} questions about {votes['num_images']:,} images; "
        f"{votes['num_emotions']} emotions of taxonomy {found['taxonomy']['name']}. "
        f"sha256 `{votes['sha256'][:16]}`."
    )
    yield RESPONSIBLE_USE
    yield from ("\n".join(f"- {literal(note)}" for note in votes["notes"]),) if votes["notes"] else ()
    yield _structure(structure)
    yield _limits(found)
    yield "## Totals"
    rows = [
        (words, f"{share['count']:,}", f"{share['n']:,}", f"{percent(share)} {bounds(share)}")
        for words, share in _total_rows(found)
    ]
    yield table(("", "count", "of", "share [95% interval]"), rows)
    outcome_rule = "outcomes" if structure["holds"] else "outcomes_general"
    yield _list([rules[outcome_rule], "agreement: " + rules["agreement"], "intervals: " + rules["share_interval"]])
    yield "## Outcomes per emotion"
    yield from _picture("votes_outcomes", figures)
    yield _outcome_table(found)
    yield "## Agreement per emotion"
    if structure["holds"]:
        yield f"{FIRST_NO.capitalize()}."
    yield from _picture("votes_agreement", figures)
    yield _agreement_table(found)
    if found["contrast_pairs"]:
        yield from _pairs(found, figures)
    if found["ambiguous"]:
        yield from _ambiguous(found)
    yield from _targets(found)
    yield "## Votes per rater"
    yield _rater_table(found)


def _structure(structure: Mapping[str, Any]) -> str:
    if structure["holds"]:
        return (
            "Every image was asked two questions: its target, sent on to another rater until the first no or the third "
            "yes, and one contrast, asked once."
        )
    asked = ", ".join(f"{number} ({count:,} images)" for number, count in structure["questions_per_image"].items())
    examples = "; ".join(f"{literal(item['image'])}: {item['why']}" for item in structure["exceptions"][:3])
    return (
        f"Not voted on as the released set (two questions per image, a target followed up to three yes and a contrast "
        f"asked once): {structure['num_exceptions']:,} of {structure['num_images']:,} images differ"
        + (f" ({examples})" if examples else "")
        + f". Questions per image: {asked}. So outcomes are given in general words, without contrasts."
    )


def _limits(found: Mapping[str, Any]) -> str:
    """What the votes cannot tell, as far as it is so for this file."""
    votes = found["votes"]
    lines = [f"votes cluster in {votes['num_raters']} raters; the intervals ignore it, so they are too narrow"]
    if votes["num_votes"] < votes["num_raters"] * votes["num_questions"]:
        lines.insert(0, "raters saw different images, so their shares of yes cannot be compared")
    if found["structure"]["holds"]:
        lines.insert(0, "raters knew the prompted emotion as the question (a leading question)")
    return _list(lines)


def _total_rows(found: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    total = found["total"]
    return [
        *((found["outcomes"][key], share) for key, share in total["outcomes"].items()),
        *((f"{key} agreement" if key != "disagreement" else key, share) for key, share in total["agreement"].items()),
    ]


def _outcome_table(found: Mapping[str, Any]) -> str:
    holds = found["structure"]["holds"]
    header = ["emotion", "votes", *(["target images", "contrast images"] if holds else ["questions"])]
    sizes = ["num_votes", *(["num_targets", "num_contrasts"] if holds else ["num_questions"])]
    rows = [
        [name, *(str(row[size]) for size in sizes), *(str(share["count"]) for share in row["outcomes"].values())]
        for name, row in _by_name(found)
    ]
    return table([*header, *found["outcomes"].values()], rows)


def _agreement_table(found: Mapping[str, Any]) -> str:
    rows = [
        [name, str(row["agreement"]["full"]["n"])]
        + [f"{share['count']} ({percent(share)} {bounds(share)})" for share in row["agreement"].values()]
        for name, row in _by_name(found)
    ]
    return table(["emotion", "questions", *found["total"]["agreement"]], rows)


def _pairs(found: Mapping[str, Any], figures: Sequence[str]) -> Iterable[str]:
    pairs = found["contrast_pairs"]
    names = {row["slug"]: literal(row["name"]) for row in found["emotions"]}
    yield "## Contrast pairs"
    verdict = "1:1 and without exception" if pairs["holds"] else "**not** a fixed 1:1 pairing"
    yield (
        f"{pairs['num_pairs']} pairs, recovered from which emotions were asked of the same image: {verdict}"
        + (f"; {pairs['num_exceptions']:,} images have another pair" if pairs["num_exceptions"] else "")
        + (f"; without partner: {', '.join(names[slug] for slug in pairs['unpaired'])}" if pairs["unpaired"] else "")
        + "."
    )
    if pairs["exceptions"]:
        yield _list(
            f"{literal(e['image'])}: {' and '.join(names[s] for s in e['emotions'])}" for e in pairs["exceptions"]
        )
    yield from _picture("votes_pairs", figures)
    yield "Share of images with a yes on the first vote, where the emotion is the target and where it is the contrast:"
    of, rows = {row["slug"]: row for row in found["emotions"]}, []
    for pair in pairs["pairs"]:
        yes = (cell for slug in pair["emotions"] for cell in (yes_on_target(of[slug]), yes_on_contrast(of[slug])))
        sizes = (str(number) for number in (pair["num_images"], *pair["num_targets"]))
        rows.append([*(names[slug] for slug in pair["emotions"]), *sizes, *(f"{percent(s)} {bounds(s)}" for s in yes)])
    header = ["emotion", "its contrast", "images", "made for the first", "made for the second"]
    header += [f"{place} as {role} [95%]" for place in ("first", "second") for role in ("target", "contrast")]
    yield table(header, rows)


def _ambiguous(found: Mapping[str, Any]) -> Iterable[str]:
    ambiguous = found["ambiguous"]
    yield "## Target or contrast"
    yield "Which of an image's two questions was its target is not in the file. It was told, in this order:"
    rows = [(_DECISIONS[key], f"{count:,}") for key, count in ambiguous["decided"].items()]
    yield table(("the target is known, since", "images"), rows)
    if ambiguous["num_images"]:
        yield _ambiguity(ambiguous)
        names = {row["slug"]: literal(row["name"]) for row in found["emotions"]}
        told = ambiguous["per_emotion"].items()
        split = [(names[slug], str(count["as_target"]), str(count["as_contrast"])) for slug, count in told]
        yield table(("emotion", "ambiguous, taken as target", "taken as contrast"), split)


def _ambiguity(ambiguous: Mapping[str, Any]) -> str:
    evidence = ambiguous["evidence"]
    return (
        f"{ambiguous['num_images']:,} images are ambiguous (nothing in their votes tells target from contrast): the "
        f"question first in the file was taken as the target. Of {evidence['num_images']:,} images decided otherwise "
        f"in which one rater answered both questions, the target stands first in {evidence['num_target_first']:,}. "
        "Totals do not depend on it, the split of an emotion into targets and contrasts does."
    )


def _targets(found: Mapping[str, Any]) -> Iterable[str]:
    rules, options = found["rules"], found["options"]
    yield "## Targets of each consensus rule"
    yield (
        f"A yes is {options['yes_value']:g}, a no {options['no_value']:g} (options; the paper's values are "
        "unpublished)." + (" Targets and contrasts count alike." if found["structure"]["holds"] else "")
    )
    given = found["total"]["targets"]
    yield _list([*(f"`{rule}`: {rules[rule]}" for rule in given), f"intervals: {rules['mean_target']}"])
    header = ("rule", "mean target [95% interval]", "yes of labelled [95%]", "yes", "no", "between", "masked")
    yield table(
        header,
        [
            (
                f"`{rule}`",
                _mean(part["mean_target"]),
                f"{percent(part['yes_share'])} {bounds(part['yes_share'])}",
                *(f"{part[k]:,}" for k in header[3:]),
            )
            for rule, part in given.items()
        ],
    )
    yield "Per emotion: yes / no / between / masked, then the mean target."
    per_emotion = []
    for name, row in _by_name(found):
        cells = [name]
        for part in row["targets"].values():
            counts = " / ".join(str(part[key]) for key in ("yes", "no", "between", "masked"))
            cells += [counts, _mean(part["mean_target"])]
        per_emotion.append(cells)
    yield table(["emotion", *(cell for rule in given for cell in (f"`{rule}`", "mean"))], per_emotion)


def _rater_table(found: Mapping[str, Any]) -> str:
    holds = found["structure"]["holds"]
    rows = []
    for rater in found["raters"]:
        kinds = ["yes", *(["on_targets", "on_contrasts"] if holds else [])]
        shares = [
            f"{percent(rater[kind])} {bounds(rater[kind])} of {rater[kind]['n']:,}" if rater[kind]["n"] else "-"
            for kind in kinds
        ]
        rows.append([literal(rater["name"]), f"{rater['num_votes']:,}", *shares])
    header = ["rater", "votes", "yes [95%]", *(["yes on targets [95%]", "yes on contrasts [95%]"] if holds else [])]
    return table(header, rows)


def _by_name(found: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    return ((literal(row["name"]), row) for row in found["emotions"])


def _picture(name: str, figures: Sequence[str]) -> Iterable[str]:
    return [f"![{_CAPTIONS[name]}](figures/{name}.png)"] if name in figures else []


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _target_words(given: Mapping[str, Any]) -> str:
    parts = ", ".join(f"{given[key]:,} {key}" for key in ("yes", "no", "between", "masked") if given[key])
    return f"{parts}; mean target {_mean(given['mean_target'])}"


def _mean(found: Mapping[str, Any]) -> str:
    if found["value"] is None:
        return "-"
    varies = found["low"] < found["high"]
    return f"{found['value']:.2f}" + (f" [{found['low']:.2f}, {found['high']:.2f}]" if varies else "")
