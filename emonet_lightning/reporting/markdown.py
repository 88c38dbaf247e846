"""Figures and tables as Markdown text."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_ESCAPED = str.maketrans({"|": r"\|", "*": r"\*", "<": r"\<", "`": r"\`", "\n": " ", "\r": " "})
_FEW_DRAWN = 20


def literal(text: str) -> str:
    """Return a name as it is to be read: `Hume Face*` begins no emphasis, `a|b` no new cell."""
    return text.translate(_ESCAPED)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; cells are Markdown already (see `literal`), every row as long as the header."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float | None, sign: bool = False) -> str:
    """Return three decimals, `-` for what is not defined."""
    if value is None or value != value:
        return "-"
    plus = "+" if sign else ""
    text = format(value, f"{plus}.3f" if abs(value) < 1000 else f"{plus}.4g")
    return text.lstrip("+-") if float(text) == 0 else text


def interval(found: Mapping[str, Any], sign: bool = False) -> str:
    """Return `[low, high]`, or nothing where either is not defined."""
    low, high = number(found.get("low"), sign), number(found.get("high"), sign)
    return "" if "-" in (low, high) else f"[{low}, {high}]"


def estimate(found: Mapping[str, Any] | None, key: str = "value", sign: bool = False) -> str:
    """Return `value [low, high]`; `-` where there is no value; a `†` where the interval is off centre."""
    if not found:
        return "-"
    mark = "†" if is_off_centre(found, key) else ""
    return f"{number(found.get(key), sign)}{mark} {interval(found, sign)}".strip()


def is_off_centre(found: Mapping[str, Any], key: str = "value") -> bool:
    """Return whether the draws lie to one side of the sample: they are biased, or the value is outside its interval."""
    value, low, high = found.get(key), found.get("low"), found.get("high")
    if value is None or low is None or high is None:
        return False
    return bool(found.get("is_biased")) or not low - 1e-9 <= value <= high + 1e-9


def few_drawn(number: int, what: str) -> str:
    """Return what to say of intervals of a bootstrap that draws so few units; nothing where there are enough."""
    return f" {number} {what} are few: intervals from draws of them are too narrow." if number < _FEW_DRAWN else ""
