"""Looking things up in the content of agreement.json: figures, names as they are printed, verdicts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from emonet_lightning.reporting.markdown import is_off_centre

SETS = ("all", "reliable", "rest")
KINDS = ("system", "trivial", "reference")
HUMANS = "Human raters"
NOT_SEPARATED = "not separated"
OFF_SCALE = "off scale"
FEWEST_IN_BIN = 20
"""Bins of fewer ratings are not drawn."""


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


def compared_key(found: Mapping[str, Any], metric: str) -> str | None:
    """Key of the figure that is compared with humans in place of a metric; None where nothing is compared."""
    return found["metrics"].get(metric, {}).get("against_humans", metric)


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


def is_off_scale(found: Mapping[str, Any], name: str | None, metric: str | None) -> bool:
    """Return whether a metric takes scores as levels and those of the system are on another scale."""
    needs_levels = found["metrics"].get(metric, {}).get("own_scale")
    return bool(name is not None and needs_levels and found["systems"].get(name, {}).get("off_scale"))


def is_partial(found: Mapping[str, Any], name: str) -> bool:
    """Return whether a system has not scored every emotion."""
    return found["systems"][name]["num_emotions_scored"] < len(found["taxonomy"]["emotions"])


def num_fewer(found: Mapping[str, Any], name: str | None, metric: str | None, subset: str = "all") -> int | None:
    """Number of emotions in a mean, if another in its column is over more; None where the column is over the same.

    An emotion without a figure for anybody (ratings all alike, say) makes no mean fewer than another.
    """
    beside = summary(found, None, human_of(found, metric) if metric else None, subset)
    columns = [beside, *(summary(found, other, metric, subset) for other in found["systems"])]
    own = summary(found, name, metric, subset)
    if own.get("value") is None or own.get("num_emotions") is None:
        return None
    most = max((column.get("num_emotions") or 0 for column in columns), default=0)
    return own["num_emotions"] if own["num_emotions"] < most else None


def endings(found: Mapping[str, Any], name: str) -> str:
    """What is printed behind a system's name: its number of emotions where it is not all, its kind where trivial."""
    own = found["systems"][name]
    count = f" ({own['num_emotions_scored']})" if is_partial(found, name) else ""
    return count + (f" ({own['kind']})" if own["kind"] != "system" else "")


def group_title(group: str | None) -> str:
    """Name of a group of annotators; the release's own is not that of whoever reads this."""
    return "Empathic Insight Face (the release's 'Our Models')" if group == "Our Models" else group or "-"


def verdict(entry: Mapping[str, Any]) -> str:
    """A paired difference in words; an interval that holds 0 is no evidence that two systems are alike.

    Where the draws lie to one side of the sample, the interval reflected about the difference must exclude 0 too
    (percentile and basic interval, Davison and Hinkley 1997, section 5.2).
    """
    if entry.get("off_scale"):
        return OFF_SCALE
    low, high, middle = entry.get("low"), entry.get("high"), entry.get("difference")
    if low is None or high is None or middle is None:
        return "not defined"
    if is_off_centre(entry, "difference"):
        low, high = min(low, 2 * middle - high), max(high, 2 * middle - low)
    return "above" if low > 0 else "below" if high < 0 else NOT_SEPARATED


def well_defined(values: Iterable[float | None]) -> list[float]:
    """Values that are there."""
    return [value for value in values if value is not None and value == value]


def names_of(found: Mapping[str, Any], slugs: Sequence[str]) -> list[str]:
    """Names of emotions."""
    by_slug = {emotion["slug"]: emotion["name"] for emotion in found["taxonomy"]["emotions"]}
    return [by_slug.get(slug, slug) for slug in slugs]
