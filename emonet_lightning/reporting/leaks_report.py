"""leaks.md and the console's table, from what leaks.json holds; nothing is compared here."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from emonet_lightning.io import atomic_write
from emonet_lightning.leakage.calibration import half_way
from emonet_lightning.leakage.image_sets import ImageSet
from emonet_lightning.reporting.agreement_reading import RESPONSIBLE_USE
from emonet_lightning.reporting.markdown import literal, number, table

REPORT_FILE = "leaks.md"
MAX_ROWS = 50
"""Pairs that the table lists; leaks.csv has all."""


def write_report(folder: Path, content: Mapping[str, Any], sets: Sequence[ImageSet]) -> Path:
    """Write `leaks.md` and `figures/` into a folder; the images of the sheet are read again from the sets.

    Raises:
        OutputError: the folder cannot be written.
    """
    from emonet_lightning.reporting import leaks_figures  # here, so that the module loads without matplotlib

    figures = leaks_figures.draw(Path(folder) / "figures", content, sets)
    path = Path(folder) / REPORT_FILE
    atomic_write(path, "\n\n".join(sections(content, figures)) + "\n")
    return path


def sections(content: Mapping[str, Any], figures: Sequence[str]) -> Iterable[str]:
    """Yield the parts of `leaks.md`."""
    names = " and ".join(literal(each["name"]) for each in content["sets"])
    yield f"# Leaks: {names if len(content['sets']) > 1 else f'between the splits of {names}'}"
    yield RESPONSIBLE_USE
    yield f"**{verdict(content)}**"
    yield f"Rule: {content['rule']}."
    header = ("set", "images", "for testing", "splits")
    yield table(header, ([*map(literal, row)] for row in _set_rows(content)))
    yield "## Copies"
    rows = [[kind, content["definitions"][f"kind '{kind}'"], *map(str, found)] for kind, found in _counts(content)]
    yield table(("kind", "what it is", "pairs", "across a test boundary"), rows)
    if "pairs" in figures:
        yield "![Pairs of copies, and the pairs nearest to the threshold](figures/pairs.png)"
    if content["pairs"]:
        yield _pair_table(content)
    yield "## Where the threshold comes from"
    yield from _threshold(content)
    yield "![Scores of images of other groups, of candidates, and the threshold](figures/scores.png)"
    yield "## Persons and prompts"
    yield from _names(content)
    yield "## Definitions"
    yield "\n".join(f"- {literal(term)}: {text}" for term, text in content["definitions"].items())


def verdict(content: Mapping[str, Any]) -> str:
    """Return the outcome in a sentence."""
    leaks, pairs = content["leaks"], len(content["pairs"])
    if leaks["num_pairs"]:
        of = " and ".join(
            f"{count} images of {literal(each['name'])}"
            for count, each in zip(leaks["num_images"], content["sets"], strict=True)
        )
        return f"Leak: {leaks['num_pairs']} pairs of copies across a test boundary ({of}).{_doubtful(content)}"
    other = f" {pairs} pairs do not cross one." if pairs else ""
    return f"No copy across a test boundary among {content['num_compared']:,} pairs.{other}"


def _doubtful(content: Mapping[str, Any]) -> str:
    """Say how many copies score nearer to the threshold than to a perfect copy: images merely alike get there, too."""
    middle = half_way(content["calibration"]["threshold"])
    count = sum(pair["across_test_boundary"] and pair["score"] < middle for pair in content["pairs"])
    return f" {count} of them only just: look at these, they may be two pictures that are alike." if count else ""


def _set_rows(content: Mapping[str, Any]) -> Iterable[list[str]]:
    for each in content["sets"]:
        splits = ", ".join(f"{name} {count}" for name, count in each["splits"].items())
        test = "not known" if each["num_test"] is None else str(each["num_test"])
        yield [each["name"], str(each["num_images"]), test, splits]


def _counts(content: Mapping[str, Any]) -> Iterable[tuple[str, tuple[int, int]]]:
    for kind, found in content["counts"].items():
        yield kind, (found["pairs"], found["across"])


def _pair_table(content: Mapping[str, Any]) -> str:
    rows = [
        [
            f"{literal(pair['first']['key'])} ({literal(pair['first']['split'])})",
            f"{literal(pair['second']['key'])} ({literal(pair['second']['split'])})",
            pair["kind"],
            number(pair["score"]),
            str(pair["hash_distance"]),
            number(pair["feature_similarity"]),
            "yes" if pair["across_test_boundary"] else "no",
        ]
        for pair in content["pairs"][:MAX_ROWS]
    ]
    if (more := len(content["pairs"]) - MAX_ROWS) > 0:
        rows.append([f"{more} more in leaks.csv", *[""] * 6])
    header = ("first", "second", "kind", "score", "hash distance", "feature similarity", "across a test boundary")
    return table(header, rows)


def _threshold(content: Mapping[str, Any]) -> Iterable[str]:
    found = content["calibration"]
    if found["is_calibrated"]:
        yield (
            f"Copies score at least {number(found['threshold'])}. It is calibrated on images that are no copies: of "
            f"each of the images below, the best score with the most alike images of *other* groups in its own set. "
            f"Of images without a copy {found['false_alarm_rate']:.0%} exceed the quantile; the threshold lies half "
            "way from there to 1. Images above it have a copy in their own set, or are false alarms of this audit."
        )
    else:
        yield (
            f"Copies score at least {number(found['threshold'])}: a default, since the sets hold too few images, or "
            "too many copies of each, to tell how alike images are that are no copies."
        )
    rows = [
        [
            literal(each["name"]),
            str(each["num_images"]),
            number(each["median"]),
            number(each["quantile"]),
            str(each["num_above"]),
        ]
        for each in found["sets"]
    ]
    share = f"{1 - found['false_alarm_rate']:.0%} quantile"
    yield table(("set", "images", "median", share, "above the threshold"), rows)
    features = "features were not compared"
    if found["min_features"] is not None:
        features = (
            f"{content['num_alike']} pairs have nearer features than {number(found['min_features'])} (the same "
            f"quantile, of features; encoder {literal(content['encoder']['name'])}) and are no copies"
        )
    yield f"{content['num_candidates']:,} candidates were laid over each other; {features}."


def _names(content: Mapping[str, Any]) -> Iterable[str]:
    for what, word in (("groups", "groups (persons, or what `pack --group` named)"), ("prompts", "prompts")):
        found = content[what]
        if not found["known"]:
            yield f"No {what} are recorded."
            continue
        examples = f": {', '.join(literal(name) for name in found['examples'][:5])}" if found["examples"] else ""
        yield (
            f"{found['num_shared']} {word} are on both sides of a test boundary, with {found['num_images']} images"
            f"{examples}."
        )
    yield "Equal names may mean two persons in two sets; they do not decide the verdict."


def console_table(content: Mapping[str, Any]) -> Table:
    """Return counts by kind, shared names and the verdict, for a terminal."""
    title = " | ".join(f"{each['name']}: {each['num_images']} images" for each in content["sets"])
    shown = Table("copies", "pairs", "across a test boundary", title=title, title_justify="left")
    for kind, (pairs, across) in _counts(content):
        shown.add_row(kind, str(pairs), str(across))
    for what in ("groups", "prompts"):
        shown.add_row(f"shared {what}", "", str(content[what]["num_shared"]) if content[what]["known"] else "-")
    shown.caption, shown.caption_justify = verdict(content), "left"
    return shown
