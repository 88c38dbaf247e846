"""Drawing of the parts of a face, from projected curves, onto a canvas."""

import numpy as np

from emonet_lightning.synthesis.actions import ACTION_INDEX
from emonet_lightning.synthesis.canvas import Canvas
from emonet_lightning.synthesis.geometry import SIDES, Curves, smooth
from emonet_lightning.synthesis.identity import Identity


def tint(colour: tuple[float, ...], factor: float, red: float = 0.0) -> tuple[float, ...]:
    """Return the colour made darker (factor < 1) or lighter, and redder by `red` levels."""
    r, g, b = colour
    return min(255.0, r * factor + red), min(255.0, g * factor), min(255.0, b * factor)


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


def draw_back_hair(canvas: Canvas, person: Identity, frame: "HeadFrame") -> None:
    """Hair that lies behind the face."""
    style, volume = person.hair_style, person.hair_volume
    if style == 0:
        return
    top, wide = person.head_top + volume, person.head_width + volume * 0.9
    if style in (4, 5):
        length = 0.95 if style == 4 else 1.7
        shape = [(0, -top), (wide * 0.6, -top * 0.9), (wide, -0.5), (wide * 1.08, 0.2), (wide * 1.02, length)]
        shape += [(wide * 0.5, length + 0.08)]
    elif style == 6:
        wide, top = wide * 1.08, top * 1.04
        shape = [(0, -top), (wide * 0.65, -top * 0.9), (wide * 1.05, -0.6), (wide * 1.05, -0.1), (wide * 0.9, 0.25)]
    else:
        shape = [(0, -top), (wide * 0.6, -top * 0.92), (wide, -0.5), (wide * 1.0, -0.15), (wide * 0.8, 0.1)]
    half = np.array(shape)
    canvas.fill(
        frame.place(smooth(np.concatenate([half, half[1:][::-1] * (-1, 1)]), closed=True)), tint(person.hair, 0.8)
    )
    if style == 7:
        canvas.ellipse(
            frame.place(np.array([[0.1, -top - 0.1]]))[0], (0.3 * frame.unit, 0.24 * frame.unit), person.hair
        )


class HeadFrame:
    """Places points given in face units on the turned head's silhouette (hair, ears, glasses)."""

    def __init__(self, pixels: Curves, person: Identity, unit: float) -> None:
        self.unit = unit
        top, chin = pixels["axis"]
        axis = chin - top
        self.origin = top + axis * (person.head_top / (person.head_top + person.chin))
        down = axis / np.linalg.norm(axis)
        self.matrix = np.stack([np.array([down[1], -down[0]]), down]) * unit

    def place(self, points: np.ndarray) -> np.ndarray:
        """Face units [N, 2] -> pixels [N, 2]."""
        return points @ self.matrix + self.origin


def draw_ears(canvas: Canvas, person: Identity, frame: HeadFrame, turn: float) -> None:
    """Ears, hidden on the side that the head turns away from."""
    if person.hair_style in (4, 5):
        return
    for _, sign in SIDES:
        shown = np.clip(1 - 1.6 * sign * turn, 0.0, 1.2)
        if shown > 0.1:
            centre = frame.place(np.array([[sign * (person.head_width + 0.02 * shown), 0.0]]))[0]
            canvas.ellipse(centre, (person.ear * shown * frame.unit, 0.2 * frame.unit), tint(person.skin, 0.88, 6))


def draw_eyes(canvas: Canvas, person: Identity, pixels: Curves, actions: np.ndarray, unit: float) -> None:
    """Eyeballs seen through the lids, lashes and the lid crease."""
    skin = person.skin
    wet = actions[ACTION_INDEX["tears"]]
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
            inside.ellipse(centre + (-0.3 * radius, -0.35 * radius), (radius * 0.2, radius * 0.2), (250, 250, 250))
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


def draw_mouth(canvas: Canvas, person: Identity, pixels: Curves, actions: np.ndarray, unit: float) -> None:
    """Lips, and teeth and tongue where the mouth is open."""
    upper, lower = pixels["upper_inner"], pixels["lower_inner"]
    gap = np.concatenate([upper, lower[::-1]])

    def inside_mouth(inside: Canvas, offset: np.ndarray) -> None:
        inside.pixels[:] = (52, 18, 20)
        if actions[ACTION_INDEX["jaw_drop"]] > 0.15:
            low = lower[6] - offset
            inside.ellipse(low, (0.15 * unit, 0.09 * unit), (168, 82, 82))
        teeth = np.concatenate([upper, pixels["teeth"][::-1]]) - offset
        inside.fill(teeth, (232, 226, 214))
        if actions[ACTION_INDEX["lip_stretch"]] + actions[ACTION_INDEX["lip_corner_depress"]] > 0.5:
            inside.fill(np.concatenate([lower, pixels["lower_teeth"][::-1]]) - offset, (214, 206, 194))

    canvas.fill(np.concatenate([pixels["upper_outer"], upper[::-1]]), tint(person.lips, 0.92))
    canvas.fill(np.concatenate([lower, pixels["lower_outer"][::-1]]), person.lips)
    height = float(np.abs(lower[:, 1] - upper[:, 1]).max())
    if height > 0.012 * unit:
        canvas.clipped(gap, inside_mouth)
        canvas.line(upper, tint(person.lips, 0.6), 0.012 * unit)
    else:
        canvas.line((upper + lower) / 2, tint(person.lips, 0.45), 0.020 * unit)


def draw_front_hair(canvas: Canvas, person: Identity, frame: HeadFrame) -> None:
    """Hair above the forehead, with a few strands."""
    style = person.hair_style
    if style == 0:
        return
    top, wide, line = person.head_top + 0.5 * person.hair_volume, person.head_width, person.hairline
    if style == 1:
        top = person.head_top + 0.03
    side = {1: -0.36, 2: -0.30, 3: -0.28, 4: 0.1, 5: 0.1, 6: -0.1, 7: -0.25}[style]
    edge = wide + 0.4 * person.hair_volume
    part = person.hair_part
    fringe = 0.17 if style == 3 else 0.0
    low = [
        (wide * 0.97, side),
        (wide * 0.86, side - 0.22),
        (wide * 0.55, line + 0.06 + fringe),
        (part * 0.5, line - 0.02 + fringe * 0.9),
        (-wide * 0.55, line + 0.04 + fringe),
        (-wide * 0.86, side - 0.22),
        (-wide * 0.97, side),
    ]
    high = [(-edge, -0.45), (-edge * 0.72, -top * 0.82), (0, -top), (edge * 0.72, -top * 0.82), (edge, -0.45)]
    canvas.fill(frame.place(smooth(np.array(low + high), closed=True)), person.hair)
    rng = np.random.default_rng(person.texture_seed)
    starts = rng.uniform(-0.8, 0.8, 7)
    for start, shade in zip(starts, rng.uniform(0.65, 1.35, 7), strict=True):
        strand = np.array(
            [(part * 0.3 + 0.3 * start, -top * 0.97), (start * 0.7 * wide, -top * 0.83), (start * wide, line - 0.08)]
        )
        canvas.line(frame.place(smooth(strand)), tint(person.hair, shade), 0.02 * frame.unit)
    if style == 6:
        for x, y, shade in zip(
            rng.uniform(-0.9, 0.9, 16), rng.uniform(0.75, 1.0, 16), rng.uniform(0.75, 1.25, 16), strict=True
        ):
            point = np.array([[x * edge, -top * y * np.sqrt(1 - 0.45 * x * x)]])
            canvas.ellipse(frame.place(point)[0], (0.12 * frame.unit, 0.11 * frame.unit), tint(person.hair, shade))


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
