"""One shard: a tar that WebDataset reads, and the notes about it that the manifest is made from.

A shard depends on its samples alone, so any process may write it, again after a kill, with equal bytes.
"""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import webdataset

from emonet_lightning.bad_samples import BadSample, Skip
from emonet_lightning.errors import DataError
from emonet_lightning.io import atomic_write, atomic_write_stream, read_bytes, sha256_bytes, sha256_file
from emonet_lightning.packing.images import inspect_image
from emonet_lightning.packing.samples import RawSample, Source, check_sample, stratum
from emonet_lightning.taxonomy import Taxonomy

if TYPE_CHECKING:
    from emonet_lightning.faces.crops import FaceCropper

WORK_DIR = ".packing"
_NOTES_DIGEST = b', "notes_sha256": "'


class PackJob(NamedTuple):
    """What is packed where; travels to every process."""

    source: Source
    taxonomy: Taxonomy
    out_dir: Path
    shard_size: int
    perceptual_hash: bool
    cropper: "FaceCropper | None" = None
    """Cuts the face out of each image; None packs images as they are."""

    def rows(self, number: int) -> range:
        """Samples of a shard."""
        return range(number * self.shard_size, min(len(self.source), (number + 1) * self.shard_size))


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"shard-{number:06d}.tar"


def notes_path(out_dir: Path, number: int) -> Path:
    """Where the notes about a shard are kept until the manifest is written."""
    return out_dir / WORK_DIR / f"shard-{number:06d}.json"


def read_notes(out_dir: Path, number: int) -> dict[str, Any]:
    """Return the notes about a shard: file, bytes, sha256, a record per sample with its ratings, and what it lacks.

    Raises:
        DataError: they were changed or damaged, or are of an earlier release; such a shard is not finished.
    """
    path = notes_path(out_dir, number)
    content = read_bytes(path)
    body, mark, tail = content.rpartition(_NOTES_DIGEST)
    if tail != f'{sha256_bytes(body + mark)}"}}'.encode():
        raise DataError(f"{path}: content changed since it was written; run the same `pack` again")
    notes: dict[str, Any] = json.loads(content)
    return notes


def _notes_text(notes: dict[str, Any]) -> str:
    """The last entry is the sha256 of everything before it: the ratings of the finished set are taken from here."""
    body = json.dumps(notes, ensure_ascii=False, allow_nan=False)[:-1] + _NOTES_DIGEST.decode()
    return f'{body}{sha256_bytes(body.encode())}"}}'


def is_finished(out_dir: Path, number: int) -> bool:
    """Tell whether a shard is already written, and whole."""
    if not notes_path(out_dir, number).is_file() or not (out_dir / shard_name(number)).is_file():
        return False
    try:
        notes = read_notes(out_dir, number)
        return sha256_file(out_dir / shard_name(number)) == notes["sha256"]
    except DataError:
        return False


def skipped(out_dir: Path, number: int) -> list[Skip]:
    """Return which samples a finished shard lacks."""
    return [Skip(**skip) for skip in read_notes(out_dir, number).get("skipped", [])]


def write_shard(job: PackJob, number: int, advance: Callable[[int], None]) -> None:
    """Write one shard without the samples whose image is bad, and its notes.

    Args:
        job: what is packed where.
        number: which shard.
        advance: told of every sample written.

    Raises:
        DataError: a sample is wrong; names it.
        OutputError: the operating system refused.
    """
    records: list[dict[str, Any]] = []
    left_out: list[dict[str, str]] = []

    def write(stream: BinaryIO) -> None:
        with webdataset.TarWriter(stream, user="root", group="root", mode=0o644, mtime=0, encoder=False) as tar:
            for row in job.rows(number):
                sample = job.source[row]
                try:
                    if job.cropper is not None:
                        from emonet_lightning.packing.face_crops import with_face_alone  # here: it needs OpenCV

                        sample = with_face_alone(sample, job.cropper)
                    records.append(_add(tar, sample, job))
                except BadSample as error:
                    file = str(sample.meta.get("file", ""))
                    left_out.append(Skip(sample.key, file, error.reason, str(error))._asdict())
                advance(1)

    path = job.out_dir / shard_name(number)
    sha256 = atomic_write_stream(path, write)
    _locate(path, records)
    notes = {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256, "records": records}
    if left_out:
        notes["skipped"] = left_out
    atomic_write(notes_path(job.out_dir, number), _notes_text(notes))


def _add(tar: webdataset.TarWriter, sample: RawSample, job: PackJob) -> dict[str, Any]:
    check_sample(sample, job.source.kind, job.taxonomy)
    extension, value = inspect_image(sample.image, _named(sample), job.perceptual_hash)
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
    encoded = text.encode()
    tar.write({"__key__": sample.key, extension: sample.image, "json": encoded})
    return {
        "key": sample.key,
        "image_sha256": sha256_bytes(sample.image),
        "json_sha256": sha256_bytes(encoded),
        "phash": None if value is None else f"{value:016x}",
        "prompted": sample.prompted,
        "group": sample.group,
        "split": sample.split,
        "stratum": stratum(sample),
        "ratings": ratings,
    }


def _named(sample: RawSample) -> str:
    file = sample.meta.get("file", sample.key)
    return f"sample '{sample.key}'" + (f" ({file})" if file != sample.key else "")


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
