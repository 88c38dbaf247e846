"""Antialiased drawing with sub-pixel coordinates on a supersampled picture."""

from collections.abc import Callable

import cv2
import numpy as np

Colour = tuple[float, ...] | float

_SHIFT = 4


def supersampling(size: int) -> int:
    """How many times larger a picture of `size` pixels is drawn: thin lines of small pictures need it most."""
    return 4 if size < 80 else 3 if size < 104 else 2


class Canvas:
    """A uint8 picture that is drawn at `scale` times its size; all coordinates and widths are in final pixels."""

    def __init__(self, pixels: np.ndarray, scale: float) -> None:
        self.pixels = pixels
        self.scale = scale

    def fill(self, points: np.ndarray, colour: Colour) -> None:
        """Fill a polygon [N, 2]."""
        cv2.fillPoly(self.pixels, [self._fixed(points)], colour, cv2.LINE_AA, _SHIFT)

    def line(self, points: np.ndarray, colour: Colour, width: float) -> None:
        """Draw an open curve [N, 2] of the given width."""
        self.lines(points[None], colour, width)

    def lines(self, curves: np.ndarray, colour: Colour, width: float) -> None:
        """Draw open curves [M, N, 2] of one width and colour."""
        thickness = max(1, round(width * self.scale))
        cv2.polylines(self.pixels, list(self._fixed(curves)), False, colour, thickness, cv2.LINE_AA, _SHIFT)

    def ribbon(self, points: np.ndarray, colour: Colour, widths: np.ndarray | float) -> None:
        """Draw an open curve [N, 2] whose width changes along it, [N]."""
        along = np.empty_like(points)
        along[1:-1] = points[2:] - points[:-2]
        along[0], along[-1] = points[1] - points[0], points[-1] - points[-2]
        along *= (0.5 * np.asarray(widths) / np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9))[:, None]
        across = np.stack([-along[:, 1], along[:, 0]], axis=1)
        self.fill(np.concatenate([points + across, (points - across)[::-1]]), colour)

    def ellipse(self, centre: np.ndarray, radii: tuple[float, float], colour: Colour, angle: float = 0.0) -> None:
        """Fill an ellipse; `angle` in degrees."""
        x, y = self._fixed(np.asarray(centre))
        size = (max(1, round(radii[0] * self.scale * 16)), max(1, round(radii[1] * self.scale * 16)))
        cv2.ellipse(self.pixels, (int(x), int(y)), size, angle, 0, 360, colour, -1, cv2.LINE_AA, _SHIFT)

    def box(self, outline: np.ndarray, margin: int = 2) -> tuple[slice, slice, np.ndarray]:
        """Rows and columns of the canvas around points [N, 2], and their origin in final pixels."""
        scaled, limit = outline * self.scale, np.array(self.pixels.shape[1::-1])
        left, top = np.clip(np.floor(scaled.min(axis=0)).astype(int) - margin, 0, limit)
        right, bottom = np.clip(np.ceil(scaled.max(axis=0)).astype(int) + margin + 1, 0, limit)
        return slice(top, bottom), slice(left, right), np.array([left, top]) / self.scale

    def clipped(self, outline: np.ndarray, draw: Callable[["Canvas", np.ndarray], None]) -> None:
        """Let `draw(canvas, offset)` paint, but keep only what falls inside the polygon `outline` [N, 2]."""
        rows, columns, offset = self.box(outline)
        region = self.pixels[rows, columns]
        if not region.size:
            return
        mask = Canvas(np.zeros(region.shape[:2], dtype=np.uint8), self.scale)
        mask.fill(outline - offset, 255)
        inside = Canvas(region.copy(), self.scale)
        draw(inside, offset)
        blend(region, inside.pixels, mask.pixels)

    def reduced(self, size: int) -> np.ndarray:
        """Return the picture at its final size."""
        return cv2.resize(self.pixels, (size, size), interpolation=cv2.INTER_AREA)

    def _fixed(self, points: np.ndarray) -> np.ndarray:
        return np.rint((points * self.scale - 0.5) * (1 << _SHIFT)).astype(np.int32)


def blend(region: np.ndarray, over: np.ndarray | Colour, mask: np.ndarray) -> None:
    """Lay a picture or a colour over `region` [H, W, 3], in place, where `mask` [H, W] of 0..255 says so."""
    weight = mask * np.float32(1 / 255)
    above = over if isinstance(over, np.ndarray) else np.full_like(region, np.asarray(over).round().astype(np.uint8))
    region[:] = cv2.blendLinear(above, region, weight, 1 - weight)


def tint(colour: tuple[float, ...], factor: float, red: float = 0.0) -> tuple[float, ...]:
    """Return the colour made darker (factor < 1) or lighter, and redder by `red` levels."""
    r, g, b = colour
    return min(255.0, r * factor + red), min(255.0, g * factor), min(255.0, b * factor)


def mixed(first: tuple[float, ...], second: tuple[float, ...], share: float) -> tuple[float, ...]:
    """Return `first` with `share` of `second`."""
    return tuple((1 - share) * a + share * b for a, b in zip(first, second, strict=True))
