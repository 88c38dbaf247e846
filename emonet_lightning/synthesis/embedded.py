"""The embedded sets: rendered faces as packed sets, made once in the cache folder, so that `fit` needs no download."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from emonet_lightning.io import sha256_bytes
from emonet_lightning.packing.samples import RawSample
from emonet_lightning.packing.shards import pack
from emonet_lightning.ratings.long_form import Kind
from emonet_lightning.synthesis.faces import RenderedFaces
from emonet_lightning.synthesis.factors import describe_factors
from emonet_lightning.synthesis.renderer import photograph_face
from emonet_lightning.taxonomy import Taxonomy

EMBEDDED_SETS = ("big", "binary", "hq", "neutral")
SPLITS = {"big": {"train": 0.9, "val": 0.1}, "binary": {"train": 0.7, "val": 0.3}}
"""Shares of the sets to learn from; the others are sealed."""
_NEUTRAL_SEED = 1  # other persons than in the three sets, which have seed 0


class NeutralFaces:
    """Faces at rest, for neutral means: every facial action is 0; persons, pose of the camera and light vary."""

    kind: Kind = "dense"
    licence = "MIT"
    name = "rendered-neutral"

    def __init__(self, count: int = 200) -> None:
        self.faces = RenderedFaces("big", count=4 * count, seed=_NEUTRAL_SEED)

    def __len__(self) -> int:
        return len(self.faces) // 4

    def __getitem__(self, index: int) -> RawSample:
        """Render the first face of person `index`, at rest."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has faces 0..{len(self) - 1}, not {index}")
        params = self.faces.params(4 * index)
        params = replace(params, actions=np.zeros_like(params.actions))
        image = photograph_face(params, self.faces.size)
        return RawSample(
            f"neutral-{index:05d}",
            image,
            ratings={"machine": {}},
            group=f"neutral-person-{index:05d}",
            meta={"generator": "rendered", "size": self.faces.size, **describe_factors(params)},
        )

    def fingerprint(self) -> str:
        """Digest of the arguments and of the renderer's code."""
        return self.faces.fingerprint()


def pack_embedded(name: str, folder: Path) -> Path:
    """Return the packed set `big`, `binary`, `hq` or `neutral`; renders and packs it where it is not there yet.

    `big` keeps 10 % of its persons for validation and `binary` 30 %, where an emotion is asked of few faces; `hq` and
    `neutral` are sealed, never trained on.
    """
    source = NeutralFaces() if name == "neutral" else RenderedFaces(name)  # type: ignore[arg-type]
    # the name holds the renderer's digest: another version of the project makes its own set
    out = folder / f"{name}-{sha256_bytes(source.fingerprint().encode())[:12]}"
    if (out / "manifest.json").is_file():
        return out
    sealed = name in ("hq", "neutral")
    cores = len(os.sched_getaffinity(0))
    pack(
        source,
        out,
        Taxonomy.load("emonet40"),
        splits=SPLITS.get(name),
        shard_size=500,
        num_processes=max(1, min(cores, 8)),
        sealed=sealed,
        hash_near_duplicates=False,  # rendered from parameters: identities differ by construction
    )
    return out
