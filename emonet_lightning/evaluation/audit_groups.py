"""Groups of images: columns of a table or facts of a packed set, as levels with canonical names and cut numbers."""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.errors import DataError, UsageError, nearest
from emonet_lightning.options import pairs
from emonet_lightning.ratings.image_facts import image_columns
from emonet_lightning.ratings.index_map import ImageNames
from emonet_lightning.yaml_files import parse_yaml, read_yaml

RELEASED, NONE = "released", "none"
UNKNOWN = frozenset({"", "na", "n/a", "nan", "null", "unknown"})
"""Spellings of a fact that is not known, in small letters."""
MAX_LEVELS = 40
_FEW_NUMBERS = 8
"""Up to so many different numbers are levels as they are."""
_USUAL = ("ethnicity", "age", "gender")
_PERSON = ("person", "subject", "group")


class Attribute(NamedTuple):
    """One way to divide the images."""

    name: str
    levels: list[str]
    place: NDArray[np.int64]
    """Level of each image [N]; -1: not known."""
    raw: list[list[str]]
    """Spellings behind each level; of cut numbers the lowest and the highest."""


class Divided(NamedTuple):
    """What a source says of a panel's images."""

    attributes: list[Attribute]
    persons: list[str | None] | None
    notes: list[str]


def read_groups(
    source: Path | str,
    images: Sequence[str],
    by: Sequence[str] = (),
    *,
    bins: str = "4",
    canonical: str = RELEASED,
    cross: Sequence[str] = (),
    index_map: dict[str, int] | None = None,
) -> Divided:
    """Return the attributes of a panel's images.

    Args:
        source: CSV file with a column `image` and one per attribute, or a packed set, `embedded:NAME` too: its facts.
        images: the panel's [N].
        by: columns that are taken; by default all of a table that have at most 40 levels, of a packed set ethnicity,
            age and gender.
        bins: number of equally filled bins of columns with more than 8 different numbers, or `age=30:50,skin=3` with
            inner edges or a number for each column.
        canonical: `released`, `none`, or a YAML file of canonical names.
        cross: two attributes, whose pairs of levels become a further one.
        index_map: file name -> row number.

    Raises:
        MissingInputError: no such file or folder.
        UsageError: no such column, or options that do not fit.
        DataError: names the line or image and what is wrong.
    """
    from emonet_lightning.data.plan import locate  # a layer above

    path = locate(str(source), None)
    facts = _of_packed(path, images, index_map) if path.is_dir() else image_columns(path, images, index_map)
    person = next((name for name in _PERSON if name in facts), None)
    cuts = _cuts(bins, facts)
    names = canonical_names(canonical)
    usual = [name for name in _USUAL if name in facts] if path.is_dir() else [name for name in facts if name != person]
    chosen = list(dict.fromkeys(by)) or usual
    if not chosen:
        raise UsageError(f"{path}: name the attributes with --by; {nearest('ethnicity', facts)}")
    notes, attributes = [], []
    for name in chosen:
        if name not in facts:
            raise UsageError(f"--by {name}: {path} has no such column; {nearest(name, facts)}")
        found = _attribute(name, facts[name], cuts, names.get(name.casefold(), {}))
        if len(found.levels) > MAX_LEVELS:
            if by:
                raise UsageError(f"--by {name}: {len(found.levels)} levels, at most {MAX_LEVELS}; --bins cuts numbers")
            notes.append(f"column '{name}' has {len(found.levels)} levels and is left out")
        elif len(found.levels) < 2:
            only = found.levels[0] if found.levels else "unknown"
            notes.append(f"column '{name}': all images are '{only}', nothing to compare; it is left out")
        else:
            if unknown := int((found.place < 0).sum()):
                notes.append(f"'{name}' of {unknown} images is not known; they are in none of its groups")
            attributes.append(found)
    if not attributes:
        raise DataError(
            f"{path}: no attribute with two levels or more among {', '.join(chosen)}; name others with --by"
        )
    if cross:
        attributes.append(_crossed(cross, attributes))
    persons = None if person is None else [value or None for value in facts[person]]
    return Divided(attributes, persons if persons and any(persons) else None, notes)


def canonical_names(source: str) -> dict[str, dict[str, str]]:
    """Return attribute -> {spelling in small letters: canonical name}.

    Args:
        source: `released` (the ethnicities of EmoNet-Face's prompts, and genders), `none`, or a YAML file
            `attribute: {name: [spelling, ...]}`.

    Raises:
        MissingInputError: no such file.
        DataError: not of that shape, or a spelling that stands for two names.
    """
    if source == NONE:
        return {}
    if source == RELEASED:
        file = resources.files("emonet_lightning") / "taxonomies" / "groups.yaml"
        content: Any = parse_yaml(file.read_bytes(), "released groups")
    else:
        content = read_yaml(source)
    found: dict[str, dict[str, str]] = {}
    for attribute, groups in _mapping(content, source).items():
        spellings = found.setdefault(str(attribute).casefold(), {})
        for name, listed in _mapping(groups, f"{source}, {attribute}").items():
            if not isinstance(listed, list):
                raise DataError(f"{source}, {attribute}, {name}: write a list of spellings")
            for spelling in [str(name), *map(str, listed)]:
                if spellings.setdefault(spelling.casefold(), str(name)) != str(name):
                    raise DataError(f"{source}, {attribute}: '{spelling}' stands for two groups; keep one")
    return found


def _mapping(content: Any, where: str) -> dict[Any, Any]:
    if not isinstance(content, dict):
        raise DataError(f"{where}: write 'attribute: {{name: [spelling, ...]}}'")
    return content


def _of_packed(path: Path, images: Sequence[str], index_map: dict[str, int] | None) -> dict[str, list[str]]:
    """Facts of each image in a packed set, as text; empty where there is none."""
    from emonet_lightning.packing.packed import PackedSet  # a layer above

    packed = PackedSet.open(path)
    known = ImageNames(packed.keys, index_map)
    rows = [known.find(image, str(path)) for image in images]
    if all(row is None for row in rows):
        raise DataError(
            f"{path}: holds none of the rated images ('{packed.keys[0]}' and '{images[0]}' for example); name the set "
            "that was rated"
        )
    records: list[dict[str, Any]] = [{} if row is None else packed.read_record(row).get("meta") or {} for row in rows]
    facts = {name: ["" if r.get(name) is None else str(r[name]) for r in records] for name in _names(records)}
    prompted = ["" if row is None else packed.prompted[row] or "" for row in rows]
    persons = ["" if row is None else packed.groups[row] or "" for row in rows]
    return {
        **facts,
        **({"prompted": prompted} if any(prompted) else {}),
        **({"person": persons} if any(persons) else {}),
    }


def _names(records: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for record in records for name in record))


def _cuts(bins: str, facts: Mapping[str, Any]) -> dict[str, list[float] | int]:
    """Return column -> number of bins or inner edges; the column '' stands for all others."""
    text = str(bins).strip()
    if "=" not in text:
        return {"": _number(text, f"--bins {bins}")}
    found: dict[str, list[float] | int] = {"": 4}
    for name, given in (pairs("bins", text) or {}).items():
        if name not in facts:
            raise UsageError(f"--bins {bins}: no column '{name}'; {nearest(name, facts)}")
        if ":" in given:
            try:
                found[name] = sorted(float(edge) for edge in given.split(":"))
            except ValueError:
                raise UsageError(f"--bins {bins}: '{given}' are not edges; write {name}=30:50") from None
        else:
            found[name] = _number(given, f"--bins {bins}")
    return found


def _number(text: str, where: str) -> int:
    if not text.isdecimal() or not 2 <= int(text) <= MAX_LEVELS:
        raise UsageError(f"{where}: a number of bins from 2 to {MAX_LEVELS}, or COLUMN=EDGE:EDGE, is needed")
    return int(text)


def _attribute(
    name: str, values: Sequence[str], cuts: Mapping[str, list[float] | int], spellings: Mapping[str, str]
) -> Attribute:
    known = [value if value.casefold() not in UNKNOWN else "" for value in values]
    numbers = _numbers(known)
    if numbers is not None and (name in cuts or len(np.unique(numbers[~np.isnan(numbers)])) > _FEW_NUMBERS):
        return _cut(name, numbers, cuts.get(name, cuts[""]))
    names = [spellings.get(value.casefold(), value) for value in known]
    levels = list(dict.fromkeys(value for value in spellings.values() if value in names))
    rest = sorted({value for value in names if value} - set(levels), key=_by_number)
    levels += rest
    raw = [sorted({own for own, called in zip(known, names, strict=True) if called == level}) for level in levels]
    place = np.array([levels.index(value) if value else -1 for value in names], dtype=np.int64)
    return Attribute(name, levels, place, raw)


def _by_number(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return np.inf, text


def _numbers(values: Sequence[str]) -> NDArray[np.float64] | None:
    """Return values as numbers, NaN where unknown; None where one is text."""
    try:
        found = np.array([float(value) if value else np.nan for value in values])
    except ValueError:
        return None
    return None if np.isnan(found).all() or np.isinf(found).any() else found


def _cut(name: str, numbers: NDArray[np.float64], cut: list[float] | int) -> Attribute:
    given = numbers[~np.isnan(numbers)]
    if isinstance(cut, int):
        edges = np.unique(np.quantile(given, np.arange(1, cut) / cut, method="higher"))
    else:
        edges = np.array(cut)
    place = np.where(np.isnan(numbers), -1, np.searchsorted(edges, numbers, side="right")).astype(np.int64)
    used = sorted(set(place[place >= 0].tolist()))
    ends = [(numbers[place == bin_].min(), numbers[place == bin_].max()) for bin_ in used]
    levels = [f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}" for low, high in ends]
    renumbered = np.array([used.index(bin_) if bin_ >= 0 else -1 for bin_ in place.tolist()], dtype=np.int64)
    return Attribute(name, levels, renumbered, [[f"{low:g}", f"{high:g}"] for low, high in ends])


def _crossed(cross: Sequence[str], attributes: Sequence[Attribute]) -> Attribute:
    known = {attribute.name: attribute for attribute in attributes}
    if len(cross) != 2 or cross[0] == cross[1]:
        raise UsageError(f"--cross {','.join(cross)}: write two attributes, as --cross ethnicity,gender")
    for name in cross:
        if name not in known:
            raise UsageError(f"--cross {name}: not one of the attributes; {nearest(name, known)}")
    one, two = (known[name] for name in cross)
    both = np.where((one.place < 0) | (two.place < 0), -1, one.place * len(two.levels) + two.place)
    used = sorted(set(both[both >= 0].tolist()))
    if len(used) > MAX_LEVELS:
        raise UsageError(f"--cross {','.join(cross)}: {len(used)} pairs of levels, at most {MAX_LEVELS}; use --bins")
    parts = [divmod(pair, len(two.levels)) for pair in used]
    place = np.array([used.index(pair) if pair >= 0 else -1 for pair in both.tolist()], dtype=np.int64)
    levels = [f"{one.levels[i]} / {two.levels[j]}" for i, j in parts]
    return Attribute(f"{one.name} x {two.name}", levels, place, [[*one.raw[i], *two.raw[j]] for i, j in parts])
