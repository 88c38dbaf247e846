"""Simulated observers: they see the actions in a face, not what the face was asked to show.

An observer perceives each visible action with noise, and takes as evidence for an emotion how much of its display is
there, discounted by how much else is there (cosine). Observers differ in what they notice and how they use the scale.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from emonet_lightning.synthesis.actions import NUM_ACTIONS
from emonet_lightning.synthesis.expressions import MAX_INTENSITY, load_expressions, perform, visible
from emonet_lightning.synthesis.identity import sample_identity

_LEAST_COSINE = 0.22
_QUIET = 0.55
_SLIP = 0.03


def evidence(actions: np.ndarray, rng: np.random.Generator, noise: float = 0.0) -> np.ndarray:
    """What an observer makes of a face.

    Args:
        actions: rendered actions [NUM_ACTIONS].
        rng: the observer's perception of this face.
        noise: standard deviation of perceived actions.

    Returns:
        Evidence for each emotion [K], 0 to about 1.2.
    """
    table = visible(load_expressions().actions)
    seen = visible(actions) - resting_face() + noise * rng.normal(size=NUM_ACTIONS)
    length = np.linalg.norm(table, axis=1)
    overlap = table @ seen
    amount = np.clip(overlap / length**2, 0, 1.2)
    cosine = overlap / (length * max(float(np.linalg.norm(seen)), _QUIET))
    return amount * np.clip((cosine - _LEAST_COSINE) / (1 - _LEAST_COSINE), 0, 1)


@cache
def resting_face() -> np.ndarray:
    """Mean visible actions [NUM_ACTIONS] of faces that show nothing: what observers do not count."""
    rng = np.random.default_rng(0)
    nothing = np.zeros(len(load_expressions().slugs))
    faces = [perform(nothing, sample_identity(rng, NUM_ACTIONS), rng) for _ in range(400)]
    return visible(np.stack(faces)).mean(axis=0)


def label_by_machine(actions: np.ndarray, rng: np.random.Generator, most: int = 5) -> np.ndarray:
    """Label a face as a vision-language model would: at most `most` emotions above 0.

    Returns:
        [K] integers 0..7.
    """
    level = MAX_INTENSITY * 1.15 * evidence(actions, rng, noise=0.07) ** 0.8 + 0.6 * rng.normal(size=40)
    level = np.where(level >= 1.0, level, 0.0)
    level[np.argsort(-level, kind="stable")[most:]] = 0.0
    return np.clip(np.round(level), 0, MAX_INTENSITY).astype(np.int64)


@dataclass(frozen=True)
class Rater:
    """One simulated expert."""

    name: str
    leniency: float
    """Shift of all evidence."""
    scale: float
    """Factor on intensities."""
    noise: float
    """Standard deviation of perceived actions."""
    doubt: float
    """Standard deviation of what the same evidence means to this rater from one time to the next."""
    attention: float
    """Probability of noticing an emotion that is there."""
    threshold: float
    """Evidence below which this rater leaves an emotion at 0."""
    taste: tuple[float, ...]
    """Personal shift of evidence by emotion [K]."""


@cache
def raters(seed: int, count: int) -> tuple[Rater, ...]:
    """Draw the experts `human-1` .. `human-<count>`."""
    rng = np.random.default_rng([seed, 77])
    num_emotions = len(load_expressions().slugs)
    return tuple(
        Rater(
            name=f"human-{number + 1}",
            leniency=float(rng.normal() * 0.03),
            scale=float(np.exp(0.20 * rng.normal())),
            noise=float(rng.uniform(0.08, 0.15)),
            doubt=float(rng.uniform(0.03, 0.11)),
            attention=float(rng.uniform(0.75, 0.95)),
            threshold=float(rng.uniform(0.08, 0.20)),
            taste=tuple(float(t) for t in 0.07 * rng.normal(size=num_emotions)),
        )
        for number in range(count)
    )


def rate(rater: Rater, actions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One expert's sliders for one face.

    Returns:
        [K] integers 0..7; 0 where the expert did not touch the slider.
    """
    seen = _judge(rater, actions, rng)
    noticed = (seen > rater.threshold) & (rng.random(len(seen)) < rater.attention)
    level = MAX_INTENSITY * rater.scale * seen.clip(0, None) ** 0.8 + 0.8 * rng.normal(size=len(seen))
    return np.where(noticed, np.clip(np.round(level), 1, MAX_INTENSITY), 0).astype(np.int64)


def says_yes(rater: Rater, emotion: int, actions: np.ndarray, rng: np.random.Generator, asked: float = 0.0) -> bool:
    """One expert's answer to "does this face show the emotion?".

    Args:
        rater: the expert.
        emotion: index of the emotion.
        actions: what the face does [NUM_ACTIONS].
        rng: source of chance.
        asked: how much the question itself suggests a yes (evidence).
    """
    yes = bool(_judge(rater, actions, rng)[emotion] + asked > load_expressions().strict[emotion])
    return yes != bool(rng.random() < _SLIP)


def _judge(rater: Rater, actions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    seen = evidence(actions, rng, rater.noise)
    return seen + rater.leniency + np.array(rater.taste) + rater.doubt * rng.normal(size=len(seen))
