"""What a model card is written from: files that a run left and reports that judge its heads, each with its digest."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from emonet_lightning.bundle import WEIGHTS_FILE
from emonet_lightning.errors import DataError, MissingInputError
from emonet_lightning.io import read_bytes, read_json, sha256_bytes
from emonet_lightning.packing.ledger import USE_FILE
from emonet_lightning.packing.packed import FORMAT as PACKED_FORMAT
from emonet_lightning.redaction import redact
from emonet_lightning.yaml_files import read_yaml

OPTIONS_FILE = "run.yaml"
RUN_FILES = {"results.json": "results", USE_FILE: "use", OPTIONS_FILE: "options"}
"""Files of a run that say nothing of their kind themselves."""
REPORTS = ("agreement", "audit", "transfer", "leaks", "robustness")
"""`KIND.json`, each with a `schema` that names it."""
_SCHEMA = "emonet_lightning "
_MANIFEST = "manifest.json"


class Evidence(NamedTuple):
    """One file."""

    file: str
    """Its name, and that of the folder it lies in; never a whole path."""
    sha256: str
    kind: str
    """`heads`, `results`, `use`, `options`, `packed set`, or one of `REPORTS`."""
    content: dict[str, Any]
    """Without secrets."""
    is_given: bool
    """Whether somebody named it, and it was not found beside the heads."""


def collect(folder: Path, given: Sequence[str] = ()) -> list[Evidence]:
    """Read what lies beside heads, and what else is named.

    Args:
        folder: a run, or exported heads.
        given: files, or folders that hold such files.

    Raises:
        MissingInputError: something named that is not there.
        DataError: a file that is none of these; names it.
    """
    found = [_read(path, path.name) for path in _known(folder) if path.name != _MANIFEST]
    stages = [
        str(stage.get("name")) for each in of_kind(found, "options") for stage in each.content.get("stages") or []
    ]
    for place in [*(folder / name for name in stages if Path(name).name == name), folder]:  # the last one is the run's
        if (place / WEIGHTS_FILE).is_file() and (place / _MANIFEST).is_file():
            name = _MANIFEST if place == folder else f"{place.name}/{_MANIFEST}"
            found.append(_read(place / _MANIFEST, name))
    for word in given:
        path = Path(word)
        files = list(_known(path)) if path.is_dir() else [path]
        if not files:
            names = ", ".join(f"{kind}.json" for kind in REPORTS)
            raise MissingInputError(f"--evidence {word}: holds none of {names}, and no manifest.json of a packed set")
        found += [_read(file, f"{file.resolve().parent.name}/{file.name}")._replace(is_given=True) for file in files]
    return found


def _known(folder: Path) -> Iterable[Path]:
    names = [*RUN_FILES, *(f"{kind}.json" for kind in REPORTS), _MANIFEST]
    return [folder / name for name in names if (folder / name).is_file()]


def _read(path: Path, name: str) -> Evidence:
    digest = sha256_bytes(read_bytes(path))
    content = redact(read_yaml(path) if path.name == OPTIONS_FILE else read_json(path, digest))
    kind: str | None
    if not isinstance(content, dict):
        raise DataError(f"{path}: not a report of this package; name agreement.json, audit.json, leaks.json, ...")
    if path.name in RUN_FILES:
        kind = RUN_FILES[path.name]
    elif path.name == _MANIFEST:
        kind = "packed set" if content.get("format") == PACKED_FORMAT else "heads"
    else:
        words = str(content.get("schema", "")).removeprefix(_SCHEMA).split()
        kind = next((kind for kind in REPORTS if kind in words), None)
    if kind is None:
        kinds = ", ".join(REPORTS)
        raise DataError(f"{path}: its `schema` is not that of a report ({kinds}); make the report again")
    return Evidence(name, digest, kind, content, False)


def of_kind(evidence: Iterable[Evidence], kind: str) -> list[Evidence]:
    """Return the files of a kind, in their order."""
    return [each for each in evidence if each.kind == kind]
