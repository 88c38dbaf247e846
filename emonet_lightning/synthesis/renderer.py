"""A procedural renderer of faces: one person, one expression, one scene -> pixels.

It is a drawing, not a photograph: the point is that expression is visible only through facial actions, that persons,
poses, light and cameras vary independently of it, and that a face costs a few milliseconds. Photorealistic faces come
from a diffusion model instead.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from emonet_lightning.synthesis import features, hair, skin
from emonet_lightning.synthesis.actions import ACTION_NAMES
from emonet_lightning.synthesis.canvas import SUPERSAMPLING, Canvas
from emonet_lightning.synthesis.geometry import Curves, HeadFrame, face_curves, landmarks, project
from emonet_lightning.synthesis.identity import Identity, Scene

IMAGE_SIZE = 112


@dataclass(frozen=True)
class FaceParams:
    """All that determines a picture; `actions` is [NUM_ACTIONS] as in `actions.ACTIONS`."""

    person: Identity
    actions: np.ndarray
    scene: Scene


def render_face(params: FaceParams, size: int = IMAGE_SIZE) -> np.ndarray:
    """Render one face, as a pure function of its parameters.

    Returns:
        uint8 [size, size, 3], RGB.
    """
    person, actions, scene = params.person, params.actions, params.scene
    a = dict(zip(ACTION_NAMES, actions.tolist(), strict=True))
    unit = scene.scale * size
    origin = (0.5 + np.array(scene.offset)) * size
    pixels = _project(params, size)
    frame = HeadFrame(pixels["axis"], person, unit)
    backdrop = _background(scene, size)
    enlarged = (size * SUPERSAMPLING, size * SUPERSAMPLING)
    canvas = Canvas(cv2.resize(backdrop, enlarged, interpolation=cv2.INTER_NEAREST))
    hair.draw_back_hair(canvas, person, frame)
    features.draw_body(canvas, person, pixels, unit, origin)
    features.draw_ears(canvas, person, frame, a["head_yaw"])
    canvas.fill(pixels["head"], person.skin)
    skin.shade_skin(canvas, person, a, pixels, unit, float(np.sign(scene.light_azimuth)))
    skin.draw_beard(canvas, person, pixels, unit)
    features.draw_mouth(canvas, person, pixels, a, unit)
    features.draw_nose(canvas, person, pixels, unit)
    features.draw_eyes(canvas, person, pixels, a, unit)
    skin.draw_drops(canvas, person, a, pixels, frame, unit)
    features.draw_brows(canvas, person, pixels)
    hair.draw_front_hair(canvas, person, frame)
    features.draw_glasses(canvas, person, pixels, unit)
    return _photograph(canvas.reduced(size), backdrop, params, frame)


def face_landmarks(params: FaceParams, size: int = IMAGE_SIZE) -> np.ndarray:
    """Return the pixel coordinates [L, 2] of `geometry.LANDMARKS` in the rendered picture."""
    return landmarks(_project(params, size))


def encode_jpeg(pixels: np.ndarray, quality: int = 92) -> bytes:
    """Encode RGB pixels as JPEG, deterministically for one build of OpenCV."""
    done, content = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return content.tobytes()


def _project(params: FaceParams, size: int) -> Curves:
    curves = face_curves(params.person, params.actions)
    return project(curves, params.actions, params.scene, size)


def _background(scene: Scene, size: int) -> np.ndarray:
    """A ramp between two colours with a few out-of-focus shapes, uint8 [size, size, 3]."""
    grid = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    ramp = np.cos(scene.background_angle) * grid[None, :] + np.sin(scene.background_angle) * grid[:, None]
    ramp = ramp / np.float32(1.42) + np.float32(0.5)
    first, second = (np.array(colour, dtype=np.float32) for colour in scene.background)
    picture = cv2.merge([(low + (high - low) * ramp).astype(np.uint8) for low, high in zip(first, second, strict=True)])
    rng = np.random.default_rng(scene.noise_seed + 1)
    for _ in range(scene.clutter):
        centre, axes = rng.integers(0, size, 2), rng.integers(size // 12, size // 3, 2)
        colour = rng.integers(20, 236, 3).tolist()
        cv2.ellipse(picture, centre.tolist(), axes.tolist(), float(rng.uniform(0, 180)), 0, 360, colour, -1)
    return cv2.GaussianBlur(picture, (0, 0), 0.04 * size) if scene.clutter else picture


def _photograph(picture: np.ndarray, backdrop: np.ndarray, params: FaceParams, frame: HeadFrame) -> np.ndarray:
    """Light the head as an ellipsoid, then add the camera: exposure, white balance, blur, noise."""
    scene, person = params.scene, params.person
    size = len(picture)
    grid = np.arange(size, dtype=np.float32)
    inverse = np.linalg.inv(frame.matrix).astype(np.float32)
    dx, dy = grid[None, :] - np.float32(frame.origin[0]), grid[:, None] - np.float32(frame.origin[1])
    u = (dx * inverse[0, 0] + dy * inverse[1, 0]) / np.float32(person.head_width * 1.25)
    v = (dx * inverse[0, 1] + dy * inverse[1, 1]) / np.float32(1.45)
    depth = np.sqrt(np.maximum(1 - u * u - v * v, np.float32(0.01)))
    east = np.sin(scene.light_azimuth) * np.cos(scene.light_elevation)
    up, front = np.sin(scene.light_elevation), np.cos(scene.light_azimuth) * np.cos(scene.light_elevation)
    lambert = np.maximum(u * np.float32(east) - v * np.float32(up) + depth * np.float32(front), 0)
    light = (1 - scene.light_strength) + np.float32(scene.light_strength * 1.35) * lambert
    light *= np.float32(scene.exposure)
    changed = (cv2.cvtColor(cv2.absdiff(picture, backdrop), cv2.COLOR_RGB2GRAY) > 0).astype(np.float32)
    drawn = np.asarray(
        cv2.GaussianBlur(changed, (0, 0), 0.8), dtype=np.float32
    )  # a soft edge, or the outline would look cut out
    light = np.float32(scene.exposure) + (light - np.float32(scene.exposure)) * drawn
    image = cv2.multiply(picture, cv2.merge([light * (1 + scene.warmth), light, light * (1 - scene.warmth)]), dtype=5)
    if scene.blur > 0.1:
        image = cv2.GaussianBlur(image, (0, 0), 0.3 + scene.blur)
    rng = np.random.Generator(np.random.SFC64(scene.noise_seed))
    noise = rng.standard_normal((size, size), dtype=np.float32) * np.float32(scene.noise)
    return cv2.add(image, cv2.merge([noise, noise, noise]), dtype=cv2.CV_8U)
