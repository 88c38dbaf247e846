"""The command `embed`: fill the feature cache of a packed set, before or without training on it."""

import torch

from emonet_lightning.data.embeddings import fill_cache
from emonet_lightning.data.plan import cache_root, locate
from emonet_lightning.encoders import EncoderSpec
from emonet_lightning.errors import EnvironmentProblem, UsageError
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.transforms import Augmentation


def embed_command(
    path: str,
    encoder: EncoderSpec = EncoderSpec(),  # noqa: B008  (frozen; jsonargparse reads the default)
    cache_dir: str | None = None,
    views: int = 1,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    device: str = "auto",
    num_threads: int | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> None:
    """Encode every image of a packed set once, into the cache that `fit`, `test` and `predict` read.

    A call that was interrupted continues where it stopped. Several processes (`rank` of `world_size`, e.g. a Slurm
    array) share the work if they see the same folder.

    Args:
        path: folder that `pack` made, or `embedded:big`, `embedded:binary`, `embedded:hq`.
        encoder: the frozen encoder.
        cache_dir: where features are kept; default `$EMONET_CACHE`, else `~/.cache/emonet_lightning`.
        views: views of each image, the first one clean; more than one needs `augmentation`.
        augmentation: random changes of the further views.
        seed: of these changes.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        num_threads: threads that decode images; default: the cores allotted to this process.
        rank: which of the processes that share the work this is.
        world_size: how many processes share the work.

    Raises:
        UsageError: an option that does not fit.
        MissingInputError: no packed set there.
        DataError: an unreadable image; names the sample.
        OutputError: the cache folder cannot be written.
        InterruptedRunError: another process that shares the work died.
    """
    if not 0 <= rank < world_size:
        raise UsageError(f"rank is {rank}; it must lie in 0..{world_size - 1} (world_size is {world_size})")
    packed = PackedSet.open(locate(path, cache_dir))
    built = fill_cache(
        packed,
        encoder,
        cache_root(cache_dir) / "features",
        views=views,
        augmentation=augmentation,
        seed=seed,
        device=_device(device),
        rank=rank,
        world_size=world_size,
        num_threads=num_threads,
    )
    done = "all cached already"
    if built.num_encoded:
        speed = built.num_encoded / built.seconds
        done = f"{built.num_encoded} encoded here in {built.seconds:.1f} s ({speed:.1f} images/s)"
    print(f"rows {packed.num_samples}, views {views}, dim {built.dim}; {done}")
    print(f"key {built.key}")
    print(f"folder {built.path}")


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"device '{name}' is unknown; use auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EnvironmentProblem(f"device '{name}': this machine has {torch.cuda.device_count()} CUDA devices; use cpu")
    return device
