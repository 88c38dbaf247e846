"""Shares in votes.json as words, and those that its tables and figures derive from outcomes."""

from collections.abc import Mapping
from typing import Any

FIRST_NO = "questions ended by a first no are not here; full means three yes"
"""What agreement leaves out where a first no ends the voting."""


def yes_on_target(row: Mapping[str, Any]) -> dict[str, Any]:
    """Share of an emotion's targets whose first vote is a yes, with its interval: all but `no`."""
    no = row["outcomes"]["no"]
    if not no["n"]:
        return dict(no)
    return {
        "count": no["n"] - no["count"],
        "n": no["n"],
        "value": 1 - no["value"],
        "low": 1 - no["high"],
        "high": 1 - no["low"],
    }


def yes_on_contrast(row: Mapping[str, Any]) -> dict[str, Any]:
    """Share of an emotion's contrasts that are answered yes, with its interval."""
    return dict(row["outcomes"]["contrast_yes"])


def percent(share: Mapping[str, Any]) -> str:
    """A share; `-` of nothing."""
    return "-" if share["value"] is None else f"{share['value']:.1%}"


def bounds(share: Mapping[str, Any]) -> str:
    """Its interval; nothing of nothing."""
    return "" if share["value"] is None else f"[{share['low']:.1%}, {share['high']:.1%}]"
