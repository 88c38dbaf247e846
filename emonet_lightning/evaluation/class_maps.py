"""Maps from a taxonomy's emotions to the classes of another dataset: data files, the shipped ones and a user's own."""

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.errors import DataError, MissingInputError, nearest
from emonet_lightning.io import fingerprint
from emonet_lightning.taxonomy import Taxonomy
from emonet_lightning.yaml_files import mapping_of, parse_yaml, read_yaml

_FOLDER = resources.files("emonet_lightning") / "taxonomies" / "maps"
_KEYS = {"name", "source", "classes", "cutoff_factor", "emotions", "label"}
_LABEL_KEYS = {"pattern", "field", "numbers", "aliases"}


@dataclass(frozen=True)
class ClassMap:
    """Which class of a dataset each emotion stands for, and how an image's true class is found."""

    name: str
    source: str
    classes: list[str]
    heads: NDArray[np.int64]
    """Columns of the taxonomy that are mapped, ascending [M]."""
    head_class: NDArray[np.int64]
    """Class of each mapped head [M]."""
    cutoff_factor: float
    spellings: dict[str, int]
    """Class names, aliases and numbers as text, in small letters -> class."""
    pattern: re.Pattern[str] | None
    field: str | None
    digest: str
    """Hex sha256 of the map's content."""

    @property
    def cutoff(self) -> float:
        """Softmax above which a head counts as on: `cutoff_factor / M`."""
        return self.cutoff_factor / len(self.heads)

    @classmethod
    def load(cls, source: str, taxonomy: Taxonomy) -> "ClassMap":
        """Load a shipped map by name (`ferd`, `affectnet`, `emotions`), or one from a YAML file.

        Raises:
            MissingInputError: neither a shipped name nor an existing file.
            DataError: the file does not describe a map; names the key, emotion or class.
        """
        shipped = {
            entry.name.removesuffix(".yaml"): entry for entry in _FOLDER.iterdir() if entry.name.endswith(".yaml")
        }
        if source in shipped:
            content = parse_yaml(shipped[source].read_bytes(), f"map '{source}'")
        elif Path(source).is_file():
            content = read_yaml(source)
        else:
            raise MissingInputError(f"map '{source}': no such file and no shipped map; {nearest(source, shipped)}")
        return cls._from_content(f"map '{source}'", content, taxonomy)

    @classmethod
    def _from_content(cls, where: str, content: Any, taxonomy: Taxonomy) -> "ClassMap":
        content = mapping_of(where, content, _KEYS)
        classes = content.get("classes")
        if not isinstance(classes, list) or len({_key(name) for name in classes}) != len(classes) or len(classes) < 2:
            raise DataError(f"{where}: 'classes' must be a list of at least two different names")
        names = [str(name) for name in classes]
        spellings = {_key(name): number for number, name in enumerate(names)}
        label = mapping_of(f"{where}, label", content.get("label") or {}, _LABEL_KEYS)
        for kind in ("numbers", "aliases"):
            for spelling, name in (label.get(kind) or {}).items():
                number = _class(name, names, f"{where}, label, {kind} {spelling}")
                if spellings.setdefault(_key(spelling), number) != number:
                    raise DataError(f"{where}, label, {kind}: '{spelling}' already stands for another class; remove it")
        heads: dict[int, int] = {}
        for emotion, name in mapping_of(f"{where}, emotions", content.get("emotions")).items():
            column = taxonomy.index(str(emotion), where)
            if column in heads:
                raise DataError(f"{where}: '{taxonomy.slugs[column]}' is mapped twice; keep one line")
            heads[column] = _class(name, names, f"{where}, emotion '{emotion}'")
        if not heads:
            raise DataError(f"{where}: 'emotions' maps none; give at least one as 'emotion: class'")
        columns = np.array(sorted(heads))
        return cls(
            name=str(content.get("name", where)),
            source=str(content.get("source", "")),
            classes=names,
            heads=columns,
            head_class=np.array([heads[column] for column in columns.tolist()]),
            cutoff_factor=_factor(where, content.get("cutoff_factor", 1.5)),
            spellings=spellings,
            pattern=_pattern(where, label),
            field=None if label.get("field") is None else str(label["field"]),
            digest=fingerprint([names, sorted(heads.items()), {key: str(value) for key, value in content.items()}]),
        )

    def class_of(self, label: object, where: str) -> int:
        """Return the class that a label names, by name, alias or number, in any letter case.

        Raises:
            DataError: no label, or no such class; the nearest names are offered.
        """
        if label is None or label != label or _key(label) == "":
            raise DataError(f"{where}: no label; add the class, or leave the image out")
        number = self.spellings.get(_key(label))
        if number is None:
            raise DataError(
                f"{where}: class '{label}' is not in map '{self.name}'; {nearest(str(label), self.classes)} "
                "(another spelling or number can be named in the map under label)"
            )
        return number

    def among(self, numbers: Collection[int]) -> "ClassMap":
        """Return the map with these classes alone; heads of the others take no part.

        Raises:
            DataError: no emotion is mapped to any of them.
        """
        kept = sorted(numbers)
        place = {number: row for row, number in enumerate(kept)}
        mapped = np.isin(self.head_class, kept)
        classes = [self.classes[number] for number in kept]
        if not mapped.any():
            raise DataError(f"map '{self.name}': no emotion is mapped to any of {', '.join(classes)}; add one")
        return replace(
            self,
            classes=classes,
            heads=self.heads[mapped],
            head_class=np.array([place[number] for number in self.head_class[mapped].tolist()]),
            spellings={spelling: place[number] for spelling, number in self.spellings.items() if number in place},
        )

    def label_in_path(self, image: str, where: str) -> str:
        """Return the class name that the map's pattern finds in an image's path.

        Raises:
            DataError: the pattern finds nothing.
        """
        assert self.pattern is not None
        path = PurePosixPath(image.replace("\\", "/"))
        found = self.pattern.search(path.with_suffix("").as_posix() if path.name else "")
        if found is None:
            raise DataError(
                f"{where}: the label pattern {self.pattern.pattern} finds no class in '{image}'; "
                "rename the file, or give labels by --labels FILE.csv"
            )
        return found.group(1)


def _key(name: object) -> str:
    """Spelling under which a class is looked up; 3.0, as tables with gaps store whole numbers, is 3."""
    if isinstance(name, float) and name.is_integer():
        name = int(name)
    return str(name).strip().casefold()


def _class(name: object, names: list[str], where: str) -> int:
    for number, known in enumerate(names):
        if _key(known) == _key(name):
            return number
    raise DataError(f"{where}: '{name}' is not among the map's classes; {nearest(str(name), names)}")


def _factor(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise DataError(f"{where}: cutoff_factor must be a number above 0, got {value!r}")
    return float(value)


def _pattern(where: str, label: dict[str, Any]) -> re.Pattern[str] | None:
    if label.get("pattern") is None:
        return None
    if label.get("field") is not None:
        raise DataError(f"{where}, label: give either pattern or field, not both")
    try:
        pattern = re.compile(str(label["pattern"]))
    except re.error as error:
        raise DataError(f"{where}, label: pattern is no regular expression ({error})") from error
    if pattern.groups != 1:
        raise DataError(f"{where}, label: pattern needs one group (...) around the class, it has {pattern.groups}")
    return pattern
