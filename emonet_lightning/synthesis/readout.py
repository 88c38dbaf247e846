"""How much of the emotions can be read linearly from features of rendered faces.

    python -m emonet_lightning.synthesis.readout [--encoder FILE] [--card FILE]

A ridge regression is fitted on faces of the BIG-like set. Two figures: macro AUC, over 40 emotions, of telling the
faces that were prompted with an emotion from all others (held-out persons of the same set); and macro Spearman with the
mean of the raters on the HQ-like set (read-out fitted on the machine's labels). The true actions are the ceiling,
random weights and hand-made features the floor for the embedded encoder.
"""

import argparse
import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from scipy.stats import rankdata

from emonet_lightning.decoding import decode_image
from emonet_lightning.encoder_sources import build_module, resolve
from emonet_lightning.encoders import EncoderSpec, FrozenEncoder
from emonet_lightning.io import read_json, write_json
from emonet_lightning.synthesis.actions import SIDEWAYS
from emonet_lightning.synthesis.expressions import load_expressions
from emonet_lightning.synthesis.faces import RenderedFaces, SetName
from emonet_lightning.transforms import EvalTransform, PreprocessSpec

_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
_HELD_OUT = 0.25


class RatedFaces(NamedTuple):
    """A rendered set in memory."""

    pixels: np.ndarray
    """uint8 [N, 3, S, S]."""
    actions: np.ndarray
    """[N, NUM_ACTIONS], then the sizes of the sideways ones."""
    prompted: np.ndarray
    """[N] index of the emotion."""
    level: np.ndarray
    """[N, K] mean rating; 0 where a rater did not touch the emotion."""


def measure_readout(
    encoder: str = "embedded", num_big: int = 4000, num_hq: int = 500, num_processes: int = 2
) -> dict[str, dict[str, float]]:
    """Measure an encoder beside a ceiling and floors.

    Args:
        encoder: name of the encoder, or its file.
        num_big: faces of the BIG-like set; the last quarter (other persons) is held out.
        num_hq: faces of the HQ-like set.
        num_processes: worker processes that render.

    Returns:
        Kind of features -> `auc` and `spearman`.
    """
    spec = EncoderSpec(encoder)
    trained = FrozenEncoder.load(spec)
    torch.manual_seed(0)
    untrained = FrozenEncoder(build_module(resolve(spec)), trained.preprocess, trained.identity, trained.dim)
    big = render_set("big", num_big, trained.preprocess, num_processes)
    hq = render_set("hq", num_hq, trained.preprocess, num_processes)
    kinds: dict[str, Callable[[RatedFaces], np.ndarray]] = {
        "true actions": lambda faces: faces.actions,
        "encoder": lambda faces: _encode(trained, faces),
        "same architecture, random weights": lambda faces: _encode(untrained, faces),
        "pixels 32x32": _small_pixels,
        "HOG": _hog,
        "random convolution, 12x12 grid": _random_convolution,
    }
    return {name: _read(features(big), features(hq), big, hq) for name, features in kinds.items()}


def render_set(which: SetName, count: int, spec: PreprocessSpec, num_processes: int = 2) -> RatedFaces:
    """Render, rate and preprocess the first `count` faces of a set."""
    chunks = [(which, start, min(start + 250, count), spec) for start in range(0, count, 250)]
    with ProcessPoolExecutor(num_processes, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(_render_part, chunks))
    return RatedFaces(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def ridge(features: np.ndarray, targets: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Fit a ridge regression and apply it.

    The penalty is chosen on the last fifth of the rows, for all targets together.

    Args:
        features: [N, D].
        targets: [N, K].
        others: [M, D].

    Returns:
        Predictions [M, K].
    """
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    x, z = (features - mean) / scale, (others - mean) / scale
    centre = targets.mean(axis=0)
    y = targets - centre
    cut = len(x) * 4 // 5
    errors = [np.square(_solve(x[:cut], y[:cut], x[cut:], p) - y[cut:]).mean() for p in _PENALTIES]
    return _solve(x, y, z, _PENALTIES[int(np.argmin(errors))]) + centre


def macro_auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve, mean over the columns of scores and positive [N, K] that have both classes."""
    ranks = rankdata(scores, axis=0)
    count, size = positive.sum(axis=0), len(positive)
    defined = (count > 0) & (count < size)
    total = np.where(positive, ranks, 0.0).sum(axis=0)
    area = (total - count * (count + 1) / 2)[defined] / (count * (size - count))[defined]
    return float(area.mean())


def macro_spearman(scores: np.ndarray, level: np.ndarray) -> float:
    """Rank correlation of columns [N, K], mean over the columns that vary."""
    a, b = rankdata(scores, axis=0), rankdata(level, axis=0)
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    norm = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return float(((a * b).sum(axis=0)[norm > 0] / norm[norm > 0]).mean())


def _read(big_features: np.ndarray, hq_features: np.ndarray, big: RatedFaces, hq: RatedFaces) -> dict[str, float]:
    cut = round(len(big_features) * (1 - _HELD_OUT))
    onehot = np.eye(len(load_expressions().slugs))[big.prompted]
    scores = ridge(big_features[:cut], onehot[:cut], big_features[cut:])
    ratings = ridge(big_features, big.level, hq_features)
    return {
        "auc": round(macro_auc(scores, onehot[cut:] > 0), 3),
        "spearman": round(macro_spearman(ratings, hq.level), 3),
    }


def _solve(x: np.ndarray, y: np.ndarray, z: np.ndarray, penalty: float) -> np.ndarray:
    if x.shape[1] <= len(x):
        return z @ np.linalg.solve(x.T @ x + penalty * len(x) * np.eye(x.shape[1]), x.T @ y)
    return z @ (x.T @ np.linalg.solve(x @ x.T + penalty * len(x) * np.eye(len(x)), y))


def _render_part(job: tuple[SetName, int, int, PreprocessSpec]) -> tuple[np.ndarray, ...]:
    which, start, stop, spec = job
    cv2.setNumThreads(1)
    faces, transform, slugs = RenderedFaces(which), EvalTransform(spec), load_expressions().slugs
    pixels, actions, prompted, level = [], [], [], []
    for index in range(start, stop):
        sample = faces[index]
        pixels.append(transform(decode_image(sample.image, sample.key)))
        done = faces.params(index).actions
        actions.append(np.concatenate([done, np.abs(done[SIDEWAYS])]))
        prompted.append(slugs.index(str(sample.prompted)))
        given = [[answers.get(slug, 0.0) for slug in slugs] for answers in sample.ratings.values()]
        level.append(np.mean(given, axis=0))
    return np.stack(pixels), np.stack(actions), np.array(prompted), np.stack(level)


def _encode(encoder: FrozenEncoder, faces: RatedFaces) -> np.ndarray:
    return encoder.encode(torch.from_numpy(faces.pixels)).numpy().astype(np.float64)


def _small_pixels(faces: RatedFaces) -> np.ndarray:
    grey = faces.pixels.mean(axis=1)
    return np.stack([cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA).ravel() for picture in grey])


def _hog(faces: RatedFaces) -> np.ndarray:
    """Histograms of oriented gradients (Dalal & Triggs 2005): cells of 8 x 8, 9 directions, blocks of 2 x 2 cells."""
    parts = []
    for pixels in faces.pixels:
        grey = pixels.mean(axis=0)
        down, right = np.gradient(grey)
        strength = np.hypot(right, down)
        direction = np.floor(np.arctan2(down, right) % np.pi / np.pi * 9).astype(int).clip(0, 8)
        cells = len(grey) // 8
        maps = np.eye(9)[direction] * strength[..., None]
        maps = maps[: cells * 8, : cells * 8].reshape(cells, 8, cells, 8, 9).sum(axis=(1, 3))
        blocks = np.concatenate([maps[:-1, :-1], maps[:-1, 1:], maps[1:, :-1], maps[1:, 1:]], axis=2)
        parts.append((blocks / (np.linalg.norm(blocks, axis=2, keepdims=True) + 1.0)).ravel())
    return np.stack(parts)


def _random_convolution(faces: RatedFaces) -> np.ndarray:
    generator = torch.Generator().manual_seed(0)
    kernels = torch.randn(24, 3, 7, 7, generator=generator)
    kernels = kernels - kernels.mean(dim=(1, 2, 3), keepdim=True)
    parts = []
    for chunk in torch.from_numpy(faces.pixels).split(250):
        maps = torch.relu(torch.nn.functional.conv2d(chunk.float() / 255, kernels, stride=2, padding=3))
        parts.append(torch.nn.functional.adaptive_avg_pool2d(maps, 12).flatten(1))
    return torch.cat(parts).numpy()


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Print the figures as JSON, and add them to an encoder's card."""
    parser = argparse.ArgumentParser(description="ridge read-out of rendered faces")
    parser.add_argument("--encoder", default="embedded", help="encoder name or file")
    parser.add_argument("--card", type=Path, help="JSON card that gets the figures")
    options = parser.parse_args(arguments)
    figures = measure_readout(options.encoder)
    if options.card is not None:
        command = "python -m emonet_lightning.synthesis.readout"
        write_json(options.card, read_json(options.card) | {"readout": {"command": command, "figures": figures}})
    print(json.dumps(figures, indent=1))
    return figures


if __name__ == "__main__":
    main()
