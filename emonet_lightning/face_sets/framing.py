"""Where the face of each image of a set is, and what the picture that goes into the encoder shows around it.

Every image is looked at once: what was found is kept beside the features, in blocks, so that a killed look goes on. The
pictures are the images as they are, or the crops of their largest faces.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import cached_property
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emonet_lightning.bad_samples import BadSample
from emonet_lightning.data.pixel_batches import decode_threads
from emonet_lightning.decoding import DECODER, decode_image
from emonet_lightning.errors import DataError
from emonet_lightning.evaluation.columns import Array
from emonet_lightning.evaluation.framing import NotTheFace
from emonet_lightning.face_sets.reading import FaceImages
from emonet_lightning.faces.crops import FaceCropper
from emonet_lightning.faces.detection import Face
from emonet_lightning.io import fingerprint, load_tensors, make_folder, save_tensors
from emonet_lightning.progress import progress_bar

CELLS = 16
"""Rows and columns into which a picture is averaged down."""
_VERSION = 1
_BLOCK = 256
"""Images after which what was found is kept."""
_REACHED = 0.15
"""Share of the images that may be left out of a look at what surrounds faces, because theirs reach too far."""
_AROUND = 0.1
"""Share of the box's longer side that counts as face on each of its sides: a detector's box ends at brows and chin."""


@dataclass
class Looked:
    """What N images show; of those without a face, and of unreadable ones, zeros."""

    readable: NDArray[np.bool_]
    """[N]."""
    faces: Array
    """x, y, width, height, confidence and the x and y of both eyes, in pixels [N, 9]; width 0: no face."""
    size: Array
    """Width and height of the image in pixels [N, 2]."""
    cells: Array
    """Mean colour of each cell of the picture, 0..255 [N, CELLS, CELLS, 3]."""
    covered: NDArray[np.bool_]
    """Cells that the face reaches into [N, CELLS, CELLS]."""

    @property
    def has_face(self) -> NDArray[np.bool_]:
        """Images with a face [N]."""
        return self.faces[:, 2] > 0

    def face(self, row: int) -> Face | None:
        """Return the face of an image."""
        x, y, width, height, confidence, *eyes = self.faces[row].tolist()
        if not width:
            return None
        return Face(x, y, width, height, confidence, ((eyes[0], eyes[1]), (eyes[2], eyes[3])))

    def take(self, rows: Sequence[int]) -> "Looked":
        """Return what these images show."""
        return Looked(**{name: values[list(rows)] for name, values in vars(self).items()})


@dataclass(frozen=True)
class FaceCrops:
    """The largest face of each image, cut out; images without a face as they are. What the feature cache reads."""

    images: FaceImages
    looked: Looked
    cropper: FaceCropper

    @property
    def keys(self) -> list[str]:
        """Names of the images [N]."""
        return self.images.keys

    @property
    def num_samples(self) -> int:
        """Number of images N."""
        return self.images.num_samples

    @cached_property
    def digest(self) -> str:
        """Hex sha256 of names, contents and how faces are cut."""
        return fingerprint([self.images.digest, self.cropper.fingerprint])

    def read_image(self, row: int) -> bytes:
        """Return the encoded crop of a row.

        Raises:
            BadSample: an unreadable image; names it.
        """
        encoded, face = self.images.read_image(row), self.looked.face(row)
        if face is None:
            return encoded
        pixels = self.cropper.cut(decode_image(encoded, self.keys[row]), face)
        stream = BytesIO()
        Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
        return stream.getvalue()


def look_for_faces(
    images: FaceImages,
    cropper: FaceCropper,
    folder: Path,
    *,
    cut: bool,
    num_threads: int | None = None,
    progress: bool = True,
) -> Looked:
    """Look for the largest face of each image, and at what surrounds it.

    Args:
        images: of the set.
        cropper: how faces are found.
        folder: where what was found is kept.
        cut: pictures are the crops, else whole images.
        num_threads: that decode and look.
        progress: show a bar.

    Raises:
        OutputError: the folder cannot be written.
    """
    key = fingerprint([_VERSION, CELLS, _AROUND, DECODER, images.digest, cropper.fingerprint, cut])
    blocks = [range(start, min(start + _BLOCK, len(images.rows))) for start in range(0, len(images.rows), _BLOCK)]
    paths = {block: folder / key[:20] / f"{block.start:09d}.safetensors" for block in blocks}
    found = {block: _kept(path, len(block)) for block, path in paths.items()}
    waiting = [block for block in blocks if found[block] is None]
    if waiting:
        make_folder(folder / key[:20])
        with (
            progress_bar("look for faces", sum(map(len, waiting)), "images", progress) as advance,
            ThreadPoolExecutor(decode_threads(num_threads)) as pool,
        ):
            for block in waiting:
                rows = []
                for row in pool.map(lambda number: _look_at(images, number, cropper, cut), block):
                    rows.append(row)
                    advance(1)
                found[block] = _stacked(rows)
                _keep(paths[block], found[block])
    return _stacked(list(found.values()))


def shown_beside_faces(looked: Looked) -> NotTheFace:
    """Return what is known of the images with a face that is not the face."""
    rows = np.flatnonzero(looked.has_face)
    faces, size, covered = looked.faces[rows], looked.size[rows], looked.covered[rows]
    eyes = (faces[:, 5:7] + faces[:, 7:9]) / 2 / size
    free, reached = free_cells(covered)
    return NotTheFace(
        rows=rows,
        place=eyes,
        photo=np.log(size),
        box=faces[:, 2:4] / size,
        surroundings=looked.cells[rows[~reached]][:, free].reshape((~reached).sum(), 3 * free.sum()),
        with_surroundings=~reached if free.any() else np.zeros(len(rows), np.bool_),
    )


def free_cells(covered: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the cells that are looked at [CELLS, CELLS], and the images whose face reaches into one of them [N].

    The cells are the same for all images, so that which they are says nothing of one: as many as can be had where the
    faces of at most 15% of the images reach into them.

    Args:
        covered: cells that the face of each image reaches into [N, CELLS, CELLS].
    """
    share = covered.mean(axis=0) if len(covered) else np.ones(covered.shape[1:])
    free, reached = share < 0, np.zeros(len(covered), np.bool_)
    for bound in np.unique(share)[np.unique(share) <= _REACHED]:
        more = share <= bound
        touched = np.asarray(covered[:, more].any(axis=1))
        if touched.mean() > _REACHED:
            break
        free, reached = more, touched
    return free, reached


def _look_at(images: FaceImages, row: int, cropper: FaceCropper, cut: bool) -> Looked:
    """Return what one image shows [1, ...]."""
    seen = _nothing(1)
    try:
        pixels = decode_image(images.read_image(row), images.keys[row])
    except BadSample:
        return seen  # told, or left out, when it is to be encoded
    seen.readable[0] = True
    seen.size[0] = pixels.shape[1::-1]
    face = next(iter(cropper.find(pixels)), None)
    if face is None:
        return seen
    seen.faces[0] = np.concatenate([face[:5], np.ravel(face.eyes)])
    around = _AROUND * max(face.width, face.height)
    corner = np.floor([face.x - around, face.y - around]).astype(int)
    opposite = np.ceil([face.x + face.width + around, face.y + face.height + around]).astype(int)
    hidden = np.zeros(pixels.shape[:2], np.uint8)
    hidden[slice(*np.clip([corner[1], opposite[1]], 0, None)), slice(*np.clip([corner[0], opposite[0]], 0, None))] = 255
    if cut:
        pixels, hidden = cropper.cut(pixels, face), cropper.cut(hidden, face)
    seen.cells[0] = _averaged(pixels)
    seen.covered[0] = _averaged(hidden) > 0
    return seen


def _averaged(pixels: np.ndarray) -> np.ndarray:
    large = [max(side, CELLS) for side in pixels.shape[1::-1]]  # the area of a pixel is not shared among cells
    fitting = cv2.resize(pixels, large, interpolation=cv2.INTER_NEAREST)
    return cv2.resize(fitting.astype(np.float32), (CELLS, CELLS), interpolation=cv2.INTER_AREA)


def _nothing(count: int) -> Looked:
    return Looked(
        readable=np.zeros(count, np.bool_),
        faces=np.zeros((count, 9)),
        size=np.zeros((count, 2)),
        cells=np.zeros((count, CELLS, CELLS, 3)),
        covered=np.zeros((count, CELLS, CELLS), np.bool_),
    )


def _stacked(parts: Sequence[Looked | None]) -> Looked:
    def every() -> Iterator[tuple[str, np.ndarray]]:
        for field in fields(Looked):
            yield field.name, np.concatenate([getattr(part, field.name) for part in parts])

    return Looked(**dict(every()))


def _keep(path: Path, looked: Looked | None) -> None:
    import torch

    save_tensors(path, {name: torch.from_numpy(values) for name, values in vars(looked).items()})


def _kept(path: Path, count: int) -> Looked | None:
    """Return what was kept of a block; None where nothing was, or it is damaged."""
    if not path.exists():
        return None
    try:
        tensors = {name: tensor.numpy() for name, tensor in load_tensors(path).items()}
    except DataError:
        return None
    shapes = {name: (values.shape, values.dtype) for name, values in vars(_nothing(count)).items()}
    if {name: (values.shape, values.dtype) for name, values in tensors.items()} != shapes:
        return None
    return Looked(**tensors)
