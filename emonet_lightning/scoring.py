"""Scores of everything that an input holds: images, faces in them, frames of videos."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from emonet_lightning.errors import EmoNetError
from emonet_lightning.faces.crops import FaceCropper
from emonet_lightning.faces.looking import Look, NoFace, Picture, Row, video_pictures
from emonet_lightning.faces.video import Video
from emonet_lightning.image_inputs import Found
from emonet_lightning.image_reading import read_image
from emonet_lightning.progress import progress_bar
from emonet_lightning.recognizer import EmotionRecognizer


@dataclass
class Scored:
    """Rows in the order of the input, and what was left out."""

    rows: list[Row]
    scores: np.ndarray
    """[N, K] float32; NaN in a row whose picture shows no face."""
    num_pictures: int
    """Images and frames that were looked at."""
    seconds: float
    no_face: list[Row] = field(default_factory=list)
    bad: list[dict[str, str]] = field(default_factory=list)
    """File and error of each that could not be read."""


def score_inputs(
    recognizer: EmotionRecognizer,
    found: Found,
    cropper: FaceCropper | None = None,
    *,
    no_face: NoFace = "skip",
    frames_per_second: float = 1.0,
    skip_bad: bool = False,
    batch_size: int = 32,
    num_threads: int = 4,
    progress: bool = True,
) -> Scored:
    """Score images and videos.

    Args:
        recognizer: heads and encoder.
        found: what there is.
        cropper: finds and cuts out faces; None scores whole pictures.
        no_face: what becomes of a picture without a face: no row, a row of NaN, or the whole picture.
        frames_per_second: of a video, that are looked at.
        skip_bad: note unreadable files instead of raising; what was read of a video before its damage is kept.
        batch_size: pictures per forward pass.
        num_threads: that decode and look for faces.
        progress: show a bar.

    Raises:
        DataError: an unreadable file.
        InterruptedRunError: the process was asked to stop.
    """
    rows: dict[str, Row] = {}
    scores: dict[str, np.ndarray] = {}
    bad: list[dict[str, str]] = []
    started = time.monotonic()
    with progress_bar("predict", _expected(found, frames_per_second), "images", progress) as advance:

        def note(name: str, error: EmoNetError) -> None:
            bad.append({"file": name, "error": str(error)})
            advance(1)

        skip = note if skip_bad else None
        plain = cropper is None and not found.videos
        look = Look(cropper, read_image, recognizer.prepare, no_face, skip, lambda: advance(1), num_threads)

        def looked_at() -> Iterator[tuple[str, torch.Tensor]]:
            for row, prepared in look.rows(_pictures(found, frames_per_second)):
                rows[row.name] = row
                if prepared is not None:
                    yield row.name, prepared

        # nothing but whole images: decoded by the recognizer itself, further ahead
        for names, batch in recognizer.stream(found.images if plain else looked_at(), batch_size, skip, num_threads):
            scores.update(zip(names, batch, strict=True))
            if plain:
                rows.update((name, Row(name)) for name in names)
                advance(len(names))
    nothing = np.full(len(recognizer.bundle.taxonomy), np.nan, np.float32)
    return Scored(
        rows=list(rows.values()),
        scores=np.array([scores.get(name, nothing) for name in rows], np.float32).reshape(-1, len(nothing)),
        num_pictures=len(rows) if plain else look.num_pictures,
        seconds=time.monotonic() - started,
        no_face=look.no_face,
        bad=bad,
    )


def _pictures(found: Found, frames_per_second: float) -> Iterator[Picture]:
    for name, image in found.images:
        yield Picture(Row(name), image)
    yield from video_pictures(found.videos, frames_per_second)


def _expected(found: Found, frames_per_second: float) -> int:
    """Pictures that there will be, as far as the headers of videos tell."""
    total = len(found.images)
    for name, path in found.videos:
        try:
            total += Video(path, name).num_sampled(frames_per_second)
        except EmoNetError:  # told when its turn comes
            total += 1
    return total
