"""The embedded sets: rendered faces as packed sets, made once in the cache folder, so that `fit` needs no download."""

import os
from pathlib import Path

from emonet_lightning.data.shards import pack
from emonet_lightning.io import sha256_bytes
from emonet_lightning.synthesis.faces import RenderedFaces
from emonet_lightning.taxonomy import Taxonomy

EMBEDDED_SETS = ("big", "binary", "hq")


def pack_embedded(name: str, folder: Path) -> Path:
    """Return the packed set `big`, `binary` or `hq`; renders and packs it where it is not there yet.

    Training sets are split 90 % / 10 % with persons kept whole; `hq` is sealed, for testing only.
    """
    source = RenderedFaces(name)  # type: ignore[arg-type]
    # the name holds the renderer's digest: another version of the project makes its own set
    out = folder / f"{name}-{sha256_bytes(source.fingerprint().encode())[:12]}"
    if (out / "manifest.json").is_file():
        return out
    sealed = name == "hq"
    cores = len(os.sched_getaffinity(0))
    pack(
        source,
        out,
        Taxonomy.load("emonet40"),
        splits=None if sealed else {"train": 0.9, "val": 0.1},
        shard_size=500,
        num_processes=max(1, min(cores, 8)),
        sealed=sealed,
        hash_near_duplicates=False,  # rendered from parameters: identities differ by construction
    )
    return out
