"""Persons and scenes: everything in a rendered face that is not its expression.

Lengths are in face units: the head is about 1.5 wide and 2.25 high, the origin lies between the eyes and the mouth.
"""

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]

HAIR_STYLES = (
    "bald",
    "cropped",
    "short",
    "fringe",
    "shoulder length",
    "long",
    "curly",
    "tied back",
    "receding",
    "swept",
)
BEARDS = ("none", "stubble", "goatee", "full")
GLASSES = ("none", "square", "thin", "round")
OCCLUSIONS = ("none", "bar", "patch", "sunglasses")
"""What can hide part of a face: a dark bar, a patch as large as a hand, sunglasses."""

_SKIN = np.array(
    [(229, 195, 174), (219, 176, 148), (201, 152, 118), (172, 122, 90), (137, 95, 70), (102, 70, 54)], float
)
_HAIR = np.array([(30, 25, 23), (62, 44, 33), (104, 72, 46), (152, 114, 70), (206, 176, 124), (142, 68, 38)], float)
_EYES = np.array([(66, 42, 28), (104, 70, 40), (104, 112, 72), (82, 118, 154), (122, 134, 140)], float)
_GREY = np.array([186.0, 184.0, 181.0])


@dataclass(frozen=True)
class Identity:
    """One person: proportions, colours, hair, and how this person moves."""

    head_width: float
    head_top: float
    jaw_width: float
    chin_width: float
    chin: float
    fullness: float
    eye_x: float
    eye_y: float
    eye_width: float
    eye_upper: float
    eye_lower: float
    eye_cant: float
    lid_fold: float
    iris: float
    brow_y: float
    brow_length: float
    brow_thickness: float
    brow_arch: float
    brow_slope: float
    nose_width: float
    nose_y: float
    nose_bridge: float
    mouth_y: float
    mouth_width: float
    lip_upper: float
    lip_lower: float
    mouth_slope: float
    ear: float
    neck: float
    skin: Colour
    rosy: float
    lips: Colour
    hair: Colour
    brows: Colour
    eyes: Colour
    lashes: float
    hair_style: int
    hairline: float
    hair_part: float
    hair_volume: float
    hair_wave: float
    beard: int
    glasses: int
    age: float
    freckles: float
    clothes: Colour
    collar: int
    texture_seed: int
    expressiveness: float
    habits: tuple[float, ...]


@dataclass(frozen=True)
class Scene:
    """Light, background and camera of one picture, and what hides part of the face."""

    light_azimuth: float
    """Radians; 0 from the front, + from the right of the image."""
    light_elevation: float
    """Radians above the horizon."""
    light_strength: float
    """Share of the light that has a direction, 0..1."""
    light_colour: Colour
    """Of the light that has a direction; mean 1."""
    warmth: float
    exposure: float
    background: tuple[Colour, Colour]
    background_angle: float
    clutter: int
    scale: float
    offset: tuple[float, float]
    blur: float
    """Standard deviation in pixels of a picture of 112 pixels."""
    noise: float
    """Standard deviation in grey levels."""
    noise_seed: int
    jpeg_quality: int
    occlusion: int = 0
    """Index of `OCCLUSIONS`."""
    occlusion_size: float = 0.0
    """0..1; at 1 a bar or patch hides about half of the face."""
    occlusion_y: float = 0.0
    """Height of the middle of a bar or patch, face units."""


def sample_identity(
    rng: np.random.Generator, num_habits: int, *, age: float | None = None, masculine: float | None = None
) -> Identity:
    """Draw a person.

    Args:
        rng: source of chance; what is given below changes nothing else that is drawn.
        num_habits: number of actions that each gets a personal strength.
        age: 0 young to 1 old; drawn by default.
        masculine: 0 to 1; drawn by default.
    """
    n = rng.normal(size=40).clip(-2, 2)
    u = rng.random(32)
    age = float(u[0]) if age is None else age
    tone = u[1] * (len(_SKIN) - 1)
    skin = _mix(_SKIN, tone) * (1 + 0.03 * n[0]) + n[1] * np.array([2.0, 0.0, -2.0])
    dark = tone / (len(_SKIN) - 1)
    colour = int(u[2] * len(_HAIR)) if dark < 0.5 else int(u[2] * 3)
    hair = _HAIR[colour] * (1 + 0.15 * n[2])
    grey = float(np.clip((age - 0.5) * 3 * u[3], 0, 0.95))
    hair = hair * (1 - grey) + _GREY * grey
    eyes = _EYES[int(u[4] * len(_EYES))] if dark < 0.45 else _EYES[int(u[4] * 2)]
    masculine = float(np.clip(1.3 * u[5] - 0.15, 0, 1)) if masculine is None else masculine
    man = masculine - 0.5
    has_beard = masculine > 0.6 and u[6] < 0.5
    made_up = (1 - masculine) * u[7]
    lips = skin * (0.86, 0.66, 0.66) + np.array([22.0, 2.0, 8.0]) * (0.3 + made_up)
    return Identity(
        head_width=0.755 + 0.036 * n[3] + 0.02 * man,
        head_top=1.13 + 0.04 * n[4],
        jaw_width=0.575 + 0.034 * n[5] + 0.08 * man,
        chin_width=0.225 + 0.028 * n[6] + 0.07 * man,
        chin=1.07 + 0.045 * n[7] + 0.05 * man,
        fullness=0.018 * n[32],
        eye_x=0.318 + 0.016 * n[8],
        eye_y=-0.11 + 0.02 * n[9],
        eye_width=0.166 + 0.012 * n[10],
        eye_upper=0.082 + 0.010 * n[11] - 0.008 * man - 0.008 * age,
        eye_lower=0.054 + 0.005 * n[12],
        eye_cant=0.016 + 0.016 * n[13] - 0.012 * age,
        lid_fold=0.030 + 0.008 * n[33],
        iris=0.072 + 0.003 * n[14],
        brow_y=-0.345 + 0.018 * n[15] + 0.03 * man,
        brow_length=0.215 + 0.015 * n[16],
        brow_thickness=0.026 + 0.005 * n[17] + 0.016 * man,
        brow_arch=0.048 + 0.013 * n[18] - 0.02 * man,
        brow_slope=0.010 * n[19],
        nose_width=0.150 + 0.016 * n[20] + 0.03 * (dark - 0.5) + 0.015 * man,
        nose_y=0.30 + 0.025 * n[21],
        nose_bridge=0.055 + 0.008 * n[22],
        mouth_y=0.60 + 0.02 * n[23],
        mouth_width=0.270 + 0.02 * n[24],
        lip_upper=0.054 + 0.010 * n[25] + 0.02 * (dark - 0.5) - 0.012 * age,
        lip_lower=0.080 + 0.012 * n[26] + 0.02 * (dark - 0.5) - 0.012 * age,
        mouth_slope=0.007 * n[27],
        ear=0.10 + 0.012 * n[28],
        neck=0.42 + 0.035 * n[29] + 0.14 * man,
        skin=_colour(skin),
        rosy=float(0.10 + 0.30 * u[20]),
        lips=_colour(lips),
        hair=_colour(hair),
        brows=_colour(hair * 0.72 + skin * 0.14),
        eyes=_colour(eyes),
        lashes=float(0.25 + 0.75 * (1 - masculine) * u[21]),
        hair_style=_hair_style(masculine, u[8], age),
        hairline=float(-0.70 + 0.05 * n[30] - 0.12 * max(0.0, age - 0.6) * masculine),
        hair_part=float(u[9] * 1.2 - 0.6),
        hair_volume=float(0.06 + 0.12 * u[10]),
        hair_wave=float(max(0.0, u[22] - 0.35)),
        beard=(1, 1, 2, 3, 3)[int(u[11] * 5)] if has_beard else 0,
        glasses=1 + int(u[12] * 3) if u[13] < 0.16 else 0,
        age=age,
        freckles=float(u[14]) if u[15] < 0.15 and dark < 0.35 else 0.0,
        clothes=_colour(np.array([40.0, 40.0, 45.0]) + 100 * u[23] + 100 * (u[16:19] - 0.3)),
        collar=int(u[24] * 3),
        texture_seed=int(u[19] * 2**31),
        expressiveness=float(np.exp(0.22 * n[31])),
        habits=tuple(float(h) for h in np.exp(0.25 * rng.normal(size=num_habits).clip(-2, 2))),
    )


def sample_scene(rng: np.random.Generator) -> Scene:
    """Draw light, background and camera; independent of person and expression. Nothing hides the face."""
    u = rng.random(24)
    n = rng.normal(size=6).clip(-2, 2)
    base = 50 + 180 * u[0]
    first = base + 50 * (u[1:4] - 0.5)
    second = first * (0.6 + 0.7 * u[4]) + 20 * (u[5:8] - 0.5)
    hue = 0.05 * n[4] + (0.35 * (u[19] - 0.5) if u[20] < 0.15 else 0.0)  # a lamp or the sky, now and then a sign
    green = 0.015 * n[5]
    return Scene(
        light_azimuth=float((u[8] - 0.5) * 2.4),
        light_elevation=float(0.1 + 0.75 * u[9]),
        light_strength=float(0.25 + 0.50 * u[10]),
        light_colour=(float(1 + hue), float(1 + green), float(1 - hue - green)),
        warmth=float(n[0] * 0.03),
        exposure=float(1.0 + 0.07 * n[1]),
        background=(_colour(first), _colour(second)),
        background_angle=float(u[11] * 2 * np.pi),
        clutter=int(u[17] * 6) if u[18] < 0.6 else 0,
        scale=float(0.385 * (1 + 0.045 * n[2])),
        offset=(float((u[12] - 0.5) * 0.05), float(0.03 + (u[13] - 0.5) * 0.05)),
        blur=float(max(0.0, u[14] - 0.5) * 1.0),
        noise=float(1.0 + 4.0 * u[15] ** 2),
        noise_seed=int(u[16] * 2**31),
        jpeg_quality=int(70 + 26 * u[21]),
    )


def _hair_style(masculine: float, draw: float, age: float) -> int:
    """Index of `HAIR_STYLES`."""
    if masculine > 0.5:
        weights = [0.03 + 0.10 * age, 0.20, 0.22, 0.10, 0.03, 0.03, 0.13, 0.02, 0.30 * max(0.0, age - 0.4), 0.22]
    else:
        weights = [0.005, 0.03, 0.06, 0.15, 0.22, 0.24, 0.15, 0.14, 0.0, 0.06]
    edges = np.cumsum(weights) / np.sum(weights)
    return int(np.searchsorted(edges, draw).clip(0, len(weights) - 1))


def _mix(palette: np.ndarray, position: float) -> np.ndarray:
    low = min(int(position), len(palette) - 2)
    part = position - low
    return palette[low] * (1 - part) + palette[low + 1] * part


def _colour(value: np.ndarray) -> Colour:
    red, green, blue = np.clip(value, 4, 251).round()
    return float(red), float(green), float(blue)
