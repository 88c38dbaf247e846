"""Who is asked what: questions and their raters, a pure function of the images, the options and a seed."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from emonet_lightning.annotation.pairs import Pair
from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.ratings.sequential import CONFIRMING

CampaignKind = Literal["binary", "rating", "preference"]
Role = Literal["target", "contrast", "rating", "pair"]


class Question(NamedTuple):
    """One question about one image, and who answers it."""

    id: str
    """What a task carries of it: tells nothing about role, emotion or order."""
    role: Role
    image: str
    """Key in the packed set."""
    subject: str
    """Slug of the emotion asked for, name of the pair, or empty."""
    raters: tuple[str, ...]
    """By round where votes are sequential (a target), else all of them at once."""


def plan_votes(
    images: Sequence[tuple[str, str]],
    partners: dict[str, str],
    raters: Sequence[str],
    contrast_raters: Sequence[str],
    seed: int,
) -> list[Question]:
    """Ask about each image its target, for up to three raters in turn, and once its contrast, another rater.

    Args:
        images: key and slug of the emotion that it was made for.
        partners: slug -> contrast; an emotion without one has no contrast question.
        raters: of targets.
        contrast_raters: of contrasts; empty takes the raters, so that nobody can tell a contrast by being asked it.
        seed: of the order and the assignment.

    Raises:
        UsageError: too few raters for nobody to be shown an image twice.
    """
    _check_names([*raters], "raters")
    _check_names([*contrast_raters], "contrast_raters")
    if len(raters) < CONFIRMING:
        raise UsageError(f"--raters: {len(raters)} given; three yes of different raters confirm, so name at least 3")
    others = list(contrast_raters) or list(raters)
    if partners and set(others) <= set(raters) and len(others) <= CONFIRMING:
        raise UsageError(
            "--raters: a contrast goes to a rater who is not asked the image's target: name a fourth rater, or "
            "--contrast_raters with one who is no other rater, or --contrasts none"
        )
    rng = np.random.default_rng(seed)
    chains = assign(len(images), raters, CONFIRMING, rng)
    turns = assign(len(images), others, len(others), rng)
    asked: list[tuple[Role, str, str, tuple[str, ...]]] = []
    load = dict.fromkeys(others, 0)
    for (key, slug), chain, turn in zip(images, chains, turns, strict=True):
        asked.append(("target", key, slug, chain))
        if slug in partners:
            free = [rater for rater in turn if rater not in chain]
            rater = min(free, key=lambda name: load[name])  # the first in turn of those asked least
            load[rater] += 1
            asked.append(("contrast", key, partners[slug], (rater,)))
    return _numbered(asked, rng)


def plan_ratings(images: Sequence[str], raters: Sequence[str], per_image: int, seed: int) -> list[Question]:
    """Give each image to `per_image` of the raters, all of them equally often, in pairs that change.

    Raises:
        UsageError: more raters per image than there are.
    """
    _check_names([*raters], "raters")
    _check_count(per_image, raters)
    rng = np.random.default_rng(seed)
    chosen = assign(len(images), raters, per_image, rng)
    return _numbered([("rating", key, "", given) for key, given in zip(images, chosen, strict=True)], rng)


def plan_pairs(pairs: Sequence[Pair], raters: Sequence[str], per_image: int, seed: int) -> list[Question]:
    """Give each pair to `per_image` of the raters.

    Raises:
        UsageError: more raters per pair than there are.
    """
    _check_names([*raters], "raters")
    _check_count(per_image, raters)
    rng = np.random.default_rng(seed)
    chosen = assign(len(pairs), raters, per_image, rng)
    return _numbered([("pair", pair.image, pair.pair, given) for pair, given in zip(pairs, chosen, strict=True)], rng)


def assign(count: int, raters: Sequence[str], each: int, rng: np.random.Generator) -> list[tuple[str, ...]]:
    """Give `count` things to `each` different raters, in an order that matters.

    In each block of as many things as there are raters, every rater has each place once (a Latin square over a fresh
    permutation): loads differ by one at most, in every round, and who meets whom changes from block to block.
    """
    given: list[tuple[str, ...]] = []
    number = len(raters)
    while len(given) < count:
        order = [raters[i] for i in rng.permutation(number)]
        given += [tuple(order[(start + place) % number] for place in range(each)) for start in range(number)]
    return given[:count]


def rater_order(questions: Sequence[Question], rater: str, seed: int) -> list[Question]:
    """Return questions in the order in which a rater sees them: another one for each rater."""
    rng = np.random.default_rng([seed, *rater.encode()])
    by_id = sorted(questions)
    return [by_id[i] for i in rng.permutation(len(by_id))]


def _numbered(asked: list[tuple[Role, str, str, tuple[str, ...]]], rng: np.random.Generator) -> list[Question]:
    """Name questions in a random order: a name must not tell targets from contrasts."""
    if not asked:
        raise DataError("no image to ask about; name a set, or a split of it, that has some")
    return [Question(f"q{number:06d}", *asked[i]) for number, i in enumerate(rng.permutation(len(asked)), 1)]


def _check_count(per_image: int, raters: Sequence[str]) -> None:
    if not 1 <= per_image <= len(raters):
        raise UsageError(f"--per_image {per_image}: {len(raters)} raters are named; between 1 and {len(raters)} fit")


def _check_names(raters: Sequence[str], option: str) -> None:
    for rater in raters:
        if not rater.strip() or any(ord(c) < 32 or c in ',"' for c in rater) or rater != rater.strip():
            raise UsageError(f"--{option}: '{rater}' is no rater's name; use letters and digits, separated by commas")
        if raters.count(rater) > 1:
            raise UsageError(f"--{option}: '{rater}' is named twice; each rater has one name")
