"""The people of the demonstration: experts who vote and rate what the drawn faces show, judges who choose blindly."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.special import expit
from sklearn.metrics import ndcg_score

from emonet_lightning.annotation.pairs import read_pairs
from emonet_lightning.annotation.preference_answers import COLUMNS
from emonet_lightning.io import atomic_write
from emonet_lightning.synthesis.designed_faces import DesignedFaces
from emonet_lightning.synthesis.experts import rate_images, signal_of, vote_on_images
from emonet_lightning.synthesis.expressions import load_expressions
from emonet_lightning.synthesis.rater_files import ratings_text, votes_text
from emonet_lightning.synthesis.rater_presets import load_preset
from emonet_lightning.synthesis.raters import draw_raters
from emonet_lightning.taxonomy import Taxonomy

NUM_VOTERS, NUM_EXPERTS, NUM_JUDGES = 7, 8, 4
_STEEPNESS = 8.0
"""Log-odds of the better list, for a difference of 1 in nDCG."""


def write_votes(faces: DesignedFaces, path: Path, preset: str, seed: int) -> None:
    """Let experts answer yes or no to each face's prompted emotion, in turn until a no, and once to its contrast."""
    slugs = load_expressions().slugs
    prompted = np.array([slugs.index(record["prompted"]) for record in faces.prompts.records])
    voters = draw_raters(load_preset(preset), seed, NUM_VOTERS)
    votes, _ = vote_on_images(voters, signal_of(faces.intensities()), prompted, seed)
    votes = votes._replace(keys=[record["id"] for record in faces.prompts.records])
    atomic_write(path, votes_text(votes, prompted))


def write_ratings(faces: DesignedFaces, path: Path, preset: str, seed: int) -> None:
    """Let four of eight experts rate each face on all emotions, 0..7."""
    experts = draw_raters(load_preset(preset), seed, NUM_EXPERTS)
    panel = rate_images(experts, signal_of(faces.intensities()), seed)
    panel = panel._replace(images=[record["id"] for record in faces.prompts.records])
    atomic_write(path, ratings_text(panel, Taxonomy.load("emonet40")))


def write_choices(faces: DesignedFaces, pairs: Path, path: Path, seed: int) -> None:
    """Let judges choose the list that ranks better what the face shows (nDCG of the drawn intensities), with chance.

    They know the pairs file and the faces, as people would; whose list is whose they do not.
    """
    rng = np.random.default_rng([seed, 82])
    places = {name: place for place, name in enumerate(Taxonomy.load("emonet40").names)}
    shown = dict(zip([record["id"] for record in faces.prompts.records], faces.intensities(), strict=True))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for pair in read_pairs(pairs).values():
        left, right = (_quality(names, shown[pair.image], places) for names in (pair.left, pair.right))
        for judge in range(NUM_JUDGES):
            choice = "left" if rng.random() < expit(_STEEPNESS * (left - right)) else "right"
            rows.writerow([pair.pair, f"judge-{judge + 1}", choice, f"{rng.lognormal(1.8, 0.5):.2f}"])
    atomic_write(path, text.getvalue())


def _quality(names: list[str], intensities: np.ndarray, places: Mapping[str, int]) -> float:
    order = np.zeros(len(places))
    order[[places[name] for name in names]] = np.arange(len(names), 0, -1)
    return float(ndcg_score(intensities[None], order[None], k=5))
