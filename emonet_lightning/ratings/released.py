"""The released label file `binary.csv`."""

from pathlib import Path

from emonet_lightning.errors import DataError
from emonet_lightning.ratings.layouts import read_labels
from emonet_lightning.ratings.long_form import Ratings
from emonet_lightning.taxonomy import Taxonomy


def read_binary_csv(path: Path | str, taxonomy: Taxonomy) -> Ratings:
    """Read the released `binary.csv` (`path,annotator,value,emotion`); image ids stay zero-padded text.

    Raises:
        MissingInputError: no such file.
        DataError: names the line.
    """
    labels = read_labels(
        Path(path), taxonomy, {"image": "path", "rater": "annotator", "rating": "value", "emotion": "emotion"}
    )
    if labels.kind != "binary":
        raise DataError(f"{path}: column 'value' must hold True or False")
    return labels.ratings
