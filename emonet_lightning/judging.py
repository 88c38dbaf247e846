"""`test` and `validate` of a finished run: score its rows with the best heads, judge, write `results.json`."""

import os
import secrets
import time
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from safetensors.torch import save as safetensors_save

from emonet_lightning.bundle import HeadsBundle
from emonet_lightning.composition import Options
from emonet_lightning.data.face_data import FaceDataModule
from emonet_lightning.errors import MissingInputError, UsageError
from emonet_lightning.evaluation.run_judgement import Judgement, judge_heads
from emonet_lightning.io import fingerprint, read_json, sha256_bytes, write_json
from emonet_lightning.packing.ledger import USE_FILE, record_test
from emonet_lightning.run_cli import EmoNetCLI
from emonet_lightning.run_identity import agents_run
from emonet_lightning.same_run import RUN_FILE, decisive
from emonet_lightning.taxonomy import Taxonomy
from emonet_lightning.tracking import log_test
from emonet_lightning.yaml_files import dump_yaml, read_yaml

RESULTS_FILE = "results.json"
AGREEMENT_FILE = "agreement.json"


def test(argv: list[str]) -> None:
    """Run `test`: score the test rows with a run's best heads, judge them, write `results.json`."""
    _evaluate("test", argv)


def validate(argv: list[str]) -> None:
    """Run `validate`: `val/score` of a run's best heads on its validation rows, into `results.json`."""
    _evaluate("validate", argv)


def _evaluate(subcommand: str, argv: list[str]) -> None:
    if {"-h", "--help"} & set(argv):
        EmoNetCLI([subcommand, "--help"], dry=True)
    # the set to judge is `data` here; `test_data` is what it is called where it stands beside a training set
    argv = [f"--data{word.removeprefix('--test_data')}" if word.startswith("--test_data") else word for word in argv]
    options = Options.split(argv)
    arguments, bundle, out = list(argv), None, options.out
    if options.run is not None:
        arguments = options.rest_with_configs()
        bundle = HeadsBundle.load(options.run)
        base = run_config(options.run)
        if subcommand == "test" and base.get("test_data"):
            base["data"] = base["test_data"]
        arguments = ["--config", dump_yaml(judged_config(base)), *arguments]
        out = out or str(options.run)
    elif not any(word.startswith("--model.init_heads_from") for word in argv) and not options.configs:
        raise UsageError(f"{subcommand}: name a finished run with --run DIR, or a configuration with --config FILE")
    if out is not None:
        arguments += ["--out", out]
    cli = EmoNetCLI([subcommand, *arguments], bundle=bundle)
    folder = Path(out) if out is not None else run_folder(None, options.name)
    if subcommand == "test":
        count_test(folder, cli, cli.datamodule)
        result = judge(cli, cli.datamodule, None)
    else:
        result = Judgement({key: float(value) for key, value in cli.trainer.callback_metrics.items()}, None)
    write_results(folder, result)
    if subcommand == "test":
        if cli.trainer.is_global_zero:
            figures = cli.run_config["figures"]
            log_test(cli.trainer.loggers, result, folder, cli.model.taxonomy, 0, figures=figures)
        report_test(folder, cli.model.taxonomy, cli.run_config["figures"])
    elif cli.trainer.is_global_zero:
        console().print_json(data={key: value for key, value in result.metrics.items() if key.count("/") == 1})


def judge(cli: EmoNetCLI, data: Any, train_mean: Any) -> Judgement:
    """Judge the scores that the Trainer's last test collected, against the raters of `data`."""
    _, scores = cli.model.take_scores()
    return judge_heads(
        scores,
        data.test_data(),
        cli.model.taxonomy,
        name=data.sets[-1].name,
        train_mean=train_mean,
        num_draws=cli.run_config["num_draws"],
    )


@rank_zero_only
def count_test(folder: Path, cli: EmoNetCLI, data: FaceDataModule) -> None:
    """Enter a test into the ledger of its set, and the count into the run's folder, before any figure is shown."""
    config = cli.run_config
    options = [
        (name, key, value)
        for name in ("data", "test_data")
        for key, value in sorted(decisive({**config, "data": config[name]}).items())
        if not key.endswith((".path", ".weights"))  # where a set lies does not matter: its digests are named
    ]
    heads = {name: value.detach().cpu().contiguous() for name, value in cli.model.heads.state_dict().items()}
    use = record_test(
        *data.tested(),
        run="/".join(folder.absolute().parts[-2:]),
        config=fingerprint([options, cli.datamodule.fingerprint()]),
        # as `heads.safetensors` without neutral means, which are added later to the same heads
        heads=sha256_bytes(safetensors_save(heads, {"taxonomy": cli.model.taxonomy.digest})),
    )
    if use is not None:
        write_json(folder / USE_FILE, use._asdict())
    else:
        (folder / USE_FILE).unlink(missing_ok=True)


def run_config(folder: Path | str) -> dict[str, Any]:
    """Return the resolved configuration of a finished run; of several stages, the last one's.

    Raises:
        MissingInputError: the folder holds no run.
    """
    path = Path(folder) / RUN_FILE
    if not path.is_file():
        raise MissingInputError(f"{folder}: no {RUN_FILE}: not the folder of a run")
    config = read_yaml(path)
    return config["stages"][-1]["overrides"] if "stages" in config else config


def judged_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return what of a run's configuration is needed to judge its heads."""
    base = without(config, "test_data", "export", "neutral", "out", "ckpt_path", "best_heads", "stages", "figures")
    base["model"] = without(base["model"], "init_heads_from", "reinit_last_layer")
    base["trainer"] = without(base["trainer"], "logger", "callbacks")
    return base


def run_folder(out: str | None, name: str) -> Path:
    """Return the run's folder: `out`, or a new `runs/<config>/<time>-<id>` that all processes of this run share.

    A trial of a W&B agent is `runs/<config>/<id of the W&B run>`: one that was preempted goes on when it is given out.

    Raises:
        UsageError: processes that something else started (srun, torchrun) cannot agree on a new name.
    """
    if out is not None:
        return Path(out)
    several = int(os.environ.get("SLURM_NTASKS") or 1) > 1 and "SLURM_PROCID" in os.environ
    if several or int(os.environ.get("LOCAL_WORLD_SIZE") or 1) > 1:
        raise UsageError("--out DIR is needed where several processes are started from outside (srun, torchrun)")
    if getattr(rank_zero_only, "rank", 0) == 0:
        # processes that Lightning starts for further devices run the same command and inherit the environment
        own = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        os.environ["EMONET_RUN_ID"] = agents_run() or own
    return Path("runs") / name / os.environ["EMONET_RUN_ID"]


def without(config: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Return a copy without some keys."""
    return {key: value for key, value in config.items() if key not in keys}


@rank_zero_only
def write_results(folder: Path, result: Judgement) -> None:
    """Write `results.json` (other splits' figures stay, this one's are replaced) and `agreement.json`."""
    path = folder / RESULTS_FILE
    known = read_json(path) if path.is_file() else {}
    splits = {key.partition("/")[0] for key in result.metrics}
    kept = {key: value for key, value in known.items() if key.partition("/")[0] not in splits}
    write_json(path, dict(sorted({**kept, **result.metrics}.items())))
    if result.agreement is not None:
        write_json(folder / AGREEMENT_FILE, result.agreement)
    elif "test" in splits:  # those of an earlier test on another set
        for name in (AGREEMENT_FILE, "agreement.md"):
            (folder / name).unlink(missing_ok=True)


@rank_zero_only
def report_test(folder: Path, taxonomy: Taxonomy, figures: bool) -> None:
    """Write the agreement report of a tested folder, with its figures or not, and print the main ones as a table."""
    from emonet_lightning.reporting.run_report import final_table

    agreement = read_agreement(folder, taxonomy, figures)
    console().print(final_table(folder, [], taxonomy, agreement=agreement))


def read_agreement(folder: Path, taxonomy: Taxonomy, figures: bool) -> dict[str, Any] | None:
    """Return `agreement.json` of a folder after writing its report; None where nothing rated was tested."""
    from emonet_lightning.reporting.agreement_report import write_agreement_report

    if not (folder / AGREEMENT_FILE).is_file():
        return None
    agreement = read_json(folder / AGREEMENT_FILE)
    write_agreement_report(folder, agreement, taxonomy, figures=figures)
    return agreement


def console() -> Any:
    """Return the console of results: standard output."""
    from rich.console import Console

    return Console()
