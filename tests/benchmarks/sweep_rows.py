"""Row 19: what eight configurations cost that train stacked, against one.

A step is arithmetic: eight times the heads are eight times the products. What a sweep saves is the encode pass, the
start of seven processes, and, with successive halving, the epochs of what is worse.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fits import quiet
from inputs import cached_set, photo_set, so400m
from measuring import Line, Settings, Timing, clock, interleave, ratio_line

from emonet_lightning.cli import main
from emonet_lightning.sweeping.halving import Halving
from emonet_lightning.sweeping.stacked import open_training, train_stacked

BATCH, EPOCHS, HALVED_EPOCHS = 256, 10, 16
SMALL_BATCH = 32
"""Of the whole run, whose images are few: the paper's sizes have many steps an epoch."""
POINTS: list[dict[str, Any]] = [
    {"model.lr": lr, "model.weight_decay": decay} for lr in (3e-4, 1e-3, 3e-3, 1e-2) for decay in (0.01, 0.1)
]
FORMS = {"Small": "small", "half of Large [512, 256, 128]": [512, 256, 128]}
ENCODER = "vit_base_patch16_siglip_256"


def stacked(settings: Settings) -> Iterator[Line]:
    """Row 19."""
    yield from _steps(settings)
    yield from _halving(settings)
    yield from _whole(settings)


def _words(made: dict[str, str], encoder: str, weights: str, epochs: int, widths: Any = "small") -> list[str]:
    options = {
        "data": "SyntheticFaces",
        **{f"data.{name}": value for name, value in made.items()},
        "data.batch_size": BATCH,
        "model.encoder.name": encoder,
        "model.encoder.weights": weights,
        "model.widths": widths if isinstance(widths, str) else json.dumps(widths),
        "trainer.max_epochs": epochs,
        "trainer.accelerator": "cpu",
        "trainer.devices": 1,
        "trainer.enable_progress_bar": "false",
        "figures": "false",
    }
    return [f"--{name}={value}" for name, value in options.items()]


def _cached(settings: Settings, num_rows: int, epochs: int, widths: Any = "small") -> list[str]:
    """Return options of a run on made-up cached features, 1152-d, a tenth of them to validate."""
    spec = so400m(settings.work)
    made = cached_set(settings.work, "dense", num_rows, spec)
    parts = ["--data.num_folds=10", "--data.val_share=0.1"]
    return [*_words(made, spec.name, str(spec.weights), epochs, widths), *parts]


def _steps(settings: Settings) -> Iterator[Line]:
    """One optimiser step of eight configurations against one of one, on cached features, dropout 0.1."""
    for name, widths in FORMS.items():
        words = _cached(settings, settings.pick(4096, 600), 1, widths)
        sides: dict[str, Callable[[], object]] = {}
        with tempfile.TemporaryDirectory() as out, quiet():
            for side, points in (("eight", POINTS), ("one", POINTS[:1])):
                folders = [Path(out, side, str(number)) for number in range(len(points))]
                (stack,) = open_training(words, points, folders).stacks
                batch = next(iter(stack.feed.train))[0]
                sides[side] = lambda stack=stack, batch=batch: stack.step(batch, 0)  # type: ignore[misc]
        repeat = 4 if name == "Small" else 1
        timings = interleave(sides, settings.num_rounds(5), settings.pick(repeat, 1), say=f"{name}, a step")
        yield ratio_line(f"{name}, batch {BATCH}: a step of 8 configurations / of one", timings, *sides, "<= 9")


def _halving(settings: Settings) -> Iterator[Line]:
    """Whole calls on cached features: parsing, first weights, steps, validation and the folders of all are inside."""
    words = _cached(settings, settings.pick(6000, 600), settings.pick(HALVED_EPOCHS, 8))
    sides = {
        "eight, halved": lambda out: _train(words, POINTS, out, Halving()),
        "one": lambda out: _train(words, POINTS[:1], out),
    }
    timings = _in_turns(sides, settings.num_rounds(3))
    note = f"8 for 1/8 of {settings.pick(HALVED_EPOCHS, 8)} epochs, 2 for the next 1/8, 1 for the rest; no encode pass"
    what = "Small: successive halving over 8 configurations / one full run"
    yield ratio_line(what, timings, *sides, "<= 2.1", note)


def _whole(settings: Settings) -> Iterator[Line]:
    """Whole runs with an empty cache."""
    count = settings.pick(240, 60)
    packed = photo_set(settings, count=count)
    epochs = settings.pick(EPOCHS, 2)
    made = {"path": str(packed.path)}
    words = [*_words(made, f"timm/{ENCODER}", _random_weights(settings), epochs), f"--data.batch_size={SMALL_BATCH}"]

    def fit(out: Path) -> None:
        point = [f"--{key}={value}" for key, value in POINTS[0].items()]
        assert main(["fit", *words, *point, f"--data.cache_dir={out}/cache", f"--out={out}/run"]) == 0

    def eight(out: Path) -> None:
        _train([*words, f"--data.cache_dir={out}/cache"], POINTS, out / "runs")

    sides = {"eight": eight, "one fit": fit}
    timings = _in_turns(sides, settings.num_rounds(3))
    note = (
        f"{count} photograph-like JPEGs of 512 px, {ENCODER} (random weights, float32), {epochs} epochs of "
        f"{-(-count // SMALL_BATCH)} steps; "
        "an encoder of more work an image brings the ratio nearer to 1, a small one further from it"
    )
    what = "Small, encode pass included: 8 configurations stacked / one fit"
    yield ratio_line(what, timings, *sides, "<= 1.15", note)


def _train(words: list[str], points: list[dict[str, Any]], out: Path, halving: Halving | None = None) -> None:
    results = train_stacked(words, points, [out / str(number) for number in range(len(points))], halving=halving)
    assert not any(result.error for result in results)


def _in_turns(sides: dict[str, Callable[[Path], None]], rounds: int) -> dict[str, Timing]:
    """Time whole runs, each in an empty folder, the order reversed every other round."""
    timings = {side: Timing([], []) for side in sides}
    for number in range(rounds):
        for side in sides if number % 2 == 0 else reversed(sides):
            out = Path(tempfile.mkdtemp())
            with quiet():
                cpu, wall = clock(lambda side=side, out=out: sides[side](out))  # type: ignore[misc]
            shutil.rmtree(out)
            timings[side].cpu.append(cpu)
            timings[side].wall.append(wall)
            print(f"    {side}: {cpu:.1f} CPU-s, {wall:.1f} s", flush=True)
    return timings


def _random_weights(settings: Settings) -> str:
    """Return a weight file of the encoder, random: encoding takes as long with them."""
    import timm
    import torch
    from safetensors.torch import save_file

    path = Path(settings.work) / f"{ENCODER}.safetensors"
    if not path.exists():
        torch.manual_seed(0)
        save_file(timm.create_model(ENCODER, num_classes=0).state_dict(), path)
    return str(path)
