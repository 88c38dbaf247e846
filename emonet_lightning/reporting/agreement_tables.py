"""Tables of the agreement report, from the content of agreement.json."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from emonet_lightning.reporting.agreement_values import (
    HUMANS,
    OFF_SCALE,
    by_alpha,
    endings,
    human_of,
    is_off_scale,
    num_fewer,
    per_emotion,
    ranked,
    subsets,
    summary,
    title_of,
    verdict,
)
from emonet_lightning.reporting.markdown import estimate, literal, table

SMALLEST_TIE_SPREAD = 0.0005
"""A binned kappa that depends less than this on the order of images shows no other third decimal."""
OTHER_IMAGES = "‡"
_FAMILIES = {
    "Kappas": ("kappa",),
    "Correlations": ("spearman", "pearson"),
    "Errors": ("mae", "rmse"),
    "Presence": ("average_precision", "auroc"),
}


def label(found: Mapping[str, Any], name: str) -> str:
    """A system's name in a cell, with what limits it."""
    return literal(name) + endings(found, name)


def cell(found: Mapping[str, Any], name: str | None, metric: str | None, subset: str = "all") -> str:
    """A figure with its interval; how many emotions it is a mean of, where others in its column have more."""
    if is_off_scale(found, name, metric):
        return OFF_SCALE
    text, fewer = estimate(summary(found, name, metric, subset)), num_fewer(found, name, metric, subset)
    if fewer is None:
        return text
    value, space, interval = text.partition(" ")
    return f"{value} ({fewer}){space}{interval}"


def headline_markdown(found: Mapping[str, Any], metric: str) -> str:
    """One metric of humans, systems and trivial systems over the sets of emotions."""
    sizes = subsets(found)
    columns = [f"{name} {size} emotions" if size != 1 else f"{name} (1 emotion)" for name, size in sizes.items()]
    human = human_of(found, metric)
    spread = metric.startswith("oracle_") and any(_tie_spread(found, name) for name in found["systems"])
    rows = []
    for name in [None, *ranked(found)]:
        key = human if name is None else metric
        head = f"**{HUMANS}**: {literal(title_of(found, human))}" if name is None else label(found, name)
        own = [summary(found, name, key, subset) for subset in sizes]
        counted = [
            " / ".join(_count(figure.get(count)) for figure in own) for count in ("num_emotions", "num_undefined")
        ]
        values = [cell(found, name, key, subset) for subset in sizes]
        row = [head, *([f"**{value}**" for value in values] if name is None else values), *counted]
        rows.append([*row, _images(found, name), *([_tie_spread(found, name) or "-"] if spread else [])])
    header = ["", *columns, "emotions averaged", "not defined", "images scored per emotion"]
    return table([*header, *(["sd over orders of equal scores"] if spread else [])], rows)


def _count(value: int | None) -> str:
    return "-" if value is None else str(value)


def _images(found: Mapping[str, Any], name: str | None) -> str:
    if name is None:
        return str(found["ratings"]["num_images"])
    own = found["systems"][name]
    low, high = (own.get("images_per_emotion") or {}).get("min"), (own.get("images_per_emotion") or {}).get("max")
    return str(own["num_images"]) if low is None else str(low) if low == high else f"{low}-{high}"


def _tie_spread(found: Mapping[str, Any], name: str | None) -> str:
    """How far the binned kappa varies with the order of images among equal scores; nothing where that is not seen."""
    own = (found["systems"][name].get("tie_spread") or {}) if name is not None else {}
    spreads = [own.get(subset) or 0.0 for subset in subsets(found)]
    return " / ".join(f"{spread:.4f}" for spread in spreads) if max(spreads) > SMALLEST_TIE_SPREAD else ""


def differences_markdown(
    found: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], what: str, order: Sequence[str]
) -> str:
    """Paired differences of one metric: a row per system, and per set of emotions difference, interval and verdict."""
    sizes = list(subsets(found))
    header = [what] + [column for subset in sizes for column in (f"difference, {subset}", f"verdict, {subset}")]
    cells = {(entry["system"], entry["set"]): entry for entry in entries}
    rows = []
    for name in order:
        own = [cells.get((name, subset)) for subset in sizes]
        if not any(own):
            continue
        row = [f"**{HUMANS}**" if name == "humans" else label(found, name)]
        for entry in own:
            row += [_difference(entry), verdict(entry) if entry else "-"]
        rows.append(row)
    return table(header, rows)


def _difference(entry: Mapping[str, Any] | None) -> str:
    if not entry or entry.get("off_scale"):
        return "-"
    other = f" {OTHER_IMAGES}" if entry.get("same_images") is False else ""
    return estimate(entry, "difference", sign=True) + other


def emotions_markdown(found: Mapping[str, Any], metric: str, num_best: int = 3) -> str:
    """Per emotion, by alpha: the raters' alpha, the human figure, and the systems that come out highest."""
    human, alpha = human_of(found, metric), found["reliable"]["metric"]
    systems = [name for name in ranked(found) if found["systems"][name]["kind"] == "system"]
    systems = [name for name in systems if not is_off_scale(found, name, metric)]
    families = any(emotion.get("family") for emotion in found["taxonomy"]["emotions"])
    header = ["emotion", *(["family"] if families else []), title_of(found, alpha)]
    header += [f"humans: {literal(title_of(found, human))}", f"systems, highest first: {title_of(found, metric)}"]
    rows = []
    for k in by_alpha(found):
        emotion = found["taxonomy"]["emotions"][k]
        values = {name: per_emotion(found, name, metric, "value")[k] for name in systems}
        known = [(name, value) for name, value in values.items() if value is not None]
        best = sorted(known, key=lambda pair: -pair[1])[:num_best]
        row = [literal(emotion["name"]), *([literal(emotion.get("family") or "")] if families else [])]
        row += [estimate(_at(found, None, key, k)) for key in (alpha, human)]
        row.append(", ".join(f"{literal(name)} {estimate(_at(found, name, metric, k))}" for name, _ in best) or "-")
        rows.append(row)
    return table(header, rows)


def _at(found: Mapping[str, Any], name: str | None, metric: str | None, k: int) -> dict[str, float | None]:
    return {part: per_emotion(found, name, metric, part)[k] for part in ("value", "low", "high")}


def metric_families(found: Mapping[str, Any]) -> dict[str, list[str]]:
    """Keys of the metrics that systems have, in tables that fit a page."""
    keys = [key for key in found["metrics"] if any(summary(found, name, key) for name in found["systems"])]
    families: dict[str, list[str]] = {}
    for key in keys:
        family = next((name for name, words in _FAMILIES.items() if any(word in key for word in words)), "Others")
        families.setdefault(family, []).append(key)
    return families


def metrics_markdown(found: Mapping[str, Any], keys: Sequence[str]) -> str:
    """Some metrics of every system over all emotions, the human figures above."""
    rows = [[f"**{HUMANS}**", *(f"**{cell(found, None, human_of(found, key))}**" for key in keys)]]
    rows += [[label(found, name), *(cell(found, name, key) for key in keys)] for name in ranked(found)]
    arrows = ["" if found["metrics"][key].get("higher_is_better", True) else " ↓" for key in keys]
    return table(["", *(title_of(found, key) + arrow for key, arrow in zip(keys, arrows, strict=True))], rows)


def over_raters_markdown(found: Mapping[str, Any]) -> str:
    """One metric over the sets of emotions, with intervals over draws of raters."""
    drawn, sizes = found["over_raters"], list(subsets(found))
    rows = [[f"**{HUMANS}**", *(f"**{estimate((drawn['humans'] or {}).get(subset))}**" for subset in sizes)]]
    for name in ranked(found):
        if name in drawn["systems"]:
            off = is_off_scale(found, name, drawn["metric"])
            values = (drawn["systems"][name].get(subset) for subset in sizes)
            rows.append([label(found, name), *(OFF_SCALE if off else estimate(value) for value in values)])
    return table(["", *sizes], rows)


def over_raters_differences(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Systems minus humans over draws of raters, as entries of `differences_markdown`."""
    drawn = found["over_raters"]
    return [
        {"system": name, "set": subset, "off_scale": is_off_scale(found, name, drawn["metric"]), **gap}
        for name, gaps in (drawn.get("against_humans") or {}).items()
        for subset, gap in gaps.items()
    ]


def headline_table(found: Mapping[str, Any]) -> Table:
    """Return the console's table: humans, systems and trivial systems with the headline metrics over all emotions."""
    total, level = len(found["taxonomy"]["emotions"]), found["bootstrap"]["level"]
    names = ranked(found)
    columns = [(name, key) for name in names for key in found["headline"]]
    some_lack = any(summary(found, name, key).get("num_emotions") != total for name, key in columns)
    few = any(num_fewer(found, name, key) for name, key in columns)
    size = f"at most {total}" if some_lack else total
    title = (
        f"Agreement with the raters of {found['ratings']['name']}, mean over {size} emotion(s), {level:.0%} interval"
    )
    marks = "† interval off centre or too narrow" + "; (n) over n emotions only: compare it in the paired table" * few
    result = Table(title=escape(title), title_justify="left", title_style="bold", caption=marks, caption_justify="left")
    result.add_column("", overflow="fold")
    for metric in found["headline"]:
        result.add_column(escape(title_of(found, metric)), justify="right")
    human = (cell(found, None, human_of(found, metric)) for metric in found["headline"])
    result.add_row(HUMANS, *map(_console, human), style="bold", end_section=True)
    for place, name in enumerate(names):
        kind = found["systems"][name]["kind"]
        last = place + 1 == len(names) or found["systems"][names[place + 1]]["kind"] != kind
        values = (cell(found, name, metric) for metric in found["headline"])
        result.add_row(escape(name + endings(found, name)), *map(_console, values), end_section=last)
    return result


def _console(text: str) -> str:
    """A cell that a narrow console breaks before its interval, not within."""
    return escape(text.replace(", ", ","))
