"""Scores under every condition, by whatever gives scores to pictures, and what they lose.

A `Score` is given pictures and returns their scores: the heads of a run, or a stand-in whose weakness is known.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from emonet_lightning.evaluation.agreement import judge_left_out, judge_raters
from emonet_lightning.evaluation.association import spearman
from emonet_lightning.evaluation.bootstrap import draws, num_units
from emonet_lightning.evaluation.columns import Array
from emonet_lightning.evaluation.degradation import Measure, Sweep, anchor_of, follow_intensity, judge_sweep
from emonet_lightning.evaluation.estimates import estimate
from emonet_lightning.ratings.panel import Panel, slots
from emonet_lightning.robustness.conditions import SEVERITIES, Corruption, Factor
from emonet_lightning.robustness.corruptions import corrupt
from emonet_lightning.robustness.picture_sets import PictureSet, pixels_of
from emonet_lightning.robustness.rendered import Faces
from emonet_lightning.taxonomy import Taxonomy

Pictures = Iterable[tuple[str, Callable[[], Any]]]
"""Names, and what makes each picture: encoded, or pixels."""
Score = Callable[[str, int, Pictures], Array]
"""From the name of a condition, the number of pictures and the pictures to scores [n, K] in their order."""
ONE_RATER = "each of {} simulated raters, who see the undisturbed face, against the mean of the others"
_NUM_RATERS = 4  # as many as rate an image of the released ratings
EACH_RATER = "each rater of the pictures against the mean of the others, mean over {} raters"


def measure_faces(
    faces: Faces,
    factors: Sequence[Factor],
    score: Score,
    *,
    anchor: tuple[float, str] | None = None,
    num_draws: int = 200,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """Return the part `faces` of robustness.json.

    Args:
        faces: rendered faces of P persons times K emotions.
        factors: what is changed, one at a time.
        score: gives scores of the faces' K emotions.
        anchor: agreement of humans and where it is from; by default that of simulated raters of these faces.
        num_draws: bootstrap draws of persons.
        seed: of the draws.
        level: coverage of the intervals.
    """
    weights = draws(len(faces), num_draws, seed, faces.persons)
    ratings = faces.ratings()[:_NUM_RATERS]
    if anchor is None:
        human = {**anchor_of(ratings, weights, level), "source": ONE_RATER.format(len(ratings))}
    else:
        human = {"value": anchor[0], "source": anchor[1]}
    found: dict[str, Any] = {
        "num_persons": faces.num_persons,
        "num_faces": len(faces),
        "num_pictures": len(faces) * sum(len(factor.levels) for factor in factors),
        "size": faces.size,
        "emotions": faces.slugs,
        "anchor": human,
        "factors": [],
        "intensity": None,
    }
    for factor in factors:
        count = len(faces) * len(factor.levels)
        scores = score(factor.name, count, faces.pictures(factor))
        by_level = scores.reshape(len(faces), len(factor.levels), -1).transpose(1, 0, 2)
        sweep = Sweep(factor.name, factor.levels, factor.undisturbed, by_level, faces.truth(factor), factor.unit)
        alone = factor.sets == "intensity"  # other faces than the raters saw
        compared: dict[str, Any] = {} if alone else {"anchor": human["value"], "ratings": ratings}
        judged = judge_sweep(sweep, weights, level=level, **compared)
        found["factors"].append({**judged, "sets": factor.sets, "with": dict(factor.together)})
        if alone:
            k = len(faces.slugs)
            own = np.einsum("lpkk->lpk", by_level.reshape(len(factor.levels), faces.num_persons, k, k))
            of_persons = draws(faces.num_persons, num_draws, seed)
            found["intensity"] = follow_intensity(own, factor.levels, of_persons, level)
    return found


def measure_images(
    pictures: PictureSet,
    corruptions: Sequence[Corruption],
    score: Score,
    taxonomy: Taxonomy,
    *,
    anchor: tuple[float, str] | None = None,
    num_draws: int = 200,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """Return the part `images` of robustness.json; arguments as in `measure_faces`."""
    num = len(pictures.names)
    weights = draws(num, num_draws, seed, pictures.groups)
    human: dict[str, Any] | None = None if anchor is None else {"value": anchor[0], "source": anchor[1]}
    measure: Measure = spearman
    known = "none"
    if pictures.ratings is not None:
        ratings = pictures.ratings
        known = "mean of the raters but one, mean over raters"
        human = human or _anchor_of_raters(pictures, taxonomy, weights, level)

        def measure(scores: Array, truth: Array, weights: Array) -> Array:
            return judge_left_out(scores, ratings, weights)["spearman_left_out"]

    elif pictures.truth is not None:
        known = "labels of the set"
    found: dict[str, Any] = {
        "name": pictures.name,
        "num_images": num,
        "num_groups": num_units(num, pictures.groups) if pictures.groups else None,
        "truth": None if pictures.truth is None else known,
        "anchor": human,
        "corruptions": [],
    }
    for corruption in corruptions:
        count = num * len(SEVERITIES)
        scores = score(corruption.name, count, corrupted(pictures, corruption, seed))
        by_level = scores.reshape(num, len(SEVERITIES), -1).transpose(1, 0, 2)
        truth = None if pictures.truth is None else np.repeat(pictures.truth[None], len(SEVERITIES), axis=0)
        sweep = Sweep(corruption.name, SEVERITIES, 0, by_level, truth, "severity")
        judged = judge_sweep(sweep, weights, None if human is None else human["value"], level, measure)
        found["corruptions"].append({**judged, "setting": corruption.unit, "values": list(corruption.severities)})
    return found


def corrupted(pictures: PictureSet, corruption: Corruption, seed: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield all severities of the first picture, the picture itself before them, then of the second."""
    for name, source in zip(pictures.names, pictures.sources, strict=True):
        decoded: list[np.ndarray] = []
        for severity in SEVERITIES:
            yield (
                f"{name} ({corruption.name} {severity})",
                _corrupted(name, source, decoded, corruption, severity, seed),
            )


def _corrupted(
    name: str, source: Callable[[], bytes], decoded: list[np.ndarray], corruption: Corruption, severity: int, seed: int
) -> Callable[[], np.ndarray]:
    def make() -> np.ndarray:
        if not decoded:  # two threads may both do it: the same pixels
            decoded.append(pixels_of(name, source))
        return corrupt(decoded[0], corruption, severity, name, seed)

    return make


def _anchor_of_raters(pictures: PictureSet, taxonomy: Taxonomy, weights: Array, level: float) -> dict[str, Any]:
    ratings = pictures.ratings
    assert ratings is not None
    num_raters = ratings.shape[1]
    answered = ~np.isnan(ratings).all(axis=2)
    order = np.where(answered, np.cumsum(answered, axis=1) - 1, -1)
    panel = Panel("", pictures.names, [str(rater) for rater in range(num_raters)], ratings, order)
    low, high = taxonomy.dimensions[0].low, taxonomy.dimensions[0].high
    values = judge_raters(ratings, slots(panel), low, high, weights, low + 1)["spearman"]
    whole = np.ones(values.shape[1], dtype=bool)
    found = estimate(values, whole, level, np.isnan(values[0]))
    return {**found, "source": EACH_RATER.format(num_raters)}
