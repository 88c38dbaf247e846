"""What the manifest of exported heads may say: it is read from a folder that anybody may have written.

Everything is checked before anything is built of it. Sizes are those of the tensors that the weight file holds, so that
a number in the manifest cannot ask for more memory than the file takes.
"""

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from safetensors import safe_open

from emonet_lightning.errors import DataError, MissingInputError
from emonet_lightning.heads import OutputMap
from emonet_lightning.io import read_json
from emonet_lightning.signed_json import read_signed

FORMAT = 3
"""Of heads whose manifest ends with its own digest."""
MAX_MANIFEST_BYTES = 64 * 2**20
MAX_WIDTH = 2**20
MAX_LAYERS = 64
MAX_DIMENSIONS = 10_000
MAX_LEVEL = 1e6
MAX_SIDE = 16_384
"""Pixels of an encoder's input."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_COLUMN = {"name", "slug", "low", "high", "family"}
_FLOATS = ("F64", "F32", "F16", "BF16")
_REMEDY = "export the heads again"

Check = Callable[[Any], bool]


def read_manifest(path: Path, weights: str) -> dict[str, Any]:
    """Read a manifest of heads and refuse one that cannot be what an export or a run wrote.

    Args:
        path: of the manifest.
        weights: name of the file of weights whose digest it holds.

    Raises:
        DataError: too large, no JSON, changed, or a field that is missing or wrong, which is named.
    """
    if path.is_file() and path.stat().st_size > MAX_MANIFEST_BYTES:
        raise DataError(f"{path}: {path.stat().st_size:,} bytes; not a manifest of heads; {_REMEDY}")
    manifest = read_json(path)
    try:
        _check(manifest, weights)
    except _WrongField as wrong:
        raise DataError(f"{path}: {wrong}; {_REMEDY}") from None
    return read_signed(path, _REMEDY)  # last: of a file that is no manifest at all, that is the better thing to say


def check_weights(path: Path, manifest: dict[str, Any], where: Path) -> None:
    """Compare the names and shapes of a weight file's tensors with a manifest, reading the file's header only.

    Args:
        path: of the weights.
        manifest: as `read_manifest` returned it.
        where: its file, named in errors.

    Raises:
        MissingInputError: no such file.
        DataError: not safetensors, or tensors other than those that the manifest describes.
    """
    if not path.is_file():
        raise MissingInputError(f"{path}: no such file")
    try:
        with safe_open(path, "pt") as stream:
            names = stream.keys()  # the file itself cannot be gone through
            slices = {name: stream.get_slice(name) for name in names}
            found = {name: list(tensor.get_shape()) for name, tensor in slices.items()}
            types = {name: tensor.get_dtype() for name, tensor in slices.items()}
    except Exception as error:  # safetensors raises its own untyped error
        raise DataError(f"{path}: not a safetensors file ({' '.join(str(error).split())}); {_REMEDY}") from error
    expected = _shapes(manifest)
    found_means = found.pop("neutral_means", None)
    if found_means not in (None, [len(manifest["taxonomy"]["dimensions"])]):
        raise DataError(f"{path}: 'neutral_means' has shape {found_means}, not one number a column; {_REMEDY}")
    for name in sorted(expected.keys() | found.keys()):
        if found.get(name) != expected.get(name):
            has, says = (str(shapes.get(name, "no such tensor")) for shapes in (found, expected))
            raise DataError(f"{where}: heads: '{name}' should be {says}, {path.name} has {has}; {_REMEDY}")
    for name, dtype in types.items():
        if dtype not in _FLOATS:
            raise DataError(f"{path}: '{name}' is of type {dtype}, not of floating point; {_REMEDY}")


class _WrongField(Exception):
    """Says which field is what it cannot be."""


def _check(manifest: Any, weights: str) -> None:
    if not isinstance(manifest, dict):
        raise _WrongField("not a manifest of heads (a mapping is needed)")
    if "format" not in manifest or "heads" not in manifest:
        raise _WrongField("not a manifest of heads ('format' or 'heads' is missing)")
    if type(manifest["format"]) is not int or manifest["format"] != FORMAT:
        raise _WrongField(f"format {_shown(manifest['format'])}, this version reads {FORMAT}")
    _taxonomy(_field(manifest, "taxonomy", _mapping, "a mapping"))
    _encoder(_field(manifest, "encoder", _mapping, "a mapping"))
    _heads(_field(manifest, "heads", _mapping, "a mapping"))
    _field(manifest, "l2_normalise", _flag, "true or false")
    _field(manifest, "neutral_means", _or_null(_mapping), "a mapping or null")
    _field(manifest, "training", _mapping, "a mapping")
    files = _field(manifest, "files", _mapping, "a mapping")
    _field(files, weights, _digest, "a sha256 of 64 digits", "files.")
    for name in files:
        if not _word(name) or Path(name).name != name:
            raise _WrongField(f"files: {_shown(name)} is not the name of a file beside it")
        _field(files, name, _digest, "a sha256 of 64 digits", "files.")


def _taxonomy(content: dict[str, Any]) -> None:
    _field(content, "name", _word, "a word", "taxonomy.")
    _field(content, "digest", _digest, "a sha256 of 64 digits", "taxonomy.")
    columns = _field(content, "dimensions", _listed(1, MAX_DIMENSIONS, _mapping), "a list of columns", "taxonomy.")
    _field(content, "num_emotions", _whole(0, len(columns)), f"a number of columns, 0..{len(columns)}", "taxonomy.")
    for number, column in enumerate(columns):
        where = f"taxonomy.dimensions[{number}]."
        if column.keys() != _COLUMN:
            raise _WrongField(f"{where.rstrip('.')}: {', '.join(sorted(_COLUMN))} are needed, and nothing else")
        for name in ("name", "slug"):
            _field(column, name, _word, "a word", where)
        _field(column, "family", _or_null(_word), "a word or null", where)
        low = _field(column, "low", _number(-MAX_LEVEL, MAX_LEVEL), "a level", where)
        _field(column, "high", _level_above(low), f"a level above {low}", where)


def _encoder(content: dict[str, Any]) -> None:
    """Types of the fields of EncoderSpec, whose values are the encoder's business; a field may be left out."""
    text, triple = (_or_null(_word), "a word or null"), (_or_null(_listed(3, 3, _number(-1e3, 1e3))), "three numbers")
    known: dict[str, tuple[Check, str]] = {
        "name": (_word, "a word"),
        "options": (_mapping, "a mapping"),
        "dtype": (_word, "a word"),
        "compile": (_flag, "true or false"),
        "resize_on": (_word, "a word"),
        "size": (_or_null(_whole(1, MAX_SIDE)), f"1..{MAX_SIDE} pixels or null"),
        "crop_pct": (_or_null(_number(0, 1)), "a share in (0, 1] or null"),
        "preprocess": (_or_null(_mapping), "a mapping or null"),
        "fingerprint": (_or_null(_digest), "a sha256 of 64 digits or null"),
        **dict.fromkeys(("weights", "sha256", "revision", "interpolation", "resize", "weights_sha256"), text),
        **dict.fromkeys(("mean", "std"), triple),
    }
    for name, (check, needed) in known.items():
        if name in content:
            _field(content, name, check, needed, "encoder.")


def _heads(content: dict[str, Any]) -> None:
    size = f"1..{MAX_WIDTH:,}"
    _field(content, "in_features", _whole(1, MAX_WIDTH), f"a width of {size}", "heads.")
    widths = _field(
        content, "widths", _listed(0, MAX_LAYERS, _whole(1, MAX_WIDTH)), f"a list of widths of {size}", "heads."
    )
    one_each = _listed(len(widths), len(widths), _rate)
    needed = f"a rate in [0, 1), or one for each of {len(widths)} layers"
    _field(content, "dropout", lambda value: _rate(value) or one_each(value), needed, "heads.")
    maps = get_args(OutputMap)
    output_map = _field(
        content, "output_map", lambda value: _word(value) and value in maps, " or ".join(maps), "heads."
    )
    # without a bias there is no level to add up
    low = 1 if output_map == "coral" else 0
    _field(content, "num_thresholds", _whole(low, MAX_WIDTH), f"a number of {low} or more", "heads.")


def _shapes(manifest: dict[str, Any]) -> dict[str, list[int]]:
    """Shape of each tensor of the heads that a manifest describes, by name."""
    layout, heads = manifest["heads"], len(manifest["taxonomy"]["dimensions"])
    shapes = {}
    for depth, (inputs, outputs) in enumerate(itertools.pairwise([layout["in_features"], *layout["widths"], 1])):
        shapes[f"layers.{depth}.weight"] = [heads, outputs, inputs]
        shapes[f"layers.{depth}.bias"] = [heads, outputs]
    if layout["num_thresholds"]:
        shapes["thresholds"] = [heads, layout["num_thresholds"]]
    return shapes


def _field(content: dict[str, Any], name: str, check: Check, needed: str, where: str = "") -> Any:
    if name not in content:
        raise _WrongField(f"{where}{name} is missing: {needed} is needed")
    if not check(content[name]):
        raise _WrongField(f"{where}{name}: {needed} is needed, not {_shown(content[name])}")
    return content[name]


def _shown(value: Any) -> str:
    if isinstance(value, dict | list) and len(value) > 8:
        return f"{type(value).__name__} of {len(value)}"
    return "".join(sign if sign.isprintable() else "?" for sign in repr(value)[:80])


def _mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _word(value: Any) -> bool:
    """A line of text: one that becomes part of a path or of a message."""
    return isinstance(value, str) and len(value) <= 4096 and not set(value) & {"\0", "\n", "\r"}


def _digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _rate(value: Any) -> bool:
    return _number(0, 1)(value) and value < 1


def _level_above(low: float) -> Check:
    level = _number(-MAX_LEVEL, MAX_LEVEL)
    return lambda value: level(value) and value > low


def _number(low: float, high: float) -> Check:
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _whole(low: int, high: int) -> Check:
    return lambda value: type(value) is int and low <= value <= high


def _listed(shortest: int, longest: int, check: Check) -> Check:
    return lambda value: isinstance(value, list) and shortest <= len(value) <= longest and all(map(check, value))


def _or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)
