"""Small runs with all that makes resuming hard, and whether two of them ended the same."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import forking
import torch

from emonet_lightning.checkpoints import FOLDER, load_verified, named_checkpoints
from emonet_lightning.io import sha256_file

OF_THE_MOMENT = ("run.json", "attempts.jsonl", "timing.jsonl", "test_use.json", "report.md", "README.md")
"""Files that tell of ids, folders, times or counts of starts; so do pictures, and PyTorch files of the export."""
_OF_THE_START = ("run", "logs")
"""In a checkpoint: the run's id, and how long the file of measured times was."""


class Scene(NamedTuple):
    """A run to do something to.

    Args:
        words: command line without `--out`.
        environment: variables beside this process's.
    """

    words: list[str]
    environment: dict[str, str]

    def command(self, out: Path) -> list[str]:
        """Command line of the run in a folder."""
        return [*self.words, f"--out={out}"]


def scenes(sets: dict[str, Path], encoder: list[str], folder: Path) -> dict[str, Scene]:
    """Return runs by name: `cached`, `long`, `images` (augmentation in workers), `tested` (drawn, too)."""
    words = [
        "fit", "--data=SyntheticFaces", f"--data.path={sets['big']}", "--data.batch_size=24", *encoder,
        "--data.augmentation.hflip=0.5", "--model.widths=[8]", "--model.dropout=0.3", "--model.lr=0.01",
        "--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.enable_progress_bar=false",
        "--trainer.num_sanity_val_steps=1", "--checkpoint_every=0", "--max_stuck_restarts=0", "--num_draws=20",
        "--figures=false",
    ]  # fmt: skip
    other = Path("/dev/shm")
    temporary = {"TMPDIR": str(other)} if other.is_dir() else {}
    cached = [*words, f"--data.cache_dir={folder / 'cache'}", "--data.views=2"]
    images = [*words, "--data.mode=images", "--data.num_workers=2", "--model.standardise=false"]
    tested = [*cached, "--test_data=ExpertRatings", f"--test_data.path={sets['hq']}", "--export=[released]"]
    tested.append("--figures=true")
    return {
        "cached": Scene([*cached, "--trainer.max_epochs=30"], temporary),
        "long": Scene([*cached, "--trainer.max_epochs=80"], temporary),
        "images": Scene([*images, "--trainer.max_epochs=8"], temporary),
        "tested": Scene([*tested, "--trainer.max_epochs=3"], temporary),
    }


def newest(folder: Path) -> int:
    """Step of a run's newest checkpoint, by name; -1 without one."""
    return max((found.step for found in named_checkpoints(folder / FOLDER)), default=-1)


def damaged(folder: Path) -> list[str]:
    """Checkpoints of a run whose content is not what their name says, or that do not load."""
    found = []
    for checkpoint in named_checkpoints(folder / FOLDER):
        try:
            load_verified(checkpoint.path)
        except Exception as error:
            found.append(f"{checkpoint.path.name}: {error}")
    return found


def differences(folder: Path, expected: Path) -> list[Any]:
    """Return in what a finished run differs from another: files, and all that its last checkpoint holds."""
    if not (folder / "DONE").is_file():
        return ["not finished"]
    digests = [files(place) for place in (folder, expected)]
    found = sorted({*digests[0].items()} ^ {*digests[1].items()})
    ends = [named_checkpoints(place / FOLDER)[0] for place in (folder, expected)]
    if ends[0].step != ends[1].step:
        return [*found, f"ended at step {ends[0].step}, not {ends[1].step}"]
    one, two = (load_verified(end.path) for end in ends)
    for content in (one, two):
        for key in _OF_THE_START:
            content.pop(key, None)
    return [*found, *unequal(one, two)]


def files(folder: Path) -> dict[str, str]:
    """Digests of a run's files, by path; without checkpoints, and of some no more than that they are there."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not path.name.startswith(".") and name.parts[0] != FOLDER:
            momentary = path.name in OF_THE_MOMENT or path.suffix in (".png", ".pdf")
            found[str(name)] = "" if momentary else sha256_file(path)
    return found


def unequal(one: Any, two: Any, name: str = "checkpoint") -> list[str]:
    """Return the names of values that are not the same to the bit."""
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        same = one.dtype == two.dtype and one.shape == two.shape and torch.equal(one, two)
        return [] if same else [name]
    if isinstance(one, dict) and isinstance(two, dict):
        missing = [f"{name}.{key}" for key in sorted({*map(str, one)} ^ {*map(str, two)})]
        return missing + [text for key in one if key in two for text in unequal(one[key], two[key], f"{name}.{key}")]
    if isinstance(one, list | tuple) and isinstance(two, list | tuple) and len(one) == len(two):
        pairs = enumerate(zip(one, two, strict=True))
        return [text for number, (a, b) in pairs for text in unequal(a, b, f"{name}.{number}")]
    return [] if one == two or (one != one and two != two) else [f"{name} ({one!r:.60}, {two!r:.60})"]


def steps_logged(folder: Path) -> int:
    """Step of the last whole line of a run's metrics; -1 without one."""
    path, last = folder / "metrics.jsonl", -1
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            last = json.loads(line)["step"]
        except ValueError:
            continue
    return last


def finish(scene: Scene, out: Path, timeout: float = 120) -> tuple[int, str]:
    """Run the same command again until it ends by itself; returns its exit code and what it said."""
    return forking.run(scene.command(out), timeout, env=scene.environment)
