"""What lies over a face: glasses, and what hides part of it."""

import numpy as np

from emonet_lightning.synthesis.canvas import Canvas
from emonet_lightning.synthesis.curves import SIDES, Curves, smooth
from emonet_lightning.synthesis.geometry import HeadFrame
from emonet_lightning.synthesis.identity import GLASSES, OCCLUSIONS, Identity, Scene

_RIMS = {"square": (34.0, 30.0, 32.0), "thin": (136.0, 106.0, 66.0), "round": (62.0, 48.0, 42.0)}
_DARK = {"bar": (38.0, 38.0, 40.0), "patch": (150.0, 122.0, 104.0), "sunglasses": (22.0, 20.0, 22.0)}


def draw_glasses(canvas: Canvas, person: Identity, pixels: Curves, frame: HeadFrame) -> None:
    """Rims around the eyes, a bridge, and temples."""
    kind = GLASSES[person.glasses]
    if kind == "none":
        return
    radii = (0.225, 0.205 if kind == "round" else 0.165)
    rings = _rings(pixels, frame, radii, 0.7 if kind == "square" else 1.0)
    _draw_rims(canvas, rings, pixels, frame, _RIMS[kind], 0.5 if kind == "thin" else 1.0)


def occlusion_shapes(scene: Scene, pixels: Curves, frame: HeadFrame) -> list[np.ndarray]:
    """Outlines [N, 2] in pixels of what hides part of the face: a bar or a patch at a height, or sunglasses."""
    kind, size = OCCLUSIONS[scene.occlusion], scene.occlusion_size
    if kind == "none" or size <= 0:
        return []
    if kind == "sunglasses":
        return _rings(pixels, frame, (0.16 + 0.10 * size, 0.12 + 0.08 * size), 0.8)
    middle = np.array([0.0, scene.occlusion_y])
    if kind == "bar":
        return [
            frame.place(middle + np.array([(-1.2, -0.55), (1.2, -0.55), (1.2, 0.55), (-1.2, 0.55)]) * (1, size), 0.3)
        ]
    angle = np.linspace(0, 2 * np.pi, 17)[:-1]
    radius = 0.85 * size * (1 + 0.08 * np.cos(3 * angle) + 0.06 * np.sin(5 * angle))
    outline = smooth(np.stack([radius * np.cos(angle), 0.85 * radius * np.sin(angle)], axis=1), closed=True)
    return [frame.place(middle + np.array([0.25, 0.0]) + outline, 0.3)]


def draw_occlusion(canvas: Canvas, scene: Scene, pixels: Curves, frame: HeadFrame) -> None:
    """Draw what hides part of the face."""
    shapes = occlusion_shapes(scene, pixels, frame)
    for shape in shapes:
        canvas.fill(shape, _DARK[OCCLUSIONS[scene.occlusion]])
    if shapes and OCCLUSIONS[scene.occlusion] == "sunglasses":
        _draw_rims(canvas, shapes, pixels, frame, _DARK["sunglasses"], 1.0)


def _rings(pixels: Curves, frame: HeadFrame, radii: tuple[float, float], power: float) -> list[np.ndarray]:
    """Outlines of the two lenses, the left of the image first."""
    angles = np.linspace(0, 2 * np.pi, 29)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    ring = (np.sign(circle) * np.abs(circle) ** power * np.array(radii)) @ frame.matrix
    rings = []
    for side, _ in SIDES:
        lid_up, lid_low = pixels[f"{side}_lid_up"], pixels[f"{side}_lid_low"]
        rings.append(ring + (lid_up[0] + lid_up[-1] + lid_low[0] + lid_low[-1]) / 4 + 0.03 * frame.matrix[1])
    return rings


def _draw_rims(
    canvas: Canvas,
    rings: list[np.ndarray],
    pixels: Curves,
    frame: HeadFrame,
    colour: tuple[float, float, float],
    weight: float,
) -> None:
    right, left = 0, 14  # points of a ring
    for ring, (_, sign) in zip(rings, SIDES, strict=True):
        canvas.line(ring, colour, 0.022 * weight * frame.unit)
        hinge = ring[right if sign > 0 else left] - 0.03 * frame.matrix[1]
        temple = pixels["head"][20 if sign > 0 else 68]
        canvas.line(np.stack([hinge, hinge * 0.15 + temple * 0.85]), colour, 0.018 * weight * frame.unit)
    start, end = rings[0][right], rings[1][left]
    bridge = np.stack([start, (start + end) / 2 - 0.025 * frame.matrix[1], end])
    canvas.line(smooth(bridge), colour, 0.022 * weight * frame.unit)
