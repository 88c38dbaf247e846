"""Image files on disk as a source: a folder with a label file, class-named folders, or images without labels."""

import os
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from emonet_lightning.errors import DataError, MissingInputError
from emonet_lightning.image_files import OTHER_SUFFIXES, SUFFIXES, looks_like_an_image
from emonet_lightning.io import fingerprint, read_bytes
from emonet_lightning.packing.images import MAX_BYTES
from emonet_lightning.packing.samples import RawSample, normalise_key
from emonet_lightning.ratings.answers import GENERATED
from emonet_lightning.ratings.classes import class_answers, class_emotions
from emonet_lightning.ratings.long_form import Kind, Ratings
from emonet_lightning.taxonomy import Taxonomy


def list_images(folder: Path) -> list[str]:
    """Return the relative paths of all JPEG, PNG and WebP files below a folder, sorted; hidden ones are left out.

    Raises:
        MissingInputError: no such folder, or no image in it.
        DataError: images of other formats or names, which would be lost silently; a folder that is met twice.
    """
    if not folder.is_dir():
        raise MissingInputError(f"{folder}: no such folder")
    found, seen = [], set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            raise DataError(f"{place}: a link to a folder that is read already ({real}); remove it")
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path, suffix = Path(place) / name, Path(name).suffix.lower()
            if name.startswith("."):
                continue
            if suffix in OTHER_SUFFIXES:
                raise DataError(f"{path}: only JPEG, PNG and WebP are read; convert or remove it")
            if suffix in SUFFIXES:
                found.append(path.relative_to(folder).as_posix())
            elif looks_like_an_image(path):
                raise DataError(f"{path}: an image by its content; name it .jpg, .png or .webp, or remove it")
    if not found:
        raise MissingInputError(f"{folder}: no images ({', '.join(sorted(SUFFIXES))}) in it or below it")
    return sorted(found)


class SampleInfo(NamedTuple):
    """What is known of one image beside its ratings."""

    prompted: str | None = None
    group: str | None = None
    split: str | None = None
    meta: dict[str, str | float | int] = {}  # noqa: RUF012  (never mutated)


class ImageFiles:
    """Source over image files; ratings are kept as arrays, so that it travels to other processes at little cost."""

    def __init__(
        self,
        root: Path,
        files: list[str],
        ratings: Ratings,
        info: list[SampleInfo],
        kind: Kind,
        name: str,
        licence: str,
    ) -> None:
        """Args: `ratings.row` counts `files`; it must be sorted by row."""
        self.root = root
        self.files = files
        self.ratings = ratings
        self.info = info
        self.kind: Kind = kind
        self.name = name
        self.licence = licence
        self.keys = unique_keys([str(PurePosixPath(file).with_suffix("")) for file in files], files, str(root))
        self._starts = np.searchsorted(ratings.row, np.arange(len(files) + 1))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> RawSample:
        path = self.root / self.files[index]
        if path.is_file() and path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: larger than {MAX_BYTES} bytes; not an image of a face")
        info = self.info[index]
        return RawSample(
            key=self.keys[index],
            image=read_bytes(path),
            ratings=answers_of(self.ratings, self._starts, index),
            prompted=info.prompted,
            group=info.group,
            split=info.split,
            meta={"file": self.files[index], **info.meta},
        )

    def fingerprint(self) -> str:
        """Digest of file names and sizes, and of all labels."""
        sizes = [(self.root / file).stat().st_size for file in self.files]
        return fingerprint([self.files, sizes, ratings_fingerprint(self.ratings), self.info])


def ratings_fingerprint(ratings: Ratings) -> str:
    """Digest of all answers."""
    columns = (ratings.row, ratings.rater, ratings.slug_index, ratings.value.astype(float))
    silent = [] if ratings.silent is None or not len(ratings.silent) else [ratings.silent.tolist()]
    return fingerprint([ratings.raters, ratings.slugs, *(column.tolist() for column in columns), *silent])


def answers_of(ratings: Ratings, starts: np.ndarray, row: int) -> dict[str, dict[str, float]]:
    """Return the answers about one row as rater -> {slug: value}; nothing of a rater who left all untouched."""
    result: dict[str, dict[str, float]] = {}
    for entry in range(starts[row], starts[row + 1]):
        answers = result.setdefault(ratings.raters[ratings.rater[entry]], {})
        answers[ratings.slugs[ratings.slug_index[entry]]] = float(ratings.value[entry])
    if ratings.silent is not None:
        for rater in ratings.silent[ratings.silent[:, 0] == row, 1].tolist():
            result.setdefault(ratings.raters[rater], {})
    return result


def unique_keys(names: list[str], files: list[str], where: str) -> list[str]:
    """Make keys of names.

    Raises:
        DataError: two names that give one key.
    """
    seen: dict[str, str] = {}
    for name, file in zip(names, files, strict=True):
        other = seen.setdefault(normalise_key(name), file)
        if other is not file:
            raise DataError(f"{where}: duplicate id '{normalise_key(name)}': '{other}' and '{file}'; rename one")
    return list(seen)


def class_folder_ratings(files: list[str], root: Path, taxonomy: Taxonomy, classes: dict[str, str]) -> Ratings:
    """Rate images by the name of the folder they lie in: its emotion at the highest level, the other classes' at 0.

    Raises:
        DataError: an image outside any class folder, or a folder that names no emotion.
    """
    names = [file.split("/")[0] if "/" in file else "" for file in files]
    if "" in names:
        raise DataError(f"{root}: image '{files[names.index('')]}' lies outside the class folders; move or remove it")
    emotions = class_emotions(sorted(set(names)), taxonomy, classes, str(root))
    slug_of = {slug: i for i, slug in enumerate(taxonomy.slugs)}
    cells = [
        (row, slug_of[slug], value)
        for row, name in enumerate(names)
        for slug, value in class_answers(name, emotions, taxonomy).items()
    ]
    columns = list(zip(*cells, strict=True))
    return Ratings(
        row=np.array(columns[0], dtype=np.int64),
        rater=np.zeros(len(cells), dtype=np.int64),
        raters=[GENERATED],
        slug_index=np.array(columns[1], dtype=np.int64),
        slugs=list(taxonomy.slugs),
        value=np.array(columns[2], dtype=np.float32),
        keys=files,
    )


def no_ratings(files: list[str], taxonomy: Taxonomy) -> Ratings:
    """Ratings of images that nobody rated."""
    none = np.empty(0, dtype=np.int64)
    return Ratings(none, none, [], none, list(taxonomy.slugs), np.empty(0, dtype=np.float32), files)
