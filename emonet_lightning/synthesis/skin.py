"""Skin: its colour and texture, wrinkles as blurred strokes, blush, beard and freckles, drops for tears and sweat."""

from functools import cache

import cv2
import numpy as np

from emonet_lightning.synthesis.canvas import Canvas, blend, tint
from emonet_lightning.synthesis.curves import SIDES, Curves, smooth
from emonet_lightning.synthesis.geometry import HeadFrame
from emonet_lightning.synthesis.identity import Identity

_FLAT = 128
_TILE = 160
_BRIEF = 4  # a colour that changes softly is drawn this many times smaller


def shade_skin(canvas: Canvas, person: Identity, a: dict[str, float], pixels: Curves, unit: float) -> None:
    """Colour the head, which was filled with one colour, and draw lines into it.

    Args:
        canvas: changed in place, inside the head's outline only.
        person: age deepens lines; freckles.
        a: actions by name.
        pixels: projected curves.
        unit: pixels per face unit.
    """
    rows, columns, offset = canvas.box(pixels["head"], margin=0)
    region = canvas.pixels[rows, columns]
    height, width = region.shape[:2]
    if height < 8 or width < 8:
        return
    local = {name: curve - offset for name, curve in pixels.items()}
    mask = np.zeros((height, width), dtype=np.uint8)
    Canvas(mask, canvas.scale).fill(local["head"], 255)
    fine = _lines(person, a, local, unit, canvas.scale, (height, width))
    texture = cv2.resize(_texture(person.texture_seed % 16), (width, height), interpolation=cv2.INTER_LINEAR)
    factor = cv2.multiply(fine, texture, scale=1 / _FLAT, dtype=cv2.CV_32F) - 1
    factor = factor * (mask * np.float32(1 / 255)) + 1
    glow = _glow(person, a, local, unit, (height, width), canvas.scale) * (mask * np.float32(1 / 255))
    channels = [factor + strength * glow for strength in (np.float32(0.10), np.float32(-0.26), np.float32(-0.20))]
    region[:] = cv2.multiply(region, cv2.merge(channels), dtype=cv2.CV_8U)


@cache
def _texture(variant: int) -> np.ndarray:
    """Blotches and pores of skin, float32 [_TILE, _TILE] around 1."""
    rng = np.random.default_rng(1000 + variant)
    noise = rng.standard_normal((_TILE, _TILE), dtype=np.float32)
    blotches = cv2.GaussianBlur(noise, (0, 0), 6.0)
    pores = cv2.GaussianBlur(rng.standard_normal((_TILE, _TILE), dtype=np.float32), (0, 0), 0.9)
    return 1 + np.float32(0.016) * blotches / blotches.std() + np.float32(0.012) * pores / pores.std()


def _lines(
    person: Identity, a: dict[str, float], pixels: Curves, unit: float, scale: float, shape: tuple[int, int]
) -> np.ndarray:
    """Folds and wrinkles that actions press into the skin, uint8, 128 where flat."""
    fine = Canvas(np.full(shape, _FLAT, dtype=np.uint8), scale)
    lines = 0.35 + 0.65 * person.age

    def stroke(points: np.ndarray, strength: float, width: float) -> None:
        if strength >= 1:
            fine.line(points, _FLAT - min(100.0, strength), width * unit)

    for name, sign in SIDES:
        lid = pixels[f"{name}_lid_up"]
        pressed = max(0.8 * a["lip_corner_pull"], a["nose_wrinkle"], a["upper_lip_raise"], 0.5 * a["lip_stretch"])
        stroke(pixels[f"{name}_fold"], 14 * person.age + 52 * pressed, 0.022)
        stroke(pixels[f"{name}_bag"][2:-2], 10 * person.age + 26 * a["cheek_raise"], 0.016)
        out = (lid[-1] - lid[0]) * 0.28
        for angle in (-0.45, 0.0, 0.45):
            turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            stroke(np.stack([lid[-1] + 0.25 * out, lid[-1] + out @ turn]), 75 * a["cheek_raise"] * lines, 0.012)
        corner = pixels["upper_outer"][0 if sign < 0 else -1]
        dent = corner + np.array([(sign * 0.045, -0.06), (sign * 0.06, 0.0), (sign * 0.045, 0.06)]) * unit
        stroke(smooth(dent), 50 * min(1.0, a["dimpler"] + max(0.0, sign * a["one_dimpler"])), 0.024)
        brow = pixels[f"{name}_brow"]
        for step in (0.13, 0.22, 0.31):
            for strength, inner, outer in ((a["inner_brow_raise"], 0, 6), (a["outer_brow_raise"], 5, 12)):
                stroke(brow[inner : outer + 1] - np.array([0, step * unit]), 50 * strength * lines, 0.014)
    left, right = pixels["left_brow"][0], pixels["right_brow"][0]
    down = max(a["brow_lower"], 0.5 * a["nose_wrinkle"])
    for place in (0.3, 0.7):
        foot = left + (right - left) * place
        stroke(foot + np.array([(0, -0.09), (0, 0.05)]) * unit, 70 * down * (0.5 + 0.5 * lines), 0.018)
    top, low = pixels["nose_bridge"][:2]
    for share in (0.15, 0.5, 0.85):
        bend = top + (low - top) * share + np.array([(-0.09, -0.02), (0, 0), (0.09, -0.02)]) * unit
        stroke(bend, 75 * a["nose_wrinkle"], 0.014)
    pout = max(a["lip_pucker"], 0.6 * a["lip_tighten"])
    for index in (3, 5, 7, 9):  # lips drawn together wrinkle the skin around them
        for curve, away in (("upper_outer", -0.055), ("lower_outer", 0.055)):
            root = pixels[curve][index]
            stroke(np.stack([root, root + np.array([0.012 * (index - 6), away]) * unit]), 24 * pout, 0.010)
    for name in ("upper_outer", "lower_outer"):
        stroke(pixels[name][1:-1], 30 * a["lip_suck"], 0.03)
    place = pixels["chin"][0] - np.array([0, 0.03 * unit])
    for dx, dy in ((-0.06, 0.0), (0.05, 0.02), (0.0, -0.03), (-0.02, 0.05), (0.07, -0.03)):
        spot = place + np.array([dx, dy]) * unit
        fine.ellipse(spot, (0.022 * unit, 0.014 * unit), _FLAT - 34 * a["chin_raise"])
    if person.freckles > 0:
        rng = np.random.default_rng(person.texture_seed)
        for name, _ in SIDES:
            for spot in rng.normal(size=(12, 2)) * (0.10, 0.06) * unit + pixels[f"{name}_cheek"][0]:
                fine.ellipse(spot, (0.011 * unit, 0.011 * unit), _FLAT - 45 * person.freckles)
    return cv2.GaussianBlur(fine.pixels, (0, 0), 0.012 * unit * scale)


def _glow(
    person: Identity, a: dict[str, float], pixels: Curves, unit: float, shape: tuple[int, int], scale: float
) -> np.ndarray:
    """Blood in cheeks, nose and chin, float32, about 0..1.3."""
    height, width = shape
    red = Canvas(np.zeros((height // _BRIEF + 1, width // _BRIEF + 1), dtype=np.uint8), scale / _BRIEF)
    rosy, small = person.rosy * 0.55, unit
    for name, _ in SIDES:
        strength = min(1.0, 0.75 * a["blush"] + rosy)
        red.ellipse(pixels[f"{name}_cheek"][0], (0.19 * small, 0.14 * small), 255 * strength)
    faint = 255 * min(1.0, 0.25 * a["blush"] + 0.7 * rosy)
    red.ellipse(pixels["nose_bridge"][-1], (0.10 * small, 0.08 * small), faint)
    red.ellipse(pixels["chin"][0], (0.12 * small, 0.08 * small), 0.6 * faint)
    soft = cv2.GaussianBlur(red.pixels, (0, 0), 0.085 * unit * red.scale)
    return cv2.resize(soft, (width, height)) * np.float32(1 / 255)


def draw_beard(canvas: Canvas, person: Identity, pixels: Curves, unit: float) -> None:
    """Stubble (1), a moustache with goatee (2) or a full beard (3), with soft edges."""
    if not person.beard:
        return
    head, lip, base = pixels["head"], pixels["upper_outer"], pixels["nose_base"]
    rows, columns, offset = canvas.box(head[20:69], margin=0)
    region = canvas.pixels[rows, columns]
    height, width = region.shape[:2]
    if height < 8 or width < 8:
        return
    mask = Canvas(np.zeros((height // 2 + 1, width // 2 + 1), dtype=np.uint8), canvas.scale / 2)
    middle = base[::-1] * 0.45 + lip[[11, 9, 6, 3, 1]] * 0.55
    mask.fill(np.concatenate([lip + np.array([0, 0.005 * unit]), middle]) - offset, 255)
    low = pixels["lower_outer"]
    if person.beard == 2:
        chin = np.concatenate([head[37:52], low[2:-2] + np.array([0, 0.06 * unit])])
        mask.fill(chin - offset, 255)
    else:
        edge = np.concatenate(
            [pixels["left_fold"][5:], low + np.array([0, 0.015 * unit]), pixels["right_fold"][5:][::-1]]
        )
        mask.fill(np.concatenate([head[24:65], edge]) - offset, 255)
    soft = cv2.resize(cv2.GaussianBlur(mask.pixels, (0, 0), 0.030 * unit * mask.scale), (width, height))
    grain = cv2.resize(_grain(), (width, height), interpolation=cv2.INTER_LINEAR)
    opacity = (0.0, 0.34, 0.80, 0.86)[person.beard]
    inside = np.zeros((height, width), dtype=np.uint8)
    Canvas(inside, canvas.scale).fill(head - offset, 255)
    cover = cv2.min(cv2.multiply(soft, grain, scale=opacity, dtype=cv2.CV_8U), inside)
    blend(region, tint(person.hair, 0.82), cover)


@cache
def _grain() -> np.ndarray:
    """Hairs of a beard, float32 around 1."""
    noise = np.random.default_rng(7).standard_normal((_TILE, _TILE), dtype=np.float32)
    hairs = cv2.GaussianBlur(noise, (0, 0), sigmaX=0.6, sigmaY=2.0)
    return 1 + np.float32(0.16) * hairs / hairs.std()


def draw_drops(
    canvas: Canvas, person: Identity, a: dict[str, float], pixels: Curves, frame: HeadFrame, unit: float
) -> None:
    """Tears that run down from the lids, and sweat on the forehead."""
    wet = tint(person.skin, 1.16)
    bright = (245.0, 248.0, 250.0)
    tears = a["tears"]
    if tears > 0.02:
        for name, sign in SIDES:
            start = pixels[f"{name}_lid_low"][7]
            length, size = 0.32 * min(1.0, 1.2 * tears), min(1.0, 4 * tears)
            path = start + np.array([(0, 0.01), (sign * 0.02, 0.5 * length), (sign * 0.015, length)]) * unit
            canvas.ribbon(smooth(path), wet, 0.022 * size * unit)
            canvas.ellipse(path[-1], (0.022 * size * unit, 0.032 * size * unit), wet)
            canvas.ellipse(
                path[-1] - np.array([0.006, 0.008]) * unit, (0.010 * size * unit, 0.012 * size * unit), bright
            )
    if a["sweat"] > 0.02:
        rng = np.random.default_rng(person.texture_seed + 1)
        places = np.stack([rng.uniform(-0.5, 0.5, 7), rng.uniform(-0.62, -0.44, 7)], axis=1)
        sizes = np.clip(8 * a["sweat"] - np.arange(7), 0, 1)  # one drop after another grows
        for place, size in zip(frame.place(places, 0.45), sizes, strict=True):
            if size > 0.1:
                canvas.ellipse(place, (0.020 * size * unit, 0.030 * size * unit), wet)
                shine = place - np.array([0.006, 0.010]) * size * unit
                canvas.ellipse(shine, (0.009 * size * unit, 0.011 * size * unit), bright)
