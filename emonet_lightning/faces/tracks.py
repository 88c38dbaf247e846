"""The same face over the frames of a video: boxes of neighbouring frames that overlap are linked.

Nothing is recognised: two people who change places between two frames that are looked at change tracks, and one who
comes back later gets a new one.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from emonet_lightning.faces.detection import Face

MIN_OVERLAP = 0.3
"""Intersection over union of a face's boxes in two frames that follow each other."""
MAX_MISSED = 2
"""Frames in a row that a face may be missed in."""


def overlaps(first: Sequence[Face], second: Sequence[Face]) -> np.ndarray:
    """Return the intersection over union [N, M] of the boxes of two lists of faces."""
    a, b = (np.array([face[:4] for face in faces], dtype=float).reshape(-1, 4) for faces in (first, second))
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = a[:, 2:].prod(axis=1)[:, None] + b[:, 2:].prod(axis=1)[None, :]
    return shared / np.maximum(areas - shared, 1e-9)


class Tracker:
    """Numbers the faces of one video, frame after frame; a new track for each that overlaps with none before it."""

    def __init__(self, min_overlap: float = MIN_OVERLAP, max_missed: int = MAX_MISSED) -> None:
        self._min_overlap = min_overlap
        self._max_missed = max_missed
        self._last: dict[int, tuple[int, Face]] = {}  # track -> frame and face where it was seen last
        self._frame = -1
        self._next = 0

    def link(self, faces: Sequence[Face]) -> list[int]:
        """Return the track of each face of the next frame, which may have none."""
        self._frame += 1
        open_tracks = [track for track, (frame, _) in self._last.items() if self._frame - frame <= self._max_missed + 1]
        shared = overlaps([self._last[track][1] for track in open_tracks], faces)
        rows, columns = linear_sum_assignment(shared, maximize=True)
        linked = {
            int(column): open_tracks[row]
            for row, column in zip(rows, columns, strict=True)
            if shared[row, column] >= self._min_overlap
        }
        found = []
        for number, face in enumerate(faces):
            track = linked.get(number)
            if track is None:
                track, self._next = self._next, self._next + 1
            self._last[track] = (self._frame, face)
            found.append(track)
        return found
