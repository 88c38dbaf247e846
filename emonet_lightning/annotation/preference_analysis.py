"""What the answers of a preference study say: preferred in p % of comparisons, with n and what each interval covers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, permutation_test

from emonet_lightning.annotation.bradley_terry import strengths
from emonet_lightning.annotation.preference_answers import Answers
from emonet_lightning.evaluation.agreement import krippendorff_alpha
from emonet_lightning.evaluation.bootstrap import draws
from emonet_lightning.evaluation.estimates import number, point
from emonet_lightning.evaluation.multiple_comparisons import holm
from emonet_lightning.evaluation.shares import share
from emonet_lightning.evaluation.two_way import clustered_interval

SCHEMA = "emonet_lightning preference 1"
HASTY = 1.0
"""Seconds: nobody looks at a face and reads ten words in less."""
RULES = {
    "preferred": "share of comparisons in which the subject's list was chosen; equal lists were not shown",
    "wilson": "Wilson score interval: comparisons are taken as independent. It covers the share among comparisons like "
    "these, of these judges on these images",
    "clustered": "interval for other images and other judges, too: variances over images, judges and single answers "
    "added up, t distribution with the degrees of freedom that so many judges leave. With three judges or fewer it is "
    "still too narrow; with one judge it is about that judge alone",
    "crossed": "the same by bootstrap: percentile interval of draws of images and of judges, crossed (a comparison "
    "counts as often as its image times its judge). It is too wide where judges are alike (Owen 2007) and too narrow "
    "where few judges differ much. With one judge images alone are drawn",
    "p": "whether the share differs from one half: sign-flip permutation test on the images' means, so that several "
    "answers to one image count as one; p_holm: corrected for all emotions, or judges, that are shown (Holm)",
    "side": "exact binomial test that left is chosen as often as right; sides are random, so any difference is the "
    "judges' habit. It makes all preferences look weaker, never turns them",
    "agreement": "pairs that several judges answered: share of pairs of judges who chose the same, and Krippendorff's "
    "alpha (nominal) on which system was chosen; 0 is chance",
    "strengths": "Bradley-Terry model by logistic regression, with the side as intercept and a weak ridge (C = 100) so "
    "that a system that wins all has a finite strength; log-odds, mean 0; crossed bootstrap",
    "equal_half": "the share if each image with equal lists had been judged as often as the others and half for each",
}


def analyse(
    answers: Answers,
    key: dict[str, Any],
    subject: int = 1,
    reference: int = 0,
    num_draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """Return what `preference.json` holds.

    Args:
        answers: of the judges.
        key: of the study.
        subject: the system whose share is told.
        reference: the system that it is compared with.
        num_draws: bootstrap draws.
        seed: of the draws.
        level: coverage of the intervals.
    """
    weights = crossed_draws(answers, num_draws, seed)
    shown = answers.between(subject, reference)
    won = answers.winner == subject

    def preferred(chosen: NDArray[np.bool_]) -> dict[str, Any]:
        chosen = chosen & shown
        found: dict[str, Any] = dict(share(won[chosen].sum(), chosen.sum(), level))
        found["clustered"] = _clustered(answers, chosen, won, level)
        found["crossed"] = _crossed(weights[:, chosen], won[chosen], level)
        found["p"] = sign_flip_p(won[chosen], answers.image[chosen], seed)
        found["num_images"] = len(np.unique(answers.image[chosen]))
        found["num_judges"] = len(np.unique(answers.rater[chosen]))
        return found

    overall = preferred(np.ones(len(won), dtype=bool))
    left_out = next(
        entry
        for entry in key["left_out"]
        if {entry["first"], entry["second"]} == {answers.systems[subject], answers.systems[reference]}
    )
    equal, total = left_out["equal"], left_out["equal"] + left_out["shown"]
    if overall["value"] is not None and total:
        overall["equal_half"] = (overall["value"] * left_out["shown"] + equal / 2) / total
    emotions = [
        {"emotion": slug, **preferred(answers.emotion == place)}
        for place, slug in enumerate(answers.emotions)
        if (shown & (answers.emotion == place)).any()
    ]
    judges = [
        {
            "rater": name,
            **preferred(answers.rater == place),
            "left": share(answers.chose_left[answers.rater == place].sum(), (answers.rater == place).sum(), level),
            "left_p": _half(answers.chose_left[answers.rater == place]),
            "seconds": _seconds(answers.seconds[answers.rater == place]),
        }
        for place, name in enumerate(answers.raters)
    ]
    for rows, keys in ((emotions, ("p",)), (judges, ("p", "left_p"))):
        for name in keys:
            corrected = holm([np.nan if row[name] is None else row[name] for row in rows])
            for row, value in zip(rows, corrected.tolist(), strict=True):
                row[f"{name}_holm"] = number(value)
    return {
        "schema": SCHEMA,
        "rules": RULES,
        "options": {"num_draws": num_draws, "seed": seed, "level": level},
        "systems": answers.systems,
        "subject": answers.systems[subject],
        "reference": answers.systems[reference],
        "about": key["about"],
        "counts": {
            "answers": len(won),
            "comparisons": int(shown.sum()),
            "pairs": len(answers.pairs),
            "pairs_answered": len(np.unique(answers.pair)),
            "judges": len(answers.raters),
            "images": len(np.unique(answers.image)),
            "left_out": key["left_out"],
        },
        "overall": overall,
        "emotions": emotions,
        "judges": judges,
        "side": {"left": share(answers.chose_left.sum(), len(won), level), "p": _half(answers.chose_left)},
        "agreement": _agreement(answers),
        "seconds": _seconds(answers.seconds),
        **_many_systems(answers, weights, level),
    }


def crossed_draws(answers: Answers, num_draws: int, seed: int) -> NDArray[np.float64]:
    """Return how often each answer counts in each draw [1 + B, n]: images times judges, of one judge images alone."""
    images = draws(len(answers.images), num_draws, seed)[:, answers.image]
    if len(answers.raters) < 2:
        return images
    return images * draws(len(answers.raters), num_draws, seed + 1)[:, answers.rater]


def sign_flip_p(won: NDArray[np.bool_], image: NDArray[np.int64], seed: int = 0) -> float | None:
    """Return the p value of no preference, by flipping the preference of whole images; None below two images."""
    if len(np.unique(image)) < 2:
        return None
    _, place = np.unique(image, return_inverse=True)
    mean = np.bincount(place, weights=2.0 * won - 1) / np.bincount(place)
    found = permutation_test(
        (mean,), np.mean, permutation_type="samples", n_resamples=1999, vectorized=True, rng=np.random.default_rng(seed)
    )
    return float(found.pvalue)


def _mean(weights: NDArray[np.float64], values: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weighted share in each draw; NaN where a draw holds none of the answers."""
    total = weights.sum(axis=1)
    return np.where(total > 0, weights @ values.astype(np.float64) / np.where(total > 0, total, 1.0), np.nan)


def _clustered(
    answers: Answers, chosen: NDArray[np.bool_], won: NDArray[np.bool_], level: float
) -> dict[str, float | None]:
    if not chosen.any():
        return {"value": None, "low": None, "high": None}
    low, high = clustered_interval(won[chosen], answers.image[chosen], answers.rater[chosen], level)
    return {"value": float(won[chosen].mean()), "low": low, "high": high}


def _crossed(weights: NDArray[np.float64], won: NDArray[np.bool_], level: float) -> dict[str, float | None]:
    """Return `value`, `low` and `high` of the crossed bootstrap; None where it has nothing to draw from."""
    found = point(_mean(weights, won), level)
    return {key: found[key] for key in ("value", "low", "high")}


def _half(values: NDArray[np.bool_]) -> float | None:
    return float(binomtest(int(values.sum()), len(values)).pvalue) if len(values) else None


def _agreement(answers: Answers) -> dict[str, Any]:
    """Agreement of judges on the pairs that at least two of them answered."""
    table = np.full((len(answers.pairs), len(answers.raters), 1), np.nan)
    # the system with the smaller number of the two is 0: which one was chosen, not which side
    table[answers.pair, answers.rater, 0] = answers.winner == np.maximum(answers.left, answers.right)
    votes = (~np.isnan(table[..., 0])).sum(axis=1)
    ones = np.nansum(table[..., 0], axis=1)
    both = votes >= 2
    same = (ones * (ones - 1) + (votes - ones) * (votes - ones - 1))[both] / 2
    number_of = (votes * (votes - 1))[both] / 2
    return {
        "num_pairs": int(both.sum()),
        "same_choice": number(same.sum() / number_of.sum()) if both.any() else None,
        "alpha": number(krippendorff_alpha(table, "nominal")[0]) if both.any() else None,
    }


def _seconds(values: NDArray[np.float64]) -> dict[str, Any]:
    known = values[~np.isnan(values)]
    quartiles = np.percentile(known, [25, 50, 75]).tolist() if len(known) else [None] * 3
    return {
        "n": len(known),
        **dict(zip(("first_quarter", "median", "last_quarter"), quartiles, strict=True)),
        "num_hasty": int((known < HASTY).sum()),
    }


def _many_systems(answers: Answers, weights: NDArray[np.float64], level: float) -> dict[str, Any]:
    """Shares of every two systems, and Bradley-Terry strengths, where more than two compete."""
    num = len(answers.systems)
    if num < 3:
        return {"pairwise": None, "strengths": None}
    pairwise = []
    for a in range(num):
        for b in range(a + 1, num):
            chosen = answers.between(a, b)
            won = answers.winner[chosen] == a
            pairwise.append(
                {
                    "first": answers.systems[a],
                    "second": answers.systems[b],
                    **share(won.sum(), chosen.sum(), level),
                    "clustered": _clustered(answers, chosen, answers.winner == a, level),
                    "crossed": _crossed(weights[:, chosen], won, level),
                }
            )
    drawn = strengths(answers.left, answers.right, answers.chose_left, num, weights)
    return {
        "pairwise": pairwise,
        "strengths": [{"system": name, **point(drawn[:, s], level)} for s, name in enumerate(answers.systems)],
    }
