"""A small source of images for the tests of packing; a module, so that other processes can import it."""

import io
import time
from pathlib import Path

import numpy as np
from PIL import Image

from emonet_lightning.io import sha256_file
from emonet_lightning.packing.samples import RawSample
from emonet_lightning.packing.shards import PackedSet, pack
from emonet_lightning.ratings.long_form import Kind
from emonet_lightning.taxonomy import Taxonomy

TAXONOMY = Taxonomy.load("emonet40")
SPLITS = {"train": 0.8, "val": 0.2}


def encoded(seed: int, form: str = "JPEG", side: int = 32) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, form)
    return stream.getvalue()


class ToyFaces:
    kind: Kind = "dense"
    licence = "CC0-1.0"
    name = "toy"

    def __init__(self, count: int = 60, delay: float = 0.0) -> None:
        self.count = count
        self.delay = delay

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> RawSample:
        time.sleep(self.delay)
        asked = TAXONOMY.slugs[index % 5]
        return RawSample(
            key=f"face{index:03d}",
            image=encoded(index, ("JPEG", "PNG", "WEBP")[index % 3]),
            ratings={"generated": {asked: float(index % 8), "awe": 0.5}},
            prompted=asked,
            group=f"person{index // 2}" if index % 4 else None,
            meta={"prompt": f"face «{index}»", "age": index},
        )


def pack_toy(out: Path, source=None, **options) -> PackedSet:
    options = {"splits": SPLITS, "shard_size": 16, "progress": False} | options
    return pack(source or ToyFaces(), out, TAXONOMY, **options)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in sorted(folder.iterdir())}


class Listed:
    """Samples given one by one."""

    licence, name = "CC0-1.0", "listed"

    def __init__(self, *samples: RawSample, kind="dense") -> None:
        self.samples, self.kind = samples, kind

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> RawSample:
        return self.samples[index]
