"""Weight files of encoders: self-describing ones, digests of foreign ones.

A self-describing file is safetensors whose header says architecture, options, preprocessing and origin (key
`emonet_encoder`, JSON); the embedded encoder is one. A foreign file is what a library or a user has. Both are hashed at
first use and the digest is kept in the user's cache folder, so that a file changed behind one's back is noticed.
"""

import json
import logging
import os
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from emonet_lightning.errors import DataError, EmoNetError, MissingInputError
from emonet_lightning.io import atomic_write, read_json, save_tensors, sha256_bytes, sha256_file
from emonet_lightning.local_paths import expand_home, refuse_address

logger = logging.getLogger(__name__)

HEADER_KEY = "emonet_encoder"
_digests: dict[tuple[str, int, int], str] = {}


def embedded_path() -> Path:
    """Path of the encoder that the package carries."""
    return Path(str(resources.files("emonet_lightning"))) / "assets" / "encoder.safetensors"


def save_encoder_file(
    path: Path | str,
    state: dict[str, torch.Tensor],
    *,
    architecture: str,
    options: dict[str, Any],
    preprocess: dict[str, Any],
    card: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float16,
) -> str:
    """Write a self-describing encoder file; floating-point tensors are stored as `dtype`.

    Args:
        path: target, by convention `*.safetensors`.
        state: the module's `state_dict()`.
        architecture: `NAME` or `timm/NAME` for timm, `open_clip/NAME` for an open_clip visual tower.
        options: arguments of the library's constructor.
        preprocess: fields of `PreprocessSpec`.
        card: origin, licence, training command, figures.
        dtype: stored precision.

    Returns:
        Hex sha256 of the file.
    """
    tensors = {
        name: tensor.detach().cpu().to(dtype) if tensor.is_floating_point() else tensor.detach().cpu()
        for name, tensor in state.items()
    }
    header = {"architecture": architecture, "options": options, "preprocess": preprocess, "card": card or {}}
    digest = save_tensors(path, tensors, {HEADER_KEY: json.dumps(header, sort_keys=True)})
    remember_digest(Path(path), digest)
    return digest


def read_encoder_header(path: Path | str) -> dict[str, Any]:
    """Return what a self-describing encoder file says of itself.

    Raises:
        MissingInputError: no such file.
        DataError: not safetensors, or without the header.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInputError(f"{path}: no such encoder file")
    stat = path.stat()
    return json.loads(_header_text(str(path), stat.st_size, stat.st_mtime_ns))


@cache
def _header_text(path: str, size: int, mtime_ns: int) -> str:
    try:
        with safe_open(path, "pt") as stream:
            metadata = stream.metadata() or {}
    except Exception as error:  # safetensors raises its own untyped error
        raise DataError(f"{path}: not a safetensors file ({' '.join(str(error).split())})") from error
    text = metadata.get(HEADER_KEY)
    if text is None:
        raise DataError(
            f"{path}: its header does not say which encoder it is (no '{HEADER_KEY}'); name the architecture, "
            "e.g. --model.encoder.name timm/NAME --model.encoder.weights FILE"
        )
    try:
        missing = {"architecture", "preprocess"} - json.loads(text).keys()
    except (ValueError, RecursionError, AttributeError) as error:
        raise DataError(f"{path}: header '{HEADER_KEY}' is not a JSON object ({error})") from error
    if missing:
        raise DataError(f"{path}: header '{HEADER_KEY}' lacks {', '.join(sorted(missing))}")
    return text


def weights_digest(path: Path | str, pinned: str | None = None, *, verify: bool = False) -> str:
    """Return the sha256 of a weight file, hashing it at most once per (path, size, modification time).

    The digest is kept at first use and compared ever after; a file that was replaced is taken where its digest is
    pinned, and the embedded encoder's is pinned by the package.

    Args:
        path: the weight file.
        pinned: what the digest must be.
        verify: read the file again and compare with the digest kept at first use.

    Raises:
        UsageError: the path is a URL.
        MissingInputError: no such file.
        DataError: not the pinned content, or changed since first use.
    """
    refuse_address(str(path), "weights")
    path = Path(path).absolute()
    if not path.is_file():
        raise MissingInputError(f"{path}: no such weight file")
    if pinned is None and path == embedded_path():
        pinned = str(read_json(path.with_suffix(".json"))["sha256"])
    stat = path.stat()
    key = (str(path), stat.st_size, stat.st_mtime_ns)
    record = _recall(path)
    known = _digests.get(key)
    if known is None and record is not None and (record["size"], record["mtime_ns"]) == key[1:]:
        known = str(record["sha256"])
    digest = sha256_file(path) if known is None or verify else known
    if pinned is not None and digest != pinned.lower():
        raise DataError(
            f"{path}: sha256 is {digest}, but the encoder is pinned to {pinned}; use the right file or change the pin"
        )
    before = known or (record["sha256"] if record is not None else None)
    if pinned is None and before is not None and digest != before:
        raise DataError(
            f"{path}: content changed since first use (sha256 {digest[:12]}, recorded {str(before)[:12]}): fetch it "
            f"again if it is damaged; if it was replaced on purpose, pin encoder.sha256 or delete {digest_record(path)}"
        )
    if record is None or (record["size"], record["mtime_ns"], record["sha256"]) != (*key[1:], digest):
        remember_digest(path, digest)
    _digests[key] = digest
    return digest


def remember_digest(path: Path, digest: str) -> None:
    """Keep the digest of a weight file that this project wrote or read, to compare it with ever after."""
    path = path.absolute()
    stat = path.stat()
    record = {"path": str(path), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": digest}
    try:
        atomic_write(digest_record(path), json.dumps(record) + "\n")
    except EmoNetError as error:  # a home without write permission costs one hash per process, no more
        logger.debug("digest not kept: %s", error)


def digest_record(path: Path) -> Path:
    """Return the file in which the digest of a weight file is kept, whether it is there or not."""
    path = path.absolute()
    root = expand_home(os.environ.get("EMONET_CACHE") or "~/.cache/emonet_lightning")
    return root / "weights" / f"{sha256_bytes(str(path).encode())[:32]}.json"


def _recall(path: Path) -> dict[str, Any] | None:
    place = digest_record(path)
    if not place.is_file():
        return None
    try:
        record = read_json(place)
        whole = isinstance(record, dict) and {"size", "mtime_ns", "sha256"} <= record.keys()
        return record if whole else None
    except EmoNetError:  # a damaged record is no record: the file is hashed again
        return None
