"""The table of conditions, `conditions.yaml`: factors with their levels, corruptions with their severities, styles."""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata, resources
from typing import Any, NamedTuple

from emonet_lightning.errors import UsageError, nearest
from emonet_lightning.io import fingerprint, sha256_bytes
from emonet_lightning.synthesis.faces import code_digest
from emonet_lightning.yaml_files import parse_yaml

Value = float | int | str
SEVERITIES = (0, 1, 2, 3, 4, 5)
"""0 is the picture as it is."""
_FILES = ("conditions.yaml", "corruptions.py", "picture_sets.py", "rendered.py")


class Factor(NamedTuple):
    """One condition of a rendered face."""

    name: str
    sets: str
    """What is set: a factor of `synthesis.factors`, `resolution`, or `intensity`."""
    levels: tuple[float, ...]
    undisturbed: int
    """Place of the level that others are compared with."""
    unit: str
    together: Mapping[str, Value]
    """Factors that have one value at all levels."""


class Corruption(NamedTuple):
    """One corruption of any picture."""

    name: str
    unit: str
    severities: tuple[float, ...]
    """Of severity 1 to 5."""


@cache
def table() -> dict[str, Any]:
    """Return the table that is part of the package."""
    text = (resources.files("emonet_lightning.robustness") / "conditions.yaml").read_text()
    content: dict[str, Any] = parse_yaml(text, "conditions")
    return content


@cache
def pictures_digest() -> str:
    """Digest of all that decides how a condition changes a picture."""
    package = resources.files("emonet_lightning.robustness")
    files = [sha256_bytes((package / name).read_bytes()) for name in _FILES]
    return fingerprint([files, code_digest(), metadata.version("albumentations")])


def factors(chosen: Iterable[str] | None = None) -> list[Factor]:
    """Return the factors of rendered faces, all or those chosen, in the table's order."""
    entries = table()["factors"]
    return [
        Factor(
            name=name,
            sets=entry["set"],
            levels=tuple(entry["levels"]),
            undisturbed=entry["levels"].index(entry["undisturbed"]),
            unit=entry["unit"],
            together=entry.get("with", {}),
        )
        for name, entry in entries.items()
        if chosen is None or name in chosen
    ]


def corruptions(chosen: Iterable[str] | None = None) -> list[Corruption]:
    """Return the corruptions of pictures, all or those chosen, in the table's order."""
    return [
        Corruption(name, entry["unit"], tuple(entry["severities"]))
        for name, entry in table()["corruptions"].items()
        if chosen is None or name in chosen
    ]


def names(option: str, given: str | None, known: Iterable[str]) -> list[str] | None:
    """Read `yaw,blur`.

    Raises:
        UsageError: one that is not known, or none.
    """
    if given is None:
        return None
    known = list(known)
    found = [name.strip() for name in given.split(",") if name.strip()]
    for name in found:
        if name not in known:
            raise UsageError(f"--{option} {given}: no '{name}'; {nearest(name, known)}")
    if not found:
        raise UsageError(f"--{option}: names nothing; choose from {', '.join(known)}")
    return found
