"""One shard: a tar that WebDataset reads, and the notes about it that the manifest is made from.

A shard depends on its samples alone, so any process may write it, again after a kill, with equal bytes.
"""

import json
import tarfile
from pathlib import Path
from typing import Any

import webdataset

from emonet_lightning.data.images import inspect_image
from emonet_lightning.data.samples import RawSample, Source, check_sample, stratum
from emonet_lightning.errors import DataError
from emonet_lightning.io import atomic_write, read_json, sha256_bytes, sha256_file, write_json
from emonet_lightning.taxonomy import Taxonomy

WORK_DIR = ".packing"


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"shard-{number:06d}.tar"


def finished_notes(out_dir: Path, number: int) -> dict[str, Any] | None:
    """Return the notes of a shard that is already written and whole, else None."""
    notes_path, shard_path = out_dir / WORK_DIR / f"shard-{number:06d}.json", out_dir / shard_name(number)
    if not notes_path.is_file() or not shard_path.is_file():
        return None
    try:
        notes = read_json(notes_path)
    except DataError:
        return None
    return notes if sha256_file(shard_path) == notes["sha256"] else None


def write_shard(
    source: Source, taxonomy: Taxonomy, out_dir: Path, number: int, start: int, stop: int, perceptual_hash: bool
) -> dict[str, Any]:
    """Write samples `start` to `stop` of a source as one shard, and its notes.

    Raises:
        DataError: a sample is wrong; names it.
        OutputError: the operating system refused.
    """
    records: list[dict[str, Any]] = []

    def write(path: Path) -> None:
        with (
            path.open("wb") as stream,
            webdataset.TarWriter(stream, user="root", group="root", mode=0o644, mtime=0, encoder=False) as tar,
        ):
            for row in range(start, stop):
                records.append(_add(tar, source[row], source, taxonomy, perceptual_hash))

    sha256 = atomic_write(out_dir / shard_name(number), write)
    _locate(out_dir / shard_name(number), records)
    notes = {
        "file": shard_name(number),
        "bytes": (out_dir / shard_name(number)).stat().st_size,
        "sha256": sha256,
        "records": records,
    }
    write_json(out_dir / WORK_DIR / f"shard-{number:06d}.json", notes)
    return notes


def _add(
    tar: webdataset.TarWriter, sample: RawSample, source: Source, taxonomy: Taxonomy, perceptual_hash: bool
) -> dict[str, Any]:
    check_sample(sample, source.kind, taxonomy)
    extension, value = inspect_image(sample.image, f"sample '{sample.key}'", perceptual_hash)
    ratings = {rater: {slug: float(v) for slug, v in answers.items()} for rater, answers in sample.ratings.items()}
    content = {
        "key": sample.key,
        "ratings": ratings,
        "prompted": sample.prompted,
        "group": sample.group,
        "meta": sample.meta,
    }
    try:
        text = json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DataError(f"sample '{sample.key}': its meta cannot be written as JSON ({error})") from error
    tar.write({"__key__": sample.key, extension: sample.image, "json": text.encode()})
    return {
        "key": sample.key,
        "image_sha256": sha256_bytes(sample.image),
        "phash": None if value is None else f"{value:016x}",
        "prompted": sample.prompted,
        "group": sample.group,
        "split": sample.split,
        "stratum": stratum(sample),
        "ratings": ratings,
    }


def _locate(path: Path, records: list[dict[str, Any]]) -> None:
    """Add each member's offset and size, read from the finished file."""
    by_key = {record["key"]: record for record in records}
    if len(by_key) != len(records):
        keys = [record["key"] for record in records]
        double = next(key for key in keys if keys.count(key) > 1)
        raise DataError(f"duplicate key '{double}': two samples of this name; make the names unique")
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            key, _, extension = member.name.rpartition(".")
            what = "json" if extension == "json" else "image"
            by_key[key][f"{what}_offset"] = member.offset_data
            by_key[key][f"{what}_bytes"] = member.size
