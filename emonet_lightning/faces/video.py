"""Frames of video files, so many a second, by OpenCV and the FFmpeg that it holds.

A file is opened as what its first bytes say, and by path only: FFmpeg also reads playlists, which name other files and
addresses.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from emonet_lightning.errors import DataError, MissingInputError
from emonet_lightning.faces.detection import quiet_opencv

# read when a process opens its first video: no lines of FFmpeg's own, and files alone, whatever a container names
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "protocol_whitelist;file")
_SHORT = 0.05
"""Share of the frames named in a file's header that may be missing: many headers name an estimate."""


class Frame(NamedTuple):
    """One picture of a video."""

    number: int
    """In the video, from 0."""
    seconds: float
    """From its beginning."""
    pixels: np.ndarray
    """[H, W, 3] uint8 RGB."""


class Video:
    """A video file; what its header says of it, and its frames."""

    def __init__(self, path: Path, name: str) -> None:
        """Look at the header.

        Args:
            path: of the file.
            name: what to call it in errors.

        Raises:
            MissingInputError: no such file.
            DataError: not a video that can be read.
        """
        self.path = path
        self.name = name
        with self._opened() as capture:
            self.num_frames = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
            self.rate = float(capture.get(cv2.CAP_PROP_FPS))
        if not (math.isfinite(self.rate) and 0 < self.rate <= 1000):
            raise DataError(f"{name}: a video of {self.rate:g} frames a second; convert it to MP4 or remove it")

    def num_sampled(self, frames_per_second: float) -> int:
        """Return how many frames will be looked at, as far as the header tells."""
        return max(1, math.ceil(self.num_frames / self.rate * min(frames_per_second, self.rate) - 1e-6))

    def frames(self, frames_per_second: float) -> Iterator[Frame]:
        """Yield the first frame of each 1/`frames_per_second` seconds; every frame where the video has no more.

        Raises:
            DataError: the video ends before its header says, told after its last frame.
        """
        number = -1
        due = 0.0  # seconds; of the next frame that is wanted
        with self._opened() as capture:
            while capture.grab():
                number += 1
                seconds = number / self.rate
                stamp = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000  # right where the rate changes; 0 where unknown
                if stamp > 0:
                    seconds = stamp
                if seconds + 1e-6 < due:
                    continue
                done, pixels = capture.retrieve()
                if not done or pixels is None:
                    break
                due = (math.floor(seconds * frames_per_second + 1e-6) + 1) / frames_per_second
                yield Frame(number, seconds, np.ascontiguousarray(pixels[..., ::-1]))
        read = number + 1
        if read == 0 or read < self.num_frames * (1 - _SHORT) - 1:
            raise DataError(
                f"{self.name}: damaged or cut: {read} of {self.num_frames} frames can be read; replace or remove it"
            )

    @contextmanager
    def _opened(self) -> Iterator[cv2.VideoCapture]:
        if not self.path.is_file():
            raise MissingInputError(f"{self.path}: no such file")
        capture = None
        try:
            if _is_container(self.path):
                with quiet_opencv():
                    capture = cv2.VideoCapture(str(self.path.resolve()), cv2.CAP_FFMPEG)
            if capture is None or not capture.isOpened():
                raise DataError(f"{self.name}: not a readable MP4, MOV, AVI, MKV or WebM video; replace or remove it")
            yield capture
        except cv2.error as error:  # a frame of a size or kind that it does not take
            reason = " ".join(str(error).split())[:160]
            raise DataError(f"{self.name}: a frame cannot be decoded ({reason}); replace or remove it") from error
        finally:
            if capture is not None:
                capture.release()


def _is_container(path: Path) -> bool:
    """Whether a file begins as a container of videos does."""
    with path.open("rb") as stream:
        start = stream.read(12)
    if start[:4] == b"RIFF":
        return start[8:12] == b"AVI "
    return start[:4] == b"\x1aE\xdf\xa3" or start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
