"""`mirror`: make one W&B run from the lines that a run wrote."""

from pathlib import Path
from typing import Any

from emonet_lightning import wandb_offline
from emonet_lightning.bundle import MANIFEST_FILE, HeadsBundle
from emonet_lightning.callbacks import METRICS_FILE
from emonet_lightning.errors import DataError, EmoNetError, EnvironmentProblem, MissingInputError, UsageError
from emonet_lightning.io import make_folder, read_json
from emonet_lightning.judging import AGREEMENT_FILE, RESULTS_FILE
from emonet_lightning.redaction import redact
from emonet_lightning.reporting.agreement_report import write_agreement_report
from emonet_lightning.run_identity import run_id
from emonet_lightning.same_run import RUN_FILE
from emonet_lightning.tracking import headline, systems_table
from emonet_lightning.wandb_sender import Sender, final_lines
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
        UsageError: offline, and the folder for W&B's files has some of this W&B run already.
        MissingInputError: no such run, or it has no metrics yet.
        DataError: a line or result that the run cannot have written; told before anything is sent.
        EnvironmentProblem: W&B cannot be reached.
    """
    root = Path(run)
    stages = (
        [root] if (root / METRICS_FILE).is_file() else sorted(path.parent for path in root.glob(f"*/{METRICS_FILE}"))
    )
    if not stages:
        raise MissingInputError(f"{run}: holds no {METRICS_FILE}; name the folder of a run")
    ids = {folder: (id or run_id(root)) + ("" if folder == root else f"-{folder.name}") for folder in stages}
    if offline:
        for folder in stages:
            _refuse_twice(Path(out or folder), ids[folder])
    for folder in stages:  # W&B begins with the first line, and a damaged one would leave it half told
        final_lines(folder, None)
    tests = {folder: _test(folder) for folder in stages}
    for folder in stages:
        config = read_yaml(folder / RUN_FILE) if (folder / RUN_FILE).is_file() else {}
        init = {"project": project, "entity": entity, "name": name, "id": ids[folder], "config": redact(config)}
        init |= {"dir": str(out or folder), "resume": "allow", "allow_val_change": True}
        print(f"{folder}: {_send(folder, init, offline, tests[folder])}")


def _refuse_twice(place: Path, id: str) -> None:
    """Refuse to write a W&B run's lines beside those that are there: `wandb sync` would send each of them twice.

    Raises:
        UsageError: names the segments.
    """
    if there := wandb_offline.segments(place, id):
        listed = ", ".join(str(path.parent) for path in there[:3]) + (", ..." if len(there) > 3 else "")
        raise UsageError(
            f"W&B run {id} has been written offline already ({listed}); send that with `wandb sync`, or choose another "
            "--out"
        )


def _send(folder: Path, init: dict[str, Any], offline: bool, test: dict[str, Any] | None) -> str:
    """Send all lines of a stage, and its test; returns what was done."""
    make_folder(init["dir"])
    order = {"init": init, "offline": offline, "lines": str(folder), "anew": offline, "instead": False}
    try:
        sender = Sender(order)
        before = sender.cursor.rows
        sender.send(folder, None)
        if test is not None:
            sender.send_test(test)
        rows, place = sender.cursor.rows - before, sender.run.dir
        sender.end(0, False)
    except EmoNetError:
        raise
    except Exception as error:
        raise EnvironmentProblem(
            f"W&B: {type(error).__name__}: {redact(str(error))}; give --offline for files that `wandb sync` sends"
        ) from error
    there = f", {before} were there" if before else ""
    return f"{rows} rows sent to W&B run {init['id']}{there}" + (f" ({Path(place).parent})" if offline else "")


def _test(folder: Path) -> dict[str, Any] | None:
    """What a run's test logs, from the files that it wrote; None where nothing was tested.

    Raises:
        DataError: they are damaged.
    """
    results = read_json(folder / RESULTS_FILE) if (folder / RESULTS_FILE).is_file() else {}
    if not isinstance(results, dict):
        raise DataError(f"{folder / RESULTS_FILE}: not the results of a test; test the run again")
    metrics = {key: value for key, value in results.items() if key.startswith("test/")}
    if not metrics:
        return None
    bundle = HeadsBundle.load(folder)
    if not isinstance(steps := bundle.training.get("steps"), int):
        raise DataError(f"{folder / MANIFEST_FILE}: training.steps: a whole number is needed; export the heads again")
    table, figures = _judged(folder, bundle)
    return {"metrics": headline(metrics), "step": steps, "table": table, "figures": figures}


def _judged(folder: Path, bundle: HeadsBundle) -> tuple[list[list[Any]], list[str]]:
    """Table and figures of a test's agreement; empty where nothing rated was tested."""
    path = folder / AGREEMENT_FILE
    if not path.is_file():
        return [], []
    agreement = read_json(path)
    try:
        drawn = write_agreement_report(folder, agreement, bundle.taxonomy)
        return systems_table(agreement), [str(figure) for figure in drawn if figure.suffix == ".png"]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
        raise DataError(f"{path}: not the agreement of a test ({reason}); test the run again") from error
