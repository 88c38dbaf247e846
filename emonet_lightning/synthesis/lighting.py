"""Light on a face: its relief as a sum of soft bumps, lit from one side, and what the rest of the body gets.

The relief is a sum of round Gaussians, so the heights of all pixels are a matrix product of two small factors: smooth
at any size, and cheap.
"""

from typing import NamedTuple

import cv2
import numpy as np

from emonet_lightning.synthesis.curves import SIDES, Curves
from emonet_lightning.synthesis.geometry import HeadFrame
from emonet_lightning.synthesis.identity import Identity, Scene

_SHINE = 0.10


class Masks(NamedTuple):
    """Parts of the picture, uint8 [S, S] each."""

    head: np.ndarray
    """Face and hair."""
    skin: np.ndarray
    """The face without hair over it."""
    hair: np.ndarray
    """Hair above and beside the face."""


class Relief:
    """Bumps and dents of a face."""

    def __init__(self, unit: float) -> None:
        self.unit = unit
        self._places: list[np.ndarray] = []
        self._shapes: list[tuple[int, float, float]] = []

    def add(self, points: np.ndarray, radius: float, height: float) -> None:
        """Add bumps (dents where `height` < 0) at pixels [N, 2]; radius and height in face units."""
        self._places.append(points)
        self._shapes.append((len(points), radius, height))

    def slopes(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Slope to the right and down at each pixel of a picture, float32 [size, size] each."""
        centres = np.concatenate(self._places)
        counts, radii, heights = zip(*self._shapes, strict=True)
        radius = (np.repeat(radii, counts) * self.unit)[:, None]
        height = (np.repeat(heights, counts) * self.unit)[:, None]
        pixel = np.arange(size)[None, :]
        dx, dy = (pixel - centres[:, :1]) / radius, (pixel - centres[:, 1:]) / radius
        across, down = height * np.exp(-0.5 * dx * dx), np.exp(-0.5 * dy * dy)
        # not NumPy's product: its threads cost more than they save here
        nothing = np.zeros((size, size), dtype=np.float32)
        surface = cv2.gemm(down.astype(np.float32), across.astype(np.float32), 1, nothing, 0, flags=cv2.GEMM_1_T)
        return cv2.Sobel(surface, -1, 1, 0, scale=0.125), cv2.Sobel(surface, -1, 0, 1, scale=0.125)


def face_relief(person: Identity, a: dict[str, float], pixels: Curves, unit: float) -> Relief:
    """Bumps of a face: bones, eyeballs, nose, lips, and what actions push up or in."""
    relief = Relief(unit)
    add = relief.add
    ridge = pixels["nose_bridge"]
    steps = np.linspace(0, 1, 8)[:, None]
    add(ridge[0] + (ridge[3] - ridge[0]) * steps, 0.064, 0.017)
    add(ridge[2] + (ridge[3] - ridge[2]) * steps[::3], 0.068, 0.014)
    add(ridge[3:], 0.078, 0.060)
    smile, press = a["lip_corner_pull"], a["lip_press"]
    pressed = max(0.9 * smile, a["nose_wrinkle"], a["upper_lip_raise"], 0.5 * a["lip_stretch"])
    for name, sign in SIDES:
        wing, brow, fold = pixels[f"{name}_wing"], pixels[f"{name}_brow"], pixels[f"{name}_fold"]
        add(wing[6:7], 0.045, 0.05)
        low = np.array([0, 0.02 * unit])
        add(brow[[1, 5, 9]] + low, 0.085, 0.030 + 0.020 * a["brow_lower"])
        up, down = pixels[f"{name}_lid_up"], pixels[f"{name}_lid_low"]
        corners = (up[0] + up[-1]) / 2
        middle = corners[None, :]
        add(up[:1] - np.array([sign * 0.02, 0.05]) * unit, 0.07, -0.050)
        add(middle - np.array([[0, 0.10 * unit]]), 0.085, -0.030)
        add(middle + np.array([[0, 0.01 * unit]]), 0.10, 0.030)
        add(pixels[f"{name}_bag"][[3, 6, 9]], 0.045, -0.010 - 0.016 * a["cheek_raise"] - 0.010 * person.age)
        add(down[[4, 8]] + np.array([0, 0.03 * unit]), 0.03, 0.020 * max(a["lid_tighten"], a["cheek_raise"]))
        cheek = pixels[f"{name}_cheek"]
        add(cheek, 0.17, 0.042 + 0.040 * a["cheek_raise"] + 0.025 * smile)
        add(fold, 0.045, -0.0015 - 0.003 * person.age - 0.011 * pressed)
        add(cheek + np.array([[0, 0.34 * unit]]), 0.13, -0.004 - 0.025 * a["lip_suck"] - 0.02 * a["lip_pucker"])
        corner = pixels["upper_outer"][[0 if sign < 0 else -1]]
        dent = a["dimpler"] + max(0.0, sign * a["one_dimpler"])
        add(corner + np.array([[sign * 0.02, 0.01]]) * unit, 0.035, -0.008 - 0.05 * dent - 0.01 * smile)
        add(corner + np.array([[sign * 0.07, 0.01]]) * unit, 0.04, 0.03 * dent)
    pout = max(a["lip_pucker"], a["lip_funnel"])
    full = max(0.0, 1 - press - a["lip_suck"])
    upper = (pixels["upper_outer"] + pixels["upper_inner"])[2:11] / 2
    lower = (pixels["lower_outer"] + pixels["lower_inner"])[2:11] / 2
    add(upper, 0.034, 0.006 * full + 0.008 * pout)
    add(lower, 0.042, 0.010 * full + 0.010 * pout)
    roll = 0.022 * max(press, a["lip_tighten"])
    add(pixels["upper_outer"][2:11:2] - np.array([0, 0.045 * unit]), 0.05, 0.5 * (roll - 0.02 * a["lip_suck"]))
    below = pixels["lower_outer"][[4, 6, 8]]
    add(below + np.array([0, 0.045 * unit]), 0.05, roll - 0.02 * a["lip_suck"])
    add(below + np.array([0, 0.075 * unit]), 0.05, -0.012 - 0.02 * a["chin_raise"])
    chin = pixels["chin"]
    add(chin, 0.13, 0.065 + 0.03 * a["chin_raise"])
    base = pixels["nose_base"][2:3]
    add((base + pixels["upper_outer"][6:7]) / 2, 0.025, -0.010)
    return relief


def light_map(
    person: Identity,
    scene: Scene,
    a: dict[str, float],
    pixels: Curves,
    frame: HeadFrame,
    masks: Masks,
) -> tuple[np.ndarray, np.ndarray]:
    """Light on the person.

    Args:
        person: proportions.
        scene: light.
        a: actions by name.
        pixels: projected curves.
        frame: the head.
        masks: where head, skin and hair are.

    Returns:
        Factor for the colours [S, S, 3] and shine to add to them [S, S], float32.
    """
    head, size = masks.head, len(masks.head)
    x, y = frame.grid(size)
    u, v = x / np.float32(person.head_width * 1.22), y / np.float32(1.42)
    depth = cv2.sqrt(np.maximum(1 - u * u - v * v, 0.06))
    right, below = face_relief(person, a, pixels, frame.unit).slopes(size)
    inside = masks.skin * np.float32(1 / 255)
    east, south = u - depth * right * inside, v * np.float32(0.85) - depth * below * inside
    length = cv2.sqrt(east * east + south * south + depth * depth)
    cos = np.cos(scene.light_elevation)
    light = np.array(
        [np.sin(scene.light_azimuth) * cos, -np.sin(scene.light_elevation), np.cos(scene.light_azimuth) * cos]
    )
    facing = (east * np.float32(light[0]) + south * np.float32(light[1]) + depth * np.float32(light[2])) / length
    lit = np.maximum(facing + np.float32(0.22), 0) * np.float32(1 / 1.22)
    half = light + np.array([0, 0, 1])  # between the light and the viewer
    half /= np.linalg.norm(half)
    glance = (east * np.float32(half[0]) + south * np.float32(half[1]) + depth * np.float32(half[2])) / length
    shine = cv2.pow(np.maximum(glance, 0), 14) * inside * np.float32(255 * _SHINE * scene.light_strength)
    strength = np.float32(scene.light_strength)
    ambient = (1 - strength) * (np.float32(0.94) - np.float32(0.10) * south / length)
    flat = np.float32(0.5 + 0.5 * light[2])
    body = flat + np.float32(0.25 * light[0]) * u
    under = cv2.GaussianBlur(head, (0, 0), 0.10 * frame.unit)
    right_by, down_by = (0.20 * frame.matrix[1] - np.array([0.12 * frame.unit * light[0], 0])).round()
    fallen = cv2.warpAffine(under, np.array([[1, 0, right_by], [0, 1, down_by]]), (size, size), flags=cv2.INTER_NEAREST)
    fallen = fallen * np.float32(1 / 255)
    share = cv2.GaussianBlur(head, (0, 0), 0.6) * np.float32(1 / 255)
    lit = (body * (1 - np.float32(0.55) * fallen)) * (1 - share) + lit * share
    ambient = ambient * (share + (1 - share) * (1 - np.float32(0.35) * fallen))
    lit *= strength * np.float32(1.30)
    level = (1 - scene.light_strength) * 0.95 + scene.light_strength * 1.30 * (0.42 + 0.50 * light[2])
    gain = np.float32(0.99 * scene.exposure * level**-0.75)  # the camera's own exposure: less than full
    gloss = np.square((v + np.float32(0.66)) / np.float32(0.13))  # where hair throws back light from above
    gain = gain * (1 + cv2.exp(-0.5 * gloss) * masks.hair * np.float32(0.45 / 255 * (0.3 + scene.light_strength)))
    factor = cv2.merge([(ambient + lit * np.float32(colour)) * gain for colour in scene.light_colour])
    return factor, shine
