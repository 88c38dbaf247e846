"""Paths as users write them: `~` is expanded, and an address is refused before a library fetches and trusts it."""

import re
from pathlib import Path

from emonet_lightning.errors import MissingInputError, UsageError

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


def expand_home(path: str) -> Path:
    """Return a path in which `~` and `~NAME` have become the home of that user.

    Raises:
        MissingInputError: no such user here, or one without a home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        home = Path(path).parts[0]
        raise MissingInputError(f"{path}: '{home}' is nobody's home on this machine; write the full path") from error
