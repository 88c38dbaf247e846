"""How a set was voted on: one followed-up target and one contrast per image, as in the released set, or otherwise."""

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.ratings.consensus import DECISIONS, BinaryQuestions
from emonet_lightning.ratings.long_form import Ratings

_TARGET_PATTERNS = {(3, 0), (2, 1), (1, 1), (0, 1), (1, 0)}
_SHOWN = 20  # exceptions that are named; all are counted

SEQUENTIAL = {
    "three_yes": "three yes",
    "two_yes_then_no": "two yes, then no",
    "yes_then_no": "yes, then no",
    "no": "no",
    "yes_only": "yes, never followed up",
    "contrast_no": "contrast: no",
    "contrast_yes": "contrast: yes",
}
"""Outcomes of sequential voting: the first five of a target question, the last two of a contrast."""
GENERAL = {
    "all_yes": "all yes (2 or more votes)",
    "more_yes": "more yes than no",
    "tie": "as many yes as no",
    "more_no": "more no than yes",
    "all_no": "all no (2 or more votes)",
    "single_yes": "one vote: yes",
    "single_no": "one vote: no",
}
"""Outcomes of a question where votes have no such order."""


class Outcomes(NamedTuple):
    """Outcome of each question."""

    labels: dict[str, str]
    """Key -> words, in the order in which they are shown."""
    code: NDArray[np.int64]
    """Index into `labels` [number of questions]."""


def sequential(questions: BinaryQuestions, ratings: Ratings) -> dict[str, Any]:
    """Tell whether every image was asked two questions, a contrast once and a target until the first no or third yes.

    The order of votes is not stored; that a target's no is its last vote follows from no other pattern occurring.

    Returns:
        `holds`, `num_exceptions` (images), and the first of these as `{image, why}`.
    """
    num_images = len(ratings.keys)
    asked = np.bincount(questions.row, minlength=num_images)
    why = {int(row): f"{asked[row]} question(s)" for row in np.flatnonzero(asked != 2)}
    votes = zip(questions.row.tolist(), questions.num_yes.tolist(), questions.num_no.tolist(), strict=True)
    for (row, yes, no), is_target in zip(votes, questions.is_target.tolist(), strict=True):
        if is_target and (yes, no) not in _TARGET_PATTERNS:
            why.setdefault(row, f"target with {yes} yes and {no} no")
        elif not is_target and yes + no > 1:
            why.setdefault(row, f"second question with {yes + no} votes")
    targets = np.bincount(questions.row[questions.is_target], minlength=num_images)
    for row in np.flatnonzero(targets == 0).tolist():
        why.setdefault(row, "the emotion it was made for was not asked")
    followed_up = bool((questions.num_yes + questions.num_no > 1).any())
    return {
        "holds": not why and followed_up,
        "num_images": num_images,
        "questions_per_image": {str(number): count for number, count in sorted(Counter(asked.tolist()).items())},
        "num_exceptions": len(why),
        "exceptions": [{"image": ratings.keys[row], "why": why[row]} for row in sorted(why)[:_SHOWN]],
    }


def outcomes(questions: BinaryQuestions, in_sequence: bool) -> Outcomes:
    """Return the outcome of each question, in the words of sequential voting or in general ones."""
    yes, no = questions.num_yes, questions.num_no
    if in_sequence:
        contrast = ~questions.is_target
        cases = [
            contrast & (yes == 0),
            contrast,
            yes == 3,
            (yes == 2) & (no == 1),
            (yes == 1) & (no == 1),
            no == 1,
        ]
        keys = ["contrast_no", "contrast_yes", "three_yes", "two_yes_then_no", "yes_then_no", "no"]
        labels, default = SEQUENTIAL, "yes_only"
    else:
        cases = [(yes == 1) & (no == 0), (yes == 0) & (no == 1), no == 0, yes == 0, yes > no, yes < no]
        keys, labels, default = ["single_yes", "single_no", "all_yes", "all_no", "more_yes", "more_no"], GENERAL, "tie"
    place = {key: number for number, key in enumerate(labels)}
    return Outcomes(labels, np.select(cases, [place[key] for key in keys], place[default]).astype(np.int64))


def contrast_pairs(questions: BinaryQuestions, ratings: Ratings) -> dict[str, Any]:
    """Recover the fixed pairs: which emotion is always asked beside which.

    An emotion's partner is the one it is asked beside most often, over images with two questions. The pairs are fixed
    if this is its own inverse (1:1) and no image has another pair.

    Returns:
        `holds`, `pairs` (`{emotions: [a, b], num_images, num_targets: [of a, of b]}`, by slug), `unpaired` emotions,
        and the images that have another pair, counted, the first ones named.
    """
    slugs = ratings.slugs
    two = np.bincount(questions.row, minlength=len(ratings.keys)) == 2
    chosen = two[questions.row]
    first, second = questions.slug_index[chosen].reshape(-1, 2).T
    rows = questions.row[chosen][::2]
    beside = np.zeros((len(slugs), len(slugs)), dtype=np.int64)
    np.add.at(beside, (np.r_[first, second], np.r_[second, first]), 1)
    partner = beside.argmax(1)
    seen = beside.sum(1) > 0
    mutual = seen & (partner[partner] == np.arange(len(slugs)))
    other = ~mutual[first] | (partner[first] != second)
    targets = np.bincount(questions.slug_index[chosen & questions.is_target], minlength=len(slugs))
    pairs = [
        {
            "emotions": [slugs[a], slugs[b]],
            "num_images": int(beside[a, b]),
            "num_targets": [int(targets[a]), int(targets[b])],
        }
        for a, b in enumerate(partner.tolist())
        if mutual[a] and a < b
    ]
    return {
        "holds": bool(len(first)) and bool((mutual == seen).all()) and not other.any(),
        "num_pairs": len(pairs),
        "pairs": pairs,
        "unpaired": [slugs[k] for k in np.flatnonzero(seen & ~mutual)],
        "num_exceptions": int(other.sum()),
        "exceptions": [
            {"image": ratings.keys[rows[i]], "emotions": [slugs[first[i]], slugs[second[i]]]}
            for i in np.flatnonzero(other)[:_SHOWN]
        ],
    }


def ambiguous_questions(questions: BinaryQuestions, ratings: Ratings, place: NDArray[np.int64]) -> dict[str, Any]:
    """State how target and contrast were told apart, and what was done where the votes do not tell.

    Returns:
        `decided` (images by what decided, see `ratings.consensus.binary_questions`), the ambiguous images with the
        questions per emotion that they made targets and contrasts, and the evidence for taking the first in the file:
        of the images decided otherwise in which one rater answered both questions, in how many the target stands first.
    """
    first_of_image = np.unique(questions.row, return_index=True)[1]
    decided = Counter(DECISIONS[code] for code in questions.decided[first_of_image].tolist())
    ambiguous = questions.ambiguous
    num_slugs = len(ratings.slugs)
    as_target = np.bincount(questions.slug_index[ambiguous & questions.is_target], minlength=num_slugs)
    as_contrast = np.bincount(questions.slug_index[ambiguous & ~questions.is_target], minlength=num_slugs)
    # two answers of one rater to one image, neighbours once sorted by image, rater and place in the file
    order = np.lexsort((place, ratings.rater, ratings.row))
    same = (np.diff(ratings.row[order]) == 0) & (np.diff(ratings.rater[order]) == 0)
    asked_of = questions.question[order]
    one, next_one = asked_of[:-1][same], asked_of[1:][same]
    known = (questions.is_target[one] != questions.is_target[next_one]) & ~ambiguous[one]
    return {
        "decided": {decision: decided[decision] for decision in DECISIONS if decided[decision]},
        "num_images": int(ambiguous[first_of_image].sum()),
        "num_questions": int(ambiguous.sum()),
        "per_emotion": {
            ratings.slugs[k]: {"as_target": int(as_target[k]), "as_contrast": int(as_contrast[k])}
            for k in np.flatnonzero(as_target + as_contrast)
        },
        "evidence": {"num_images": int(known.sum()), "num_target_first": int(questions.is_target[one][known].sum())},
        "images": [ratings.keys[row] for row in np.unique(questions.row[ambiguous])],
    }
