"""Antialiased drawing with sub-pixel coordinates on a supersampled picture."""

import cv2
import numpy as np

Colour = tuple[float, ...] | float

_SHIFT = 4
SUPERSAMPLING = 2


class Canvas:
    """A uint8 picture that is drawn at twice its size; all coordinates and widths are in final pixels."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    @classmethod
    def blank(cls, size: int, colour: Colour, channels: int = 3) -> "Canvas":
        """Return a `size` x `size` canvas of one colour."""
        shape = (size * SUPERSAMPLING, size * SUPERSAMPLING) + ((channels,) if channels > 1 else ())
        canvas = np.empty(shape, dtype=np.uint8)
        canvas[:] = np.asarray(colour, dtype=np.uint8)
        return cls(canvas)

    def fill(self, points: np.ndarray, colour: Colour) -> None:
        """Fill a polygon [N, 2]."""
        cv2.fillPoly(self.pixels, [_fixed(points)], colour, cv2.LINE_AA, _SHIFT)

    def line(self, points: np.ndarray, colour: Colour, width: float) -> None:
        """Draw an open curve [N, 2] of the given width."""
        thickness = max(1, round(width * SUPERSAMPLING))
        cv2.polylines(self.pixels, [_fixed(points)], False, colour, thickness, cv2.LINE_AA, _SHIFT)

    def ellipse(self, centre: np.ndarray, radii: tuple[float, float], colour: Colour, angle: float = 0.0) -> None:
        """Fill an ellipse; `angle` in degrees."""
        x, y = _fixed(np.asarray(centre))
        size = (max(1, round(radii[0] * SUPERSAMPLING * 16)), max(1, round(radii[1] * SUPERSAMPLING * 16)))
        cv2.ellipse(self.pixels, (int(x), int(y)), size, angle, 0, 360, colour, -1, cv2.LINE_AA, _SHIFT)

    def clipped(self, outline: np.ndarray, draw) -> None:
        """Let `draw(canvas, offset)` paint, but keep only what falls inside the polygon `outline` [N, 2]."""
        scaled = outline * SUPERSAMPLING
        limit = self.pixels.shape[0]
        left, top = np.clip(np.floor(scaled.min(axis=0)).astype(int) - 2, 0, limit)
        right, bottom = np.clip(np.ceil(scaled.max(axis=0)).astype(int) + 3, 0, limit)
        if right <= left or bottom <= top:
            return
        region = self.pixels[top:bottom, left:right]
        offset = np.array([left, top]) / SUPERSAMPLING
        mask = Canvas(np.zeros(region.shape[:2], dtype=np.uint8))
        mask.fill(outline - offset, 255)
        inside = Canvas(region.copy())
        draw(inside, offset)
        weight = mask.pixels[..., None].astype(np.uint16)
        region[:] = ((inside.pixels * weight + region * (255 - weight)) // 255).astype(np.uint8)

    def reduced(self, size: int) -> np.ndarray:
        """Return the picture at its final size."""
        return cv2.resize(self.pixels, (size, size), interpolation=cv2.INTER_AREA)


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.rint((points * SUPERSAMPLING - 0.5) * (1 << _SHIFT)).astype(np.int32)


def tint(colour: tuple[float, ...], factor: float, red: float = 0.0) -> tuple[float, ...]:
    """Return the colour made darker (factor < 1) or lighter, and redder by `red` levels."""
    r, g, b = colour
    return min(255.0, r * factor + red), min(255.0, g * factor), min(255.0, b * factor)
