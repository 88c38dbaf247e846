"""The command `predict`: EmotionRecognizer over images, videos or a packed set, into one table."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console

from emonet_lightning import __version__
from emonet_lightning.baselines import Baseline, assigned, neutral_range, personal_means, read_neutral_file
from emonet_lightning.data.plan import locate
from emonet_lightning.encoders import EncoderSpec
from emonet_lightning.errors import DataError, UsageError, nearest
from emonet_lightning.faces.crops import CropOptions, FaceCropper, Which, told_of_other_crops
from emonet_lightning.faces.looking import NoFace, Row
from emonet_lightning.image_inputs import Found, find_inputs
from emonet_lightning.io import fingerprint, sha256_file, write_json
from emonet_lightning.messages import say
from emonet_lightning.predict_table import (
    BAD_FILES,
    COLUMNS,
    FORMATS,
    META,
    NO_FACE,
    beside,
    make_table,
    make_way,
    no_face_entry,
    write_lines,
    write_table,
)
from emonet_lightning.recognizer import EmotionRecognizer
from emonet_lightning.scoring import Scored, score_inputs

__all__ = ["EmotionRecognizer", "predict_command"]


def predict_command(
    input: str,
    out: str,
    run: str | None = None,
    heads: str | None = None,
    encoder: EncoderSpec | None = None,
    weights: str | None = None,
    values: Literal["scores", "mean_subtracted", "softmax"] = "scores",
    split: str | None = None,
    faces: Which = "off",
    crop: CropOptions = CropOptions(),
    no_face: NoFace = "skip",
    frames_per_second: float = 1.0,
    neutral: str | None = None,
    neutral_frames: str | None = None,
    without_neutral: Literal["error", "global"] = "error",
    on_error: Literal["stop", "skip"] = "stop",
    device: str | None = None,
    batch_size: int = 32,
    num_threads: int | None = None,
    progress: bool = True,
) -> None:
    """Score images and videos with trained heads and write one row per image, or per face and frame.

    Args:
        input: an image, a video, a folder of them (read with its subfolders), a packed set, or `embedded:hq`.
        out: table to write, `.csv`, `.parquet` or `.jsonl`: column `file` (path below the input folder, or sample
            key), then one column per emotion; with faces also their boxes, of videos also frame, seconds and track.
            Beside it TABLE.meta.json says how faces, videos and baselines were made.
        run: run folder that holds the heads.
        heads: folder of exported heads, or of released .pth files (instead of `run`).
        encoder: the encoder, if not the recorded one (released files: the paper's), e.g. `--encoder.name timm/NAME`.
        weights: where the encoder's weight file is now, e.g. one that `fetch encoder` brought.
        values: scores; mean_subtracted (minus the neutral means); softmax over the emotions (extra dimensions empty).
        split: of a packed set, this split only.
        faces: `off` scores whole pictures; `largest` looks for faces and scores the largest of each; `all` scores each.
        crop: how faces are found and cut out.
        no_face: a picture without a face is left out (`skip`), kept without scores (`nan`) or scored `whole`; it is
            listed in TABLE.no_face.jsonl.
        frames_per_second: of a video, that are looked at.
        neutral: CSV file with columns image, person and neutral (yes or no): the mean of each person's neutral
            pictures is subtracted in place of the heads' general means (`--values mean_subtracted` or `softmax`).
        neutral_frames: the same for each track of a video: frames that show neutral faces, as 0-150, or as 0-5s.
        without_neutral: a person without a neutral picture is an `error`, or gets the heads' `global` means.
        on_error: `stop` at an unreadable file, or `skip` it and list it in TABLE.bad_files.jsonl beside the table; of a
            damaged video the frames before the damage are kept.
        device: cpu, cuda or cuda:N; default: the GPU if there is one.
        batch_size: images per forward pass.
        num_threads: threads that decode; default: one per core, at most 16.
        progress: show a bar with images/s.

    Raises:
        UsageError: neither or both of `run` and `heads`, an unknown table format, or options that do not fit.
        MissingInputError: no such input, or no images in it.
        DataError: an unreadable image or video (named), or heads that do not fit.
        OutputError: the table cannot be written; told before the first image is scored.
    """
    if (run is None) == (heads is None):
        raise UsageError("predict: give either --run DIR or --heads DIR")
    target = Path(out)
    if target.suffix not in FORMATS:
        raise UsageError(f"{out}: unknown table format; {nearest(target.suffix, FORMATS)}")
    if batch_size < 1:
        raise UsageError(f"batch_size: {batch_size} is below 1")
    if not 0 < frames_per_second <= 1000:
        raise UsageError(f"--frames_per_second {frames_per_second}: must be above 0, at most 1000")
    personal = neutral is not None or neutral_frames is not None
    if personal and values == "scores":
        raise UsageError("--neutral and --neutral_frames change mean-subtracted values; add --values mean_subtracted")
    is_neutral = neutral_range(neutral_frames) if neutral_frames is not None else None
    found = find_inputs(locate(input, None), split)
    if neutral_frames is not None and not found.videos:
        raise UsageError(f"--neutral_frames {neutral_frames}: {input} holds no video; use --neutral FILE for images")
    told = read_neutral_file(neutral, [name for name, _ in (*found.images, *found.videos)]) if neutral else {}
    cropper = None if faces == "off" else FaceCropper(faces, crop)
    make_way(target)
    recognizer = EmotionRecognizer.load(str(run or heads), device, encoder, weights)
    if values != "scores" and (not personal or without_neutral == "global"):
        getattr(recognizer.predictions(np.zeros((1, len(recognizer.bundle.taxonomy)))), values)  # refuse now, not later
    if not found.packed and (told_of_crops := told_of_other_crops(recognizer.bundle.training, cropper)):
        say(told_of_crops)
    elif cropper is None and not found.packed:
        say("whole pictures are scored, no face is looked for; heads know close portraits: see --faces largest")

    scored = score_inputs(
        recognizer,
        found,
        cropper,
        no_face=no_face,
        frames_per_second=frames_per_second,
        skip_bad=on_error == "skip",
        batch_size=batch_size,
        num_threads=num_threads or min(16, len(os.sched_getaffinity(0))),
        progress=progress,
    )
    if on_error == "skip":
        write_lines(beside(target, BAD_FILES), scored.bad)
    if not scored.rows:
        raise DataError(f"{input}: {_nothing(scored, target)}")
    predictions = recognizer.predictions(scored.scores)
    baseline, persons = None, None
    if personal:
        persons, marks = _persons(scored.rows, told, is_neutral)
        general = recognizer.neutral_means if without_neutral == "global" else None
        baseline = personal_means(scored.scores, persons, marks, [row.name for row in scored.rows], general)
        predictions = replace(predictions, neutral_means=baseline.means)
    table = make_table(
        scored.rows,
        getattr(predictions, values),
        predictions.slugs,
        with_faces=cropper is not None,
        with_videos=bool(found.videos),
        persons=persons,
    )
    digest = write_table(table, target)
    _write_beside(
        target,
        scored,
        cropper,
        {
            "emonet_lightning": __version__,
            "table": {"file": target.name, "sha256": digest, "rows": len(table), "values": values},
            "columns": {name: COLUMNS[name] for name in table.columns if name in COLUMNS},
            **_preprocessing(recognizer, cropper),
            "no_face": None if cropper is None else no_face,
            "frames_per_second": frames_per_second if found.videos else None,
            "neutral": None if baseline is None else _told(baseline, neutral, neutral_frames),
        }
        if cropper is not None or found.videos or personal
        else None,
    )
    Console(stderr=True).print(
        _summary(scored, found, target, cropper, baseline, no_face), soft_wrap=True, markup=False, highlight=False
    )


def _persons(
    rows: Sequence[Row], told: Mapping[str, tuple[str, bool]], is_neutral: Callable[[int, float], bool] | None
) -> tuple[list[str | None], list[bool]]:
    """Whose face each row shows, and whether it is neutral: as the file says, else by track and frame of a video."""
    persons, marks = assigned([(row.file, row.face) for row in rows], told)
    if is_neutral is not None:
        for number, row in enumerate(rows):
            if row.frame is None or row.seconds is None:
                continue
            own = f"{row.file}, track {row.track}" if row.track is not None else row.file if row.box is None else None
            persons[number] = persons[number] or own
            marks[number] = marks[number] or is_neutral(row.frame, row.seconds)
    return persons, marks


def _preprocessing(recognizer: EmotionRecognizer, cropper: FaceCropper | None) -> dict[str, Any]:
    """What becomes of pixels before the heads see them, and a digest of it."""
    content = {
        "faces": {"faces": "off"} if cropper is None else cropper.recorded(),
        "encoder": recognizer.bundle.encoder.get("name"),
        "encoder_fingerprint": recognizer.bundle.encoder.get("fingerprint"),
        "encoder_preprocess": recognizer.encoder.preprocess.to_dict(),
    }
    digest = fingerprint([None if cropper is None else cropper.fingerprint, content["encoder_fingerprint"]])
    return {"preprocessing": content, "preprocessing_fingerprint": digest}


def _told(baseline: Baseline, neutral: str | None, neutral_frames: str | None) -> dict[str, Any]:
    return {
        "rule": "mean score of each person's own neutral pictures, subtracted from all of that person's",
        "file": None if neutral is None else {"name": Path(neutral).name, "sha256": sha256_file(neutral)},
        "frames": neutral_frames,
        "num_neutral": baseline.num_neutral,
        "general_means": baseline.without,
    }


def _write_beside(target: Path, scored: Scored, cropper: FaceCropper | None, meta: dict[str, Any] | None) -> None:
    """Write the files that belong to a table, and remove those of an earlier one in its place."""
    if cropper is not None:
        write_lines(beside(target, NO_FACE), [no_face_entry(row) for row in scored.no_face])
    else:
        beside(target, NO_FACE).unlink(missing_ok=True)
    if meta is not None:
        write_json(beside(target, META), meta | {"counts": _counts(scored)})
    else:
        beside(target, META).unlink(missing_ok=True)


def _counts(scored: Scored) -> dict[str, int]:
    return {
        "pictures": scored.num_pictures,
        "rows": len(scored.rows),
        "pictures_without_face": len(scored.no_face),
        "unreadable_files": len(scored.bad),
    }


def _nothing(scored: Scored, target: Path) -> str:
    if scored.no_face:
        return f"no face in any of {scored.num_pictures} pictures; lower --crop.threshold, or use --no_face whole"
    return f"none of {len(scored.bad)} images could be read; see {beside(target, BAD_FILES)}"


def _summary(
    scored: Scored, found: Found, target: Path, cropper: FaceCropper | None, baseline: Baseline | None, no_face: NoFace
) -> str:
    rate = scored.num_pictures / max(scored.seconds, 1e-9)
    what = "images and frames" if found.videos and found.images else "frames" if found.videos else "images"
    parts = [f"{scored.num_pictures} {what} in {scored.seconds:.1f} s ({rate:.1f} images/s) to {target}"]
    if cropper is not None:
        fate = {"skip": "left out", "nan": "kept without scores", "whole": "scored whole"}[no_face]
        parts.append(f"{sum(row.box is not None for row in scored.rows)} faces")
        if scored.no_face:
            parts.append(f"{len(scored.no_face)} without a face {fate}, listed in {beside(target, NO_FACE)}")
        parts.append(f"crops {cropper.fingerprint[:12]}")
    if baseline is not None:
        parts.append(f"own baselines of {len(baseline.num_neutral)} persons")
        if baseline.without:
            parts.append(f"general means for {len(baseline.without)} without a neutral picture")
    if scored.bad:
        parts.append(f"{len(scored.bad)} unreadable in {beside(target, BAD_FILES)}")
    return ", ".join(parts)
