"""Which emotions a system cannot tell apart, beside the raters: correlations, trees, the pairs that it fuses.

The trade-off: scores as smooth as a system's correlate more than ratings do, whatever is in the face. So a pair counts
as blurred only if its scores go together more than ratings do *and* their difference says less about the ratings'
difference than a single rater's does (little, where no single rater can be asked); it counts as fused if its scores
are highly correlated, too.

confusion.json (`schema`: emonet_lightning confusion 1; undefined figures are null):

    system          name
    emotions        [K] of name, slug, family: those that were compared
    left_out        [{slug, reason}]; num_images used, num_incomplete images left out
    correlations    {system, raters} [K][K]; excess, p_holm [K][K]
    partial         {system, raters} [K][K], shrinkage {system, raters}
    trees           {system, raters} as scipy's linkage; order {system, raters} (emotions by leaf); comparison
    overlap         shared_keywords [K][K] words, same_family [K][K], by_relation
    pairs           the worst: [{first, second, correlation {system, raters, excess, low, high, p_holm}, partial,
                     told_apart {system, raters, difference, low, high}, is_fused, is_blurred,
                     shared_keywords, same_family, examples {first, second: [{image, ratings, scores}]}}]
    num_fused       of all num_pairs; num_blurred further ones
    bootstrap       num_draws, seed, level, unit, num_units
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.errors import DataError
from emonet_lightning.evaluation.bootstrap import draws, interval, num_units
from emonet_lightning.evaluation.columns import Array, mean_rating
from emonet_lightning.evaluation.emotion_correlations import (
    centred_ranks,
    correlations,
    partial_correlations,
    shrinkage_of,
)
from emonet_lightning.evaluation.emotion_trees import compare_trees, leaves, tree_of
from emonet_lightning.evaluation.estimates import number, numbers
from emonet_lightning.evaluation.group_gaps import p_value
from emonet_lightning.evaluation.multiple_comparisons import holm
from emonet_lightning.evaluation.taxonomy_overlap import by_relation, same_family, shared_keywords
from emonet_lightning.evaluation.telling_apart import told_apart
from emonet_lightning.ratings.panel import Panel, SystemScores
from emonet_lightning.taxonomy import Dimension, Taxonomy

SCHEMA = "emonet_lightning confusion 1"
LEAST_IMAGES = 20
TOLD_FROM = 0.3
"""Correlation of differences from which emotions are told apart, where no single rater can be asked: a medium one."""
FUSED_FROM = 0.5
"""Correlation of scores from which a blurred pair is called fused: a large one, as Cohen (1988) puts it."""
_CONVINCING = 0.05


class Comparable(NamedTuple):
    """The images and emotions on which a system can be compared with raters."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    left_out: list[dict[str, str]]


def comparable(scores: Array, target: Array, slugs: Sequence[str]) -> Comparable:
    """Leave out emotions without scores or ratings and constant ones, then images on which one is missing.

    Raises:
        DataError: fewer than 2 emotions or 20 images are left.
    """
    left_out: list[dict[str, str]] = []
    columns = np.arange(len(slugs))
    rows = np.arange(len(scores))
    while True:
        reasons: dict[int, str] = {}
        for k in columns:
            for values, what in ((scores[rows, k], "scores"), (target[rows, k], "ratings")):
                given = values[~np.isnan(values)]
                if not len(given):
                    reasons.setdefault(int(k), f"no {what}")
                elif (given == given[0]).all():
                    reasons.setdefault(int(k), f"all {what} are {given[0]:g}")
        left_out += [{"slug": slugs[k], "reason": reason} for k, reason in reasons.items()]
        columns = np.array([k for k in columns if int(k) not in reasons], dtype=np.intp)
        whole = ~(np.isnan(scores[:, columns]) | np.isnan(target[:, columns])).any(axis=1)
        kept = np.flatnonzero(whole)
        if not reasons and len(kept) == len(rows):
            break
        rows = kept
        if len(columns) < 2 or len(rows) < LEAST_IMAGES:
            told = "; ".join(f"{one['slug']}: {one['reason']}" for one in left_out[:3])
            raise DataError(
                f"{len(columns)} emotions that vary and {len(rows)} images with all of them are left"
                + (f" ({told})" if told else "")
                + f"; at least 2 and {LEAST_IMAGES} are needed (--untouched zero counts what raters left out as 0)"
            )
    return Comparable(rows, columns, left_out)


def judge_confusion(
    panel: Panel,
    system: SystemScores,
    taxonomy: Taxonomy,
    *,
    num_pairs: int = 10,
    num_examples: int = 2,
    num_draws: int = 500,
    seed: int = 0,
    level: float = 0.95,
    advance: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Compare which emotions a system and the raters put together.

    Args:
        panel: ratings of emotions only; draws are of groups where it has them.
        system: its scores.
        taxonomy: columns.
        num_pairs: of the worst pairs.
        num_examples: images of each pair and direction.
        num_draws: bootstrap draws.
        seed: of draws and permutations.
        level: coverage of the intervals.
        advance: called with 1 after each of three steps.

    Returns:
        The content of confusion.json as described above, without options and definitions.

    Raises:
        DataError: too few emotions or images can be compared.
    """
    target = mean_rating(panel.values)
    rows, columns, left_out = comparable(system.scores, target, taxonomy.slugs)
    dimensions = [taxonomy.dimensions[k] for k in columns]
    groups = None if panel.groups is None else [panel.groups[row] for row in rows]
    weights = draws(len(rows), num_draws, seed, groups)
    ranks = {
        "system": centred_ranks(system.scores[np.ix_(rows, columns)]),
        "raters": centred_ranks(target[np.ix_(rows, columns)]),
    }
    together = {name: correlations(own, weights) for name, own in ranks.items()}
    advance(1)
    shrinkage = {name: shrinkage_of(own) for name, own in ranks.items()}
    partial = {name: partial_correlations(own, shrinkage[name]) for name, own in together.items()}
    advance(1)
    apart = told_apart(ranks["system"], panel.values[np.ix_(rows, np.arange(panel.values.shape[1]), columns)], weights)
    advance(1)
    i, j = np.triu_indices(len(columns), 1)
    units = num_units(len(rows), groups)
    excess = excess_of(together["system"][:, i, j], together["raters"][:, i, j])
    p = holm(p_value(excess, units).tolist())
    # beside a single rater; where none can be asked, beside a correlation that would be worth something
    _, upper = interval(apart.system - apart.raters if apart.num_raters else apart.system - TOLD_FROM, level)
    less = upper < 0
    blurred = (p < _CONVINCING) & (excess[0] > 0) & less
    fused = blurred & (together["system"][0, i, j] >= FUSED_FROM)
    first = np.lexsort((-excess[0], ~blurred, ~fused))[:num_pairs]
    ends = interval(excess, level)
    words = shared_keywords(dimensions)
    family = same_family(dimensions)
    pairs = []
    for number_ in first:
        a, b = int(i[number_]), int(j[number_])
        pairs.append(
            {
                "first": dimensions[a].slug,
                "second": dimensions[b].slug,
                "correlation": {
                    "system": number(together["system"][0, a, b]),
                    "raters": number(together["raters"][0, a, b]),
                    "excess": number(excess[0, number_]),
                    "low": number(ends[0][number_]),
                    "high": number(ends[1][number_]),
                    "p_holm": number(p[number_]),
                },
                "partial": _beside(partial["system"][:, a, b], partial["raters"][:, a, b], level),
                "told_apart": _beside(apart.system[:, number_], apart.raters[:, number_], level),
                "is_fused": bool(fused[number_]),
                "is_blurred": bool(blurred[number_]),
                "shared_keywords": words[a][b],
                "same_family": bool(family[a, b]),
                "examples": _examples(panel, system, target, rows, columns[[a, b]], num_examples),
            }
        )
    square = {"excess": _square(excess[0], i, j), "p_holm": _square(p, i, j)}
    point = {name: own[0] for name, own in together.items()}
    return {
        "schema": SCHEMA,
        "system": system.name,
        "system_notes": list(system.notes),
        "ratings": {"name": panel.name, "num_raters": len(panel.raters), "notes": list(panel.notes)},
        "emotions": [{"name": d.name, "slug": d.slug, "family": d.family} for d in dimensions],
        "left_out": left_out,
        "num_images": len(rows),
        "num_incomplete": len(panel.images) - len(rows),
        "num_raters_told_apart": apart.num_raters,
        "correlations": {**{name: _rows(own) for name, own in point.items()}, **square},
        "partial": {**{name: _rows(own[0]) for name, own in partial.items()}, "shrinkage": shrinkage},
        "trees": _trees(point, dimensions, seed),
        "overlap": {
            "shared_keywords": words,
            "same_family": family.tolist(),
            "by_relation": by_relation(dimensions, point),
        },
        "pairs": pairs,
        "num_fused": int(fused.sum()),
        "num_blurred": int((blurred & ~fused).sum()),
        "num_pairs": len(i),
        "bootstrap": {
            "num_draws": num_draws,
            "seed": seed,
            "level": level,
            "unit": "image" if groups is None else "group",
            "num_units": units,
        },
    }


def excess_of(system: Array, raters: Array) -> Array:
    """Return how much more two emotions go together in scores than in ratings; negative ones of ratings count as 0.

    Noise alone brings a negative correlation to 0, and with it the difference above 0.
    """
    return system - np.maximum(raters, 0.0)


def _trees(point: dict[str, Array], dimensions: Sequence[Dimension], seed: int) -> dict[str, Any]:
    trees = {name: tree_of(own) for name, own in point.items()}
    compared = len(dimensions) > 2
    return {
        **{name: _rows(tree) for name, tree in trees.items()},
        "order": {name: leaves(tree) for name, tree in trees.items()},
        "comparison": compare_trees(point["raters"], point["system"], [d.family for d in dimensions], seed=seed)
        if compared
        else None,
    }


def _beside(system: Array, raters: Array, level: float) -> dict[str, Any]:
    """The system's figure, the raters', and their difference with its interval, from draws [1+B]."""
    low, high = interval(system - raters, level)
    return {
        "system": number(system[0]),
        "raters": number(raters[0]),
        "difference": number(system[0] - raters[0]),
        "low": number(low),
        "high": number(high),
    }


def _examples(
    panel: Panel, system: SystemScores, target: Array, rows: NDArray[np.intp], pair: NDArray[np.intp], count: int
) -> dict[str, list[dict[str, Any]]]:
    """Images rated higher on one emotion of a pair than on the other, compared with their usual ratings; both ways."""
    found = {}
    both = target[np.ix_(rows, pair)]
    usual = (both - both.mean(axis=0)) / both.std(axis=0)
    for name, (a, b) in (("first", (0, 1)), ("second", (1, 0))):
        apart = usual[:, a] - usual[:, b]
        order = [place for place in np.argsort(-apart, kind="stable")[:count] if apart[place] > 0]
        found[name] = [
            {
                "image": panel.images[rows[place]],
                "ratings": numbers(target[rows[place], pair]),
                "scores": numbers(system.scores[rows[place], pair]),
            }
            for place in order
        ]
    return found


def _square(values: Array, i: NDArray[np.intp], j: NDArray[np.intp]) -> list[list[float | None]]:
    k = int(j.max()) + 1
    found = np.full((k, k), np.nan)
    found[i, j] = found[j, i] = values
    return _rows(found)


def _rows(matrix: Array) -> list[list[float | None]]:
    return [numbers(row) for row in matrix]
