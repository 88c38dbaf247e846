"""Taxonomy: the ordered dimensions that heads, labels and caches are indexed by.

The one trade-off: columns are positions, because scores are [N, K] arrays; so every file that holds such columns also
holds `Taxonomy.digest`, and whoever loads it compares. Another taxonomy is a YAML file of the same shape as
`taxonomies/emonet40.yaml`.
"""

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from emonet_lightning.errors import DataError, MissingInputError, nearest
from emonet_lightning.yaml_files import parse_yaml, read_yaml

_FOLDER = resources.files("emonet_lightning") / "taxonomies"
_KEYS = {"name", "levels", "families", "emotions", "extra_dimensions"}
_EMOTION_KEYS = {"name", "slug", "family", "keywords", "aliases"}


def slugify(name: str) -> str:
    """Return the released slug of a display name: lower case, '/' and ' ' to '_', '&' kept."""
    return name.lower().replace("/", "_").replace(" ", "_")


@dataclass(frozen=True)
class Dimension:
    """One column of the scores: an emotion, or an extra dimension (`family` is then None)."""

    name: str
    slug: str
    low: float
    high: float
    family: str | None = None
    keywords: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


class Taxonomy:
    """Ordered emotions (and, on request, extra dimensions) with their names, ranges and keywords."""

    def __init__(self, name: str, dimensions: tuple[Dimension, ...], num_emotions: int) -> None:
        self.name = name
        self.dimensions = dimensions
        self.num_emotions = num_emotions
        self.slugs = [dimension.slug for dimension in dimensions]
        self.names = [dimension.name for dimension in dimensions]
        self._index: dict[str, int] = {}
        for column, dimension in enumerate(dimensions):
            for spelling in (dimension.name, dimension.slug, *dimension.aliases, f"model_{dimension.slug}_best"):
                other = self._index.setdefault(spelling.casefold(), column)
                if other != column:
                    raise DataError(
                        f"taxonomy '{name}': '{spelling}' names both '{self.names[other]}' and '{dimension.name}'; "
                        "give each emotion its own name, slug and aliases"
                    )

    @classmethod
    def load(cls, source: str, extra_dimensions: bool = False) -> "Taxonomy":
        """Load a built-in taxonomy by name, or one from a YAML file.

        Args:
            source: `emonet40`, or the path of a YAML file.
            extra_dimensions: append the file's extra dimensions as further columns.

        Raises:
            MissingInputError: neither a built-in name nor an existing file.
            DataError: the file does not describe a taxonomy.
        """
        builtin = {
            entry.name.removesuffix(".yaml"): entry for entry in _FOLDER.iterdir() if entry.name == "emonet40.yaml"
        }
        if source in builtin:
            content = parse_yaml(builtin[source].read_bytes(), f"taxonomy '{source}'")
        elif Path(source).is_file():
            content = read_yaml(source)
        else:
            raise MissingInputError(
                f"taxonomy '{source}': no such file and no built-in of that name; {nearest(source, builtin)}"
            )
        return cls._from_content(source, content, extra_dimensions)

    @classmethod
    def _from_content(cls, source: str, content: Any, extra_dimensions: bool) -> "Taxonomy":
        if not isinstance(content, dict) or not content.get("emotions"):
            raise DataError(f"taxonomy '{source}': a mapping with a list 'emotions' is needed")
        for key in content.keys() - _KEYS:
            raise DataError(f"taxonomy '{source}': unknown key '{key}'; {nearest(str(key), _KEYS)}")
        families = content.get("families") or {}
        low, high = _range(source, "levels", content.get("levels", [0, 7]))
        dimensions = []
        for entry in content["emotions"]:
            if isinstance(entry, str):
                entry = {"name": entry}
            for key in entry.keys() - _EMOTION_KEYS:
                raise DataError(
                    f"taxonomy '{source}': unknown key '{key}' in an emotion; {nearest(str(key), _EMOTION_KEYS)}"
                )
            if "name" not in entry:
                raise DataError(f"taxonomy '{source}': an emotion without 'name': {entry}")
            family = entry.get("family")
            dimensions.append(
                Dimension(
                    name=str(entry["name"]),
                    slug=str(entry.get("slug") or slugify(str(entry["name"]))),
                    low=low,
                    high=high,
                    family=families.get(family, family),
                    keywords=tuple(entry.get("keywords", ())),
                    aliases=tuple(entry.get("aliases", ())),
                )
            )
        num_emotions = len(dimensions)
        if extra_dimensions:
            extras = content.get("extra_dimensions") or []
            if not extras:
                raise DataError(f"taxonomy '{source}' has no extra_dimensions; set extra_dimensions: false")
            for entry in extras:
                bounds = _range(source, entry["name"], entry["range"])
                dimensions.append(Dimension(entry["name"], slugify(entry["name"]), *bounds))
        return cls(str(content.get("name", source)), tuple(dimensions), num_emotions)

    def __len__(self) -> int:
        return len(self.dimensions)

    @property
    def digest(self) -> str:
        """Hex sha256 over the ordered slugs and ranges: equal digests mean equal columns."""
        columns = [[dimension.slug, dimension.low, dimension.high] for dimension in self.dimensions]
        return hashlib.sha256(json.dumps([columns, self.num_emotions]).encode()).hexdigest()

    def index(self, name: str, where: str = "") -> int:
        """Return the column of an emotion given by name, slug, alias, `Family|Emotion` or released head name.

        Raises:
            DataError: no such emotion; the nearest names are offered.
        """
        short = name.rsplit("|", 1)[-1].strip()
        column = self._index.get(short.casefold())
        if column is None:
            prefix = f"{where}: " if where else ""
            raise DataError(f"{prefix}unknown emotion '{name}' in taxonomy '{self.name}'; {nearest(short, self.names)}")
        return column

    def check_digest(self, digest: str, where: str) -> None:
        """Refuse columns of another order.

        Raises:
            DataError: `digest`, found in `where`, is not this taxonomy's.
        """
        if digest != self.digest:
            raise DataError(
                f"{where}: its columns are those of another taxonomy or order (digest {digest[:12]}, "
                f"'{self.name}' has {self.digest[:12]}); use the taxonomy that it was made with"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return name, digest and columns as primitives, for manifests."""
        return {
            "name": self.name,
            "digest": self.digest,
            "num_emotions": self.num_emotions,
            "dimensions": [
                {"name": d.name, "slug": d.slug, "low": d.low, "high": d.high, "family": d.family}
                for d in self.dimensions
            ],
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Taxonomy":
        """Rebuild the columns written by `to_dict` (keywords and aliases are not part of it)."""
        taxonomy = cls(
            content["name"], tuple(Dimension(**entry) for entry in content["dimensions"]), content["num_emotions"]
        )
        taxonomy.check_digest(content["digest"], "manifest")
        return taxonomy


def released_neutral_means(taxonomy: Taxonomy) -> list[float]:
    """Return the released heads' mean outputs on neutral faces [K], in the taxonomy's order."""
    means = parse_yaml((_FOLDER / "released_neutral_means.yaml").read_bytes(), "released means")["neutral_mean"]
    return [float(means[slug]) for slug in taxonomy.slugs]


def _range(source: str, what: str, value: Any) -> tuple[float, float]:
    try:
        low, high = (float(bound) for bound in value)
    except (TypeError, ValueError):
        raise DataError(f"taxonomy '{source}': {what} must be [low, high], got {value!r}") from None
    if not low < high:
        raise DataError(f"taxonomy '{source}': {what} must rise, got {value!r}")
    return low, high
