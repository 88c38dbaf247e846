"""Photos and videos with rendered faces at known places, for the tests of the face front end."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np

from emonet_lightning.synthesis.faces import RenderedFaces
from emonet_lightning.synthesis.geometry import LANDMARKS
from emonet_lightning.synthesis.renderer import face_landmarks, render_face

SIZE = 160
_FACES = RenderedFaces("hq", size=SIZE)
CLEAR = (4, 9, 10, 11, 17, 19)
"""Faces that look into the camera, and whose brows and eyes nothing hides."""


@cache
def face(number: int) -> np.ndarray:
    return render_face(_FACES.params(number), SIZE)


def features(number: int) -> dict[str, np.ndarray]:
    """Where the parts of a rendered face are in its picture."""
    return dict(zip(LANDMARKS, face_landmarks(_FACES.params(number), SIZE), strict=True))


def box(number: int) -> np.ndarray:
    """Left, top, width and height of what detectors box: from above the brows to the chin."""
    points = np.stack(list(features(number).values()))
    low, high = points.min(axis=0), points.max(axis=0)
    return np.concatenate([low, high - low])


def photo(placed: dict[int, tuple[int, int]], width: int = 480, height: int = 320) -> np.ndarray:
    """Faces pasted into an even background, each with its upper left corner at (x, y)."""
    pixels = np.full((height, width, 3), 120, np.uint8)
    for number, (x, y) in placed.items():
        pixels[y : y + SIZE, x : x + SIZE] = face(number)
    return pixels


def save(pixels: np.ndarray, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels[..., ::-1])
    return path


def film(frames: list[np.ndarray], path: Path, rate: float = 10.0) -> Path:
    """A video of pictures of one size: Motion JPEG in an .avi, MPEG-4 in an .mp4."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coding = cv2.VideoWriter.fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), coding, rate, frames[0].shape[1::-1])
    assert writer.isOpened()
    for pixels in frames:
        writer.write(np.ascontiguousarray(pixels[..., ::-1]))
    writer.release()
    return path
