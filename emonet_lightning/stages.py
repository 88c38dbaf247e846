"""`fit` over stages: each is an ordinary run of EmoNetCLI.

A stage is the base configuration with its overrides; the next starts from its best heads. All stages are parsed before
the first one trains, so a typo in the last costs seconds.
"""

import contextlib
import functools
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from emonet_lightning import interruption, slurm
from emonet_lightning.bundle import HeadsBundle
from emonet_lightning.composition import Options, Stage, compose
from emonet_lightning.data.plan import locate
from emonet_lightning.errors import UsageError
from emonet_lightning.folder_lock import LOCK_FILE, claimed
from emonet_lightning.io import atomic_write, make_folder
from emonet_lightning.judging import (
    AGREEMENT_FILE,
    RESULTS_FILE,
    console,
    count_test,
    judge,
    read_agreement,
    run_folder,
    without,
    write_results,
)
from emonet_lightning.meeting import not_alone
from emonet_lightning.messages import say
from emonet_lightning.packing.ledger import USE_FILE
from emonet_lightning.preflight import check_run
from emonet_lightning.processes import exit_code, said_once, several
from emonet_lightning.redaction import redact
from emonet_lightning.resuming import DONE, Attempt, attempt, begins_anew, is_pruned
from emonet_lightning.run_cli import EmoNetCLI
from emonet_lightning.run_identity import agents_run
from emonet_lightning.same_run import RUN_FILE, check_folder
from emonet_lightning.stopping import StopBetweenBatches
from emonet_lightning.tracking import log_test
from emonet_lightning.wandb_mirror import WandbMirror
from emonet_lightning.yaml_files import dump_yaml

NOT_THE_RUN = ("out", "ckpt_path", "resume", "max_stuck_restarts")
"""Options of one start of a run."""


def fit(argv: list[str]) -> None:
    """Run `fit`: one stage or several, each tested where `test_data` is set, then export and report.

    Raises:
        EmoNetError: see the exit codes.
    """
    options = Options.split(argv)
    if options.run is not None:
        raise UsageError(f"fit: --run {options.run} is for test and validate; to go on, give the same --out again")
    with contextlib.ExitStack() as stack:
        if options.out is not None:  # before anything is looked at that one process may find wrong
            stack.enter_context(not_alone(Path(options.out), several, exit_code))
        stages = compose(options)
        dry = [EmoNetCLI(["fit", *stage.arguments], dry=True) for stage in stages]
        parsed = [cli.run_config for cli in dry]
        names = [stage.name for stage in stages if stage.name]
        if names and parsed[0]["ckpt_path"]:
            raise UsageError(
                f"--ckpt_path {parsed[0]['ckpt_path']}: is of one run, this has stages; leave it out: the same command "
                "with --out goes on, and --model.init_heads_from begins with a run's heads"
            )
        folder = run_folder(options.out or parsed[0]["out"], options.name)
        if options.out is None:
            stack.enter_context(not_alone(folder, several, exit_code))
        if not _is_finished(folder, names, parsed):
            _fit(folder, stages, dry, names)


def _fit(folder: Path, stages: list[Stage], dry: list[EmoNetCLI], names: list[str]) -> None:
    """Run stages that are parsed, in a folder that holds none of them, or the begin of these."""
    parsed = [cli.run_config for cli in dry]
    own = [stage_folder(folder, stage) for stage in stages]
    unfinished = [
        _without_pruned(stage, cli, place)
        for stage, cli, place in zip(stages, dry, own, strict=True)
        if begins_anew(cli.run_config) or not (place / DONE).is_file()
    ]
    if unfinished:  # else only export and report are left, which need no data
        check_run(unfinished)
    data = [cli.build_data() for cli in unfinished]
    make_folder(folder)
    with claimed(folder, "another fit is running in this folder; choose another --out"):
        if _is_finished(folder, names, parsed):  # another process had the folder meanwhile
            return
        with slurm.requeued(), said_once(folder), attempt(folder, own, parsed[0], data) as run:
            if names:
                overrides = [
                    {"name": name, "overrides": without(config, *NOT_THE_RUN)}
                    for name, config in zip(names, parsed, strict=True)
                ]
                _write_yaml(folder / RUN_FILE, {"stages": overrides})
            previous: Path | None = None
            for stage, config in zip(stages, parsed, strict=True):
                if agents_run() and stage is not stages[-1]:  # the agent's run shows one stage, whose score counts
                    stage = Stage(stage.name, [*stage.arguments, "--trainer.logger=false"])
                previous = _run_stage(stage, config, folder, previous, run)
            assert previous is not None
            _finish(folder, previous, names, parsed[-1])


def _is_finished(folder: Path, names: list[str], configs: list[dict[str, Any]]) -> bool:
    """Say whether this run is finished; a folder that holds another one is refused."""
    check_folder(folder, names, configs)
    if not (folder / DONE).is_file():
        return False
    say(f"{folder}: this run is finished; nothing to do (choose another --out to train again)")
    return True


def _without_pruned(stage: Stage, cli: EmoNetCLI, own: Path) -> EmoNetCLI:
    """Return what is to be checked: without a checkpoint that later ones of the run have replaced meanwhile."""
    asked = cli.run_config["ckpt_path"]
    return EmoNetCLI(["fit", *stage.arguments, "--ckpt_path=null"], dry=True) if is_pruned(asked, own) else cli


def _run_stage(stage: Stage, config: dict[str, Any], folder: Path, previous: Path | None, run: Attempt) -> Path:
    own = stage_folder(folder, stage)
    if run.resume != "never" and (own / DONE).is_file():
        say(f"{own}: this stage is finished")
        return own
    arguments = [*stage.arguments, "--out", str(own)]
    if previous is not None:
        arguments += ["--model.init_heads_from", str(previous)]
        config = {**config, "model": {**config["model"], "init_heads_from": str(previous)}}
    identity = run.identity(config)
    if (checkpoint := run.checkpoint(own, identity, config["ckpt_path"])) is not None:
        arguments += ["--ckpt_path", str(checkpoint)]
    if stage.name:
        say(f"\n== stage {stage.name} ==")
    _write_yaml(own / RUN_FILE, without(config, *NOT_THE_RUN))
    _test(own, EmoNetCLI(["fit", *arguments], identity=identity, run=folder))
    # a few batches to see whether it works are no run; a run of one stage is done when it is reported, too
    if stage.name and not config["trainer"]["fast_dev_run"]:
        _mark_done(own)
    return own


def _test(own: Path, cli: EmoNetCLI) -> None:
    if cli.config_init["fit"].get("test_data") is not None and not cli.trainer.fast_dev_run:  # type: ignore[attr-defined]
        cli.model.use_bundle(HeadsBundle.load(own), str(own))
        data = cli.config_init["fit"]["test_data"]
        cli.trainer.test(cli.model, datamodule=data, verbose=False)
        for callback in cli.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, StopBetweenBatches):
                callback.stop_if_asked(cli.trainer, "before the test's judgement", always=True)
        count_test(own, cli, data)
        means = cli.datamodule.train_labels().mean_target(cli.model.taxonomy)
        found = judge(cli, data, means)
        write_results(own, found)
        if cli.trainer.is_global_zero:
            figures = cli.run_config["figures"]
            log_test(cli.trainer.loggers, found, own, cli.model.taxonomy, cli.trainer.global_step, figures=figures)
    for logger in cli.trainer.loggers:
        if isinstance(logger, WandbMirror):
            logger.close()  # the next stage is a W&B run of its own


def stage_folder(folder: Path, stage: Stage) -> Path:
    """Return where a stage of a run lies."""
    return folder / stage.name if stage.name else folder


@rank_zero_only
def _finish(folder: Path, last: Path, names: list[str], config: dict[str, Any]) -> None:
    """Bring the last stage's heads and results to the run's folder, export, report, and mark the run done."""
    from emonet_lightning.export import export_command
    from emonet_lightning.reporting.run_report import final_table, write_report

    stop = functools.partial(interruption.check, str(folder))
    stop()
    bundle = HeadsBundle.load(last)
    export = config["export"]
    if last != folder:
        bundle.save(folder)
        for name in (RESULTS_FILE, AGREEMENT_FILE, USE_FILE):
            if (last / name).is_file():
                atomic_write(folder / name, (last / name).read_bytes())
    if config["neutral"]:
        export_command(run=str(folder), out=str(folder), neutral=str(locate(config["neutral"], None)), card=False)
    stop()
    if export:
        export_command(
            run=str(folder),
            out=str(folder / "export"),
            onnx="onnx" in export,
            onnx_images="onnx_images" in export,
            released="released" in export,
        )
    stop()
    agreement = read_agreement(folder, bundle.taxonomy, config["figures"])
    write_report(folder, names, bundle.taxonomy, agreement=agreement, figures=config["figures"])
    stop()
    if not config["trainer"]["fast_dev_run"]:
        _mark_done(folder)
    console().print(final_table(folder, names, bundle.taxonomy, agreement=agreement))
    files = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != LOCK_FILE)
    say(f"run folder: {folder} ({', '.join(files)})")


@rank_zero_only
def _write_yaml(path: Path, content: dict[str, Any]) -> None:
    atomic_write(path, dump_yaml(redact(content)))


@rank_zero_only
def _mark_done(folder: Path) -> None:
    atomic_write(folder / DONE, "")
