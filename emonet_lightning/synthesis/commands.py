"""The command `synthesize faces`: a rendered set of any size, packed."""

import os
from typing import Literal

from emonet_lightning.packing.shards import pack
from emonet_lightning.synthesis.embedded import SPLITS
from emonet_lightning.synthesis.faces import RenderedFaces
from emonet_lightning.synthesis.renderer import IMAGE_SIZE
from emonet_lightning.taxonomy import Taxonomy


def faces_command(
    out: str,
    kind: Literal["big", "binary", "hq"] = "big",
    count: int | None = None,
    size: int = IMAGE_SIZE,
    seed: int = 0,
    shard_size: int = 1000,
    num_processes: int | None = None,
    progress: bool = True,
) -> None:
    """Render faces and pack them: WebDataset shards, ratings and a manifest, with every factor in each sample's JSON.

    A call that was killed is resumed by the same call; `data.path` takes the folder.

    Args:
        out: folder of the packed set.
        kind: `big` (labels 0..7 by a simulated machine), `binary` (yes or no), `hq` (four of eight raters; sealed).
        count: number of faces; by default that of the embedded set of this kind.
        size: width and height in pixels, 64..512.
        seed: another seed gives other persons, faces and raters; the embedded sets have 0, neutral faces 1.
        shard_size: images per shard.
        num_processes: processes that render; by default one per CPU.
        progress: show a progress bar and what was found.

    Raises:
        UsageError: size or count out of range, or the folder holds something else.
        InterruptedRunError: stopped by the keyboard; the same call resumes.
    """
    pack(
        RenderedFaces(kind, count, seed, size),
        out,
        Taxonomy.load("emonet40"),
        splits=SPLITS.get(kind),
        shard_size=shard_size,
        num_processes=num_processes or len(os.sched_getaffinity(0)),
        sealed=kind not in SPLITS,
        hash_near_duplicates=False,  # rendered from parameters: identities differ by construction
        progress=progress,
    )
