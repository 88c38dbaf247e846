"""Where everything in a face lies: curves in face units, moved by actions, turned by the head's pose, in pixels.

The face is 2.5-dimensional: every curve point has a depth on an ellipsoid (plus the nose's relief), so turning the
head shifts the features over an outline that itself hardly changes, as on a real head.
"""

from functools import lru_cache

import numpy as np

from emonet_lightning.synthesis.actions import ACTION_INDEX
from emonet_lightning.synthesis.identity import Identity, Scene

Curves = dict[str, np.ndarray]

YAW, PITCH, ROLL = np.deg2rad(35.0), np.deg2rad(25.0), np.deg2rad(25.0)
T = np.linspace(-1.0, 1.0, 13)
BELL = 1.0 - T**2
SIDES = (("left", -1.0), ("right", 1.0))
_WITH_DEPTH = {"head", "axis", "chin", "left_wing", "right_wing"}
"""Curves that are built with their own depth."""
LANDMARKS = (
    *(f"{side}_{part}" for side, _ in SIDES for part in ("brow_in", "brow_mid", "brow_out")),
    *(f"{side}_{part}" for side, _ in SIDES for part in ("eye_in", "eye_out", "lid_up", "lid_low", "pupil", "wing")),
    "nose_tip",
    "mouth_left",
    "mouth_right",
    "upper_lip",
    "upper_inner",
    "lower_inner",
    "lower_lip",
    "chin",
)


@lru_cache(maxsize=32)
def _spline(count: int, closed: bool, steps: int = 4) -> np.ndarray:
    """Matrix [samples, count] that evaluates a Catmull-Rom spline through `count` points."""
    t = np.arange(steps) / steps
    basis = 0.5 * np.stack(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3], axis=1
    )
    segments = count if closed else count - 1
    matrix = np.zeros((segments * steps + (0 if closed else 1), count))
    for segment in range(segments):
        for corner in range(4):
            index = segment + corner - 1
            index = index % count if closed else min(max(index, 0), count - 1)
            matrix[segment * steps : (segment + 1) * steps, index] += basis[:, corner]
    if not closed:
        matrix[-1, -1] = 1.0
    return matrix


def smooth(points: np.ndarray, closed: bool = False) -> np.ndarray:
    """Return a smooth curve [M, D] through control points [N, D]."""
    return _spline(len(points), closed) @ points


def _depth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Depth of the face's front surface towards the viewer."""
    return 0.62 * np.sqrt(np.maximum(1.0 - (x / 0.95) ** 2 - (y / 1.45) ** 2, 0.02))


def face_curves(person: Identity, actions: np.ndarray) -> Curves:
    """Return named curves [N, 3] in face units (x right, y down, z towards the viewer), before the head turns."""
    a = dict(zip(ACTION_INDEX, actions.tolist(), strict=True))
    curves: Curves = {}
    _outline(person, a, curves)
    for side, sign in SIDES:
        _brow(person, a, curves, side, sign)
        _eye(person, a, curves, side, sign)
    _nose(person, a, curves)
    _mouth(person, a, curves)
    on_surface = [name for name in curves if name not in _WITH_DEPTH]  # one call for all: calls cost more than points
    points = np.concatenate([curves[name] for name in on_surface])
    points[:, 2] += _depth(points[:, 0], points[:, 1])
    ends = np.cumsum([len(curves[name]) for name in on_surface])[:-1]
    curves.update(zip(on_surface, np.split(points, ends), strict=True))
    return curves


def _put(curves: Curves, name: str, x: np.ndarray, y: np.ndarray, lift: float | np.ndarray = 0.0) -> None:
    """Add a curve that lies on the face's surface, `lift` above it; `face_curves` adds the surface's depth."""
    points = np.empty((len(x), 3))
    points[:, 0], points[:, 1], points[:, 2] = x, y, lift
    curves[name] = points


def _outline(p: Identity, a: dict[str, float], curves: Curves) -> None:
    w, jaw = p.head_width, 0.20 * a["jaw_drop"]
    cheek = 0.02 * a["cheek_raise"] + 0.02 * a["lip_corner_pull"]
    half = np.array(
        [
            (0.42 * w, -p.head_top * 0.96, -0.1),
            (0.84 * w, -p.head_top * 0.68, -0.1),
            (w, -0.32, -0.1),
            (w * 0.985 + cheek, 0.08, -0.05),
            (p.jaw_width * 1.1 + cheek * 0.5, 0.46, 0.0),
            (p.jaw_width * 0.86, 0.74 + 0.4 * jaw, 0.12),
            (p.chin_width * 1.25, 0.96 + 0.8 * jaw, 0.26),
            (p.chin_width * 0.45, p.chin - 0.02 + jaw, 0.34),
        ]
    )
    control = np.concatenate([[(0, -p.head_top, -0.1)], half, [(0, p.chin + jaw, 0.35)], half[::-1] * (-1, 1, 1)])
    curves["head"] = smooth(control, closed=True)
    curves["axis"] = np.array([(0.0, -p.head_top, -0.1), (0.0, p.chin, -0.1)])
    curves["chin"] = np.array([(0.0, p.chin - 0.10 + jaw, 0.45)])


def _brow(p: Identity, a: dict[str, float], curves: Curves, side: str, sign: float) -> None:
    one = max(0.0, sign * a["one_brow_raise"])
    other = max(0.0, -sign * a["one_brow_raise"])
    down = a["brow_lower"] + 0.35 * a["nose_wrinkle"]
    inner = -0.095 * a["inner_brow_raise"] - 0.05 * one + 0.085 * down + 0.03 * other
    middle = -0.045 * a["inner_brow_raise"] - 0.075 * a["outer_brow_raise"] - 0.13 * one + 0.06 * down + 0.03 * other
    outer = -0.085 * a["outer_brow_raise"] - 0.10 * one + 0.02 * down + 0.012 * a["cheek_raise"] + 0.02 * other
    pinch = 0.045 * down + 0.02 * a["inner_brow_raise"] * min(1.0, down + 0.3)
    t = np.array([0.0, 0.3, 0.65, 1.0])
    x = p.eye_x - 0.62 * p.brow_length + 2 * p.brow_length * t * 0.9 - pinch * (1 - t)
    arch = np.array([0.0, -0.7, -1.0, 0.1]) * p.brow_arch
    move = np.array([inner, 0.45 * inner + 0.55 * middle, 0.4 * middle + 0.6 * outer, outer])
    y = p.brow_y + arch + move + p.brow_slope * t
    half = p.brow_thickness * np.array([0.9, 1.0, 0.75, 0.2]) * (1 + 0.12 * down)
    x, y, half = (_spline(4, False) @ np.stack([x, y, half], axis=1)).T
    _put(curves, f"{side}_brow", sign * x, y, 0.03)
    _put(
        curves,
        f"{side}_brow_shape",
        sign * np.concatenate([x, x[::-1]]),
        np.concatenate([y - half, (y + half)[::-1]]),
        0.03,
    )


def _eye(p: Identity, a: dict[str, float], curves: Curves, side: str, sign: float) -> None:
    shut = min(1.0, a["eye_closure"] + 0.15 * a["cheek_raise"] * a["lip_corner_pull"])
    narrow = max(0.25, 1 - 0.42 * a["lid_tighten"] - 0.16 * a["cheek_raise"] - 0.15 * a["nose_wrinkle"])
    upper = p.eye_upper * (1 + 0.65 * a["lid_raise"]) * narrow * (1 - 0.30 * max(0.0, a["gaze_y"]))
    lower = p.eye_lower * (
        1 + 0.25 * a["lid_raise"] - 0.55 * a["lid_tighten"] - 0.55 * a["cheek_raise"] - 0.2 * a["nose_wrinkle"]
    )
    lower = max(lower, 0.004)
    upper = upper * (1 - shut) - lower * 0.85 * shut
    lower *= 1 - 0.1 * shut
    x = sign * p.eye_x + sign * p.eye_width * T
    cant = -p.eye_cant * T + 0.25 * p.eye_upper * min(1.0, a["inner_brow_raise"]) * np.clip(T, 0, 1) * 0.3
    bell = BELL**0.75
    skew = 1 - 0.18 * T
    _put(curves, f"{side}_lid_up", x, p.eye_y + cant - upper * bell * skew)
    _put(curves, f"{side}_lid_low", x, p.eye_y + cant + lower * bell * (1 + 0.12 * T))
    crease = (
        p.eye_upper * (1 + 0.5 * a["lid_raise"]) * 1.0 + 0.030 - 0.018 * a["brow_lower"] + 0.012 * a["outer_brow_raise"]
    )
    _put(curves, f"{side}_crease", x * 1.0, p.eye_y + cant - crease * BELL**0.6)
    pupil = np.array([sign * p.eye_x + 0.082 * a["gaze_x"]]), np.array([p.eye_y - 0.008 + 0.055 * a["gaze_y"]])
    _put(curves, f"{side}_pupil", *pupil)
    bag = p.eye_lower + 0.055 - 0.02 * a["cheek_raise"]
    _put(curves, f"{side}_bag", x * 0.98, p.eye_y + cant + bag * BELL**0.6)


def _nose(p: Identity, a: dict[str, float], curves: Curves) -> None:
    lift = -0.045 * a["nose_wrinkle"] - 0.02 * a["upper_lip_raise"]
    wide = p.nose_width * (1 + 0.14 * a["nose_wrinkle"] + 0.08 * a["lip_corner_pull"] + 0.06 * a["upper_lip_raise"])
    bridge_y = np.array([p.eye_y - 0.06, p.eye_y + 0.10, p.nose_y - 0.10, p.nose_y - 0.02 + 0.5 * lift])
    lift_z = np.array([0.04, 0.10, 0.20, 0.26])
    _put(curves, "nose_bridge", np.zeros(4), bridge_y, lift_z)
    for side, sign in SIDES:
        x = sign * wide * np.array([0.62, 0.95, 1.0, 0.72])
        y = p.nose_y + lift + np.array([-0.085, -0.055, 0.005, 0.035])
        curves[f"{side}_wing"] = smooth(np.stack([x, y, _depth(x, y) + np.array([0.14, 0.07, 0.06, 0.10])], axis=1))
        x = sign * wide * np.array([0.48])
        _put(curves, f"{side}_nostril", x, np.array([p.nose_y + 0.025 + 0.8 * lift]), 0.15)
        x = sign * p.nose_bridge * np.array([1.0, 0.85, 1.0, 1.5])
        _put(curves, f"{side}_nose_side", x, bridge_y + np.array([0, 0, 0, 0.02]), lift_z * 0.6)
    x = np.array([-0.5, -0.2, 0.0, 0.2, 0.5]) * wide
    y = p.nose_y + 0.3 * lift + np.array([0.03, 0.055, 0.065, 0.055, 0.03])
    _put(curves, "nose_base", x, y, 0.17)


def _mouth(p: Identity, a: dict[str, float], curves: Curves) -> None:
    pull, press, pucker, jaw = a["lip_corner_pull"], a["lip_press"], a["lip_pucker"], a["jaw_drop"]
    width = p.mouth_width * (1 + 0.26 * pull + 0.22 * a["lip_stretch"] + 0.05 * press - 0.36 * pucker - 0.10 * jaw)
    side = np.sign(a["dimpler"])
    one = abs(a["dimpler"]) * np.clip(T * side, 0, 1)
    x = width * T + 0.055 * one * side
    corner = -0.125 * pull + 0.105 * a["lip_corner_depress"] + 0.02 * a["lip_stretch"] + 0.05 * jaw * (1 - pull)
    line = p.mouth_y + 0.03 * pull - 0.03 * a["lip_corner_depress"] + corner * np.abs(T) ** 1.7
    line = line - 0.075 * one**1.3 + p.mouth_slope * T - 0.045 * a["chin_raise"] * BELL
    part = max(0.0, a["lips_part"] - 0.5 * press)
    upper_gap = 0.050 * a["upper_lip_raise"] * (part + 0.25 * jaw) + 0.032 * part + 0.03 * pull * part + 0.02 * jaw
    lower_gap = 0.30 * jaw + 0.040 * part + 0.03 * part * (a["lip_corner_depress"] + a["lip_stretch"])
    bell = BELL**0.62
    lift = 0.035 * a["upper_lip_raise"] * np.exp(-((np.abs(T) - 0.45) ** 2) / 0.18) + 0.015 * a["nose_wrinkle"] * BELL
    top = line - upper_gap * bell - lift
    bottom = line + lower_gap * bell - 0.3 * lift
    thin = max(0.12, 1 - 0.75 * press)
    upper = p.lip_upper * thin * (1 - 0.28 * pull + 0.45 * pucker - 0.2 * a["lip_stretch"])
    lower = p.lip_lower * thin * (1 - 0.18 * pull + 0.45 * pucker - 0.2 * a["lip_stretch"] + 0.25 * a["chin_raise"])
    cupid = 1 - 0.30 * np.exp(-((T / 0.16) ** 2)) - 0.25 * np.abs(T)
    z = 0.06 + 0.10 * pucker * BELL
    _put(curves, "upper_inner", x, top, z)
    _put(curves, "lower_inner", x, bottom, z)
    _put(curves, "upper_outer", x, top - upper * cupid * bell, z)
    _put(curves, "lower_outer", x, bottom + lower * bell, z)
    _put(curves, "teeth", x * 0.94, np.minimum(top + 0.075 * bell, bottom), z - 0.03)
    _put(curves, "lower_teeth", x * 0.8, np.maximum(bottom - 0.05 * bell, top), z - 0.03)
    for name, sign in SIDES:
        end = 0 if sign < 0 else -1
        fold_x = np.array([p.nose_width * 1.12, width * 1.06 + 0.015, width * 1.22 + 0.02])
        fold_y = np.array([p.nose_y - 0.02, (p.nose_y + p.mouth_y) / 2 + 0.02, line[end] + 0.03])
        fold_y = fold_y - 0.03 * a["upper_lip_raise"] * np.array([1, 1, 0.4])
        fold = smooth(np.stack([fold_x, fold_y], axis=1))
        _put(curves, f"{name}_fold", sign * fold[:, 0], fold[:, 1], 0.02)
        _put(
            curves,
            f"{name}_cheek",
            sign * np.array([p.eye_x * 1.18]),
            np.array([0.16 - 0.05 * a["cheek_raise"] - 0.03 * pull]),
        )


def project(curves: Curves, actions: np.ndarray, scene: Scene, size: float) -> Curves:
    """Turn the head and put it in the picture: curves [N, 3] -> pixel coordinates [N, 2]."""
    yaw, pitch, roll = (
        float(actions[ACTION_INDEX[name]]) * limit
        for name, limit in (("head_yaw", YAW), ("head_pitch", PITCH), ("head_roll", ROLL))
    )
    points = np.concatenate(list(curves.values()))
    x, y, z = points.T
    x, z = x * np.cos(yaw) + z * np.sin(yaw), z * np.cos(yaw) - x * np.sin(yaw)
    y, z = y * np.cos(pitch) + (z - 0.25) * np.sin(pitch), z
    number = len(curves["head"]) + len(curves["axis"])
    x[:number] = points[:number, 0] * np.sqrt(np.cos(yaw) ** 2 + (0.97 * np.sin(yaw)) ** 2)
    x[:number] += points[:number, 2] * np.sin(yaw)
    near = 1 + 0.10 * z
    x, y = x * near, y * near
    pivot = 0.9
    y = y - pivot
    x, y = x * np.cos(roll) - y * np.sin(roll), x * np.sin(roll) + y * np.cos(roll) + pivot
    pixels = np.stack([x, y], axis=1) * (scene.scale * size)
    pixels += (0.5 + np.array(scene.offset)) * size
    ends = np.cumsum([len(curve) for curve in curves.values()])[:-1]
    return dict(zip(curves, np.split(pixels, ends), strict=True))


def landmarks(pixels: Curves) -> np.ndarray:
    """Pick the points of `LANDMARKS` [L, 2] from projected curves."""
    points = []
    for side, _ in SIDES:
        brow = pixels[f"{side}_brow"]
        points += [brow[0], brow[len(brow) // 2], brow[-1]]
    for side, _ in SIDES:
        up, low = pixels[f"{side}_lid_up"], pixels[f"{side}_lid_low"]
        points += [up[0], up[-1], up[6], low[6], pixels[f"{side}_pupil"][0], pixels[f"{side}_wing"][-1]]
    points += [pixels["nose_base"][2], pixels["upper_outer"][0], pixels["upper_outer"][-1], pixels["upper_outer"][6]]
    points += [pixels["upper_inner"][6], pixels["lower_inner"][6], pixels["lower_outer"][6], pixels["chin"][0]]
    return np.stack(points)


class HeadFrame:
    """Places points given in face units on the turned head's silhouette (hair, ears, glasses)."""

    def __init__(self, axis: np.ndarray, person: Identity, unit: float) -> None:
        self.unit = unit
        top, chin = axis
        length = chin - top
        self.origin = top + length * (person.head_top / (person.head_top + person.chin))
        down = length / np.linalg.norm(length)
        self.matrix = np.stack([np.array([down[1], -down[0]]), down]) * unit

    def place(self, points: np.ndarray) -> np.ndarray:
        """Face units [N, 2] -> pixels [N, 2]."""
        return points @ self.matrix + self.origin
