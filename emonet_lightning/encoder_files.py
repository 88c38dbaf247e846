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
    return save_tensors(path, tensors, {HEADER_KEY: json.dumps(header, sort_keys=True)})


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
    except (json.JSONDecodeError, AttributeError) as error:
        raise DataError(f"{path}: header '{HEADER_KEY}' is not a JSON object ({error})") from error
    if missing:
        raise DataError(f"{path}: header '{HEADER_KEY}' lacks {', '.join(sorted(missing))}")
    return text


def weights_digest(path: Path | str, pinned: str | None = None, *, verify: bool = False) -> str:
    """Return the sha256 of a weight file, hashing it at most once per (path, size, modification time).

    Args:
        path: the weight file.
        pinned: what the digest must be.
        verify: read the file again and compare with the digest kept at first use.

    Raises:
        MissingInputError: no such file.
        DataError: not the pinned content, or changed since first use without a new modification time.
    """
    path = Path(path).absolute()
    if not path.is_file():
        raise MissingInputError(f"{path}: no such weight file")
    stat = path.stat()
    key = (str(path), stat.st_size, stat.st_mtime_ns)
    known = _digests.get(key) or _recall(key)
    digest = sha256_file(path) if known is None or verify else known
    if known is not None and digest != known:
        raise DataError(
            f"{path}: content changed since first use (sha256 {digest[:12]}, recorded {known[:12]}) although size and "
            "time did not: the file is damaged; fetch it again"
        )
    if pinned is not None and digest != pinned.lower():
        raise DataError(
            f"{path}: sha256 is {digest}, but the encoder is pinned to {pinned}; use the right file or change the pin"
        )
    if known is None:
        _remember(key, digest)
    _digests[key] = digest
    return digest


def _record_path(path: str) -> Path:
    root = Path(os.environ.get("EMONET_CACHE") or "~/.cache/emonet_lightning").expanduser()
    return root / "weights" / f"{sha256_bytes(path.encode())[:32]}.json"


def _recall(key: tuple[str, int, int]) -> str | None:
    path = _record_path(key[0])
    if not path.is_file():
        return None
    try:
        record = read_json(path)
        return str(record["sha256"]) if (record["size"], record["mtime_ns"]) == key[1:] else None
    except (EmoNetError, KeyError, TypeError):  # a damaged record is no record: the file is hashed again
        return None


def _remember(key: tuple[str, int, int], digest: str) -> None:
    record = {"path": key[0], "size": key[1], "mtime_ns": key[2], "sha256": digest}
    try:
        atomic_write(_record_path(key[0]), json.dumps(record) + "\n")
    except EmoNetError as error:  # a home without write permission costs one hash per process, no more
        logger.debug("digest not kept: %s", error)
