"""Simulated observers: they see the actions in a face, not what the face was asked to show.

An observer perceives each visible action with noise, and takes as evidence for an emotion how much of its display is
there, discounted by how much else is there (cosine). From the evidence on there is one model of a rater, whether it
comes from rendered actions or from a table of intensities: mistaking one emotion for another, bias, doubt, attention,
use of the scale. `rater_presets` holds the populations.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from emonet_lightning.synthesis.actions import NUM_ACTIONS
from emonet_lightning.synthesis.expressions import (
    MAX_INTENSITY,
    display_similarity,
    load_expressions,
    perform,
    visible,
)
from emonet_lightning.synthesis.identity import sample_identity
from emonet_lightning.synthesis.rater_presets import RaterPreset

_LEAST_COSINE = 0.22
_QUIET = 0.55
_PLACES = 4  # raters of an image in the released ratings
_LIKENESS = 6.0  # how much more often a look-alike is mistaken for an emotion than any other one


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


@dataclass(frozen=True, eq=False)
class Rater:
    """One simulated rater; the parts are explained in `rater_presets.RaterPreset`, [K] or one number for all."""

    name: str
    leniency: float = 0.0
    scale: float = 1.0
    noise: float = 0.0
    doubt: float | np.ndarray = 0.0
    attention: float = 1.0
    threshold: float | np.ndarray = 0.0
    taste: float | np.ndarray = 0.0
    confusion: float = 0.0
    mood: float = 0.0
    lapse: float = 0.0
    curve: float = 0.8
    reach: np.ndarray | None = None
    level_noise: float = 0.8
    slip: float = 0.03
    asked: float | np.ndarray = 0.10
    strict: np.ndarray | None = None
    """None: that of the table of displays."""
    vote_doubt: float | None = None
    """None: `doubt`."""
    vote_leniency: float = 0.0


@cache
def draw_raters(preset: RaterPreset, seed: int, count: int) -> tuple[Rater, ...]:
    """Draw the raters `human-1` .. `human-<count>` of a population; equal arguments give equal raters."""
    rng = np.random.default_rng([seed, 77])
    num_emotions = len(load_expressions().slugs)
    factor = 1.0 if preset.doubt_factor is None else preset.doubt_factor
    shift = 0.0 if preset.threshold_shift is None else preset.threshold_shift
    found = []
    for number in range(count):
        rater = Rater(
            name=f"human-{number + 1}",
            leniency=float(rng.normal() * preset.leniency),
            scale=float(np.exp(preset.scale * rng.normal())),
            noise=float(rng.uniform(*preset.noise)),
            doubt=float(rng.uniform(*preset.doubt)) * factor,
            attention=float(rng.uniform(*preset.attention)),
            threshold=float(rng.uniform(*preset.threshold)) + shift,
            taste=preset.taste * rng.normal(size=num_emotions),
            mood=preset.mood,
            curve=preset.curve,
            reach=preset.reach,
            level_noise=preset.level_noise,
            slip=preset.slip,
            asked=preset.asked,
            strict=preset.strict,
            vote_doubt=preset.vote_doubt,
            vote_leniency=preset.vote_leniency[number] if number < len(preset.vote_leniency) else 0.0,
        )
        # after all else: raters without these parts are the same as before there were any
        confusion, lapse = (rng.uniform(*ends) if any(ends) else 0.0 for ends in (preset.confusion, preset.lapse))
        found.append(replace(rater, confusion=float(confusion), lapse=float(lapse)))
    return _balance(preset, found) if preset.is_balanced and count > 2 else tuple(found)


def _balance(preset: RaterPreset, drawn: list[Rater]) -> tuple[Rater, ...]:
    """Give shifts and the logarithm of scales mean 0 and the preset's standard deviation; space all else evenly.

    Taste falls (or rises) from the first to the last of an image's raters: only where the place tells how high a rater
    answers can the pooled kappa of raters be above alpha, as is published for Interest or Concentration.
    """

    def balanced(values: list[Any], spread: float | np.ndarray) -> np.ndarray:
        found = np.array(values, dtype=np.float64)
        found -= found.mean(axis=0)
        deviation = found.std(axis=0, ddof=1)
        return found * np.where(deviation > 0, spread / np.where(deviation > 0, deviation, 1.0), 0.0)

    leniency = balanced([rater.leniency for rater in drawn], preset.leniency)
    scale = np.exp(balanced([np.log(rater.scale) for rater in drawn], preset.scale))
    falling = [-float(r % _PLACES) for r in range(len(drawn))]
    taste = np.multiply.outer(balanced(falling, 1.0), np.sign(drawn[0].taste) * preset.taste)
    factor = 1.0 if preset.doubt_factor is None else preset.doubt_factor
    shift = 0.0 if preset.threshold_shift is None else preset.threshold_shift
    num = len(drawn)
    even: dict[str, Any] = {}
    for key in ("noise", "doubt", "attention", "threshold", "confusion", "lapse"):
        rank = np.argsort(np.argsort([np.mean(getattr(rater, key)) for rater in drawn]))
        low, high = getattr(preset, key)
        even[key] = low + (high - low) * (rank + 0.5) / num
    return tuple(
        replace(
            rater,
            leniency=float(leniency[r]),
            scale=float(scale[r]),
            taste=taste[r],
            doubt=even["doubt"][r] * factor,
            threshold=even["threshold"][r] + shift,
            noise=float(even["noise"][r]),
            attention=float(even["attention"][r]),
            confusion=float(even["confusion"][r]),
            lapse=float(even["lapse"][r]),
        )
        for r, rater in enumerate(drawn)
    )


def rate(rater: Rater, actions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One expert's sliders for one face: [K] integers 0..7; 0 where the expert did not touch the slider."""
    return rate_signal(rater, evidence(actions, rng, rater.noise), rng)


def rate_signal(rater: Rater, signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One rater's sliders.

    Args:
        rater: the rater.
        signal: evidence for each emotion [..., K]: of rendered actions, or intensities over 7.
        rng: source of chance.

    Returns:
        [..., K] integers 0..7; 0 where the rater did not touch the slider.
    """
    seen = _judge(rater, signal, rng)
    noticed = (seen > rater.threshold) & (rng.random(seen.shape) < rater.attention)
    above = seen if rater.reach is None else (seen - rater.threshold) / rater.reach
    level = MAX_INTENSITY * rater.scale * above.clip(0, None) ** rater.curve
    level = level + rater.level_noise * rng.normal(size=seen.shape)
    sliders = np.where(noticed, np.clip(np.round(level), 1, MAX_INTENSITY), 0).astype(np.int64)
    if rater.lapse:
        away = rng.random(seen.shape[:-1]) < rater.lapse
        # as on another image where there are several, since the number of sliders tells of the image, too
        sliders[away] = rng.permuted(rng.permutation(sliders[away]), axis=-1)
    return sliders


def says_yes(
    rater: Rater, emotion: int, actions: np.ndarray, rng: np.random.Generator, asked: float | np.ndarray = 0.0
) -> bool:
    """One expert's answer to "does this face show the emotion?".

    Args:
        rater: the expert.
        emotion: index of the emotion.
        actions: what the face does [NUM_ACTIONS].
        rng: source of chance.
        asked: how much the question itself suggests a yes (evidence).
    """
    return bool(vote(rater, evidence(actions, rng, rater.noise), rng, asked)[emotion])


def vote(rater: Rater, signal: np.ndarray, rng: np.random.Generator, asked: float | np.ndarray = 0.0) -> np.ndarray:
    """Return what a rater would answer of each emotion, bool [..., K]; arguments as in `rate_signal`, `says_yes`."""
    bar = load_expressions().strict if rater.strict is None else rater.strict
    judge = rater if rater.vote_doubt is None else replace(rater, doubt=rater.vote_doubt, leniency=0, taste=0, mood=0)
    yes = _judge(judge, signal, rng) + asked + rater.vote_leniency > bar
    return yes != (rng.random(yes.shape[:-1]) < rater.slip)[..., None]


def _judge(rater: Rater, signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    seen = signal if not rater.confusion else signal @ mistaking(rater.confusion)
    if rater.mood:
        seen = seen + rater.mood * rng.normal(size=(*seen.shape[:-1], 1))
    return seen + rater.leniency + rater.taste + rater.doubt * rng.normal(size=seen.shape)


@cache
def mistaking(share: float) -> np.ndarray:
    """Return where an emotion's evidence goes [K, K], rows sum to 1: `share` of it to emotions that look like it."""
    weights = np.exp(_LIKENESS * display_similarity())
    np.fill_diagonal(weights, 0)
    return (1 - share) * np.eye(len(weights)) + share * weights / weights.sum(axis=1, keepdims=True)
