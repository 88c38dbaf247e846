"""A procedural renderer of faces: one person, one expression, one scene -> pixels.

It is a drawing, not a photograph: the point is that expression is visible only through facial actions, that persons,
poses, light and cameras vary independently of it, and that a face costs about two milliseconds. Photorealistic faces
come from a diffusion model instead.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from emonet_lightning.synthesis import features
from emonet_lightning.synthesis.actions import ACTION_INDEX
from emonet_lightning.synthesis.canvas import SUPERSAMPLING, Canvas
from emonet_lightning.synthesis.geometry import SIDES, Curves, face_curves, landmarks, project
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
    unit = scene.scale * size
    origin = (0.5 + np.array(scene.offset)) * size
    pixels = project(face_curves(person, actions), person, actions, scene, size)
    frame = features.HeadFrame(pixels, person, unit)
    canvas = Canvas.blank(size, (0.0, 0.0, 0.0))
    canvas.pixels[:] = _background(scene, size)
    backdrop = canvas.reduced(size)
    features.draw_back_hair(canvas, person, frame)
    features.draw_body(canvas, person, pixels, unit, origin)
    features.draw_ears(canvas, person, frame, float(actions[ACTION_INDEX["head_yaw"]]))
    canvas.fill(pixels["head"], person.skin)
    face = _soft_skin(canvas, params, pixels, unit)
    features.draw_mouth(face, person, pixels, actions, unit)
    features.draw_nose(face, person, pixels, unit)
    features.draw_eyes(face, person, pixels, actions, unit)
    features.draw_brows(face, person, pixels)
    features.draw_front_hair(face, person, frame)
    features.draw_glasses(face, person, pixels, unit)
    picture = face.reduced(size)
    return _expose(picture, backdrop, params, frame, size)


def face_landmarks(params: FaceParams, size: int = IMAGE_SIZE) -> np.ndarray:
    """Return the pixel coordinates [L, 2] of `geometry.LANDMARKS` in the rendered picture."""
    curves = face_curves(params.person, params.actions)
    return landmarks(project(curves, params.person, params.actions, params.scene, size))


def encode_jpeg(pixels: np.ndarray, quality: int = 92) -> bytes:
    """Encode RGB pixels as JPEG, deterministically for one build of OpenCV."""
    done, content = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return content.tobytes()


def _background(scene: Scene, size: int) -> np.ndarray:
    grid = np.linspace(-0.5, 0.5, size * SUPERSAMPLING, dtype=np.float32)
    ramp = np.cos(scene.background_angle) * grid[None, :] + np.sin(scene.background_angle) * grid[:, None]
    ramp = (ramp / np.float32(1.42) + np.float32(0.5))[..., None]
    first, second = (np.array(colour, dtype=np.float32) for colour in scene.background)
    return (first + (second - first) * ramp).astype(np.uint8)


def _soft_skin(canvas: Canvas, params: FaceParams, pixels: Curves, unit: float) -> Canvas:
    """Shade the skin with blurred strokes: sockets, folds, wrinkles, cheeks, nose; and colour: blush."""
    person, actions = params.person, params.actions
    a = dict(zip(ACTION_INDEX, actions.tolist(), strict=True))
    side = canvas.pixels.shape[0]
    broad = Canvas(np.full((side // 2, side // 2), 128, dtype=np.uint8))
    half = 1 / SUPERSAMPLING
    fine = Canvas(np.full((side, side), 128, dtype=np.uint8))
    light = 1.0 if np.sin(params.scene.light_azimuth) >= 0 else -1.0
    lines = 0.35 + 0.65 * person.age
    nose = pixels["nose_bridge"]
    for name, sign in SIDES:
        socket = pixels[f"{name}_crease"]
        depth = 22 + 22 * a["brow_lower"]
        broad.line(socket * half, 128 - depth, 0.10 * unit * half)
        broad.line(pixels[f"{name}_bag"] * half, 128 - 10 - 16 * a["cheek_raise"] - 10 * person.age, 0.04 * unit * half)
        bulge = 5 + 13 * a["cheek_raise"] + 6 * a["lip_corner_pull"]
        broad.ellipse(pixels[f"{name}_cheek"][0] * half, (0.17 * unit * half, 0.11 * unit * half), 128 + bulge)
        broad.line(pixels[f"{name}_nose_side"] * half, 128 - (26 if sign * light < 0 else 6), 0.06 * unit * half)
        fold = (
            8
            + 14 * person.age
            + 60 * max(a["lip_corner_pull"] * 0.8, a["nose_wrinkle"], a["upper_lip_raise"], 0.5 * a["lip_stretch"])
        )
        fine.line(pixels[f"{name}_fold"], 128 - min(100, fold), 0.022 * unit)
        if a["cheek_raise"] > 0.2:
            outer = pixels[f"{name}_lid_up"][-1]
            out = (outer - pixels[f"{name}_lid_up"][0]) * 0.28
            for angle in (-0.45, 0.0, 0.45):
                turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
                fine.line(
                    np.stack([outer + out * 0.25, outer + out @ turn]),
                    128 - 75 * a["cheek_raise"] * lines,
                    0.012 * unit,
                )
        if sign * a["dimpler"] > 0.1:
            corner = pixels["upper_outer"][0 if sign < 0 else -1]
            fine.line(
                np.stack([corner + (sign * 0.035 * unit, -0.05 * unit), corner + (sign * 0.04 * unit, 0.05 * unit)]),
                128 - 80 * abs(a["dimpler"]),
                0.03 * unit,
            )
    broad.line(nose * half, 128 + 16, 0.05 * unit * half)
    broad.ellipse(nose[-1] * half, (0.06 * unit * half, 0.05 * unit * half), 128 + 20)
    lower_lip = pixels["lower_outer"]
    broad.line((lower_lip[3:-3] + (0, 0.06 * unit)) * half, 128 - 26 - 20 * a["chin_raise"], 0.05 * unit * half)
    _wrinkles(fine, a, pixels, unit, lines)
    shade = cv2.resize(
        cv2.GaussianBlur(broad.pixels, (0, 0), 0.045 * unit), (side, side), interpolation=cv2.INTER_LINEAR
    )
    fine_shade = cv2.GaussianBlur(fine.pixels, (0, 0), 0.012 * unit * SUPERSAMPLING)
    factor = shade.astype(np.float32) + fine_shade - 256.0
    mask = np.zeros((side, side), dtype=np.uint8)
    Canvas(mask).fill(pixels["head"], 255)
    factor = factor * (mask * np.float32(1 / 255 / 128)) + 1
    skin = canvas.pixels * factor[..., None]
    if a["blush"] > 0.05:
        red = Canvas(np.zeros((side // 2, side // 2), dtype=np.uint8))
        for name, _ in SIDES:
            red.ellipse(pixels[f"{name}_cheek"][0] * half, (0.2 * unit * half, 0.14 * unit * half), 200)
        glow = cv2.resize(cv2.GaussianBlur(red.pixels, (0, 0), 0.10 * unit), (side, side)) * np.float32(
            a["blush"] / 255
        )
        skin = skin + glow[..., None] * np.array([22, -34, -26], dtype=np.float32)
    return Canvas(np.clip(skin, 0, 255).astype(np.uint8))


def _wrinkles(fine: Canvas, a: dict[str, float], pixels: Curves, unit: float, lines: float) -> None:
    left, right = pixels["left_brow"], pixels["right_brow"]
    for step in (0.13, 0.22, 0.31):
        for strength, inner, outer in (
            (a["inner_brow_raise"], 0, 6),
            (a["outer_brow_raise"], 5, 12),
        ):
            if strength > 0.15:
                for brow in (left, right):
                    fine.line(brow[inner : outer + 1] - (0, step * unit), 128 - 55 * strength * lines, 0.014 * unit)
    down = max(a["brow_lower"], 0.5 * a["nose_wrinkle"])
    if down > 0.15:
        for brow, toward in ((left, 0.30), (right, 0.30)):
            other = right if brow is left else left
            x = brow[0] + (other[0] - brow[0]) * toward
            fine.line(
                np.stack([x - (0, 0.09 * unit), x + (0, 0.05 * unit)]),
                128 - 80 * down * (0.5 + 0.5 * lines),
                0.018 * unit,
            )
    if a["nose_wrinkle"] > 0.15:
        top, low = pixels["nose_bridge"][0], pixels["nose_bridge"][1]
        for share in (0.15, 0.5, 0.85):
            centre = top + (low - top) * share
            fine.line(
                np.stack([centre - (0.09 * unit, 0.02 * unit), centre, centre + (0.09 * unit, -0.02 * unit)]),
                128 - 85 * a["nose_wrinkle"],
                0.014 * unit,
            )
    if a["chin_raise"] > 0.2:
        chin = pixels["chin"][0]
        fine.ellipse(chin - (0, 0.03 * unit), (0.10 * unit, 0.05 * unit), 128 - 18 * a["chin_raise"])


def _expose(
    picture: np.ndarray, backdrop: np.ndarray, params: FaceParams, frame: features.HeadFrame, size: int
) -> np.ndarray:
    """Light the head as an ellipsoid, then add the camera: exposure, white balance, blur, noise."""
    scene, person = params.scene, params.person
    grid = np.arange(size, dtype=np.float32)
    points = np.linalg.inv(frame.matrix).astype(np.float32)
    dx, dy = grid[None, :] - np.float32(frame.origin[0]), grid[:, None] - np.float32(frame.origin[1])
    u = (dx * points[0, 0] + dy * points[1, 0]) / np.float32(person.head_width * 1.25)
    v = (dx * points[0, 1] + dy * points[1, 1]) / np.float32(1.45)
    depth = np.sqrt(np.clip(1 - u * u - v * v, 0.01, 1))
    east = np.sin(scene.light_azimuth) * np.cos(scene.light_elevation)
    up, front = np.sin(scene.light_elevation), np.cos(scene.light_azimuth) * np.cos(scene.light_elevation)
    lambert = np.clip(u * np.float32(east) - v * np.float32(up) + depth * np.float32(front), 0, None)
    light = (1 - scene.light_strength) + scene.light_strength * np.float32(1.35) * lambert
    light *= np.float32(scene.exposure * 1.04)
    gain = np.array([1 + scene.warmth, 1.0, 1 - scene.warmth], dtype=np.float32)
    changed = (picture != backdrop).any(axis=2)
    light = np.where(changed, light, np.float32(scene.exposure))
    image = picture * light[..., None] * gain
    if scene.blur > 0.1:
        image = cv2.GaussianBlur(image, (0, 0), 0.3 + scene.blur)
    rng = np.random.Generator(np.random.SFC64(scene.noise_seed))
    image += rng.standard_normal(image.shape[:2] + (1,), dtype=np.float32) * np.float32(scene.noise)
    return np.clip(image, 0, 255).astype(np.uint8)
