"""Files: the only place that writes one or trusts one.

A file is written beside its target, synced and renamed, so a reader sees the old content, the new content or nothing.
Formats do not check themselves (one flipped bit loads silently in safetensors and PyTorch files), so whoever trusts a
file names its sha256.
"""

import glob
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from emonet_lightning.errors import DataError, MissingInputError, OutputError
from emonet_lightning.fail_points import fail_points
from emonet_lightning.hashing_stream import HashingStream

if TYPE_CHECKING:
    import torch

TEMPORARY = ".tmp"
_PREFIX = 100  # characters of its target's name in that of a temporary file


@contextmanager
def write_errors(path: Path | str) -> Iterator[None]:
    """Turn the operating system's errors on writing `path` into one line."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); check permission and free space"
        ) from error


def make_folder(path: Path | str) -> Path:
    """Create a folder and its parents; raises OutputError if that is not possible."""
    path = Path(path)
    with write_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def atomic_write(path: Path | str, content: bytes | str | Callable[[Path], None], mode: int = 0o666) -> str:
    """Write a file so that it is whole or absent, whatever kills the process.

    Args:
        path: target; its folder is created.
        content: bytes, text, or a function that writes a file at the temporary path it is given.
        mode: permissions, less the process's umask; 0o600 keeps a secret from other users, from its first byte on.

    Returns:
        Hex sha256 of what was written.

    Raises:
        OutputError: the operating system refused.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content

    def fill(temporary: Path, stream: HashingStream) -> str:
        if callable(data):
            data(temporary)
            return sha256_file(temporary)
        stream.write_halves(data)
        return stream.hexdigest()

    return _atomic_write(path, fill, lambda digest: path, mode)[1]


def atomic_write_named(folder: Path | str, write: Callable[[BinaryIO], None], name: Callable[[str], str]) -> Path:
    """Write a file whose name holds its digest: one rename commits both.

    Args:
        folder: of the file; created.
        write: writes the content, from its beginning to its end, into a stream.
        name: from the hex sha256 of what was written to the file's name.

    Returns:
        Path of the file.

    Raises:
        OutputError: the operating system refused.
    """
    folder = Path(folder)
    return _atomic_write(folder / name("x"), _streaming(write), lambda digest: folder / name(digest))[0]


def atomic_write_stream(path: Path | str, write: Callable[[BinaryIO], None]) -> str:
    """Do what `atomic_write` does with content that is digested as it is written, and not read again.

    `write` writes it, from its beginning to its end, into a stream.
    """
    path = Path(path)
    return _atomic_write(path, _streaming(write), lambda digest: path)[1]


def _streaming(write: Callable[[BinaryIO], None]) -> Callable[[Path, HashingStream], str]:
    def fill(temporary: Path, stream: HashingStream) -> str:
        try:
            write(cast(BinaryIO, stream))
        except Exception:
            if stream.error is not None:  # a library that finishes its file all the same raises about that
                raise stream.error from None
            raise
        stream.finish()
        return stream.hexdigest()

    return fill


def _atomic_write(
    path: Path, fill: Callable[[Path, HashingStream], str], target_of: Callable[[str], Path], mode: int = 0o666
) -> tuple[Path, str]:
    make_folder(path.parent)
    failure = fail_points(path.name)
    with write_errors(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:_PREFIX]}.", suffix=TEMPORARY)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                os.fchmod(handle, mode & ~_umask())
                failure("opened")
                digest = fill(temporary, HashingStream(stream, failure))
            failure("written")
            with open(temporary, "rb") as whole:
                os.fsync(whole.fileno())
            failure("synced")
            target = target_of(digest)
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        failure("renamed")
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        failure("folder_synced")
    return target, digest


def remove_temporary(folder: Path | str, name: str | None = None) -> list[Path]:
    """Delete what killed writers left in a folder, or of the file of that name, which nobody else writes now.

    Returns:
        What was deleted.
    """
    beside = "*" if name is None else glob.escape(name[:_PREFIX]) + ".????????"  # as `mkstemp` fills it in
    stale = [path for path in Path(folder).glob(f".{beside}{TEMPORARY}") if path.is_file()]
    for path in stale:
        path.unlink(missing_ok=True)
    return stale


def sha256_bytes(content: bytes) -> str:
    """Hex sha256 of bytes."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path | str) -> str:
    """Hex sha256 of a file, read in blocks."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint(content: Any) -> str:
    """Hex sha256 of JSON-able content in canonical form (sorted keys, no spaces)."""
    return sha256_bytes(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())


def read_bytes(path: Path | str, sha256: str | None = None) -> bytes:
    """Read a file whole, and compare its digest where one is given.

    Raises:
        MissingInputError: no such file.
        DataError: its content is not what was recorded.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInputError(f"{path}: no such file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise OutputError(f"{path}: cannot be read ({error.strerror or error})") from error
    if sha256 is not None and sha256_bytes(content) != sha256:
        raise DataError(
            f"{path}: content changed (sha256 {sha256_bytes(content)[:12]}, recorded {sha256[:12]}); "
            "make or fetch it again"
        )
    return content


def read_json(path: Path | str, sha256: str | None = None) -> Any:
    """Read JSON; raises DataError with the position of the fault."""
    try:
        return json.loads(read_bytes(path, sha256))
    except (ValueError, RecursionError) as error:  # nested a thousand deep, or a number of thousands of digits
        raise DataError(f"{path}: not valid JSON ({error})") from error


def json_text(content: Any) -> str:
    """JSON with stable formatting; NaN and infinities become null."""
    return json.dumps(_finite(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path | str, content: Any) -> str:
    """Write JSON atomically as `json_text` formats it; returns its sha256."""
    return atomic_write(path, json_text(content))


def save_tensors(path: Path | str, tensors: dict[str, "torch.Tensor"], metadata: dict[str, str] | None = None) -> str:
    """Write tensors as safetensors, atomically; returns the file's sha256."""
    from safetensors.torch import save as safetensors_save  # here: most commands never load PyTorch

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return atomic_write(path, safetensors_save(plain, metadata))


def load_tensors(path: Path | str, sha256: str | None = None) -> dict[str, "torch.Tensor"]:
    """Read safetensors, comparing the digest where one is given; raises DataError on a damaged file."""
    from safetensors.torch import load as safetensors_load

    content = read_bytes(path, sha256)
    try:
        return safetensors_load(content)
    except Exception as error:  # safetensors raises its own untyped error
        raise DataError(f"{path}: not a safetensors file ({' '.join(str(error).split())})") from error


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
