"""Early termination by W&B's hyperband: at each rung a trial goes on if it is among the best 1 / eta that got there.

A rung is a validation, counted from 0 as W&B does it. What is compared is read from the trial's own `metrics.jsonl`,
which a resumed run writes again with the same values, and each decision is recorded before it is carried out: neither a
kill nor the moment of looking changes one. A trial that ran on meanwhile counts up to its rung only.
"""

from collections.abc import Iterable, Sequence

from emonet_lightning.sweeping.record import Rung, Trial, best_of
from emonet_lightning.sweeping.sweep_file import Hyperband


def next_rung(early: Hyperband, trial: Trial, num_values: int) -> int | None:
    """Return the first rung that a trial has reached and was not compared at; None if there is none."""
    if trial.stopped is not None:
        return None
    return next((rung for rung in early.rungs if rung < num_values and rung not in trial.rungs), None)


def compare(
    early: Hyperband, trial: Trial, others: Iterable[Trial], values: Sequence[tuple[int, float]], maximise: bool
) -> Rung | None:
    """Return the outcome at the first rung that a trial has reached and was not compared at; None if there is none.

    Args:
        early: rungs and share.
        trial: with the rungs that it has passed.
        others: whose values at the rung it is compared with.
        values: epoch and value of each of its validations.
        maximise: whether more is better.
    """
    rung = next_rung(early, trial, len(values))
    if rung is None:
        return None
    epoch, best = best_of(values[: rung + 1], maximise) or (0, 0.0)
    at = values[rung][1]
    known = [other.rungs[rung].value for other in others if rung in other.rungs and other.number != trial.number]
    # without `strict` a trial is judged by its best value so far
    kept = goes_on(early, at if early.strict else best, at, known, maximise)
    return Rung(rung, at, kept, best, epoch)


def goes_on(early: Hyperband, own: float, at: float, others: Iterable[float], maximise: bool) -> bool:
    """Whether a trial is among the best 1 / eta of those that reached its rung.

    Args:
        early: with `eta`.
        own: what the trial is judged by.
        at: its value at the rung.
        others: values of the others there.
        maximise: whether more is better.
    """
    ranked = sorted([at, *others], reverse=maximise)
    threshold = ranked[min(int(len(ranked) / early.eta), len(ranked) - 1)]
    return own >= threshold if maximise else own <= threshold
