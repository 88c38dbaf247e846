"""From an encoded image to the pixels that an encoder takes.

`PreprocessSpec` says size, resize rule and normalisation; transforms return uint8 pixels and the encoder normalises
them on its own device. The one trade-off: uint8 between resize and normalisation costs at most half a grey level and
quarters the bytes that are cached, copied and moved.
"""

from dataclasses import asdict, dataclass
from typing import Any

RESIZE_RULES = ("squash", "crop")
INTERPOLATIONS = ("bilinear", "bicubic")


@dataclass(frozen=True)
class PreprocessSpec:
    """Size, resize rule and normalisation of an encoder's input."""

    size: int
    """Side of the square input, pixels."""
    interpolation: str = "bicubic"
    """`bilinear` or `bicubic`, both antialiased as PIL does it."""
    resize: str = "squash"
    """`squash`: to size x size whatever the aspect; `crop`: shorter side to size / crop_pct, then the centre."""
    crop_pct: float = 1.0
    """Share of the resized shorter side that `crop` keeps, in (0, 1]."""
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Per-channel mean on the 0..1 scale."""
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Per-channel standard deviation on the 0..1 scale."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-able primitives."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}
