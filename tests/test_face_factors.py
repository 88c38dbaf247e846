"""Every factor of a rendered face is known by name, and can be changed alone."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from emonet_lightning.errors import UsageError
from emonet_lightning.synthesis.actions import ACTIONS, POSE_DEGREES
from emonet_lightning.synthesis.embedded import NeutralFaces
from emonet_lightning.synthesis.expressions import load_expressions
from emonet_lightning.synthesis.faces import RenderedFaces
from emonet_lightning.synthesis.factors import FACTORS, describe_factors, sweep_factor, with_factor
from emonet_lightning.synthesis.geometry import LANDMARKS
from emonet_lightning.synthesis.identity import Identity, Scene
from emonet_lightning.synthesis.renderer import FaceParams, face_landmarks, photograph_face, render_face


@pytest.fixture(scope="module")
def faces() -> RenderedFaces:
    return RenderedFaces("big")


@pytest.fixture(scope="module")
def params(faces: RenderedFaces) -> FaceParams:
    found = faces.params(9)
    return replace(found, scene=replace(found.scene, blur=0.0, noise=0.0))


def test_sample_names_every_factor_and_the_emotions_shown(faces: RenderedFaces):
    sample = faces[3]
    assert json.loads(json.dumps(sample.meta)) == sample.meta
    assert set(FACTORS) < set(sample.meta)
    for action in ACTIONS:
        name = f"pose_{action.name.removeprefix('head_')}" if action.name in POSE_DEGREES else f"action_{action.name}"
        expected = faces.params(3).actions[ACTIONS.index(action)] * POSE_DEGREES.get(action.name, 1)
        assert sample.meta[name] == pytest.approx(expected, abs=1e-4)
    shown = {name.removeprefix("intensity_"): v for name, v in sample.meta.items() if name.startswith("intensity_")}
    assert 1 <= len(shown) <= 5
    assert shown[sample.prompted] >= 3
    assert sample.meta["light_azimuth"] == pytest.approx(np.degrees(faces.params(3).scene.light_azimuth), abs=1e-4)


def test_neutral_faces_are_described_too():
    meta = NeutralFaces(3)[1].meta
    assert all(meta[f"action_{name}"] == 0 for name in ("jaw_drop", "lip_corner_pull", "gaze_x"))
    assert meta["pose_yaw"] == 0
    assert "person_age" in meta


def test_factors_cover_all_fields_of_person_and_scene():
    named = {name.removeprefix("person_") for name in FACTORS if name.startswith("person_")}
    assert {field.name for field in fields(Identity)} - named == {"habits"}
    # offset and background are two factors each, the light's colour three
    others = [n for n in FACTORS if not n.startswith(("person_", "action_", "pose_"))]
    assert len(others) == len(fields(Scene)) + 4


def test_a_face_can_be_made_again_from_its_description(faces: RenderedFaces):
    for index in (3, 40, 77):
        other = faces.params(index + 500)
        for name, value in faces[index].meta.items():
            if name in FACTORS:
                other = with_factor(other, name, value)
        difference = np.abs(render_face(other).astype(int) - render_face(faces.params(index)))
        assert (difference > 1).mean() < 0.005
        assert difference.mean() < 0.02


def test_sweep_changes_one_factor_and_keeps_all_others(params: FaceParams):
    before = describe_factors(params)
    for name, value in (("pose_yaw", 20.0), ("light_strength", 0.9), ("person_glasses", "round"), ("person_age", 0.5)):
        after = describe_factors(with_factor(params, name, value))
        assert after[name] == value
        assert {key for key in before if before[key] != after[key]} <= {name}
    noise = list(sweep_factor(params, "camera_noise", [0, 5, 20]))
    spread = [np.std(picture.astype(float) - noise[0]) for picture in noise]
    assert spread[0] == 0
    assert 4 < spread[1] < 6
    assert 14 < spread[2] < 21


def test_yaw_is_in_degrees_and_turns_the_nose(params: FaceParams):
    nose = LANDMARKS.index("nose_tip")
    shift = [face_landmarks(with_factor(params, "pose_yaw", degrees))[nose, 0] for degrees in (-30, -15, 0, 15, 30)]
    assert (np.diff(shift) > 3).all()
    np.testing.assert_array_equal(
        next(sweep_factor(params, "pose_yaw", [35.0])), next(sweep_factor(params, "pose_yaw", [35.0]))
    )


def test_resolution_and_jpeg_quality_can_be_swept(params: FaceParams):
    assert [picture.shape[0] for picture in sweep_factor(params, "resolution", [64, 112, 200])] == [64, 112, 200]
    lengths = [len(photograph_face(with_factor(params, "camera_jpeg_quality", q))) for q in (5, 30, 70, 95)]
    assert lengths == sorted(lengths)
    assert lengths[0] < 0.3 * lengths[-1]


def test_intensity_grows_from_nothing(params: FaceParams):
    rest = replace(params, actions=np.zeros_like(params.actions))
    pictures = [p.astype(int) for p in sweep_factor(rest, "intensity_astonishment_surprise", range(8))]
    np.testing.assert_array_equal(pictures[0], render_face(rest))
    change = [np.abs(picture - pictures[0]).sum() for picture in pictures]
    assert (np.diff(change) > 0).all()
    half = with_factor(rest, "intensity_elation", 3.5)
    assert 0 < half.actions.max() < with_factor(rest, "intensity_elation", 7).actions.max()


@pytest.mark.parametrize(("kind", "place"), [("bar", 0.6), ("patch", 0.55)])
def test_nothing_shines_through_what_hides_the_mouth(params: FaceParams, kind: str, place: float):
    upright = replace(params, actions=np.zeros_like(params.actions))
    for name, value in (("occlusion", kind), ("occlusion_size", 0.8), ("occlusion_y", place)):
        upright = with_factor(upright, name, value)
    smiling = with_factor(with_factor(upright, "action_lip_corner_pull", 0.6), "action_lips_part", 0.8)
    mouth = face_landmarks(upright)[LANDMARKS.index("upper_inner")].round().astype(int)
    around = slice(mouth[1] - 5, mouth[1] + 6), slice(mouth[0] - 8, mouth[0] + 9)
    hidden, shown = (render_face(face)[around].astype(int) for face in (upright, smiling))
    assert np.abs(hidden - shown).max() <= 1
    bare = [render_face(with_factor(face, "occlusion", "none"))[around].astype(int) for face in (upright, smiling)]
    assert np.abs(bare[0] - bare[1]).max() > 40


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("pose_jaw", 3, "did you mean 'pose_yaw'"),
        ("pose_yaw", 50, "outside -35 to 35"),
        ("action_jaw_drop", -0.1, "outside 0 to 1"),
        ("action_jaw_drop", "wide", "no number"),
        ("person_skin", "pink", "#rrggbb"),
        ("person_skin", 3, "#rrggbb"),
        ("person_hair_style", "mohawk", "not one of bald"),
        ("intensity_elatoin", 3, "did you mean 'elation'"),
        ("intensity_elation", 8, "outside 0 to 7"),
        ("camera_noise", float("nan"), "outside"),
    ],
)
def test_impossible_values_are_refused(params: FaceParams, name: str, value, told: str):
    with pytest.raises(UsageError, match=told):
        with_factor(params, name, value)


def test_resolution_out_of_range_is_refused(params: FaceParams):
    with pytest.raises(UsageError, match="64 to 512"):
        next(sweep_factor(params, "resolution", [32]))


def test_every_emotion_can_be_played(params: FaceParams):
    rest = replace(params, actions=np.zeros_like(params.actions))
    played = {with_factor(rest, f"intensity_{slug}", 7).actions.tobytes() for slug in load_expressions().slugs}
    assert len(played) == 40
