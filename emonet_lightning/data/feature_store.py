"""Where cached features lie while heads train: on the device, in memory, or on disk behind memory maps.

Every block of a cache is compared with its digest when this process first reads it. The one trade-off:
features that are mapped are read block by block, so the order of the rows goes by blocks.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch

from emonet_lightning.data.cache_blocks import BLOCK_ROWS, Block, blocks_of, read_block
from emonet_lightning.data.pixel_batches import decode_threads
from emonet_lightning.data.sampling import Rows
from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.io import fingerprint, read_json

FeaturesOn = Literal["auto", "device", "memory", "mapped"]
FREE_SHARE = 0.4
"""Share of the free memory that features may take."""
_STATISTICS_ROWS = 1024


Place = Literal["device", "memory", "mapped"]


class FeatureStore(Protocol):
    """Features of V views of N rows, D numbers each."""

    num_views: int
    num_rows: int
    dim: int
    device: torch.device

    def take(self, index: torch.Tensor) -> torch.Tensor:
        """Return features [n, D] float16 by `view * N + row` [n]."""
        ...


class ResidentFeatures:
    """Features in the memory of a device or of this process.

    Args:
        features: [V, N, D] float16.
    """

    def __init__(self, features: torch.Tensor) -> None:
        self.features = features
        self.num_views, self.num_rows, self.dim = features.shape
        self.device = features.device
        self._flat = features.flatten(0, 1)

    def take(self, index: torch.Tensor) -> torch.Tensor:
        """Return features [n, D] float16 by `view * N + row` [n]."""
        return self._flat.index_select(0, index)  # fancy indexing of float16 is 2.6 times slower


class _Cache(NamedTuple):
    """Files of one feature cache."""

    views: list[list[Block]]
    num_rows: int
    dim: int


class MappedFeatures:
    """Features on disk: blocks are mapped when they are first touched, and compared with their digest then.

    Args:
        paths: caches of equally many views; rows of cache i follow those of cache i - 1.
    """

    def __init__(self, paths: Sequence[Path | str]) -> None:
        caches = [_open(path) for path in paths]
        self.num_views, self.num_rows, self.dim = _shape(caches)
        self.device = torch.device("cpu")
        self._blocks = [block for view in range(self.num_views) for cache in caches for block in cache.views[view]]
        self._starts = np.cumsum([0] + [block.stop - block.start for block in self._blocks])
        self._mapped: dict[int, torch.Tensor] = {}

    def block_numbers(self, rows: Rows) -> Rows:
        """Return in which block each row lies."""
        return np.searchsorted(self._starts, rows, side="right") - 1

    def take(self, index: torch.Tensor) -> torch.Tensor:
        """Return features [n, D] float16 by `view * N + row` [n].

        Raises:
            DataError: a block is damaged.
            MissingInputError: a block is gone.
        """
        places = index.numpy()
        block = self.block_numbers(places)
        order = np.argsort(block, kind="stable")
        features = torch.empty(len(places), self.dim, dtype=torch.float16)
        for part in np.split(order, np.flatnonzero(np.diff(block[order])) + 1):
            if len(part):
                number = int(block[part[0]])
                local = torch.from_numpy(places[part] - self._starts[number])
                features.index_copy_(0, torch.from_numpy(part), self._block(number).index_select(0, local))
        return features

    def _block(self, number: int) -> torch.Tensor:
        if number not in self._mapped:
            self._mapped[number] = read_block(self._blocks[number], self.dim)  # safetensors maps files
        return self._mapped[number]


def load_cache(path: Path | str) -> torch.Tensor:
    """Return cached features [V, N, D] float16, every block compared with its digest; view 0 is the clean one.

    Raises:
        MissingInputError: no cache, or not complete.
        DataError: damaged.
    """
    return load_features([path])


def load_features(
    paths: Sequence[Path | str], device: torch.device | None = None, num_threads: int | None = None
) -> torch.Tensor:
    """Return the features of caches [V, N, D] float16, each block read into its place by threads.

    Args:
        paths: caches of equally many views; rows of cache i follow those of cache i - 1.
        device: where to; None for this process's memory.
        num_threads: threads that read; at most (and by default) the cores allotted to this process.

    Raises:
        MissingInputError: no cache, or not complete.
        DataError: damaged.
    """
    caches = [_open(path) for path in paths]
    num_views, num_rows, dim = _shape(caches)
    features = torch.empty(num_views, num_rows, dim, dtype=torch.float16, device=device)
    starts = np.cumsum([0] + [cache.num_rows for cache in caches])

    def read(job: tuple[int, int, Block]) -> None:
        start, view, block = job
        features[view, start + block.start : start + block.stop].copy_(read_block(block, dim))

    jobs = [
        (int(start), view, block)
        for start, cache in zip(starts, caches, strict=False)
        for view, blocks in enumerate(cache.views)
        for block in blocks
    ]
    with ThreadPoolExecutor(decode_threads(num_threads)) as pool:  # digests and copies release Python's lock
        for _ in pool.map(read, jobs):
            pass
    return features


def choose_place(asked: FeaturesOn, num_bytes: int, device_free: int | None, memory_free: int) -> Place:
    """Return where features lie: the device, else memory, where they take at most 40 % of what is free; else mapped.

    Args:
        asked: `auto`, or the place to take whatever is free.
        num_bytes: of all features.
        device_free: free bytes of the GPU that trains the heads; None without one, when its memory is `memory`.
        memory_free: free bytes of this process's share of the machine.

    Raises:
        UsageError: the GPU asked for has no room at all.
    """
    if asked == "device" and device_free is not None and num_bytes > device_free:
        raise UsageError(
            f"data.features_on: the features take {num_bytes / 1e9:.1f} GB, the device has {device_free / 1e9:.1f} GB "
            "free; use auto, memory or mapped"
        )
    if asked == "device" and device_free is None:
        return "memory"
    if asked != "auto":
        return asked
    if device_free is not None and num_bytes <= FREE_SHARE * device_free:
        return "device"
    return "memory" if num_bytes <= FREE_SHARE * memory_free else "mapped"


def cache_bytes(paths: Sequence[Path | str]) -> int:
    """Return how many bytes the features of caches take."""
    num_views, num_rows, dim = _shape([_open(path) for path in paths])
    return num_views * num_rows * dim * 2


def free_memory() -> int:
    """Return the bytes that this process may still take: of the machine, the Slurm job and its control groups."""
    if not Path("/proc/meminfo").exists():
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(fields["MemAvailable"].split()[0]) * 1024
    if allotted := os.environ.get("SLURM_MEM_PER_NODE"):  # in megabytes
        free = min(free, int(allotted) * 2**20)
    own = [line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
    group = Path("/sys/fs/cgroup" + own[0]) if own else Path("/")
    while group.is_relative_to("/sys/fs/cgroup"):
        try:
            limit = (group / "memory.max").read_text().strip()
            used = int((group / "memory.current").read_text())
            stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        except OSError:  # no limit there, or not to be seen
            limit = "max"
        if limit != "max":
            free = min(free, int(limit) - used + int(stat["inactive_file"]))  # files that were read make room
        group = group.parent
    return max(free, 0)


def feature_statistics(store: FeatureStore, rows: Rows, l2_normalise: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation [D] float64 of some rows' clean features, reading a thousand at a time.

    Sums of differences from the first rows' mean, float32 within a thousand rows and float64 over them: without the
    shift, the variance would be a small difference of large numbers.
    """
    parts = np.array_split(np.sort(rows), max(1, -(-len(rows) // _STATISTICS_ROWS)))
    shift = torch.zeros(store.dim, device=store.device)
    total = torch.zeros(store.dim, dtype=torch.float64, device=store.device)
    squares = torch.zeros_like(total)
    for number, part in enumerate(parts):
        features = store.take(torch.from_numpy(part).to(store.device)).float()
        if l2_normalise:
            features = torch.nn.functional.normalize(features)
        if not number:
            shift = features.mean(0)
        features -= shift
        total += features.sum(0)
        squares += features.square_().sum(0)
    mean = total / len(rows)
    variance = (squares - len(rows) * mean.square()) / (len(rows) - 1)
    return shift + mean, variance.clamp(min=0).sqrt()


def _open(path: Path | str) -> _Cache:
    path = Path(path)
    meta: dict[str, Any] = read_json(path / "meta.json")
    base = {name: meta.get(name) for name in ("format", "decoder", "encoder", "data")}
    view_keys = [fingerprint({**base, "views": [recipe]}) for recipe in meta.get("views", [])]
    if meta.get("key") != fingerprint({**base, "views": meta.get("views")}) or meta.get("view_keys") != view_keys:
        raise DataError(f"{path / 'meta.json'}: not the description of a feature cache; run the same command again")
    layout = (meta.get("dtype"), meta.get("block_rows"), type(meta.get("dim")))
    if layout != ("float16", BLOCK_ROWS, int):
        raise DataError(f"{path / 'meta.json'}: not the layout of a feature cache; run the same command again")
    num_rows = meta["data"]["num_samples"]
    return _Cache([list(blocks_of(path.parent / key[:20], key, num_rows)) for key in view_keys], num_rows, meta["dim"])


def _shape(caches: Sequence[_Cache]) -> tuple[int, int, int]:
    return len(caches[0].views), sum(cache.num_rows for cache in caches), caches[0].dim
