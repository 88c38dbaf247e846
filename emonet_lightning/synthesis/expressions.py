"""From emotions to facial actions: the table of displays, and how a person mixes and performs them."""

from functools import cache
from importlib import resources
from typing import NamedTuple

import numpy as np

from emonet_lightning.errors import DataError, nearest
from emonet_lightning.ratings.contrasts import RELEASED, contrast_pairs
from emonet_lightning.synthesis.actions import ACTION_INDEX, ACTION_NAMES, LOW, NUM_ACTIONS, SIDEWAYS, clip_actions
from emonet_lightning.synthesis.identity import Identity
from emonet_lightning.taxonomy import Taxonomy
from emonet_lightning.yaml_files import parse_yaml

MAX_INTENSITY = 7
"""Emotion intensities are 0..7, as in the taxonomy."""

_POSE_NOISE = {"head_yaw": 0.26, "head_pitch": 0.16, "head_roll": 0.16, "gaze_x": 0.12, "gaze_y": 0.10}


class Expressions(NamedTuple):
    """The table `expressions.yaml`, in its order."""

    slugs: list[str]
    actions: np.ndarray
    """Display of each emotion at full intensity, [K, NUM_ACTIONS]."""
    contrast: np.ndarray
    """Index of the emotion that is asked beside each, [K]: the released pairs; contrast[contrast] is the identity."""
    strict: np.ndarray
    """Evidence that a rater wants before saying yes, [K]."""


@cache
def load_expressions() -> Expressions:
    """Read the table of displays that is part of the package.

    Raises:
        DataError: unknown action.
    """
    text = (resources.files("emonet_lightning.synthesis") / "expressions.yaml").read_text()
    table = parse_yaml(text, "expressions")
    slugs = list(table)
    actions = np.zeros((len(slugs), NUM_ACTIONS))
    for row, (slug, entry) in enumerate(table.items()):
        for name, weight in entry["actions"].items():
            if name not in ACTION_INDEX:
                raise DataError(
                    f"expressions.yaml: '{slug}' has unknown action '{name}'; {nearest(name, ACTION_NAMES)}"
                )
            actions[row, ACTION_INDEX[name]] = weight
    partner = contrast_pairs(RELEASED, Taxonomy.load("emonet40"))
    contrast = np.array([slugs.index(partner[slug]) for slug in slugs])
    return Expressions(slugs, actions, contrast, np.array([entry["strict"] for entry in table.values()]))


def mix_displays(intensities: np.ndarray, displays: np.ndarray) -> np.ndarray:
    """Superpose displays: movements of one direction saturate, opposite directions cancel.

    Args:
        intensities: [K], 0..7.
        displays: [K, NUM_ACTIONS].

    Returns:
        Actions [NUM_ACTIONS] within their limits.
    """
    parts = displays * (intensities / MAX_INTENSITY)[:, None]
    return (1 - np.prod(1 - parts.clip(0, 1), axis=0)) - (1 - np.prod(1 - (-parts).clip(0, 1), axis=0))


def perform(intensities: np.ndarray, person: Identity, rng: np.random.Generator) -> np.ndarray:
    """Let a person show emotions: personal style, omissions, sides, chance movements and posture.

    Args:
        intensities: [K], 0..7.
        person: gives expressiveness and habits.
        rng: decides everything that differs between two performances of the same person.

    Returns:
        Actions [NUM_ACTIONS] within their limits.
    """
    actions = mix_displays(intensities, load_expressions().actions)
    sides = rng.choice((-1.0, 1.0), size=len(SIDEWAYS))
    actions[SIDEWAYS] *= sides
    gain = person.expressiveness * np.array(person.habits) * np.exp(0.25 * rng.normal(size=NUM_ACTIONS).clip(-2, 2))
    actions *= np.where(rng.random(NUM_ACTIONS) < 0.08, 0.2, gain)
    chance = np.where(rng.random(NUM_ACTIONS) < 0.12, rng.random(NUM_ACTIONS) * 0.35, 0.0)
    actions += np.where(LOW < 0, 0.0, chance)
    return clip_actions(actions + posture(rng))


def posture(rng: np.random.Generator) -> np.ndarray:
    """Draw the head pose and gaze [NUM_ACTIONS] that a picture has for no reason."""
    actions = np.zeros(NUM_ACTIONS)
    for name, spread in _POSE_NOISE.items():
        actions[ACTION_INDEX[name]] = rng.normal() * spread
    return actions


def draw_intensities(
    prompted: int, rng: np.random.Generator, low: int = 3, extra: tuple[float, ...] = (0.35, 0.3, 0.2, 0.1, 0.05)
) -> np.ndarray:
    """Draw which emotions a face shows: the prompted one, and up to four that tend to come with it.

    Args:
        prompted: index of the emotion.
        rng: source of chance.
        low: least intensity of the prompted emotion; the highest is 7.
        extra: probabilities of 0, 1, 2, ... further emotions.

    Returns:
        [K] integers 0..7 with 1 to `len(extra)` entries above 0.
    """
    similarity = display_similarity()[prompted]
    intensities = np.zeros(len(similarity), dtype=np.int64)
    count = int(rng.choice(len(extra), p=extra))
    weights = np.exp(4.0 * similarity)
    weights[prompted] = 0
    others = rng.choice(len(similarity), size=count, replace=False, p=weights / weights.sum())
    intensities[others] = rng.integers(1, 4, size=count)
    intensities[prompted] = rng.integers(low, MAX_INTENSITY + 1)
    return intensities


@cache
def display_similarity() -> np.ndarray:
    """Cosine between the displays of all emotions [K, K], sides ignored."""
    seen = visible(load_expressions().actions)
    unit = seen / np.linalg.norm(seen, axis=1, keepdims=True)
    return unit @ unit.T


def visible(actions: np.ndarray) -> np.ndarray:
    """Return actions [..., NUM_ACTIONS] with the side of sideways movements dropped: they mean the same."""
    seen = actions.copy()
    seen[..., SIDEWAYS] = np.abs(seen[..., SIDEWAYS])
    return seen
