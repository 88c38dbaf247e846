"""Where everything in a picture lies: the head turned by its pose, the face's curves in pixels, landmarks.

Turning the head shifts the features over an outline that itself hardly changes, as on a real head.
"""

import numpy as np

from emonet_lightning.synthesis.actions import ACTION_INDEX, POSE_DEGREES
from emonet_lightning.synthesis.curves import SIDES, Curves
from emonet_lightning.synthesis.identity import Identity, Scene

LANDMARKS = (
    *(f"{side}_{part}" for side, _ in SIDES for part in ("brow_in", "brow_mid", "brow_out")),
    *(f"{side}_{part}" for side, _ in SIDES for part in ("eye_in", "eye_out", "lid_up", "lid_low", "pupil", "wing")),
    "nose_tip",
    "mouth_left",
    "mouth_right",
    "upper_lip",
    "upper_inner",
    "lower_inner",
    "lower_lip",
    "chin",
)


def pose(actions: np.ndarray) -> tuple[float, float, float]:
    """Yaw, pitch and roll of the head in radians."""
    yaw, pitch, roll = (
        float(np.deg2rad(degrees * actions[ACTION_INDEX[name]])) for name, degrees in POSE_DEGREES.items()
    )
    return yaw, pitch, roll


def project(curves: Curves, actions: np.ndarray, scene: Scene, size: float) -> Curves:
    """Turn the head and put it in the picture: curves [N, 3] -> pixel coordinates [N, 2]."""
    yaw, pitch, roll = pose(actions)
    points = np.concatenate(list(curves.values()))
    x, y, z = points.T
    x, z = x * np.cos(yaw) + z * np.sin(yaw), z * np.cos(yaw) - x * np.sin(yaw)
    y, z = y * np.cos(pitch) + (z - 0.25) * np.sin(pitch), z
    number = len(curves["head"]) + len(curves["axis"])
    x[:number] = points[:number, 0] * np.sqrt(np.cos(yaw) ** 2 + (0.97 * np.sin(yaw)) ** 2)
    x[:number] += points[:number, 2] * np.sin(yaw)
    near = 1 + 0.10 * z
    x, y = x * near, y * near
    pivot = 0.9
    y = y - pivot
    x, y = x * np.cos(roll) - y * np.sin(roll), x * np.sin(roll) + y * np.cos(roll) + pivot
    pixels = np.stack([x, y], axis=1) * (scene.scale * size)
    pixels += (0.5 + np.array(scene.offset)) * size
    ends = np.cumsum([len(curve) for curve in curves.values()])[:-1]
    return dict(zip(curves, np.split(pixels, ends), strict=True))


def landmarks(pixels: Curves) -> np.ndarray:
    """Pick the points of `LANDMARKS` [L, 2] from projected curves."""
    points = []
    for side, _ in SIDES:
        brow = pixels[f"{side}_brow"]
        points += [brow[0], brow[len(brow) // 2], brow[-1]]
    for side, _ in SIDES:
        up, low = pixels[f"{side}_lid_up"], pixels[f"{side}_lid_low"]
        points += [up[0], up[-1], up[6], low[6], pixels[f"{side}_pupil"][0], pixels[f"{side}_wing"][-1]]
    points += [pixels["nose_base"][2], pixels["upper_outer"][0], pixels["upper_outer"][-1], pixels["upper_outer"][6]]
    points += [pixels["upper_inner"][6], pixels["lower_inner"][6], pixels["lower_outer"][6], pixels["chin"][0]]
    return np.stack(points)


class HeadFrame:
    """Places points given in face units on the turned head (hair, ears, drops), and pixels in face units."""

    def __init__(self, axis: np.ndarray, person: Identity, unit: float, yaw: float, pitch: float) -> None:
        self.unit = unit
        top, chin = axis
        length = chin - top
        self.origin = top + length * (person.head_top / (person.head_top + person.chin))
        down = length / np.linalg.norm(length)
        self.matrix = np.stack([np.array([down[1], -down[0]]), down]) * unit
        self.shift = np.array([np.sin(yaw), np.sin(pitch)])

    def place(self, points: np.ndarray, depth: np.ndarray | float = 0.0) -> np.ndarray:
        """Face units [N, 2], `depth` before the outline's plane -> pixels [N, 2]."""
        moved = points + np.multiply.outer(np.broadcast_to(depth, len(points)), self.shift)
        return moved @ self.matrix + self.origin

    def grid(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Face units of the pixel centres of a picture, float32: x [size, size] and y [size, size]."""
        inverse = np.linalg.inv(self.matrix).astype(np.float32)
        pixel = np.arange(size, dtype=np.float32)
        dx, dy = pixel[None, :] - np.float32(self.origin[0]), pixel[:, None] - np.float32(self.origin[1])
        return dx * inverse[0, 0] + dy * inverse[1, 0], dx * inverse[0, 1] + dy * inverse[1, 1]
