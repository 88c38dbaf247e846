"""The feature cache: every image passes the frozen encoder once per view, and never again.

Un-normalised pooled features, float16, one folder per view, named by a digest of all that decides them: encoder weights
and precision, preprocessing, image content and order, the view's recipe and seed. The one trade-off: float16 (relative
rounding 5e-4 per value, 1 - cosine below 4e-7), because half the bytes means that 200,000 images stay in memory.
"""

import contextlib
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch

from emonet_lightning.bad_samples import TRAINING, BadSample, Skip, SkipBudget
from emonet_lightning.data.cache_blocks import BLOCK_ROWS, BadRows, Block, bad_rows, blocks_of
from emonet_lightning.data.cache_writers import STALL_SECONDS, WriterClaim, earlier_claims, wait_for_blocks
from emonet_lightning.data.encoding import encode_blocks
from emonet_lightning.data.pixel_batches import ImageRows, Recipe, decode_threads
from emonet_lightning.decoding import DECODER, decode_image
from emonet_lightning.encoders import EncoderSpec, FrozenEncoder, encoder_identity, feature_dim
from emonet_lightning.errors import DataError, OutputError, UsageError
from emonet_lightning.io import fingerprint, make_folder, read_json, write_json
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.progress import progress_bar
from emonet_lightning.transforms import Augmentation

logger = logging.getLogger(__name__)

FORMAT = 1
_LEFTOVER_SECONDS = 600


class CacheBuild(NamedTuple):
    """What `fill_cache` did."""

    path: Path
    key: str
    dim: int
    num_encoded: int
    """Images that this process encoded."""
    seconds: float
    """Time that this process spent on them."""
    num_missing: int
    """Blocks of other processes' shares that are not there yet; 0 where these were waited for."""
    bad: BadRows
    """Rows whose image cannot be read, in the blocks that are there: their features are zero."""


class CachePlan(NamedTuple):
    """What a cache consists of."""

    path: Path
    key: str
    meta: dict[str, Any]
    dim: int
    views: list[Recipe]
    blocks: list[list[Block]]
    """Per view."""


def cache_key(
    packed: ImageRows, spec: EncoderSpec, *, views: int = 1, augmentation: Augmentation | None = None, seed: int = 0
) -> str:
    """Return the digest of all that decides the features; the cache folder's name is its first 20 digits."""
    return plan_cache(packed, spec, Path(), views, augmentation, seed).key


def build_cache(
    packed: ImageRows,
    spec: EncoderSpec,
    cache_dir: Path | str,
    *,
    views: int = 1,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    rank: int = 0,
    world_size: int = 1,
    num_threads: int | None = None,
    progress: bool = True,
    max_bad_fraction: float = TRAINING,
) -> Path:
    """Encode what is not cached yet, this rank's share of it, and wait for the other ranks' shares.

    Args:
        packed: images.
        spec: encoder.
        cache_dir: folder that holds caches.
        views: the clean view, and `views - 1` augmented ones.
        augmentation: how views from 1 on are changed.
        seed: of these changes; view v of row r is drawn from `sample_seed(seed, 0, r, v)`.
        device: where the encoder runs.
        rank: this process, of `world_size` that call this with the same arguments.
        world_size: processes that share the work, by files alone.
        num_threads: image decoding threads; at most (and by default) the cores allotted to this process.
        progress: show a bar (on rank 0).
        max_bad_fraction: share of the images that may be unreadable; these rows are zero, and tried again by the next
            call.

    Returns:
        The cache's folder, complete.

    Raises:
        DataError: too many unreadable images, or features that are not finite.
        OutputError: the folder cannot be written; found out before anything is encoded.
        InterruptedRunError: another rank died.
    """
    return fill_cache(
        packed,
        spec,
        cache_dir,
        views=views,
        augmentation=augmentation,
        seed=seed,
        device=device,
        rank=rank,
        world_size=world_size,
        num_threads=num_threads,
        progress=progress,
        max_bad_fraction=max_bad_fraction,
    ).path


def fill_cache(
    packed: ImageRows,
    spec: EncoderSpec,
    cache_dir: Path | str,
    *,
    views: int = 1,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    rank: int = 0,
    world_size: int = 1,
    num_threads: int | None = None,
    progress: bool = True,
    max_bad_fraction: float = TRAINING,
    wait: bool = True,
    stall_seconds: float = STALL_SECONDS,
) -> CacheBuild:
    """Do what `build_cache` does, and say what was done.

    With `wait` false the other ranks' shares are not waited for; `stall_seconds` bounds the wait while no writer is
    seen.

    Raises:
        UsageError: `compile` of the encoder without CUDA; and all that `build_cache` raises.
    """
    if spec.compile and torch.device(device).type != "cuda":
        raise UsageError(f"encoder.compile needs CUDA, the device is {device}; leave encoder.compile out")
    plan = plan_cache(packed, spec, Path(cache_dir), views, augmentation, seed)
    _remove_leftovers(plan)
    earlier = earlier_claims(plan.path)
    every = [(view, block) for view, blocks in zip(plan.views, plan.blocks, strict=True) for block in blocks]
    started, num_encoded = time.monotonic(), 0
    damaged = _damaged_blocks(packed, [block for _, block in every], plan.dim, decode_threads(num_threads))
    budget = SkipBudget(f"encoding {plan.path.name}", packed.num_samples, max_bad_fraction)

    def on_bad(row: int, error: BadSample) -> None:
        budget.add(Skip(packed.keys[row], "", error.reason, str(error)))

    def is_there(block: Block) -> bool:
        return block.path.exists() and block.path.stat().st_ino != damaged.get(block)

    # the share is cut from all blocks before finished ones are dropped: ranks need not see the same files
    share = every[rank::world_size]
    if list(_missing_metas(plan)) or not all(is_there(block) for _, block in share):
        make_folder(plan.path)
        with WriterClaim(plan.path, rank):
            for folder, meta in _missing_metas(plan):
                write_json(folder / "meta.json", meta)
            todo = [(recipe, block) for recipe, block in share if not is_there(block)]
            num_encoded = sum(block.stop - block.start for _, block in todo)
            if todo:
                if isinstance(packed, PackedSet):
                    packed.check_files()
                encoder = FrozenEncoder.load(spec).to(device)
                if encoder.identity != plan.meta["encoder"]:
                    raise DataError(f"encoder '{spec.name}': its weight file changed meanwhile; run the command again")
                shown = progress and (rank == 0 or not wait)  # one bar for processes that share a terminal
                with progress_bar(f"encode {spec.name}", num_encoded, "images", shown) as advance:
                    encode_blocks(packed, encoder, todo, decode_threads(num_threads), advance, on_bad)
                budget.check()
    seconds = time.monotonic() - started

    def missing() -> list[str]:
        return [str(block.path.relative_to(plan.path.parent)) for _, block in every if not is_there(block)]

    if wait:
        wait_for_blocks(plan.path, missing, earlier, stall_seconds)
    bad = dict(pair for _, block in every if block.path.exists() for pair in bad_rows(block, plan.dim).items())
    _check_all(packed, bad, budget)
    return CacheBuild(plan.path, plan.key, plan.dim, num_encoded, seconds, 0 if wait else len(missing()), bad)


def _check_all(packed: ImageRows, bad: BadRows, budget: SkipBudget) -> None:
    """Compare the bad rows of all processes, and of earlier calls, with the budget."""
    budget.skips.clear()
    for row, reason in sorted(bad.items()):
        error = f"sample '{packed.keys[row]}' cannot be read ({reason}); repair its shard or pack the set again"
        budget.add(Skip(packed.keys[row], "", reason, error))
    budget.check()


def plan_cache(
    packed: ImageRows, spec: EncoderSpec, cache_dir: Path, views: int, augmentation: Augmentation | None, seed: int
) -> CachePlan:
    """Return which blocks a cache consists of, and how each is made; reads no weights and no images."""
    if views < 1 or (views > 1 and augmentation is None):
        raise UsageError(f"views is {views}: at least 1, and an augmentation where there are more")
    recipes = [Recipe(0)] + [Recipe(view, augmentation, seed) for view in range(1, views)]
    base = {
        "format": FORMAT,
        "decoder": DECODER,
        "encoder": encoder_identity(spec),
        "data": {"digest": packed.digest, "num_samples": packed.num_samples},
    }
    view_keys = [fingerprint({**base, "views": [recipe.to_dict()]}) for recipe in recipes]
    written = [recipe.to_dict() for recipe in recipes]
    key = fingerprint({**base, "views": written})
    dim = feature_dim(spec)
    meta = {
        **base,
        "key": key,
        "views": written,
        "view_keys": view_keys,
        "dim": dim,
        "dtype": "float16",
        "block_rows": BLOCK_ROWS,
    }
    blocks = [list(blocks_of(_folder(cache_dir, k), k, packed.num_samples)) for k in view_keys]
    return CachePlan(_folder(cache_dir, key), key, meta, dim, recipes, blocks)


def _folder(cache_dir: Path, key: str) -> Path:
    return cache_dir / key[:20]


def _missing_metas(plan: CachePlan) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Descriptions that are not there yet: of the whole, and of each view, which is a cache of its own."""
    for recipe, key in [(None, plan.key), *zip(plan.views, plan.meta["view_keys"], strict=True)]:
        folder = _folder(plan.path.parent, key)
        own = {} if recipe is None else {"key": key, "views": [recipe.to_dict()], "view_keys": [key]}
        meta = {**plan.meta, **own}
        if not _says(folder / "meta.json", meta):
            yield folder, meta


def _says(path: Path, meta: dict[str, Any]) -> bool:
    try:
        return path.exists() and bool(read_json(path) == meta)
    except DataError:
        return False


def _remove_leftovers(plan: CachePlan) -> None:
    """Delete what killed writers left in a cache's folders; what is younger may be another job's."""
    for folder in {plan.path, *(blocks[0].folder for blocks in plan.blocks if blocks)}:
        for path in folder.glob(".*.tmp"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _LEFTOVER_SECONDS:
                    path.unlink()


def _is_readable(packed: ImageRows, row: int) -> bool:
    try:
        decode_image(packed.read_image(row), packed.keys[row])
    except (DataError, OutputError):
        return False
    return True


def _damaged_blocks(packed: ImageRows, blocks: list[Block], dim: int, num_threads: int) -> dict[Block, int]:
    """Read what is there; return blocks to encode again and the inode of each, which changes when that is done.

    These are damaged ones, and those that lack the features of an image which can be read now.
    """

    def inode_if_damaged(block: Block) -> int | None:
        if block.path.exists():
            inode = block.path.stat().st_ino
            try:
                mended = [row for row in bad_rows(block, dim) if _is_readable(packed, row)]
            except DataError as error:
                logger.warning("%s", str(error).replace("run the same command again to rebuild it", "rebuilding it"))
                return inode
            if mended:
                logger.warning(
                    "%s: images of %d rows can be read now; encoding the block again", block.path, len(mended)
                )
                return inode
        return None

    with ThreadPoolExecutor(num_threads) as pool:  # digests release Python's lock
        found = zip(blocks, pool.map(inode_if_damaged, blocks), strict=True)
        return {block: inode for block, inode in found if inode is not None}
