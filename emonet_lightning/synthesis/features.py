"""Drawing of the parts of a face, from projected curves, onto a canvas."""

import numpy as np

from emonet_lightning.synthesis.canvas import Canvas, mixed, tint
from emonet_lightning.synthesis.curves import SIDES, Curves, T, smooth
from emonet_lightning.synthesis.geometry import HeadFrame
from emonet_lightning.synthesis.hair import COVERS_EARS
from emonet_lightning.synthesis.identity import Identity

_TAPER = np.sqrt(np.maximum(1 - np.abs(T) ** 3, 0.02))  # [13]


def draw_body(canvas: Canvas, person: Identity, pixels: Curves, unit: float, origin: np.ndarray) -> None:
    """Neck and clothes; the body stays while the head moves."""
    neck = person.neck
    half = np.array([(neck * 1.02, 0.5), (neck * 0.96, 0.98), (neck * 1.0, 1.15), (neck * 1.3, 1.33), (1.2, 1.46)])
    outline = np.concatenate([smooth(half), smooth(half)[::-1] * (-1, 1)])
    lean = 0.45 * (pixels["head"].mean(axis=0) - origin) * (1, 0)
    follow = np.clip((1.3 - outline[:, 1]) / 0.6, 0, 1)[:, None] * lean
    canvas.fill(outline * unit + origin + follow, tint(person.skin, 0.93))
    for sign in (-1.0, 1.0):  # the two muscles of the neck
        cord = np.array([(sign * neck * 0.75, 0.9), (sign * neck * 0.5, 1.15), (sign * 0.06, 1.36)])
        canvas.line(smooth(cord) * unit + origin + 0.4 * lean, tint(person.skin, 0.85), 0.04 * unit)
    deep = (0.10, 0.28, 0.20)[person.collar]
    right = [(0.0, 1.30 + deep), (neck * 0.75, 1.30 + 0.3 * deep), (neck * 1.18, 1.24), (1.15, 1.42), (1.75, 1.62)]
    shirt = np.array([(-2.0, 2.4), *((-x, y) for x, y in right[:0:-1]), *right, (2.0, 2.4)])
    canvas.fill(smooth(shirt) * unit + origin, person.clothes)
    rim = np.array([*((-x, y) for x, y in right[2:0:-1]), *right[:3]])
    canvas.line(smooth(rim) * unit + origin, tint(person.clothes, 0.72), 0.035 * unit)
    if person.collar == 2:
        for sign in (-1.0, 1.0):
            flap = np.array([(neck * 1.14, 1.20), (neck * 1.25, 1.42), (0.22, 1.66), (0.02, 1.48)]) * (sign, 1)
            canvas.fill(flap * unit + origin, tint(person.clothes, 1.18, 6))


def draw_ears(canvas: Canvas, person: Identity, frame: HeadFrame, turn: float) -> None:
    """Ears, hidden on the side that the head turns away from."""
    if person.hair_style in COVERS_EARS:
        return
    for _, sign in SIDES:
        shown = np.clip(1 - 1.6 * sign * turn, 0.0, 1.2)
        if shown > 0.1:
            middle = sign * (person.head_width + 0.012 * shown)
            half = np.array([(-0.5, -0.2), (0.5, -0.2), (0.95, -0.1), (0.75, 0.08), (0.45, 0.2), (-0.4, 0.17)])
            shape = np.stack([middle + sign * person.ear * shown * half[:, 0], half[:, 1] + 0.02], axis=1)
            canvas.fill(frame.place(smooth(shape, closed=True)), tint(person.skin, 0.94, 5))
            fold = np.array([(0.35, -0.12), (0.68, -0.08), (0.52, 0.05), (0.25, 0.08)])
            fold = np.stack([middle + sign * person.ear * shown * fold[:, 0], fold[:, 1] + 0.02], axis=1)
            canvas.line(frame.place(smooth(fold)), tint(person.skin, 0.74, 6), 0.022 * frame.unit)


def draw_eyes(canvas: Canvas, person: Identity, pixels: Curves, a: dict[str, float], unit: float) -> None:
    """Eyeballs seen through the lids, lashes and the lid crease."""
    skin, wet = person.skin, a["tears"]
    white = (228 - 6 * person.age, 222 - 10 * person.age - 24 * wet, 217 - 14 * person.age - 24 * wet)
    lash = mixed((34, 24, 20), skin, 0.35 * (1 - person.lashes))
    for side, sign in SIDES:
        upper, lower = pixels[f"{side}_lid_up"], pixels[f"{side}_lid_low"]
        crease = pixels[f"{side}_crease"]
        canvas.fill(np.concatenate([crease[1:-1], upper[1:-1][::-1]]), tint(skin, 0.94, 3))
        canvas.ribbon(crease[1:-1], tint(skin, 0.70, 4), 0.014 * unit * _TAPER[1:-1])
        pupil = pixels[f"{side}_pupil"][0]
        radius = person.iris * unit

        def eyeball(inside: Canvas, offset: np.ndarray, upper=upper, lower=lower, pupil=pupil, radius=radius) -> None:
            inside.pixels[:] = np.asarray(white, dtype=np.uint8)
            inside.line(lower - offset, tint(white, 0.86, 10), 0.035 * unit)
            inside.ellipse(upper[0] - offset, (0.030 * unit, 0.03 * unit), mixed(white, (206, 130, 122), 0.7))
            centre = pupil - offset
            inside.ellipse(centre, (radius, radius), tint(person.eyes, 0.5))
            inside.ellipse(centre, (radius * 0.86, radius * 0.86), person.eyes)
            glow = centre + np.array([0, 0.30 * radius])
            inside.ellipse(glow, (radius * 0.52, radius * 0.44), tint(person.eyes, 1.30, 8))
            inside.ellipse(centre, (radius * 0.43, radius * 0.43), (14, 11, 11))
            inside.line(upper - offset + (0, 0.016 * unit), tint(white, 0.62), 0.03 * unit)
            inside.ellipse(centre - np.array([0.32, 0.38]) * radius, (radius * 0.21, radius * 0.21), (252, 252, 252))

        canvas.clipped(np.concatenate([upper, lower[::-1]]), eyeball)
        canvas.ribbon(lower, tint(skin, 0.66, 14 + 30 * wet), 0.012 * unit * _TAPER)
        thick = (0.020 + 0.020 * person.lashes) * unit * (0.55 + 0.45 * (T + 1) / 2)
        wing = upper[-1] + (upper[-1] - upper[-3]) * 0.35 * person.lashes
        canvas.ribbon(np.concatenate([upper, wing[None]]), lash, np.append(thick * _TAPER, 0.002 * unit))
        if person.lashes > 0.5:
            roots = upper[[8, 9, 10, 11, 12]]
            away = np.array([(0.01, -1.0), (0.25, -0.9), (0.45, -0.8), (0.7, -0.6), (0.9, -0.4)]) * (sign, 1)
            down = 1.0 if a["eye_closure"] < 0.5 else -0.8
            tips = roots + away * (1, down) * 0.055 * person.lashes * unit
            canvas.lines(np.stack([roots, tips], axis=1), lash, 0.008 * unit)


def draw_brows(canvas: Canvas, person: Identity, pixels: Curves, unit: float) -> None:
    """Eyebrows: a soft shape and hairs that sweep outward."""
    rng = np.random.default_rng(person.texture_seed + 3)
    for side, sign in SIDES:
        shape = pixels[f"{side}_brow_shape"]
        canvas.fill(shape, mixed(person.brows, person.skin, 0.30))
        half = len(shape) // 2
        top, low = shape[:half], shape[half:][::-1]
        at = np.arange(half)
        ahead = np.minimum(at + 2, half - 1)
        share = rng.uniform(0.0, 0.5, half)[:, None]
        roots = low * (1 - share) + top * share
        tips = top[ahead] * (1 - 0.4 * share) + low[ahead] * 0.4 * share
        tips = tips + np.array([sign * 0.02, -0.006]) * unit * np.linspace(0, 1, half)[:, None]
        canvas.lines(np.stack([roots, tips], axis=1), person.brows, 0.011 * unit)


def draw_nose(canvas: Canvas, person: Identity, pixels: Curves, unit: float) -> None:
    """Wings, nostrils and base; the bridge is relief."""
    dark = tint(person.skin, 0.70, 5)
    for side, _ in SIDES:
        wing = pixels[f"{side}_wing"]
        canvas.ribbon(
            wing, tint(person.skin, 0.76, 5), 0.020 * unit * np.sin(np.linspace(0.25, np.pi - 0.25, len(wing)))
        )
        canvas.ellipse(pixels[f"{side}_nostril"][0], (0.036 * unit, 0.017 * unit), tint(person.skin, 0.36, 8))
    base = smooth(pixels["nose_base"])[4:-4]
    canvas.ribbon(base, dark, 0.012 * unit * np.sin(np.linspace(0.2, np.pi - 0.2, len(base))))


def draw_mouth(canvas: Canvas, person: Identity, pixels: Curves, a: dict[str, float], unit: float) -> None:
    """Lips, and teeth and tongue where the mouth is open."""
    upper, lower = pixels["upper_inner"], pixels["lower_inner"]
    gap = np.concatenate([upper, lower[::-1]])
    height = float(np.abs(lower[:, 1] - upper[:, 1]).max()) / unit

    def inside_mouth(inside: Canvas, offset: np.ndarray) -> None:
        inside.pixels[:] = (58, 20, 22)
        tongue = float(np.clip((height - 0.08) / 0.15, 0, 1))
        if tongue > 0:
            low = (lower[6] - offset) + np.array([0, 0.02 * unit])
            tall = (0.08 + 0.25 * height) * tongue * unit
            inside.ellipse(low, (0.17 * unit, tall), (168, 82, 82))
            inside.ellipse(low + np.array([0, 0.2 * tall]), (0.13 * unit, 0.8 * tall), (184, 96, 94))
        teeth = np.concatenate([upper, pixels["teeth"][::-1]]) - offset
        inside.fill(teeth, (236, 231, 221))
        inside.line(upper - offset + (0, 0.008 * unit), (206, 196, 188), 0.018 * unit)
        inside.fill(np.concatenate([lower, pixels["lower_teeth"][::-1]]) - offset, (218, 211, 200))

    lips = person.lips
    canvas.fill(np.concatenate([pixels["upper_outer"], upper[::-1]]), tint(lips, 0.90))
    canvas.fill(np.concatenate([lower, pixels["lower_outer"][::-1]]), tint(lips, 1.03))
    if height > 0.012:
        canvas.clipped(gap, inside_mouth)
        canvas.ribbon(upper, tint(lips, 0.6), 0.012 * unit * _TAPER)
    else:
        line = (upper + lower) / 2
        canvas.ribbon(line, tint(lips, 0.46), (0.016 + 0.006 * a["lip_press"]) * unit * (0.6 + 0.4 * _TAPER))
    for end in (0, -1):
        canvas.ellipse(upper[end], (0.014 * unit, 0.012 * unit), tint(person.skin, 0.58, 6))
