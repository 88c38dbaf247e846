"""The curves of a face before the head turns, in face units, moved by actions.

The face is 2.5-dimensional: every curve point has a depth on an ellipsoid (plus the nose's relief).
"""

from functools import lru_cache

import numpy as np

from emonet_lightning.synthesis.actions import ACTION_INDEX
from emonet_lightning.synthesis.identity import Identity

Curves = dict[str, np.ndarray]

T = np.linspace(-1.0, 1.0, 13)
BELL = 1.0 - T**2
SIDES = (("left", -1.0), ("right", 1.0))
_WITH_DEPTH = {"head", "axis", "chin", "left_wing", "right_wing"}
"""Curves that are built with their own depth."""


@lru_cache(maxsize=64)
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
    return 0.50 * np.sqrt(np.maximum(1.0 - (x / 0.95) ** 2 - (y / 1.45) ** 2, 0.02))


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


def jaw_fall(a: dict[str, float]) -> float:
    """How far the chin falls, in face units."""
    return 0.13 * a["jaw_drop"] + 0.22 * a["mouth_stretch"] * (1 - 0.3 * a["jaw_drop"])


def _outline(p: Identity, a: dict[str, float], curves: Curves) -> None:
    w, top, jaw = p.head_width, p.head_top, jaw_fall(a)
    cheek = 0.02 * a["cheek_raise"] + 0.02 * a["lip_corner_pull"] + p.fullness
    slim = 0.02 * (a["lip_suck"] + a["lip_pucker"] + a["mouth_stretch"])
    half = np.array(
        [
            (0.29 * w, -top * 0.972, -0.12),
            (0.57 * w, -top * 0.88, -0.12),
            (0.81 * w, -top * 0.69, -0.11),
            (0.965 * w, -top * 0.41, -0.08),
            (w, -0.10, -0.04),
            (w * 0.965 + 0.5 * cheek, 0.20, 0.06),
            (p.jaw_width * 1.13 + cheek, 0.47, 0.16),
            (p.jaw_width * 0.91 + 0.8 * cheek - slim, 0.72 + 0.35 * jaw, 0.25),
            (p.chin_width * 1.45 + 0.3 * cheek - slim, 0.945 + 0.8 * jaw, 0.34),
            (p.chin_width * 0.72, p.chin - 0.035 + jaw, 0.40),
        ]
    )
    control = np.concatenate([[(0, -top, -0.12)], half, [(0, p.chin + jaw, 0.42)], half[::-1] * (-1, 1, 1)])
    curves["head"] = smooth(control, closed=True)
    curves["axis"] = np.array([(0.0, -p.head_top, -0.1), (0.0, p.chin, -0.1)])
    curves["chin"] = np.array([(0.0, p.chin - 0.12 + jaw, 0.48)])


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
    arch = np.array([0.1, -0.65, -1.0, 0.25]) * p.brow_arch
    move = np.array([inner, 0.45 * inner + 0.55 * middle, 0.4 * middle + 0.6 * outer, outer])
    y = p.brow_y + arch + move + p.brow_slope * t
    half = p.brow_thickness * np.array([0.75, 1.0, 0.75, 0.15]) * (1 + 0.12 * down)
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
    narrow = max(0.25, 1 - 0.40 * a["lid_tighten"] - 0.16 * a["cheek_raise"] - 0.15 * a["nose_wrinkle"])
    upper = p.eye_upper * (1 + 0.72 * a["lid_raise"]) * narrow * (1 - 0.30 * max(0.0, a["gaze_y"]))
    lower = p.eye_lower * (
        1 + 0.22 * a["lid_raise"] - 0.62 * a["lid_tighten"] - 0.50 * a["cheek_raise"] - 0.2 * a["nose_wrinkle"]
    )
    lower = max(lower, 0.004)
    upper = upper * (1 - shut) - lower * 0.85 * shut
    lower *= 1 - 0.1 * shut
    x = sign * p.eye_x + sign * p.eye_width * T
    cant = -p.eye_cant * T + 0.25 * p.eye_upper * min(1.0, a["inner_brow_raise"]) * np.clip(T, 0, 1) * 0.3
    bell = BELL**0.75
    skew = 1 - 0.18 * T
    _put(curves, f"{side}_lid_up", x, p.eye_y + cant - upper * bell * skew)
    _put(curves, f"{side}_lid_low", x, p.eye_y + cant + lower * bell * (1 + 0.16 * T))
    crease = p.eye_upper * (1 + 0.5 * a["lid_raise"]) + p.lid_fold - 0.018 * a["brow_lower"]
    crease += 0.012 * a["outer_brow_raise"]
    _put(curves, f"{side}_crease", x, p.eye_y + cant - crease * BELL**0.6)
    pupil = np.array([sign * p.eye_x + 0.082 * a["gaze_x"]]), np.array([p.eye_y - 0.012 + 0.055 * a["gaze_y"]])
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
        x = sign * wide * np.array([0.46])
        _put(curves, f"{side}_nostril", x, np.array([p.nose_y + 0.022 + 0.8 * lift]), 0.15)
    x = np.array([-0.5, -0.2, 0.0, 0.2, 0.5]) * wide
    y = p.nose_y + 0.3 * lift + np.array([0.03, 0.05, 0.06, 0.05, 0.03])
    _put(curves, "nose_base", x, y, 0.17)


def _mouth(p: Identity, a: dict[str, float], curves: Curves) -> None:
    pull, press, tight, suck = a["lip_corner_pull"], a["lip_press"], a["lip_tighten"], a["lip_suck"]
    pucker, funnel, jaw, agape = a["lip_pucker"], a["lip_funnel"], a["jaw_drop"], a["mouth_stretch"]
    round_ = 1 - (1 - 0.40 * pucker) * (1 - 0.30 * funnel)
    width = p.mouth_width * (1 + 0.26 * pull + 0.24 * a["lip_stretch"] + 0.06 * a["dimpler"] + 0.04 * press)
    width *= (1 - round_) * (1 - 0.12 * tight) * (1 - 0.07 * jaw) * (1 - 0.10 * agape)
    sides = [a["dimpler"] + max(0.0, sign * a["one_dimpler"]) for _, sign in SIDES]
    one = sides[0] * np.clip(-T, 0, 1) + sides[1] * np.clip(T, 0, 1)
    lopsided = abs(a["one_dimpler"]) * np.clip(T * np.sign(a["one_dimpler"]), 0, 1)
    x = width * T + 0.045 * one * np.sign(T)
    corner = -0.010 - 0.125 * pull + 0.110 * a["lip_corner_depress"] + 0.02 * a["lip_stretch"]
    corner += 0.05 * (jaw + 1.4 * agape) * (1 - pull)
    line = p.mouth_y + 0.03 * pull - 0.03 * a["lip_corner_depress"] + corner * np.abs(T) ** 1.7
    line = line - 0.075 * lopsided**1.3 + p.mouth_slope * T - 0.045 * a["chin_raise"] * BELL
    part = max(0.0, a["lips_part"] - 0.6 * press - 0.4 * suck - 0.2 * tight)
    upper_gap = 0.050 * a["upper_lip_raise"] * (part + 0.25 * jaw) + 0.032 * part + 0.03 * pull * part
    upper_gap += 0.012 * jaw + 0.035 * agape + 0.045 * funnel
    lower_gap = 0.19 * jaw + 0.33 * agape * (1 - 0.25 * jaw) + 0.042 * part + 0.055 * funnel
    lower_gap += 0.03 * part * (a["lip_corner_depress"] + a["lip_stretch"])
    bell = BELL ** (0.62 - 0.10 * max(agape, 0.5 * jaw))  # the wider open, the nearer to an ellipse
    lift = 0.035 * a["upper_lip_raise"] * np.exp(-((np.abs(T) - 0.45) ** 2) / 0.18) + 0.015 * a["nose_wrinkle"] * BELL
    top = line - upper_gap * bell - lift
    bottom = line + lower_gap * bell - 0.3 * lift
    thin = max(0.06, (1 - 0.48 * tight) * (1 - 0.66 * press) * (1 - 0.92 * suck))
    full = thin * (1 - 0.2 * a["lip_stretch"] - 0.15 * agape) * (1 + 0.45 * pucker) * (1 + 0.55 * funnel)
    upper = p.lip_upper * full * (1 - 0.28 * pull)
    lower = p.lip_lower * full * (1 - 0.18 * pull + 0.25 * a["chin_raise"])
    cupid = 1 - 0.30 * np.exp(-((T / 0.16) ** 2)) - 0.25 * np.abs(T)
    z = 0.06 + 0.10 * max(pucker, funnel) * BELL
    _put(curves, "upper_inner", x, top, z)
    _put(curves, "lower_inner", x, bottom, z)
    _put(curves, "upper_outer", x, top - upper * cupid * bell, z)
    _put(curves, "lower_outer", x, bottom + lower * bell, z)
    _put(curves, "teeth", x * (0.94 - 0.12 * agape), np.minimum(top + (0.068 - 0.02 * agape) * bell, bottom), z - 0.03)
    shown = min(1.0, max(0.0, 1.6 * (a["lip_stretch"] + a["lip_corner_depress"]) - 0.4))
    _put(curves, "lower_teeth", x * 0.8, np.maximum(bottom - 0.05 * shown * bell, top), z - 0.03)
    for name, sign in SIDES:
        end = 0 if sign < 0 else -1
        fold_x = np.array([p.nose_width * 1.15, width * 1.02 + 0.03, width * 1.15 + 0.04])
        fold_y = np.array([p.nose_y - 0.02, (p.nose_y + p.mouth_y) / 2 + 0.01, line[end] + 0.02])
        fold_y = fold_y - 0.03 * a["upper_lip_raise"] * np.array([1, 1, 0.4])
        fold = smooth(np.stack([fold_x, fold_y], axis=1))
        _put(curves, f"{name}_fold", sign * fold[:, 0], fold[:, 1], 0.02)
        _put(
            curves,
            f"{name}_cheek",
            sign * np.array([p.eye_x * 1.25]),
            np.array([0.19 - 0.05 * a["cheek_raise"] - 0.03 * pull]),
        )
