"""Faces for pre-training the embedded encoder: random independent actions, and what can be measured on them.

No emotion enters: actions are drawn one by one, not as displays, and the persons are in none of the three sets.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

import cv2
import numpy as np

from emonet_lightning.decoding import decode_image
from emonet_lightning.synthesis.actions import (
    ACTION_INDEX,
    ACTION_NAMES,
    LOW,
    NUM_ACTIONS,
    clip_actions,
    mirror_actions,
)
from emonet_lightning.synthesis.curves import face_curves
from emonet_lightning.synthesis.geometry import LANDMARKS, landmarks
from emonet_lightning.synthesis.identity import sample_identity, sample_scene
from emonet_lightning.synthesis.renderer import FaceParams, face_landmarks, photograph_face
from emonet_lightning.transforms import EvalTransform, PreprocessSpec

_STREAM = 9
_CHUNK = 500
_LIGHT = ("light_east", "light_up", "light_strength")
_POSE_SPREAD = {"head_yaw": 0.32, "head_pitch": 0.26, "head_roll": 0.26, "gaze_x": 0.4, "gaze_y": 0.4}
_RARE = ("lip_pucker", "lip_funnel", "lip_suck", "mouth_stretch")
_POINTS = tuple(f"{axis}_{name}" for name in LANDMARKS for axis in "xy")

TARGETS = ACTION_NAMES + _POINTS + tuple(f"moved_{name}" for name in _POINTS) + _LIGHT
"""What the encoder learns to read: actions (head pose among them), landmarks in the picture, how far the actions moved
them on the upright face, and light."""

GROUPS = {
    "actions": slice(0, NUM_ACTIONS),
    "landmarks": slice(NUM_ACTIONS, NUM_ACTIONS + len(_POINTS)),
    "movements": slice(NUM_ACTIONS + len(_POINTS), NUM_ACTIONS + 2 * len(_POINTS)),
    "light": slice(NUM_ACTIONS + 2 * len(_POINTS), len(TARGETS)),
}
"""Columns of the targets by kind."""


class Faces(NamedTuple):
    """Pixels and targets of rendered faces."""

    pixels: np.ndarray
    """uint8 [N, 3, S, S], preprocessed as at use."""
    targets: np.ndarray
    """float32 [N, len(TARGETS)]; landmarks in fractions of the picture from its centre."""


def random_face(seed: int, index: int) -> FaceParams:
    """Draw face `index`: each action is absent or of any strength, independently of the others."""
    rng = np.random.default_rng([seed, _STREAM, index])
    person = sample_identity(rng, NUM_ACTIONS)
    strength = rng.uniform(LOW, 1.0, size=NUM_ACTIONS)
    actions = np.where(rng.random(NUM_ACTIONS) < 0.45, strength, 0.0)
    shut = ACTION_INDEX["eye_closure"]  # shut eyes hide five other actions: mostly let them droop
    actions[shut] *= 1.0 if rng.random() < 0.35 else 0.5
    for name in _RARE:  # a mouth in one of these shapes shows little of the others
        actions[ACTION_INDEX[name]] *= rng.random() < 0.5
    for name, spread in _POSE_SPREAD.items():
        actions[ACTION_INDEX[name]] = rng.normal() * spread
    return FaceParams(person, clip_actions(actions), sample_scene(rng))


def describe_face(params: FaceParams) -> np.ndarray:
    """Return the targets [len(TARGETS)] of a face."""
    scene = params.scene
    points = face_landmarks(params, 1) - 0.5
    upright, rest = (landmarks(face_curves(params.person, a)) for a in (params.actions, np.zeros(NUM_ACTIONS)))
    moved = (upright - rest)[:, :2]
    east = np.sin(scene.light_azimuth) * np.cos(scene.light_elevation) * scene.light_strength
    light = [east, np.sin(scene.light_elevation) * scene.light_strength, scene.light_strength]
    return np.concatenate([params.actions, points.ravel(), moved.ravel(), light]).astype(np.float32)


def mirror_targets(targets: np.ndarray) -> np.ndarray:
    """Return the targets [..., len(TARGETS)] of the mirrored pictures."""
    mirrored = targets.copy()
    mirrored[..., :NUM_ACTIONS] = mirror_actions(targets[..., :NUM_ACTIONS])
    for group in (GROUPS["landmarks"], GROUPS["movements"]):
        points = targets[..., group].reshape(*targets.shape[:-1], len(LANDMARKS), 2)[..., _MIRRORED, :]
        mirrored[..., group] = (points * np.array([-1, 1], dtype=targets.dtype)).reshape(*targets.shape[:-1], -1)
    mirrored[..., TARGETS.index("light_east")] *= -1
    return mirrored


def render_faces(count: int, spec: PreprocessSpec, seed: int, num_processes: int, start: int = 0) -> Faces:
    """Render faces `start` .. `start + count - 1` through JPEG and the encoder's own preprocessing.

    Args:
        count: number of faces.
        spec: preprocessing of the encoder to train.
        seed: seed of the pre-training faces.
        num_processes: worker processes; the result does not depend on it.
        start: first index.
    """
    pixels = np.empty((count, 3, spec.size, spec.size), dtype=np.uint8)
    targets = np.empty((count, len(TARGETS)), dtype=np.float32)
    for first, (some_pixels, some_targets) in _render_chunks(count, spec, seed, num_processes, start):
        pixels[first : first + len(some_pixels)] = some_pixels
        targets[first : first + len(some_pixels)] = some_targets
        if (first // _CHUNK + 1) % 10 == 0:
            print(f"rendered {first + len(some_pixels)} of {count} faces", flush=True)
    return Faces(pixels, targets)


def _render_chunks(
    count: int, spec: PreprocessSpec, seed: int, num_processes: int, start: int
) -> Iterator[tuple[int, Faces]]:
    firsts = range(0, count, _CHUNK)
    if num_processes == 1:
        for first in firsts:
            yield first, _render_chunk(seed, start + first, min(_CHUNK, count - first), spec)
        return
    with ProcessPoolExecutor(num_processes, mp_context=get_context("spawn")) as pool:
        futures = [
            pool.submit(_render_chunk, seed, start + first, min(_CHUNK, count - first), spec) for first in firsts
        ]
        for first, future in zip(firsts, futures, strict=True):
            yield first, future.result()


def _render_chunk(seed: int, start: int, count: int, spec: PreprocessSpec) -> Faces:
    cv2.setNumThreads(1)
    transform = EvalTransform(spec)
    pixels, targets = [], []
    for index in range(start, start + count):
        params = random_face(seed, index)
        picture = decode_image(photograph_face(params), f"face {index}")
        pixels.append(transform(picture))
        targets.append(describe_face(params))
    return Faces(np.stack(pixels), np.stack(targets))


def _mirror_name(name: str) -> str:
    for one, other in (("left", "right"), ("right", "left")):
        if name.startswith(one):
            return other + name.removeprefix(one)
        if name.endswith(one):
            return name.removesuffix(one) + other
    return name


_MIRRORED = [LANDMARKS.index(_mirror_name(name)) for name in LANDMARKS]
