"""What a test sends to the run's loggers: headline figures to all, tables and figures to W&B."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger

from emonet_lightning.callbacks import RunLogger
from emonet_lightning.evaluation.run_judgement import Judgement
from emonet_lightning.reporting.agreement_report import write_agreement_report
from emonet_lightning.taxonomy import Taxonomy

INTERVAL = ("low", "high")


def log_test(loggers: Sequence[Logger], found: Judgement, folder: Path, taxonomy: Taxonomy, step: int) -> None:
    """Log means over emotions with their intervals; a W&B run also gets the systems' table and the report's figures.

    Args:
        loggers: of the Trainer; the run's own files hold the results already.
        found: what the test found.
        folder: where the report's figures are drawn for W&B.
        taxonomy: columns.
        step: optimiser step of the heads.
    """
    means = {key: value for key, value in found.metrics.items() if key.count("/") == 1 or key.endswith(INTERVAL)}
    for logger in loggers:
        if isinstance(logger, RunLogger):
            continue
        logger.log_metrics(means, step)
        if isinstance(logger, WandbLogger) and found.agreement is not None:
            _log_agreement(logger, found.agreement, write_agreement_report(folder, found.agreement, taxonomy))
        logger.save()


def _log_agreement(logger: WandbLogger, agreement: dict[str, Any], written: Sequence[Path]) -> None:
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
    logger.log_table("test/systems", columns=header, data=rows)
    pictures = [path for path in written if path.suffix == ".png"]
    logger.log_image("test/figures", [str(path) for path in pictures], caption=[path.stem for path in pictures])
