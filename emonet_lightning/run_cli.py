"""EmoNetCLI: `fit`, `validate` and `test` from LightningCLI, with the model's choices linked to the data.

What two classes share (taxonomy, encoder, seed) is said once, under `model`, and linked as values at parse time. One
instance runs one ordinary run; `stages.py` composes several.
"""

import copy
import functools
import logging
import warnings
from pathlib import Path
from typing import Any, Literal

import jsonargparse
import torch
from jsonargparse.typing import NonNegativeFloat, NonNegativeInt, PositiveInt
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector
from omegaconf.errors import OmegaConfBaseException

import emonet_lightning.data.datamodules  # noqa: F401  (registers the data modules' short names)
from emonet_lightning import parallel, slurm
from emonet_lightning.building import PARTS, begin, build, own_error, without_enums
from emonet_lightning.bundle import HeadsBundle
from emonet_lightning.callbacks import BestHeads, RunLogger, Throughput
from emonet_lightning.checkpoints import FOLDER
from emonet_lightning.data.face_data import FaceDataModule
from emonet_lightning.errors import UsageError
from emonet_lightning.module import EmpathicInsightFace
from emonet_lightning.option_types import needs_value
from emonet_lightning.option_values import check_values
from emonet_lightning.parser_messages import LINKED, explain, explain_reference
from emonet_lightning.parser_settings import limit_parsing
from emonet_lightning.processes import run_fingerprints
from emonet_lightning.sample_ledger import SampleLedger
from emonet_lightning.saving import IntervalCheckpoint
from emonet_lightning.stopping import StopBetweenBatches
from emonet_lightning.wandb_mirror import WandbMirror, mirrored
from emonet_lightning.yaml_files import parse_yaml

limit_parsing()

for noise in (
    ".*isinstance.treespec, LeafSpec.*",  # Lightning with newer PyTorch
    ".*does not have many workers.*",  # cached batches are made in the main process on purpose
    ".*smaller than the logging interval.*",  # metrics are logged once an epoch
    ".*Total length of `list` across ranks is zero.*",  # no validation rows: the plan says so
    ".*`srun` command is available.*",
    ".*instantiate_classes.*was deprecated.*",  # called by Lightning
    ".*checkpoint directory .* exists and is not empty.*",  # a run that goes on
):
    warnings.filterwarnings("ignore", message=noise)
for noisy in ("lightning.pytorch", "lightning.fabric"):  # tips and device lists; `doctor` tells of devices
    logging.getLogger(noisy).setLevel(logging.WARNING)

parallel.register()
ExportKind = Literal["onnx", "onnx_images", "released"]
_PARSERS: dict[str, tuple[Any, ...]] = {}
TRAINER_DEFAULTS: dict[str, Any] = {
    "logger": False,
    "max_epochs": 10,
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
    "use_distributed_sampler": False,  # the project's own order is split over processes already
}


class EmoNetCLI(LightningCLI):
    """One run: parse, build, and call the Trainer.

    Args:
        args: command line after `python -m emonet_lightning`, beginning with the subcommand.
        dry: stop after parsing.
        bundle: heads to validate or test.
        identity: fingerprints of the run that checkpoints name.
        run: folder of all stages, which is named to go on with.
    """

    def __init__(
        self,
        args: list[str],
        dry: bool = False,
        bundle: HeadsBundle | None = None,
        identity: dict[str, str] | None = None,
        run: Path | None = None,
    ) -> None:
        self.run = run
        self.dry = dry
        self.bundle = bundle
        self.identity = identity
        self._asked = args[0]
        common: dict[str, Any] = {"parser_mode": "omegaconf+", "exit_on_error": False, "allow_abbrev": False}
        common["prog"] = "python -m emonet_lightning"
        super().__init__(
            EmpathicInsightFace,
            FaceDataModule,
            subclass_mode_data=True,
            save_config_callback=None,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            seed_everything_default=0,
            trainer_defaults=TRAINER_DEFAULTS,
            parser_kwargs={**common, **{name: dict(common) for name in self.subcommands()}},
            args=args,
        )

    def setup_parser(self, *args: Any) -> None:
        """Build the parser once in a process: it takes half a second, and a run parses once or twice a stage."""
        if self._asked not in _PARSERS:
            super().setup_parser(*args)
            _PARSERS[self._asked] = (self.parser, self._subcommand_parsers, self._subcommand_method_arguments)
        self.parser, self._subcommand_parsers, self._subcommand_method_arguments = _PARSERS[self._asked]

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Return the one that was asked for: building the parser of each takes half a second."""
        unused = {"model", "dataloaders", "datamodule", "verbose", "weights_only"}
        skipped = {
            "fit": {*unused, "train_dataloaders", "val_dataloaders"},
            "validate": {*unused, "ckpt_path"},
            "test": {*unused, "ckpt_path"},
        }
        return {self._asked: skipped[self._asked]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run folder, the set to test on, export, the forced callbacks and the links."""
        parser.add_argument("--out", type=str | None, default=None, help="Run folder (default: a new one in runs/).")
        parser.add_subclass_arguments(FaceDataModule, "test_data", required=False, help="Set to test on after fit.")
        parser.add_argument("--export", type=list[ExportKind], default=[], help="Forms to export after fit.")
        parser.add_argument(
            "--neutral", type=str | None, default=None, help="After fit: neutral faces to fit means on."
        )
        parser.add_argument("--num_draws", type=PositiveInt, default=500, help="Bootstrap draws of a test's intervals.")
        parser.add_argument(
            "--figures", type=bool, default=True, help="Draw the reports' figures; without, reports are tables only."
        )
        parser.add_argument(
            "--checkpoint_every",
            type=NonNegativeFloat,
            default=30.0,
            help="Seconds between checkpoints (0: each epoch).",
        )
        parser.add_argument(
            "--resume",
            type=Literal["auto", "required", "never"] | None,
            default=None,
            help="Go on with the run in --out: if there is one (auto, the default), else fail (required, the default "
            "after a restart by Slurm), or begin anew (never).",
        )
        parser.add_argument(
            "--max_stuck_restarts",
            type=NonNegativeInt,
            default=3,
            help="Starts in a row that may crash without getting further (then exit 70); 0: no limit.",
        )
        parser.add_lightning_class_args(BestHeads, "best_heads")
        for name in LINKED:
            parser.link_arguments(f"model.{name}", f"data.init_args.{name}")
            parser.link_arguments(f"model.{name}", f"test_data.init_args.{name}")
        parser.link_arguments("seed_everything", "data.init_args.seed")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse; an error is one line that offers the nearest key.

        Raises:
            UsageError: in place of jsonargparse's own error.
        """
        assert isinstance(args, list)
        try:
            self.config = parser.parse_args(args)
        except jsonargparse.ArgumentError as error:
            known = [action.dest for action in self._subcommand_parsers[args[0]]._actions]
            raise UsageError(explain(str(error), known)) from error
        except OmegaConfBaseException as error:
            raise UsageError(explain_reference(str(error))) from error
        self.config = without_enums(self.config)
        check_values(self.run_config, needs_value)
        parallel.check_strategy(self.run_config["trainer"]["strategy"])

    def _parse_ckpt_path(self) -> None:
        """Leave the configuration alone: LightningCLI lets a checkpoint's hyper-parameters silently win over it."""

    def build_data(self) -> tuple[FaceDataModule, FaceDataModule | None]:
        """Build the data modules to train and to test on alone, without model and Trainer."""
        config = self.config[self.subcommand]
        data, test_data = (build(name, config.get(name), FaceDataModule) for name in ("data", "test_data"))
        return data, test_data

    def check_parts(self, loggers: bool = False) -> None:
        """Build callbacks and the like, and leave them: an error of one names its option.

        Args:
            loggers: also those, which may call a server.
        """
        for name, kinds in PARTS.items():
            if loggers or name != "logger":
                build(f"trainer.{name}", self.config[self.subcommand].trainer[name], *kinds)

    def before_instantiate_classes(self) -> None:
        """Let loggers write into the run's folder where they would write into the working folder."""
        config = self.config[self.subcommand]
        loggers = config.trainer.logger if isinstance(config.trainer.logger, list) else [config.trainer.logger]
        for logger in loggers:
            if config.out and isinstance(logger, jsonargparse.Namespace) and logger.init_args.get("save_dir") == ".":
                logger.init_args.save_dir = config.out
        self.__dict__.pop("_as_primitives", None)  # the seed was set since, too

    def instantiate_classes(self) -> None:
        """Build model, data and Trainer, unless only parsing was asked for."""
        if not self.dry:
            try:
                super().instantiate_classes()
            except (TypeError, ValueError) as error:  # what the parser says is a page; one by one they can be named
                if (own := own_error(error)) is not None:
                    raise own from None
                self.build_data()
                self.check_parts(loggers=True)
                raise

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the Trainer with the run folder's logger, checkpoint, best heads and progress bar."""
        config = self.run_config
        folder = Path(config["out"]) if config["out"] else None
        callbacks: list[Any] = [Throughput(), SampleLedger(folder if self.subcommand == "fit" else None)]
        stopping = StopBetweenBatches(self.run)
        if folder is not None and self.subcommand == "fit":
            self._get(self.config_init, "best_heads").folder = folder
            if config["trainer"]["enable_checkpointing"] is not False:
                stopping = IntervalCheckpoint(folder / FOLDER, config["checkpoint_every"], self.identity, self.run)
        callbacks.append(stopping)
        if config["trainer"]["enable_progress_bar"] is not False:
            callbacks.append(RichProgressBar(leave=False))
        given = self._get(self.config_init, "trainer")
        own = given["callbacks"] or []
        given["callbacks"] = [*(own if isinstance(own, list) else [own]), *callbacks]
        kwargs.setdefault("default_root_dir", str(folder) if folder else None)
        slurm.check_launch()
        trainer = super().instantiate_trainer(**kwargs)
        slurm.check_tasks(trainer.num_devices, trainer.num_nodes)
        trainer._signal_connector = _OwnSignals(trainer)
        if isinstance(trainer.strategy, parallel.HeadsDDP):
            trainer.strategy.fingerprints = run_fingerprints(config)
        loggers = mirrored(trainer.loggers, folder if self.subcommand == "fit" else None, self.run, config)
        begin(logger for logger in loggers if not isinstance(logger, WandbMirror))
        if folder is not None and self.subcommand == "fit":
            loggers.append(RunLogger(folder))
        trainer.loggers = loggers
        return trainer

    def _run_subcommand(self, subcommand: str) -> None:
        if self.dry:
            return
        if self.bundle is not None:
            self.model.use_bundle(self.bundle, "heads")
        torch.set_float32_matmul_precision("highest")  # figures must not depend on the device's default
        super()._run_subcommand(subcommand)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        kwargs = super()._prepare_subcommand_kwargs(subcommand)
        return kwargs if subcommand == "fit" else {**kwargs, "verbose": False}  # the project prints its own figures

    def _set_seed(self) -> None:
        if not self.dry:
            super()._set_seed()

    @property
    def run_config(self) -> dict[str, Any]:
        """A copy of the parsed configuration of the subcommand, as primitives; links are left to be made again."""
        return copy.deepcopy(self._as_primitives)

    @functools.cached_property
    def _as_primitives(self) -> dict[str, Any]:
        parser = self._parser(self._asked)
        text = parser.dump(self.config[self._asked], skip_link_targets=True, skip_unset=False)
        config = parse_yaml(text, "configuration", finite=False)
        config.pop("config", None)
        return config


class _OwnSignals(_SignalConnector):
    """No handlers of Lightning's: they save in the middle of anything, or end with exit code 0 and without saving."""

    def register_signal_handlers(self) -> None:
        """Leave the handlers of `interruption` alone."""
