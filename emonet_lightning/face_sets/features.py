"""Features and scores of a face set: each image passes the frozen encoder once, into the feature cache."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from emonet_lightning.bundle import HeadsBundle
from emonet_lightning.data.embeddings import fill_cache
from emonet_lightning.data.feature_store import load_cache
from emonet_lightning.data.pixel_batches import ImageRows
from emonet_lightning.data.plan import features_folder
from emonet_lightning.encoders import EncoderSpec
from emonet_lightning.errors import DataError
from emonet_lightning.evaluation.columns import Array
from emonet_lightning.face_sets.reading import FaceImages
from emonet_lightning.machine import torch_device
from emonet_lightning.recognizer import encoder_of


class Encoded(NamedTuple):
    """What encoder and heads say of N images."""

    images: FaceImages
    """Those that could be read [N]."""
    rows: list[int]
    """Their numbers among those that were given [N]."""
    features: Array
    """Un-normalised pooled features of the frozen encoder [N, D]."""
    scores: Array
    """Of the heads, minus their means on neutral faces [N, K]."""
    description: dict[str, Any]
    """Heads, encoder and where the neutral means are from, as primitives."""


def require_neutral_means(bundle: HeadsBundle, where: str) -> torch.Tensor:
    """Return the mean score of each head on neutral faces [K].

    Raises:
        DataError: the heads come without them.
    """
    if bundle.neutral_means is None:
        raise DataError(
            f"{where}: these heads come without neutral means, which classes are compared after; run "
            "export --neutral IMAGES, of neutral faces, and give its folder as --heads"
        )
    return bundle.neutral_means


def encode_faces(
    images: FaceImages,
    bundle: HeadsBundle,
    where: str,
    *,
    pictures: ImageRows | None = None,
    encoder: EncoderSpec | None = None,
    weights: str | None = None,
    skip: bool = False,
    device: str = "auto",
    num_threads: int | None = None,
    progress: bool = True,
) -> Encoded:
    """Encode the images that are not in the cache yet, and score all of them.

    Args:
        images: of the set.
        bundle: the heads.
        where: their folder.
        pictures: what is encoded of each image, such as its crop; default: the image.
        encoder: default: the recorded one.
        weights: where the encoder's weight file is now.
        skip: leave unreadable images out, with a note.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        num_threads: that decode.
        progress: show a bar.

    Raises:
        MissingInputError: no heads, or no weights of the encoder.
        DataError: an unreadable image, heads without neutral means, or no image left.
    """
    neutral_means = require_neutral_means(bundle, where)
    spec = encoder_of(bundle, where, encoder, weights)
    built = fill_cache(
        pictures or images,
        spec,
        features_folder(None),
        device=torch_device(device),
        num_threads=num_threads,
        progress=progress,
        max_bad_fraction=1.0 if skip else 0.0,
    )
    features = load_cache(built.path)[0]
    kept = [row for row in range(images.num_samples) if row not in built.bad]
    if built.bad:
        if not kept:
            raise DataError(f"{images.folder}: none of its {images.num_samples} images can be read; fetch them again")
        first = next(iter(built.bad))
        note = f"{len(built.bad)} unreadable images are left out (first: '{images.keys[first]}', {built.bad[first]})"
        images, features = images.take(kept, note), features[kept]
    scores = np.concatenate([bundle.scores(part).numpy() for part in features.split(4096)])
    means = neutral_means.double().numpy()
    description = {
        "heads": Path(where).name,
        "encoder": {"name": Path(spec.name).name if spec.name.endswith(".safetensors") else spec.name}
        | {key: bundle.encoder.get(key) for key in ("fingerprint", "preprocess")},
        "features": {"dim": built.dim, "cache_key": built.key},
        "neutral_means": bundle.neutral_origin,
    }
    return Encoded(images, kept, features.double().numpy(), scores.astype(np.float64) - means, description)
