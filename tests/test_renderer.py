"""The renderer: deterministic, local, and only as expressive as its actions."""

from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest

from emonet_lightning.synthesis.actions import ACTION_INDEX, ACTIONS, NUM_ACTIONS, SIDEWAYS, mirror_actions
from emonet_lightning.synthesis.expressions import (
    display_similarity,
    draw_intensities,
    load_expressions,
    mix_displays,
    perform,
)
from emonet_lightning.synthesis.geometry import LANDMARKS
from emonet_lightning.synthesis.identity import Scene, sample_identity, sample_scene
from emonet_lightning.synthesis.pretraining_faces import TARGETS, describe_face, mirror_targets, random_face
from emonet_lightning.synthesis.renderer import FaceParams, encode_jpeg, face_landmarks, render_face
from emonet_lightning.taxonomy import Taxonomy


def face(seed: int, **actions: float) -> FaceParams:
    rng = np.random.default_rng(seed)
    person, scene = sample_identity(rng, NUM_ACTIONS), sample_scene(rng)
    vector = np.zeros(NUM_ACTIONS)
    for name, value in actions.items():
        vector[ACTION_INDEX[name]] = value
    return FaceParams(person, vector, scene)


def still(seed: int, **actions: float) -> FaceParams:
    """A face before a plain wall, in a sharp picture without noise."""
    params = face(seed, **actions)
    return replace(params, scene=replace(params.scene, noise=0.0, blur=0.0, clutter=0))


def changed_box(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of the pixels that differ visibly, as fractions of the picture."""
    rows, columns = np.nonzero(np.abs(first.astype(int) - second).max(axis=2) > 12)
    size = len(first)
    return columns.min() / size, rows.min() / size, columns.max() / size, rows.max() / size


def test_equal_parameters_give_equal_bytes():
    assert encode_jpeg(render_face(face(3, jaw_drop=0.5))) == encode_jpeg(render_face(face(3, jaw_drop=0.5)))
    assert encode_jpeg(render_face(face(3))) != encode_jpeg(render_face(face(4)))


@pytest.mark.parametrize("size", [64, 81, 160, 512])
def test_face_has_the_size_asked_for(size: int):
    pixels = render_face(face(1), size)
    assert pixels.shape == (size, size, 3)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("action", "part"),
    [
        ("inner_brow_raise", "upper"),
        ("brow_lower", "upper"),
        ("lid_raise", "upper"),
        ("eye_closure", "upper"),
        ("gaze_x", "upper"),
        ("lip_corner_pull", "lower"),
        ("lip_corner_depress", "lower"),
        ("lips_part", "lower"),
        ("lip_pucker", "lower"),
        ("dimpler", "lower"),
        ("one_dimpler", "lower"),
        ("lip_funnel", "lower"),
        ("lip_tighten", "lower"),
        ("lip_press", "lower"),
        ("lip_suck", "lower"),
        ("mouth_stretch", "lower"),
    ],
)
def test_an_action_changes_its_own_part_of_the_face_only(seed: int, action: str, part: str):
    rest, moved = face(seed), face(seed, **{action: 1.0})
    left, top, right, bottom = changed_box(render_face(rest), render_face(moved))
    points = dict(zip(LANDMARKS, face_landmarks(rest, 1), strict=True))
    middle = points["nose_tip"][1]
    assert bottom <= middle + 0.02 if part == "upper" else top >= points["left_brow_mid"][1]
    assert 0.15 < left < right < 0.9


def test_jaw_drop_opens_the_mouth_and_lowers_the_chin():
    rest, wide = (dict(zip(LANDMARKS, face_landmarks(face(2, jaw_drop=value)), strict=True)) for value in (0.0, 1.0))
    assert wide["lower_inner"][1] - wide["upper_inner"][1] > 5 * (rest["lower_inner"][1] - rest["upper_inner"][1] + 1)
    assert wide["chin"][1] > rest["chin"][1] + 3


def test_mouth_shapes_differ():
    shapes = ("jaw_drop", "mouth_stretch", "lip_funnel", "lip_pucker", "lip_tighten", "lip_press", "lip_suck")
    lips = {}
    for name in shapes:
        points = dict(zip(LANDMARKS, face_landmarks(face(2, **{name: 1.0}), 1), strict=True))
        red = points["upper_inner"][1] - points["upper_lip"][1] + points["lower_lip"][1] - points["lower_inner"][1]
        gap = points["lower_inner"][1] - points["upper_inner"][1]
        lips[name] = np.array([points["mouth_right"][0] - points["mouth_left"][0], red, gap])
    assert lips["mouth_stretch"][2] > 1.5 * lips["jaw_drop"][2] > 2 * lips["lip_funnel"][2] > 0
    assert lips["lip_suck"][1] < lips["lip_press"][1] < lips["lip_tighten"][1] < lips["lip_pucker"][1]
    assert lips["lip_pucker"][0] < lips["lip_funnel"][0] < lips["lip_tighten"][0] < lips["lip_press"][0]


@pytest.mark.parametrize("action", [action.name for action in ACTIONS])
def test_an_action_moves_continuously(action: str):
    """A tenth of a movement is about a tenth of the change; nothing jumps into view."""
    rest, full = render_face(still(4)).astype(int), render_face(still(4, **{action: 1.0}))
    whole = np.abs(full - rest).sum()
    levels = [render_face(still(4, **{action: float(level)})).astype(int) for level in np.linspace(0, 1, 11)]
    steps = np.array([np.abs(b - a).sum() for a, b in pairwise(levels)])
    assert whole > 1000, "to be seen"
    assert steps.max() < 0.55 * whole


def test_a_strong_light_brightens_the_side_it_comes_from():
    params = still(2)
    for azimuth, bright in ((-1.2, "left"), (1.2, "right")):
        lit = render_face(replace(params, scene=replace(params.scene, light_azimuth=azimuth, light_strength=0.7)))
        points = dict(zip(LANDMARKS, face_landmarks(params, 112), strict=True))
        row = int(points["nose_tip"][1])
        left, right = int(points["left_eye_out"][0]), int(points["right_eye_out"][0])
        middle = (left + right) // 2
        sides = {
            "left": lit[row - 6 : row + 6, left:middle].mean(),
            "right": lit[row - 6 : row + 6, middle:right].mean(),
        }
        assert max(sides, key=lambda side: sides[side]) == bright


def test_a_smaller_picture_is_the_larger_one_reduced():
    params = still(5, lip_corner_pull=0.7, lips_part=0.5)
    large = render_face(params, 512)
    for size in (64, 96, 128, 256):
        reduced = cv2.resize(large, (size, size), interpolation=cv2.INTER_AREA).astype(float)
        assert np.abs(render_face(params, size) - reduced).mean() < 3.5


def test_turning_the_head_moves_the_nose_but_hardly_the_outline():
    straight, turned = (
        dict(zip(LANDMARKS, face_landmarks(face(2, head_yaw=value)), strict=True)) for value in (0.0, 0.8)
    )
    assert turned["nose_tip"][0] - straight["nose_tip"][0] > 10
    assert abs(render_face(face(2)).mean() - render_face(face(2, head_yaw=0.8)).mean()) < 10


def test_landmarks_of_the_mirrored_actions_are_mirrored():
    params = random_face(0, 5)
    symmetric = FaceParams(params.person, params.actions, Scene(**{**vars(params.scene), "offset": (0.0, 0.0)}))
    person = type(params.person)(**{**vars(params.person), "mouth_slope": 0.0})
    targets = describe_face(FaceParams(person, symmetric.actions, symmetric.scene))
    mirrored = describe_face(FaceParams(person, mirror_actions(symmetric.actions), symmetric.scene))
    columns = [i for i, name in enumerate(TARGETS) if name not in ("light_east",)]
    np.testing.assert_allclose(mirror_targets(targets)[columns], mirrored[columns], atol=1e-5)


def test_every_emotion_of_the_taxonomy_has_a_display_of_its_own():
    table = load_expressions()
    assert table.slugs == Taxonomy.load("emonet40").slugs
    assert (np.abs(table.actions).sum(axis=1) > 0.5).all()
    similarity = display_similarity() - np.eye(len(table.slugs))
    assert similarity.max() < 0.90
    assert similarity.max() > 0.75, "some emotions should be hard to tell apart"


def test_contrasts_come_in_pairs():
    contrast = load_expressions().contrast
    assert (contrast[contrast] == np.arange(40)).all()
    assert (contrast != np.arange(40)).all()


def test_intensity_scales_the_display():
    table = load_expressions()
    joy = table.slugs.index("elation")
    pull = [
        mix_displays(np.eye(40)[joy] * level, table.actions)[ACTION_INDEX["lip_corner_pull"]] for level in (0, 3, 7)
    ]
    assert pull[0] == 0
    assert 0.3 < pull[1] < 0.6
    assert pull[2] == pytest.approx(1.0)


def test_one_to_five_emotions_are_shown():
    rng = np.random.default_rng(0)
    counts = [(draw_intensities(prompted % 40, rng) > 0).sum() for prompted in range(400)]
    assert set(counts) == {1, 2, 3, 4, 5}


def test_the_side_of_a_one_sided_movement_tells_nothing():
    rng = np.random.default_rng(0)
    table = load_expressions()
    contempt = np.eye(40)[table.slugs.index("contempt")] * 7
    sides = [perform(contempt, sample_identity(rng, NUM_ACTIONS), rng)[SIDEWAYS] for _ in range(200)]
    dimpler = np.stack(sides)[:, list(SIDEWAYS).index(ACTION_INDEX["one_dimpler"])]
    assert 0.35 < (dimpler > 0).mean() < 0.65
