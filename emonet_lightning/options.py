"""Options of a command that are several names and values in one word: `a=x,b=y`."""

from collections.abc import Mapping
from typing import Any

from emonet_lightning.errors import UsageError


def pairs(option: str, value: Mapping[str, Any] | str | None) -> dict[str, str] | None:
    """Read `a=x,b=y` as a dict; a dict passes.

    Raises:
        UsageError: a part without '='.
    """
    if value is None or not isinstance(value, str):
        return None if value is None else {name: str(given) for name, given in value.items()}
    result = {}
    for part in value.split(","):
        name, equals, given = part.partition("=")
        if not equals or not name.strip() or not given.strip():
            raise UsageError(f"--{option} {value}: '{part}' is not NAME=VALUE; write --{option} a=x,b=y")
        result[name.strip()] = given.strip()
    return result
