"""generators.md and the console's lines, from what generators.json holds; nothing is measured here."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from emonet_lightning.io import atomic_write
from emonet_lightning.reporting.agreement_reading import RESPONSIBLE_USE
from emonet_lightning.reporting.markdown import estimate, few_drawn, interval, literal, number, table

REPORT_FILE = "generators.md"
_SURE = 0.05


def write_generators_report(folder: Path, content: Mapping[str, Any]) -> Path:
    """Write `generators.md` and `figures/` into a folder; returns the path of the former.

    Raises:
        OutputError: the folder cannot be written.
    """
    from emonet_lightning.reporting import generators_figures  # here, so that the module loads without matplotlib

    drawn = generators_figures.draw(Path(folder) / "figures", content)
    path = Path(folder) / REPORT_FILE
    atomic_write(path, "\n\n".join(sections(content, drawn)) + "\n")
    return path


def sections(content: Mapping[str, Any], drawn: Sequence[str]) -> Iterable[str]:
    """Yield the parts of `generators.md`; `drawn` are the names of the figures."""
    heads, options, images = content["heads"], content["options"], content["images"]
    yield "# Generators"
    yield RESPONSIBLE_USE
    left_out = f"; {images['num_left_out']} of no known generator left out" if images["num_left_out"] else ""
    people = f" of {images['num_groups']} persons or prompts" if images["num_groups"] else ""
    yield (
        f"Heads of {literal(heads['folder'])} (encoder {literal(str(heads['encoder']))}) on {images['num_images']} "
        f"pictures{people} of {literal(images['name'])}{left_out}. Generators by {literal(images['source'])}: "
        + ", ".join(f"{literal(entry['name'])} {entry['num_images']}" for entry in content["generators"])
        + f". Intervals: {options['level']:.0%} of {options['num_draws']} bootstrap draws, seed {options['seed']}."
        + few_drawn(images["num_groups"] or images["num_images"], "persons or prompts" if people else "pictures")
    )
    if not images["num_groups"]:
        yield (
            "Persons and prompts are not known: pictures of one may be on both sides of a split, which makes the probe "
            "look better than it is. Give --groups."
        )
    yield "## Trained on one, tested on another"
    if content["transfer"]:
        yield from _transfer(content)
    else:
        yield "Nothing is known of the pictures but their generator, so no read-out can be tested."
    yield "## Can the generator be read from the features?"
    yield from _probe(content)
    yield "## How much of each head's score tells the generator"
    yield from _reliance(content)
    yield "## Definitions"
    yield "\n".join(f"- {term}: {text}" for term, text in content["definitions"].items())
    yield f"Every figure of every emotion: generators.json. Figures: {', '.join(drawn)} (PNG and PDF)."


def _transfer(content: Mapping[str, Any]) -> Iterable[str]:
    found, names = content["transfer"], [literal(entry["name"]) for entry in content["generators"]]
    yield (
        f"Agreement of a ridge read-out of the frozen features with {content['images']['truth']}; "
        f"{found['num_training']} training pictures in every cell. Bold: within one generator, other persons or "
        "prompts."
    )
    rows = [
        [f"trained on {name}", *(f"**{estimate(cell)}**" if a == b else estimate(cell) for b, cell in enumerate(row))]
        for a, (name, row) in enumerate(zip(names, found["matrix"], strict=True))
    ]
    rows.append(["trained on all others", *map(estimate, found["others"])])
    rows.append(["drop: within minus all others", *(estimate(drop, "difference", sign=True) for drop in found["drop"])])
    if found["heads"]:
        rows.append(["trained heads, for comparison", *map(estimate, found["heads"])])
    yield table(["", *(f"tested on {name}" for name in names)], rows)
    yield "![Agreement by generator, and what leaving one out costs](figures/transfer.png)"


def _probe(content: Mapping[str, Any]) -> Iterable[str]:
    accuracy = content["probe"]["accuracy"]
    by_chance = accuracy["chance"]
    recalls = ", ".join(
        f"{literal(entry['name'])} {estimate(recall)}"
        for entry, recall in zip(content["generators"], content["probe"]["recall"], strict=True)
    )
    yield (
        f"A logistic regression names the generator of {estimate(accuracy)} of the pictures it was not trained on "
        f"(mean over generators; shuffled generators {number(by_chance['value'])} {interval(by_chance)}, p "
        f"{by_chance['p']:.4f}). By generator: {recalls}."
    )
    yield "Features may tell a generator by what it was asked to show as well as by how it draws."
    yield "![Probe](figures/probe.png)"


def _reliance(content: Mapping[str, Any]) -> Iterable[str]:
    entries = content["reliance"]
    sure = [entry for entry in entries if entry["p_holm"] is not None and entry["p_holm"] <= _SURE]
    known = content["images"]["truth"] is not None
    yield headline(content)
    if not known:
        yield (
            "No labels are known, so nothing was taken out of the scores: generators that show other expressions, ages "
            "or poses differ here without any artefact."
        )
    rows = [
        [
            literal(entry["name"]),
            number(entry["generator"]),
            number(entry["beyond_labels"]),
            number(entry["chance"]),
            number(entry["excess"]),
            f"{entry['p_holm']:.3f}",
            f"{number(entry['probe'])} ({number(entry['probe_chance'])})",
            f"{entry['gap']:.2f}: {literal(entry['high'])} above {literal(entry['low'])}",
        ]
        for entry in entries
    ]
    header = ["head (most reliant first)", "generator", "beyond labels", "chance", "excess", "p (Holm)"]
    yield table([*header, "along the probe (random directions)", "gap in SD"], rows)
    yield f"{len(sure)} of {len(entries)} heads: p of at most {_SURE} after Holm's correction."
    yield "![Share of each head's score that the generators explain](figures/reliance.png)"


def headline(content: Mapping[str, Any]) -> str:
    """Return the result on artefacts in a sentence."""
    entries = content["reliance"]
    sure = [entry for entry in entries if entry["p_holm"] is not None and entry["p_holm"] <= _SURE]
    if not sure:
        return f"No head of {len(entries)} is told from shuffled generators."
    named = ", ".join(f"{literal(entry['name'])} {entry['excess']:.3f}" for entry in sure[:5])
    beyond = "beyond the labels" if content["images"]["truth"] is not None else "with nothing known of the pictures"
    return (
        f"The scores of {len(sure)} of {len(entries)} heads depend on the generator {beyond}; the most reliant, by "
        f"share of variance above chance: {named}."
    )


def print_generators(folder: Path, content: Mapping[str, Any]) -> None:
    """Print the main figures and where the report lies."""
    console = Console(soft_wrap=True)
    accuracy = content["probe"]["accuracy"]
    lines = [
        f"probe names {estimate(accuracy)} of the generators (shuffled {number(accuracy['chance']['value'])})",
        headline(content),
        f"report: {folder / REPORT_FILE}",
    ]
    if content["transfer"]:
        found = content["transfer"]
        for entry, drop, others in zip(content["generators"], found["drop"], found["others"], strict=True):
            lines.insert(
                -2,
                f"{entry['name']}: left out {estimate(others)}, which is {estimate(drop, 'difference')} below training "
                "on it",
            )
    for line in lines:
        console.print(line, highlight=False, markup=False)
