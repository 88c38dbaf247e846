"""From photos and frames to the pictures that are scored: one row per face, decoded and cut in threads.

Whole pictures pass through the same way where no faces are asked for. What is handed on has the encoder's input size:
a hundred photos of a camera would not fit into memory.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np

from emonet_lightning.errors import EmoNetError
from emonet_lightning.faces.crops import FaceCropper
from emonet_lightning.faces.detection import Face
from emonet_lightning.faces.tracks import Tracker
from emonet_lightning.faces.video import Video

NoFace = Literal["skip", "nan", "whole"]
Prepared = TypeVar("Prepared")


class Row(NamedTuple):
    """Where a scored picture comes from."""

    file: str
    frame: int | None = None
    """Of a video, from 0."""
    seconds: float | None = None
    face: int | None = None
    """Of the picture, 0 the largest; None: the whole picture, or none was found."""
    box: Face | None = None
    track: int | None = None
    """Of a video: the same face over its frames."""

    @property
    def name(self) -> str:
        """For people, and unique in a table."""
        frame = "" if self.frame is None else f", frame {self.frame}"
        return f"{self.file}{frame}" + ("" if self.face is None else f", face {self.face}")


class Picture(NamedTuple):
    """A photo or a frame that is to be looked at."""

    row: Row
    image: Any


def video_pictures(videos: Iterable[tuple[str, Path]], frames_per_second: float) -> Iterator[Picture]:
    """Yield the frames that are looked at; where a video ends early or cannot be read, its error as the last image."""
    for name, path in videos:
        try:
            for frame in Video(path, name).frames(frames_per_second):
                yield Picture(Row(name, frame.number, frame.seconds), frame.pixels)
        except EmoNetError as error:
            yield Picture(Row(name), error)


@dataclass
class Look(Generic[Prepared]):
    """Looks for faces in pictures; `no_face` and `num_pictures` say afterwards what was found."""

    cropper: FaceCropper | None
    """None: whole pictures."""
    decode: Callable[[str, Any], np.ndarray]
    prepare: Callable[[np.ndarray], Prepared]
    if_none: NoFace
    on_error: Callable[[str, EmoNetError], None] | None
    """Called with a file that cannot be read, which is then left out; None raises its error."""
    on_picture: Callable[[], None]
    num_threads: int

    def __post_init__(self) -> None:
        self.num_pictures = 0
        self.no_face: list[Row] = []

    def rows(self, pictures: Iterable[Picture]) -> Iterator[tuple[Row, Prepared | None]]:
        """Yield each row with its picture as `prepare` returns it; None for a row that is to stay without scores.

        Args:
            pictures: in the order of the rows; an error in place of an image is that of its file.
        """
        tracker, current = Tracker(), ""
        for picture, found in self._looked(pictures):
            row = picture.row
            if isinstance(found, EmoNetError):
                if self.on_error is None:
                    raise found
                self.on_error(row.file, found)
                continue
            self.num_pictures += 1
            self.on_picture()
            if self.cropper is None:
                yield row, found[0][1]
                continue
            faces = [face for face, _ in found if face is not None]
            tracks: list[int | None] = [None] * len(faces)
            if row.frame is not None:
                if row.file != current:
                    tracker, current = Tracker(), row.file
                tracks = list(tracker.link(faces))
            for number, (face, prepared) in enumerate(found):
                if face is not None:
                    yield row._replace(face=number, box=face, track=tracks[number]), prepared
            if not faces:
                self.no_face.append(row)
                if self.if_none != "skip":
                    yield row, found[0][1] if found else None

    def _looked(
        self, pictures: Iterable[Picture]
    ) -> Iterator[tuple[Picture, EmoNetError | list[tuple[Face | None, Prepared]]]]:
        """Decode, find and cut in threads, some pictures ahead, and yield in order."""
        source = iter(pictures)
        waiting: deque[tuple[Picture, Future[EmoNetError | list[tuple[Face | None, Prepared]]]]] = deque()
        with ThreadPoolExecutor(max(1, self.num_threads)) as pool:
            try:
                while True:
                    while len(waiting) < 2 * self.num_threads and (picture := next(source, None)) is not None:
                        waiting.append((picture._replace(image=None), pool.submit(self._look_at, picture)))
                    if not waiting:
                        return
                    done, future = waiting.popleft()
                    yield done, future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _look_at(self, picture: Picture) -> EmoNetError | list[tuple[Face | None, Prepared]]:
        if isinstance(picture.image, EmoNetError):
            return picture.image
        try:
            pixels = self.decode(picture.row.file, picture.image)
        except EmoNetError as error:
            return error
        if self.cropper is None:
            return [(None, self.prepare(pixels))]
        faces = self.cropper.find(pixels)
        if not faces and self.if_none == "whole":
            return [(None, self.prepare(pixels))]
        return [(face, self.prepare(self.cropper.cut(pixels, face))) for face in faces]
