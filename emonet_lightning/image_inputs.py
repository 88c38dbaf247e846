"""Where the images and videos of an input are: a file, a folder with its subfolders, or a packed set."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from emonet_lightning.errors import MissingInputError, UsageError, nearest
from emonet_lightning.image_files import OTHER_SUFFIXES, SUFFIXES, VIDEO_SUFFIXES
from emonet_lightning.image_reading import ImageLike
from emonet_lightning.messages import say
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.packing.packed_source import is_packed

NamedImage = tuple[str, ImageLike | Callable[[], bytes]]


class Found(NamedTuple):
    """What there is to score."""

    images: list[NamedImage]
    videos: list[tuple[str, Path]]
    packed: bool
    """A packed set: its faces fill their pictures already."""


def find_images(path: Path, split: str | None) -> list[NamedImage]:
    """Return (key, where to read it) of an image, a folder of images or a packed set, without reading a picture.

    Raises:
        MissingInputError: nothing there, or no image.
        UsageError: a split of what is no packed set, or that it does not have.
    """
    found = find_inputs(path, split)
    if not found.images:
        raise MissingInputError(f"{path}: no images ({', '.join(sorted(SUFFIXES))}) in it or below")
    return found.images


def find_inputs(path: Path, split: str | None) -> Found:
    """Return the images and videos of a file, a folder or a packed set, without reading one; raises as `find_images`.

    A folder's files are named by their path below it, sorted; linked folders are followed.
    """
    if path.is_file():
        if path.suffix.lower() in VIDEO_SUFFIXES:
            return Found([], [(path.name, path)], False)
        return Found([(path.name, path)], [], False)
    if not path.is_dir():
        raise MissingInputError(f"{path}: no such file or folder; give an image, a folder of images or a packed set")
    if is_packed(path):
        return Found(_packed_images(PackedSet.open(path), split), [], True)
    if split is not None:
        raise UsageError(f"{path}: --split is for packed sets, this is a folder")
    images, videos, others = [], [], Counter[str]()
    for file in sorted(_walk(path)):
        suffix = file.suffix.lower()
        if suffix in SUFFIXES:
            images.append(file)
        elif suffix in VIDEO_SUFFIXES:
            videos.append(file)
        elif suffix in OTHER_SUFFIXES:
            others[suffix] += 1
    if others:
        listed = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
        say(f"{path}: left out, not {', '.join(sorted(SUFFIXES))}: {listed}; convert them first")
    if not images and not videos:
        raise MissingInputError(f"{path}: no images ({', '.join(sorted(SUFFIXES))}) in it or below")
    return Found(_named(images, path), _named(videos, path), False)


def _named(files: list[Path], folder: Path) -> list[tuple[str, Any]]:
    return [(file.relative_to(folder).as_posix(), file) for file in files]


def _packed_images(packed: PackedSet, split: str | None) -> list[NamedImage]:
    if split is not None and split not in packed.splits:
        raise UsageError(f"{packed.path}: no split '{split}'; {nearest(split, packed.splits)}")
    rows = range(packed.num_samples) if split is None else packed.splits[split].tolist()
    return [(packed.keys[row], partial(packed.read_image, row)) for row in rows]


def _walk(folder: Path) -> Iterator[Path]:
    """Yield files; linked folders are followed, each real folder once."""
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(place))
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(os.path.join(place, name)) not in seen
        )
        for name in files:
            if not name.startswith("."):
                yield Path(place) / name
