"""What simulated experts are compared with: figures of the released ratings and votes, and how to compute them."""

from importlib import resources
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.errors import DataError
from emonet_lightning.evaluation.agreement import krippendorff_alpha, pooled_rater_kappa
from emonet_lightning.ratings.consensus import BinaryQuestions
from emonet_lightning.ratings.long_form import Ratings
from emonet_lightning.ratings.panel import Panel, slots
from emonet_lightning.synthesis.expressions import MAX_INTENSITY, load_expressions
from emonet_lightning.yaml_files import parse_yaml

Array = NDArray[np.float64]
OUTCOMES = ("TTT", "TTF", "TF", "F", "T")
"""Outcomes of a target question: three yes; two and a no; one and a no; no; one yes that was not followed up."""


class RatingFigures(NamedTuple):
    """Agreement and sparsity of ratings."""

    alpha: Array
    """Interval alpha [K]."""
    anchor: Array
    """Quadratic kappa pooled over pairs of an image's raters [K]."""
    rate: Array
    """Share of answers above 0 [K]."""
    row_mean: float
    """Emotions above 0 in one rater's answer to one image."""
    row_std: float


class VoteFigures(NamedTuple):
    """Yes and no of votes."""

    outcomes: Array
    """Share of each emotion's targets with each of `OUTCOMES` [K, 5]."""
    contrast: Array
    """Share of yes on each emotion as a contrast [K]."""
    first_yes: Array
    """Share of each emotion's targets whose first vote is yes [K]."""
    on_target: dict[str, float]
    """Share of yes of each rater's votes on targets."""
    on_contrast: dict[str, float]

    @property
    def total(self) -> Array:
        """Shares of outcomes, mean over emotions: each is asked of equally many images [5]."""
        return self.outcomes.mean(axis=0)


def rating_figures(panel: Panel) -> RatingFigures:
    """Return the figures of ratings 0..7, by the rules of `evaluate agreement`."""
    given = panel.values[panel.order >= 0]
    touched = (given > 0).sum(axis=1)
    return RatingFigures(
        krippendorff_alpha(panel.values, "interval"),
        pooled_rater_kappa(slots(panel), 0, MAX_INTENSITY),
        (given > 0).mean(axis=0),
        float(touched.mean()),
        float(touched.std()),
    )


def vote_figures(ratings: Ratings, questions: BinaryQuestions) -> VoteFigures:
    """Return the figures of yes/no votes on all 40 emotions.

    Raises:
        DataError: an emotion was not asked as a target and as a contrast, or not voted on in sequence.
    """
    slugs = load_expressions().slugs
    place = {slug: number for number, slug in enumerate(slugs)}
    emotion = np.array([place.get(slug, -1) for slug in ratings.slugs])[questions.slug_index]
    target = questions.is_target
    for name, asked in (("target", emotion[target]), ("contrast", emotion[~target])):
        missing = np.flatnonzero(np.bincount(asked[asked >= 0], minlength=len(slugs)) == 0)
        if len(missing):
            raise DataError(f"votes: '{slugs[missing[0]]}' was never asked as a {name}; give the released binary.csv")
    yes, no = questions.num_yes, questions.num_no
    patterns = [(3, 0), (2, 1), (1, 1), (0, 1), (1, 0)]
    hit = np.stack([(yes == a) & (no == b) for a, b in patterns], axis=1)
    if not hit[target].any(axis=1).all():
        raise DataError("votes: targets were not voted on in turn until the first no or third yes; see evaluate votes")
    contrast_yes = (~target & (yes > 0)).astype(np.float64)
    is_target, says_yes = target[questions.question], ratings.value > 0

    def by_emotion(values: NDArray[Any], chosen: NDArray[np.bool_]) -> Array:
        total = np.bincount(emotion[chosen], minlength=len(slugs))
        return np.bincount(emotion[chosen], weights=values[chosen].astype(np.float64), minlength=len(slugs)) / total

    def by_rater(chosen: NDArray[np.bool_]) -> dict[str, float]:
        found = {name: says_yes[chosen & (ratings.rater == r)] for r, name in enumerate(ratings.raters)}
        return {name: float(values.mean()) for name, values in found.items() if len(values)}

    return VoteFigures(
        np.stack([by_emotion(hit[:, column], target) for column in range(len(patterns))], axis=1),
        by_emotion(contrast_yes, ~target),
        by_emotion(yes > 0, target),
        by_rater(is_target),
        by_rater(~is_target),
    )


def released_ratings() -> RatingFigures:
    """Return the published figures of the released ratings; the share of each emotion is not published (NaN)."""
    text = (resources.files("emonet_lightning.synthesis") / "released_agreement.yaml").read_text()
    content = parse_yaml(text, "released_agreement.yaml")
    emotions = [content["emotions"][slug] for slug in load_expressions().slugs]
    return RatingFigures(
        np.array([entry["alpha"] for entry in emotions]),
        np.array([entry["anchor"] for entry in emotions]),
        np.full(len(emotions), np.nan),
        content["row"]["mean"],
        content["row"]["std"],
    )
