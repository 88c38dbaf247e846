"""Drawing of the parts of a face, from projected curves, onto a canvas."""

import numpy as np

from emonet_lightning.synthesis.canvas import Canvas, tint
from emonet_lightning.synthesis.geometry import SIDES, Curves, HeadFrame, smooth
from emonet_lightning.synthesis.identity import Identity


def draw_body(canvas: Canvas, person: Identity, pixels: Curves, unit: float, origin: np.ndarray) -> None:
    """Neck and clothes; the body stays while the head moves."""
    neck = person.neck
    points = np.array([(-neck, 0.55), (-neck * 0.96, 1.25), (neck * 0.96, 1.25), (neck, 0.55)])
    shoulders = np.array(
        [
            (-2.0, 2.2),
            (-1.75, 1.62),
            (-1.1, 1.42),
            (-neck * 1.1, 1.22),
            (0, 1.45),
            (neck * 1.1, 1.22),
            (1.1, 1.42),
            (1.75, 1.62),
            (2.0, 2.2),
        ]
    )
    lean = 0.35 * (pixels["head"].mean(axis=0) - origin) * (1, 0)
    canvas.fill(points * unit + origin + lean, tint(person.skin, 0.80))
    canvas.fill(smooth(shoulders) * unit + origin, person.clothes)


def draw_ears(canvas: Canvas, person: Identity, frame: HeadFrame, turn: float) -> None:
    """Ears, hidden on the side that the head turns away from."""
    if person.hair_style in (4, 5):
        return
    for _, sign in SIDES:
        shown = np.clip(1 - 1.6 * sign * turn, 0.0, 1.2)
        if shown > 0.1:
            centre = frame.place(np.array([[sign * (person.head_width + 0.02 * shown), 0.0]]))[0]
            canvas.ellipse(centre, (person.ear * shown * frame.unit, 0.2 * frame.unit), tint(person.skin, 0.88, 6))


def draw_eyes(canvas: Canvas, person: Identity, pixels: Curves, a: dict[str, float], unit: float) -> None:
    """Eyeballs seen through the lids, lashes and the lid crease."""
    skin = person.skin
    wet = a["tears"]
    white = (236 - 6 * person.age, 232 - 12 * person.age - 26 * wet, 226 - 16 * person.age - 26 * wet)
    for side, _ in SIDES:
        upper, lower = pixels[f"{side}_lid_up"], pixels[f"{side}_lid_low"]
        canvas.line(pixels[f"{side}_crease"][1:-1], tint(skin, 0.72, 4), 0.012 * unit)
        pupil = pixels[f"{side}_pupil"][0]
        radius = person.iris * unit

        def eyeball(inside: Canvas, offset: np.ndarray, upper=upper, pupil=pupil, radius=radius) -> None:
            inside.pixels[:] = np.asarray(white, dtype=np.uint8)
            centre = pupil - offset
            inside.ellipse(centre, (radius, radius), tint(person.eyes, 0.55))
            inside.ellipse(centre, (radius * 0.84, radius * 0.84), person.eyes)
            inside.ellipse(centre, (radius * 0.42, radius * 0.42), (12, 10, 10))
            inside.ellipse(centre - np.array([0.3, 0.35]) * radius, (radius * 0.2, radius * 0.2), (250, 250, 250))
            inside.line(upper - offset + (0, 0.012 * unit), tuple(0.55 * channel for channel in white), 0.03 * unit)

        canvas.clipped(np.concatenate([upper, lower[::-1]]), eyeball)
        canvas.line(lower, tint(skin, 0.62, 14 + 30 * wet), 0.012 * unit)
        canvas.line(upper, (38, 26, 22), (0.024 + 0.012 * (person.hair_style in (4, 5, 7))) * unit)


def draw_brows(canvas: Canvas, person: Identity, pixels: Curves) -> None:
    """Eyebrows."""
    for side, _ in SIDES:
        canvas.fill(pixels[f"{side}_brow_shape"], person.brows)


def draw_nose(canvas: Canvas, person: Identity, pixels: Curves, unit: float) -> None:
    """Wings, nostrils and base; the bridge is shading."""
    dark = tint(person.skin, 0.62, 4)
    for side, _ in SIDES:
        canvas.line(pixels[f"{side}_wing"], tint(person.skin, 0.72, 4), 0.018 * unit)
        canvas.ellipse(pixels[f"{side}_nostril"][0], (0.036 * unit, 0.018 * unit), tint(person.skin, 0.30))
    canvas.line(smooth(pixels["nose_base"])[4:-4], dark, 0.014 * unit)


def draw_mouth(canvas: Canvas, person: Identity, pixels: Curves, a: dict[str, float], unit: float) -> None:
    """Lips, and teeth and tongue where the mouth is open."""
    upper, lower = pixels["upper_inner"], pixels["lower_inner"]
    gap = np.concatenate([upper, lower[::-1]])

    def inside_mouth(inside: Canvas, offset: np.ndarray) -> None:
        inside.pixels[:] = (52, 18, 20)
        if a["jaw_drop"] > 0.15:
            low = lower[6] - offset
            inside.ellipse(low, (0.15 * unit, 0.09 * unit), (168, 82, 82))
        teeth = np.concatenate([upper, pixels["teeth"][::-1]]) - offset
        inside.fill(teeth, (232, 226, 214))
        if a["lip_stretch"] + a["lip_corner_depress"] > 0.5:
            inside.fill(np.concatenate([lower, pixels["lower_teeth"][::-1]]) - offset, (214, 206, 194))

    canvas.fill(np.concatenate([pixels["upper_outer"], upper[::-1]]), tint(person.lips, 0.92))
    canvas.fill(np.concatenate([lower, pixels["lower_outer"][::-1]]), person.lips)
    height = float(np.abs(lower[:, 1] - upper[:, 1]).max())
    if height > 0.012 * unit:
        canvas.clipped(gap, inside_mouth)
        canvas.line(upper, tint(person.lips, 0.6), 0.012 * unit)
    else:
        canvas.line((upper + lower) / 2, tint(person.lips, 0.45), 0.020 * unit)


def draw_glasses(canvas: Canvas, person: Identity, pixels: Curves, unit: float) -> None:
    """Rims around the eyes and a bridge."""
    if not person.glasses:
        return
    colour = [(30.0, 28.0, 30.0), (120.0, 90.0, 50.0), (150.0, 150.0, 160.0)][person.glasses - 1]
    angles = np.linspace(0, 2 * np.pi, 25)
    radii = np.array([0.225, 0.165 if person.glasses != 3 else 0.205]) * unit
    power = 0.7 if person.glasses == 1 else 1.0
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    ring = np.sign(circle) * np.abs(circle) ** power * radii
    centres = []
    for side, _ in SIDES:
        lid_up, lid_low = pixels[f"{side}_lid_up"], pixels[f"{side}_lid_low"]
        centre = (lid_up[0] + lid_up[-1] + lid_low[0] + lid_low[-1]) / 4 + (0, 0.03 * unit)
        centres.append(centre)
        canvas.line(ring + centre, colour, 0.022 * unit)
    step = centres[1] - centres[0]
    step = step / np.linalg.norm(step)
    canvas.line(np.stack([centres[0] + step * radii[0], centres[1] - step * radii[0]]), colour, 0.022 * unit)
