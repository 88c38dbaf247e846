"""Skin: blurred strokes for relief and wrinkles, colour for blush, beard and freckles, drops for tears and sweat."""

import cv2
import numpy as np

from emonet_lightning.synthesis.canvas import SUPERSAMPLING, Canvas, tint
from emonet_lightning.synthesis.geometry import SIDES, Curves, HeadFrame, smooth
from emonet_lightning.synthesis.identity import Identity

_FLAT = 128
_HALF = 1 / SUPERSAMPLING


def shade_skin(
    canvas: Canvas, person: Identity, a: dict[str, float], pixels: Curves, unit: float, light_side: float
) -> None:
    """Shade and colour the head that was filled with one colour.

    Args:
        canvas: changed in place, inside the head's outline only.
        person: age deepens lines; freckles.
        a: actions by name.
        pixels: projected curves.
        unit: pixels per face unit.
        light_side: sign of the light's horizontal direction.
    """
    side = canvas.pixels.shape[0]
    head = pixels["head"] * SUPERSAMPLING
    left, top = np.clip(np.floor(head.min(axis=0)).astype(int) // 2 * 2, 0, side - 8)
    right, bottom = np.clip(np.ceil(head.max(axis=0)).astype(int) // 2 * 2 + 2, 8, side)
    width, height = int(right - left), int(bottom - top)
    offset = np.array([left, top]) * _HALF
    local = {name: curve - offset for name, curve in pixels.items()}
    broad = _relief(person, a, local, unit, light_side, (height // 2, width // 2))
    fine = _lines(person, a, local, unit, (height, width))
    shade = cv2.resize(broad, (width, height), interpolation=cv2.INTER_LINEAR)
    factor = cv2.add(shade, fine, dtype=cv2.CV_32F)
    mask = np.zeros((height, width), dtype=np.uint8)
    Canvas(mask).fill(local["head"], 255)
    factor = (factor - 2 * _FLAT) * (mask * np.float32(1 / 255 / _FLAT)) + 1
    region = canvas.pixels[top:bottom, left:right]
    skin = cv2.multiply(region, cv2.merge([factor, factor, factor]), dtype=cv2.CV_8U)
    if a["blush"] > 0.03:
        skin = _blush(skin, a["blush"], local, unit)
    region[:] = skin


def _relief(
    person: Identity, a: dict[str, float], pixels: Curves, unit: float, light_side: float, shape: tuple[int, int]
) -> np.ndarray:
    """Broad light and shadow at half resolution, uint8, 128 where flat."""
    broad = Canvas(np.full(shape, _FLAT, dtype=np.uint8))
    small = unit * _HALF
    for name, sign in SIDES:
        broad.line(pixels[f"{name}_crease"] * _HALF, _FLAT - 22 - 22 * a["brow_lower"], 0.10 * small)
        bag = 10 + 16 * a["cheek_raise"] + 10 * person.age
        broad.line(pixels[f"{name}_bag"] * _HALF, _FLAT - bag, 0.04 * small)
        bulge = 5 + 14 * a["cheek_raise"] + 7 * a["lip_corner_pull"]
        broad.ellipse(pixels[f"{name}_cheek"][0] * _HALF, (0.17 * small, 0.11 * small), _FLAT + bulge)
        broad.line(pixels[f"{name}_nose_side"] * _HALF, _FLAT - (26 if sign * light_side < 0 else 6), 0.06 * small)
    nose = pixels["nose_bridge"]
    broad.line(nose * _HALF, _FLAT + 16, 0.05 * small)
    broad.ellipse(nose[-1] * _HALF, (0.06 * small, 0.05 * small), _FLAT + 20)
    under = pixels["lower_outer"][3:-3] + np.array([0, 0.06 * unit])
    broad.line(under * _HALF, _FLAT - 26 - 20 * a["chin_raise"], 0.05 * small)
    return cv2.GaussianBlur(broad.pixels, (0, 0), 0.045 * unit)


def _lines(person: Identity, a: dict[str, float], pixels: Curves, unit: float, shape: tuple[int, int]) -> np.ndarray:
    """Folds and wrinkles that actions press into the skin, uint8, 128 where flat."""
    fine = Canvas(np.full(shape, _FLAT, dtype=np.uint8))
    lines = 0.35 + 0.65 * person.age

    def stroke(points: np.ndarray, strength: float, width: float) -> None:
        fine.line(points, _FLAT - min(100.0, strength), width * unit)

    for name, sign in SIDES:
        lid = pixels[f"{name}_lid_up"]
        pressed = max(0.8 * a["lip_corner_pull"], a["nose_wrinkle"], a["upper_lip_raise"], 0.5 * a["lip_stretch"])
        stroke(pixels[f"{name}_fold"], 8 + 14 * person.age + 60 * pressed, 0.022)
        if a["cheek_raise"] > 0.2:
            out = (lid[-1] - lid[0]) * 0.28
            for angle in (-0.45, 0.0, 0.45):
                turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
                stroke(np.stack([lid[-1] + 0.25 * out, lid[-1] + out @ turn]), 75 * a["cheek_raise"] * lines, 0.012)
        if sign * a["dimpler"] > 0.1:
            corner = pixels["upper_outer"][0 if sign < 0 else -1]
            dent = corner + np.array([(sign * 0.035, -0.05), (sign * 0.04, 0.05)]) * unit
            stroke(dent, 80 * abs(a["dimpler"]), 0.03)
        brow = pixels[f"{name}_brow"]
        for step in (0.13, 0.22, 0.31):
            for strength, inner, outer in ((a["inner_brow_raise"], 0, 6), (a["outer_brow_raise"], 5, 12)):
                if strength > 0.15:
                    stroke(brow[inner : outer + 1] - np.array([0, step * unit]), 55 * strength * lines, 0.014)
    left, right = pixels["left_brow"][0], pixels["right_brow"][0]
    down = max(a["brow_lower"], 0.5 * a["nose_wrinkle"])
    if down > 0.15:
        for place in (0.3, 0.7):
            foot = left + (right - left) * place
            stroke(foot + np.array([(0, -0.09), (0, 0.05)]) * unit, 80 * down * (0.5 + 0.5 * lines), 0.018)
    if a["nose_wrinkle"] > 0.15:
        top, low = pixels["nose_bridge"][:2]
        for share in (0.15, 0.5, 0.85):
            bend = top + (low - top) * share + np.array([(-0.09, -0.02), (0, 0), (0.09, -0.02)]) * unit
            stroke(bend, 85 * a["nose_wrinkle"], 0.014)
    if a["chin_raise"] > 0.2:
        place = pixels["chin"][0] - np.array([0, 0.03 * unit])
        fine.ellipse(place, (0.10 * unit, 0.05 * unit), _FLAT - 18 * a["chin_raise"])
    if person.freckles > 0:
        rng = np.random.default_rng(person.texture_seed)
        for name, _ in SIDES:
            for spot in rng.normal(size=(9, 2)) * (0.10, 0.06) * unit + pixels[f"{name}_cheek"][0]:
                fine.ellipse(spot, (0.013 * unit, 0.013 * unit), _FLAT - 60 * person.freckles)
    return cv2.GaussianBlur(fine.pixels, (0, 0), 0.012 * unit * SUPERSAMPLING)


def _blush(skin: np.ndarray, strength: float, pixels: Curves, unit: float) -> np.ndarray:
    height, width = skin.shape[:2]
    red = Canvas(np.zeros((height // 2, width // 2), dtype=np.uint8))
    for name, _ in SIDES:
        red.ellipse(pixels[f"{name}_cheek"][0] * _HALF, (0.2 * unit * _HALF, 0.14 * unit * _HALF), 200)
    glow = cv2.resize(cv2.GaussianBlur(red.pixels, (0, 0), 0.10 * unit), (width, height))
    glow = glow * np.float32(strength / 255)
    return cv2.add(skin, cv2.merge([glow * 24, glow * -36, glow * -28]), dtype=cv2.CV_8U)


def draw_beard(canvas: Canvas, person: Identity, pixels: Curves, unit: float) -> None:
    """Stubble (1), a moustache with goatee (2) or a full beard (3), with soft edges."""
    if not person.beard:
        return
    side = canvas.pixels.shape[0]
    mask = Canvas(np.zeros((side // 2, side // 2), dtype=np.uint8))
    head, lip, base = pixels["head"], pixels["upper_outer"], pixels["nose_base"]
    moustache = np.concatenate([lip + np.array([0, 0.01 * unit]), (base[::-1] * 0.55 + lip[[11, 9, 6, 3, 1]] * 0.45)])
    mask.fill(moustache * _HALF, 255)
    if person.beard == 2:
        low = pixels["lower_outer"]
        chin = np.concatenate([head[33:40], low[2:-2] + np.array([0, 0.07 * unit])])
        mask.fill(chin * _HALF, 255)
    else:
        edge = np.concatenate([pixels["left_fold"][4:], pixels["lower_outer"], pixels["right_fold"][4:][::-1]])
        mask.fill(np.concatenate([head[19:54], edge]) * _HALF, 255)
        mask.fill(np.concatenate([head[19:22], pixels["right_fold"][4:][::-1]]) * _HALF, 255)
    opacity = (0.0, 0.30, 0.85, 0.9)[person.beard] / 255
    soft = cv2.resize(cv2.GaussianBlur(mask.pixels, (0, 0), 0.02 * unit), (side, side)) * np.float32(opacity)
    colour = np.array(tint(person.hair, 0.75), dtype=np.float32)
    canvas.pixels[:] = (canvas.pixels * (1 - soft[..., None]) + colour * soft[..., None]).astype(np.uint8)


def draw_drops(
    canvas: Canvas, person: Identity, a: dict[str, float], pixels: Curves, frame: HeadFrame, unit: float
) -> None:
    """Tears that run down from the lids, and sweat on the forehead."""
    wet = tint(person.skin, 1.16)
    bright = (245.0, 248.0, 250.0)
    if a["tears"] > 0.12:
        for name, sign in SIDES:
            start = pixels[f"{name}_lid_low"][7]
            length = 0.30 * min(1.0, 1.2 * a["tears"])
            path = start + np.array([(0, 0.01), (sign * 0.02, 0.5 * length), (sign * 0.015, length)]) * unit
            canvas.line(smooth(path), wet, 0.022 * unit)
            canvas.ellipse(path[-1], (0.022 * unit, 0.032 * unit), wet)
            canvas.ellipse(path[-1] - np.array([0.006, 0.008]) * unit, (0.010 * unit, 0.012 * unit), bright)
    if a["sweat"] > 0.12:
        rng = np.random.default_rng(person.texture_seed + 1)
        places = np.stack([rng.uniform(-0.5, 0.5, 6), rng.uniform(-0.66, -0.46, 6)], axis=1)
        for place in frame.place(places[: 2 + round(4 * a["sweat"])]):
            canvas.ellipse(place, (0.020 * unit, 0.030 * unit), wet)
            canvas.ellipse(place - np.array([0.006, 0.010]) * unit, (0.009 * unit, 0.011 * unit), bright)
