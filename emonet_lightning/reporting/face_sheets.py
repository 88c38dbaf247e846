"""Contact sheets of the rendered faces: what each factor looks like, for people to judge the renderer by."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from matplotlib.figure import Figure

from emonet_lightning.decoding import decode_image
from emonet_lightning.errors import UsageError
from emonet_lightning.io import atomic_write, make_folder
from emonet_lightning.messages import say
from emonet_lightning.progress import progress_bar
from emonet_lightning.reporting.drawing import DARK, GREY, png
from emonet_lightning.synthesis.actions import ACTION_INDEX, ACTIONS, NUM_ACTIONS, POSE_DEGREES
from emonet_lightning.synthesis.expressions import MAX_INTENSITY, load_expressions
from emonet_lightning.synthesis.factors import Value, with_factor
from emonet_lightning.synthesis.identity import sample_identity, sample_scene
from emonet_lightning.synthesis.renderer import MAX_SIZE, MIN_SIZE, FaceParams, photograph_face
from emonet_lightning.taxonomy import Taxonomy

_DPI = 130  # of `drawing.png`
_LABEL = 20
_MARGIN = 8
_TITLE = 34
_LAMPS = {
    "white": (1.0, 1.0, 1.0),
    "evening": (1.2, 1.0, 0.8),
    "candle": (1.45, 0.95, 0.6),
    "shade": (0.85, 1.0, 1.15),
    "blue sign": (0.6, 0.9, 1.5),
    "pink sign": (1.35, 0.7, 0.95),
    "leaves": (0.85, 1.2, 0.95),
}
_IN_STEPS = ("elation", "sadness", "anger", "fear", "disgust", "astonishment_surprise", "contempt", "embarrassment")


class Cell(NamedTuple):
    """One face of a sheet."""

    label: str
    params: FaceParams
    size: int | None = None
    """Pixels it is rendered at, where not the sheet's."""


class Sheet(NamedTuple):
    """Faces in rows of equal length."""

    title: str
    num_columns: int
    cells: list[Cell]


def sheets_command(out: str, size: int = 160, seed: int = 0, progress: bool = True) -> None:
    """Draw contact sheets of the rendered faces: by emotion, intensity, action, person, pose, light, camera, occlusion.

    Args:
        out: folder for the PNG files.
        size: pixels of each face, 64..512.
        seed: of the persons and scenes.
        progress: show a progress bar.

    Raises:
        UsageError: size out of range.
        OutputError: the folder cannot be written.
    """
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise UsageError(f"--size {size}: choose {MIN_SIZE} to {MAX_SIZE} pixels")
    folder = Path(out)
    make_folder(folder)
    sheets = {name: make(seed) for name, make in SHEETS.items()}
    total = sum(len(sheet.cells) for sheet in sheets.values())
    with progress_bar("contact sheets", total, "faces", progress) as advance:
        for name, sheet in sheets.items():
            atomic_write(folder / f"{name}.png", draw_sheet(sheet, size, advance))
    say(f"{folder}: {', '.join(f'{name}.png' for name in sheets)}")


def draw_sheet(sheet: Sheet, size: int, advance: Callable[[int], None] = lambda count: None) -> bytes:
    """Return a sheet as PNG; the faces pixel by pixel, as JPEG leaves them."""
    num_rows = -(-len(sheet.cells) // sheet.num_columns)
    step = size + _LABEL
    width = sheet.num_columns * (size + _MARGIN) + _MARGIN
    height = num_rows * step + _TITLE + _MARGIN
    page = np.full((height, width, 3), 255, dtype=np.uint8)
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    figure.text(_MARGIN / width, 1 - 8 / height, sheet.title, va="top", fontsize=9, color=DARK)
    for index, cell in enumerate(sheet.cells):
        row, column = divmod(index, sheet.num_columns)
        left, top = _MARGIN + column * (size + _MARGIN), _TITLE + row * step
        picture = decode_image(photograph_face(cell.params, cell.size or size), cell.label)
        if cell.size:
            picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_NEAREST)
        page[top : top + size, left : left + size] = picture
        label = cell.label if len(cell.label) <= size // 7 else cell.label[: size // 7 - 1] + "…"
        figure.text(left / width, 1 - (top + size + 3) / height, label, va="top", fontsize=6, color=GREY)
        advance(1)
    figure.figimage(page, 0, 0, zorder=-1)
    return png(figure)


def _plain(seed: int, number: int, **scene: Any) -> FaceParams:
    """Person `number` at rest, upright, in mild light before a plain wall."""
    rng = np.random.default_rng([seed, 31, number])
    person = sample_identity(rng, NUM_ACTIONS)
    calm: dict[str, Any] = {
        "light_azimuth": 0.45,
        "light_elevation": 0.5,
        "light_strength": 0.45,
        "light_colour": (1.0, 1.0, 1.0),
    }
    camera: dict[str, Any] = {
        "exposure": 1.0,
        "warmth": 0.0,
        "clutter": 0,
        "offset": (0.0, 0.03),
        "scale": 0.385,
        "blur": 0.0,
    }
    drawn = replace(sample_scene(rng), **calm, **camera, noise=1.0, jpeg_quality=95)
    return FaceParams(person, np.zeros(NUM_ACTIONS), replace(drawn, **scene))


def _showing(params: FaceParams, slug: str, intensity: float) -> FaceParams:
    return with_factor(params, f"intensity_{slug}", intensity)


def _names() -> dict[str, str]:
    taxonomy = Taxonomy.load("emonet40")
    return dict(zip(taxonomy.slugs, taxonomy.names, strict=True))


def _emotions(seed: int) -> Sheet:
    cells = [Cell(_names()[slug], _showing(_plain(seed, 2), slug, MAX_INTENSITY)) for slug in load_expressions().slugs]
    return Sheet("The 40 emotions at full intensity, one person", 8, cells)


def _emotions_of_many(seed: int) -> Sheet:
    cells = []
    for number, slug in enumerate(load_expressions().slugs):
        for person in range(2):
            cells.append(Cell(_names()[slug], _showing(_in_the_wild(seed, 100 + 2 * number + person), slug, 6)))
    return Sheet("The 40 emotions at intensity 6, two persons each, in any light", 10, cells)


def _in_the_wild(seed: int, number: int) -> FaceParams:
    rng = np.random.default_rng([seed, 32, number])
    return FaceParams(sample_identity(rng, NUM_ACTIONS), np.zeros(NUM_ACTIONS), sample_scene(rng))


def _intensity(seed: int) -> Sheet:
    cells = [
        Cell(f"{level}: {_names()[slug]}", _showing(_plain(seed, 2 + row), slug, level))
        for row, slug in enumerate(_IN_STEPS)
        for level in range(MAX_INTENSITY + 1)
    ]
    return Sheet("Intensity from 0 to 7", MAX_INTENSITY + 1, cells)


def _actions(seed: int) -> Sheet:
    cells = [Cell("at rest", _plain(seed, 2))]
    for action in ACTIONS:
        moved = np.zeros(NUM_ACTIONS)
        moved[ACTION_INDEX[action.name]] = 1
        unit = re.match(r"(AU\d+)?", action.meaning)
        cells.append(Cell(f"{unit[0] if unit else ''} {action.name}".strip(), replace(_plain(seed, 2), actions=moved)))
    return Sheet("Each facial action at 1, alone", 8, cells)


def _identity(seed: int) -> Sheet:
    cells = [Cell(f"person {number}", _in_the_wild(seed, number)) for number in range(48)]
    return Sheet("Persons at rest, in any light", 8, cells)


def _swept(title: str, rows: Sequence[tuple[FaceParams, str, Sequence[Value], str]]) -> Sheet:
    cells = [
        Cell(f"{name.partition('_')[2] or name} {_shown(value)}{unit}", with_factor(params, name, value))
        for params, name, values, unit in rows
        for value in values
    ]
    return Sheet(title, len(rows[0][2]), cells)


def _shown(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _pose(seed: int) -> Sheet:
    rows = []
    for number, (name, limit) in enumerate(POSE_DEGREES.items()):
        values = np.linspace(-limit, limit, 7).round(1).tolist()
        for person in (10 + number, 20 + number):
            rows.append((_plain(seed, person), f"pose_{name.removeprefix('head_')}", values, "°"))
    return _swept("Pose of the head", rows)


def _lighting(seed: int) -> Sheet:
    strong = {"light_strength": 0.75}
    rows: list[tuple[FaceParams, str, Sequence[Value], str]] = [
        (_plain(seed, 11, **strong), "light_azimuth", (-80, -50, -25, 0, 25, 50, 80), "°"),
        (_plain(seed, 12, **strong), "light_elevation", (-40, -20, 0, 20, 40, 60, 75), "°"),
        (_plain(seed, 13, light_azimuth=0.9), "light_strength", (0, 0.15, 0.3, 0.45, 0.6, 0.8, 1), ""),
        (_plain(seed, 15), "camera_exposure", (0.4, 0.6, 0.8, 1, 1.2, 1.5, 2), ""),
    ]
    sheet = _swept("Light: direction, height, strength; exposure; colour", rows)
    lamp = _plain(seed, 14, **strong)
    coloured = [replace(lamp, scene=replace(lamp.scene, light_colour=colour)) for colour in _LAMPS.values()]
    return sheet._replace(
        cells=[*sheet.cells, *(Cell(name, face) for name, face in zip(_LAMPS, coloured, strict=True))]
    )


def _camera(seed: int) -> Sheet:
    rows: list[tuple[FaceParams, str, Sequence[Value], str]] = [
        (_plain(seed, 16), "camera_blur", (0, 0.5, 1, 2, 3, 5, 8), ""),
        (_plain(seed, 17), "camera_noise", (0, 3, 6, 12, 20, 35, 60), ""),
        (_plain(seed, 18), "camera_jpeg_quality", (95, 70, 50, 30, 15, 8, 3), ""),
        (_plain(seed, 19), "camera_warmth", (-0.2, -0.1, -0.05, 0, 0.05, 0.1, 0.2), ""),
        (_plain(seed, 21), "background_clutter", (0, 1, 3, 5, 8, 12, 20), ""),
    ]
    sheet = _swept("Camera: blur, noise, JPEG quality, white balance; clutter; resolution", rows)
    small = [Cell(f"{size} pixels", _plain(seed, 22), size) for size in (64, 80, 96, 112, 160, 256, 512)]
    return sheet._replace(cells=[*sheet.cells, *small])


def _occlusion(seed: int) -> Sheet:
    cells = []
    for row, (kind, height) in enumerate((("bar", 0.6), ("bar", -0.1), ("patch", 0.5), ("sunglasses", 0.0))):
        params = with_factor(with_factor(_plain(seed, 23 + row), "occlusion", kind), "occlusion_y", height)
        for size in (0, 0.15, 0.3, 0.45, 0.6, 0.8, 1):
            cells.append(Cell(f"{kind} {size}", with_factor(params, "occlusion_size", size)))
    return Sheet("What hides part of a face", 7, cells)


SHEETS: dict[str, Callable[[int], Sheet]] = {
    "emotions": _emotions,
    "emotions_of_many": _emotions_of_many,
    "intensity": _intensity,
    "actions": _actions,
    "identity": _identity,
    "pose": _pose,
    "lighting": _lighting,
    "camera": _camera,
    "occlusion": _occlusion,
}
"""Every sheet by the name of its file."""
