"""What a file of yes/no votes holds: outcomes, agreement, contrast pairs, and the targets that each rule makes of them.

The numbers of `analysis-binary.ipynb` of the EmoNet-Face release are among them. A file that was voted on otherwise
(more raters, other emotions, one question per image) is described in general terms instead.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.evaluation.shares import share
from emonet_lightning.evaluation.vote_file import Votes
from emonet_lightning.evaluation.vote_structure import (
    Outcomes,
    ambiguous_questions,
    contrast_pairs,
    outcomes,
    sequential,
)
from emonet_lightning.io import sha256_file
from emonet_lightning.ratings.consensus import CONSENSUS, BinaryQuestions, check_values, label_votes
from emonet_lightning.taxonomy import Taxonomy

SCHEMA = "emonet_lightning votes 1"
LEVEL = 0.95
_NUM_DRAWS, _SEED = 1000, 0
RULES = {
    "outcomes": "share of an emotion's target questions, or of its contrast questions, with this outcome; the order of "
    "votes is not stored and inferred from the patterns that occur",
    "outcomes_general": "share of an emotion's questions with this outcome",
    "agreement": "over questions with at least two votes: full, all the same; disagreement, as many yes as no; "
    "partial, all others. Where a target's first no ends the voting, full agreement can only be on yes",
    "yes": "share of votes that are yes",
    "triple_yes": "yes: at least three yes and no no; no: nobody said yes; masked: all others",
    "majority": "yes: more than half yes; no: all others, ties too",
    "mean": "the share of yes on the scale from a no to a yes; nothing masked",
    "drop_ties": "yes: more than half yes; no: less than half yes; masked: ties",
    "share_interval": f"Wilson score interval, {LEVEL:.0%}, questions taken as independent",
    "mean_target": f"mean target over the labelled questions; percentile interval, {LEVEL:.0%}, of {_NUM_DRAWS} "
    f"bootstrap draws of questions, seed {_SEED}; not shown where all targets are equal",
}
"""What each number is."""


def describe_votes(
    votes: Votes, taxonomy: Taxonomy, yes_value: float | None = None, no_value: float | None = None
) -> dict[str, Any]:
    """Count what the votes say; the content of `votes.json`.

    A SHARE is `{count, n, value, low, high}`: count of n, count / n, its interval; null where n is 0.

    Args:
        votes: as read.
        taxonomy: the emotions.
        yes_value: score of a yes; by default the highest level.
        no_value: score of a no; by default the lowest level.

    Returns:
        `schema`, `rules` (a sentence per number), `options` and `votes` (file, digest, counts, notes);
        `structure` (see `vote_structure.sequential`: the released voting, or `holds: false` and why not);
        `contrast_pairs` and `ambiguous` (see `vote_structure`), null unless the structure holds;
        `outcomes`: key -> words; `raters`: `{name, num_votes, yes: SHARE, on_targets: SHARE, on_contrasts: SHARE}`;
        `total` and each of `emotions` (`name`, `slug`, `family`): `num_questions`, `num_targets`, `num_contrasts`,
        `num_votes`, `votes` (`"2-1"`: two yes, one no -> count), `yes`: SHARE of votes, `outcomes`: key -> SHARE,
        `agreement`: full, partial, disagreement -> SHARE, and `targets`: rule -> `{yes, no, between, masked,
        num_labelled, yes_share: SHARE, mean_target: {value, low, high, n}}`.

    Raises:
        UsageError: values of a yes or a no that the scale does not have.
    """
    low, high = taxonomy.dimensions[0].low, taxonomy.dimensions[0].high
    yes_value, no_value = high if yes_value is None else yes_value, low if no_value is None else no_value
    check_values(yes_value, no_value, low, high, "--")
    questions, ratings = votes.questions, votes.ratings
    structure = sequential(questions, ratings)
    holds = structure["holds"]
    found = outcomes(questions, holds)
    labels = {rule: label_votes(questions.num_yes, questions.num_no, rule) for rule in CONSENSUS}

    def describe(chosen: NDArray[np.bool_]) -> dict[str, Any]:
        targets = {
            rule: _targets(given.share[chosen], given.mask[chosen], yes_value, no_value)
            for rule, given in labels.items()
        }
        return _describe(questions, found, holds, chosen) | {"targets": targets}

    asked = np.flatnonzero(np.bincount(questions.slug_index, minlength=len(taxonomy)))
    return {
        "schema": SCHEMA,
        "rules": {key: text for key, text in RULES.items() if key != ("outcomes_general" if holds else "outcomes")},
        "options": {"yes_value": yes_value, "no_value": no_value},
        "taxonomy": {"name": taxonomy.name, "digest": taxonomy.digest},
        "votes": {
            "name": votes.path.name,
            "sha256": sha256_file(votes.path),
            "num_images": len(ratings.keys),
            "num_questions": len(questions.row),
            "num_votes": len(ratings.value),
            "num_yes": int(ratings.value.sum()),
            "num_no": int((ratings.value == 0).sum()),
            "num_raters": len(ratings.raters),
            "num_emotions": len(asked),
            "never_asked": [slug for k, slug in enumerate(taxonomy.slugs) if k not in set(asked.tolist())],
            "notes": votes.notes,
        },
        "structure": structure,
        "contrast_pairs": contrast_pairs(questions, ratings) if holds else None,
        "ambiguous": ambiguous_questions(questions, ratings, votes.place) if holds else None,
        "outcomes": found.labels,
        "raters": _raters(votes, holds),
        "total": describe(np.ones(len(questions.row), dtype=bool)),
        "emotions": [
            {
                "name": taxonomy.names[k],
                "slug": taxonomy.slugs[k],
                "family": taxonomy.dimensions[k].family,
                **describe(questions.slug_index == k),
            }
            for k in asked.tolist()
        ],
    }


def _describe(questions: BinaryQuestions, found: Outcomes, holds: bool, chosen: NDArray[np.bool_]) -> dict[str, Any]:
    yes, no = questions.num_yes[chosen], questions.num_no[chosen]
    is_target = questions.is_target[chosen]
    counts = np.bincount(found.code[chosen], minlength=len(found.labels))
    several = yes + no > 1
    full, tie = several & ((yes == 0) | (no == 0)), several & (yes == no)
    patterns, number = np.unique(np.stack([yes, no], 1), axis=0, return_counts=True)
    return {
        "num_questions": len(yes),
        "num_targets": int(is_target.sum()) if holds else None,
        "num_contrasts": int((~is_target).sum()) if holds else None,
        "num_votes": int((yes + no).sum()),
        "votes": {f"{y}-{n}": int(c) for (y, n), c in zip(patterns.tolist(), number, strict=True)},
        "yes": share(yes.sum(), (yes + no).sum()),
        "outcomes": {
            key: share(count, _asked(key, is_target) if holds else len(yes))
            for key, count in zip(found.labels, counts, strict=True)
        },
        "agreement": {
            "full": share(full.sum(), several.sum()),
            "partial": share((several & ~full & ~tie).sum(), several.sum()),
            "disagreement": share(tie.sum(), several.sum()),
        },
    }


def _asked(key: str, is_target: NDArray[np.bool_]) -> int:
    return int((~is_target).sum() if key.startswith("contrast_") else is_target.sum())


def _targets(labels: NDArray[np.float64], mask: NDArray[np.bool_], yes_value: float, no_value: float) -> dict[str, Any]:
    given, n = labels[mask], int(mask.sum())
    yes, no = int((given == 1).sum()), int((given == 0).sum())
    mean: dict[str, Any] = {"value": None, "low": None, "high": None, "n": n}
    if n:
        values, counts = np.unique(given, return_counts=True)
        # a draw of n questions is told by how often each value comes up in it
        draws = np.random.default_rng(_SEED).multinomial(n, counts / n, size=_NUM_DRAWS) @ values / n
        shares = np.array([given.mean(), *np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])])
        mean |= dict(zip(("value", "low", "high"), (no_value + (yes_value - no_value) * shares).tolist(), strict=True))
    return {
        "yes": yes,
        "no": no,
        "between": n - yes - no,
        "masked": int((~mask).sum()),
        "num_labelled": n,
        "yes_share": share(yes, n),
        "mean_target": mean,
    }


def _raters(votes: Votes, holds: bool) -> list[dict[str, Any]]:
    ratings = votes.ratings
    on_target = votes.questions.is_target[votes.questions.question]
    result = []
    for rater in sorted(range(len(ratings.raters)), key=lambda rater: ratings.raters[rater]):
        own = ratings.rater == rater
        kinds = {"on_targets": own & on_target, "on_contrasts": own & ~on_target} if holds else {}
        result.append(
            {
                "name": ratings.raters[rater],
                "num_votes": int(own.sum()),
                "yes": share(ratings.value[own].sum(), own.sum()),
                **{key: share(ratings.value[kind].sum(), kind.sum()) for key, kind in kinds.items()},
            }
        )
    return result
