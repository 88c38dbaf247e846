"""The commands `pack` and `verify`."""

import os
import time
from typing import Literal

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from emonet_lightning.encoders import EncoderSpec
from emonet_lightning.errors import UsageError
from emonet_lightning.faces.crops import CropOptions, FaceCropper
from emonet_lightning.options import pairs
from emonet_lightning.packing.shards import PackedSet, VerifyReport, pack
from emonet_lightning.packing.sources import open_source
from emonet_lightning.packing.verifying import DamagedSet, Problem
from emonet_lightning.taxonomy import Taxonomy

MAX_PROBLEMS = 50
"""That `verify` prints."""


def pack_command(
    input: str,
    out: str,
    taxonomy: str = "emonet40",
    extra_dimensions: bool = False,
    format: Literal["auto", "parquet", "tar", "table", "classes", "images"] = "auto",
    kind: Literal["dense", "binary", "rated"] | None = None,
    labels: str | None = None,
    images: str | None = None,
    metadata: str | None = None,
    columns: dict[str, str] | str | None = None,
    classes: dict[str, str] | str | None = None,
    group: str | None = None,
    index_map: str | None = None,
    unmatched: Literal["error", "skip"] = "error",
    splits: dict[str, float] | str | None = None,
    seed: int = 0,
    sealed: bool = False,
    near_duplicates: Literal["group", "error", "ignore"] = "group",
    near_duplicate_distance: int = 4,
    max_bad_fraction: float | None = None,
    faces: Literal["off", "largest"] = "off",
    crop: CropOptions = CropOptions(),
    shard_size: int = 1000,
    num_processes: int | None = None,
    name: str | None = None,
    licence: str = "unknown",
    progress: bool = True,
) -> None:
    """Turn images and ratings into a packed set: WebDataset shards, ratings and a manifest.

    A call that was killed is resumed by the same call; a finished set packed again is left as it is.

    Args:
        input: Parquet file or folder (also a Hugging Face cache folder), tar file or folder, image folder, CSV file, or
            a packed set that --labels relabels.
        out: folder of the packed set.
        taxonomy: `emonet40`, or a YAML file of your own emotions.
        extra_dimensions: also take arousal, valence, dominance and vulnerability.
        format: layout of the input; `auto` looks at it.
        kind: `dense` (one generated label set), `binary` (yes or no), `rated` (several raters); found out by default.
        labels: CSV file with the ratings: long (image, rater, emotion, rating), wide (a column per emotion), class
            (image, label) or annotations (image, a dict).
        images: image folder, where the input is a CSV file.
        metadata: CSV file with a row per image, for groups and facts.
        columns: names of the data's columns, as `--columns image=foto,annotations=votes`; roles
            are image, annotations, rater, emotion, rating, label, prompted, split, key and meta.
        classes: class name to emotion, as `--classes happy=Elation,neutral=none`.
        group: column (or columns separated by commas) that names the person or prompt; a group stays in one split.
        index_map: JSON of file name to row number, for names that the data have lost (HQ).
        unmatched: `error` refuses images without label and labels without image; `skip` leaves them out.
        splits: share of each split, as `--splits train=0.8,val=0.2`; all `train` (sealed: `test`) by default.
        seed: draw of the splits.
        sealed: the set is for testing only; training or validating on it, or on copies of its images, is refused.
        near_duplicates: `group` keeps near duplicates in one split, `error` refuses them, `ignore` lets them be.
        near_duplicate_distance: differing bits of the 64-bit perceptual hash up to which images are near duplicates.
        max_bad_fraction: share of the samples whose image may be bad (truncated, blank, of another format, ...): these
            are left out, counted and listed in `bad_samples.jsonl`; above it nothing is packed, and a finished set
            is refused. By default 0.001, and 0 for a set without a training split.
        faces: `largest` packs the largest face of each image, cut out as `predict --faces` does and recorded in the
            manifest; an image without a face is a bad one.
        crop: how faces are found and cut out.
        shard_size: images per shard.
        num_processes: processes that read and write; by default one per CPU.
        name: of the set; by default that of the input.
        licence: of the data, kept in the manifest.
        progress: show a progress bar and what was found.
    """
    shares = split_shares(splits)
    if sealed and shares and set(shares) != {"test"}:
        raise UsageError(f"--sealed with --splits {splits}: a sealed set is for testing only; leave --splits out")
    columns_of = Taxonomy.load(taxonomy, extra_dimensions)
    cropper = None if faces == "off" else FaceCropper(faces, crop)
    started = time.monotonic()
    source = open_source(
        input,
        columns_of,
        format=format,
        kind=kind,
        labels=labels,
        columns=pairs("columns", columns),
        classes=pairs("classes", classes),
        metadata=metadata,
        group=group,
        index_map=index_map,
        images=images,
        unmatched=unmatched,
        licence=licence,
        name=name,
    )
    packed = pack(
        source,
        out,
        columns_of,
        splits=shares,
        shard_size=shard_size,
        num_processes=num_processes or len(os.sched_getaffinity(0)),
        seed=seed,
        sealed=sealed,
        near_duplicates=near_duplicates,
        near_duplicate_distance=near_duplicate_distance,
        max_bad_fraction=max_bad_fraction,
        cropper=cropper,
        progress=progress,
    )
    if progress:
        seconds = time.monotonic() - started
        console = Console(soft_wrap=True)
        console.print(summary(packed))
        console.print(
            f"{out}: {packed.num_samples} images in {seconds:.1f} s ({packed.num_samples / seconds:.0f} images/s)"
        )
        if packed.kind == "rated" and not sealed and shares is None:
            console.print(
                "rated by several: if it is there to judge by, pack it with --sealed, so that no run learns from it"
            )
        if packed.licence == "unknown":
            console.print("licence unknown: name it with --licence, so that whoever uses the set knows it")


def split_shares(splits: dict[str, float] | str | None) -> dict[str, float] | None:
    """Read the option `train=0.8,val=0.2`; None where it was not given.

    Raises:
        UsageError: a part that is no name and number.
    """
    shares = {}
    for split, value in (pairs("splits", splits) or {}).items():
        try:
            shares[split] = float(value)
        except ValueError:
            raise UsageError(f"--splits {split}={value}: a share between 0 and 1 is needed") from None
    return shares or None


def verify_command(
    path: str | None = None,
    leaks: str | None = None,
    out: str | None = None,
    embeddings: bool = True,
    encoder: EncoderSpec = EncoderSpec(),
    seed: int = 0,
    progress: bool = True,
) -> None:
    """Read a packed set back: every shard, image, record and rating is compared with the manifest.

    With `verify --leaks A B` images of two sets are compared instead, with `verify --leaks A` the splits of one: equal
    files and pixels, and copies that were saved anew, resized, cropped or mirrored. Exit code 65 if any crosses a test
    boundary: one image in a split `test` or a sealed set, the other not (pairs with a folder always do, and, where
    neither of two sets has test images, all).

    Args:
        path: folder of the packed set; with --leaks also a folder of images.
        leaks: packed set, or folder of images, to compare with `path`; alone: its splits with each other.
        out: folder for the report on leaks: leaks.json, leaks.csv, leaks.md and figures.
        embeddings: look for copies among neighbours by the encoder's features, too.
        encoder: the frozen encoder of these; the embedded one by default.
        seed: of the images that thresholds are taken from.
        progress: show a progress bar.

    Raises:
        UsageError: nothing to verify, or options of --leaks without it.
        DataError: damage or loss, all of it printed as a table; images shared across a test boundary.
    """
    if leaks is not None:
        from emonet_lightning.leakage.command import audit_leaks

        audit_leaks([leaks, *([] if path is None else [path])], out, encoder if embeddings else None, seed, progress)
        return
    if path is None:
        raise UsageError("verify: name a packed set, or two sets to compare, as in `verify --leaks A B`")
    if out is not None:
        raise UsageError("--out: is the folder of the report on leaks; give --leaks, too, or leave it out")
    opened = PackedSet.open(path)
    console = Console(soft_wrap=True)
    try:
        report = opened.verify(progress)
    except DamagedSet as error:
        console.print(problems_table(path, error.problems))
        raise
    console.print(summary(opened))
    console.print(_outcome(path, report))


def problems_table(path: str, problems: list[Problem]) -> Table:
    """Return what is wrong with a packed set as a table for people: the first of many, and how many there are."""
    table = Table("file", "sample", "what is wrong", "remedy", title=f"{path}: {len(problems)} problems")
    for problem in problems[:MAX_PROBLEMS]:
        table.add_row(*(escape(part) for part in problem))
    if len(problems) > MAX_PROBLEMS:
        table.add_row("...", "", f"{len(problems) - MAX_PROBLEMS} more", "")
    return table


def _outcome(path: str, report: VerifyReport) -> str:
    speed = report.num_samples / max(report.seconds, 1e-9)
    return (
        f"{path}: whole; {report.num_samples} images in {report.num_shards} shards, {report.num_bytes / 1e6:.1f} MB, "
        f"read and compared in {report.seconds:.1f} s ({speed:.0f} images/s)"
    )


def summary(packed: PackedSet) -> Table:
    """Return counts, kind, splits, labels and licence of a packed set as a table for people."""
    ratings = packed.ratings()
    table = Table("", "", title=f"{packed.name} ({packed.path})", show_header=False, title_justify="left")
    table.add_row("kind", packed.kind + (", sealed: for testing only" if packed.sealed else ""))
    table.add_row("licence", packed.licence)
    table.add_row("images", str(packed.num_samples))
    table.add_row("groups", str(len({group for group in packed.groups if group is not None})) + " given")
    table.add_row("splits", ", ".join(f"{split} {len(rows)}" for split, rows in packed.splits.items()))
    table.add_row("taxonomy", f"{packed.taxonomy['name']}, {len(packed.taxonomy['dimensions'])} columns")
    table.add_row("ratings", f"{len(ratings.row)} by {len(ratings.raters)} raters")
    if len(ratings.row):
        above = np.bincount(ratings.slug_index[ratings.value > 0], minlength=len(ratings.slugs))
        asked = np.bincount(ratings.slug_index, minlength=len(ratings.slugs))
        order = np.argsort(-above, kind="stable")
        told = [f"{ratings.slugs[i]} {above[i]}/{asked[i]}" for i in order if asked[i]]
        shown = told if len(told) <= 8 else [*told[:5], "...", *told[-3:]]
        table.add_row("above 0 / given", ", ".join(shown))
        never = [slug for slug, count in zip(ratings.slugs, asked, strict=True) if not count]
        if never:
            table.add_row("never rated", f"{len(never)}: {', '.join(never[:5])}" + (", ..." if len(never) > 5 else ""))
    table.add_row("digest", packed.digest[:16] + ", labels " + packed.label_digest[:16])
    return table
