"""What a test sends to the run's loggers: headline figures to all, tables and figures to W&B."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from emonet_lightning.callbacks import RunLogger
from emonet_lightning.evaluation.run_judgement import Judgement
from emonet_lightning.reporting.agreement_report import write_agreement_report
from emonet_lightning.taxonomy import Taxonomy
from emonet_lightning.wandb_mirror import WandbMirror

INTERVAL = ("low", "high")


def headline(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return means over emotions and their intervals."""
    return {key: value for key, value in metrics.items() if key.count("/") == 1 or key.endswith(INTERVAL)}


def log_test(
    loggers: Sequence[Logger], found: Judgement, folder: Path, taxonomy: Taxonomy, step: int, *, figures: bool = True
) -> None:
    """Log means over emotions with their intervals; a W&B run also gets the systems' table and the report's figures.

    Args:
        loggers: of the Trainer; the run's own files hold the results already.
        found: what the test found.
        folder: where the report's figures are drawn for W&B.
        taxonomy: columns.
        step: optimiser step of the heads.
        figures: draw them.
    """
    means = headline(found.metrics)
    for logger in loggers:
        if isinstance(logger, WandbMirror):
            drawn = found.agreement and write_agreement_report(folder, found.agreement, taxonomy, figures=figures)
            pictures = [path for path in drawn or () if path.suffix == ".png"]
            logger.log_test(means, step, systems_table(found.agreement), pictures)
        elif not isinstance(logger, RunLogger):
            logger.log_metrics(means, step)
            logger.save()


def systems_table(agreement: dict[str, Any] | None) -> list[list[Any]]:
    """Return one row a system of an agreement, raters first, under a header; nothing where nothing rated was tested."""
    if agreement is None:
        return []
    header = ["system", "kind", "images"]
    rows = [["one rater with the others", "human", agreement["ratings"]["num_images"]]]
    rows += [[name, system["kind"], system["num_images"]] for name, system in agreement["systems"].items()]
    metrics = [agreement["humans"]["metrics"], *(system["metrics"] for system in agreement["systems"].values())]
    for key in agreement["headline"]:
        header += [key, f"{key}/low", f"{key}/high"]
        for row, figures in zip(rows, metrics, strict=True):
            own = key if key in figures else agreement["metrics"][key]["human"]
            mean = figures[own]["sets"]["all"]
            row += [mean["value"], mean["low"], mean["high"]]
    return [header, *rows]
