"""Neutral means: each head's mean score on neutral faces, subtracted where scores of different heads are compared.

The released constants belong to the released heads alone; heads trained here get theirs from images that their user
calls neutral. Nobody has published which images the released ones were fitted on.
"""

from pathlib import Path

import torch

from emonet_lightning.image_inputs import find_images
from emonet_lightning.io import fingerprint
from emonet_lightning.progress import progress_bar
from emonet_lightning.recognizer import EmotionRecognizer


def fit_neutral_means(recognizer: EmotionRecognizer, images: str, progress: bool = True) -> str:
    """Set the neutral means of a recogniser's heads from neutral images, with their origin.

    Args:
        recognizer: whose bundle gets the means [K]; save the bundle to keep them.
        images: an image, a folder of images or a packed set, of neutral faces.
        progress: show a bar.

    Returns:
        One line on what was fitted.

    Raises:
        MissingInputError: no images there.
        DataError: an unreadable image, named.
    """
    found = find_images(Path(images), split=None)
    total, names = torch.zeros(len(recognizer.bundle.taxonomy), dtype=torch.float64), []
    with progress_bar("neutral means", len(found), "images", progress) as advance:
        for batch, scores in recognizer.stream(found, 32):
            total += torch.from_numpy(scores).double().sum(0)
            names += batch
            advance(len(batch))
    bundle = recognizer.bundle
    bundle.neutral_means = (total / len(names)).float()
    bundle.neutral_origin = {
        "origin": "fitted on neutral images",
        "images": Path(images).name,
        "num_images": len(names),
        "names_digest": fingerprint(names),
    }
    return f"neutral means: fitted on {len(names)} images of {images}"
