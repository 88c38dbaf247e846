"""Commands that write: those of the scenes, and encoding, packing, scoring, exporting a set that is small."""

from collections.abc import Callable
from pathlib import Path

import runs

from emonet_lightning.io import sha256_file
from emonet_lightning.packing.packed import PackedSet

Command = Callable[[Path], list[str]]
"""From the folder to write into to the words of the command line."""


def commands(
    scenes: dict[str, runs.Scene], big: Path, encoder: list[str], trained: Callable[[], Path], place: Path
) -> dict[str, Command]:
    """Return command lines by name.

    Args:
        scenes: runs.
        big: packed set.
        encoder: options of the model's encoder.
        trained: makes a run to score with, where it is not there.
        place: folder for images.
    """
    images = place / "images"
    if not images.is_dir():
        packed = PackedSet.open(big)
        images.mkdir()
        for row in range(48):
            (images / f"{row:03d}.jpg").write_bytes(packed.read_image(row))
    own = [word.replace("--model.encoder", "--encoder") for word in encoder]
    pack = ["pack", str(images), "--shard_size=6", "--near_duplicates=ignore"]
    views = ["--views=4", "--augmentation.hflip=0.5"]
    return {
        **{name: scene.command for name, scene in scenes.items()},
        "predict": lambda out: [
            "predict", str(images), f"--out={out / 'scores.csv'}", f"--run={trained()}", "--batch_size=8",
        ],
        "export": lambda out: ["export", f"--run={trained()}", f"--out={out}", "--released"],
        "embed": lambda out: ["embed", str(big), *own, *views, f"--cache_dir={out}"],
        "pack": lambda out: [*pack, f"--out={out}", "--num_processes=2"],
        "pack_alone": lambda out: [*pack, f"--out={out}", "--num_processes=1"],
    }  # fmt: skip


def contents(folder: Path) -> dict[str, str]:
    """Digests of a folder's files, by path, without notes of who writes."""
    files = [
        path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith((".", "writer-"))
    ]
    kept = [path for path in files if not path.name.startswith("writer-")]
    return {str(path.relative_to(folder)): sha256_file(path) for path in kept}
