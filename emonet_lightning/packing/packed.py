"""PackedSet: reads a packed set by row, and trusts nothing that it has not compared with the manifest.

Training reads images by offset: streaming a tar ends early without an error on most damage, and cannot resume.
"""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from emonet_lightning.bad_samples import BadSample
from emonet_lightning.errors import DataError, MissingInputError, OutputError
from emonet_lightning.io import sha256_bytes
from emonet_lightning.packing.local_paths import refuse_remote
from emonet_lightning.packing.manifest_rules import check_manifest
from emonet_lightning.packing.ratings_file import read_ratings
from emonet_lightning.packing.seals import register
from emonet_lightning.packing.verifying import DamagedSet, VerifyReport, inspect_set
from emonet_lightning.ratings.long_form import Kind, Ratings
from emonet_lightning.signed_json import read_signed

FORMAT = "emonet_lightning packed set"
VERSION = 1
MANIFEST, RATINGS = "manifest.json", "ratings.parquet"
_MAX_OPEN = 256  # shards kept open per process


def samples_digest(keys: list[str], sha256: list[str]) -> str:
    """Hex sha256 over the ordered (key, image digest) pairs: equal digests mean the same images in the same rows."""
    return sha256_bytes("".join(f"{key}\n{digest}\n" for key, digest in zip(keys, sha256, strict=True)).encode())


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
        refuse_remote(str(path))
        path = Path(path)
        if not path.is_dir():
            raise MissingInputError(f"{path}: no such folder; name one that `pack` made")
        if not (path / MANIFEST).is_file():
            raise MissingInputError(f"{path}: holds no {MANIFEST}; it is not a packed set, or packing did not finish")
        manifest = read_signed(path / MANIFEST, "pack the set again")
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise DataError(f"{path / MANIFEST}: not the manifest of a packed set; name a folder that `pack` made")
        if manifest.get("version") != VERSION:
            raise DataError(
                f"{path / MANIFEST}: format version {manifest.get('version')!r}; this release reads {VERSION}; "
                "pack the set again"
            )
        check_manifest(path / MANIFEST, manifest)
        manifest.setdefault("inputs", "")  # unknown: no call of `pack` asks for that set
        packed = cls(path, manifest)
        if samples_digest(packed.keys, packed.image_sha256) != packed.digest:
            raise DataError(f"{path / MANIFEST}: its index is not the one that was packed; pack the set again")
        if packed.sealed:
            register(packed)
        return packed

    def __len__(self) -> int:
        return self.num_samples

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}  # file handles stay in their process

    def check_files(self) -> None:
        """Compare which shards there are, and how long they are, with the manifest: before reading many images.

        Raises:
            DataError: names all shards that are missing or of another length.
        """
        wrong = []
        for shard in self.manifest["shards"]:
            path = self.path / shard["file"]
            size = path.stat().st_size if path.is_file() else None
            if size != shard["bytes"]:
                wrong.append(f"{shard['file']} is " + ("missing" if size is None else f"{size} bytes long"))
        if wrong:
            more = f" and {len(wrong) - 10} more" if len(wrong) > 10 else ""
            raise DataError(
                f"{self.path}: {len(wrong)} of {len(self.manifest['shards'])} shards are not those that were packed "
                f"({', '.join(wrong[:10])}{more}); copy them again or pack again"
            )

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
        if "json_sha256" in index and sha256_bytes(content) != index["json_sha256"][row]:
            raise self._damaged(row, "JSON")
        try:
            record = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self._damaged(row, "JSON") from error
        if not isinstance(record, dict) or record.get("key") != self.keys[row]:
            raise self._damaged(row, "JSON")
        return record

    def ratings(self) -> Ratings:
        """Return all answers in long form, in row order; compared with the manifest's digest.

        Raises:
            DataError: not what was packed, or not a file of ratings.
        """
        return read_ratings(self.path / RATINGS, self.manifest["ratings"], self.keys)

    def verify(self, progress: bool = True) -> VerifyReport:
        """Read everything back: every shard, image, record and rating.

        Raises:
            DamagedSet: damage or loss; names the first problem and holds them all.
        """
        report = inspect_set(self, progress)
        if report.problems:
            raise DamagedSet(self, report.problems)
        return report

    def shard_of(self, row: int) -> str:
        """Return the file that holds a row."""
        name: str = self.manifest["shards"][self.manifest["index"]["shard"][row]]["file"]
        return name

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

    def _damaged(self, row: int, what: str) -> BadSample:
        return BadSample(
            f"{self.path / self.shard_of(row)}: {what} of sample '{self.keys[row]}' is damaged; "
            "copy the shard again or pack again",
            "damaged",
        )
