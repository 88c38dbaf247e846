"""A made-up `hq.csv` in the layout of the released one: experts and systems of every kind, from a seed."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from emonet_lightning.taxonomy import Taxonomy

SYSTEMS = (
    "Empathic Insight Face Small",
    "Empathic Insight Face Large",
    "Gemini 2.0 Flash ZS",
    "Hume Face*",
    "Random Baseline",
    "Gemini 2.5 Flash MS",
    "Gemini 2.5 Pro 03-25 ZS",
    "Gemini 2.0 Flash MS",
    "Qwen Plus ZS",
    "GPT-4o ZS",
    "Pixtral Large ZS",
    "Claude 3.7 MS",
    "Nova Pro ZS",
    "Gemini 2.5 Flash ZS",
)
_INSIGHT = {"Empathic Insight Face Small": 0.75, "Empathic Insight Face Large": 0.85}
_FEW = {"Gemini 2.5 Flash MS": 0.6, "Gemini 2.5 Pro 03-25 ZS": 0.6, "Gemini 2.0 Flash MS": 0.5, "Claude 3.7 MS": 0.0}
_ROWS_LEFT = {"Gemini 2.5 Pro 03-25 ZS": 0.7364, "Hume Face*": 0.948}  # shares of the images that they scored
_REPEATED = 0.224  # share of the images that Empathic Insight Face Large scored twice
_CLEAR = ("elation", "amusement", "anger", "astonishment_surprise", "thankfulness_gratitude")
_EXTRAS = ("Arousal", "Valence", "Dominance", "Emotional Vulnerability")
_NUM_UNSEEN = 9  # emotions that Hume Face* does not have


class MadeUpHq(NamedTuple):
    """What was written."""

    path: Path
    images: list[str]
    num_human_rows: int
    num_system_rows: dict[str, int]


def write_hq_csv(
    path: Path,
    seed: int = 0,
    num_images: int = 2500,
    num_humans: int = 8,
    per_image: int = 4,
    num_systems: int = len(SYSTEMS),
) -> MadeUpHq:
    """Write experts and systems that see one hidden truth through more or less noise.

    The experts agree on some emotions (interval alpha up to about 0.6) and not on others (about 0). Among the systems:
    two with continuous, partly negative scores, one of them with repeated rows; one on 0..1 without nine of the
    emotions; some with five emotions at most and extra dimensions; one with values above 7; the last ones are noise.

    Args:
        path: to write.
        seed: of everything.
        num_images: in the file.
        num_humans: experts.
        per_image: experts who rate an image.
        num_systems: the first so many of `SYSTEMS`.
    """
    taxonomy = Taxonomy.load("emonet40")
    rng = np.random.default_rng(seed)
    keys = [f"{d.family}|{d.name}" for d in taxonomy.dimensions]
    images = [
        f"{('mj_data', 'flux_dev_one_0', 'juggernaut-xl-v8-prompt-5')[i % 3]}_{i:05d}.jpg" for i in range(num_images)
    ]
    truth = rng.normal(size=(num_images, len(keys)))
    share = _shares(taxonomy, rng)
    lines = ["image,annotator,human,annotations\n"]

    bar = rng.uniform(0.6, 1.2, len(keys))  # how strong a display must be to be rated at all
    for image, who in enumerate(np.argsort(rng.random((num_images, num_humans)), axis=1)[:, :per_image]):
        seen = np.sqrt(share) * truth[image] + np.sqrt(1 - share) * rng.normal(size=(per_image, len(keys)))
        levels = np.clip(np.rint(2.4 * (seen - bar - 0.05 * who[:, None]) + 1), 0, 7).astype(int)
        for rater, row in zip(who.tolist(), levels, strict=True):
            touched = row > 0 if rater >= num_humans - 2 else np.full(len(keys), True)  # two store no zeros
            lines.append(_line(images[image], f"human-{rater + 1}", True, keys, row, touched))
    num_human_rows = len(lines) - 1

    num_rows = {}
    for system in SYSTEMS[:num_systems]:
        before = len(lines)
        lines += _system_lines(system, images, truth, bar, keys, rng)
        num_rows[system] = len(lines) - before
    path.write_text("".join(lines))
    return MadeUpHq(path, images, num_human_rows, num_rows)


def _shares(taxonomy: Taxonomy, rng: np.random.Generator) -> np.ndarray:
    """Share of the variance of an expert's impression that all experts have in common, by emotion."""
    share = rng.permutation(np.linspace(0.0, 0.42, len(taxonomy)))
    share[[taxonomy.slugs.index(slug) for slug in _CLEAR]] = (0.74, 0.7, 0.62, 0.58, 0.5)
    return share


def _system_lines(
    system: str, images: list[str], truth: np.ndarray, bar: np.ndarray, keys: list[str], rng: np.random.Generator
) -> list[str]:
    rows = np.sort(rng.permutation(len(images))[: round(_ROWS_LEFT.get(system, 1.0) * len(images))])
    if system == "Empathic Insight Face Large":
        rows = np.sort(np.concatenate([rows, rng.choice(rows, round(_REPEATED * len(images)), replace=False)]))
    noise = rng.normal(size=(len(rows), len(keys)))
    kept = np.full(noise.shape, True)
    if system in _INSIGHT:
        skill = _INSIGHT[system]
        scores = np.round(1.6 * (skill * truth[rows] + np.sqrt(1 - skill**2) * noise), 6)
    elif system == "Hume Face*":
        scores = np.round(1 / (1 + np.exp(-1.2 * truth[rows] - noise)), 6)
        kept[:, -_NUM_UNSEEN:] = False
    elif system in _FEW:
        skill = _FEW[system]
        seen = skill * truth[rows] + np.sqrt(1 - skill**2) * noise
        first = np.argsort(-seen, axis=1)[:, :5]
        scores = np.zeros(noise.shape, dtype=int)
        np.put_along_axis(scores, first, np.clip(np.rint(2 + np.take_along_axis(seen, first, 1)), 1, 7).astype(int), 1)
    elif system == "Gemini 2.0 Flash ZS":
        scores = np.clip(np.rint(1.6 * (0.6 * truth[rows] + 0.8 * noise - bar) + 1.7), 0, 7).astype(int)
    elif system == "Random Baseline":
        scores = rng.integers(1, 8, noise.shape)
    else:
        scores = rng.integers(1, 8, noise.shape)
        kept = np.argsort(noise, axis=1).argsort(axis=1) < 25  # lists exactly 25 emotions
    if system == "Pixtral Large ZS":
        scores[rng.random(len(rows)) < 0.01, 0] = 9
        kept[:, 0] = True
    if system.endswith(" MS"):
        keys = [*keys, *(f"Extra Dimensions|{name}" for name in _EXTRAS)]
        scores = np.hstack([scores, rng.integers(-3, 4, (len(rows), len(_EXTRAS)))])
        kept = np.hstack([kept, np.full((len(rows), len(_EXTRAS)), True)])
    found = zip(rows.tolist(), scores, kept, strict=True)
    return [_line(images[row], system, False, keys, values, mask) for row, values, mask in found]


def _line(image: str, annotator: str, human: bool, keys: list[str], values: np.ndarray, kept: np.ndarray) -> str:
    answers = ", ".join(f"'{keys[k]}': {value}" for k, value in enumerate(values.tolist()) if kept[k])
    return f'{image},{annotator},{human},"{{{answers}}}"\n'
