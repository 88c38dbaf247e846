"""Drawing of hair: behind the head, and above the forehead.

Front hair is a sheet on each side of the parting, between an inner edge (hairline, then the locks' inner side) and an
outer one (outline); strands run between the two.
"""

import numpy as np

from emonet_lightning.synthesis.canvas import Canvas, mixed, tint
from emonet_lightning.synthesis.curves import smooth
from emonet_lightning.synthesis.geometry import HeadFrame
from emonet_lightning.synthesis.identity import HAIR_STYLES, Identity

BALD, CROPPED, SHORT, FRINGE, SHOULDER, LONG, CURLY, TIED, RECEDING, SWEPT = range(len(HAIR_STYLES))
COVERS_EARS = (SHOULDER, LONG)
_SIDE = {CROPPED: -0.16, SHORT: -0.06, FRINGE: 0.02, CURLY: 0.0, TIED: -0.12, SWEPT: -0.10}
_LENGTH = {SHOULDER: 0.98, LONG: 1.75}
_COMBED_DOWN = (FRINGE, SHOULDER, LONG)


def back_outline(person: Identity) -> np.ndarray | None:
    """Outline [N, 2] in face units of the hair behind the head; None where there is none."""
    style, volume = person.hair_style, person.hair_volume
    if style == BALD:
        return None
    top, wide = person.head_top + 0.7 * volume, person.head_width + 0.55 * volume
    if style in _LENGTH:
        low = _LENGTH[style]
        shape = [(0, -top), (wide * 0.6, -top * 0.93), (wide * 0.99, -0.55), (wide * 1.10, 0.2), (wide * 1.07, low)]
        shape += [(wide * 0.55, low + 0.06), (wide * 0.25, low)]
    elif style == CURLY:
        wide, top = wide * 1.12, top * 1.05
        shape = [(0, -top), (wide * 0.62, -top * 0.90), (wide * 1.03, -0.58), (wide * 1.04, -0.1), (wide * 0.85, 0.28)]
    elif style in (CROPPED, RECEDING):
        wide = person.head_width * 1.015
        shape = [(0, -0.6), (wide * 0.8, -0.66), (wide * 0.98, -0.42), (wide * 1.01, -0.1), (wide * 0.9, 0.3)]
    else:
        shape = [(0, -top), (wide * 0.6, -top * 0.93), (wide * 0.98, -0.55), (wide * 1.01, -0.15), (wide * 0.86, 0.3)]
    half = np.array(shape)
    return smooth(np.concatenate([half, half[1:][::-1] * (-1, 1)]), closed=True)


def draw_back_hair(canvas: Canvas, person: Identity, frame: HeadFrame) -> None:
    """Hair that lies behind the face."""
    outline = back_outline(person)
    if outline is None:
        return
    if person.hair_style == TIED:
        knot = frame.place(np.array([[0.1, -person.head_top - 0.14]]), -0.3)[0]
        canvas.ellipse(knot, (0.29 * frame.unit, 0.23 * frame.unit), tint(person.hair, 0.9))
        canvas.ellipse(knot - 0.05 * frame.unit, (0.15 * frame.unit, 0.10 * frame.unit), tint(person.hair, 1.15))
    rng = np.random.default_rng(person.texture_seed + 2)
    if person.hair_style == CURLY:
        _curls(canvas, person, frame, np.repeat(outline[:: max(1, len(outline) // 34)], 2, axis=0), 0.07, rng, -0.2)
    canvas.fill(frame.place(outline, -0.2), tint(person.hair, 0.72))
    if person.hair_style in _LENGTH:
        low = _LENGTH[person.hair_style]
        x = rng.uniform(-1, 1, 18) * (person.head_width + 0.4 * person.hair_volume)
        y = np.linspace(0.1, low, 8)
        swing = 0.05 * person.hair_wave * np.sin(7 * y + person.hair_part)
        strands = np.stack(np.broadcast_arrays(x[:, None] * 1.02 + swing, y), axis=2)
        strands = frame.place(strands.reshape(-1, 2), -0.2).reshape(strands.shape)
        for group, shade in enumerate((0.55, 0.88, 1.0)):
            canvas.lines(strands[group::3], tint(person.hair, shade), 0.016 * frame.unit)


def draw_front_hair(canvas: Canvas, person: Identity, frame: HeadFrame) -> None:
    """Hair above the forehead and at the sides."""
    style = person.hair_style
    if style == BALD:
        return
    rng = np.random.default_rng(person.texture_seed)
    if style == RECEDING:
        _side_patches(canvas, person, frame, rng)
        return
    colour = mixed(person.hair, person.skin, 0.30) if style == CROPPED else person.hair
    sheets = [_sheet(person, sign) for sign in (-1.0, 1.0)]
    for sheet in sheets:
        canvas.fill(_in_picture(sheet, person, frame), tint(colour, 0.90))
    for inner, outer in sheets if style != CURLY else []:
        _strands(canvas, person, frame, inner, outer, colour, rng)
    if style in _LENGTH:
        _parting(canvas, person, frame, *sheets[0])
    if style == FRINGE:
        _fringe(canvas, person, frame, rng)
    if style == CURLY:
        rows = (0.0, 0.25, 0.5, 0.75, 0.95)
        points = np.concatenate([inner * (1 - s) + outer * s for inner, outer in sheets for s in rows])
        _curls(canvas, person, frame, points[::2], 0.065, rng, 0.1)


def front_shapes(person: Identity, frame: HeadFrame) -> list[np.ndarray]:
    """Outlines [N, 2] in pixels of the hair above and beside the face."""
    if person.hair_style in (BALD, RECEDING):
        return []
    shapes = [_in_picture(_sheet(person, sign), person, frame) for sign in (-1.0, 1.0)]
    if person.hair_style == FRINGE:
        shapes.append(_fringe_shape(person, frame))
    return shapes


def _in_picture(sheet: tuple[np.ndarray, np.ndarray], person: Identity, frame: HeadFrame) -> np.ndarray:
    inner, outer = sheet
    return np.concatenate([frame.place(inner, _depth(inner, person)), frame.place(outer)[::-1]])


def _sheet(person: Identity, sign: float) -> tuple[np.ndarray, np.ndarray]:
    """Inner and outer edge [N, 2] each, from the parting to the tips, in face units."""
    style, w, line, volume = person.hair_style, person.head_width, person.hairline, person.hair_volume
    part = person.hair_part * (0.75 if style == SWEPT else 0.5)
    top = person.head_top + (0.025 if style == CROPPED else 0.02 if style == TIED else 0.8 * volume)
    edge = w + (0.012 if style in (CROPPED, TIED) else 0.5 * volume)
    if style == CURLY:
        top, edge = 1.03 * (person.head_top + 0.7 * volume), 1.07 * (w + 0.55 * volume)
    side = _SIDE.get(style, 0.2)
    lowered = 0.05 if style == SWEPT and sign * part < 0 else 0.0
    inner = [
        (part, line - 0.03),
        (0.45 * part + 0.55 * sign * 0.55 * w, line - 0.01 + lowered),
        (sign * 0.63 * w, line + 0.07 + lowered),
        (sign * 0.84 * w, line + 0.27),
        (sign * 0.90 * w, -0.24),
    ]
    if style in _LENGTH:  # falls to both sides of the parting like a curtain
        inner = [
            (part, line - 0.10),
            (0.6 * part + 0.4 * sign * 0.50 * w, line + 0.03),
            (0.2 * part + 0.8 * sign * 0.72 * w, line + 0.19),
            (sign * 0.84 * w, line + 0.38),
            (sign * 0.90 * w, -0.10),
        ]
    outer = [
        (part, -top),
        (0.4 * part + 0.6 * sign * 0.45 * w, -top * 0.985),
        (sign * 0.68 * edge, -top * 0.84),
        (sign * 0.955 * edge, -0.60),
        (sign * 1.01 * edge, -0.32),
    ]
    if style in _LENGTH:
        low = _LENGTH[style]
        inner += [(sign * 0.89 * w, 0.15), (sign * 0.93 * w, 0.55 * low), (sign * 0.90 * w, low)]
        outer += [(sign * (1.06 * w + volume), 0.15), (sign * (1.08 * w + volume), 0.55 * low), (sign * 1.10 * w, low)]
    else:
        inner.append((sign * 0.955 * w, side))
        outer.append((sign * (w * 1.015), side))
    curves = [smooth(np.array(points)) for points in (inner, outer)]
    if person.hair_wave > 0 and style in _LENGTH:
        for curve in curves:
            hanging = np.clip((curve[:, 1] + 0.3) * 2, 0, 1)
            curve[:, 0] += sign * 0.07 * person.hair_wave * hanging * np.sin(7 * curve[:, 1] + person.hair_part)
    return curves[0], curves[1]


def _depth(points: np.ndarray, person: Identity) -> np.ndarray:
    """How far hair at these points lies before the outline's plane."""
    return 0.42 * np.maximum(0.0, 1 - (points[:, 0] / person.head_width) ** 2)


def _strands(
    canvas: Canvas,
    person: Identity,
    frame: HeadFrame,
    inner: np.ndarray,
    outer: np.ndarray,
    colour: tuple[float, ...],
    rng: np.random.Generator,
) -> None:
    unit, style = frame.unit, person.hair_style
    if style in _COMBED_DOWN:  # along the edges, from the parting to the tips
        share = (np.linspace(0.02, 0.98, 26) + 0.015 * rng.normal(size=26)).clip(0.01, 0.99)[:, None, None]
        curves = inner * (1 - share) + outer * share
    else:  # from the hairline up and back
        at = np.sort(rng.uniform(0, len(inner) - 1.01, 40))
        low, part = at.astype(int), (at % 1)[:, None]
        root = inner[low] * (1 - part) + inner[low + 1] * part
        tip = outer[low] * (1 - part) + outer[low + 1] * part
        lean = np.array([0.06 * np.sign(person.hair_part), 0.0]) * (style != TIED)
        share = np.linspace(0.0, 0.97, 5)[:, None] * rng.uniform(0.75, 1.0, (40, 1, 1))
        bent = 4 * share * (1 - share)
        upper = 1 - np.square(root[:, None, :1] / person.head_width)  # hair at the temples lies close
        curves = root[:, None] * (1 - share) + tip[:, None] * share + bent * lean * upper
        curves = curves + 0.02 * rng.normal(size=(40, 1, 2)) * bent
        share = np.broadcast_to(share, (*curves.shape[:2], 1))
    flat = curves.reshape(-1, 2)
    depth = _depth(flat, person) * (1 - np.broadcast_to(share, (*curves.shape[:2], 1)).ravel())
    drawn = frame.place(flat, depth).reshape(curves.shape)
    contrast = 0.25 if style == CROPPED else 1.0
    for group, (shade, width) in enumerate(((0.80, 0.016), (1.08, 0.012), (0.88, 0.012), (1.15, 0.010))):
        canvas.lines(drawn[group::4], tint(colour, 1 + contrast * (shade - 1)), width * unit)
    edge = frame.place(inner, _depth(inner, person))
    back = frame.place(inner * 0.9 + outer * 0.1, _depth(inner, person) * 0.9)
    picks = rng.integers(1, round(0.6 * len(inner)), 14)
    tips = edge[picks] + (edge[picks] - back[picks]) * rng.uniform(0.1, 0.45, 14)[:, None]
    roots = back[np.maximum(picks - 1, 0)]
    canvas.lines(np.stack([roots, tips], axis=1), tint(colour, 0.88), 0.010 * unit)


def _parting(canvas: Canvas, person: Identity, frame: HeadFrame, inner: np.ndarray, outer: np.ndarray) -> None:
    """The scalp that shows between the two sheets, from the hairline back over the head."""
    along = np.linspace(0, 0.8, 7)[:, None]
    line = inner[0] * (1 - along) + outer[0] * along
    line = frame.place(line, _depth(line, person) * (1 - along[:, 0]))
    canvas.ribbon(line, mixed(person.skin, person.hair, 0.35), np.linspace(0.030, 0.008, 7) * frame.unit)


def _fringe_low(person: Identity) -> np.ndarray:
    rng = np.random.default_rng(person.texture_seed + 4)
    x = np.linspace(-0.82, 0.82, 9) * person.head_width
    y = person.hairline + 0.20 - 0.06 * (x / person.head_width) ** 2 + 0.018 * rng.normal(size=9)
    return smooth(np.stack([x, y], axis=1))


def _fringe_shape(person: Identity, frame: HeadFrame) -> np.ndarray:
    w, top = person.head_width, person.head_top
    upper = np.array([(0.80 * w, -0.62 * top), (0.60 * w, -0.86 * top), (0.0, -0.95 * top)])
    upper = smooth(np.concatenate([upper, upper[1::-1] * (-1, 1)]))
    return np.concatenate([frame.place(_fringe_low(person), 0.40), frame.place(upper, 0.1)])


def _fringe(canvas: Canvas, person: Identity, frame: HeadFrame, rng: np.random.Generator) -> None:
    canvas.fill(_fringe_shape(person, frame), tint(person.hair, 0.90))
    lower, top = _fringe_low(person), person.head_top
    start = np.sort(rng.uniform(-0.80, 0.80, 39)) * person.head_width
    at = np.interp(start, lower[:, 0], lower[:, 1]) + rng.uniform(-0.03, 0.04, 39)
    t = np.linspace(0, 1, 6)
    root = person.hair_part * 0.2 + 0.45 * start
    x = root[:, None] + (start - root)[:, None] * t**0.6
    y = -0.95 * top + (at + 0.95 * top)[:, None] * t
    depth = np.broadcast_to(0.1 + 0.3 * t, x.shape)
    strands = frame.place(np.stack([x, y], axis=2).reshape(-1, 2), depth.ravel()).reshape(39, 6, 2)
    for group, (shade, width) in enumerate(((0.74, 0.014), (1.08, 0.012), (1.22, 0.010))):
        canvas.lines(strands[group::3], tint(person.hair, shade), width * frame.unit)


def _curls(
    canvas: Canvas,
    person: Identity,
    frame: HeadFrame,
    places: np.ndarray,
    radius: float,
    rng: np.random.Generator,
    depth: float,
) -> None:
    places = places + rng.normal(size=places.shape) * 0.035
    radii = radius * rng.uniform(0.55, 1.15, len(places))
    for point, wide in zip(frame.place(places, depth), radii * frame.unit, strict=True):
        canvas.ellipse(point, (wide, 0.85 * wide), tint(person.hair, 0.85))
    angle = np.linspace(0, 1.1 * np.pi, 6)
    arcs = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    turns = rng.uniform(0, 2 * np.pi, len(places))
    turned = np.stack([np.stack([np.cos(turns), np.sin(turns)], 1), np.stack([-np.sin(turns), np.cos(turns)], 1)], 1)
    rings = places[:, None] + 0.7 * radii[:, None, None] * (arcs @ turned)
    rings = frame.place(rings.reshape(-1, 2), depth).reshape(rings.shape)
    for group, shade in enumerate((0.66, 1.12, 1.35)):
        canvas.lines(rings[group::3], tint(person.hair, shade), 0.014 * frame.unit)


def _side_patches(canvas: Canvas, person: Identity, frame: HeadFrame, rng: np.random.Generator) -> None:
    w = person.head_width
    for sign in (-1.0, 1.0):
        shape = np.array([(0.95, 0.0), (0.88, -0.28), (0.80, -0.52), (0.90, -0.66), (1.0, -0.45), (1.035, 0.0)])
        patch = smooth(np.stack([sign * w * shape[:, 0], shape[:, 1]], axis=1), closed=True)
        canvas.fill(frame.place(patch), mixed(person.hair, person.skin, 0.12))
        roots = np.stack([sign * w * rng.uniform(0.84, 0.97, 14), rng.uniform(-0.6, -0.1, 14)], axis=1)
        tips = roots + np.stack([sign * 0.05 * rng.random(14), 0.13 + 0.08 * rng.random(14)], axis=1)
        strokes = np.stack([frame.place(roots), frame.place(tips)], axis=1)
        for group, shade in enumerate((0.86, 1.08)):
            canvas.lines(strokes[group::2], tint(person.hair, shade), 0.010 * frame.unit)
