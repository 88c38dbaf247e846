"""Tables of single annotators, of their pairs, and of the released analysis, from the content of agreement.json."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from emonet_lightning.reporting.agreement_values import group_title, title_of
from emonet_lightning.reporting.markdown import estimate, literal, number, table

MAX_RATERS = 60
"""More raters than this are not listed one by one."""
PASSES = 0.05
"""The released test calls a system a possible annotator above this p."""


def raters_markdown(found: Mapping[str, Any], subset: str) -> str:
    """Each rater's own figures, mean over a set of emotions; of very many raters, how these are spread."""
    figures = ((found.get("humans") or {}).get("per_rater") or {}).get(subset) or {}
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


def released(found: Mapping[str, Any]) -> Iterable[str]:
    """Return paragraphs and tables of the released analysis."""
    yield "## The released protocol"
    yield (
        "The table of the published analysis: scores over emotions, mean of the pairwise kappas with the humans. Its "
        "test (Mann-Whitney U of a system's kappas with humans against those among humans) calls a system a possible "
        f"annotator where p > {PASSES:g}. A large p is no evidence of equality, and a system that agrees *better* than "
        "humans gets a small one. Values of one annotator or emotion are not independent, so these p are too small; "
        "shown only for parity." + _who_fails(found)
    )
    yield _released_table(found)
    if found.get("group_tests"):
        yield (
            "Groups of annotators compared on all their values (as released: values drawn one by one, 1000 draws). "
            "Here too values are not independent: intervals too narrow and p too small, shown only for parity."
        )
        yield _groups_table(found)


def _who_fails(found: Mapping[str, Any]) -> str:
    raters = found["ratings"]["raters"]
    p_of = {name: found["released_protocol"].get(name, {}).get("could_be_annotator_p") for name in raters}
    failing = [literal(name) for name, p in p_of.items() if p is not None and p <= PASSES]
    if not failing:
        return ""
    return f" {', '.join(failing)} {'itself' if len(failing) == 1 else 'themselves'} would not pass."


def _released_table(found: Mapping[str, Any]) -> str:
    rows = []
    for name, own in found["released_protocol"].items():
        off = " (off scale)" if found["systems"].get(name, {}).get("off_scale") else ""
        rows.append(
            [
                literal(name) + off,
                literal(group_title(own.get("group"))),
                *(number(own.get(key)) for key in ("average", "std", "median")),
                literal(own.get("top_emotion") or "-"),
                _p_value(own.get("could_be_annotator_p")),
            ]
        )
    header = ["annotator", "group", "average", "std over emotions", "median", "top emotion", "p (could be annotator)"]
    return table(header, rows)


def _groups_table(found: Mapping[str, Any]) -> str:
    rows = []
    for test in found["group_tests"]:
        groups = [literal(group_title(test[which])) for which in ("first", "second")]
        rows.append([*groups, estimate(test, "difference", sign=True), _p_value(test["p"])])
    return table(["first group", "second group", "first minus second", "p (Mann-Whitney)"], rows)


def _p_value(p: float | None) -> str:
    return "-" if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001"
