"""Paths that must be local: an address is refused before any library gets it; several would fetch and trust."""

import re

from emonet_lightning.errors import UsageError

_ADDRESS = re.compile(r"^\s*(?:[A-Za-z][A-Za-z0-9+.-]*:(?://|:)|(?:pipe|data|file|javascript):|//[^/])", re.IGNORECASE)


def is_address(value: str) -> bool:
    """Whether text is a URL, or the command of a pipe, where a path is expected."""
    return bool(_ADDRESS.match(value))


def refuse_address(value: str, option: str) -> None:
    """Refuse a URL where a local path is needed.

    Args:
        value: what was given.
        option: its name, for the error.

    Raises:
        UsageError: `value` is an address.
    """
    if is_address(value):
        raise UsageError(
            f"{option}: '{value.split('?')[0].split('@')[-1][:100]}' is an address; nothing is read from the network "
            "but by `fetch`: bring the file here and give its path"
        )
