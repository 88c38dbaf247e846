"""FaceDataModule: packed sets as batches of `EmotionBatch`.

A run on images passes each through the frozen encoder once and trains from the cached features; `mode: images` is the
same order and encoder path without the cache. The plan (rows, labels, steps) is printed before anything is trained.
"""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

from emonet_lightning.bad_samples import OPTION, TRAINING, Skip, check_fraction
from emonet_lightning.data.feature_store import FeaturesOn
from emonet_lightning.data.feeding import NO_STATISTICS, FeedingModule
from emonet_lightning.data.inputs import ImageInputs
from emonet_lightning.data.labels import LabelTable, RatedTest, rater_cube
from emonet_lightning.data.left_out import bad_training_rows, skip_of
from emonet_lightning.data.loading import Sampling
from emonet_lightning.data.parts import Part
from emonet_lightning.data.plan import Folds, check_seals, check_set, choose_rows, describe, features_folder, locate
from emonet_lightning.data.sampling import check_batch_size
from emonet_lightning.encoders import EncoderSpec, preprocess_spec
from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.io import fingerprint
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.packing.seals import registered
from emonet_lightning.processes import check_alike
from emonet_lightning.taxonomy import Taxonomy
from emonet_lightning.transforms import Augmentation

if TYPE_CHECKING:
    from emonet_lightning.data.embeddings import CacheBuild

__all__ = ["NO_STATISTICS", "FaceDataModule"]


class FaceDataModule(FeedingModule):
    """Packed sets as batches. Use one of its subclasses, or this with several parts (a combination).

    Args:
        parts: packed sets; training rows of all are mixed, validation and test rows are those of the last.
        encoder: linked from `model.encoder`.
        taxonomy: linked from `model.taxonomy`.
        extra_dimensions: linked from `model.extra_dimensions`.
        batch_size: global batch, over all processes.
        seed: of order, views and augmentation; linked from `seed_everything`.
        mode: `cached` trains on features computed once; `images` runs the encoder in every step.
        cache_dir: where features (and the embedded sets) are kept; default `$EMONET_CACHE`, else
            `~/.cache/emonet_lightning`.
        views: views of each training image, the first one clean; more than one needs `augmentation`.
        augmentation: random changes of training images.
        num_workers: processes that decode images in `mode: images`.
        num_threads: threads that decode images for the cache; default: the cores allotted to this process.
        train_split: split to train on.
        val_split: split to validate on; without it each emotion keeps its last epoch.
        test_split: split to test on; a set without splits, or a sealed one, is tested whole.
        num_folds: cross-validation in place of the splits: test on one of so many parts, groups kept whole.
        fold: which of the parts, 0 .. num_folds - 1.
        fold_seed: of the parts; not linked, so that runs of several seeds share their folds.
        val_share: with folds, share of the training rows to validate on, groups kept whole; 0 for none.
        sampling: `rows`: shuffled rows, each once an epoch; `balanced`: every emotion draws `batch_size` / emotions of
            its own labelled rows a step, so that a rare one learns at the pace of a common one.
        features_on: where cached features lie: on the `device`, in `memory`, or `mapped` from disk, which reads them
            block by block in an order of its own; `auto` takes the first that has room in 40 % of its free memory.
        max_bad_fraction: share of the training images that may be unreadable: they are left out, counted every epoch
            and listed in `bad_samples.jsonl` of the run. Of validation and test images, none may be.
    """

    def __init__(
        self,
        parts: list[Part],
        encoder: EncoderSpec = EncoderSpec(),
        taxonomy: str = "emonet40",
        extra_dimensions: bool = False,
        batch_size: int = 256,
        seed: int = 0,
        mode: Literal["cached", "images"] = "cached",
        cache_dir: str | None = None,
        views: int = 1,
        augmentation: Augmentation | None = None,
        num_workers: int = 0,
        num_threads: int | None = None,
        train_split: str = "train",
        val_split: str = "val",
        test_split: str = "test",
        num_folds: int = 0,
        fold: int = 0,
        fold_seed: int = 0,
        val_share: float = 0.0,
        sampling: Sampling = "rows",
        features_on: FeaturesOn = "auto",
        max_bad_fraction: float = TRAINING,
    ) -> None:
        super().__init__()
        if not parts:
            raise UsageError("data.parts: name at least one packed set")
        if views < 1 or (views > 1 and augmentation is None):
            raise UsageError(f"data.views: {views} views need data.augmentation (and at least 1 view)")
        if num_folds and not 0 <= fold < num_folds:
            raise UsageError(f"data.fold: {fold} must be 0 .. {num_folds - 1} (data.num_folds is {num_folds})")
        check_fraction(f"data.{OPTION}", max_bad_fraction)
        self.max_bad_fraction = max_bad_fraction
        self.parts = parts
        self.encoder = encoder
        self.taxonomy = Taxonomy.load(taxonomy, extra_dimensions)
        self.batch_size = batch_size
        self.seed = seed
        self.mode = mode
        self.cache_dir = cache_dir
        self.views = views
        self.augmentation = augmentation
        self.num_workers = num_workers
        self.num_threads = num_threads
        self.split_names = {"train": train_split, "val": val_split, "test": test_split}
        self.folds = Folds(num_folds, fold, fold_seed, val_share)
        self.sets: list[PackedSet] = []
        self.rows: dict[str, np.ndarray] = {}
        self.labels: LabelTable | None = None
        self.sampling = sampling
        self.features_on = features_on

    # -- set-up ----------------------------------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Make the embedded sets that are named and not there yet (one process per node)."""
        for part in self.parts:
            locate(part.path, self.cache_dir)

    def open(self, stage: str) -> None:
        """Open the sets, choose rows and make labels for `fit`, `validate` or `test`; nothing is encoded yet.

        Raises:
            EmoNetError: a set is missing, damaged, not for this, or without rows.
        """
        self.sets = [PackedSet.open(locate(part.path, self.cache_dir)) for part in self.parts]
        for packed in self.sets:
            self._check_set(packed, stage)
        self.rows = choose_rows(
            self.sets,
            self.split_names,
            shares=[part.train_share for part in self.parts],
            folds=self.folds,
            seed=self.seed,
        )
        needed = {"fit": ("train",), "validate": ("val",), "test": ("test",)}.get(stage, ())
        for name in needed:
            if not len(self.rows[name]):
                raise DataError(
                    f"{self.sets[-1].path}: no rows in split '{self.split_names[name]}'; the set has "
                    f"{ {split: len(rows) for split, rows in self.sets[-1].splits.items()} }"
                )
        check_seals(self.sets, self.rows, stage, registered())
        self.labels = LabelTable.concatenate(
            [part.labels(packed, self.taxonomy) for part, packed in zip(self.parts, self.sets, strict=True)]
        )

    def setup(self, stage: str) -> None:
        """Open the sets, and fill or load the feature cache."""
        if self.labels is not None:
            return
        self.open(stage)
        assert self.labels is not None
        check_alike(data=fingerprint(self.fingerprint()))
        if self.mode == "cached":
            built = [self._fill_cache(packed, stage) for packed in self.sets]
            self.open_features([cache.path for cache in built])
            starts = np.cumsum([0, *self.set_sizes()]).tolist()
            bad = {
                start + row: cache.bad[row] for start, cache in zip(starts, built, strict=False) for row in cache.bad
            }
            self.left_out = bad_training_rows(self.sets, self.rows, bad, stage, self.max_bad_fraction)
            self.rows["train"] = np.setdiff1d(self.rows["train"], np.array(sorted(self.left_out), dtype=np.int64))
        else:
            for packed in self.sets:
                packed.check_files()
        if stage == "fit" and self.sampling == "rows" and self.batch_size > (count := len(self.rows["train"])):
            used = check_batch_size(self.batch_size, count, self.share[1])
            if used < self.batch_size:
                rank_zero_warn(
                    f"data.batch_size: {self.batch_size} is more than the {count} training rows; reduced to {used}"
                )

    def _fill_cache(self, packed: PackedSet, stage: str) -> "CacheBuild":
        from emonet_lightning.data.embeddings import fill_cache

        rank, world = self.process
        return fill_cache(
            packed,
            self.encoder,
            features_folder(self.cache_dir),
            views=self.views if stage == "fit" else 1,
            augmentation=self.augmentation if stage == "fit" else None,
            seed=self.seed,
            device=self.device,
            rank=rank,
            world_size=world,
            num_threads=self.num_threads,
            max_bad_fraction=self.max_bad_fraction,
        )

    def image_inputs(self, train: bool) -> ImageInputs:
        """Return the pixels of all rows, changed for training where that is asked for."""
        spec, changes = preprocess_spec(self.encoder), self.augmentation if train else None
        return ImageInputs(self.sets, spec, changes, self.seed, tolerant=train)

    def set_sizes(self) -> list[int]:
        """Return how many rows each set has."""
        return [packed.num_samples for packed in self.sets]

    def plan_text(self) -> str:
        """Return the plan of training in a few lines."""
        assert self.labels is not None
        return describe(self.sets, self.rows, self.labels, self.taxonomy, self.train_batches(), self.steps_per_call)

    def _check_set(self, packed: PackedSet, stage: str) -> None:
        check_set(packed, stage, self.taxonomy)

    # -- what the module and the callbacks ask -----------------------------------------------------------------------

    @property
    def score_metric(self) -> str:
        """How validation judges: `average_precision` on binary sets, else `spearman`."""
        return "average_precision" if self.sets[-1].kind == "binary" else "spearman"

    @property
    def has_validation(self) -> bool:
        """Whether there are validation rows."""
        return len(self.rows["val"]) > 0

    def truth(self, rows: np.ndarray) -> np.ndarray:
        """Return what scores of these rows are compared with [n, K]; NaN where there is nothing."""
        assert self.labels is not None
        return self.labels.truth[rows]

    def train_labels(self) -> LabelTable:
        """Return the labels of the training rows."""
        assert self.labels is not None
        return self.labels.take(self.rows["train"])

    def tested(self) -> tuple[PackedSet, np.ndarray]:
        """Return the set that is tested on, and which rows of it."""
        return self.sets[-1], self.rows["test"] - self._start(-1)

    def test_data(self) -> RatedTest:
        """Return keys, truth and every rater's ratings of the test rows."""
        packed, rows = self.tested()
        cube, num_filled = None, 0
        ratings = packed.ratings()
        if packed.kind != "binary":
            every, num_filled = rater_cube(
                ratings, packed.num_samples, self.taxonomy, self.parts[-1].missing, packed.kind == "dense"
            )
            cube = every[rows]
        return RatedTest(
            keys=[packed.keys[row] for row in rows],
            truth=self.truth(self.rows["test"]),
            ratings=cube,
            raters=ratings.raters,
            prompted=[packed.prompted[row] for row in rows],
            groups=[packed.groups[row] for row in rows],
            num_filled=num_filled,
        )

    def skip(self, row: int, reason: str) -> Skip:
        """Return what to say of a row that was left out."""
        return skip_of(self.sets, row, reason)

    def fingerprint(self) -> list[dict[str, Any]]:
        """Return name and digests of each set, and how its faces were cut out, for the run's record."""
        return [
            {"name": packed.name, "images": packed.digest, "labels": packed.label_digest}
            | {key: packed.manifest[key] for key in ("faces",) if key in packed.manifest}
            for packed in self.sets
        ]

    def record(self) -> list[dict[str, Any]]:
        """Return what is known of each set beside that: licence, kind of labels, number of images."""
        known = zip(self.fingerprint(), self.sets, strict=True)
        return [
            {**digests, "licence": packed.licence, "kind": packed.kind, "num_samples": packed.num_samples}
            for digests, packed in known
        ]

    def _start(self, part: int) -> int:
        sizes = [packed.num_samples for packed in self.sets]
        return sum(sizes[:-1]) if part == -1 else sum(sizes[:part])
