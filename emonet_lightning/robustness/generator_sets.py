"""Pictures of several generators with their features: styles of the renderer, or pictures that somebody has."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from emonet_lightning.errors import UsageError
from emonet_lightning.evaluation.bootstrap import unit_codes
from emonet_lightning.progress import progress_bar
from emonet_lightning.robustness.conditions import pictures_digest, table
from emonet_lightning.robustness.kept_scores import KeptArrays
from emonet_lightning.robustness.picture_sets import PictureSet, pixels_of
from emonet_lightning.robustness.rendered import Faces
from emonet_lightning.robustness.scoring import Heads
from emonet_lightning.synthesis.expressions import load_expressions


class Measured(NamedTuple):
    """Pictures of G generators with features and labels."""

    names: list[str]
    codes: np.ndarray
    groups: np.ndarray
    features: np.ndarray
    truth: np.ndarray | None
    """[N, K] of the heads' emotions."""
    about: dict[str, Any]
    """What the report says of the pictures."""
    same: np.ndarray | None = None
    """Pictures that differ by their generator alone have one number here [N]."""


def rendered_styles(
    trained: Heads, kept: KeptArrays, styles: list[str], num_persons: int, seed: int, size: int, progress: bool
) -> Measured:
    """Return the same persons, expressions and scenes in several styles of the renderer, and what they show."""
    shown = [slug for slug in trained.slugs if slug in load_expressions().slugs]
    if len(shown) < 2:
        raise UsageError(
            f"evaluate generators: rendered faces show the emotions of emonet40, of which taxonomy "
            f"'{trained.taxonomy.name}' has {len(shown)}; give --images DIR"
        )
    faces = Faces(num_persons, seed, size, shown)
    features = []
    with progress_bar("encode", len(styles) * len(faces), "pictures", progress) as advance:
        for style in styles:
            changes = table()["styles"][style]
            of = [pictures_digest(), num_persons, seed, size, shown]
            pictures = faces.styled(style, changes)
            features.append(_features(trained, kept, style, len(faces), of, pictures, advance))
    truth = np.full((len(faces), len(trained.slugs)), np.nan)
    truth[:, [trained.slugs.index(slug) for slug in shown]] = faces.intensities
    number = len(styles)
    about = {
        "name": "rendered faces",
        "source": "styles of the renderer, on the same persons, expressions and scenes",
        "num_images": number * len(faces),
        "num_left_out": 0,
        "num_groups": num_persons,
        "truth": "planted intensities",
    }
    return Measured(
        styles,
        np.repeat(np.arange(number), len(faces)),
        np.tile(faces.persons, number),
        np.concatenate(features),
        np.tile(truth, (number, 1)),
        about,
        np.tile(np.arange(len(faces)), number),
    )


def given_pictures(
    trained: Heads,
    kept: KeptArrays,
    pictures: PictureSet,
    names: list[str],
    codes: np.ndarray,
    rows: np.ndarray,
    where: str,
    progress: bool,
) -> Measured:
    """Return the pictures of known generators, given the generators' names, and codes and rows of such pictures."""
    chosen = [(pictures.names[row], pictures.sources[row]) for row in rows]

    def decoded() -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
        for name, source in chosen:
            yield name, partial(pixels_of, name, source)

    with progress_bar("encode", len(rows), "pictures", progress) as advance:
        of = [pictures_digest(), pictures.digest, rows.tolist()]
        features = _features(trained, kept, "images", len(rows), of, decoded(), advance)
    own = None if pictures.groups is None else [pictures.groups[row] for row in rows]
    groups, num_groups = unit_codes(len(rows), own)
    about = {
        "name": pictures.name,
        "source": where,
        "num_images": len(rows),
        "num_left_out": len(pictures.names) - len(rows),
        "num_groups": None if own is None else num_groups,
        "truth": None if pictures.truth is None else "raters' mean, or labels of the set",
    }
    truth = None if pictures.truth is None else pictures.truth[rows]
    return Measured(names, codes, groups, features, truth, about)


def _features(
    trained: Heads,
    kept: KeptArrays,
    name: str,
    count: int,
    of: Any,
    pictures: Iterator[tuple[str, Callable[[], Any]]],
    advance: Callable[[int], None],
) -> np.ndarray:
    return kept.get(
        name,
        (count, -1),
        [name, count, of],
        lambda: trained.features(pictures, count, advance),
        lambda: advance(count),
    )
