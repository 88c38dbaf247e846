"""train_stacked: the configurations of a sweep in one process, over features that are encoded once.

Configurations of one seed see the same batches and train side by side as one stack of heads; those of another seed,
depth or kind of head form stacks of their own, which take turns over the same features in memory. Without dropout a
configuration ends as its own `fit` would, to float tolerance; with dropout it draws other masks of the same rates.

A killed training leaves no heads behind (a folder has a manifest only once its heads are complete), and begins anew
from the cached features: it is a matter of minutes, so there are no checkpoints. Memory is about 24 bytes a weight of
each configuration: 1.8 GB for 40 large heads.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from emonet_lightning.composition import Options, compose, to_nested
from emonet_lightning.data.face_data import FaceDataModule
from emonet_lightning.errors import UsageError
from emonet_lightning.messages import say
from emonet_lightning.preflight import check_run
from emonet_lightning.run_cli import EmoNetCLI
from emonet_lightning.sweeping.configurations import Configuration, StackedResult
from emonet_lightning.sweeping.halving import Halving, Segment
from emonet_lightning.sweeping.side_by_side import num_parameters
from emonet_lightning.sweeping.stackable import check_base, which_cannot_stack
from emonet_lightning.sweeping.stacked_steps import Feed, HeadStack
from emonet_lightning.yaml_files import dump_yaml

MAX_PADDING = 2.0
"""Heads are padded to wider ones up to so many times their weights; beyond, a stack of their own is cheaper."""


def train_stacked(
    words: Sequence[str],
    points: Sequence[dict[str, Any]],
    folders: Sequence[Path],
    *,
    halving: Halving | None = None,
) -> list[StackedResult]:
    """Train all points of a sweep, each ending as the folder of an ordinary run; none is tested.

    Args:
        words: command line of `fit` that all have in common, without `--out`; a run of one stage.
        points: dotted option -> value of each configuration; options as `which_cannot_stack` allows.
        folders: where each is to end.
        halving: drops configurations on the way; None trains all to the end.

    Returns:
        What became of each, in the order of the points. A configuration that diverges says so in its result.

    Raises:
        UsageError: an option that stacked configurations cannot differ in, or that this training does not follow.
        EmoNetError: what a `fit` of the first point would fail by before its first step.
        InterruptedRunError: a signal asked to stop; nothing goes on, the same call begins anew.
    """
    training = open_training(words, points, folders, halving)
    for segment in training.segments:
        for stack in training.stacks:
            for epoch in range(segment.start, segment.stop):
                if stack.members:
                    stack.train_epoch(epoch)
                    say(f"epoch {epoch}: {stack.num_heads} of its heads go on{_best(training)}")
        if halving is not None and segment.keep is not None:
            halving.drop(training.configurations, segment.keep)
            for stack in training.stacks:
                stack.compact()
    for stack in training.stacks:
        stack.save()
    return [configuration.result() for configuration in training.configurations]


class StackedTraining(NamedTuple):
    """All that is to be trained, before its first step."""

    configurations: list[Configuration]
    """In the order of the points."""
    stacks: list[HeadStack]
    segments: list[Segment]


def open_training(
    words: Sequence[str], points: Sequence[dict[str, Any]], folders: Sequence[Path], halving: Halving | None = None
) -> StackedTraining:
    """Check everything, encode or read the features, and draw the first weights; arguments as of `train_stacked`."""
    if len(points) != len(folders) or not points or len({*map(Path, folders)}) < len(folders):
        raise UsageError(f"sweep: {len(points)} points need a folder each, {len(folders)} were given")
    for key, why in which_cannot_stack(key for point in points for key in point).items():
        raise UsageError(f"{key}: stacked configurations cannot differ in it ({why}); sweep it without --stacked")
    clis = _parse(words, points)
    configs = [cli.run_config for cli in clis]
    check_base(configs[0])
    max_epochs = configs[0]["trainer"]["max_epochs"]
    segments = halving.segments(max_epochs) if halving else [Segment(0, max_epochs, None)]
    check_run(clis[:1])
    torch.set_float32_matmul_precision("highest")  # as in `fit`
    configurations = [
        Configuration.build(number, dict(point), Path(folder), config)
        for number, (point, folder, config) in enumerate(zip(points, folders, configs, strict=True))
    ]
    feeds = _feeds(clis, configs)
    for configuration, config in zip(configurations, configs, strict=True):
        configuration.begin(config, feeds[config["seed_everything"]].data)
    stacks = [HeadStack(members, feeds[seed], max_epochs) for seed, members in _families(configurations, configs)]
    say(f"stacked: {len(points)} configurations of {len(configurations[0].remaining)} heads in {len(stacks)} stacks")
    return StackedTraining(configurations, stacks, segments)


def _best(training: StackedTraining) -> str:
    scores = [each.score for each in training.configurations if not math.isnan(each.score)]
    return f"; best val/score so far {max(scores):.4f}" if scores else ""


def _parse(words: Sequence[str], points: Sequence[dict[str, Any]]) -> list[EmoNetCLI]:
    options = Options.split(list(words))
    if options.out is not None or options.run is not None:
        raise UsageError("sweep: --out and --run are not of the runs that a sweep has in common; leave them out")
    stages = compose(options)
    if len(stages) != 1:
        raise UsageError("stages: a stacked training is of one stage; sweep each stage by itself, or without --stacked")
    common = ["fit", *stages[0].arguments]
    return [
        EmoNetCLI([*common, *(["--config", dump_yaml(to_nested(point, "sweep"))] if point else [])], dry=True)
        for point in points
    ]


def _feeds(clis: Sequence[EmoNetCLI], configs: Sequence[dict[str, Any]]) -> dict[int, Feed]:
    """Open the data once for each seed; the features of all lie in memory once."""
    feeds: dict[int, Feed] = {}
    opened: dict[Any, Any] = {}
    for cli, config in zip(clis, configs, strict=True):
        seed = config["seed_everything"]
        if seed not in feeds:
            data, _ = cli.build_data()
            assert isinstance(data, FaceDataModule)
            data.alone_on, data.opened = _device(config["trainer"]["accelerator"]), opened
            data.prepare_data()
            data.setup("fit")
            feeds[seed] = Feed.of(data)
    return feeds


def _device(accelerator: str) -> torch.device:
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", 0)
    if accelerator not in ("auto", "cpu"):
        raise UsageError(
            f"trainer.accelerator: '{accelerator}' is not here or not for stacked training; use auto or cpu"
        )
    return torch.device("cpu")


def _families(
    configurations: Sequence[Configuration], configs: Sequence[dict[str, Any]]
) -> list[tuple[int, list[Configuration]]]:
    """Return which configurations form a stack, each with its seed; in a stack, in the order they were given."""
    alike: dict[tuple[Any, ...], list[Configuration]] = {}
    for each, config in zip(configurations, configs, strict=True):
        heads, given = each.module.heads, each.module.hparams
        biases = 0 if heads.thresholds is None else heads.thresholds.shape[1]
        kind = (len(heads.widths), biases, given["heads_dtype"], given["l2_normalise"], given["standardise"])
        alike.setdefault((config["seed_everything"], *kind), []).append(each)
    found = []
    for (seed, *_), members in alike.items():
        left = sorted(members, key=lambda each: -num_parameters(each.module.heads))
        while left:
            widest = num_parameters(left[0].module.heads)
            near = [each for each in left if widest <= MAX_PADDING * num_parameters(each.module.heads)]
            found.append((seed, sorted(near, key=lambda each: each.number)))
            left = [each for each in left if each not in near]
    return found
