"""What a sweep found, as the content of `ablation.json`: nothing here is drawn or worded.

Levels, paired differences, the best trial with what its choice owes to chance, cost against score, learning curves and
scaling. Factors with more levels than a table can hold (those that were drawn from a range) have no differences.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from emonet_lightning.bundle import HeadsBundle
from emonet_lightning.callbacks import METRICS_FILE
from emonet_lightning.errors import UsageError, nearest
from emonet_lightning.evaluation.columns import Array
from emonet_lightning.evaluation.multiple_comparisons import false_discovery, holm
from emonet_lightning.reporting.run_record import SCORE
from emonet_lightning.sweeping.ablation import differences, optimism, pareto
from emonet_lightning.sweeping.finished import TrialRun
from emonet_lightning.sweeping.points import SEED, Scored, comparable, factors_of, level
from emonet_lightning.sweeping.record import values_of
from emonet_lightning.sweeping.scaling import fit_power_law
from emonet_lightning.sweeping.validation import Judged, score_trials

MAX_LEVELS = 24
"""Of a factor whose levels are compared one by one."""
MIN_CURVE_R2 = 0.9
"""Share of a learning curve's variance below which its fit is not shown."""


def findings(
    trials: Sequence[TrialRun],
    baseline: Mapping[str, Any] | None = None,
    *,
    num_trials: int = 0,
    num_draws: int = 1000,
    seed: int = 0,
    coverage: float = 0.95,
) -> dict[str, Any]:
    """Return the content of `ablation.json`.

    Args:
        trials: finished ones.
        baseline: option -> level that others are compared with; default: each factor's level in the first trial.
        num_trials: all that saw the validation images, also those that did not finish; default: those given.
        num_draws: of images.
        seed: of the draws.
        coverage: of the intervals.

    Raises:
        UsageError: no trials, or a baseline that names no factor or level.
        DataError: trials that cannot be compared.
    """
    if not trials:
        raise UsageError("sweep report: no trial has finished yet; see `sweep status`")
    factors = factors_of([trial.point for trial in trials])
    levels = {name: list(dict.fromkeys(level(trial.point.get(name)) for trial in trials)) for name in factors}
    chosen = _baseline(levels, baseline or {})
    levels = {name: _in_order(found) for name, found in levels.items()}
    first = min(trials, key=lambda trial: sum(level(trial.point.get(name)) != chosen[name] for name in factors))
    judged = score_trials([trial.folder for trial in trials], first.folder, num_draws, seed)
    scored = [_scored(trial, values, factors) for trial, values in zip(trials, judged.values, strict=True)]
    alike = {name: comparable([one.factors for one in scored], name) for name in factors}
    own = {name: [scored[place] for place in alike[name]] for name in factors}
    best = max(range(len(trials)), key=lambda place: scored[place].values[0])
    return {
        "metric": judged.metric,
        "num_images": judged.num_images,
        "num_units": judged.num_units,
        "num_draws": num_draws,
        "coverage": coverage,
        "num_trials": max(num_trials, len(trials)),
        "num_finished": len(trials),
        "num_seeds": len({one.seed for one in scored}),
        "factors": {name: {"levels": levels[name], "baseline": chosen[name]} for name in factors},
        "levels": [row for name in factors for row in _levels(own[name], name, levels[name], coverage)],
        "differences": _differences(scored, levels, chosen, judged, coverage),
        "best": {
            "trial": trials[best].number,
            "point": trials[best].point,
            "score": float(scored[best].values[0]),
            "tied": judged.tied[best],
            "tied_in_baseline": judged.tied[trials.index(first)],
        },
        "optimism": optimism(np.stack([one.values for one in scored]))._asdict(),
        "pareto": _pareto(scored),
        "curves": {
            name: _curves([trials[place] for place in alike[name]], name, levels[name])
            for name in factors
            if len(levels[name]) <= MAX_LEVELS
        },
        "scaling": {name: law for name in factors if (law := _scaling(own[name], name, levels[name])) is not None},
    }


def _baseline(levels: Mapping[str, list[Hashable]], asked: Mapping[str, Any]) -> dict[str, Hashable]:
    for name, value in asked.items():
        if name not in levels:
            raise UsageError(f"--baseline: '{name}' is no factor of this sweep; {nearest(name, levels)}")
        if level(value) not in levels[name]:
            known = ", ".join(str(found) for found in levels[name][:8])
            raise UsageError(f"--baseline: {name} has no level {value!r} in this sweep; there are {known}")
    return {name: level(asked[name]) if name in asked else found[0] for name, found in levels.items()}


def _scored(trial: TrialRun, values: Array, factors: Sequence[str]) -> Scored:
    own = {name: level(trial.point.get(name)) for name in factors}
    heads = HeadsBundle.load(trial.folder).heads
    num_parameters = heads.num_parameters_per_head * heads.num_heads
    return Scored(own, int(trial.point.get(SEED, 0)), values, trial.seconds, num_parameters)


def _levels(scored: Sequence[Scored], name: str, levels: Sequence[Hashable], coverage: float) -> list[dict[str, Any]]:
    """Mean score of each level over seeds, with the interval over seeds alone; of trials that differ by it alone."""
    rows = []
    for found in levels if len(levels) <= MAX_LEVELS else ():
        own = [one for one in scored if one.factors[name] == found]
        by_seed = [np.mean([one.values[0] for one in own if one.seed == s]) for s in dict.fromkeys(o.seed for o in own)]
        row = {"factor": name, "level": found, "num_trials": len(own), "num_seeds": len(by_seed)}
        half = math.nan
        if len(by_seed) > 1:
            half = float(stats.t.ppf((1 + coverage) / 2, len(by_seed) - 1) * stats.sem(by_seed))
        mean = float(np.mean(by_seed))
        rows.append({**row, "value": mean, "low": mean - half, "high": mean + half})
    return rows


def _differences(
    scored: Sequence[Scored],
    levels: Mapping[str, list[Hashable]],
    chosen: Mapping[str, Hashable],
    judged: Judged,
    coverage: float,
) -> list[dict[str, Any]]:
    found = [
        one
        for name in levels
        if len(levels[name]) <= MAX_LEVELS
        for one in differences(scored, name, chosen[name], judged.num_units, coverage)
    ]
    p = [one.p for one in found]
    corrected = zip(found, holm(p).tolist(), false_discovery(p).tolist(), strict=True)
    return [{**one._asdict(), "p_holm": family, "p_false_discovery": rate} for one, family, rate in corrected]


def _pareto(scored: Sequence[Scored]) -> list[dict[str, Any]]:
    """Each configuration, seeds taken together: seconds and parameters, score, and whether nothing beats it."""
    groups: dict[tuple[tuple[str, Hashable], ...], list[Scored]] = {}
    for one in scored:
        groups.setdefault(tuple(sorted(one.factors.items())), []).append(one)
    rows: list[dict[str, Any]] = [
        {
            "factors": dict(key),
            "seconds": float(np.median([one.seconds for one in own])),  # the first one may have encoded
            "num_parameters": own[0].num_parameters,
            "score": float(np.mean([one.values[0] for one in own])),
        }
        for key, own in groups.items()
    ]
    scores = [row["score"] for row in rows]
    for cost in ("seconds", "num_parameters"):
        front = set(pareto([row[cost] for row in rows], scores))
        for place, row in enumerate(rows):
            row[f"is_best_for_{cost}"] = place in front
    return rows


def _curves(trials: Sequence[TrialRun], name: str, levels: Sequence[Hashable]) -> list[dict[str, Any]]:
    """`val/score` over epochs of each level: mean and standard deviation over its trials, as far as all have one.

    `law` is a power law through the mean, over the number of epochs trained; None where it does not describe it.
    """
    rows = []
    for found in levels:
        own = [
            dict(values_of(trial.folder / METRICS_FILE, SCORE))
            for trial in trials
            if level(trial.point.get(name)) == found
        ]
        epochs = sorted(set.intersection(*(set(one) for one in own))) if own else []
        values = np.array([[one[epoch] for epoch in epochs] for one in own])
        mean, sd = (values.mean(0).tolist(), values.std(0).tolist()) if epochs else ([], [])
        law = fit_power_law([epoch + 1 for epoch in epochs], mean)
        row = {"level": found, "epochs": epochs, "mean": mean, "sd": sd, "num_trials": len(own)}
        rows.append({**row, "law": law._asdict() if law is not None and law.r2 >= MIN_CURVE_R2 else None})
    return rows


def _scaling(scored: Sequence[Scored], name: str, levels: Sequence[Hashable]) -> dict[str, Any] | None:
    """Fit a power law over a factor whose levels are amounts."""
    if min(_numbers(levels) or [0.0]) <= 0:
        return None
    amounts = _numbers([one.factors[name] for one in scored])
    assert amounts is not None
    scores = [float(one.values[0]) for one in scored]
    law = fit_power_law(amounts, scores)
    return None if law is None else {**law._asdict(), "amounts": amounts, "scores": scores}


def _in_order(levels: list[Hashable]) -> list[Hashable]:
    """Return levels as a figure shows them: numbers rising, others as they were first mentioned."""
    numbers = _numbers(levels)
    return levels if numbers is None else [levels[place] for place in np.argsort(numbers, kind="stable")]


def _numbers(levels: Sequence[Hashable]) -> list[float] | None:
    """Return levels as numbers, if all of them are."""
    found = [float(one) for one in levels if isinstance(one, int | float) and not isinstance(one, bool)]
    return found if len(found) == len(levels) else None
