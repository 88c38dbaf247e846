"""A procedural renderer of faces: one person, one expression, one scene -> pixels.

It is a drawing, not a photograph: the point is that expression is visible only through facial actions, that persons,
poses, light and cameras vary independently of it, and that a face costs a few milliseconds. Photorealistic faces come
from a diffusion model instead.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from emonet_lightning.synthesis import coverings, features, hair, skin
from emonet_lightning.synthesis.actions import ACTION_NAMES
from emonet_lightning.synthesis.canvas import Canvas, supersampling
from emonet_lightning.synthesis.curves import Curves, face_curves
from emonet_lightning.synthesis.geometry import HeadFrame, landmarks, pose, project
from emonet_lightning.synthesis.identity import Identity, Scene
from emonet_lightning.synthesis.lighting import Masks, light_map

IMAGE_SIZE = 112
MIN_SIZE, MAX_SIZE = 64, 512


@dataclass(frozen=True)
class FaceParams:
    """All that determines a picture; `actions` is [NUM_ACTIONS] as in `actions.ACTIONS`."""

    person: Identity
    actions: np.ndarray
    scene: Scene


def render_face(params: FaceParams, size: int = IMAGE_SIZE) -> np.ndarray:
    """Render one face, as a pure function of its parameters.

    Args:
        params: person, actions and scene.
        size: width and height in pixels, 64..512.

    Returns:
        uint8 [size, size, 3], RGB.
    """
    person, actions, scene = params.person, params.actions, params.scene
    a = dict(zip(ACTION_NAMES, actions.tolist(), strict=True))
    unit = scene.scale * size
    origin = (0.5 + np.array(scene.offset)) * size
    pixels = _project(params, size)
    yaw, pitch, _ = pose(actions)
    frame = HeadFrame(pixels["axis"], person, unit, yaw, pitch)
    backdrop = _background(scene, size)
    scale = supersampling(size)
    canvas = Canvas(cv2.resize(backdrop, (size * scale, size * scale), interpolation=cv2.INTER_NEAREST), scale)
    hair.draw_back_hair(canvas, person, frame)
    features.draw_body(canvas, person, pixels, unit, origin)
    features.draw_ears(canvas, person, frame, a["head_yaw"])
    canvas.fill(pixels["head"], person.skin)
    skin.shade_skin(canvas, person, a, pixels, unit)
    skin.draw_beard(canvas, person, pixels, unit)
    features.draw_mouth(canvas, person, pixels, a, unit)
    features.draw_nose(canvas, person, pixels, unit)
    features.draw_eyes(canvas, person, pixels, a, unit)
    skin.draw_drops(canvas, person, a, pixels, frame, unit)
    features.draw_brows(canvas, person, pixels, unit)
    hair.draw_front_hair(canvas, person, frame)
    coverings.draw_glasses(canvas, person, pixels, frame)
    coverings.draw_occlusion(canvas, scene, pixels, frame)
    return _photograph(canvas.reduced(size), backdrop, params, a, pixels, frame)


def face_landmarks(params: FaceParams, size: int = IMAGE_SIZE) -> np.ndarray:
    """Return the pixel coordinates [L, 2] of `geometry.LANDMARKS` in the rendered picture."""
    return landmarks(_project(params, size))


def encode_jpeg(pixels: np.ndarray, quality: int = 92) -> bytes:
    """Encode RGB pixels as JPEG, deterministically for one build of OpenCV."""
    done, content = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return content.tobytes()


def photograph_face(params: FaceParams, size: int = IMAGE_SIZE) -> bytes:
    """Render one face and encode it as JPEG of its scene's quality."""
    return encode_jpeg(render_face(params, size), params.scene.jpeg_quality)


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
    if not scene.clutter:
        return picture
    rng = np.random.default_rng(scene.noise_seed + 1)
    for _ in range(scene.clutter):
        centre, axes = rng.uniform(0, size, 2), rng.uniform(0.06, 0.3, 2) * size
        colour = 0.65 * first + 0.35 * rng.uniform(20, 236, 3) * rng.uniform(0.5, 1.2)
        angle = float(rng.uniform(0, 180))
        if rng.random() < 0.5:  # a lamp, a leaf, a head; else something with edges
            middle, half = (16 * centre).astype(int).tolist(), (16 * axes).astype(int).tolist()
            cv2.ellipse(picture, middle, half, angle, 0, 360, colour.tolist(), -1, cv2.LINE_AA, 4)
        else:
            corners = cv2.boxPoints((centre.tolist(), (3 * axes).tolist(), angle))
            cv2.fillPoly(picture, [np.rint(16 * corners).astype(np.int32)], colour.tolist(), cv2.LINE_AA, 4)
    small = cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), 1.0)
    return cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)


def _photograph(
    picture: np.ndarray, backdrop: np.ndarray, params: FaceParams, a: dict[str, float], pixels: Curves, frame: HeadFrame
) -> np.ndarray:
    """Light the person, then add the camera: exposure, white balance, blur, noise."""
    scene, person = params.scene, params.person
    size = len(picture)
    face = np.zeros((size, size), dtype=np.uint8)
    Canvas(face, 1).fill(pixels["head"], 255)
    hairy = np.zeros((size, size), dtype=np.uint8)
    for outline in hair.front_shapes(person, frame):
        Canvas(hairy, 1).fill(outline, 255)
    hanging = hair.back_outline(person) if person.hair_style in hair.COVERS_EARS else None
    head = face.copy()
    if hanging is not None:
        Canvas(head, 1).fill(frame.place(hanging, -0.2), 255)
    skin_mask = cv2.subtract(face, hairy)
    for outline in coverings.occlusion_shapes(scene, pixels, frame):  # the relief below must not shine through
        Canvas(skin_mask, 1).fill(outline, 0)
        Canvas(hairy, 1).fill(outline, 0)
    masks = Masks(cv2.max(head, hairy), skin_mask, hairy)
    factor, shine = light_map(person, scene, a, pixels, frame, masks)
    changed = (cv2.cvtColor(cv2.absdiff(picture, backdrop), cv2.COLOR_RGB2GRAY) > 0).astype(np.float32)
    drawn = cv2.GaussianBlur(changed, (0, 0), 0.7)  # a soft edge, or the outline would look cut out
    exposure = np.float32(scene.exposure)
    balance = (1 + scene.warmth, 1.0, 1 - scene.warmth)
    channels = [
        (exposure + (light - exposure) * drawn) * np.float32(white)
        for light, white in zip(cv2.split(factor), balance, strict=True)
    ]
    image = cv2.multiply(picture, cv2.merge(channels), dtype=cv2.CV_32F)
    glint = [shine * np.float32(colour) for colour in scene.light_colour]
    image = cv2.add(image, cv2.merge(glint))
    if scene.blur > 0.02:
        image = cv2.GaussianBlur(image, (0, 0), (0.3 + scene.blur) * size / IMAGE_SIZE)
    rng = np.random.Generator(np.random.SFC64(scene.noise_seed))
    noise = rng.standard_normal((size, size), dtype=np.float32) * np.float32(scene.noise)
    return cv2.add(image, cv2.merge([noise, noise, noise]), dtype=cv2.CV_8U)
