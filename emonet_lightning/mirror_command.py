"""`mirror`: make one W&B run from the lines that a run wrote."""

from pathlib import Path
from typing import Any

from emonet_lightning.bundle import HeadsBundle
from emonet_lightning.callbacks import METRICS_FILE
from emonet_lightning.errors import EnvironmentProblem, MissingInputError
from emonet_lightning.io import make_folder, read_json
from emonet_lightning.judging import AGREEMENT_FILE, RESULTS_FILE, RUN_FILE
from emonet_lightning.redaction import redact
from emonet_lightning.reporting.agreement_report import write_agreement_report
from emonet_lightning.run_identity import run_id
from emonet_lightning.tracking import headline, systems_table
from emonet_lightning.wandb_sender import Sender
from emonet_lightning.yaml_files import read_yaml


def mirror_command(
    run: str,
    project: str = "lightning_logs",
    entity: str | None = None,
    name: str | None = None,
    id: str | None = None,
    offline: bool = False,
    out: str | None = None,
) -> None:
    """Make one W&B run from a run's own files: its metrics, times, configuration, and the figures of its test.

    Online, a W&B run of the same id that is there already is completed. No faces are sent.

    Args:
        run: folder of a run; each stage of it becomes a W&B run.
        project: of W&B.
        entity: user or team of W&B.
        name: shown by W&B.
        id: of the W&B run; default: that of the run, which a run with `trainer.logger: WandbLogger` uses.
        offline: write W&B's files without a network; `wandb sync` sends them.
        out: folder for W&B's files; default: the run's folder.

    Raises:
        MissingInputError: no such run, or it has no metrics yet.
        EnvironmentProblem: W&B cannot be reached.
    """
    root = Path(run)
    stages = (
        [root] if (root / METRICS_FILE).is_file() else sorted(path.parent for path in root.glob(f"*/{METRICS_FILE}"))
    )
    if not stages:
        raise MissingInputError(f"{run}: holds no {METRICS_FILE}; name the folder of a run")
    for folder in stages:
        own = (id or run_id(root)) + ("" if folder == root else f"-{folder.name}")
        config = read_yaml(folder / RUN_FILE) if (folder / RUN_FILE).is_file() else {}
        init = {"project": project, "entity": entity, "name": name, "id": own, "config": redact(config)}
        init |= {"dir": str(out or folder), "resume": "allow", "allow_val_change": True}
        print(f"{folder}: {_send(folder, init, offline)}")


def _send(folder: Path, init: dict[str, Any], offline: bool) -> str:
    """Send all lines of a stage; returns what was done."""
    make_folder(init["dir"])
    order = {"init": init, "offline": offline, "lines": str(folder), "anew": offline, "instead": False}
    try:
        sender = Sender(order)
        before = sender.cursor.rows
        sender.send(folder, None)
        if (test := _test(folder)) is not None:
            sender.send_test(test)
        rows, place = sender.cursor.rows - before, sender.run.dir
        sender.end(0, False)
    except Exception as error:
        raise EnvironmentProblem(
            f"W&B: {type(error).__name__}: {redact(str(error))}; give --offline for files that `wandb sync` sends"
        ) from error
    there = f", {before} were there" if before else ""
    return f"{rows} rows sent to W&B run {init['id']}{there}" + (f" ({Path(place).parent})" if offline else "")


def _test(folder: Path) -> dict[str, Any] | None:
    """What a run's test logs, from the files that it wrote; None where nothing was tested."""
    results = read_json(folder / RESULTS_FILE) if (folder / RESULTS_FILE).is_file() else {}
    metrics = {key: value for key, value in results.items() if key.startswith("test/")}
    if not metrics:
        return None
    bundle = HeadsBundle.load(folder)
    agreement = read_json(folder / AGREEMENT_FILE) if (folder / AGREEMENT_FILE).is_file() else None
    drawn = write_agreement_report(folder, agreement, bundle.taxonomy) if agreement is not None else []
    return {
        "metrics": headline(metrics),
        "step": bundle.training["steps"],
        "table": systems_table(agreement),
        "figures": [str(path) for path in drawn if path.suffix == ".png"],
    }
