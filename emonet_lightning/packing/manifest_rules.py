"""What a manifest may say: a digest shows that it was not changed, not that who wrote it meant well.

Files are names inside the set's folder, members lie inside their shard, and nothing is listed twice, so that reading
by offset can neither leave the folder nor ask for more memory than an image takes. Every field that is read later is
there and of its type, so that a manifest of another program is refused here and not by whoever reads it.
"""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import numpy as np

from emonet_lightning.errors import DataError
from emonet_lightning.packing.images import MAX_BYTES
from emonet_lightning.packing.samples import check_key
from emonet_lightning.ratings.long_form import Kind

_SHARD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.tar")
_MAX_RECORD_BYTES = 64 * 2**20
_NULL = type(None)
_FIELDS: dict[str, type] = {
    "name": str,
    "kind": str,
    "licence": str,
    "sealed": bool,
    "num_samples": int,
    "digest": str,
    "label_digest": str,
    "splits": dict,
    "taxonomy": dict,
    "ratings": dict,
    "shards": list,
    "index": dict,
}
_TAXONOMY: dict[str, type] = {"name": str, "digest": str, "num_emotions": int, "dimensions": list}
_RATINGS: dict[str, type] = {"sha256": str, "raters": list, "slugs": list}
_RATINGS_FILE: dict[str, type] = {"file": str, "bytes": int}
_SHARDS: dict[str, type] = {"file": str, "bytes": int, "sha256": str, "n": int}
_COLUMNS: dict[str, tuple[type, ...]] = {
    "key": (str,),
    "shard": (int,),
    "image_offset": (int,),
    "image_bytes": (int,),
    "image_sha256": (str,),
    "json_offset": (int,),
    "json_bytes": (int,),
    "split": (str,),
    "group": (str, _NULL),
    "prompted": (str, _NULL),
}
_HEX = {"image_sha256": 64, "json_sha256": 64, "phash": 16}
_IN_WORDS = {str: "text", int: "whole numbers", bool: "true or false", list: "a list", dict: "an object", _NULL: "null"}


class _Wrong(Exception):
    """Field, and what is wrong with it."""

    def __init__(self, field: str, what: str) -> None:
        super().__init__(f"{field}: {what}")


def check_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Refuse a manifest that lacks something, contradicts itself or points outside.

    Args:
        path: its file, for the error.
        manifest: as read.

    Raises:
        DataError: names the field.
    """
    try:
        _check_fields("", manifest, _FIELDS)
        if manifest["kind"] not in get_args(Kind):
            raise _Wrong("kind", f"{manifest['kind']!r} is none of {', '.join(get_args(Kind))}")
        if manifest["num_samples"] < 1:
            raise _Wrong("num_samples", "must be at least 1")
        _check_shards(manifest["shards"])
        _check_taxonomy(manifest["taxonomy"])
        _check_index(manifest)
        _check_ratings(manifest)
    except _Wrong as error:
        raise DataError(f"{path}: not a manifest that `pack` wrote ({error}); pack the set again") from None


def _check_fields(where: str, content: Any, fields: dict[str, type]) -> None:
    """Refuse an object that lacks one of the fields, or holds another type in it."""
    if not isinstance(content, dict):
        raise _Wrong(where, f"an object is needed, not {_shown(content)}")
    for name, kind in fields.items():
        field = f"{where}.{name}" if where else name
        if name not in content:
            raise _Wrong(field, "is missing")
        _check_type(field, [content[name]], (kind,))
        if kind is int and not 0 <= content[name] < 2**63:
            raise _Wrong(field, f"{_shown(content[name])} is out of range")


def _check_type(field: str, values: Iterable[Any], kinds: tuple[type, ...]) -> None:
    """Refuse values of other types; a true is no number, and text must be Unicode that can be written."""
    values = list(values)
    if not set(map(type, values)) <= set(kinds):
        other = next(value for value in values if type(value) not in kinds)
        raise _Wrong(field, f"{_shown(other)} where {' or '.join(_IN_WORDS[kind] for kind in kinds)} must be")
    if str in kinds:
        try:
            "".join(value for value in values if value is not None).encode()
        except UnicodeEncodeError:
            raise _Wrong(field, "holds text that is not valid Unicode") from None


def _shown(value: Any) -> str:
    return repr(value)[:60]


def _check_shards(shards: list[Any]) -> None:
    for number, shard in enumerate(shards):
        _check_fields(f"shards[{number}]", shard, _SHARDS)
        if not _SHARD.fullmatch(shard["file"]):
            raise _Wrong("shards", f"{shard['file']!r} is not the name of a tar file")
    if not shards:
        raise _Wrong("shards", "none is listed")
    file, count = Counter(shard["file"] for shard in shards).most_common(1)[0]
    if count > 1:
        raise _Wrong("shards", f"{file} is listed twice")


def _check_taxonomy(taxonomy: dict[str, Any]) -> None:
    _check_fields("taxonomy", taxonomy, _TAXONOMY)
    dimensions = taxonomy["dimensions"]
    for number, entry in enumerate(dimensions):
        field = f"taxonomy.dimensions[{number}]"
        _check_fields(field, entry, {"name": str, "slug": str})
        for bound in ("low", "high"):
            if type(entry.get(bound)) not in (int, float):
                raise _Wrong(f"{field}.{bound}", f"{_shown(entry.get(bound))} where a number must be")
        _check_type(f"{field}.family", [entry.get("family")], (str, _NULL))
        if unknown := entry.keys() - {"name", "slug", "low", "high", "family"}:
            raise _Wrong(field, f"unknown entry {_shown(min(unknown))}")
    if taxonomy["num_emotions"] > len(dimensions):
        raise _Wrong("taxonomy.num_emotions", f"{taxonomy['num_emotions']} of {len(dimensions)} dimensions")


def _check_index(manifest: dict[str, Any]) -> None:
    index, shards, count = manifest["index"], manifest["shards"], manifest["num_samples"]
    _check_fields("index", index, dict.fromkeys(_COLUMNS, list))
    if "phash" not in index:
        raise _Wrong("index.phash", "is missing")
    for name, column in index.items():
        if column is None and name not in _COLUMNS and name != "json_sha256":
            continue
        _check_type(f"index.{name}", [column], (list,))
        if len(column) != count:
            raise _Wrong(f"index.{name}", f"{len(column)} entries for {count} samples")
        if name in _HEX:
            _check_hex(f"index.{name}", column, _HEX[name])
        elif name in _COLUMNS:
            _check_type(f"index.{name}", column, _COLUMNS[name])
    _check_keys(index["key"])
    _check_type("splits", manifest["splits"].values(), (int,))
    if dict(Counter(index["split"])) != manifest["splits"]:
        raise _Wrong("splits", "not the names and sizes of those in index.split")
    slugs = {entry["slug"] for entry in manifest["taxonomy"]["dimensions"]}
    if unknown := set(index["prompted"]) - slugs - {None}:
        raise _Wrong("index.prompted", f"{_shown(min(unknown))} is not in the taxonomy")
    if sum(shard["n"] for shard in shards) != count or index["shard"] != [
        number for number, shard in enumerate(shards) for _ in range(shard["n"])
    ]:
        raise _Wrong("index.shard", "not the number of samples that the shards have")
    of = np.array(index["shard"])
    sizes = np.array([shard["bytes"] for shard in shards], dtype=np.int64)
    for part, limit in (("image", MAX_BYTES), ("json", _MAX_RECORD_BYTES)):
        try:
            offset = np.array(index[f"{part}_offset"], dtype=np.int64)
            size = np.array(index[f"{part}_bytes"], dtype=np.int64)
        except OverflowError:
            raise _Wrong(f"index.{part}_offset", "holds a number beyond any file") from None
        # not offset + size, which may be beyond 64 bits
        outside = (offset < 0) | (size < 0) | (size > limit) | (offset > sizes[of] - size)
        if outside.any():
            key = index["key"][int(outside.argmax())]
            raise _Wrong(f"index.{part}_offset", f"sample '{key}' lies outside its shard")


def _check_hex(field: str, column: list[Any], digits: int) -> None:
    _check_type(field, column, (str,))
    pattern = re.compile(f"[0-9a-f]{{{digits}}}")
    for value in column:
        if not pattern.fullmatch(value):
            raise _Wrong(field, f"{_shown(value)} is not {digits} hex digits")


def _check_keys(keys: list[str]) -> None:
    if len(set(keys)) != len(keys):
        raise _Wrong("index.key", "a key is given twice")
    for key in keys:
        try:
            check_key(key, "")
        except DataError:
            raise _Wrong("index.key", f"{_shown(key)} cannot be a sample's key") from None


def _check_ratings(manifest: dict[str, Any]) -> None:
    ratings = manifest["ratings"]
    _check_fields("ratings", ratings, _RATINGS)
    if "inputs" in manifest:  # only a set that `pack` may be asked for again needs these
        _check_type("inputs", [manifest["inputs"]], (str,))
        _check_fields("ratings", ratings, _RATINGS_FILE)
    _check_type("ratings.raters", ratings["raters"], (str,))
    if len(set(ratings["raters"])) != len(ratings["raters"]):
        raise _Wrong("ratings.raters", "a rater is given twice")
    if ratings["slugs"] != [entry["slug"] for entry in manifest["taxonomy"]["dimensions"]]:
        raise _Wrong("ratings.slugs", "not those of the taxonomy")
    if len(set(ratings["slugs"])) != len(ratings["slugs"]):
        raise _Wrong("ratings.slugs", "a slug is given twice")
    silent = ratings.get("silent", [])
    _check_type("ratings.silent", [silent], (list,))
    _check_type("ratings.silent", silent, (list,))
    for pair in silent:
        _check_type("ratings.silent", pair, (int,))
        if len(pair) != 2 or not (0 <= pair[0] < manifest["num_samples"] and 0 <= pair[1] < len(ratings["raters"])):
            raise _Wrong("ratings.silent", f"{_shown(pair)} is not a sample's row and a rater's number")
