"""open_source: from a path and a few names to a source of samples, whatever the layout."""

from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console

from emonet_lightning.errors import DataError, MissingInputError, UsageError, nearest
from emonet_lightning.packing.folders import ImageFiles, SampleInfo, class_folder_ratings, list_images, no_ratings
from emonet_lightning.packing.local_paths import refuse_remote
from emonet_lightning.packing.matching import NameIndex, Unmatched, match
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.packing.packed_source import PackedSource, is_packed
from emonet_lightning.packing.released import JoinedRatings, ParquetSource
from emonet_lightning.packing.samples import Source
from emonet_lightning.packing.tars import TarSource
from emonet_lightning.ratings.index_map import read_index_map
from emonet_lightning.ratings.layouts import read_labels
from emonet_lightning.ratings.long_form import Kind
from emonet_lightning.ratings.parquet_rows import ParquetRows, find_parquet
from emonet_lightning.ratings.tables import Table, find_column, read_table
from emonet_lightning.taxonomy import Taxonomy

Format = Literal["auto", "parquet", "tar", "table", "classes", "images"]


def open_source(
    input_path: str,
    taxonomy: Taxonomy,
    *,
    format: Format = "auto",
    kind: Kind | None = None,
    labels: str | None = None,
    columns: dict[str, str] | None = None,
    classes: dict[str, str] | None = None,
    metadata: str | None = None,
    group: str | None = None,
    index_map: str | None = None,
    images: str | None = None,
    unmatched: Unmatched = "error",
    licence: str = "unknown",
    name: str | None = None,
) -> Source:
    """Open what people have as a source of samples.

    Args:
        input_path: Parquet file or folder (also a Hugging Face cache folder), tar file or folder, image folder,
            CSV file, or a packed set, which `labels` relabels.
        taxonomy: columns of the ratings.
        format: layout; `auto` looks at the path: `parquet`, `tar`, `table` (images and a label file), `classes`
            (folders named after emotions) or `images` (no labels).
        kind: what the ratings are, instead of what the data show.
        labels: CSV file of ratings (see `layouts`).
        columns: the data's names for roles: image, annotations, rater, emotion, rating, label, prompted, split, key,
            meta.
        classes: class name -> emotion, or `none` for a class without any.
        metadata: CSV file with a row per image, for groups and facts.
        group: column, or columns separated by commas, that name the person or prompt.
        index_map: JSON of file name -> row number, for names that the data have lost.
        images: image folder, where `input_path` is a CSV file.
        unmatched: `error` refuses images without label and labels without image, `skip` leaves them out.
        licence: of the data.
        name: of the set; by default that of the folder or file.

    Returns:
        The source.

    Raises:
        MissingInputError: no such path, or nothing in it.
        DataError: what is there does not fit; names the file and the remedy.
        UsageError: options that do not fit each other.
    """
    for given in (input_path, labels, metadata, index_map, images):
        refuse_remote(given)
    path = Path(input_path)
    if not path.exists():
        raise MissingInputError(f"{path}: no such file or folder")
    if path.suffix.lower() in (".csv", ".tsv"):
        labels, path = labels or str(path), Path(images) if images else path.parent
    if labels is not None and not Path(labels).is_file():
        raise MissingInputError(f"{labels}: no such file (--labels)")
    columns = dict(columns or {})
    groups = [column.strip() for column in group.split(",")] if group else []
    if format == "auto" and labels is not None and is_packed(path):
        return _relabelled(path, taxonomy, columns, Path(labels), classes, unmatched, kind, name)
    found = _format(path, labels) if format == "auto" else format
    name = name or path.resolve().name.removesuffix(path.suffix)
    numbers = read_index_map(Path(index_map)) if index_map else None
    if found == "parquet":
        joined, names = None, None if numbers is None else {row: file for file, row in numbers.items()}
        rows = ParquetRows(find_parquet(path))
        if labels is not None:
            joined = _join(rows, taxonomy, columns, Path(labels), classes, names, unmatched)
            columns = {
                role: column for role, column in columns.items() if column in (*rows.schema.names, "row", "none")
            }
        return ParquetSource(
            rows,
            taxonomy,
            columns,
            name=name,
            licence=licence,
            kind=kind,
            classes=classes,
            group=groups,
            names=names,
            joined=joined,
        )
    if found == "tar":
        if labels is not None:
            raise UsageError("--labels does not go with tar files, which hold a JSON per image; unpack the images")
        files = [path] if path.is_file() else sorted(path.rglob("*.tar"))
        if not files:
            raise MissingInputError(f"{path}: no .tar file in it or below it")
        for digest in () if path.is_file() else sorted(path.rglob("*.tar.sha256")):
            if not digest.with_suffix("").is_file():
                raise DataError(f"{digest.with_suffix('')}: is missing, only its digest is there; fetch it again")
        return TarSource(files, taxonomy, columns, name=name, licence=licence, kind=kind, group=groups)
    files_found = list_images(path)
    if found == "table":
        if labels is None:
            raise UsageError(f"{path}: format 'table' needs --labels FILE.csv")
        names_found = NameIndex(files_found, path, Path(labels).parent, numbers)
        wanted = None if unmatched == "error" else lambda image: names_found.find(image, str(labels)) is not None
        roles = {**columns, **({"group": group} if group else {})}
        read = read_labels(Path(labels), taxonomy, roles, classes, wanted=wanted)
        matched = match(files_found, path, read, unmatched, names_found)
        _tell_skipped(matched.num_without_label, matched.num_without_image)
        files_found, ratings, extra, shown = matched.files, matched.ratings, matched.extra, kind or read.kind
    elif labels is not None:
        raise UsageError(f"--labels does not go with format '{found}'")
    else:
        extra, shown = [{} for _ in files_found], kind or "dense"
        if found == "classes":
            ratings = class_folder_ratings(files_found, path, taxonomy, classes or {})
        else:
            ratings = no_ratings(files_found, taxonomy)
    if metadata is not None:
        extra = _add_metadata(extra, files_found, path, read_table(Path(metadata)), columns, unmatched)
    where = metadata or labels or str(path)
    info = [_info(facts, groups, columns, taxonomy, where) for facts in extra]
    return ImageFiles(path, files_found, ratings, info, shown, name, licence)


def _relabelled(
    path: Path,
    taxonomy: Taxonomy,
    columns: dict[str, str],
    labels: Path,
    classes: dict[str, str] | None,
    unmatched: Unmatched,
    kind: Kind | None,
    name: str | None,
) -> PackedSource:
    """Put the ratings of a label file in place of a packed set's own; images are named by their keys."""
    packed = PackedSet.open(path)
    names = NameIndex(packed.keys, path, labels.parent)
    wanted = None if unmatched == "error" else lambda image: names.find(image, str(labels)) is not None
    read = read_labels(labels, taxonomy, columns, classes, wanted=wanted)
    matched = match(packed.keys, path, read, unmatched, names)
    _tell_skipped(matched.num_without_label, matched.num_without_image)
    return PackedSource(packed, matched, kind or read.kind, name or f"{packed.name}, relabelled")


def _format(path: Path, labels: str | None) -> Format:
    if path.is_file():
        by_suffix: dict[str, Format] = {".parquet": "parquet", ".tar": "tar"}
        if path.suffix.lower() not in by_suffix:
            raise UsageError(f"{path}: neither a folder nor a .parquet, .tar or .csv file")
        return by_suffix[path.suffix.lower()]
    if next(path.rglob("*.parquet"), None) is not None:
        return "parquet"
    if labels is not None:
        return "table"
    if next(path.rglob("*.tar"), None) is not None:
        return "tar"
    return "images" if any("/" not in file for file in list_images(path)) else "classes"


def _join(
    rows: ParquetRows,
    taxonomy: Taxonomy,
    columns: dict[str, str],
    labels: Path,
    classes: dict[str, str] | None,
    names: dict[int, str] | None,
    unmatched: Unmatched,
) -> JoinedRatings:
    """Bring the ratings of a label file in the order of a set that holds only the images."""
    file_roles = {r: c for r, c in columns.items() if r not in ("key",) and c not in rows.schema.names}
    read = read_labels(labels, taxonomy, file_roles, classes)
    set_roles = {r: c for r, c in columns.items() if c in (*rows.schema.names, "row")}
    bare = JoinedRatings(read.ratings._replace(row=np.empty(0, dtype=np.int64)), read.kind)
    images = ParquetSource(rows, taxonomy, set_roles, name="", licence="", names=names, joined=bare).file_names
    matched = match(images, labels.parent, read, unmatched, NameIndex(images, labels.parent, labels.parent))
    if matched.num_without_label:
        raise DataError(f"{labels}: {matched.num_without_label} images of {rows.files[0]} have no label; add them")
    _tell_skipped(0, matched.num_without_image)
    return JoinedRatings(matched.ratings, read.kind)


def _add_metadata(
    extra: list[dict[str, str]],
    files: list[str],
    root: Path,
    table: Table,
    columns: dict[str, str],
    unmatched: Unmatched,
) -> list[dict[str, str]]:
    image = find_column(table, "image", {r: c for r, c in columns.items() if r == "image" and c in table.header})
    assert image is not None
    names = NameIndex(files, root, table.path.parent)
    result = [dict(facts) for facts in extra]
    given = set()
    for number, row in enumerate(table.rows):
        found = names.find(row[image], str(table.path))
        if found is None:
            continue
        if found in given:
            raise DataError(f"{table.where(number)}: duplicate id '{row[image]}'; keep one")
        given.add(found)
        result[found].update({c: row[i] for i, c in enumerate(table.header) if i != image})
    missing = [file for number, file in enumerate(files) if number not in given]
    if missing and (unmatched == "error" or len(missing) == len(files)):
        raise DataError(
            f"{table.path}: no row for image '{missing[0]}' and {len(missing) - 1} more; "
            "add them, or set --unmatched skip"
        )
    return result


def _info(
    facts: dict[str, str], groups: list[str], columns: dict[str, str], taxonomy: Taxonomy, where: str
) -> SampleInfo:
    for column in (*groups, *(columns[role] for role in ("prompted", "split") if role in columns)):
        if column not in facts:
            raise DataError(f"{where}: no column '{column}'; {nearest(column, facts)}")
    prompted = facts.get(columns.get("prompted", ""))
    return SampleInfo(
        prompted=taxonomy.slugs[taxonomy.index(prompted, where)] if prompted else None,
        group="/".join(facts[column] for column in groups if facts[column]) or None,
        split=facts.get(columns.get("split", "")) or None,
        meta={name: value for name, value in facts.items() if value},
    )


def _tell_skipped(num_images: int, num_labels: int) -> None:
    if num_images or num_labels:
        Console(stderr=True, soft_wrap=True).print(
            f"left out: {num_images} images without label, {num_labels} labels without image"
        )
