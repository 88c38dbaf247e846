"""Finishing a packed set: what needs all samples (duplicates, splits, digests), written as ratings and manifest."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
from rich.console import Console

from emonet_lightning.bad_samples import BAD_SAMPLES, SkipBudget, in_words, reasons, write_bad_samples
from emonet_lightning.errors import DataError
from emonet_lightning.io import atomic_write
from emonet_lightning.packing.packed import FORMAT, MANIFEST, RATINGS, VERSION, samples_digest
from emonet_lightning.packing.samples import Source, ratings_line
from emonet_lightning.packing.shard_writer import PackJob, read_notes
from emonet_lightning.packing.splits import (
    assign_splits,
    check_largest,
    find_near_duplicates,
    near_duplicate_clusters,
    split_units,
)
from emonet_lightning.signed_json import sign
from emonet_lightning.taxonomy import Taxonomy

NearDuplicates = Literal["group", "error", "ignore"]


class SplitOptions(NamedTuple):
    """How a set is split and sealed."""

    splits: dict[str, float]
    seed: int
    sealed: bool
    near_duplicates: NearDuplicates
    near_duplicate_distance: int


def finish(
    job: PackJob,
    num_shards: int,
    inputs: str,
    options: SplitOptions,
    budget: SkipBudget,
    console: Console,
) -> None:
    """Write `ratings.parquet`, `bad_samples.jsonl` where samples were left out and, last, `manifest.json`.

    Args:
        job: what was packed where.
        num_shards: shards that are there, with their notes.
        inputs: fingerprint of source and options, to recognise the set again.
        options: splits and seal.
        budget: of samples that were left out, with all of them.
        console: where to say what was found.

    Raises:
        DataError: a key is given twice, splits that cannot be made, or too many near duplicates.
    """
    source, taxonomy, out_dir = job.source, job.taxonomy, job.out_dir
    shards: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    labels = hashlib.sha256()
    long = LongRatings(taxonomy)
    for number in range(num_shards):  # one at a time: a shard's notes hold its ratings, which are many
        notes = read_notes(out_dir, number)
        shards.append({"file": notes["file"], "bytes": notes["bytes"], "sha256": notes["sha256"], "n": 0})
        for record in notes["records"]:
            given = record.pop("ratings")
            labels.update(ratings_line(record["key"], given))
            long.add(len(records), given)
            records.append({**record, "shard": number})
            shards[-1]["n"] += 1
        long.flush()
    left_out = _count(source, out_dir, records, budget, console)
    _check_unique(records, shards)
    split = _split(records, options, console)
    ratings = long.write(out_dir)
    keys, digests = [r["key"] for r in records], [r["image_sha256"] for r in records]
    hashed = records[0]["phash"] is not None
    names = [name for name in options.splits if name in split] + sorted(set(split) - set(options.splits))
    counts = Counter(split)
    content = {
        "format": FORMAT,
        "version": VERSION,
        "name": source.name,
        "kind": source.kind,
        "licence": source.licence,
        "sealed": options.sealed,
        "num_samples": len(records),
        "num_ratings": ratings["num_ratings"],
        "splits": {name: counts[name] for name in names},
        **left_out,
        **({} if job.cropper is None else {"faces": job.cropper.recorded()}),
        "digest": samples_digest(keys, digests),
        "label_digest": labels.hexdigest(),
        "inputs": inputs,
        "taxonomy": taxonomy.to_dict(),
        "ratings": ratings,
        "shards": shards,
        "index": {
            "key": keys,
            "shard": [r["shard"] for r in records],
            **{
                column: [r[column] for r in records]
                for column in (
                    "image_offset",
                    "image_bytes",
                    "image_sha256",
                    "json_offset",
                    "json_bytes",
                    "json_sha256",
                )
            },
            "phash": [r["phash"] for r in records] if hashed else None,
            "split": split,
            "group": [r["group"] for r in records],
            "prompted": [r["prompted"] for r in records],
        },
    }
    atomic_write(out_dir / MANIFEST, _manifest_text(content))


def _count(
    source: Source, out_dir: Path, records: list[dict[str, Any]], budget: SkipBudget, console: Console
) -> dict[str, Any]:
    """Check that every sample is packed or listed as left out; returns what the manifest says of these."""
    skips = sorted(budget.skips)
    if len(source) != len(records) + len(skips):
        raise DataError(f"{out_dir}: {len(source)} samples, but {len(records)} packed and {len(skips)} left out")
    if not records:
        raise DataError(f"{source.name}: no usable sample; the first one: {skips[0].error}")
    path = out_dir / BAD_SAMPLES
    path.unlink(missing_ok=True)
    if not skips:
        return {}
    write_bad_samples(path, skips)
    console.print(
        f"{len(source)} samples = {len(records)} packed + {len(skips)} left out "
        f"({in_words(reasons(skips))}; listed in {path})"
    )
    return {"num_offered": len(source), "left_out": reasons(skips)}


def _manifest_text(content: dict[str, Any]) -> str:
    """One line per column, and the digest of all."""

    def dump(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(", ", ": "))

    index = ",\n".join(f"  {dump(name)}: {dump(column)}" for name, column in content["index"].items())
    lines = [f"{dump(name)}: {dump(value)}" for name, value in content.items() if name != "index"]
    return sign("{\n" + ",\n".join([*lines, f'"index": {{\n{index}\n}}']) + "\n}")


def _check_unique(records: list[dict[str, Any]], shards: list[dict[str, Any]]) -> None:
    seen: dict[str, int] = {}
    for record in records:
        other = seen.setdefault(record["key"], record["shard"])
        if other != record["shard"]:
            raise DataError(
                f"duplicate key '{record['key']}': in {shards[other]['file']} and in "
                f"{shards[record['shard']]['file']}; make the names unique"
            )


def _split(records: list[dict[str, Any]], options: SplitOptions, console: Console) -> list[str]:
    keys, groups = [r["key"] for r in records], [r["group"] for r in records]
    digests = [r["image_sha256"] for r in records]
    clusters = None
    if records[0]["phash"] is not None and options.near_duplicates != "ignore":
        hashes = np.array([int(r["phash"], 16) for r in records], dtype=np.uint64)
        if options.near_duplicates == "error":
            _refuse_pairs(keys, groups, hashes, options.near_duplicate_distance)
        clusters = near_duplicate_clusters(hashes, options.near_duplicate_distance)
    units = split_units(keys, groups, digests, clusters)
    console.print(
        f"{len(records)} images in {len(set(units.unit.tolist()))} separate groups, "
        f"{len(records) - len(set(digests))} exact copies; "
        f"largest cluster of duplicates: {units.largest} (around '{units.example}')"
    )
    check_largest(units, len(records))
    return assign_splits(
        keys, units.unit, [r["stratum"] for r in records], options.splits, options.seed, [r["split"] for r in records]
    )


def _refuse_pairs(keys: list[str], groups: list[str | None], hashes: np.ndarray, distance: int) -> None:
    unique, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    copies = [(int(first[u]), row) for row, u in enumerate(inverse.tolist()) if first[u] != row]
    pairs = first[find_near_duplicates(unique, None, distance)].tolist()
    for a, b in (*copies, *pairs):  # equal hashes of one group stand for each other
        if groups[a] is None or groups[a] != groups[b]:
            raise DataError(
                f"near duplicates: '{keys[a]}' and '{keys[b]}' differ in at most {distance} of 64 bits; remove one, "
                "give both one group, or set --near_duplicates group"
            )


class LongRatings:
    """Collects answers in long form, compactly, and writes them as Parquet."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self._slugs = list(taxonomy.slugs)
        self._slug_index = {slug: i for i, slug in enumerate(self._slugs)}
        self._raters: dict[str, int] = {}
        self._silent: list[tuple[int, int]] = []
        self._cells: list[tuple[int, int, int]] = []
        self._values: list[float] = []
        self._tables: list[arrow.Table] = []

    def add(self, row: int, ratings: dict[str, dict[str, float]]) -> None:
        """Add the answers about one row."""
        for rater in sorted(ratings):
            number = self._raters.setdefault(rater, len(self._raters))
            if not ratings[rater]:
                self._silent.append((row, number))
            for slug in sorted(ratings[rater], key=self._slug_index.__getitem__):
                self._cells.append((row, number, self._slug_index[slug]))
                self._values.append(ratings[rater][slug])

    def flush(self) -> None:
        """Turn what was added so far into arrays."""
        cells = np.array(self._cells, dtype=np.int32).reshape(-1, 3)
        columns = {
            "row": cells[:, 0],
            "rater": cells[:, 1],
            "slug": cells[:, 2].astype(np.int16),
            "value": np.array(self._values, dtype=np.float32),
        }
        self._tables.append(arrow.table(columns))
        self._cells, self._values = [], []

    def write(self, out_dir: Path) -> dict[str, Any]:
        """Write the file; returns what the manifest says of it."""
        table = arrow.concat_tables(self._tables).combine_chunks()
        path = out_dir / RATINGS
        sha256 = atomic_write(path, lambda temporary: parquet.write_table(table, temporary, compression="zstd"))
        return {
            "file": RATINGS,
            "bytes": path.stat().st_size,
            "sha256": sha256,
            "num_ratings": len(table),
            "raters": list(self._raters),
            "slugs": self._slugs,
            "silent": self._silent,  # who saw an image and answered nothing rated everything 0
        }
