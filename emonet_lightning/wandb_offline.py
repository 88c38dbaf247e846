"""Read what W&B's offline files hold: LevelDB log framing around W&B's own records.

W&B itself has no reader of these files that works without a server.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BLOCK = 32768
_HEADER = 7  # of the file (":W&B" and a version), and of each chunk (checksum, length, kind)
_WHOLE, _FIRST, _LAST = 1, 2, 4


def segments(folder: Path | str, run: str) -> list[Path]:
    """Files of a run's offline segments in a folder, oldest first."""
    return sorted(Path(folder).glob(f"wandb/offline-run-*-{run}/run-{run}.wandb"))


def records(path: Path | str) -> Iterator[Any]:
    """Yield a file's records; what its writer was killed in the middle of is left out."""
    from google.protobuf.message import DecodeError
    from wandb.proto import wandb_internal_pb2 as messages

    content, at, parts = Path(path).read_bytes(), _HEADER, b""
    while at + _HEADER <= len(content):
        left = _BLOCK - at % _BLOCK
        if left < _HEADER:  # no chunk begins so near the end of a block
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + _HEADER])
        at += _HEADER
        if kind == 0 or at + length > len(content):
            return
        parts = (b"" if kind in (_WHOLE, _FIRST) else parts) + content[at : at + length]
        at += length
        if kind in (_WHOLE, _LAST):
            record = messages.Record()  # type: ignore[attr-defined]
            try:
                record.ParseFromString(parts)
            except DecodeError:
                return
            yield record


def rows(path: Path | str) -> Iterator[dict[str, Any]]:
    """Yield the rows that were logged, by name of the metric."""
    for record in records(path):
        if record.WhichOneof("record_type") == "history":
            yield {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
