"""transfer.md and the console's table of a transfer to real faces; nothing is measured here."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from emonet_lightning.io import atomic_write
from emonet_lightning.reporting.agreement_reading import RESPONSIBLE_USE
from emonet_lightning.reporting.agreement_values import NOT_SEPARATED, verdict
from emonet_lightning.reporting.framing_report import FRAMING_NAMES, framing_line, framing_sections
from emonet_lightning.reporting.markdown import estimate, interval, literal, number, table
from emonet_lightning.reporting.transfer_report import REPORT_FILE, p_value

NAMES = {
    "any_hit": "zero-shot, any-hit (lenient)",
    "argmax": "zero-shot, argmax",
    "class_sum": "zero-shot, class-summed",
    "z_scored": "calibrated, z-scored heads",
    "scaled": "calibrated, scaled classes",
    "score_probe": "probe on the scores",
    "feature_probe": "probe on the features",
    "most_frequent": "most frequent class",
}
"""Way -> its name in tables and figures."""
SHOWN = ("argmax", "z_scored", "feature_probe")
"""Ways whose recall and confusions are shown."""


def write_report(folder: Path, content: Mapping[str, Any]) -> Path:
    """Write `transfer.md` and `figures/` into a folder; returns the path of `transfer.md`.

    Args:
        folder: of the report.
        content: what transfer.json holds (schema `emonet_lightning image transfer 1`).

    Raises:
        OutputError: the folder cannot be written.
    """
    from emonet_lightning.reporting import image_transfer_figures  # here, so that the module loads without matplotlib

    image_transfer_figures.draw(Path(folder) / "figures", content)
    path = Path(folder) / REPORT_FILE
    atomic_write(path, "\n\n".join(sections(content)) + "\n")
    return path


def sections(content: Mapping[str, Any]) -> Iterable[str]:
    """Yield the parts of `transfer.md`."""
    yield f"# Transfer to real faces: {literal(content['set']['name'])}"
    yield RESPONSIBLE_USE
    yield _setting(content)
    yield "## Distance of the heads to what their features allow"
    yield headline(content)
    yield _reading(content)
    yield "## Is it the face?"
    yield from framing_sections(content)
    yield "## Accuracy"
    yield _accuracy(content)
    yield "![Accuracy of each way, beside shuffled labels](figures/accuracy.png)"
    yield "## Classes"
    yield _classes(content)
    yield "![Recall of each class](figures/recall.png)"
    yield "![Confusion matrices, zero-shot and probe](figures/confusion.png)"
    yield "## Groups"
    yield from _groups(content)
    yield "## Rules"
    yield _rules(content)
    if content["images"]["notes"]:
        yield "## Notes"
        yield "\n".join(f"- {literal(note)}" for note in content["images"]["notes"])


def headline(content: Mapping[str, Any]) -> str:
    """Return the distance of zero-shot to the probe in a sentence."""
    found = content["headline"]
    distance = found["distance"]
    told = verdict({**distance, "difference": distance["value"]})
    low = "not separated from the probe" if told == NOT_SEPARATED else f"the probe is {told_side(distance)}"
    return (
        f"**Zero-shot argmax {estimate(found['zero_shot'])}, linear probe on the same features "
        f"{estimate(found['probe'])}: distance {estimate(distance, sign=True)}** ({low}; "
        f"{content['bootstrap']['level']:.0%} intervals over {_units(content)})."
    )


def told_side(distance: Mapping[str, Any]) -> str:
    """Return on which side of zero-shot the probe stands."""
    return "above" if distance["value"] < 0 else "below"


def _units(content: Mapping[str, Any]) -> str:
    drawn = content["bootstrap"]
    return f"{drawn['num_units']} {drawn['unit']}s"


def _reading(content: Mapping[str, Any]) -> str:
    by_chance = content["headline"]["zero_shot"]["chance"]
    above = by_chance["p"] < 0.05
    return (
        "The heads have not seen this set; the probe has, on other persons. What the probe finds and the heads do not "
        "is in the features, and lost between the heads' training faces, their 40 emotions and this set's classes; "
        "what the probe does not find either is not to be had from these features by a linear head. With classes "
        f"shuffled over the images zero-shot argmax reaches {number(by_chance['value'])} {interval(by_chance)}: here "
        f"it is {'above' if above else '**not above**'} chance (p {p_value(by_chance['p'])})."
    )


def _setting(content: Mapping[str, Any]) -> str:
    images, mapped, heads = content["images"], content["map"], content["heads"]
    per_class = ", ".join(f"{literal(name)} {count}" for name, count in images["per_class"].items())
    persons = f" of {images['num_persons']} persons" if images["num_persons"] is not None else ""
    who = "" if persons else " Nothing says who is shown: images are taken as of different persons."
    source = f" Set: {literal(content['set']['source'])}." if content["set"]["source"] else ""
    return (
        f"{images['num_images']} images{persons}, {len(mapped['classes'])} classes ({per_class}).{who} Heads: "
        f"{literal(heads['heads'])}, encoder {literal(str(heads['encoder']['name']))} ({heads['features']['dim']} "
        f"features); {mapped['num_heads']} heads of {literal(content['taxonomy']['name'])} are mapped to these classes "
        f"by '{literal(mapped['name'])}', the others take no part in zero-shot (any-hit "
        f"cutoff {mapped['cutoff']:.4g}). {content['folds']['num_folds']} folds "
        f"of {content['folds']['unit']}s. {_pictures(content)}{source}"
    )


def _pictures(content: Mapping[str, Any]) -> str:
    faces = content["faces"]
    if not faces["cut"]:
        return "The whole images go into the encoder as they are, no face is cut out."
    without = ""
    if faces["num_without"]:
        fate = "left out" if faces["no_face"] == "skip" else "encoded whole"
        without = f"; {faces['num_without']} images show no face and are {fate}"
    return (
        f"The largest face of each image is cut out, with a margin of {faces['crop']['margin']:g} of its box, and "
        f"encoded (crops {faces['fingerprint'][:12]}){without}."
    )


def _accuracy(content: Mapping[str, Any]) -> str:
    level = f"{content['bootstrap']['level']:.0%}"
    to_probe = {
        found["way"]: found
        for found in content["differences"]
        if found["minus"] == "feature_probe" and found["metric"] == "accuracy"
    }
    rows = []
    for way, name in NAMES.items():
        found = content["results"][way]
        by_chance = found["accuracy"]["chance"]
        bold = "**" if way in ("argmax", "feature_probe") else ""
        lenient = way == "any_hit"
        rows.append(
            [
                f"{bold}{name}{bold}",
                found["learns_from"],
                f"{bold}{number(found['accuracy']['value'])}{bold} {interval(found['accuracy'])}",
                f"{number(by_chance['value'])} {interval(by_chance)}",
                p_value(by_chance["p"]),
                estimate(found["macro_recall"]),
                estimate(found["macro_f1"]),
                "-" if way not in to_probe or lenient else estimate(to_probe[way], sign=True),
            ]
        )
    header = ("way", "learns from", f"accuracy [{level}]", f"shuffled labels [{level} of them]", "p")
    return table([*header, "macro recall", "macro F1", "accuracy minus the probe's"], rows)


def _classes(content: Mapping[str, Any]) -> str:
    rows = []
    for place, name in enumerate(content["map"]["classes"]):
        found = [content["results"][way]["per_class"][place] for way in SHOWN]
        rows.append([literal(name), str(found[0]["n"]), *(estimate(recall) for recall in found)])
    level = f"{content['bootstrap']['level']:.0%}"
    header = ["class", "images", *(f"recall, {NAMES[way]} [Wilson {level}]" for way in SHOWN)]
    return table(header, rows)


def _groups(content: Mapping[str, Any]) -> Iterable[str]:
    groups = content["groups"]
    if not groups["by"]:
        yield "The set says nothing of age, gender or other groups, or no group of it can be compared."
        return
    yield (
        f"Accuracy within each level, as the set labels it; below {groups['fewest']} images no figure is given. "
        "Intervals are not corrected for the number of levels."
    )
    rows = []
    for name, levels in groups["by"].items():
        for found in levels:
            persons = "-" if found["num_persons"] is None else str(found["num_persons"])
            cells = ["too few"] * len(SHOWN)
            if found["ways"]:
                cells = [estimate(found["ways"][way]) for way in SHOWN]
            rows.append([literal(name), literal(found["level"]), str(found["n"]), persons, *cells])
    yield table(["group", "level", "images", "persons", *(NAMES[way] for way in SHOWN)], rows)


def _rules(content: Mapping[str, Any]) -> str:
    drawn, shuffles = content["bootstrap"], content["permutations"]
    lines = [f"- {NAMES[way]}: {text}" for way, text in content["ways"].items()]
    lines += [f"- {metric.replace('_', ' ')}: {text}" for metric, text in content["metrics"].items()]
    lines += [f"- {term}: {text}" for term, text in content["definitions"].items()]
    lines += [f"- {FRAMING_NAMES.get(term, term)}: {text}" for term, text in content["framing"]["definitions"].items()]
    lines.append(
        f"- {drawn['num_draws']} bootstrap draws of {_units(content)} (seed {drawn['seed']}), "
        f"{shuffles['num_permutations']} shuffles, level {drawn['level']:.0%}"
    )
    lines.append("- every figure with its n, chance and interval, all differences and counts: transfer.json")
    return "\n".join(lines)


def console_table(content: Mapping[str, Any]) -> Table:
    """Return the accuracy of every way beside chance, for a terminal."""
    images = content["images"]
    persons = "" if images["num_persons"] is None else f", {images['num_persons']} persons"
    title = f"Transfer to {content['set']['name']}: {images['num_images']} images{persons}"
    shown = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    distance = estimate(content["headline"]["distance"], sign=True)
    told = f"zero-shot argmax minus probe on the features: {distance}\n{framing_line(content)}"
    shown.caption, shown.caption_justify = Text(told), "left"
    shown.add_column("way")
    shown.add_column(f"accuracy [{content['bootstrap']['level']:.0%}]", justify="right", no_wrap=True)
    for column in ("shuffled labels", "macro recall"):
        shown.add_column(column, justify="right", width=8)
    for way, name in NAMES.items():
        found = content["results"][way]
        shown.add_row(
            name,
            Text(estimate(found["accuracy"])),
            number(found["accuracy"]["chance"]["value"]),
            number(found["macro_recall"]["value"]),
            style="bold" if way in ("argmax", "feature_probe") else "dim" if way == "most_frequent" else "",
        )
    return shown
