"""Where a run's cached features lie: what it can add to, and with it whether it got further."""

from collections.abc import Iterator
from pathlib import Path

from emonet_lightning.data.embeddings import plan_cache
from emonet_lightning.data.face_data import FaceDataModule
from emonet_lightning.data.plan import EMBEDDED, cache_root, embedded_name, features_folder
from emonet_lightning.local_paths import expand_home
from emonet_lightning.packing.packed import MANIFEST, PackedSet


def cache_folders(data: FaceDataModule, views: int) -> Iterator[Path]:
    """Yield the folders of features that a run can add to: another job's, beside them, are no progress of it.

    Args:
        data: that it trains or tests on.
        views: of each image; a test takes one.
    """
    for part in data.parts if data.mode == "cached" else ():
        places = [expand_home(part.path)]
        if part.path.startswith(EMBEDDED):  # made at first use; before that it has no features
            made = (cache_root(data.cache_dir) / "embedded").glob(f"{embedded_name(part.path)}-*/{MANIFEST}")
            places = [path.parent for path in made]
        for place in places:
            packed, features = PackedSet.open(place), features_folder(data.cache_dir)
            plan = plan_cache(packed, data.encoder, features, views, data.augmentation, data.seed)
            yield from {block.folder for blocks in plan.blocks for block in blocks}
