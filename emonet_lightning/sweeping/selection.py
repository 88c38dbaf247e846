"""The best of several configurations for each emotion, by validation alone, and their heads as one bundle.

No test is asked: its figures would no longer be those of unseen faces. The validation figures of what is chosen are
too good as well, the more so the more configurations there were and the fewer rows: only a test says what it is worth.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from emonet_lightning.bundle import HeadsBundle
from emonet_lightning.errors import DataError
from emonet_lightning.sweeping.configurations import StackedResult
from emonet_lightning.sweeping.side_by_side import side_by_side


def best_configuration(results: Sequence[StackedResult]) -> StackedResult:
    """Return the configuration with the highest `val/score` over emotions; without scores the first that has heads.

    Raises:
        DataError: none has heads.
    """
    trained = [result for result in results if not result.error]
    if not trained:
        raise DataError(f"sweep: none of {len(results)} configurations has heads ({results[0].error})")
    return max(trained, key=lambda result: -math.inf if math.isnan(result.score) else result.score)


def best_per_emotion(results: Sequence[StackedResult]) -> dict[str, StackedResult]:
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


def combined(chosen: Mapping[str, StackedResult]) -> HeadsBundle:
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
