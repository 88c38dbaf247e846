"""Simulated judges with planted preferences, and from them the size that a preference study needs.

A judge's log-odds for the left list are the difference of the two systems' strengths, as this image shows them and this
judge likes them, and a habit of choosing left. Effects of images and of judges are normal.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

from emonet_lightning.annotation.preference_analysis import crossed_draws
from emonet_lightning.annotation.preference_answers import Answers
from emonet_lightning.evaluation.bootstrap import interval
from emonet_lightning.evaluation.shares import share
from emonet_lightning.evaluation.two_way import clustered_interval

Array = NDArray[np.float64]
INTERVALS = ("clustered", "crossed", "wilson")
"""Kinds of intervals, see `preference_analysis.RULES`."""
_NODES = np.polynomial.hermite_e.hermegauss(41)


class Judges(NamedTuple):
    """How simulated judges differ."""

    num_judges: int
    image_sd: float = 0.5
    """Standard deviation, over images, of the log-odds between two systems."""
    judge_sd: float = 0.3
    """The same over judges."""
    side: float = 0.0
    """Log-odds of choosing left where both lists are as good."""
    careless: float = 0.0
    """Share of answers given by a coin."""


def log_odds_of(preference: float, spread: float) -> float:
    """Return the mean log-odds that make a share of preferences, mean over normal effects of this deviation."""
    nodes, weights = _NODES

    def surplus(mean: float) -> float:
        return float((weights * expit(mean + spread * nodes)).sum() / weights.sum() - preference)

    return float(brentq(surplus, -60, 60))


def choose(
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    image: NDArray[np.int64],
    rater: NDArray[np.int64],
    strengths: Array,
    judges: Judges,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Let judges choose.

    Args:
        left: system on the left of each comparison [n].
        right: system on the right [n].
        image: of each comparison [n].
        rater: who judges it [n].
        strengths: of the systems, log-odds [S].
        judges: how they differ.
        rng: source of chance.

    Returns:
        Whether the left list was chosen [n].
    """
    shape = (int(max(image.max(initial=0), 0)) + 1, len(strengths))
    # of two systems the difference has the deviation that is asked for
    of_image = judges.image_sd / np.sqrt(2) * rng.normal(size=shape)
    of_judge = judges.judge_sd / np.sqrt(2) * rng.normal(size=(judges.num_judges, len(strengths)))
    odds = strengths[left] + of_image[image, left] + of_judge[rater, left]
    odds = odds - (strengths[right] + of_image[image, right] + of_judge[rater, right])
    odds = np.where(rng.random(len(left)) < judges.careless, 0.0, odds) + judges.side
    return rng.random(len(left)) < expit(odds)


def assign(
    num_pairs: int, per_pair: int, num_judges: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give each pair to so many different judges, drawn at random: the pair and the judge of each comparison."""
    rater = np.argsort(rng.random((num_pairs, num_judges)), axis=1)[:, :per_pair]
    return np.repeat(np.arange(num_pairs), per_pair), rater.ravel()


def simulated_study(
    num_images: int, per_image: int, preference: float, judges: Judges, rng: np.random.Generator
) -> Answers:
    """Return the answers of a study of two systems, the second preferred to the first in this share of comparisons."""
    mean = log_odds_of(preference, float(np.hypot(judges.image_sd, judges.judge_sd)))
    image, rater = assign(num_images, per_image, judges.num_judges, rng)
    left = rng.permutation(np.arange(num_images) % 2)[image]
    chose_left = choose(left, 1 - left, image, rater, np.array([0.0, mean]), judges, rng)
    return Answers(
        pair=image,
        image=image,
        rater=rater,
        left=left,
        right=1 - left,
        chose_left=chose_left,
        emotion=np.zeros(len(image), dtype=np.int64),
        seconds=np.full(len(image), np.nan),
        pairs=[str(n) for n in range(num_images)],
        images=[str(n) for n in range(num_images)],
        raters=[f"judge-{n + 1}" for n in range(judges.num_judges)],
        systems=["reference", "subject"],
        emotions=["any"],
    )


class Outcome(NamedTuple):
    """What one simulated study found."""

    value: float
    wilson: tuple[float, float]
    clustered: tuple[float, float]
    crossed: tuple[float, float]


def study_outcome(answers: Answers, num_draws: int, seed: int, level: float) -> Outcome:
    """Return the share of the second system with its three intervals."""
    won = answers.winner == 1
    weights = crossed_draws(answers, num_draws, seed)
    low, high = interval(weights @ won / np.maximum(weights.sum(axis=1), 1), level)
    pooled = share(won.sum(), len(won), level)
    assert pooled["value"] is not None
    assert pooled["low"] is not None
    assert pooled["high"] is not None
    clustered = clustered_interval(won, answers.image, answers.rater, level)
    return Outcome(pooled["value"], (pooled["low"], pooled["high"]), clustered, (float(low), float(high)))


def power(
    preference: float,
    sizes: Sequence[int],
    per_image: int,
    judges: Judges,
    *,
    num_studies: int = 200,
    num_draws: int = 200,
    seed: int = 0,
    level: float = 0.95,
    advance: Callable[[int], None] = lambda count: None,
) -> list[dict[str, Any]]:
    """Simulate studies of several sizes, each with new images and new judges.

    Args:
        preference: planted share of comparisons in which the subject is preferred.
        sizes: numbers of images.
        per_image: judges of an image.
        judges: how they differ.
        num_studies: of each size.
        num_draws: bootstrap draws in each.
        seed: of all.
        level: coverage of the intervals.
        advance: called with 1 after each study.

    Returns:
        Per size and interval (of `INTERVALS`): `width`, mean; `power`, share of studies whose interval leaves out
        one half, and `coverage`, share whose interval holds the planted share.
    """
    found = []
    for size in sizes:
        rng = np.random.default_rng([seed, size])
        outcomes = []
        for study in range(num_studies):
            answers = simulated_study(size, per_image, preference, judges, rng)
            outcomes.append(study_outcome(answers, num_draws, study, level))
            advance(1)
        row: dict[str, Any] = {"num_images": size, "num_comparisons": size * per_image}
        row["mean"] = float(np.mean([outcome.value for outcome in outcomes]))
        for kind in INTERVALS:
            low, high = np.array([getattr(outcome, kind) for outcome in outcomes]).T
            row[kind] = {
                "width": float((high - low).mean()),
                "power": share(((low > 0.5) | (high < 0.5)).sum(), num_studies),
                "coverage": share(((low <= preference) & (preference <= high)).sum(), num_studies),
            }
        found.append(row)
    return found
