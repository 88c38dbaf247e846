"""The command `embed`: fill the feature cache of a packed set, before or without training on it."""

from jsonargparse.typing import NonNegativeInt, PositiveFloat

from emonet_lightning import slurm
from emonet_lightning.data.cache_check import TOLERANCE, check_cache
from emonet_lightning.data.embeddings import fill_cache, plan_cache
from emonet_lightning.data.plan import features_folder, locate
from emonet_lightning.encoders import EncoderSpec
from emonet_lightning.machine import torch_device
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.transforms import Augmentation


def embed_command(
    path: str,
    encoder: EncoderSpec = EncoderSpec(),
    cache_dir: str | None = None,
    views: int = 1,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    device: str = "auto",
    num_threads: int | None = None,
    rank: int | None = None,
    world_size: int | None = None,
    verify: NonNegativeInt = 0,
    verify_tolerance: PositiveFloat = TOLERANCE,
) -> None:
    """Encode every image of a packed set once, into the cache that `fit`, `test` and `predict` read.

    A call that was interrupted continues where it stopped. Several processes (`rank` of `world_size`, or the tasks of a
    Slurm array) share the work if they see the same folder; each ends with its own share.

    Args:
        path: folder that `pack` made, or `embedded:big`, `embedded:binary`, `embedded:hq`.
        encoder: the frozen encoder.
        cache_dir: where features are kept; default `$EMONET_CACHE`, else `~/.cache/emonet_lightning`.
        views: views of each image, the first one clean; more than one needs `augmentation`.
        augmentation: random changes of the further views.
        seed: of these changes.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        num_threads: threads that decode images; default: the cores allotted to this process.
        rank: which of the processes that share the work this is; default: of a Slurm array, the task's place in it.
        world_size: how many processes share the work; default: of a Slurm array, its number of tasks.
        verify: so many images, drawn anew each time, are encoded again and compared with the cache: 64 take seconds.
        verify_tolerance: relative difference of an image's features from which on they are wrong; less is rounding.

    Raises:
        UsageError: an option that does not fit.
        MissingInputError: no packed set there.
        DataError: an unreadable image, or one whose features are not those in the cache; names the sample.
        OutputError: the cache folder cannot be written.
    """
    rank, world_size, source = slurm.array_share(rank, world_size)
    packed = PackedSet.open(locate(path, cache_dir))
    with slurm.requeued():
        built = fill_cache(
            packed,
            encoder,
            features_folder(cache_dir),
            views=views,
            augmentation=augmentation,
            seed=seed,
            device=torch_device(device),
            rank=rank,
            world_size=world_size,
            num_threads=num_threads,
            wait=False,
        )
    done = "all cached already"
    if built.num_encoded:
        speed = built.num_encoded / built.seconds
        done = f"{built.num_encoded} encoded here in {built.seconds:.1f} s ({speed:.1f} images/s)"
    print(f"rows {packed.num_samples}, views {views}, dim {built.dim}; {done}")
    if world_size > 1:
        rest = f"{built.num_missing} blocks are still to come from the others" if built.num_missing else "all complete"
        print(f"share {rank} of {world_size} ({source}); {rest}")
    print(f"key {built.key}")
    print(f"folder {built.path}")
    if verify:
        plan = plan_cache(packed, encoder, built.path.parent, views, augmentation, seed)
        check = check_cache(
            packed,
            encoder,
            plan,
            verify,
            tolerance=verify_tolerance,
            device=torch_device(device),
            num_threads=num_threads,
        )
        print(
            f"verified {check.num} images encoded again: largest difference {check.absolute:.3g}, relative "
            f"{check.relative:.2g} (at most {verify_tolerance:g}; sample {check.worst})"
        )
