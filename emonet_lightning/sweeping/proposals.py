"""Which point a trial has: for grid and random a pure function of seed and number, for bayes also of what is known.

A sampler is made anew for every trial, from the record: it has no state that a kill could lose. One seed for all of
them would make a rebuilt sampler propose what it proposed before, so each number has a seed of its own.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from emonet_lightning.sweeping import grid
from emonet_lightning.sweeping.record import FAILED, FINISHED, STOPPED, Trial
from emonet_lightning.sweeping.sweep_file import SweepFile

if TYPE_CHECKING:
    import optuna

STARTUP_TRIALS = 10
"""Trials that are drawn at random before the sampler begins to learn from them."""


def propose(
    sweep: SweepFile, seed: int, number: int, trials: Sequence[Trial]
) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the parameters of a trial, and the position in [0, 1) that each was drawn at.

    Args:
        sweep: what is swept.
        seed: of the sweep.
        number: of the trial, from 0; of a grid below its size.
        trials: that are known; grid and random do not look at them.
    """
    if sweep.method == "grid":
        return grid.point(sweep.parameters, sweep.one_at_a_time, number), {}
    if sweep.method == "random":
        drawn = np.random.default_rng([seed, number]).random(len(sweep.parameters))
        positions = {p.name: float(position) for p, position in zip(sweep.parameters, drawn, strict=True)}
    else:
        positions = _ask(sweep, seed, number, trials)
    return {parameter.name: parameter.at(positions[parameter.name]) for parameter in sweep.parameters}, positions


def _ask(sweep: SweepFile, seed: int, number: int, trials: Sequence[Trial]) -> dict[str, float]:
    import optuna

    own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    sampler = optuna.samplers.TPESampler(
        seed=own, n_startup_trials=STARTUP_TRIALS, multivariate=True, constant_liar=True
    )
    study = study_of(sweep, [trial for trial in trials if trial.number < number], sampler)
    asked = study.ask(distributions_of(sweep)).params
    counts = {parameter.name: len(parameter.values) for parameter in sweep.parameters}
    # of a list the place was asked for: the middle of its part of [0, 1)
    return {
        name: (place + 0.5) / counts[name] if counts[name] else min(place, _BELOW_ONE) for name, place in asked.items()
    }


_BELOW_ONE = math.nextafter(1.0, 0.0)


def distributions_of(sweep: SweepFile) -> "dict[str, optuna.distributions.BaseDistribution]":
    """Return what Optuna draws from: places of lists, and [0, 1] for each number."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    return {
        parameter.name: CategoricalDistribution(range(len(parameter.values)))
        if parameter.is_list
        else FloatDistribution(0.0, 1.0)
        for parameter in sweep.parameters
    }


def study_of(sweep: SweepFile, trials: Sequence[Trial], sampler: Any = None) -> "optuna.Study":
    """Return a study in memory that holds the trials of a record.

    Args:
        sweep: what is swept.
        trials: those that were stopped early count as pruned, those that run as running.
        sampler: of Optuna; None where nothing is asked.
    """
    import optuna
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if sweep.maximise else "minimize", sampler=sampler)
    distributions = distributions_of(sweep)
    for trial in trials:
        known: dict[str, Any] = {"params": _params(sweep, trial), "distributions": distributions}
        if trial.state == FINISHED:
            study.add_trial(create_trial(value=trial.score, **known))
        elif trial.state == STOPPED:
            at = {trial.stopped.rung if trial.stopped else 0: float(trial.score or 0.0)}
            study.add_trial(create_trial(state=TrialState.PRUNED, intermediate_values=at, **known))
        else:
            study.add_trial(
                create_trial(state=TrialState.FAIL if trial.state == FAILED else TrialState.RUNNING, **known)
            )
    return study


def _params(sweep: SweepFile, trial: Trial) -> dict[str, Any]:
    """Return places of lists and positions of numbers, as Optuna drew or would have drawn them."""
    found: dict[str, Any] = {}
    for parameter in sweep.parameters:
        position = trial.positions.get(parameter.name)
        if parameter.is_list:
            found[parameter.name] = parameter.values.index(trial.parameters[parameter.name])
        elif position is not None:
            found[parameter.name] = position
        else:  # of a grid: its place among the numbers that it can be
            choices = parameter.choices() or ()
            found[parameter.name] = choices.index(trial.parameters[parameter.name]) / max(len(choices) - 1, 1)
    return found
