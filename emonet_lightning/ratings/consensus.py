"""What several yes/no votes on one question say: target or contrast, and the rules that make a label of them."""

from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.errors import UsageError
from emonet_lightning.ratings.long_form import Ratings

Consensus = Literal["triple_yes", "majority", "mean", "drop_ties"]
Unconfirmed = Literal["mask", "yes", "no", "fraction"]
Decision = Literal[
    "only_question", "prompted", "asked_more_than_once", "raters", "yes_is_contrast", "file_order", "first_emotion"
]

CONSENSUS: tuple[Consensus, ...] = get_args(Consensus)
DECISIONS: tuple[Decision, ...] = get_args(Decision)

Counts = NDArray[np.int64] | NDArray[np.float64]


class VoteLabels(NamedTuple):
    """VoteLabels of questions, in the shape of the counts of votes they were made from."""

    share: NDArray[np.float64]
    """1: yes; 0: no (also where masked); between them under rules that say so."""
    mask: NDArray[np.bool_]
    """Which questions have a label."""

    def target(self, yes_value: float, no_value: float) -> NDArray[np.float64]:
        """Return the labels on the score scale, `no_value` where masked."""
        return no_value + (yes_value - no_value) * self.share


def label_votes(num_yes: Counts, num_no: Counts, rule: Consensus, unconfirmed: Unconfirmed = "mask") -> VoteLabels:
    """Make one label of the votes on each question; a question that nobody was asked is masked.

    | rule | yes | no | otherwise |
    |---|---|---|---|
    | `triple_yes` | at least three yes, no no | no yes | `unconfirmed` says |
    | `majority` | more than half yes | at most half yes (a tie is a no) | - |
    | `mean` | - | - | share of yes |
    | `drop_ties` | more than half yes | less than half yes | a tie is masked |

    `triple_yes` is the released set's "triple positive agreement". What became there of questions between yes and no is
    unpublished, so `unconfirmed` is an option: `mask`, `yes`, `no`, or `fraction` (share of yes); it is used by
    `triple_yes` alone, the other rules leave nothing open.

    Args:
        num_yes: votes for yes, any shape.
        num_no: votes for no, same shape.
        rule: see above.
        unconfirmed: see above.
    """
    votes = num_yes + num_no
    asked = votes > 0
    share = np.divide(num_yes, votes, out=np.zeros(votes.shape), where=asked)
    if rule == "mean":
        return VoteLabels(share, asked)
    if rule == "triple_yes":
        yes, no = confirmed(num_yes, num_no)
        middle: NDArray[np.float64] | float = {"mask": 0.0, "yes": 1.0, "no": 0.0}.get(unconfirmed, share)
        mask = yes | no if unconfirmed == "mask" else asked
        return VoteLabels(np.where(yes, 1.0, np.where(no | ~asked, 0.0, middle)), mask)
    mask = asked & (share != 0.5) if rule == "drop_ties" else asked
    return VoteLabels((share > 0.5).astype(np.float64), mask)


def confirmed(num_yes: Counts, num_no: Counts) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which questions are an agreed yes (at least three yes, no no) and an agreed no (asked, no yes)."""
    return (num_yes >= 3) & (num_no == 0), (num_yes == 0) & (num_no > 0)


def check_values(yes_value: float, no_value: float, low: float, high: float, option: str) -> None:
    """Refuse values of a yes or a no that the scale does not have, and a yes that is worth no more than a no.

    Args:
        yes_value: score of a yes.
        no_value: score of a no.
        low: lowest level.
        high: highest level.
        option: what precedes the option's name in the error, such as `data.` or `--`.

    Raises:
        UsageError: names the option and the levels.
    """
    for name, value in (("yes_value", yes_value), ("no_value", no_value)):
        if not low <= value <= high:
            raise UsageError(f"{option}{name}: {value} is outside the taxonomy's levels {low:g}..{high:g}")
    if yes_value <= no_value:
        raise UsageError(f"{option}yes_value: {yes_value} is not above {option}no_value {no_value}; raise it")


class BinaryQuestions(NamedTuple):
    """Questions of a binary set: one entry per (image, emotion) that was asked, sorted by image."""

    row: NDArray[np.int64]
    slug_index: NDArray[np.int64]
    num_yes: NDArray[np.int64]
    num_no: NDArray[np.int64]
    is_target: NDArray[np.bool_]
    """The image was made for this emotion; else it was asked as a contrast."""
    decided: NDArray[np.int64]
    """What told the image's target from its contrast: index into `DECISIONS`."""
    question: NDArray[np.int64]
    """Question of each answer of the ratings it was made from [number of answers]."""

    @property
    def ambiguous(self) -> NDArray[np.bool_]:
        """Questions of images whose votes and raters do not tell target from contrast."""
        return self.decided >= DECISIONS.index("file_order")


def binary_questions(
    ratings: Ratings, prompted: list[str | None] | None = None, place: NDArray[np.int64] | None = None
) -> BinaryQuestions:
    """Count the votes of each question, and tell targets from contrasts.

    One question per image is the target (none, if the prompted emotion was not asked). What decides, in this order:
    `only_question`; `prompted`, the emotion that the image was made for, where known; `asked_more_than_once`, since
    only a target is followed up; `raters`: some raters saw only targets and some only contrasts, as images already
    decided show; `yes_is_contrast`: of two questions asked once, a target's yes would have been followed up;
    `file_order`: votes and raters do not tell, and the question that stands first in the file is taken (in the released
    file the target stands first in every decided image where one rater was asked both); `first_emotion`: without
    `place`, the first in the order of `ratings.slugs`.

    Args:
        ratings: of kind `binary`.
        prompted: slug per row, where known.
        place: where in its file each answer stands, where known.
    """
    num_slugs = len(ratings.slugs)
    cells, question = np.unique(ratings.row * num_slugs + ratings.slug_index, return_inverse=True)
    row, slug_index = cells // num_slugs, cells % num_slugs
    yes = np.bincount(question, weights=ratings.value, minlength=len(cells)).astype(np.int64)
    votes = np.bincount(question, minlength=len(cells))
    wanted = np.full(len(ratings.keys), -1)
    if prompted is not None:
        known = {slug: i for i, slug in enumerate(ratings.slugs)}
        wanted = np.array([-1 if slug is None else known[slug] for slug in prompted])
    repeated = votes > 1
    clear = np.bincount(row, weights=repeated, minlength=len(ratings.keys))[row] == 1
    evidence = [  # strongest first; the larger number is the target
        np.where(wanted[row] < 0, 0, np.where(wanted[row] == slug_index, 1, -1)),
        repeated.astype(np.int64),
        np.sign(np.bincount(question, weights=_roles(ratings, repeated, clear, question), minlength=len(cells))),
        -((yes > 0) & ~repeated).astype(np.int64),
        -_first_place(place, question, len(cells)),
    ]
    order = np.lexsort((slug_index, *(-values for values in reversed(evidence)), row))
    first = np.ones(len(order), dtype=bool)
    first[1:] = row[order][1:] != row[order][:-1]
    is_target = np.zeros(len(cells), dtype=bool)
    is_target[order[first]] = True
    is_target &= evidence[0] >= 0
    best = order[first]
    second = order[np.minimum(np.flatnonzero(first) + 1, len(order) - 1)]
    differs = np.array([values[best] != values[second] for values in evidence] + [np.ones(len(best), dtype=bool)])
    decided = np.where(row[second] == row[best], 1 + differs.argmax(0), 0)
    decided = np.where(second == best, 0, decided)  # the last image, with one question
    counts = np.diff(np.append(np.flatnonzero(first), len(order)))
    return BinaryQuestions(row, slug_index, yes, votes - yes, is_target, np.repeat(decided, counts), question)


def _first_place(place: NDArray[np.int64] | None, question: NDArray[np.int64], num_questions: int) -> NDArray[np.int64]:
    if place is None:
        return np.zeros(num_questions, dtype=np.int64)
    first = np.full(num_questions, place.max(initial=0))
    np.minimum.at(first, question, place)
    return first


def _roles(
    ratings: Ratings, repeated: NDArray[np.bool_], clear: NDArray[np.bool_], question: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Per answer: 1 if its rater saw only targets, -1 only contrasts, else 0; by images with one repeated question."""
    num_raters = len(ratings.raters)
    sure = clear[question]
    targets = np.bincount(ratings.rater[sure & repeated[question]], minlength=num_raters)
    contrasts = np.bincount(ratings.rater[sure & ~repeated[question]], minlength=num_raters)
    role = np.where(contrasts == 0, np.sign(targets), np.where(targets == 0, -1, 0))
    return role[ratings.rater].astype(np.float64)
