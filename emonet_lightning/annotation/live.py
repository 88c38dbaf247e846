"""How far a campaign is, and how far its raters agree so far."""

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.annotation.answers import CONSENT, Answer, votes_of
from emonet_lightning.annotation.campaigns import due_questions
from emonet_lightning.annotation.interface import LEFT
from emonet_lightning.annotation.record import CONSENT_ROUND, Campaign
from emonet_lightning.evaluation.alpha import krippendorff_alpha
from emonet_lightning.evaluation.kappa import mean_rater_kappa
from emonet_lightning.evaluation.shares import Share, share
from emonet_lightning.ratings.sequential import pattern

NO_VOTE = "no vote yet"


class RaterProgress(NamedTuple):
    """Of one rater."""

    rater: str
    agreed: bool | None
    """To the consent; None where nobody is asked for it."""
    done: int
    due: int
    """Questions before this rater so far, answered ones included."""
    seconds: float | None
    """Median per answer."""
    yes: Share | None
    """Of the answers to targets in later rounds, which others said yes to."""
    contrast_yes: Share | None
    kappa: float | None
    """Mean kappa with the other raters, over pairs and emotions for which it is defined; of ratings and pairs."""


def rater_progress(campaign: Campaign, answers: Sequence[Answer]) -> list[RaterProgress]:
    """Return how far each rater is."""
    due = due_questions(campaign, votes_of(answers))
    values = rating_array(campaign, answers)
    kappa = np.full(len(campaign.raters), np.nan)
    if values is not None and len(values):
        low, high = (0.0, 1.0) if campaign.kind == "preference" else _levels(campaign)
        found = mean_rater_kappa(values, low, high)
        defined = ~np.isnan(found)
        number = defined.sum(axis=1)
        kappa = np.where(number > 0, np.where(defined, found, 0).sum(axis=1) / np.maximum(number, 1), np.nan)
    roles = {question.id: question.role for question in campaign.questions}
    rows = []
    for place, rater in enumerate(campaign.raters):
        own = [answer for answer in answers if answer.rater == rater]
        given = [answer for answer in own if answer.round != CONSENT_ROUND]
        seconds = [answer.seconds for answer in given if answer.seconds is not None]
        later = [answer.yes for answer in given if answer.round > 1]
        contrast = [answer.yes for answer in given if roles[answer.question] == "contrast"]
        votes = campaign.kind == "binary"
        rows.append(
            RaterProgress(
                rater,
                any(a.question == CONSENT and a.yes for a in own) if campaign.consent else None,
                len(given),
                sum(len(q) for (name, number), q in due.items() if name == rater and number != CONSENT_ROUND),
                statistics.median(seconds) if seconds else None,
                share(sum(map(bool, later)), len(later)) if votes else None,
                share(sum(map(bool, contrast)), len(contrast)) if votes else None,
                None if np.isnan(kappa[place]) else float(kappa[place]),
            )
        )
    return rows


def outcomes(campaign: Campaign, answers: Sequence[Answer]) -> dict[str, int]:
    """Return how many target questions have each pattern of votes so far (`TTT`, `TF`, ...), and how many none."""
    votes = votes_of(answers)
    counts = Counter(pattern(votes.get(q.id, [])) or NO_VOTE for q in campaign.questions if q.role == "target")
    return dict(sorted(counts.items()))


def changed_minds(campaign: Campaign, answers: Sequence[Answer]) -> list[str]:
    """Return target questions with a no that others were asked after: it was a yes when they were."""
    votes = votes_of(answers)
    return [q.id for q in campaign.questions if q.role == "target" and not all(votes.get(q.id, [])[:-1])]


def agreement(campaign: Campaign, answers: Sequence[Answer]) -> list[str]:
    """Return in words how far the raters agree so far, and on how much."""
    if campaign.kind == "binary":
        several = [votes for votes in _target_votes(campaign, answers) if len(votes) > 1]
        full = share(sum(len(set(votes)) == 1 for votes in several), len(several))
        # the first of several votes is always a yes here, so a chance-corrected figure would mean nothing
        if full["value"] is None:
            return ["no target has two votes yet"]
        return [
            f"of {full['n']} targets with two votes or more, raters agree on {full['value']:.0%} "
            f"[{full['low']:.0%}, {full['high']:.0%}] (in sequential voting: all said yes)"
        ]
    values = rating_array(campaign, answers)
    several_n = 0 if values is None else int(((~np.isnan(values).all(axis=2)).sum(axis=1) > 1).sum())
    if values is None or not several_n:
        return ["nothing has two raters yet"]
    if campaign.kind == "preference":
        alpha = krippendorff_alpha(values, "nominal")
        return [f"alpha (nominal) {_number(alpha[0])} on {several_n} pairs with two raters or more"]
    alpha = krippendorff_alpha(values)
    defined = ~np.isnan(alpha)
    mean = float(alpha[defined].mean()) if defined.any() else float("nan")
    best = np.argsort(np.where(defined, -alpha, np.inf), kind="stable")[: min(3, int(defined.sum()))]
    names = campaign.columns().names
    told = ", ".join(f"{names[k]} {alpha[k]:.2f}" for k in best)
    return [
        f"alpha (interval, untouched = lowest level) {_number(mean)}, mean of {int(defined.sum())} of {len(alpha)} "
        f"emotions with two levels or more, {several_n} images with two raters or more"
        + (f"; highest {told}" if told else "")
    ]


def rating_array(campaign: Campaign, answers: Sequence[Answer]) -> NDArray[np.float64] | None:
    """Return ratings [N, R, K], or choices [N, R, 1] with 1 for left; NaN where a rater gave none. None of votes."""
    if campaign.kind == "binary":
        return None
    columns = campaign.columns()
    place = {question.id: n for n, question in enumerate(campaign.questions)}
    rater = {name: n for n, name in enumerate(campaign.raters)}
    width = 1 if campaign.kind == "preference" else len(columns)
    values = np.full((len(place), len(rater), width), np.nan)
    low = [dimension.low for dimension in columns.dimensions]
    for answer in answers:
        if answer.round == CONSENT_ROUND:
            continue
        cell: Any = answer.choice == LEFT
        if answer.ratings is not None:
            cell = [answer.ratings.get(slug, low[k]) for k, slug in enumerate(columns.slugs)]
        values[place[answer.question], rater[answer.rater]] = cell
    return values


def _levels(campaign: Campaign) -> tuple[float, float]:
    scale = campaign.columns().dimensions[0]
    return scale.low, scale.high


def _target_votes(campaign: Campaign, answers: Sequence[Answer]) -> list[list[bool]]:
    votes = votes_of(answers)
    return [votes[q.id] for q in campaign.questions if q.role == "target" and q.id in votes]


def _number(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:.3f}"
