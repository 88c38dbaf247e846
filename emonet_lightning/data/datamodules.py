"""The data sets of the paper as LightningDataModules: generated labels, expert yes/no, expert ratings, combinations."""

from typing import Any

from emonet_lightning.data.face_data import FaceDataModule
from emonet_lightning.data.labels import Missing
from emonet_lightning.data.parts import Part
from emonet_lightning.errors import DataError
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.ratings.consensus import Consensus, Unconfirmed

__all__ = ["CombinedFaces", "ExpertBinary", "ExpertRatings", "FaceDataModule", "Part", "SyntheticFaces"]


class _OneSet(FaceDataModule):
    kind: str

    def _check_set(self, packed: PackedSet, stage: str) -> None:
        if packed.kind != self.kind:
            classes = {"dense": "SyntheticFaces", "binary": "ExpertBinary", "rated": "ExpertRatings"}
            raise DataError(
                f"{packed.path}: a set of kind '{packed.kind}', {type(self).__name__} reads '{self.kind}'; "
                f"use data.class_path: {classes[packed.kind]}"
            )
        super()._check_set(packed, stage)


class SyntheticFaces(_OneSet):
    """Synthetic faces with one generated label set each, intensities on the taxonomy's levels (the paper's BIG).

    Args:
        path: folder that `pack` made, or `embedded:big`.
        missing: an untouched emotion is a rating of 0, or masked.
        train_share: share of the training rows that is used, in (0, 1].
        kwargs: options of FaceDataModule.
    """

    kind = "dense"

    def __init__(self, path: str, missing: Missing = "zero", train_share: float = 1.0, **kwargs: Any) -> None:
        super().__init__([Part(path, missing=missing, train_share=train_share)], **kwargs)


class ExpertBinary(_OneSet):
    """Faces on which experts answered yes or no to a few of the emotions (the paper's BINARY: 2 of 40).

    Validation is the average precision of agreed yes (three yes, no no) against agreed no (nobody said yes, on prompted
    targets and contrasts alike), whatever rule trained.

    Args:
        path: folder that `pack` made, or `embedded:binary`.
        consensus: rule that makes a label of the votes: `triple_yes` (three yes is a yes, nobody's yes a no),
            `majority` (a tie is a no), `mean` (share of yes), or `drop_ties` (majority, a tie is masked).
        unconfirmed: what `triple_yes` makes of other answers: masked, a yes, a no, or their share of yes.
        yes_value: score that a yes is trained to; the paper's is unpublished.
        no_value: score that a no is trained to.
        train_share: share of the training rows that is used, in (0, 1].
        kwargs: options of FaceDataModule.
    """

    kind = "binary"

    def __init__(
        self,
        path: str,
        consensus: Consensus = "triple_yes",
        unconfirmed: Unconfirmed = "mask",
        yes_value: float = 7.0,
        no_value: float = 0.0,
        train_share: float = 1.0,
        **kwargs: Any,
    ) -> None:
        part = Part(
            path,
            consensus=consensus,
            unconfirmed=unconfirmed,
            yes_value=yes_value,
            no_value=no_value,
            train_share=train_share,
        )
        super().__init__([part], **kwargs)


class ExpertRatings(_OneSet):
    """Faces that several raters rated on the taxonomy's levels (the paper's HQ); a test keeps every rater apart.

    Args:
        path: folder that `pack` made, or `embedded:hq`.
        missing: an emotion that a rater of the image left untouched is a rating of 0, or masked.
        train_share: share of the training rows that is used, in (0, 1].
        kwargs: options of FaceDataModule.
    """

    kind = "rated"

    def __init__(self, path: str, missing: Missing = "zero", train_share: float = 1.0, **kwargs: Any) -> None:
        super().__init__([Part(path, missing=missing, train_share=train_share)], **kwargs)


class CombinedFaces(FaceDataModule):
    """Several packed sets, of any kinds, trained on together; validation and test rows are those of the last part."""
