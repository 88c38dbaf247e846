"""Shares of a count, with the interval that also holds where the count is none or all."""

from functools import cache
from typing import SupportsInt, TypedDict

from scipy.stats import binomtest


class Share(TypedDict):
    """Count of n, the share and its interval; None where n is 0."""

    count: int
    n: int
    value: float | None
    low: float | None
    high: float | None


def share(count: SupportsInt, n: SupportsInt, level: float = 0.95) -> Share:
    """Return count / n with its Wilson score interval (Wilson 1927): cases are taken as independent."""
    count, n = int(count), int(n)
    value, low, high = _wilson(count, n, level) if n else (None, None, None)
    return {"count": count, "n": n, "value": value, "low": low, "high": high}


@cache
def _wilson(count: int, n: int, level: float) -> tuple[float, float, float]:
    interval = binomtest(count, n).proportion_ci(level, method="wilson")
    return count / n, float(interval.low), float(interval.high)
