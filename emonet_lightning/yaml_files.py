"""YAML as configurations, taxonomies and maps use it: data alone, bounded in size, nothing said twice.

Bytes, nesting and repeated parts are counted before anything is built, so a file of a few lines cannot fill the memory.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import yaml

from emonet_lightning.errors import DataError, MissingInputError, nearest
from emonet_lightning.io import read_bytes

MAX_BYTES = 1_000_000
MAX_DEPTH = 40
MAX_VALUES = 50_000
_STANDARD = "tag:yaml.org,2002:"
_TAGS = {None, "!", *(_STANDARD + kind for kind in ("str", "int", "float", "bool", "null", "map", "seq"))}
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_TAB = re.compile(r"^ *\t", re.MULTILINE)
_NUMBERS = ("int", "float", "timestamp", "bool")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Numbers as JSON and Python write them: `1e-3` is one, `12:30` and `2024-01-01` are text."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in found if tag.removeprefix(_STANDARD) not in _NUMBERS]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Quotes text that this reader, or a usual one, would take for something else."""


for _kind, _pattern in (
    ("int", r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F]+)$"),
    (
        "float",
        r"(?:[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+|\.[0-9]+(?:[eE][-+]?[0-9]+)?"
        r"|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN))$",
    ),
):
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_STANDARD + _kind, re.compile(_pattern), "-+0123456789.")
_Loader.add_implicit_resolver(
    _STANDARD + "bool",
    re.compile(r"(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$"),
    "yYnNtTfFoO",
)


def read_yaml(path: Path | str) -> Any:
    """Read a YAML file.

    Raises:
        MissingInputError: no such file.
        DataError: not YAML of the kind that is read here; names file and place.
    """
    path = Path(path)
    if path.is_dir():
        raise MissingInputError(f"{path}: is a folder, a YAML file is needed")
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        _refuse_size(path.stat().st_size, str(path))
    return parse_yaml(read_bytes(path), str(path))


def parse_yaml(content: bytes | str, where: str, *, finite: bool = True) -> Any:
    """Return what a YAML text holds, as primitives.

    Args:
        content: the text, or a file's bytes.
        where: what to call it in errors.
        finite: refuse numbers that are not.

    Raises:
        DataError: not UTF-8, a byte order mark or control character, no YAML, two documents, a key that stands twice,
            tags that name types, a number that is not finite, too large, too deep, or too many repetitions.
    """
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    text = _decoded(data, where)
    try:
        _check(text, where)
        found = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise DataError(f"{where}{_place(error)}: not YAML ({_reason(error, text)})") from error
    except (ValueError, OverflowError, RecursionError) as error:  # a number of ten thousand digits
        raise DataError(f"{where}: not YAML ({' '.join(str(error).split())[:200]})") from error
    for field, value in numbers(found) if finite else ():
        if not math.isfinite(value):
            raise DataError(f"{where}: {field or 'the value'} is {value}; write a finite number")
    return found


def dump_yaml(content: Any) -> str:
    """Return YAML text of primitives, keys in their order."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def numbers(content: Any, field: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers in nested mappings and lists that are no whole ones, each with its dotted field."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from numbers(value, f"{field}.{key}" if field else str(key))
    elif isinstance(content, list | tuple):
        for position, value in enumerate(content):
            yield from numbers(value, f"{field}[{position}]")
    elif isinstance(content, float):
        yield field, content


def _refuse_size(size: int, where: str) -> NoReturn:
    raise DataError(f"{where}: {size:,} bytes; a file of settings has at most {MAX_BYTES:,}")


def _decoded(data: bytes, where: str) -> str:
    if len(data) > MAX_BYTES:
        _refuse_size(len(data), where)
    if data.startswith(b"\xef\xbb\xbf"):
        raise DataError(f"{where}: begins with a byte order mark (byte 0); save it as UTF-8 without one")
    if found := _CONTROL.search(data):
        raise DataError(f"{where}: byte 0x{found[0][0]:02x} at offset {found.start()} is no text; remove it")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: not UTF-8 (byte 0x{data[error.start]:02x} at offset {error.start}); save it as UTF-8"
        ) from error


def _check(text: str, where: str) -> None:
    """Go through the events once: nothing is built of them."""
    sizes: dict[str, int] = {}
    open_nodes: list[_Open] = [_Open(None, False)]
    total = documents = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise DataError(f"{where}, line {line}: a second document begins; keep one in a file")
        elif isinstance(event, yaml.CollectionEndEvent):
            ended = open_nodes.pop()
            if ended.anchor is not None:
                sizes[ended.anchor] = ended.size
            open_nodes[-1].size += ended.size
        elif isinstance(event, yaml.NodeEvent):
            parent = open_nodes[-1]
            is_key = parent.mapping and parent.children % 2 == 0
            parent.children += 1
            size = 1
            if isinstance(event, yaml.AliasEvent):
                if event.anchor not in sizes:
                    raise DataError(f"{where}, line {line}: '*{event.anchor}' stands for nothing before it, or itself")
                size = sizes[event.anchor]
            elif event.tag not in _TAGS:
                raise DataError(
                    f"{where}, line {line}: the tag '{_short(event.tag)}' names a type; write plain text, numbers, "
                    "lists and mappings"
                )
            if is_key:
                _check_key(parent, event, where, line)
            if isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append(_Open(event.anchor, isinstance(event, yaml.MappingStartEvent)))
                if len(open_nodes) > MAX_DEPTH:
                    raise DataError(f"{where}, line {line}: nested more than {MAX_DEPTH} deep")
            else:
                if event.anchor is not None and isinstance(event, yaml.ScalarEvent):
                    sizes[event.anchor] = 1
                parent.size += size
            total += size
            if total > MAX_VALUES:
                raise DataError(
                    f"{where}, line {line}: more than {MAX_VALUES:,} values, repeated ones (*name) counted each time"
                )


class _Open:
    """A mapping or list that has begun."""

    def __init__(self, anchor: str | None, mapping: bool) -> None:
        self.anchor = anchor
        self.mapping = mapping
        self.children = 0
        self.size = 1
        self.keys: dict[str, int] = {}


def _check_key(parent: _Open, event: Any, where: str, line: int) -> None:
    if not isinstance(event, yaml.ScalarEvent):
        raise DataError(f"{where}, line {line}: a key is plain text, not a list, a mapping or an alias")
    if event.value in parent.keys:
        first = parent.keys[event.value]
        raise DataError(f"{where}: '{event.value[:80]}' stands twice, in lines {first} and {line}; keep one")
    parent.keys[event.value] = line


def _short(tag: str) -> str:
    return (tag.replace(_STANDARD, "!!") if tag.startswith(_STANDARD) else tag)[:80]


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""


def _reason(error: yaml.YAMLError, text: str) -> str:
    if found := _TAB.search(text):
        offset = len(text[: found.end() - 1].encode())
        return f"a tab at byte {offset}, line {text.count(chr(10), 0, found.end()) + 1}; indent with spaces"
    parts = (getattr(error, "context", None), getattr(error, "problem", None))
    return " ".join(" ".join(filter(None, parts)).split())[:200] or type(error).__name__


def mapping_of(where: str, content: Any, known: set[str] | None = None) -> dict[Any, Any]:
    """Return what was parsed if it is a mapping, with no other keys than the known ones.

    Raises:
        DataError: it is none, or has another key; names it.
    """
    if not isinstance(content, dict):
        raise DataError(f"{where}: a mapping (key: value) is needed, not {type(content).__name__}")
    for key in content:
        if known is not None and key not in known:
            raise DataError(f"{where}: unknown key '{key}'; {nearest(str(key), known)}")
    return content
