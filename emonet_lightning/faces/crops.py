"""Face pictures cut out of photos: a square around each face, upright by its eyes, with a margin.

How they are cut belongs to what heads are trained on, as size and normalisation do: `FaceCropper.recorded` says all of
it, and its digest is part of the preprocessing fingerprint of every table.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from emonet_lightning.errors import UsageError
from emonet_lightning.faces.detection import SHIPPED, Face, FaceDetector
from emonet_lightning.io import fingerprint

Which = Literal["off", "largest", "all"]
VERSION = 1
"""Of detection and cutting: raise it when their pixels change."""
_LARGE, _AROUND = 224, 0.25
"""Pixels of a face's longer side, and margin, at which its eyes are looked for: YuNet places those of smaller faces as
if the head were upright. Of London photos turned by 20 degrees it told 3 of them at 100 pixels, 15 to 20 at 224."""
_LOOKS = 3  # each at the face turned by what the one before told, until the eyes are level
_LEVEL = 4.0  # degrees of tilt that are left alone: on the same photos, unturned, the eyes were told to within 3
_EYES_APART = 0.15  # share of the box's width; closer in a profile, where the line says nothing of the head's tilt


@dataclass(frozen=True)
class CropOptions:
    """How faces are found, and how much around them is kept."""

    detector: str = SHIPPED
    """`yunet`, which is shipped, or an ONNX file of YuNet."""
    threshold: float = 0.7
    """Lowest confidence of a face, 0..1."""
    margin: float = 0.5
    """What is kept on each side, as a share of the box's longer side; with 0.5 the face fills half of the picture, as
    it does in generated portraits."""
    align: bool = True
    """Turn the picture so that the eyes are level."""
    min_size: int = 20
    """Pixels of the box's shorter side below which a face is left out."""
    max_side: int = 640
    """Pixels of the longer side to which a larger photo is reduced to look for faces; crops keep their full size."""

    def check(self) -> None:
        """Refuse values that are none.

        Raises:
            UsageError: names the option.
        """
        for option, value, low, high in (
            ("threshold", self.threshold, 0, 1),
            ("margin", self.margin, 0, 4),
            ("min_size", self.min_size, 1, 10_000),
            ("max_side", self.max_side, 64, 10_000),
        ):
            if not low <= value <= high:
                raise UsageError(f"--crop.{option} {value}: must be {low} to {high}")


class FaceCropper:
    """Finds faces and cuts them out; picklable, and may be used from several threads."""

    def __init__(self, which: Literal["largest", "all"] = "largest", options: CropOptions | None = None) -> None:
        """Load the detector.

        Args:
            which: of a photo's faces.
            options: how; see `CropOptions`.

        Raises:
            UsageError: a value that is none.
            MissingInputError: no such detector.
            DataError: a file that is no detector.
        """
        self.which = which
        self.options = options or CropOptions()
        self.options.check()
        self.detector = FaceDetector(self.options.detector, self.options.threshold, self.options.max_side)

    def recorded(self) -> dict[str, Any]:
        """Return everything that the pixels of a crop depend on, the detector by its digest."""
        return {
            "version": VERSION,
            "faces": self.which,
            **vars(self.options),
            "detector": self.detector.path.name,
            "detector_sha256": self.detector.sha256,
        }

    @property
    def fingerprint(self) -> str:
        """Digest of what is recorded; a detector's file may have any name."""
        return _digest(self.recorded())

    def find(self, pixels: np.ndarray) -> list[Face]:
        """Return the faces of a photo, the largest first; at most one where only that is asked for.

        Args:
            pixels: [H, W, 3] uint8 RGB.
        """
        faces = [face for face in self.detector(pixels) if min(face.width, face.height) >= self.options.min_size]
        faces.sort(key=lambda face: -face.width * face.height)
        faces = faces[:1] if self.which == "largest" else faces
        return [self._with_eyes(pixels, face) for face in faces] if self.options.align else faces

    def _with_eyes(self, pixels: np.ndarray, face: Face) -> Face:
        """Look for a face's eyes once more, in a picture of it of the size at which they are told best."""
        side = max(2, round(max(face.width, face.height) * (1 + 2 * _AROUND)))
        middle = np.array([face.x + face.width / 2, face.y + face.height / 2])
        around = cv2.getRectSubPix(pixels, (side, side), (middle - 0.5).tolist())  # the first pixel has its middle at 0
        wanted = round(_LARGE * (1 + 2 * _AROUND))
        smaller = wanted < side
        large = cv2.resize(around, (wanted, wanted), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
        eyes = np.array(face.eyes)
        angle = 0.0
        for _ in range(_LOOKS):
            turn = cv2.getRotationMatrix2D((wanted / 2, wanted / 2), angle, 1.0)
            seen = self._middle_one(cv2.warpAffine(large, turn, (wanted, wanted)) if angle else large)
            if seen is None:
                break
            back = cv2.invertAffineTransform(turn)
            eyes = (np.array(seen.eyes) @ back[:, :2].T + back[:, 2]) * side / wanted + middle - side / 2
            if abs(_slope(seen.eyes)) < _LEVEL:
                break
            angle += _slope(seen.eyes)
        (x0, y0), (x1, y1) = eyes.tolist()
        return face._replace(eyes=((x0, y0), (x1, y1)))

    def _middle_one(self, pixels: np.ndarray) -> Face | None:
        """Return the face over the middle of a square picture."""
        middle = len(pixels) / 2
        for face in self.detector(pixels):
            if face.x < middle < face.x + face.width and face.y < middle < face.y + face.height:
                return face
        return None

    def cut(self, pixels: np.ndarray, face: Face) -> np.ndarray:
        """Cut out a face: a square around the middle of its box.

        A square that would leave the photo is moved into it, and one larger than the photo made as small: made-up
        surroundings are no part of a face. Only what turning brings in from outside is mirrored.

        Args:
            pixels: [H, W, 3] uint8 RGB.
            face: in it.

        Returns:
            [S, S, 3] uint8 at the photo's own scale, S = longer side of the box times (1 + 2 margin), at most the
            photo's shorter side or the box's longer one.
        """
        longer = max(face.width, face.height)
        photo = np.array(pixels.shape[1::-1])
        side = max(8, round(min(longer * (1 + 2 * self.options.margin), max(photo.min(), longer))))
        middle = np.array([face.x + face.width / 2, face.y + face.height / 2])
        middle = np.where(side <= photo, np.clip(middle, side / 2, np.maximum(photo - side / 2, side / 2)), middle)
        middle -= 0.5  # the first pixel has its middle at 0
        angle = self.tilt(face)
        move: np.ndarray = cv2.getRotationMatrix2D(middle.tolist(), angle, 1.0)
        move[:, 2] = move[:, 2] + (side - 1) / 2 - middle
        if angle == 0:
            move[:, 2] = np.rint(move[:, 2])  # pixels as they are
        return cv2.warpAffine(pixels, move, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)

    def tilt(self, face: Face) -> float:
        """Return by how many degrees, clockwise as seen, a face is to be turned back until its eyes are level."""
        (x0, y0), (x1, y1) = face.eyes
        if not self.options.align or math.hypot(x1 - x0, y1 - y0) < _EYES_APART * face.width:
            return 0.0
        angle = _slope(face.eyes)
        return angle if abs(angle) > _LEVEL else 0.0


def _digest(recorded: Mapping[str, Any]) -> str:
    return fingerprint({**recorded, "detector": None})


def told_of_other_crops(training: Mapping[str, Any], cropper: FaceCropper | None) -> str | None:
    """Return a line where heads are given faces that are not cut as those that they were trained on.

    Args:
        training: what a bundle says of the heads' training. Of sets of which no cut is recorded nothing is told: most
            hold portraits that nobody had to cut.
        cropper: how faces are cut now; None: whole pictures are scored.

    Returns:
        None where they are cut alike, which of a photo's faces ever.
    """
    sets = training.get("data")
    entries = [entry.get("faces") for entry in sets if isinstance(entry, dict)] if isinstance(sets, list) else []
    trained = [entry for entry in entries if isinstance(entry, dict)]
    if not trained:
        return None
    if cropper is None:
        margin = trained[0].get("margin")
        return f"these heads were trained on faces cut out with margin {margin}, whole pictures are scored: see --faces"
    now = cropper.recorded()
    for recorded in trained:
        if _digest({**recorded, "faces": None}) != _digest({**now, "faces": None}):
            kept = {key: value for key, value in now.items() if key not in ("faces", "detector")}
            other = [
                f"{key} {recorded.get(key)}, now {value}" for key, value in kept.items() if recorded.get(key) != value
            ]
            return f"these heads were trained on faces that were cut out in another way: {'; '.join(other)}"
    return None


def _slope(eyes: tuple[tuple[float, float], tuple[float, float]]) -> float:
    """By how many degrees the left eye stands below the right one, seen from the right one."""
    (x0, y0), (x1, y1) = eyes
    return math.degrees(math.atan2(y1 - y0, x1 - x0))
