"""Facial actions: the visible movements that a rendered expression consists of.

They follow the action units of the Facial Action Coding System (Ekman, Friesen & Hager 2002) where one exists. All
vectors of actions are float64 [NUM_ACTIONS] in the order of `ACTIONS`; sides are as seen in the image.
"""

from typing import NamedTuple

import numpy as np


class Action(NamedTuple):
    """One movement: `low` is 0, or -1 for a movement with two directions."""

    name: str
    low: float
    meaning: str


ACTIONS: tuple[Action, ...] = (
    Action("inner_brow_raise", 0, "AU1"),
    Action("outer_brow_raise", 0, "AU2, both sides"),
    Action("brow_lower", 0, "AU4: brows down and together"),
    Action("one_brow_raise", -1, "AU2 on one side; + is the right side of the image"),
    Action("lid_raise", 0, "AU5"),
    Action("cheek_raise", 0, "AU6"),
    Action("lid_tighten", 0, "AU7"),
    Action("eye_closure", 0, "AU43, from drooping (0.4) to shut (1)"),
    Action("nose_wrinkle", 0, "AU9"),
    Action("upper_lip_raise", 0, "AU10"),
    Action("lip_corner_pull", 0, "AU12"),
    Action("dimpler", 0, "AU14, both sides"),
    Action("one_dimpler", -1, "AU14 on one side; + is the right side of the image"),
    Action("lip_corner_depress", 0, "AU15"),
    Action("chin_raise", 0, "AU17"),
    Action("lip_pucker", 0, "AU18"),
    Action("lip_stretch", 0, "AU20"),
    Action("lip_funnel", 0, "AU22: lips flare out, as in 'oh'"),
    Action("lip_tighten", 0, "AU23: lips narrow and roll in"),
    Action("lip_press", 0, "AU24: lips pressed together"),
    Action("lips_part", 0, "AU25"),
    Action("jaw_drop", 0, "AU26: the jaw hangs"),
    Action("mouth_stretch", 0, "AU27: the mouth is pulled wide open"),
    Action("lip_suck", 0, "AU28: lips drawn over the teeth"),
    Action("gaze_x", -1, "AU61, AU62; + looks to the right of the image"),
    Action("gaze_y", -1, "AU63, AU64; + looks down"),
    Action("head_yaw", -1, "AU51, AU52; + turns to the right of the image; 1 is 35 degrees"),
    Action("head_pitch", -1, "AU53, AU54; + bows; 1 is 25 degrees"),
    Action("head_roll", -1, "AU55, AU56; + tilts clockwise; 1 is 25 degrees"),
    Action("blush", 0, "red cheeks"),
    Action("tears", 0, "wet lower lids, tears"),
    Action("sweat", 0, "drops on the forehead"),
)
POSE_DEGREES = {"head_yaw": 35.0, "head_pitch": 25.0, "head_roll": 25.0}
"""Angle of the head at 1."""
NUM_ACTIONS = len(ACTIONS)
ACTION_NAMES = tuple(action.name for action in ACTIONS)
ACTION_INDEX = {name: index for index, name in enumerate(ACTION_NAMES)}
LOW = np.array([action.low for action in ACTIONS], dtype=np.float64)

SIDEWAYS = np.array([ACTION_INDEX[n] for n in ("one_brow_raise", "one_dimpler", "gaze_x", "head_yaw", "head_roll")])
"""Actions whose sign is only a side: an expression means the same with either."""


def mirror_actions(actions: np.ndarray) -> np.ndarray:
    """Return the actions [..., NUM_ACTIONS] of the face seen in a mirror."""
    mirrored = actions.copy()
    mirrored[..., SIDEWAYS] *= -1
    return mirrored


def clip_actions(actions: np.ndarray) -> np.ndarray:
    """Limit actions [..., NUM_ACTIONS] to what a face can do."""
    return np.clip(actions, LOW, 1.0)
