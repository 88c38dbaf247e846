"""What a set of real faces looks like: YAML files, the shipped ones and a user's own, or a CSV file as it is.

`shipped/folders.yaml` says what the keys mean. A set's files may lie in several ways (`layouts`); the first that fits
the folder is read.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from emonet_lightning.errors import DataError, MissingInputError, nearest
from emonet_lightning.face_sets.layouts import Layout, PatternLayout, TableLayout
from emonet_lightning.io import fingerprint, sha256_file
from emonet_lightning.yaml_files import mapping_of, parse_yaml, read_yaml

_FOLDER = resources.files("emonet_lightning") / "face_sets" / "shipped"
_KEYS = {"name", "source", "expects", "map", "layouts", "classes", "groups", "only"}
_PATTERN_KEYS = {"pattern", "label_file"}
_TABLE_KEYS = {"table", "header", "columns", "image", "pixels", "pattern"}
_GROUP_KEYS = {"column", "values", "bins"}
_GIVEN = ("image", "class", "person")


@dataclass(frozen=True)
class Group:
    """A property by which images are compared: an age group, a gender."""

    column: str
    """Field of the layout, or named group of its pattern."""
    values: Mapping[str, str]
    """Spelling in the set -> what the report calls it, "" for not known; empty: as it is."""
    bins: tuple[float, ...]
    """Rising bounds of a number; empty: no number."""

    def level(self, value: str, where: str) -> str | None:
        """Return what an image's value is called; None where nothing is known.

        Raises:
            DataError: a spelling that is not described, or no number where bins need one.
        """
        value = value.strip()
        if value and self.values and not self.bins and value not in self.values:
            raise DataError(f"{where}: {self.column} '{value}' is not described; {nearest(value, self.values)}")
        value = self.values.get(value, value)
        if not value:
            return None
        return self._bin(value, where) if self.bins else value

    def levels(self) -> list[str]:
        """Return the names in the order of the description; none where every value is its own."""
        if self.bins:
            return [self._between(place) for place in range(len(self.bins) + 1)]
        return [name for name in dict.fromkeys(self.values.values()) if name]

    def _bin(self, value: str, where: str) -> str:
        try:
            place = sum(float(value) >= bound for bound in self.bins)
        except ValueError:
            raise DataError(f"{where}: {self.column} '{value}' is no number; mend it, or leave it empty") from None
        return self._between(place)

    def _between(self, place: int) -> str:
        low, high = (f"{self.bins[at]:g}" if 0 <= at < len(self.bins) else "" for at in (place - 1, place))
        return f"under {high}" if not low else f"{low} to under {high}" if high else f"{low} and over"


@dataclass(frozen=True)
class FaceSet:
    """How a set's images, classes, persons and groups are found."""

    name: str
    source: str
    expects: str
    map: str | None
    """Map of emotions to its classes, unless the user names another."""
    layouts: tuple[Layout, ...]
    classes: Mapping[str, str | None]
    """Spelling in the set, in small letters -> class of the map; None: such images are left out."""
    groups: Mapping[str, Group] | None
    """None: every further column of the table."""
    only: Mapping[str, tuple[str, ...]]
    """Column -> values; other images are left out."""
    digest: str
    """Hex sha256 of the description."""

    @classmethod
    def load(cls, source: str) -> "FaceSet":
        """Load a shipped description by name, one from a YAML file, or a CSV file with columns image and class.

        Raises:
            MissingInputError: neither a shipped name nor an existing file.
            DataError: the file does not describe a set; names the key.
        """
        shipped = {
            entry.name.removesuffix(".yaml"): entry for entry in _FOLDER.iterdir() if entry.name.endswith(".yaml")
        }
        if source in shipped:
            return cls._from_content(f"set '{source}'", parse_yaml(shipped[source].read_bytes(), f"set '{source}'"))
        if not Path(source).is_file():
            raise MissingInputError(f"set '{source}': no such file and no shipped set; {nearest(source, shipped)}")
        if Path(source).suffix.lower() in (".csv", ".tsv"):
            layout = TableLayout(tables=(str(Path(source).resolve()),))
            return cls(Path(source).stem, "", "", None, (layout,), {}, None, {}, sha256_file(source))
        return cls._from_content(f"set '{source}'", read_yaml(source))

    @classmethod
    def _from_content(cls, where: str, content: Any) -> "FaceSet":
        content = mapping_of(where, content, _KEYS)
        layouts = content.get("layouts")
        if not isinstance(layouts, list) or not layouts:
            raise DataError(f"{where}: 'layouts' must list at least one layout, with 'pattern' or 'table'")
        classes = mapping_of(f"{where}, classes", content.get("classes") or {})
        groups = {
            str(name): _group(f"{where}, groups, {name}", str(name), entry or {})
            for name, entry in mapping_of(f"{where}, groups", content.get("groups") or {}).items()
        }
        return cls(
            name=str(content.get("name", where)),
            source=str(content.get("source", "")),
            expects=str(content.get("expects", "")),
            map=None if content.get("map") is None else str(content["map"]),
            layouts=tuple(_layout(f"{where}, layout {n}", entry) for n, entry in enumerate(layouts, 1)),
            classes={spelling(key): None if name is None else str(name) for key, name in classes.items()},
            groups=groups,
            only={str(key): _words(value) for key, value in mapping_of(where, content.get("only") or {}).items()},
            digest=fingerprint(repr(content)),
        )


def spelling(name: object) -> str:
    """Return how a class is looked up: without surrounding blanks, in small letters."""
    return str(name).strip().casefold()


def _layout(where: str, content: Any) -> Layout:
    if not isinstance(content, dict) or not {"pattern", "table"} & content.keys():
        raise DataError(f"{where}: a mapping with 'pattern' or 'table' is needed")
    is_table = "table" in content
    content = mapping_of(where, content, _TABLE_KEYS if is_table else _PATTERN_KEYS)
    pattern = None if content.get("pattern") is None else _pattern(where, str(content["pattern"]))
    if not is_table:
        assert pattern is not None
        label_file = content.get("label_file")
        if label_file is None and "class" not in pattern.groupindex:
            raise DataError(f"{where}: the pattern needs a group (?P<class>...), or 'label_file' the class")
        return PatternLayout(pattern, None if label_file is None else str(label_file))
    columns = {str(key): str(name) for key, name in mapping_of(where, content.get("columns") or {}).items()}
    for key in columns:
        if key not in _GIVEN:
            raise DataError(f"{where}, columns: unknown key '{key}'; {nearest(key, _GIVEN)}")
    return TableLayout(
        tables=_words(content["table"]),
        columns=columns,
        header=_words(content["header"]) if content.get("header") else (),
        image=None if content.get("image") is None else str(content["image"]),
        pixels=None if content.get("pixels") is None else str(content["pixels"]),
        pattern=pattern,
    )


def _pattern(where: str, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise DataError(f"{where}: pattern is no regular expression ({error}); mend it") from error


def _group(where: str, name: str, content: Any) -> Group:
    content = mapping_of(where, content, _GROUP_KEYS)
    bins = content.get("bins") or []
    if not isinstance(bins, list) or {type(bound) for bound in bins} - {int, float} or sorted(set(bins)) != bins:
        raise DataError(f"{where}: 'bins' must be rising numbers, such as [30, 50]")
    values = mapping_of(f"{where}, values", content.get("values") or {})
    return Group(
        str(content.get("column", name)),
        {str(key): str(value) for key, value in values.items()},
        tuple(float(bound) for bound in bins),
    )


def _words(value: Any) -> tuple[str, ...]:
    return tuple(str(word) for word in (value if isinstance(value, list) else [value]))
