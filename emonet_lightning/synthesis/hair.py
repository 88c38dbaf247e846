"""Drawing of hair: behind the head, above the forehead, and on the chin."""

import numpy as np

from emonet_lightning.synthesis.canvas import Canvas, tint
from emonet_lightning.synthesis.geometry import HeadFrame, smooth
from emonet_lightning.synthesis.identity import Identity


def draw_back_hair(canvas: Canvas, person: Identity, frame: HeadFrame) -> None:
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
