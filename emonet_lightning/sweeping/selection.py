"""The best of several configurations for each emotion, by validation alone, and their heads as one bundle.

No test is asked: its figures would no longer be those of unseen faces. The validation figures of what is chosen are
too good as well, the more so the more configurations there were and the fewer rows: only a test says what it is worth.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from emonet_lightning.bundle import HeadsBundle
from emonet_lightning.errors import DataError
from emonet_lightning.sweeping.side_by_side import side_by_side


class Trained(Protocol):
    """What is chosen from: a configuration that was trained, as `StackedResult` or `Candidate`."""

    @property
    def number(self) -> int:
        """Its place among all."""

    @property
    def folder(self) -> Path:
        """Where its heads are."""

    @property
    def score(self) -> float:
        """Mean over emotions on validation images; NaN if there is none."""

    @property
    def best(self) -> Mapping[str, Mapping[str, Any]]:
        """By slug: `score`, and `by`: `own` where validation can judge the emotion."""

    @property
    def error(self) -> str:
        """Why it has no heads; empty where it has."""


class Candidate(NamedTuple):
    """A finished trial whose heads may be chosen; see `Trained`."""

    number: int
    folder: Path
    score: float
    best: Mapping[str, Mapping[str, Any]]
    error: str = ""


T = TypeVar("T", bound=Trained)


def best_configuration(results: Sequence[T]) -> T:
    """Return the configuration with the highest `val/score` over emotions; without scores the first that has heads.

    Raises:
        DataError: none has heads.
    """
    trained = [result for result in results if not result.error]
    if not trained:
        raise DataError(f"sweep: none of {len(results)} configurations has heads ({results[0].error})")
    return max(trained, key=lambda result: -math.inf if math.isnan(result.score) else result.score)


def best_per_emotion(results: Sequence[T]) -> dict[str, T]:
    """Return the configuration with the best head of each emotion, by slug.

    A head's score counts where validation can judge its emotion (five positives and negatives, as for its best epoch);
    where it can in no configuration, the emotion takes the best configuration over emotions.

    Raises:
        DataError: none has heads.
    """
    overall, found = best_configuration(results), {}
    trained = [result for result in results if not result.error]
    for slug in overall.best:
        judged = [result for result in trained if result.best[slug]["by"] == "own"]
        found[slug] = max(judged, key=lambda result: result.best[slug]["score"]) if judged else overall
    return found


def of_one_kind(results: Sequence[T]) -> list[list[T]]:
    """Return those with heads in groups whose heads fit into one bundle, in order of first mention."""
    groups: dict[Any, list[T]] = {}
    for result in results:
        if not result.error:
            groups.setdefault(_kind(HeadsBundle.load(result.folder)), []).append(result)
    return list(groups.values())


def combined(chosen: Mapping[str, Trained]) -> HeadsBundle:
    """Return each emotion's head of its own configuration as one bundle; narrower heads are padded with zeros.

    Args:
        chosen: of `best_per_emotion`; the folders hold the heads.

    Raises:
        DataError: heads of different maps from output to score, numbers of layers or scaling of features.
    """
    bundles = {result.number: HeadsBundle.load(result.folder) for result in chosen.values()}
    first = next(iter(bundles.values()))
    for number, bundle in bundles.items():
        for name, own, other in zip(("loss", "widths", "l2_normalise"), _kind(bundle), _kind(first), strict=True):
            if own != other:
                raise DataError(
                    f"sweep: the best heads of emotions differ in what model.{name} decides (configuration {number}), "
                    "and one bundle holds one kind; take the best configuration over emotions"
                )
    heads = [bundles[result.number].heads.select([head]) for head, result in enumerate(chosen.values())]
    whole = side_by_side(heads).eval()
    whole.head_dropout, whole.dropout = None, [0.0] * len(whole.widths)  # one bundle's record has no rates of heads
    best: dict[str, Any] = {
        slug: {**result.best[slug], "configuration": result.number} for slug, result in chosen.items()
    }
    known = {name: first.training.get(name) for name in ("loss", "standardised", "heads_dtype", "val_metric", "data")}
    known |= {"best": best, "chosen": "each emotion's configuration by its own validation score"}
    return HeadsBundle(whole, first.taxonomy, first.encoder, first.output_map, first.l2_normalise, training=known)


def _kind(bundle: HeadsBundle) -> tuple[Any, ...]:
    biases = 0 if bundle.heads.thresholds is None else bundle.heads.thresholds.shape[1]
    return ((bundle.output_map, biases), len(bundle.heads.widths), bundle.l2_normalise)
