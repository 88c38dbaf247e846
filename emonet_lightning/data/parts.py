"""Part: one packed set of a data module, and how its answers become labels."""

from dataclasses import dataclass

from emonet_lightning.data.labels import LabelTable, Missing, binary_labels, rated_labels
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.ratings.consensus import Consensus, Unconfirmed
from emonet_lightning.taxonomy import Taxonomy


@dataclass
class Part:
    """One packed set of a combination, and how its answers become labels."""

    path: str
    """Folder that `pack` made, or `embedded:big`, `embedded:binary`, `embedded:hq`."""
    missing: Missing = "zero"
    """Dense and rated sets: an untouched emotion is a rating of 0, or masked."""
    consensus: Consensus = "triple_yes"
    """Binary sets: rule that makes a label of the votes: `triple_yes`, `majority`, `mean` or `drop_ties`."""
    unconfirmed: Unconfirmed = "mask"
    """Binary sets under `triple_yes`: what questions become that are neither three yes nor without any yes."""
    yes_value: float = 7.0
    """Binary sets: score that a yes is trained to (unpublished; an option, not a claim)."""
    no_value: float = 0.0
    """Binary sets: score that a no is trained to."""
    train_share: float = 1.0
    """Share of the training rows that is used, 0..1, chosen by the seed; 0 to validate and test on the set only."""

    def labels(self, packed: PackedSet, taxonomy: Taxonomy) -> LabelTable:
        """Return the labels of every sample of the set."""
        ratings = packed.ratings()
        if packed.kind == "binary":
            rule = (self.consensus, self.unconfirmed, self.yes_value, self.no_value)
            return binary_labels(ratings, packed.num_samples, taxonomy, *rule)
        return rated_labels(ratings, packed.num_samples, taxonomy, self.missing, packed.kind == "dense")
