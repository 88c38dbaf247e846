"""Persons and scenes: everything in a rendered face that is not its expression.

Lengths are in face units: the head is about 1.5 wide and 2.25 high, the origin lies between the eyes and the mouth.
"""

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]

_SKIN = np.array(
    [(236, 205, 184), (224, 180, 150), (202, 154, 118), (170, 120, 85), (130, 88, 62), (92, 62, 47)], float
)
_HAIR = np.array([(25, 20, 18), (59, 40, 28), (101, 67, 40), (158, 118, 66), (214, 186, 128), (140, 62, 30)], float)
_EYES = np.array([(56, 34, 22), (92, 60, 32), (96, 102, 62), (70, 104, 140), (110, 122, 128)], float)
_GREY = np.array([176.0, 174.0, 172.0])


@dataclass(frozen=True)
class Identity:
    """One person: proportions, colours, hair, and how this person moves."""

    head_width: float
    head_top: float
    jaw_width: float
    chin_width: float
    chin: float
    eye_x: float
    eye_y: float
    eye_width: float
    eye_upper: float
    eye_lower: float
    eye_cant: float
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
    lips: Colour
    hair: Colour
    brows: Colour
    eyes: Colour
    hair_style: int
    hairline: float
    hair_part: float
    hair_volume: float
    beard: int
    glasses: int
    age: float
    freckles: float
    clothes: Colour
    texture_seed: int
    expressiveness: float
    habits: tuple[float, ...]


@dataclass(frozen=True)
class Scene:
    """Light, background and camera of one picture."""

    light_azimuth: float
    light_elevation: float
    light_strength: float
    warmth: float
    exposure: float
    background: tuple[Colour, Colour]
    background_angle: float
    clutter: int
    scale: float
    offset: tuple[float, float]
    blur: float
    noise: float
    noise_seed: int


def sample_identity(rng: np.random.Generator, num_habits: int) -> Identity:
    """Draw a person; `num_habits` is the number of actions that each gets a personal strength."""
    n = rng.normal(size=32).clip(-2, 2)
    u = rng.random(24)
    age = float(u[0])
    tone = u[1] * (len(_SKIN) - 1)
    skin = _mix(_SKIN, tone) * (1 + 0.03 * n[0]) + n[1] * np.array([3.0, 0.0, -3.0])
    dark = tone / (len(_SKIN) - 1)
    colour = int(u[2] * len(_HAIR)) if dark < 0.5 else int(u[2] * 3)
    hair = _HAIR[colour] * (1 + 0.15 * n[2])
    grey = float(np.clip((age - 0.55) * 3 * u[3], 0, 0.95))
    hair = hair * (1 - grey) + _GREY * grey
    eyes = _EYES[int(u[4] * len(_EYES))] if dark < 0.45 else _EYES[int(u[4] * 2)]
    masculine = float(u[5])
    has_beard = masculine > 0.55 and u[6] < 0.45
    lips = skin * (0.80, 0.62, 0.62) + np.array([22.0, 4.0, 8.0]) * (1 if masculine < 0.5 else 0.3) * u[7]
    return Identity(
        head_width=0.75 + 0.035 * n[3] + 0.02 * (masculine - 0.5),
        head_top=1.12 + 0.04 * n[4],
        jaw_width=0.585 + 0.04 * n[5] + 0.08 * (masculine - 0.5),
        chin_width=0.22 + 0.03 * n[6] + 0.06 * (masculine - 0.5),
        chin=1.08 + 0.04 * n[7] + 0.05 * (masculine - 0.5),
        eye_x=0.32 + 0.018 * n[8],
        eye_y=-0.11 + 0.02 * n[9],
        eye_width=0.165 + 0.012 * n[10],
        eye_upper=0.078 + 0.010 * n[11],
        eye_lower=0.048 + 0.006 * n[12],
        eye_cant=0.02 + 0.02 * n[13],
        iris=0.073 + 0.004 * n[14],
        brow_y=-0.335 + 0.02 * n[15] + 0.03 * (masculine - 0.5),
        brow_length=0.22 + 0.015 * n[16],
        brow_thickness=0.028 + 0.006 * n[17] + 0.018 * (masculine - 0.5),
        brow_arch=0.045 + 0.015 * n[18] - 0.02 * (masculine - 0.5),
        brow_slope=0.012 * n[19],
        nose_width=0.155 + 0.018 * n[20] + 0.03 * (dark - 0.5),
        nose_y=0.30 + 0.025 * n[21],
        nose_bridge=0.055 + 0.008 * n[22],
        mouth_y=0.60 + 0.02 * n[23],
        mouth_width=0.265 + 0.02 * n[24],
        lip_upper=0.055 + 0.010 * n[25] + 0.02 * (dark - 0.5),
        lip_lower=0.075 + 0.012 * n[26] + 0.02 * (dark - 0.5),
        mouth_slope=0.008 * n[27],
        ear=0.11 + 0.015 * n[28],
        neck=0.40 + 0.04 * n[29] + 0.12 * (masculine - 0.5),
        skin=_colour(skin),
        lips=_colour(lips),
        hair=_colour(hair),
        brows=_colour(hair * 0.75 + skin * 0.1),
        eyes=_colour(eyes),
        hair_style=_hair_style(masculine, u[8], age),
        hairline=float(-0.72 + 0.06 * n[30] - 0.12 * max(0.0, age - 0.6) * masculine),
        hair_part=float(u[9] * 1.2 - 0.6),
        hair_volume=float(0.06 + 0.12 * u[10]),
        beard=(1, 1, 2, 3, 3)[int(u[11] * 5)] if has_beard else 0,
        glasses=1 + int(u[12] * 3) if u[13] < 0.16 else 0,
        age=age,
        freckles=float(u[14]) if u[15] < 0.15 and dark < 0.35 else 0.0,
        clothes=_colour(np.array([30.0, 30.0, 35.0]) + 200 * u[16:19]),
        texture_seed=int(u[19] * 2**31),
        expressiveness=float(np.exp(0.22 * n[31])),
        habits=tuple(float(h) for h in np.exp(0.25 * rng.normal(size=num_habits).clip(-2, 2))),
    )


def sample_scene(rng: np.random.Generator) -> Scene:
    """Draw light, background and camera; independent of person and expression."""
    u = rng.random(20)
    n = rng.normal(size=4).clip(-2, 2)
    base = 40 + 190 * u[0]
    first = base + 50 * (u[1:4] - 0.5)
    second = first * (0.6 + 0.7 * u[4]) + 20 * (u[5:8] - 0.5)
    return Scene(
        light_azimuth=float((u[8] - 0.5) * 2.4),
        light_elevation=float(0.05 + 0.8 * u[9]),
        light_strength=float(0.20 + 0.45 * u[10]),
        warmth=float(n[0] * 0.04),
        exposure=float(1.0 + 0.08 * n[1]),
        background=(_colour(first), _colour(second)),
        background_angle=float(u[11] * 2 * np.pi),
        clutter=int(u[17] * 5) if u[18] < 0.5 else 0,
        scale=float(0.385 * (1 + 0.045 * n[2])),
        offset=(float((u[12] - 0.5) * 0.05), float(0.03 + (u[13] - 0.5) * 0.05)),
        blur=float(max(0.0, u[14] - 0.5) * 1.0),
        noise=float(1.0 + 4.0 * u[15] ** 2),
        noise_seed=int(u[16] * 2**31),
    )


def _hair_style(masculine: float, draw: float, age: float) -> int:
    """0 bald, 1 cropped, 2 short with volume, 3 fringe, 4 shoulder long, 5 long, 6 curly, 7 tied back."""
    if masculine > 0.5:
        weights = [0.05 + 0.25 * age, 0.25, 0.3, 0.15, 0.03, 0.02, 0.15, 0.02]
    else:
        weights = [0.01, 0.05, 0.1, 0.15, 0.22, 0.22, 0.13, 0.12]
    edges = np.cumsum(weights) / np.sum(weights)
    return int(np.searchsorted(edges, draw).clip(0, 7))


def _mix(palette: np.ndarray, position: float) -> np.ndarray:
    low = min(int(position), len(palette) - 2)
    part = position - low
    return palette[low] * (1 - part) + palette[low + 1] * part


def _colour(value: np.ndarray) -> Colour:
    red, green, blue = np.clip(value, 4, 251)
    return float(red), float(green), float(blue)
