"""Simulated experts on faces whose truth is known: ratings as in the released HQ set, votes as in its BINARY set.

The truth is a table of intensities [N, K], drawn here without any pixels or brought along, or the rendered actions of
faces. Estimators and pipelines can then be compared with what was planted.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from emonet_lightning.ratings.long_form import Ratings
from emonet_lightning.ratings.panel import Panel
from emonet_lightning.synthesis.expressions import MAX_INTENSITY, display_similarity, load_expressions
from emonet_lightning.synthesis.raters import Rater, evidence, rate_signal, vote

Array = NDArray[np.float64]
PART = 250
"""Images of HQ that are rated by the same four experts, as its ten parts of 250 suggest."""
PER_IMAGE = 4
VOTE_PARTS: tuple[tuple[int, ...], ...] = (
    (0,),
    (0, 3, 5),
    (0, 3, 5),
    (3, 5, 0),
    (3, 5, 0),
    (5, 0, 1),
    (0, 1, 3),
    (0, 1, 3),
    (3, 5, 0),
    (3, 0, 1),
)
"""Who votes on the targets of each tenth of BINARY, in turn until a no, read off the released file: the first tenth was
not followed up."""
CONTRAST_RATERS = {2: 0.4, 3: 0.2, 4: 0.2, 6: 0.2}
"""Who votes on contrasts, and on what share of them."""
_SPREAD = 2.0  # standard deviations from where an emotion begins to its full intensity
_PROMPTED = (0.4, 1.0)  # of full intensity, that an emotion has at least in a face made for it
_DISPLAYS = 0.6  # share of the correlation between emotions that follows their displays


class Truth(NamedTuple):
    """What faces show."""

    intensities: Array
    """[N, K], 0..7."""
    prompted: NDArray[np.int64]
    """Index of the emotion that each face was made for [N]."""


def draw_truth(num_images: int, rates: Array, seed: int = 0) -> Truth:
    """Draw a table of intensities: every emotion is prompted equally often, emotions that look alike come together.

    Args:
        num_images: N.
        rates: share of images in which an emotion is there of itself [K], above 0 and below 1; what comes along with a
            prompted emotion that looks like it is on top of that.
        seed: of the table.
    """
    rng = np.random.default_rng([seed, 78])
    num_emotions = len(rates)
    together = _DISPLAYS * display_similarity() + (1 - _DISPLAYS) * np.eye(num_emotions)
    z = rng.normal(size=(num_images, num_emotions)) @ np.linalg.cholesky(together).T
    begin = norm.isf(rates)
    blocks = [rng.permutation(num_emotions) for _ in range(-(-num_images // num_emotions))]
    prompted = np.concatenate([*blocks, np.zeros(0, dtype=np.int64)])[:num_images].astype(np.int64)
    rows = np.arange(num_images)
    wanted = begin[prompted] + _SPREAD * rng.uniform(*_PROMPTED, size=num_images)
    # what a change of one emotion means for the others, under the same correlation
    z = z + together[prompted] * np.maximum(wanted - z[rows, prompted], 0)[:, None]
    return Truth(MAX_INTENSITY * np.clip((z - begin) / _SPREAD, 0, 1), prompted)


def signal_of(truth: Array) -> Array:
    """Return the evidence [N, K] that intensities 0..7 are."""
    return truth / MAX_INTENSITY


def rate_images(
    raters: Sequence[Rater],
    signal: Array,
    seed: int = 0,
    per_image: int = PER_IMAGE,
    part: int = PART,
    actions: Array | None = None,
) -> Panel:
    """Let experts rate faces, each part of the images by the same few of them.

    Args:
        raters: the experts.
        signal: evidence for each emotion [N, K], see `signal_of`.
        seed: of who rates what, and of all chance in it.
        per_image: raters of an image, at most as many as there are.
        part: images that are given to the same raters.
        actions: rendered actions [N, NUM_ACTIONS], which every rater perceives anew in place of `signal`.

    Returns:
        Ratings 0..7, NaN where an expert did not see the image; an image's raters stand in the order of `raters`.
    """
    rng = np.random.default_rng([seed, 79])
    num_images, num_emotions = signal.shape
    values = np.full((num_images, len(raters), num_emotions), np.nan)
    order = np.full((num_images, len(raters)), -1, dtype=np.int64)
    for start in range(0, num_images, part):
        rows = slice(start, min(start + part, num_images))
        for place, r in enumerate(_panel(start // part, len(raters), per_image)):
            seen = signal[rows] if actions is None else _perceived(actions[rows], raters[r], rng)
            values[rows, r] = rate_signal(raters[r], seen, rng)
            order[rows, r] = place
    return Panel("simulated", image_names(num_images), [rater.name for rater in raters], values, order)


def vote_on_images(
    raters: Sequence[Rater], signal: Array, prompted: NDArray[np.int64], seed: int = 0, actions: Array | None = None
) -> tuple[Ratings, NDArray[np.int64]]:
    """Let experts answer yes or no: the prompted emotion in turn until the first no, its contrast once.

    Args:
        raters: at least seven.
        signal: evidence [N, K].
        prompted: index of each face's emotion [N].
        seed: of all chance.
        actions: as for `rate_images`.

    Returns:
        Votes sorted by image and rater, and the vote's place in its question: 0 the first; -1 a contrast.
    """
    rng = np.random.default_rng([seed, 80])
    table = load_expressions()
    num_images = len(signal)
    part = np.arange(num_images) * len(VOTE_PARTS) // max(num_images, 1)
    answers: list[Array] = []

    def ask(rows: NDArray[np.int64], who: int, emotions: NDArray[np.int64], place: int) -> NDArray[np.bool_]:
        person = raters[who]
        seen = signal[rows] if actions is None else _perceived(actions[rows], person, rng)
        yes = vote(person, seen, rng, person.asked if place >= 0 else 0.0)[np.arange(len(rows)), emotions]
        same = np.ones(len(rows))
        answers.append(np.stack([rows, who * same, emotions, yes, place * same], axis=1))
        return yes

    for number, turn in enumerate(VOTE_PARTS):
        rows = np.flatnonzero(part == number)
        for turn_place, number_of in enumerate(turn):
            rows = rows[ask(rows, number_of, prompted[rows], turn_place)]
    asked_by = rng.choice(list(CONTRAST_RATERS), size=num_images, p=list(CONTRAST_RATERS.values()))
    for number_of in CONTRAST_RATERS:
        rows = np.flatnonzero(asked_by == number_of)
        ask(rows, number_of, table.contrast[prompted[rows]], -1)
    found = np.concatenate(answers)
    found = found[np.lexsort((found[:, 4], found[:, 1], found[:, 0]))]
    row, rater, slug_index, place = (found[:, column].astype(np.int64) for column in (0, 1, 2, 4))
    names = [person.name for person in raters]
    value = found[:, 3].astype(np.float32)
    return Ratings(row, rater, names, slug_index, list(table.slugs), value, image_names(num_images)), place


def image_names(num_images: int) -> list[str]:
    """Return names of simulated images."""
    return [f"simulated-{index:05d}" for index in range(num_images)]


def _perceived(actions: Array, rater: Rater, rng: np.random.Generator) -> Array:
    return np.stack([evidence(face, rng, rater.noise) for face in actions]) if len(actions) else np.zeros((0, 0))


def _panel(number: int, num_raters: int, per_image: int) -> list[int]:
    """Raters of a part: the first few, then the next few, and so on in turn."""
    return sorted((number * per_image + place) % num_raters for place in range(per_image))
