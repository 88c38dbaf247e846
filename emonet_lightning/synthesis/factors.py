"""The factors of a rendered face by name: as ground truth in a sample, and to change one while all others stay.

    for face in sweep_factor(params, "pose_yaw", [-30, 0, 30]): ...

Names are `action_*`, `pose_*` (degrees), `person_*`, `light_*`, `background_*`, `camera_*` and `occlusion_*`;
`resolution` and `intensity_<emotion>` can be swept too.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np

from emonet_lightning.errors import UsageError, nearest
from emonet_lightning.synthesis.actions import ACTION_INDEX, ACTIONS, POSE_DEGREES, clip_actions
from emonet_lightning.synthesis.expressions import MAX_INTENSITY, load_expressions, mix_displays
from emonet_lightning.synthesis.identity import BEARDS, GLASSES, HAIR_STYLES, OCCLUSIONS, Identity
from emonet_lightning.synthesis.renderer import IMAGE_SIZE, MAX_SIZE, MIN_SIZE, FaceParams, render_face

Value = str | float | int

_CHOICES = {"hair_style": HAIR_STYLES, "beard": BEARDS, "glasses": GLASSES, "occlusion": OCCLUSIONS}
_HIDDEN = ("habits",)
"""How strongly this person makes each movement: that is in the actions already."""
_SCENE = {
    "light_azimuth": "light_azimuth",
    "light_elevation": "light_elevation",
    "light_strength": "light_strength",
    "background_angle": "background_angle",
    "background_clutter": "clutter",
    "camera_warmth": "warmth",
    "camera_exposure": "exposure",
    "camera_scale": "scale",
    "camera_blur": "blur",
    "camera_noise": "noise",
    "camera_noise_seed": "noise_seed",
    "camera_jpeg_quality": "jpeg_quality",
    "occlusion": "occlusion",
    "occlusion_size": "occlusion_size",
    "occlusion_y": "occlusion_y",
}
_DEGREES = ("light_azimuth", "light_elevation", "background_angle")
_RANGES = {
    "light_azimuth": (-90, 90),
    "light_elevation": (-60, 90),
    "light_strength": (0, 1),
    "background_clutter": (0, 20),
    "camera_warmth": (-0.3, 0.3),
    "camera_exposure": (0.2, 3),
    "camera_scale": (0.2, 0.6),
    "camera_blur": (0, 10),
    "camera_noise": (0, 80),
    "camera_jpeg_quality": (1, 100),
    "occlusion_size": (0, 1),
    "occlusion_y": (-1, 1),
    "person_age": (0, 1),
    "person_freckles": (0, 1),
}
_DIGITS = 5


class Factor(NamedTuple):
    """One factor: how it is read from a face, and how a face with another value is made."""

    read: Callable[[FaceParams], Value]
    change: Callable[[FaceParams, Any], FaceParams]
    low: float = -np.inf
    high: float = np.inf
    choices: tuple[str, ...] = ()


def describe_factors(params: FaceParams, intensities: np.ndarray | None = None) -> dict[str, Value]:
    """Return every factor by name; with the intensities [K] also `intensity_<emotion>` of those that are shown."""
    described = {name: factor.read(params) for name, factor in FACTORS.items()}
    if intensities is not None:
        for slug, level in zip(load_expressions().slugs, intensities.tolist(), strict=True):
            if level > 0:
                described[f"intensity_{slug}"] = level
    return described


def with_factor(params: FaceParams, name: str, value: Value) -> FaceParams:
    """Return the face with another value of one factor.

    Args:
        params: the face.
        name: one of `FACTORS`, or `intensity_<emotion>`: the display of that emotion is added to what the face does.
        value: number in the factor's range and unit, colour as `#rrggbb`, or one of its choices.

    Raises:
        UsageError: unknown factor, or a value that it cannot have.
    """
    if name.startswith("intensity_"):
        return _with_expression(params, name.removeprefix("intensity_"), value)
    if name not in FACTORS:
        raise UsageError(f"unknown factor '{name}'; {nearest(name, FACTORS)}")
    factor = FACTORS[name]
    if factor.choices:
        if value not in factor.choices:
            raise UsageError(f"{name}: '{value}' is not one of {', '.join(factor.choices)}")
    elif isinstance(value, str):
        if not isinstance(factor.read(params), str) or not _is_colour(value):
            raise UsageError(f"{name}: '{value}' is no {'colour as #rrggbb' if _is_text(factor, params) else 'number'}")
    elif _is_text(factor, params):
        raise UsageError(f"{name}: {value} is no colour as #rrggbb")
    elif not factor.low <= value <= factor.high:
        raise UsageError(f"{name}: {value:g} is outside {factor.low:g} to {factor.high:g}")
    return factor.change(params, value)


def sweep_factor(
    params: FaceParams, name: str, values: Sequence[Value], size: int = IMAGE_SIZE
) -> Iterator[np.ndarray]:
    """Render a face once for each value of one factor, all else the same.

    Args:
        params: the face.
        name: a factor (see `with_factor`), or `resolution`: pixels, 64..512.
        values: its values.
        size: pixels, for the other factors.

    Yields:
        uint8 [S, S, 3]. `camera_jpeg_quality` shows only in what `renderer.photograph_face` makes.

    Raises:
        UsageError: unknown factor, or a value that it cannot have.
    """
    for value in values:
        if name == "resolution":
            if not isinstance(value, int) or not MIN_SIZE <= value <= MAX_SIZE:
                raise UsageError(f"resolution: {value} is no whole number from {MIN_SIZE} to {MAX_SIZE}")
            yield render_face(params, value)
        else:
            yield render_face(with_factor(params, name, value), size)


def _with_expression(params: FaceParams, slug: str, value: Value) -> FaceParams:
    table = load_expressions()
    if slug not in table.slugs:
        raise UsageError(f"unknown factor 'intensity_{slug}'; {nearest(slug, table.slugs)}")
    if isinstance(value, str) or not 0 <= value <= MAX_INTENSITY:
        raise UsageError(f"intensity_{slug}: {value} is outside 0 to {MAX_INTENSITY}")
    intensities = np.zeros(len(table.slugs))
    intensities[table.slugs.index(slug)] = value
    return replace(params, actions=clip_actions(params.actions + mix_displays(intensities, table.actions)))


def _action(name: str, degrees: float = 1.0, low: float = 0.0) -> Factor:
    index = ACTION_INDEX[name]

    def change(params: FaceParams, value: float) -> FaceParams:
        actions = params.actions.copy()
        actions[index] = value / degrees
        return replace(params, actions=actions)

    return Factor(lambda p: round(float(p.actions[index]) * degrees, _DIGITS), change, low * degrees, degrees)


def _attribute(part: str, name: str, field: str) -> Factor:
    """A field of the person or the scene; angles in degrees, colours and choices as text."""
    short = name.removeprefix("person_")
    choices = _CHOICES.get(short, ())
    factor = 180 / np.pi if name in _DEGREES else 1.0

    def read(params: FaceParams) -> Value:
        value = getattr(getattr(params, part), field)
        if choices:
            return choices[value]
        if isinstance(value, tuple):
            return _hexadecimal(value)
        return value if isinstance(value, int) else round(float(value) * factor, _DIGITS)

    def change(params: FaceParams, value: Any) -> FaceParams:
        old = getattr(getattr(params, part), field)
        if choices:
            new: Any = choices.index(value)
        elif isinstance(old, tuple):
            new = _channels(value)
        else:
            new = int(value) if isinstance(old, int) else value / factor
        return replace(params, **{part: replace(getattr(params, part), **{field: new})})

    low, high = _RANGES.get(name, (-np.inf, np.inf))
    return Factor(read, change, low, high, choices)


def _entry(field: str, index: int, low: float = -np.inf, high: float = np.inf) -> Factor:
    """One entry of a tuple of the scene: a background colour, a channel of the light, or a coordinate."""

    def read(params: FaceParams) -> Value:
        value = getattr(params.scene, field)[index]
        return _hexadecimal(value) if isinstance(value, tuple) else round(float(value), _DIGITS)

    def change(params: FaceParams, value: Any) -> FaceParams:
        entries: list[Any] = list(getattr(params.scene, field))
        entries[index] = _channels(value) if isinstance(value, str) else value
        changed: dict[str, Any] = {field: tuple(entries)}
        return replace(params, scene=replace(params.scene, **changed))

    return Factor(read, change, low, high)


def _hexadecimal(colour: tuple[float, ...]) -> str:
    return "#" + "".join(f"{min(255, max(0, round(channel))):02x}" for channel in colour)


def _channels(text: str) -> tuple[float, float, float]:
    red, green, blue = (float(int(text[start : start + 2], 16)) for start in (1, 3, 5))
    return red, green, blue


def _is_colour(text: str) -> bool:
    return len(text) == 7 and text[0] == "#" and all(c in "0123456789abcdefABCDEF" for c in text[1:])


def _is_text(factor: Factor, params: FaceParams) -> bool:
    return isinstance(factor.read(params), str)


FACTORS: dict[str, Factor] = {
    **{f"action_{a.name}": _action(a.name, low=a.low) for a in ACTIONS if a.name not in POSE_DEGREES},
    **{f"pose_{name.removeprefix('head_')}": _action(name, limit, -1) for name, limit in POSE_DEGREES.items()},
    **{
        f"person_{field.name}": _attribute("person", f"person_{field.name}", field.name)
        for field in fields(Identity)
        if field.name not in _HIDDEN
    },
    **{name: _attribute("scene", name, field) for name, field in _SCENE.items()},
    **{f"light_{name}": _entry("light_colour", index, 0, 2) for index, name in enumerate(("red", "green", "blue"))},
    "background_first": _entry("background", 0),
    "background_second": _entry("background", 1),
    "camera_x": _entry("offset", 0, -0.5, 0.5),
    "camera_y": _entry("offset", 1, -0.5, 0.5),
}
"""Every factor by name."""
