"""transfer.md and the console's table, from what transfer.json holds; nothing is measured here."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from emonet_lightning.io import atomic_write
from emonet_lightning.reporting.agreement_reading import RESPONSIBLE_USE
from emonet_lightning.reporting.agreement_values import verdict
from emonet_lightning.reporting.markdown import estimate, interval, literal, number, table

REPORT_FILE = "transfer.md"
NAMES = {"any_hit": "any-hit", "argmax": "argmax", "class_sum": "class-summed"}
_METRICS = {"accuracy": "accuracy", "macro_recall": "macro recall", "macro_f1": "macro F1"}

_CONVINCING = 0.05


def write_report(folder: Path, content: Mapping[str, Any]) -> Path:
    """Write `transfer.md` and `figures/` into a folder.

    Args:
        folder: of the report.
        content: what transfer.json holds (schema `emonet_lightning transfer 1`).

    Returns:
        Path of `transfer.md`.

    Raises:
        OutputError: the folder cannot be written.
    """
    from emonet_lightning.reporting import transfer_figures  # here, so that the module loads without matplotlib

    figures = transfer_figures.draw(Path(folder) / "figures", content)
    path = Path(folder) / REPORT_FILE
    atomic_write(path, "\n\n".join(sections(content, figures)) + "\n")
    return path


def sections(content: Mapping[str, Any], figures: Mapping[str, Any]) -> Iterable[str]:
    """Yield the parts of `transfer.md`; `figures` names the files as `transfer_figures.draw` returns them."""
    classes, systems = content["map"]["classes"], content["systems"]
    given = {name: system for name, system in systems.items() if system["kind"] == "system"}
    yield f"# Transfer to {literal(content['map']['name'])}"
    yield RESPONSIBLE_USE
    yield _setting(content)
    if content["bootstrap"]["unit"] == "image":
        yield "Images of one person are not independent; if several images show one person, give --groups."
    yield "## Accuracy"
    yield _accuracy_table(content)
    yield "![Accuracy of every system by rule, beside shuffled labels](figures/accuracy.png)"
    yield "## Why any-hit is lenient"
    yield from _leniency(content, given)
    yield "![Heads above the cutoff per image](figures/heads_on.png)"
    for name, system in given.items():
        yield f"## Classes: {literal(name)}"
        yield _class_table(classes, system, content["bootstrap"]["level"])
        yield _not_above_chance(classes, system)
        yield f"![Confusion matrices and recall per class](figures/{figures['confusion'][name]}.png)"
    yield "## Differences between systems"
    yield _difference_table(content)
    yield _difference_note(content)
    yield "## Rules"
    yield _rules(content)
    notes = [*content["images"]["notes"], *(line for name, system in given.items() for line in _checks(name, system))]
    if notes:
        yield "## Notes"
        yield "\n".join(f"- {literal(note)}" for note in notes)


def _setting(content: Mapping[str, Any]) -> str:
    mapped, images = content["map"], content["images"]
    per_class = ", ".join(f"{literal(name)} {count}" for name, count in images["per_class"].items())
    left_out = len(mapped["not_mapped"])
    return (
        f"{images['num_images']} images of {len(mapped['classes'])} classes ({per_class}); true class from the "
        f"{literal(images['labels'])}. {mapped['num_heads']} heads of {literal(content['taxonomy']['name'])} are "
        "mapped to classes"
        + (f", {left_out} take no part" if left_out else "")
        + f"; a head is on where its softmax is above "
        f"{mapped['cutoff']:.4g} ({mapped['cutoff_factor']:g} / {mapped['num_heads']})."
        + (f" Map: {literal(mapped['source'])}." if mapped["source"] else "")
    )


def _accuracy_table(content: Mapping[str, Any]) -> str:
    level = f"{content['bootstrap']['level']:.0%}"
    rows = []
    for rule, title in NAMES.items():
        for name, system in content["systems"].items():
            found = system["rules"][rule]
            by_chance = found["accuracy"]["chance"]
            bold = "**" if system["kind"] == "system" else ""
            rows.append(
                [
                    title,
                    f"{bold}{literal(name)}{bold}",
                    f"{bold}{number(found['accuracy']['value'])}{bold} {interval(found['accuracy'])}",
                    f"{number(by_chance['value'])} {interval(by_chance)}",
                    p_value(by_chance["p"]) if system["kind"] == "system" else "-",
                    estimate(found["macro_recall"]),
                    estimate(found["macro_f1"]),
                ]
            )
    header = ("rule", "system", f"accuracy [{level}]", f"shuffled labels [{level} of them]", "p")
    return table([*header, f"macro recall [{level}]", f"macro F1 [{level}]"], rows)


def p_value(value: float) -> str:
    """Return three decimals, four for a smaller p."""
    return f"{value:.3f}" if value >= 0.0015 else f"{value:.4f}"


def _leniency(content: Mapping[str, Any], given: Mapping[str, Any]) -> Iterable[str]:
    num_classes = len(content["map"]["classes"])
    yield (
        "Any-hit asks whether *some* head of the true class is on, not whether the class is chosen: nothing is lost by "
        "turning many heads on. An image for which heads of several classes are on is right for each of these labels."
    )
    for name, system in given.items():
        found = system["rules"]["any_hit"]
        by_chance, heads = found["accuracy"]["chance"], system["heads_on"]
        yield (
            f"**{literal(name)}**: {number(heads['value'])} {interval(heads)} heads are on per image, and they name "
            f"{found['classes_named']['value']:.2f} of {num_classes} classes. With labels shuffled over the images, "
            f"any-hit is still {number(by_chance['value'])} {interval(by_chance)} (one class in {num_classes} would be "
            f"{1 / num_classes:.3f}); with the true labels it is {number(found['accuracy']['value'])}. Argmax, which "
            f"names one class, gives {estimate(system['rules']['argmax']['accuracy'])}, class-summed "
            f"{estimate(system['rules']['class_sum']['accuracy'])}."
        )
    random = content["systems"].get("random scores")
    if random:
        yield (
            f"Random scores, without a look at any image, are expected to reach "
            f"{estimate(random['rules']['any_hit']['accuracy'])} by any-hit, with "
            f"{number(random['heads_on']['value'])} heads on per image."
        )


def _class_table(classes: list[str], system: Mapping[str, Any], level: float) -> str:
    rows = []
    for place, name in enumerate(classes):
        cells = [literal(name), str(system["rules"]["any_hit"]["per_class"][place]["n"])]
        for rule in NAMES:
            found = system["rules"][rule]["per_class"][place]
            by_chance = number(found["chance"]["value"]) if found["chance"] else "-"
            cells += [estimate(found), by_chance]
        rows.append(cells)
    header = ["class", "images"]
    for title in NAMES.values():
        header += [f"{title} recall [Wilson {level:.0%}]", "chance"]
    return table(header, rows)


def _not_above_chance(classes: list[str], system: Mapping[str, Any]) -> str:
    told = []
    for rule, title in NAMES.items():
        found = zip(classes, system["rules"][rule]["per_class"], strict=True)
        below = [literal(name) for name, figure in found if figure["chance"] and figure["chance"]["p"] >= _CONVINCING]
        told.append(f"{title}: {', '.join(below) or 'none'}")
    tests = sum(figure["chance"] is not None for rule in NAMES for figure in system["rules"][rule]["per_class"])
    return (
        f"Classes not told from shuffled labels (p of at least {_CONVINCING}; {tests} tests, not corrected for their "
        f"number): {'; '.join(told)}."
    )


def _difference_table(content: Mapping[str, Any]) -> str:
    rows = [
        [
            f"{literal(found['system'])} minus {literal(found['minus'])}",
            NAMES[found["rule"]],
            estimate(found, sign=True),
            verdict({**found, "difference": found["value"]}),
        ]
        for found in content["differences"]
        if found["metric"] == "accuracy"
    ]
    return table(["systems", "rule", "difference of accuracy", "verdict"], rows)


def _difference_note(content: Mapping[str, Any]) -> str:
    draws = content["bootstrap"]
    return (
        f"Paired: the same {draws['num_draws']} draws of {draws['num_units']} {draws['unit']}s for both systems, "
        f"{draws['level']:.0%} percentile interval, seed {draws['seed']}. Not separated: the interval holds 0, which "
        "does not show that the systems are the same."
    )


def _rules(content: Mapping[str, Any]) -> str:
    draws, shuffles = content["bootstrap"], content["permutations"]
    lines = [f"- {NAMES[rule]}: {text}" for rule, text in content["rules"].items()]
    lines += [f"- {_METRICS[metric]}: {text}" for metric, text in content["metrics"].items()]
    lines += [f"- {literal(term)}: {text}" for term, text in content["definitions"].items()]
    lines.append(
        f"- {draws['num_draws']} bootstrap draws of {draws['unit']}s (seed {draws['seed']}), "
        f"{shuffles['num_permutations']} shuffles (seed {shuffles['seed']}), level {draws['level']:.0%}"
    )
    lines.append("- every figure with its n, chance and interval, and the counts of all rules: transfer.json")
    return "\n".join(lines)


def _checks(name: str, system: Mapping[str, Any]) -> Iterable[str]:
    for kind in ("mean_subtracted", "softmax"):
        found = (system.get("checked") or {}).get(kind)
        if found and found["num_values"]:
            yield (
                f"'{name}': {found['num_values']} values of {kind.replace('_', '-')} recomputed from the raw scores "
                f"and the neutral means; largest difference {found['largest_difference']:.1e}"
            )
        elif found:
            yield f"'{name}': its {kind.replace('_', '-')} was not compared (not in the file, or emotions are missing)"


def console_table(content: Mapping[str, Any]) -> Table:
    """Return accuracy, chance, macro recall and macro F1 of every system by rule, for a terminal."""
    level = f"{content['bootstrap']['level']:.0%}"
    heads = ", ".join(
        f"{name} {system['heads_on']['value']:.1f}" for name, system in content["systems"].items() if system["heads_on"]
    )
    title = f"Transfer to {content['map']['name']}: {content['images']['num_images']} images"
    shown = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    shown.caption, shown.caption_justify = Text(f"heads above the cutoff per image: {heads}"), "left"
    shown.add_column("system", overflow="fold", min_width=21)
    shown.add_column(f"accuracy [{level}]", justify="right", no_wrap=True)
    for column in ("shuffled labels", "macro recall", "macro F1"):
        shown.add_column(column, justify="right", width=8)
    for rule, rule_name in NAMES.items():
        shown.add_row(rule_name, style="bold")
        for name, system in content["systems"].items():
            found = system["rules"][rule]
            shown.add_row(
                Text(f"  {name}"),
                Text(estimate(found["accuracy"])),
                number(found["accuracy"]["chance"]["value"]),
                number(found["macro_recall"]["value"]),
                number(found["macro_f1"]["value"]),
                style="" if system["kind"] == "system" else "dim",
            )
        shown.add_section()
    return shown
