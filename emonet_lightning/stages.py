"""`fit` over stages, and `validate` and `test` of a finished run: each is one or several ordinary runs of EmoNetCLI.

A stage is the base configuration with its overrides; the next starts from its best heads. All stages are parsed before
the first one trains, so a typo in the last costs seconds.
"""

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from emonet_lightning.bundle import HeadsBundle
from emonet_lightning.callbacks import RunLogger
from emonet_lightning.composition import Options, Stage, compose
from emonet_lightning.data.plan import locate
from emonet_lightning.errors import InterruptedRunError, MissingInputError, UsageError
from emonet_lightning.evaluation.benchmark import Judgement, judge_binary, judge_ratings
from emonet_lightning.io import atomic_write, make_folder, read_json, write_json
from emonet_lightning.messages import say
from emonet_lightning.preflight import check_run, check_same_run
from emonet_lightning.run_cli import EmoNetCLI

DONE = "DONE"
RUN_FILE = "run.yaml"
RESULTS_FILE = "results.json"
COMPARISON_FILE = "comparison.json"


def fit(argv: list[str]) -> None:
    """Run `fit`: one stage or several, each tested where `test_data` is set, then export and report.

    Raises:
        EmoNetError: see the exit codes.
    """
    options = Options.split(argv)
    if options.run is not None:
        raise UsageError(f"fit: --run {options.run} is for test and validate; to go on, give the same --out again")
    stages = compose(options)
    dry = [EmoNetCLI(["fit", *stage.arguments], dry=True) for stage in stages]
    parsed = [cli.run_config for cli in dry]
    folder = run_folder(options.out or parsed[0]["out"], options.name)
    for stage, config in zip(stages, parsed, strict=True):
        check_same_run(stage_folder(folder, stage) / RUN_FILE, config)
    if (folder / DONE).is_file():
        say(f"{folder}: this run is finished; nothing to do (choose another --out to train again)")
        return
    finished = [(stage_folder(folder, stage) / DONE).is_file() for stage in stages]
    check_run(dry[sum(finished) :])
    make_folder(folder)
    several = stages[0].name is not None
    if several:
        overrides = [
            {"name": stage.name, "overrides": without(config, "out")}
            for stage, config in zip(stages, parsed, strict=True)
        ]
        _write_yaml(folder / RUN_FILE, {"stages": overrides})
    previous: Path | None = None
    for stage, config in zip(stages, parsed, strict=True):
        previous = _run_stage(stage, config, folder, previous)
    assert previous is not None
    _finish(folder, previous, [stage.name for stage in stages if stage.name], parsed[-1])


def _run_stage(stage: Stage, config: dict[str, Any], folder: Path, previous: Path | None) -> Path:
    own = stage_folder(folder, stage)
    if (own / DONE).is_file():
        say(f"{own}: this stage is finished")
        return own
    arguments = [*stage.arguments, "--out", str(own)]
    if previous is not None:
        arguments += ["--model.init_heads_from", str(previous)]
        config = {**config, "model": {**config["model"], "init_heads_from": str(previous)}}
    last = own / "checkpoints" / "last.ckpt"
    if last.is_file() and not config["ckpt_path"]:
        say(f"{own}: unfinished; going on from {last}")
        arguments += ["--ckpt_path", str(last)]
    if stage.name:
        say(f"\n== stage {stage.name} ==")
    _write_yaml(own / RUN_FILE, without(config, "out", "ckpt_path"))
    with _interruptible(f"{own}: interrupted; the same command with --out {folder} goes on"):
        _train_and_test(arguments, own)
    if not config["trainer"]["fast_dev_run"]:  # a few batches to see whether it works are no run
        _mark_done(own)
    return own


def _train_and_test(arguments: list[str], own: Path) -> None:
    cli = EmoNetCLI(["fit", *arguments])
    if cli.config_init["fit"].get("test_data") is not None and not cli.trainer.fast_dev_run:  # type: ignore[attr-defined]
        cli.model.use_bundle(HeadsBundle.load(own), str(own))
        data = cli.config_init["fit"]["test_data"]
        cli.trainer.test(cli.model, datamodule=data, verbose=False)
        means = cli.datamodule.train_labels().mean_target(cli.model.taxonomy)
        found = _judge(cli, data, means)
        _write_results(own, found)
        for logger in cli.trainer.loggers:
            if not isinstance(logger, RunLogger):  # results.json holds them already
                logger.log_metrics(found.metrics, cli.trainer.global_step)
                logger.save()
    for logger in cli.trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()  # else the next stage would go on in this one's W&B run


def test(argv: list[str]) -> None:
    """Run `test`: score the test rows with a run's best heads, judge them, write `results.json`."""
    _evaluate("test", argv, _write_results)


def validate(argv: list[str]) -> None:
    """Run `validate`: `val/score` of a run's best heads on its validation rows, into `results.json`."""
    _evaluate("validate", argv, _write_results)


def _evaluate(subcommand: str, argv: list[str], write: Callable[[Path, Judgement], None]) -> None:
    options = Options.split(argv)
    arguments, bundle, out = list(argv), None, options.out
    if options.run is not None:
        arguments = options.rest_with_configs()
        bundle = HeadsBundle.load(options.run)
        base = run_config(options.run)
        if subcommand == "test" and base.get("test_data"):
            base["data"] = base["test_data"]
        base = without(base, "test_data", "export", "neutral", "out", "ckpt_path", "best_heads", "stages")
        base["model"] = without(base["model"], "init_heads_from", "reinit_last_layer")
        base["trainer"] = without(base["trainer"], "logger", "callbacks")
        arguments = ["--config", yaml.safe_dump(base, sort_keys=False), *arguments]
        out = out or str(options.run)
    elif not any(word.startswith("--model.init_heads_from") for word in argv) and not options.configs:
        raise UsageError(f"{subcommand}: name a finished run with --run DIR, or a configuration with --config FILE")
    if out is not None:
        arguments += ["--out", out]
    with _interruptible(f"{subcommand}: interrupted; nothing was written"):
        cli = EmoNetCLI([subcommand, *arguments], bundle=bundle)
    folder = Path(out) if out is not None else run_folder(None, options.name)
    if subcommand == "test":
        result = _judge(cli, cli.datamodule, None)
    else:
        result = Judgement({key: float(value) for key, value in cli.trainer.callback_metrics.items()}, None)
    write(folder, result)
    print_results(folder, cli)


@contextmanager
def _interruptible(message: str) -> Iterator[None]:
    """Lightning answers Ctrl-C by leaving the process with code 1; say what can be done instead."""
    try:
        yield
    except SystemExit as stop:
        if not stop.code:
            raise
        raise InterruptedRunError(message) from stop


def _judge(cli: EmoNetCLI, data: Any, train_mean: Any) -> Judgement:
    _, scores = cli.model.take_scores()
    found, taxonomy = data.test_data(), cli.model.taxonomy
    if found.ratings is None:
        return judge_binary(scores, found.truth, taxonomy)
    return judge_ratings(
        scores, found.ratings, taxonomy, prompted=found.prompted, groups=found.groups, train_mean=train_mean
    )


def run_config(folder: Path | str) -> dict[str, Any]:
    """Return the resolved configuration of a finished run; of several stages, the last one's.

    Raises:
        MissingInputError: the folder holds no run.
    """
    path = Path(folder) / RUN_FILE
    if not path.is_file():
        raise MissingInputError(f"{folder}: no {RUN_FILE}: not the folder of a run")
    config = yaml.safe_load(path.read_text())
    return config["stages"][-1]["overrides"] if "stages" in config else config


def run_folder(out: str | None, name: str) -> Path:
    """Return the run's folder: `out`, or a new `runs/<config>/<time>-<id>` that all processes of this run share."""
    if out is not None:
        return Path(out)
    # processes that Lightning starts for further devices run the same command and inherit the environment
    known = os.environ.setdefault("EMONET_RUN_ID", f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}")
    return Path("runs") / name / known


def stage_folder(folder: Path, stage: Stage) -> Path:
    """Return where a stage of a run lies."""
    return folder / stage.name if stage.name else folder


def without(config: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Return a copy without some keys."""
    return {key: value for key, value in config.items() if key not in keys}


@rank_zero_only
def _write_results(folder: Path, result: Judgement) -> None:
    path = folder / RESULTS_FILE
    known = read_json(path) if path.is_file() else {}
    write_json(path, dict(sorted({**known, **result.metrics}.items())))
    if result.comparison is not None:
        write_json(folder / COMPARISON_FILE, result.comparison)


@rank_zero_only
def _finish(folder: Path, last: Path, names: list[str], config: dict[str, Any]) -> None:
    """Bring the last stage's heads and results to the run's folder, export, report, and mark the run done."""
    from emonet_lightning.export import export_command
    from emonet_lightning.report import final_table, write_report

    bundle = HeadsBundle.load(last)
    export = config["export"]
    if last != folder:
        bundle.save(folder)
        for name in (RESULTS_FILE, COMPARISON_FILE):
            if (last / name).is_file():
                atomic_write(folder / name, (last / name).read_bytes())
    if config["neutral"]:
        export_command(run=str(folder), out=str(folder), neutral=str(locate(config["neutral"], None)))
    if export:
        export_command(
            run=str(folder),
            out=str(folder / "export"),
            onnx="onnx" in export,
            onnx_images="onnx_images" in export,
            released="released" in export,
        )
    comparison = read_json(folder / COMPARISON_FILE) if (folder / COMPARISON_FILE).is_file() else None
    write_report(folder, names, bundle.taxonomy, comparison=comparison)
    if not config["trainer"]["fast_dev_run"]:
        _mark_done(folder)
    _console().print(final_table(folder, names, bundle.taxonomy, comparison=comparison))
    say(f"run folder: {folder} ({', '.join(sorted(path.name for path in folder.iterdir() if path.is_file()))})")


@rank_zero_only
def print_results(folder: Path, cli: EmoNetCLI) -> None:
    """Print the main figures of `results.json` as a table."""
    from emonet_lightning.report import final_table

    comparison = read_json(folder / COMPARISON_FILE) if (folder / COMPARISON_FILE).is_file() else None
    _console().print(final_table(folder, [], cli.model.taxonomy, comparison=comparison))


@rank_zero_only
def _write_yaml(path: Path, content: dict[str, Any]) -> None:
    atomic_write(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


@rank_zero_only
def _mark_done(folder: Path) -> None:
    atomic_write(folder / DONE, "")


def _console() -> Any:
    from rich.console import Console

    return Console()


__all__ = ["fit", "run_config", "run_folder", "test", "validate"]
