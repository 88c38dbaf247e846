"""Fit the raters of the preset `released` to the statistics of the released ratings and votes.

    python -m emonet_lightning synthesize experts --fit --votes binary.csv --out DIR

Each number of the preset that has a statistic of its own is moved, step by step, until simulated sets of the released
size have that statistic: an emotion's doubt its alpha, the spread of taste the gap between anchor and alpha (which only
raters with different levels open), its threshold its share of answers above 0, mood the spread of answers above 0 per
image; its strictness the share of yes as a contrast, what is asked
the share of targets with three yes, each rater's leniency in votes the rater's share of yes.
What the published figures do not tell apart is set beforehand: confusion, attention, use of the scale, and
that emotions are rated in the proportion in which their prompts are confirmed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import norm

from emonet_lightning.ratings.consensus import binary_questions
from emonet_lightning.synthesis.experts import Truth, draw_truth, rate_images, signal_of, vote_on_images
from emonet_lightning.synthesis.expressions import load_expressions
from emonet_lightning.synthesis.rater_presets import PER_EMOTION, RaterPreset, preset_of
from emonet_lightning.synthesis.raters import draw_raters
from emonet_lightning.synthesis.released_targets import (
    Array,
    RatingFigures,
    VoteFigures,
    rating_figures,
    released_ratings,
    vote_figures,
)

NUM_RATED, NUM_VOTED, NUM_RATERS, NUM_VOTERS = 2500, 20_000, 8, 7
PEOPLE: dict[str, Any] = {
    "leniency": 0.02,
    "scale": 0.20,
    "noise": [0.08, 0.15],
    "doubt": [0.7, 1.3],
    "attention": [0.85, 0.98],
    "threshold": [0.0, 0.0],
    "confusion": [0.05, 0.25],
    "mood": 0.03,
    "curve": 0.8,
    "level_noise": 0.5,
    "slip": 0.005,
    "vote_doubt": 0.4,
    "vote_leniency": [0.0] * NUM_VOTERS,
}
_STEPS, _VOTE_STEPS = 80, 80
_REACH = 1.5
"""Standard deviations of the evidence from the threshold to full intensity: a rater uses the whole scale."""
_SEEDS = 4
"""Simulated sets that every step averages over, the same in each: what is fitted are their means."""


class Fitted(NamedTuple):
    """A fit and how far it got, on sets of other seeds."""

    content: dict[str, Any]
    """Of `released_raters.yaml`."""
    ratings: RatingFigures
    votes: VoteFigures


def fit(votes: VoteFigures, advance: Callable[[int], None] = lambda count: None) -> Fitted:
    """Fit the preset.

    Args:
        votes: figures of the released votes.
        advance: called with 1 after each step, of `num_steps`.
    """
    wanted = released_ratings()
    rate = wanted.row_mean * votes.first_yes / votes.first_yes.sum()
    slugs = load_expressions().slugs
    numbers = {
        "rate": rate,
        "doubt_factor": np.full(len(slugs), 0.2),
        "threshold_shift": np.full(len(slugs), 0.25),
        "taste": np.full(len(slugs), 0.05),
        "reach": np.full(len(slugs), 0.4),
        "strict": np.full(len(slugs), 0.9),
        "asked": np.full(len(slugs), 0.5),
    }
    people = dict(PEOPLE)
    people, numbers = _fit_votes(people, numbers, votes, advance)
    people, numbers = _fit_ratings(people, numbers, wanted, rate, advance)
    content = _content(people, numbers)
    preset, rates = preset_of(content)
    return Fitted(content, simulated_ratings(preset, rates, range(100, 104)), simulated_votes(preset, rates, 100))


num_steps = _STEPS + _VOTE_STEPS


def simulated_ratings(preset: RaterPreset, rates: Array, seeds: range | list[int]) -> RatingFigures:
    """Return the mean figures of simulated rated sets of the released size, one per seed."""
    found = [
        rating_figures(
            rate_images(
                draw_raters(preset, seed, NUM_RATERS), signal_of(draw_truth(NUM_RATED, rates, seed)[0]), seed=seed
            )
        )
        for seed in seeds
    ]
    return _mean_of(found)


def simulated_votes(
    preset: RaterPreset, rates: Array, seed: int, truth: Truth | None = None, num_images: int = NUM_VOTED
) -> VoteFigures:
    """Return the figures of a simulated set of votes."""
    truth = truth or draw_truth(num_images, rates, seed)
    ratings, _ = vote_on_images(
        draw_raters(preset, seed, NUM_VOTERS), signal_of(truth.intensities), truth.prompted, seed
    )
    prompted: list[str | None] = [ratings.slugs[k] for k in truth.prompted]
    return vote_figures(ratings, binary_questions(ratings, prompted))


def _fit_ratings(
    people: dict[str, Any],
    numbers: dict[str, Array],
    wanted: RatingFigures,
    rate: Array,
    advance: Callable[[int], None],
) -> tuple[dict[str, Any], dict[str, Array]]:
    truths = [signal_of(draw_truth(NUM_RATED, rate, seed)[0]) for seed in range(_SEEDS)]
    for step in range(_STEPS):
        preset, _ = preset_of(_content(people, numbers))
        each = [
            rating_figures(rate_images(draw_raters(preset, seed, NUM_RATERS), signal, seed=seed))
            for seed, signal in enumerate(truths)
        ]
        found = _mean_of(each)
        miss = [found.alpha - wanted.alpha, found.anchor - wanted.anchor, found.rate - rate]
        pace = 1.0 if step < 0.6 * _STEPS else 0.4
        width = np.hypot(np.hypot(numbers["doubt_factor"], numbers["taste"]), 0.2)
        gap = (found.anchor - found.alpha) - (wanted.anchor - wanted.alpha)
        numbers = numbers | {
            "doubt_factor": np.clip(numbers["doubt_factor"] * np.exp(pace * 1.5 * miss[0]), 0.005, 1.0),
            "taste": np.clip(numbers["taste"] - pace * 0.6 * gap, 0.0, 1.0),
            "reach": _REACH * width,
            "threshold_shift": np.clip(
                numbers["threshold_shift"] + pace * width * (_probit(found.rate) - _probit(rate)),
                0.0,
                6.0,
            ),
        }
        people = people | {
            "mood": float(np.clip(people["mood"] * np.exp(-pace * 0.3 * (found.row_std - wanted.row_std)), 1e-3, 0.5))
        }
        advance(1)
    return people, numbers


def _fit_votes(
    people: dict[str, Any], numbers: dict[str, Array], wanted: VoteFigures, advance: Callable[[int], None]
) -> tuple[dict[str, Any], dict[str, Array]]:
    truth = draw_truth(NUM_VOTED, numbers["rate"], 0)
    for step in range(_VOTE_STEPS):
        preset, rates = preset_of(_content(people, numbers))
        found = simulated_votes(preset, rates, 0, truth)
        pace = 1.0 if step < 0.6 * _VOTE_STEPS else 0.4
        width = pace * np.hypot(people["vote_doubt"], 0.2)
        share = _probit(_confirmed(found)) - _probit(_confirmed(wanted))
        surplus = _probit(found.contrast) - _probit(wanted.contrast)
        strict = np.clip(numbers["strict"] + width * surplus, -1.0, 3.0)
        asked = np.clip(numbers["asked"] + strict - numbers["strict"] - 0.6 * width * share, -1.0, 4.0)
        numbers = numbers | {"strict": strict, "asked": asked}
        leniency = list(people["vote_leniency"])
        for r in range(NUM_VOTERS):
            name = f"human-{r + 1}"
            role = "on_target" if name in wanted.on_target else "on_contrast"
            leniency[r] += float(width * (_probit(getattr(wanted, role)[name]) - _probit(getattr(found, role)[name])))
        spread = _confirmed_twice(found) - _confirmed_twice(wanted)
        people = people | {
            "vote_leniency": leniency,
            "vote_doubt": float(np.clip(people["vote_doubt"] * np.exp(2 * pace * spread), 0.05, 0.8)),
        }
        advance(1)
    return people, numbers


def _mean_of(found: list[RatingFigures]) -> RatingFigures:
    """Mean of each figure over simulated sets."""
    each: Any = list(zip(*found, strict=True))
    return RatingFigures(*(np.mean(values, axis=0) for values in each))


def _probit(share: Any) -> Any:
    """Shares as places on the axis of evidence, in standard deviations: there they move evenly."""
    return norm.ppf(np.clip(share, 0.003, 0.997))


def _confirmed(figures: VoteFigures) -> Array:
    """Share of targets with three yes among all that were followed up [K]."""
    return figures.outcomes[:, 0] / (1 - figures.outcomes[:, 4])


def _confirmed_twice(figures: VoteFigures) -> float:
    """Share of three yes among the targets whose first two votes were yes: how much raters share what they see."""
    return float(figures.total[0] / (figures.total[0] + figures.total[1]))


def _content(people: dict[str, Any], numbers: dict[str, Array]) -> dict[str, Any]:
    digits = {key: np.round(values, 5) for key, values in numbers.items()}
    rounded = {key: _rounded(value) for key, value in people.items()}
    emotions = {
        slug: {key: float(digits[key][k]) for key in PER_EMOTION} for k, slug in enumerate(load_expressions().slugs)
    }
    return {"people": rounded, "emotions": emotions}


def _rounded(value: Any) -> Any:
    return [round(float(part), 5) for part in value] if isinstance(value, list) else round(float(value), 5)
