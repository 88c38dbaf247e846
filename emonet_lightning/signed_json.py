"""JSON files that check themselves: the last entry of the object is the sha256 of every byte before its value."""

from pathlib import Path
from typing import Any

from emonet_lightning.errors import DataError
from emonet_lightning.io import read_bytes, read_json, sha256_bytes

_MARK = '"sha256": "'


def sign(text: str) -> str:
    """Return the text of a JSON object, not an empty one, with its digest as the last entry."""
    body = f"{text.rstrip().removesuffix('}').rstrip()},\n{_MARK}"
    return f'{body}{sha256_bytes(body.encode())}"\n}}\n'


def is_signed(content: bytes) -> bool:
    """Whether a file ends with a digest, and it is that of the rest."""
    body, mark, tail = content.rpartition(_MARK.encode())
    # nothing after the digest: JSON takes the last of two equal names
    return b"".join(tail.split()) == sha256_bytes(body + mark).encode() + b'"}'


def read_signed(path: Path, remedy: str) -> Any:
    """Read a file that `sign` made.

    Args:
        path: of the file.
        remedy: how to have a sound one, the end of the error's line.

    Raises:
        MissingInputError: no such file.
        DataError: changed since it was written.
    """
    content = read_bytes(path)
    if not is_signed(content):
        raise DataError(f"{path}: content changed since it was written; {remedy}")
    return read_json(path, sha256_bytes(content))
