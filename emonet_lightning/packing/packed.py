"""PackedSet: reads a packed set by row, and trusts nothing that it has not compared with the manifest.

Training reads images by offset: streaming a tar ends early without an error on most damage, and cannot resume.
"""

import hashlib
import io
import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as parquet

from emonet_lightning.errors import DataError, MissingInputError, OutputError
from emonet_lightning.io import read_bytes, read_json, sha256_bytes, sha256_file
from emonet_lightning.packing.seals import register
from emonet_lightning.progress import progress_bar
from emonet_lightning.ratings.long_form import Kind, Ratings

FORMAT = "emonet_lightning packed set"
VERSION = 1
MANIFEST, RATINGS = "manifest.json", "ratings.parquet"
_MAX_OPEN = 256  # shards kept open per process


def samples_digest(keys: list[str], sha256: list[str]) -> str:
    """Hex sha256 over the ordered (key, image digest) pairs: equal digests mean the same images in the same rows."""
    return sha256_bytes("".join(f"{key}\n{digest}\n" for key, digest in zip(keys, sha256, strict=True)).encode())


def ratings_line(key: str, ratings: dict[str, dict[str, float]]) -> bytes:
    """Return the canonical bytes of one sample's answers, over which `label_digest` runs."""
    return json.dumps([key, ratings], sort_keys=True, separators=(",", ":")).encode() + b"\n"


class VerifyReport(NamedTuple):
    """What `PackedSet.verify` read."""

    num_samples: int
    num_shards: int
    num_bytes: int
    seconds: float


class PackedSet:
    """One packed set: images by row, ratings in long form, splits.

    Attributes:
        path: the folder.
        name, kind, licence, sealed: as packed; a sealed set is for testing only.
        taxonomy: `Taxonomy.to_dict()` of the columns.
        num_samples: rows.
        keys, groups, prompted: per row.
        splits: name -> rows, rising.
        digest: over the ordered (key, image sha256).
        label_digest: over the ordered answers.
        image_sha256: per row.
        phash: uint64 [N], or None where none was computed.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        index = manifest["index"]
        self.path = path
        self.manifest = manifest
        self.name: str = manifest["name"]
        self.kind: Kind = manifest["kind"]
        self.licence: str = manifest["licence"]
        self.sealed: bool = manifest["sealed"]
        self.taxonomy: dict[str, Any] = manifest["taxonomy"]
        self.num_samples: int = manifest["num_samples"]
        self.digest: str = manifest["digest"]
        self.label_digest: str = manifest["label_digest"]
        self.keys: list[str] = index["key"]
        self.groups: list[str | None] = index["group"]
        self.prompted: list[str | None] = index["prompted"]
        self.image_sha256: list[str] = index["image_sha256"]
        names = np.array(index["split"], dtype=object)
        self.splits = {split: np.flatnonzero(names == split) for split in manifest["splits"]}
        self.phash = None
        if index["phash"] is not None:
            self.phash = np.array([int(value, 16) for value in index["phash"]], dtype=np.uint64)
        self._files: dict[int, io.FileIO] = {}

    @classmethod
    def open(cls, path: Path | str) -> "PackedSet":
        """Open a packed set; the manifest is verified, and images of a sealed set are remembered (see `seals`).

        Raises:
            MissingInputError: no such folder, or not a finished packed set.
            DataError: the manifest was changed or damaged.
        """
        path = Path(path)
        if not path.is_dir():
            raise MissingInputError(f"{path}: no such folder; name one that `pack` made")
        if not (path / MANIFEST).is_file():
            raise MissingInputError(f"{path}: holds no {MANIFEST}; it is not a packed set, or packing did not finish")
        content = read_bytes(path / MANIFEST)
        body, mark, tail = content.rpartition(b'"sha256": "')
        if tail[:64].decode(errors="replace") != sha256_bytes(body + mark):
            raise DataError(f"{path / MANIFEST}: content changed since it was packed; pack the set again")
        manifest = read_json(path / MANIFEST)
        if manifest.get("format") != FORMAT or manifest.get("version") != VERSION:
            raise DataError(
                f"{path / MANIFEST}: format version {manifest.get('version')}; this release reads {VERSION}"
            )
        packed = cls(path, manifest)
        if packed.sealed:
            register(packed)
        return packed

    def __len__(self) -> int:
        return self.num_samples

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}  # file handles stay in their process

    def read_image(self, row: int) -> bytes:
        """Return the encoded image of a row, compared with its digest.

        Raises:
            DataError: damaged; names the sample and the shard.
        """
        index = self.manifest["index"]
        content = self._read(row, index["image_offset"][row], index["image_bytes"][row])
        if sha256_bytes(content) != self.image_sha256[row]:
            raise self._damaged(row, "image")
        return content

    def read_record(self, row: int) -> dict[str, Any]:
        """Return the sample's JSON: key, ratings, prompted, group, meta.

        Raises:
            DataError: damaged; names the sample and the shard.
        """
        index = self.manifest["index"]
        content = self._read(row, index["json_offset"][row], index["json_bytes"][row])
        try:
            record = json.loads(content)
        except ValueError as error:
            raise self._damaged(row, "JSON") from error
        if record.get("key") != self.keys[row]:
            raise self._damaged(row, "JSON")
        return record

    def ratings(self) -> Ratings:
        """Return all answers in long form, in row order; compared with the manifest's digest."""
        entry = self.manifest["ratings"]
        path = self.path / RATINGS
        read_bytes(path, entry["sha256"])
        table = parquet.read_table(path)
        return Ratings(
            row=table["row"].to_numpy().astype(np.int64),
            rater=table["rater"].to_numpy().astype(np.int64),
            raters=entry["raters"],
            slug_index=table["slug"].to_numpy().astype(np.int64),
            slugs=entry["slugs"],
            value=table["value"].to_numpy(),
            keys=self.keys,
            silent=np.array(entry.get("silent", []), dtype=np.int64).reshape(-1, 2),
        )

    def verify(self, progress: bool = True) -> VerifyReport:
        """Read everything back: every shard, image, record and rating.

        Raises:
            DataError: damage or loss; names the file and, where possible, the sample.
        """
        started, num_bytes = time.monotonic(), 0
        known = {shard["file"] for shard in self.manifest["shards"]}
        if foreign := sorted(file.name for file in self.path.glob("*.tar") if file.name not in known):
            raise DataError(f"{self.path / foreign[0]}: not part of the packed set; move it elsewhere")
        labels = hashlib.sha256()
        row = 0
        with progress_bar(f"verifying {self.name}", self.num_samples, "images", progress) as advance:
            for shard in self.manifest["shards"]:
                path = self.path / shard["file"]
                if not path.is_file():
                    raise DataError(f"{path}: shard is missing; copy it back or pack the set again")
                num_bytes += shard["bytes"]
                first = row
                for row in range(first, first + shard["n"]):
                    self.read_image(row)
                    labels.update(ratings_line(self.keys[row], self.read_record(row)["ratings"]))
                    advance(1)
                row = first + shard["n"]
                if sha256_file(path) != shard["sha256"]:
                    raise DataError(f"{path}: content changed since it was packed; copy it again or pack again")
        if labels.hexdigest() != self.label_digest:
            raise DataError(f"{self.path}: the records' ratings are not those that were packed; pack the set again")
        self.ratings()
        return VerifyReport(self.num_samples, len(self.manifest["shards"]), num_bytes, time.monotonic() - started)

    def _read(self, row: int, offset: int, size: int) -> bytes:
        shard = self.manifest["index"]["shard"][row]
        path = self.path / self.manifest["shards"][shard]["file"]
        try:
            file = self._files.get(shard)
            if file is None:
                file = path.open("rb", buffering=0)
                if len(self._files) < _MAX_OPEN:  # never closed while threads may read; the garbage collector closes
                    file = self._files.setdefault(shard, file)
            content = os.pread(file.fileno(), size, offset)
        except FileNotFoundError:
            raise DataError(
                f"{path}: shard is missing (sample '{self.keys[row]}'); copy it back or pack again"
            ) from None
        except OSError as error:
            raise OutputError(f"{path}: cannot be read ({error.strerror or error})") from error
        if len(content) != size:
            raise self._damaged(row, "data (the file is too short)")
        return content

    def _damaged(self, row: int, what: str) -> DataError:
        shard = self.manifest["shards"][self.manifest["index"]["shard"][row]]["file"]
        return DataError(
            f"{self.path / shard}: {what} of sample '{self.keys[row]}' is damaged; copy the shard again or pack again"
        )
