"""Gates: which generated images are kept. One image at a time here; copies of each other are found in `outcomes`."""

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from emonet_lightning.bad_samples import BadSample
from emonet_lightning.errors import UsageError
from emonet_lightning.faces.detection import FaceDetector, detector_file
from emonet_lightning.io import sha256_file
from emonet_lightning.packing.images import inspect_image
from emonet_lightning.synthesis.renderer import encode_jpeg

NEAR_DUPLICATE = "near duplicate"


@dataclass(frozen=True)
class Gates:
    """What an image must pass, and how often it may be tried."""

    min_contrast: float = 4.0
    """Standard deviation of the grey values, 0..127, below which an image is blank; 0 lets all pass but one colour."""
    face_detector: str | None = None
    """`yunet`, which is shipped, or an ONNX file of YuNet; without it faces are not looked for."""
    num_faces: int = 1
    face_threshold: float = 0.7
    """Score of a face, 0..1."""
    near_duplicates: Literal["drop", "keep"] = "drop"
    near_duplicate_distance: int = 4
    """Differing bits of the 64-bit perceptual hash up to which two images are near duplicates."""
    attempts: int = 3
    """Images that are made for a prompt at most, each with another seed."""

    def check(self) -> None:
        """Refuse values that are none.

        Raises:
            UsageError: names the option.
        """
        for option, value, low, high in (
            ("min_contrast", self.min_contrast, 0, 127),
            ("num_faces", self.num_faces, 0, 1000),
            ("face_threshold", self.face_threshold, 0, 1),
            ("near_duplicate_distance", self.near_duplicate_distance, 0, 16),
            ("attempts", self.attempts, 1, 100),
        ):
            if not low <= value <= high:
                raise UsageError(f"--gates.{option} {value}: must be {low} to {high}")

    def recorded(self) -> dict[str, Any]:
        """Return the options as the record of a set names them, the detector by its digest."""
        found = dict(vars(self))
        if self.face_detector is not None:
            path = detector_file(self.face_detector)
            found["face_detector"] = f"{path.name} {sha256_file(path)}"
        return found


def encode_image(pixels: np.ndarray, image_format: str, quality: int) -> bytes:
    """Encode RGB pixels as `jpg` of a quality or as `png`; the quality of a PNG is not looked at."""
    if image_format == "jpg":
        return encode_jpeg(pixels, quality)
    done, content = cv2.imencode(".png", pixels[..., ::-1])
    assert done
    return content.tobytes()


class ImageCheck:
    """All gates that look at one image."""

    def __init__(self, gates: Gates) -> None:
        self._gates = gates
        self._find = FaceDetector(gates.face_detector, gates.face_threshold) if gates.face_detector else None

    def __call__(self, pixels: np.ndarray, content: bytes, name: str) -> tuple[str | None, int]:
        """Judge one image.

        Args:
            pixels: uint8 [H, W, 3].
            content: the same, encoded.
            name: of the image, for errors.

        Returns:
            Why it is not kept (None: it is), and its perceptual hash.
        """
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        if float(grey.std()) < self._gates.min_contrast:
            return "blank", 0
        try:
            _, value = inspect_image(content, name, perceptual_hash=True)  # what packing will ask for
        except BadSample as error:
            return error.reason, 0
        if self._find is not None and (found := len(self._find(pixels))) != self._gates.num_faces:
            return f"{found} faces", value or 0
        return None, value or 0
