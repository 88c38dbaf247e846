"""Faces in pictures, found by OpenCV's YuNet.

The shipped network holds the published weights of libfacedetection 3 (Shiqi Yu, BSD 3-clause) in the graph that
OpenCV's `FaceDetectorYN` expects; an ONNX file of one's own, as the OpenCV zoo has them, does as well.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from emonet_lightning.errors import DataError, MissingInputError
from emonet_lightning.io import sha256_file

SHIPPED = "yunet"
"""Name of the detector that is part of the package."""
_QUIET = threading.RLock()
_OVERLAP = 0.3  # of boxes that are one face: YuNet's own demonstration takes it


class Face(NamedTuple):
    """A face in a picture; pixels from the picture's upper left corner, y down."""

    x: float
    """Left edge of the box."""
    y: float
    """Top edge of the box."""
    width: float
    height: float
    confidence: float
    """Of the detector, 0..1."""
    eyes: tuple[tuple[float, float], tuple[float, float]]
    """Middle of the person's right eye, then of the left one."""


def detector_file(detector: str) -> Path:
    """Return the ONNX file of a detector.

    Args:
        detector: `yunet`, which is shipped, or a path.

    Raises:
        MissingInputError: no such file.
    """
    if detector == SHIPPED:
        return Path(str(resources.files("emonet_lightning"))) / "assets" / "yunet.onnx"
    if not Path(detector).is_file():
        raise MissingInputError(f"{detector}: no such file; give YuNet as an ONNX file, or write {SHIPPED}")
    return Path(detector)


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep OpenCV's own lines off standard error: what it complains of is told as an error of one line."""
    levels = cv2.utils.logging
    with _QUIET:  # the level is the process's: another thread must not put it back too early
        before = levels.setLogLevel(levels.LOG_LEVEL_SILENT)
        try:
            yield
        finally:
            levels.setLogLevel(before)


class FaceDetector:
    """Finds the faces of a picture; may be called from several threads, each of which gets a network of its own."""

    def __init__(self, detector: str = SHIPPED, threshold: float = 0.7, max_side: int | None = None) -> None:
        """Load the detector.

        Args:
            detector: `yunet`, which is shipped, or an ONNX file of YuNet.
            threshold: lowest confidence of a face, 0..1.
            max_side: pixels of the longer side that a larger picture is reduced to before faces are looked for; the
                network was trained on faces of 10 to 300 pixels. None: as it is.

        Raises:
            MissingInputError: no such file.
            DataError: the file is no such network.
        """
        self.path = detector_file(detector)
        self._threshold = threshold
        self._max_side = max_side
        self._local = threading.local()
        try:
            self(np.zeros((32, 32, 3), np.uint8))  # another network loads, and fails at its first picture
        except (cv2.error, SystemError) as error:
            raise DataError(
                f"{self.path}: OpenCV cannot load it as a face detector; give YuNet as an ONNX file"
            ) from error

    @cached_property
    def sha256(self) -> str:
        """Hex sha256 of the network's file."""
        return sha256_file(self.path)

    def __getstate__(self) -> dict[str, Any]:
        return {"detector": str(self.path), "threshold": self._threshold, "max_side": self._max_side}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __call__(self, pixels: np.ndarray) -> list[Face]:
        """Return the faces of a picture, the most confident first.

        Args:
            pixels: [H, W, 3] uint8 RGB.
        """
        if not hasattr(self._local, "network"):
            with quiet_opencv():
                self._local.network = cv2.FaceDetectorYN.create(
                    str(self.path), "", (320, 320), self._threshold, _OVERLAP
                )
        height, width = pixels.shape[:2]
        scale = min(1.0, (self._max_side or np.inf) / max(height, width))
        picture = pixels[..., ::-1]
        if scale < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        self._local.network.setInputSize(picture.shape[1::-1])
        _, found = self._local.network.detect(np.ascontiguousarray(picture))
        if found is None:
            return []
        found = found[np.isfinite(found).all(axis=1)].astype(float)
        found = found[np.argsort(-found[:, 14], kind="stable")]
        back = np.tile([width / picture.shape[1], height / picture.shape[0]], 7)
        found[:, :14] *= back
        return [
            Face(x, y, w, h, min(1.0, float(found[row, 14])), ((x0, y0), (x1, y1)))
            for row, (x, y, w, h, x0, y0, x1, y1) in enumerate(found[:, :8].tolist())
        ]
