"""The command `synthesize experts`: simulated ratings and votes with their truth, and the fit of the experts."""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.evaluation.vote_file import read_votes
from emonet_lightning.io import atomic_write, make_folder, write_json
from emonet_lightning.progress import progress_bar
from emonet_lightning.ratings.consensus import binary_questions
from emonet_lightning.ratings.systems import read_scores
from emonet_lightning.ratings.tables import find_column, read_table
from emonet_lightning.synthesis import fit_experts
from emonet_lightning.synthesis.experts import Truth, draw_truth, rate_images, signal_of, vote_on_images
from emonet_lightning.synthesis.expressions import MAX_INTENSITY, load_expressions, perform
from emonet_lightning.synthesis.identity import sample_identity
from emonet_lightning.synthesis.rater_files import ratings_text, truth_text, votes_text
from emonet_lightning.synthesis.rater_presets import RELEASED_FILE, load_preset, released
from emonet_lightning.synthesis.raters import Rater, draw_raters
from emonet_lightning.synthesis.released_targets import rating_figures, vote_figures
from emonet_lightning.taxonomy import Taxonomy
from emonet_lightning.yaml_files import dump_yaml

Array = np.ndarray
SCHEMA = "emonet_lightning simulated experts 1"


def experts_command(
    out: str,
    preset: Literal["released", "embedded"] = "released",
    num_images: int = 2500,
    num_voted: int = 0,
    truth: str | None = None,
    actions: bool = False,
    seed: int = 0,
    fit: bool = False,
    votes: str | None = None,
    progress: bool = True,
) -> None:
    """Simulate experts on faces whose truth is known, to test estimators and pipelines.

    Writes `hq.csv` (4 of 8 experts rate each image, in the layout of the released file), `binary.csv` (yes/no votes,
    with --num_voted), `truth.csv` (what the faces show: a perfect system for `evaluate agreement --system`),
    `planted.json` (each expert's bias, use of the scale, attention ...) and `experts.md`: what was aimed at and
    what came out.

    Args:
        out: folder.
        preset: `released` agree as the released experts do, `embedded` as those of the embedded sets.
        num_images: rated images.
        num_voted: images with votes, further ones; released are 19,999.
        truth: CSV file (image and a column per emotion, 0..7) of what the rated faces show, in place of a drawn table.
        actions: let persons perform the truth, and experts see the facial actions (nothing is drawn).
        seed: of everything.
        fit: fit the preset `released` anew and write `released_raters.yaml`; needs --votes.
        votes: the released `binary.csv`: what --fit aims at, and a column of the report.
        progress: show a progress bar.
    """
    if num_images < 2 or num_voted < 0 or seed < 0:
        raise UsageError(f"--num_images {num_images} --num_voted {num_voted} --seed {seed}: at least 2, 0 and 0")
    if actions and preset == "released":
        raise UsageError("--actions: the preset 'released' is fitted to tables of intensities; add --preset embedded")
    taxonomy = Taxonomy.load("emonet40")
    aim = None
    if votes is not None:
        found = read_votes(votes, taxonomy)
        aim = vote_figures(found.ratings, found.questions)
    folder = make_folder(out)
    if fit:
        if aim is None:
            raise UsageError("--fit: name the votes to fit to with --votes binary.csv")
        with progress_bar("fitting", fit_experts.num_steps, "steps", progress) as advance:
            fitted = fit_experts.fit(aim, advance)
        header = "# Written by `synthesize experts --fit`; what each number means: rater_presets.RaterPreset.\n"
        atomic_write(folder / RELEASED_FILE, header + dump_yaml(fitted.content))
        _report(folder, {"preset": "released, fitted anew"}, fitted.ratings, fitted.votes, aim)
        return
    population = load_preset(preset)
    shown = _truth(truth, num_images, seed, taxonomy)
    people = draw_raters(population, seed, 8)
    panel = rate_images(
        people, signal_of(shown.intensities), seed, actions=_performed(shown.intensities, seed) if actions else None
    )
    if truth is not None:
        panel = panel._replace(images=_images_of(truth))
    planted: dict[str, Any] = {
        "schema": SCHEMA,
        "preset": preset,
        "seed": seed,
        "emotions": taxonomy.slugs,
        "raters": [_planted(rater) for rater in people],
    }
    atomic_write(folder / "hq.csv", ratings_text(panel, taxonomy))
    atomic_write(folder / "truth.csv", truth_text(panel.images, shown.intensities, taxonomy))
    asked = None
    if num_voted:
        faces = draw_truth(num_voted, released()[1], seed + 1)
        voters = draw_raters(population, seed, fit_experts.NUM_VOTERS)
        given, _ = vote_on_images(
            voters,
            signal_of(faces.intensities),
            faces.prompted,
            seed,
            _performed(faces.intensities, seed + 1) if actions else None,
        )
        prompted: list[str | None] = [given.slugs[k] for k in faces.prompted]
        planted["voters"] = [_planted(rater) for rater in voters]
        atomic_write(folder / "binary.csv", votes_text(given, faces.prompted))
        if num_voted >= 2 * len(taxonomy):
            asked = vote_figures(given, binary_questions(given, prompted))
    write_json(folder / "planted.json", planted)
    _report(
        folder, {"preset": preset, "seed": seed, "num_images": len(panel.images)}, rating_figures(panel), asked, aim
    )


def _report(folder: Path, about: dict[str, Any], ratings: Any, asked: Any, aim: Any) -> None:
    from emonet_lightning.reporting.experts_report import write_experts_report

    write_experts_report(folder, about, ratings, asked, aim)


def _truth(path: str | None, num_images: int, seed: int, taxonomy: Taxonomy) -> Truth:
    if path is None:
        return draw_truth(num_images, released()[1], seed)
    table = read_scores(path, taxonomy, _images_of(path), "truth", missing="zero")
    if np.isnan(table.scores).any() or table.scores.min() < 0 or table.scores.max() > MAX_INTENSITY:
        raise DataError(f"{path}: intensities must be given for every image and lie in 0..{MAX_INTENSITY}")
    return Truth(table.scores, table.scores.argmax(axis=1))


def _images_of(path: str) -> list[str]:
    table = read_table(path)
    column = find_column(table, "image", {}) or 0
    return list(dict.fromkeys(row[column] for row in table.rows))


def _performed(intensities: Array, seed: int) -> Array:
    """Return the actions [N, NUM_ACTIONS] of persons who show these intensities, each image another person."""
    from emonet_lightning.synthesis.actions import NUM_ACTIONS

    rng = np.random.default_rng([seed, 81])
    return np.stack([perform(row, sample_identity(rng, NUM_ACTIONS), rng) for row in intensities])


def _planted(rater: Rater) -> dict[str, Any]:
    num_emotions = len(load_expressions().slugs)
    every = {
        key: np.broadcast_to(getattr(rater, key), num_emotions).tolist() for key in ("taste", "doubt", "threshold")
    }
    keys = ("name", "leniency", "scale", "attention", "confusion", "mood", "lapse", "vote_leniency")
    return {key: getattr(rater, key) for key in keys} | every
