"""What the leak audit reads of a packed set or of a folder of images, and when a pair of images is a leak.

A pair crosses a test boundary if one image is for testing (in a split `test`, or in a sealed set) and the other is
not. Nothing is known of a folder, so each of its pairs with another set crosses; and where neither of two sets has test
images, the question put is whether they share any, so each pair between them does.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from emonet_lightning.data.plan import EMBEDDED, locate
from emonet_lightning.errors import DataError, MissingInputError
from emonet_lightning.io import read_bytes
from emonet_lightning.packing.folders import list_images
from emonet_lightning.packing.images import MAX_BYTES
from emonet_lightning.packing.local_paths import refuse_remote
from emonet_lightning.packing.packed import MANIFEST, PackedSet

TEST, UNKNOWN = "test", "unknown"
RULE = (
    "a pair of images crosses a test boundary if one is for testing (split `test`, or a sealed set) and the other is "
    "not; of a folder nothing is known, so each of its pairs with the other set does; where neither of two sets has "
    "test images, each pair between them does"
)


class ImageSet(NamedTuple):
    """Images to audit, by row."""

    name: str
    keys: list[str]
    splits: list[str]
    """Split of each image; `unknown` in a folder."""
    is_test: np.ndarray | None
    """Whether each image is for testing [N]; None where nobody has said."""
    groups: list[str | None]
    """Person or prompt, as it was given to `pack`."""
    prompts: list[str | None]
    """Full text of the prompt, where the records hold one."""
    read: Callable[[int], bytes]
    """From a row to the encoded image."""
    digest: str | None
    """Of the packed set."""


def open_images(path: str) -> ImageSet:
    """Open a packed set, `embedded:NAME`, or a folder of images.

    Raises:
        UsageError: no embedded set of that name.
        MissingInputError: no such folder, or no images in it.
        DataError: a damaged manifest or record; images of other formats.
    """
    if not path.startswith(EMBEDDED):
        refuse_remote(path)
    folder = locate(path, None)
    if (folder / MANIFEST).is_file():
        return _packed(PackedSet.open(folder))
    files = list_images(folder)
    nothing: list[str | None] = [None] * len(files)

    def read(row: int) -> bytes:
        file = folder / files[row]
        if file.is_file() and file.stat().st_size > MAX_BYTES:
            raise DataError(f"{file}: larger than {MAX_BYTES} bytes; not an image of a face; remove it")
        return read_bytes(file)

    return ImageSet(folder.resolve().name, files, [UNKNOWN] * len(files), None, nothing, nothing, read, None)


def _packed(packed: PackedSet) -> ImageSet:
    packed.check_files()
    splits = np.full(packed.num_samples, "", dtype=object)
    for split, rows in packed.splits.items():
        splits[rows] = split
    prompts = []
    for row in range(packed.num_samples):
        meta = packed.read_record(row).get("meta")
        text = meta.get("prompt") if isinstance(meta, dict) else None
        prompts.append(text if isinstance(text, str) else None)
    is_test = np.array([packed.sealed or split == TEST for split in splits])
    return ImageSet(
        packed.name,
        packed.keys,
        [TEST if packed.sealed else split for split in splits.tolist()],
        is_test,
        packed.groups,
        prompts,
        packed.read_image,
        packed.digest,
    )


class Comparison(NamedTuple):
    """Images to look for, and those to look among; rows count all images of both sets in turn."""

    rows: np.ndarray
    among: np.ndarray


def comparisons(sets: list[ImageSet]) -> list[Comparison]:
    """Return what is compared: of two sets each image of the smaller with the other set, of one its splits.

    Raises:
        MissingInputError: one set alone that has only one split.
    """
    if len(sets) == 2:
        first = np.arange(len(sets[0].keys))
        second = len(first) + np.arange(len(sets[1].keys))
        return [Comparison(*sorted((first, second), key=len))]
    names = np.array(sets[0].splits)
    ordered = sorted(set(sets[0].splits), key=lambda split: (split == TEST, split))
    if len(ordered) < 2:
        raise MissingInputError(
            f"--leaks: '{sets[0].name}' has no splits to compare; give a second set, as in `verify --leaks A B`"
        )
    return [
        Comparison(*sorted((np.flatnonzero(names == one), np.flatnonzero(names == other)), key=len))
        for place, one in enumerate(ordered)
        for other in ordered[place + 1 :]
    ]


def crosses(sets: list[ImageSet], first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return which pairs of rows cross a test boundary (`RULE`), bool [P]."""
    if len(sets) == 2 and not any(each.is_test is not None and each.is_test.any() for each in sets):
        return np.ones(len(first), dtype=bool)
    known = np.concatenate([np.full(len(each.keys), each.is_test is not None) for each in sets])
    is_test = np.concatenate(
        [np.zeros(len(each.keys), dtype=bool) if each.is_test is None else each.is_test for each in sets]
    )
    return ~known[first] | ~known[second] | (is_test[first] != is_test[second])
