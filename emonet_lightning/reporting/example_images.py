"""Images of a folder or a packed set by the name that a table of ratings gives them, as thumbnails."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from emonet_lightning.data.plan import locate
from emonet_lightning.decoding import decode_image
from emonet_lightning.errors import DataError, MissingInputError
from emonet_lightning.image_files import SUFFIXES
from emonet_lightning.io import read_bytes
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.packing.packed_source import is_packed
from emonet_lightning.ratings.index_map import ImageNames


class ImageFinder:
    """Finds images.

    Args:
        source: folder, searched with all folders in it, packed set, or `embedded:NAME`.

    Raises:
        MissingInputError: no such folder.
        DataError: no image in it.
    """

    def __init__(self, source: Path | str) -> None:
        self.path = locate(str(source), None)
        if not self.path.is_dir():
            raise MissingInputError(f"{source}: no such folder of images")
        self.packed = PackedSet.open(self.path) if is_packed(self.path) else None
        if self.packed is not None:
            names = self.packed.keys
        else:
            found = sorted(path for path in self.path.rglob("*") if path.suffix.lower() in SUFFIXES)
            names = [path.relative_to(self.path).as_posix() for path in found]
        if not names:
            raise DataError(f"{source}: no image in it")
        self.names = names
        self._known = ImageNames(names)

    def thumbnail(self, name: str, side: int) -> NDArray[np.uint8]:
        """Return the middle square of an image as RGB [side, side, 3].

        Raises:
            MissingInputError: no image of that name.
            DataError: it cannot be decoded.
        """
        place = self._known.find(name, str(self.path))
        if place is None:
            raise MissingInputError(
                f"{self.path}: no image '{name}' (one there is '{self.names[0]}'); name the folder of the rated images"
            )
        data = self.packed.read_image(place) if self.packed else read_bytes(self.path / self.names[place])
        pixels = decode_image(data, name)
        height, width = pixels.shape[:2]
        edge = min(height, width)
        top, left = (height - edge) // 2, (width - edge) // 2
        square = np.ascontiguousarray(pixels[top : top + edge, left : left + edge])
        return np.asarray(cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA), dtype=np.uint8)
