"""Tables of the agreement report, from the content of agreement.json."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from emonet_lightning.reporting.markdown import estimate, literal, number, table

SETS = ("all", "reliable", "rest")
KINDS = ("system", "trivial", "reference")
HUMANS = "Human raters"
MAX_RATERS = 60
"""More raters than this are not listed one by one."""
NOT_SEPARATED = "not separated (interval holds 0)"


def ranked(found: Mapping[str, Any]) -> list[str]:
    """Names of the systems: users' systems, then trivial ones, then references, each best first by the headline."""
    headline = found["headline"][0]
    better = -1 if found["metrics"].get(headline, {}).get("higher_is_better", True) else 1

    def place(name: str) -> tuple[int, bool, float]:
        value = summary(found, name, headline).get("value")
        return KINDS.index(found["systems"][name]["kind"]), value is None, better * (value or 0.0)

    return sorted(found["systems"], key=place)


def summary(found: Mapping[str, Any], name: str | None, metric: str | None, subset: str = "all") -> dict[str, Any]:
    """A figure over a set of emotions, of a system or of the humans (name None); empty where there is none."""
    owner = found.get("humans") if name is None else found["systems"][name]
    return (((owner or {}).get("metrics") or {}).get(metric) or {}).get("sets", {}).get(subset) or {}


def per_emotion(found: Mapping[str, Any], name: str | None, metric: str | None, part: str) -> list[float | None]:
    """`value`, `low`, `high` or `n` per emotion [K]; None where there is none."""
    owner = found.get("humans") if name is None else found["systems"][name]
    values = (((owner or {}).get("metrics") or {}).get(metric) or {}).get("per_emotion", {}).get(part)
    return values or [None] * len(found["taxonomy"]["emotions"])


def human_of(found: Mapping[str, Any], metric: str) -> str | None:
    """Key of the human figure that stands beside a metric."""
    return found["metrics"].get(metric, {}).get("human")


def title_of(found: Mapping[str, Any], metric: str | None) -> str:
    """Short name of a metric."""
    return found["metrics"].get(metric, {}).get("name") or str(metric)


def by_alpha(found: Mapping[str, Any]) -> list[int]:
    """Emotions by the raters' alpha, highest first; those without an alpha last, in the taxonomy's order."""
    alpha = per_emotion(found, None, found["reliable"]["metric"], "value")
    return sorted(range(len(alpha)), key=lambda k: (alpha[k] is None, -(alpha[k] or 0.0)))


def subsets(found: Mapping[str, Any]) -> dict[str, int]:
    """Sets of emotions that are worth a column, with their sizes: `all`, and the two parts if neither is empty."""
    total, reliable = len(found["taxonomy"]["emotions"]), len(found["reliable"]["emotions"])
    sizes = {"all": total, "reliable": reliable, "rest": total - reliable}
    return sizes if 0 < reliable < total else {"all": total}


def verdict(found: Mapping[str, Any]) -> str:
    """A paired difference in words; an interval that holds 0 is no evidence that two systems are alike."""
    low, high = found.get("low"), found.get("high")
    if low is None or high is None or found.get("difference") is None:
        return "not defined"
    return "above" if low > 0 else "below" if high < 0 else NOT_SEPARATED


def headline_markdown(found: Mapping[str, Any], metric: str) -> str:
    """One metric of humans, systems and trivial systems over the sets of emotions."""
    sizes = subsets(found)
    columns = [f"{name} {size} emotions" if size != 1 else f"{name} (1 emotion)" for name, size in sizes.items()]
    human = human_of(found, metric)
    rows = []
    for name in [None, *ranked(found)]:
        label = f"**{HUMANS}**: {literal(title_of(found, human))}" if name is None else _label(found, name)
        cells = [summary(found, name, human if name is None else metric, subset) for subset in sizes]
        counted = [" / ".join(_count(cell.get(key)) for cell in cells) for key in ("num_emotions", "num_undefined")]
        values = [estimate(cell) for cell in cells]
        rows.append([label, *([f"**{value}**" for value in values] if name is None else values), *counted])
    return table(["", *columns, "emotions averaged", "not defined"], rows)


def _count(value: int | None) -> str:
    return "-" if value is None else str(value)


def _label(found: Mapping[str, Any], name: str) -> str:
    kind = found["systems"][name]["kind"]
    return literal(name) if kind == "system" else f"{literal(name)} ({kind})"


def differences_markdown(
    found: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], what: str, order: Sequence[str]
) -> str:
    """Paired differences of one metric: a row per system, and per set of emotions difference, interval and verdict."""
    sizes = list(subsets(found))
    header = [what] + [cell for subset in sizes for cell in (f"difference, {subset}", f"verdict, {subset}")]
    cells = {(entry["system"], entry["set"]): entry for entry in entries}
    rows = []
    for name in order:
        own = [cells.get((name, subset)) for subset in sizes]
        if not any(own):
            continue
        row = [f"**{HUMANS}**" if name == "humans" else _label(found, name)]
        for entry in own:
            other = " †" if entry and entry.get("same_images") is False else ""
            row += [estimate(entry, "difference", sign=True) + other, verdict(entry) if entry else "-"]
        rows.append(row)
    return table(header, rows)


def emotions_markdown(found: Mapping[str, Any], metric: str, num_best: int = 3) -> str:
    """Per emotion, by alpha: the raters' alpha, the human figure, and the systems that come out highest."""
    human, alpha = human_of(found, metric), found["reliable"]["metric"]
    systems = [name for name in ranked(found) if found["systems"][name]["kind"] == "system"]
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


def metrics_markdown(found: Mapping[str, Any]) -> str:
    """Every metric of every system over all emotions, the human figure beneath each name."""
    names = ranked(found)
    keys = [key for key in found["metrics"] if any(summary(found, name, key) for name in names)]
    rows = [
        [f"**{HUMANS}**", *(f"**{number(summary(found, None, human_of(found, key)).get('value'))}**" for key in keys)]
    ]
    rows += [[_label(found, name), *(number(summary(found, name, key).get("value")) for key in keys)] for name in names]
    arrows = ["" if found["metrics"][key].get("higher_is_better", True) else " ↓" for key in keys]
    return table(["", *(title_of(found, key) + arrow for key, arrow in zip(keys, arrows, strict=True))], rows)


def released_markdown(found: Mapping[str, Any]) -> str:
    """The released analysis: annotators with mean, spread and top emotion, and its test against the humans."""
    rows = []
    for name, own in found["released_protocol"].items():
        rows.append(
            [
                literal(name),
                literal(own.get("group") or "-"),
                *(number(own.get(key)) for key in ("average", "std", "median")),
                literal(own.get("top_emotion") or "-"),
                _p_value(own.get("could_be_annotator_p")),
            ]
        )
    return table(["annotator", "group", "average", "std", "median", "top emotion", "p (could be annotator)"], rows)


def groups_markdown(found: Mapping[str, Any]) -> str:
    """The released tests between groups of annotators."""
    rows = [
        [literal(test["first"]), literal(test["second"]), estimate(test, "difference", sign=True), _p_value(test["p"])]
        for test in found["group_tests"]
    ]
    return table(["first group", "second group", "first minus second", "p (Mann-Whitney)"], rows)


def _p_value(p: float | None) -> str:
    return "-" if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001"


def over_raters_markdown(found: Mapping[str, Any]) -> str:
    """One metric over the sets of emotions, with intervals over draws of raters."""
    drawn, sizes = found["over_raters"], list(subsets(found))
    rows = [[f"**{HUMANS}**", *(f"**{estimate((drawn['humans'] or {}).get(subset))}**" for subset in sizes)]]
    known = [name for name in ranked(found) if name in drawn["systems"]]
    rows += [
        [_label(found, name), *(estimate(drawn["systems"][name].get(subset)) for subset in sizes)] for name in known
    ]
    return table(["", *sizes], rows)


def raters_markdown(found: Mapping[str, Any]) -> str:
    """Each rater's own figures, mean over emotions; of very many raters, how these are spread."""
    figures = (found.get("humans") or {}).get("per_rater") or {}
    raters = found["ratings"]["raters"]
    if len(raters) > MAX_RATERS:
        rows = []
        for quarter, what in enumerate(("lowest", "first quarter", "median", "last quarter", "highest")):
            known = ([value for value in values.values() if value is not None] for values in figures.values())
            rows.append([what, *(number(np.percentile(own, 25 * quarter)) if own else number(None) for own in known)])
        return table([f"of {len(raters)} raters", *(title_of(found, key) for key in figures)], rows)
    rows = [[literal(rater), *(number(values.get(rater)) for values in figures.values())] for rater in raters]
    return table(["rater", *(title_of(found, key) for key in figures)], rows)


def undefined_markdown(found: Mapping[str, Any]) -> str:
    """How many of an annotator's pairwise kappas are undefined, with the humans and with the systems."""
    pairwise = found["pairwise"]
    num_humans, per_pair = pairwise["num_humans"], len(found["taxonomy"]["emotions"])
    rows = []
    for a, name in enumerate(pairwise["annotators"]):
        row = [f"**{literal(name)}**" if a < num_humans else literal(name)]
        for others in (range(num_humans), range(num_humans, len(pairwise["annotators"]))):
            counts = [pairwise["num_undefined"][a][b] or 0 for b in others if b != a]
            row.append(f"{sum(counts)} of {per_pair * len(counts)}" if counts else "-")
        rows.append(row)
    return table(["annotator", "not defined, with humans", "not defined, with systems"], rows)


def headline_table(found: Mapping[str, Any]) -> Table:
    """Return the console's table: humans, systems and trivial systems with the headline metrics over all emotions."""

    def cell(figure: Mapping[str, Any]) -> str:
        """An estimate that a narrow console breaks before its interval, not within."""
        return escape(estimate(figure).replace(", ", ","))

    total, level = len(found["taxonomy"]["emotions"]), found["bootstrap"]["level"]
    title = (
        f"Agreement with the raters of {found['ratings']['name']}, mean over {total} emotion(s), {level:.0%} interval"
    )
    result = Table(title=escape(title), title_justify="left", title_style="bold")
    result.add_column("", overflow="fold")
    for metric in found["headline"]:
        result.add_column(escape(title_of(found, metric)), justify="right")
    result.add_row(
        HUMANS,
        *(cell(summary(found, None, human_of(found, metric))) for metric in found["headline"]),
        style="bold",
        end_section=True,
    )
    names = ranked(found)
    for place, name in enumerate(names):
        kind = found["systems"][name]["kind"]
        last = place + 1 == len(names) or found["systems"][names[place + 1]]["kind"] != kind
        label = name if kind == "system" else f"{name} ({kind})"
        cells = [cell(summary(found, name, metric)) for metric in found["headline"]]
        result.add_row(escape(label), *cells, end_section=last)
    return result


def well_defined(values: Iterable[float | None]) -> list[float]:
    """Values that are there."""
    return [value for value in values if value is not None and value == value]
