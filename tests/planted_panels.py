"""Panels of raters and systems with a known truth, small, in which something is planted."""

import csv

import numpy as np

from emonet_lightning.ratings.panel import Panel, SystemScores
from emonet_lightning.taxonomy import Dimension, Taxonomy


def taxonomy(*names, keywords=None, families=None):
    """A taxonomy of levels 0..7."""
    dimensions = [
        Dimension(name, name.lower(), 0.0, 7.0, (families or {}).get(name), tuple((keywords or {}).get(name, ())))
        for name in names
    ]
    return Taxonomy("planted", tuple(dimensions), len(dimensions))


def panel(truth, rng, num_raters=4, noise=1.0):
    """Raters who see a truth [N, K] around 3 through noise, and answer in whole levels."""
    seen = truth[:, None, :] + noise * rng.normal(size=(len(truth), num_raters, truth.shape[1]))
    order = np.tile(np.arange(num_raters), (len(truth), 1))
    images = [f"face-{i:05d}" for i in range(len(truth))]
    raters = [f"rater-{r}" for r in range(num_raters)]
    return Panel("planted", images, raters, np.clip(np.rint(seen), 0.0, 7.0), order)


def system(scores, name="mine"):
    return SystemScores(name, np.asarray(scores, dtype=np.float64))


def write_ratings(path, made, spec):
    """A table image, rater, emotion, rating."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "rater", "emotion", "rating"])
        for i, r, k in np.argwhere(~np.isnan(made.values)):
            writer.writerow([made.images[i], made.raters[r], spec.names[k], int(made.values[i, r, k])])
    return path


def write_columns(path, images, columns):
    """A table with a row per image."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", *columns])
        writer.writerows([image, *row] for image, row in zip(images, zip(*columns.values(), strict=True), strict=True))
    return path


def write_taxonomy(path, spec):
    lines = [f"  - {{name: {d.name}, keywords: [{', '.join(d.keywords)}]}}" for d in spec.dimensions]
    path.write_text("name: planted\nlevels: [0, 7]\nemotions:\n" + "\n".join(lines) + "\n")
    return path
