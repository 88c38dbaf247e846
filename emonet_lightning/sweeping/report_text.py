"""`ablation.md`: what a sweep found, in words and tables, from the content of `ablation.json`."""

from collections.abc import Iterable, Mapping
from typing import Any

from emonet_lightning.reporting.markdown import interval, literal, number, table

NO_FACTORS = "No option takes more than one value over the finished trials (seeds aside): there is nothing to compare."


def ablation_text(found: Mapping[str, Any], name: str) -> str:
    """Return the text of `ablation.md`; `name` is that of the sweep."""
    return "\n\n".join(_sections(found, name)) + "\n"


def _sections(found: Mapping[str, Any], name: str) -> Iterable[str]:
    yield f"# Sweep {literal(name)}"
    yield "## How to read this"
    yield _protocol(found)
    if not found["factors"]:
        yield NO_FACTORS
    if found["differences"]:
        yield "## Differences to the baseline"
        yield "![Differences to the baseline with their intervals](figures/differences.png)"
        yield _reading(found)
        yield _differences(found)
    if found["levels"]:
        yield "## Levels"
        yield (
            "Mean score of a level over the trials whose other options occur with every level of that factor, where "
            "there are such trials; the interval is over seeds alone."
        )
        yield _levels(found)
    yield "## Best trial"
    yield _best(found)
    yield "## Cost against score"
    yield "![Score against seconds and parameters](figures/pareto.png)"
    yield "Configurations that no other one beats, seeds taken together; seconds are of one trial on this machine."
    yield _pareto(found)
    if found["curves"]:
        yield "## Learning curves"
        yield "![Validation score over epochs, by level](figures/curves.png)"
        yield from _curve_fits(found)
    for factor, law in found["scaling"].items():
        yield f"## Scaling with {literal(factor)}"
        yield f"![Score over {literal(factor)} with the fitted power law](figures/scaling.png)"
        yield (
            f"score = {law['ceiling']:.3f} - {law['loss']:.3f} x (amount / {law['unit']:g})^-{law['exponent']:.2f}, "
            f"R2 {law['r2']:.3f} over {len(law['amounts'])} trials. Beyond the largest amount it is a guess."
        )


def _curve_fits(found: Mapping[str, Any]) -> Iterable[str]:
    rows = [
        (
            literal(factor), literal(str(one["level"])), str(len(one["epochs"])), f"{one['mean'][-1]:.3f}",
            f"{one['law']['ceiling']:.3f}", f"{one['law']['exponent']:.2f}", f"{one['law']['r2']:.3f}",
        )
        for factor, levels in found["curves"].items()
        for one in levels
        if one["law"]
    ]  # fmt: skip
    if rows:
        yield (
            "Thin lines: score = ceiling - loss x epochs^-exponent through the mean of a level, where that describes "
            "it (R2 at least 0.9). The ceiling is that of this schedule of the learning rate: a summary, no promise."
        )
        yield table(("factor", "level", "epochs", "last", "ceiling", "exponent", "R2"), rows)


def _protocol(found: Mapping[str, Any]) -> str:
    units = "images" if found["num_units"] == found["num_images"] else f"images of {found['num_units']} people"
    return (
        f"All trials are judged on the same {found['num_images']} validation {units} by `{found['metric']}`, mean over "
        f"emotions, with the labels of the baseline. {found['num_trials']} trials saw these images, "
        f"{found['num_finished']} finished. No test set was read: figures to be published come from `test`, once, for "
        "the configuration that is chosen here."
    )


def _reading(found: Mapping[str, Any]) -> str:
    share = f"{100 * found['coverage']:.0f} %"
    return (
        f"A level minus the baseline, paired by all other options and the seed; the {share} interval covers other "
        f"seeds and other images ({found['num_draws']} draws). `p (Holm)` keeps the chance of any false finding among "
        f"all {len(found['differences'])} differences, `p (FDR)` the share of false ones. An interval that holds 0 "
        "is no evidence of no difference. `g` is the mean difference in units of its standard deviation over seeds "
        "(Hedges)."
    )


def _differences(found: Mapping[str, Any]) -> str:
    header = ("factor", "level", "baseline", "difference", "p", "p (Holm)", "p (FDR)", "g", "seeds", "pairs")
    rows = [
        (
            f"`{one['factor']}`",
            literal(str(one["level"])),
            literal(str(one["baseline"])),
            f"{number(one['value'], sign=True)} {interval(one, sign=True)}".strip(),
            *(_p(one[key]) for key in ("p", "p_holm", "p_false_discovery")),
            number(one["effect"]),
            str(one["num_seeds"]),
            str(one["num_pairs"]),
        )
        for one in found["differences"]
    ]
    few = min(one["num_seeds"] for one in found["differences"])
    note = "" if few >= 3 else "\n\nFewer than three seeds give a difference, but no interval."
    return table(header, rows) + note


def _p(value: float | None) -> str:
    return "<0.001" if value is not None and value < 0.001 else number(value)


def _levels(found: Mapping[str, Any]) -> str:
    rows = [
        (
            f"`{one['factor']}`",
            literal(str(one["level"])),
            f"{number(one['value'])} {interval(one)}".strip(),
            str(one["num_seeds"]),
            str(one["num_trials"]),
        )
        for one in found["levels"]
    ]
    return table(("factor", "level", "score", "seeds", "trials"), rows)


def _best(found: Mapping[str, Any]) -> str:
    best, luck = found["best"], found["optimism"]
    tied = (
        f" Its heads give {best['tied']:.0%} of these images one and the same score, those of the baseline "
        f"{best['tied_in_baseline']:.0%}."
    )
    if best["tied"] > best["tied_in_baseline"] + 0.1:
        tied += (
            " Rank correlation rewards that where most labels are at the resting level, without the heads knowing "
            "more: look at AUROC and average precision in a `test` of both."
        )
    options = ", ".join(f"`{key}` {literal(str(value))}" for key, value in best["point"].items())
    return (
        f"Trial {best['trial']} scores {number(best['score'])} ({options}). It is the best of {luck['num_trials']} on "
        f"the images that it was chosen on: by draws of images about {number(luck['expected'])} of that is luck." + tied
    )


def _pareto(found: Mapping[str, Any]) -> str:
    kept = [row for row in found["pareto"] if row["is_best_for_seconds"] or row["is_best_for_num_parameters"]]
    rows = [
        (
            ", ".join(f"`{key}` {literal(str(value))}" for key, value in row["factors"].items()) or "-",
            number(row["score"]),
            f"{row['seconds']:.1f}",
            f"{row['num_parameters']:,}",
        )
        for row in sorted(kept, key=lambda row: -row["score"])
    ]
    return table(("configuration", "score", "seconds", "parameters"), rows)
