"""From raters' answers to what a head is trained on and judged by.

Three kinds of sets, three rules: `dense` (one generated label set), `binary` (experts' yes or no on what was asked) and
`rated` (several raters on the full scale). A question not asked is masked, never zero; an untouched emotion of a
dense or rated set is a rating of 0, because its rater saw all the sliders. How many raters answered never reaches the
model: in sequential voting the number of votes gives the label away.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.ratings.consensus import Consensus, Unconfirmed, check_values, confirmed, label_votes
from emonet_lightning.ratings.long_form import Ratings
from emonet_lightning.taxonomy import Taxonomy

Missing = Literal["zero", "mask"]


@dataclass(frozen=True)
class LabelTable:
    """Labels of a set of N samples over K dimensions."""

    target: np.ndarray
    """What a head is trained on, on the score scale [N, K] float32; 0 where masked."""
    mask: np.ndarray
    """Which labels count [N, K] bool."""
    truth: np.ndarray
    """What validation compares scores with [N, K] float64: the mean rating, or 1 / 0 for agreed yes / no; NaN: none."""
    num_filled: int = 0
    """Untouched answers that were read as a rating of 0."""

    def take(self, rows: np.ndarray) -> "LabelTable":
        """Return the labels of some rows."""
        return LabelTable(self.target[rows], self.mask[rows], self.truth[rows])

    def positive_share(self, taxonomy: Taxonomy) -> np.ndarray:
        """Return the share of labels above the resting level, per dimension [K]; NaN without labels."""
        count = self.mask.sum(0)
        positive = (self.mask & (self.target > resting_levels(taxonomy))).sum(0)
        return np.where(count > 0, positive / np.maximum(count, 1), np.nan)

    def mean_target(self, taxonomy: Taxonomy) -> np.ndarray:
        """Return the mean target per dimension [K]; the lowest level without labels."""
        count = self.mask.sum(0)
        low = np.array([dimension.low for dimension in taxonomy.dimensions])
        return np.where(count > 0, (self.target * self.mask).sum(0) / np.maximum(count, 1), low)

    @classmethod
    def concatenate(cls, tables: Sequence["LabelTable"]) -> "LabelTable":
        """Stack the rows of several tables."""
        return cls(
            np.concatenate([table.target for table in tables]),
            np.concatenate([table.mask for table in tables]),
            np.concatenate([table.truth for table in tables]),
            sum(table.num_filled for table in tables),
        )


class RatedTest(NamedTuple):
    """What a test compares scores with: N samples in manifest order."""

    keys: list[str]
    truth: np.ndarray
    """[N, K], NaN where there is none."""
    ratings: np.ndarray | None
    """Every rater kept apart [N, R, K]; None for binary sets."""
    raters: list[str]
    prompted: list[str | None]
    groups: list[str | None]
    num_filled: int
    """Untouched answers that were read as a rating of 0."""


def resting_levels(taxonomy: Taxonomy) -> np.ndarray:
    """Return the level at which a dimension is absent [K]: the lowest one of an emotion, 0 of a signed dimension."""
    return np.array([max(dimension.low, 0.0) for dimension in taxonomy.dimensions])


def rater_cube(
    ratings: Ratings, num_samples: int, taxonomy: Taxonomy, missing: Missing, all_seen: bool = False
) -> tuple[np.ndarray, int]:
    """Return every rater's ratings [N, R, K] float64 (NaN: not rated) and the number of untouched answers read as 0.

    Args:
        ratings: long-form answers.
        num_samples: N.
        taxonomy: columns; answers on dimensions that it lacks are left out.
        missing: `zero`: an emotion that a rater of this image left untouched is 0 (the lowest level); `mask`: unknown.
            Extra dimensions are never filled: 0 is not their resting state.
        all_seen: every rater labelled every image, also those without any answer (the labeller of a dense set).
    """
    column = _columns(ratings, taxonomy)
    if missing == "zero" and taxonomy.dimensions[0].low != 0:
        raise UsageError(
            f"data.missing: 'zero' reads an untouched emotion as 0, but the levels of '{taxonomy.name}' begin "
            f"at {taxonomy.dimensions[0].low:g}; set data.missing: mask"
        )
    cube = np.full((num_samples, len(ratings.raters), len(taxonomy)), np.nan)
    known = column[ratings.slug_index] >= 0
    cube[ratings.row[known], ratings.rater[known], column[ratings.slug_index[known]]] = ratings.value[known]
    num_filled = 0
    if missing == "zero":
        emotions = cube[..., : taxonomy.num_emotions]
        seen = np.full(cube.shape[:2], all_seen)  # the rater answered something, on whatever dimension
        seen[ratings.row, ratings.rater] = True
        if ratings.silent is not None:
            seen[tuple(ratings.silent.T)] = True
        fill = np.isnan(emotions) & seen[..., None]
        emotions[fill] = taxonomy.dimensions[0].low
        num_filled = int(fill.sum())
    return cube, num_filled


def rated_labels(
    ratings: Ratings, num_samples: int, taxonomy: Taxonomy, missing: Missing, all_seen: bool = False
) -> LabelTable:
    """Label with the mean over raters (a dense set has one: its labeller); arguments as in `rater_cube`."""
    cube, num_filled = rater_cube(ratings, num_samples, taxonomy, missing, all_seen)
    count = (~np.isnan(cube)).sum(1)
    truth = np.where(count > 0, np.nansum(cube, axis=1) / np.maximum(count, 1), np.nan)
    mask = count > 0
    return LabelTable(np.where(mask, truth, 0).astype(np.float32), mask, truth, num_filled)


def binary_labels(
    ratings: Ratings,
    num_samples: int,
    taxonomy: Taxonomy,
    consensus: Consensus = "triple_yes",
    unconfirmed: Unconfirmed = "mask",
    yes_value: float = 7.0,
    no_value: float = 0.0,
) -> LabelTable:
    """Label experts' yes/no answers; both kinds of question (prompted target, fixed contrast) count.

    Args:
        ratings: long-form answers, 1 for yes and 0 for no.
        num_samples: N.
        taxonomy: columns.
        consensus: `triple_yes`, `majority`, `mean` or `drop_ties`, as in `ratings.consensus.label_votes`.
        unconfirmed: what `triple_yes` makes of questions between yes and no: masked, a yes, a no, or the share of yes.
        yes_value: score that a yes is trained to; nobody has published the paper's.
        no_value: score that a no is trained to.

    Returns:
        `truth` is the same whatever the options: 1 for three yes and no no, 0 if nobody said yes, NaN otherwise.
    """
    check_values(yes_value, no_value, taxonomy.dimensions[0].low, taxonomy.dimensions[0].high, "data.")
    column = _columns(ratings, taxonomy)
    known = column[ratings.slug_index] >= 0
    if not np.isin(ratings.value[known], (0, 1)).all():
        raise DataError("binary ratings hold values other than yes (1) and no (0); is this set 'rated'?")
    index = (ratings.row[known], column[ratings.slug_index[known]])
    yes = np.zeros((num_samples, len(taxonomy)))
    votes = np.zeros_like(yes)
    np.add.at(yes, index, ratings.value[known])
    np.add.at(votes, index, 1)
    labels = label_votes(yes, votes - yes, consensus, unconfirmed)
    target = np.where(labels.mask, labels.target(yes_value, no_value), 0).astype(np.float32)
    agreed, rejected = confirmed(yes, votes - yes)
    return LabelTable(target, labels.mask, np.where(agreed, 1.0, np.where(rejected, 0.0, np.nan)))


def _columns(ratings: Ratings, taxonomy: Taxonomy) -> np.ndarray:
    """Column of each slug in the ratings; -1 for dimensions that the taxonomy in use leaves out."""
    own = {slug: column for column, slug in enumerate(taxonomy.slugs)}
    columns = np.array([own.get(slug, -1) for slug in ratings.slugs], dtype=np.int64)
    if len(columns) and (columns < 0).all():
        raise DataError(
            f"none of the set's dimensions ({', '.join(ratings.slugs[:5])}, ...) is in taxonomy '{taxonomy.name}'; "
            "use the taxonomy that the set was packed with"
        )
    return columns
