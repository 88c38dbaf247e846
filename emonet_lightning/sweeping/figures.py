"""Figures of a sweep: the best so far, parameters beside their scores, and which parameters matter."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from emonet_lightning.reporting.drawing import BLUE, DARK, GREY, ORANGE, frame, nothing, save, short
from emonet_lightning.sweeping.distributions import Parameter
from emonet_lightning.sweeping.proposals import study_of
from emonet_lightning.sweeping.record import FAILED, FINISHED, STOPPED, Trial
from emonet_lightning.sweeping.sweep_file import SweepFile

_FEWEST_TRIALS = 8
"""Finished trials below which shares of importance would be noise."""
_MOST_TICKS = 8


def draw(sweep: SweepFile, trials: Sequence[Trial], folder: Path) -> list[Path]:
    """Write `best_so_far`, `parallel_coordinates` and `importance` as PNG and PDF; returns their paths.

    Args:
        sweep: what is swept.
        trials: in their order.
        folder: of the figures.

    Raises:
        OutputError: the folder cannot be written.
    """
    scored = [trial for trial in trials if trial.state in (FINISHED, STOPPED) and trial.score is not None]
    drawn = {
        "best_so_far": best_so_far(sweep, trials, scored),
        "parallel_coordinates": parallel_coordinates(sweep, scored),
        "importance": importance(sweep, scored),
    }
    return [path for name, figure in drawn.items() for path in save(figure, folder, name)]


def best_so_far(sweep: SweepFile, trials: Sequence[Trial], scored: Sequence[Trial]) -> Figure:
    """Draw each trial's score, and the best up to it."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    failed = sum(trial.state == FAILED for trial in trials)
    title = f"Best so far, {len(scored)} trials with a score" + (f"; {failed} failed" if failed else "")
    frame(axes, title, "trial", f"{sweep.metric}, best epoch")
    if not scored:
        nothing(axes, "no trial has a score yet")
        return figure
    for state, colour, mark in ((FINISHED, BLUE, "o"), (STOPPED, GREY, "x")):
        own = [trial for trial in scored if trial.state == state]
        if own:
            axes.plot([t.number for t in own], _scores(own), mark, color=colour, markersize=5, label=state)
    better = np.maximum if sweep.maximise else np.minimum
    best = better.accumulate(_scores(scored))
    axes.step([trial.number for trial in scored], best, where="post", color=ORANGE, linewidth=1.8, label="best so far")
    axes.legend(fontsize=8, framealpha=0.9, loc="best")
    return figure


def _scores(trials: Sequence[Trial]) -> list[float]:
    return [float(trial.score or 0.0) for trial in trials]


def parallel_coordinates(sweep: SweepFile, scored: Sequence[Trial]) -> Figure:
    """Draw a line a trial over an axis a parameter, in the colour of its score."""
    swept = [parameter for parameter in sweep.parameters if len(parameter.samples()) > 1]
    figure = Figure(figsize=(2.2 + 1.7 * max(len(swept), 2), 4.6), layout="constrained")
    axes = figure.subplots()
    frame(axes, "Parameters of each trial, coloured by score", "", "")
    if not scored or not swept:
        nothing(axes, "no trial has a score yet" if swept else "no parameter has two values")
        return figure
    scores = _scores(scored)
    colours = ScalarMappable(Normalize(min(scores), max(scores) if max(scores) > min(scores) else min(scores) + 1))
    colours.set_cmap(colormaps["viridis"])
    order = sorted(range(len(scored)), key=lambda row: scores[row], reverse=not sweep.maximise)  # the best on top
    heights = np.array([[_height(parameter, trial) for parameter in swept] for trial in scored])
    for row in order:
        axes.plot(
            range(len(swept)), heights[row], color=colours.to_rgba(np.array([scores[row]]))[0], linewidth=1.2, alpha=0.8
        )
    for column, parameter in enumerate(swept):
        axes.axvline(column, color=DARK, linewidth=0.8)
        for height, text in _ticks(parameter):
            axes.text(column + 0.03, height, text, fontsize=7, va="center", color=DARK)
    axes.set_xticks(range(len(swept)), [short(parameter.name, 26) for parameter in swept], fontsize=8, rotation=15)
    axes.set_yticks([])
    axes.set_ylim(-0.06, 1.06)
    axes.set_xlim(-0.15, len(swept) - 0.4)
    figure.colorbar(colours, ax=axes, label=sweep.metric)
    return figure


def _height(parameter: Parameter, trial: Trial) -> float:
    """Return where on its axis [0, 1] a trial's value lies."""
    choices = parameter.choices() if not trial.positions or parameter.is_list else None
    if choices is not None:
        return choices.index(trial.parameters[parameter.name]) / max(len(choices) - 1, 1)
    return trial.positions[parameter.name]


def _ticks(parameter: Parameter) -> list[tuple[float, str]]:
    choices = parameter.choices() if parameter.is_list else None
    if choices is None:
        return [(height, f"{parameter.at(height):.3g}") for height in (0.0, 0.25, 0.5, 0.75, 1.0)]
    step = max(1, -(-len(choices) // _MOST_TICKS))
    return [(place / max(len(choices) - 1, 1), short(str(value), 22)) for place, value in enumerate(choices)][::step]


def importance(sweep: SweepFile, scored: Sequence[Trial]) -> Figure:
    """Draw how much of the scores' variance each parameter explains alone (fANOVA, Hutter et al. 2014).

    Of the surface that a random forest makes of the trials, so that trials may crowd where a sampler found good ones,
    or lie on the lines of one factor at a time.
    """
    finished = [trial for trial in scored if trial.state == FINISHED]
    shares = _shares(sweep, finished)
    figure = Figure(figsize=(7.5, 1.4 + 0.32 * max(len(shares), 3)), layout="constrained")
    axes = figure.subplots()
    frame(axes, f"Importance over {len(finished)} finished trials", "share of variance (fANOVA), sums to 1", "")
    if not shares:
        nothing(axes, f"needs {_FEWEST_TRIALS} finished trials whose scores and parameters differ")
        return figure
    names = sorted(shares, key=lambda name: shares[name])
    axes.barh(range(len(names)), [shares[name] for name in names], color=BLUE, height=0.7)
    axes.set_yticks(range(len(names)), [short(name) for name in names], fontsize=8)
    axes.set_xlim(0, 1)
    return figure


def _shares(sweep: SweepFile, finished: Sequence[Trial]) -> dict[str, float]:
    """Return importance by parameter; none where it cannot be told."""
    varied = [
        parameter.name
        for parameter in sweep.parameters
        if len({repr(trial.parameters[parameter.name]) for trial in finished}) > 1
    ]
    if len(finished) < _FEWEST_TRIALS or not varied or len({trial.score for trial in finished}) == 1:
        return {}
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    study: Any = study_of(sweep, finished)
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0), params=varied)
    total = sum(found.values())
    return {name: value / total for name, value in found.items()} if total > 0 else {}
