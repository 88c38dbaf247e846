"""The command `evaluate generators`: what frozen features and heads owe to the generator of a picture.

generators.json (`schema`: emonet_lightning generators 1; undefined figures are null):

    heads         folder, digest, taxonomy, encoder, emotions [K] of slug and name
    options       of the call;  definitions: name -> what it means
    images        name, source (where the generators are from), num_images, num_left_out, num_groups (null: unknown),
                  truth (where from, null: none)
    generators    [{name, num_images, num_groups}]
    transfer      null without labels, else as `evaluation.generator_shift.transfer_matrix` returns it
    probe         accuracy, recall, counts, as `evaluation.generator_shift.probe_generators` returns them
    reliance      [{slug, name, ...}] of `evaluation.artefacts.artefact_reliance`, the most reliant head first
"""

from pathlib import Path
from typing import Any

import numpy as np

from emonet_lightning.errors import UsageError
from emonet_lightning.evaluation import artefacts
from emonet_lightning.evaluation.generator_shift import probe_generators, transfer_matrix
from emonet_lightning.io import make_folder, write_json
from emonet_lightning.progress import progress_bar
from emonet_lightning.robustness.conditions import names as read_names
from emonet_lightning.robustness.conditions import table
from emonet_lightning.robustness.generator_names import codes_of, generators_of
from emonet_lightning.robustness.generator_sets import Measured, given_pictures, rendered_styles
from emonet_lightning.robustness.kept_scores import KeptArrays
from emonet_lightning.robustness.picture_sets import read_pictures
from emonet_lightning.robustness.scoring import Heads
from emonet_lightning.synthesis.renderer import IMAGE_SIZE

SCHEMA = "emonet_lightning generators 1"
RESULT_FILE = "generators.json"
DEFINITIONS = artefacts.DEFINITIONS | {
    "agreement": "Spearman correlation of a read-out's predictions with what is known of the pictures of the tested "
    "generator; mean over emotions",
    "read-out": "ridge regression on standardised features of the frozen encoder, one for all emotions, penalty by "
    "leave-one-out error; it stands in for heads and is fitted on as many pictures in every cell",
    "others": "trained on all other generators, the tested one left out",
    "drop": "agreement within the generator (other persons or prompts) minus agreement when it is left out, paired",
    "accuracy": "mean over the generators of the share of their pictures that a logistic regression on the features "
    "names rightly; persons or prompts are never on both sides",
    "low, high": "percentile interval of bootstrap draws of persons or prompts (of pictures where they are not known)",
}


def generators_command(
    out: str,
    run: str | None = None,
    heads: str | None = None,
    images: str | None = None,
    generators: str | None = None,
    generator_field: str | None = None,
    patterns: str | None = None,
    ratings: str | None = None,
    groups: str | None = None,
    split: str | None = None,
    styles: str | None = None,
    num_persons: int = 8,
    size: int = IMAGE_SIZE,
    num_folds: int = 5,
    num_draws: int = 200,
    num_permutations: int = 4000,
    seed: int = 0,
    level: float = 0.95,
    weights: str | None = None,
    device: str | None = None,
    progress: bool = True,
) -> None:
    """Train on one generator and test on another, and say how much of each head's output tells the generator.

    Without `--images` the generators are styles of the renderer. Features are kept in OUT/kept.

    Args:
        out: folder of generators.json, generators.md and figures/.
        run: run folder that holds the heads.
        heads: folder of exported heads, or of released .pth files (instead of `run`).
        images: folder of images or packed set, of several generators.
        generators: CSV file (image, generator).
        generator_field: field of the packed records' `meta` that names the generator.
        patterns: YAML file `generator: regular expression` for file names; by default the names of the released HQ
            files (Midjourney, Flux, SDXL).
        ratings: file of ratings of the images as `evaluate agreement` reads it; a packed set has its own.
        groups: CSV file (image, group) of the person or prompt of each image.
        split: of a packed set.
        styles: of the renderer, as `plain,soft`; all by default.
        num_persons: rendered persons, the same in all styles; each shows every emotion.
        size: of the rendered pictures, pixels.
        num_folds: for training and testing within one generator, and of the probe.
        num_draws: bootstrap draws.
        num_permutations: shuffles of the generators.
        seed: of all draws.
        level: coverage of the intervals.
        weights: where the encoder's weight file is now.
        device: cpu, cuda or cuda:N; default: the GPU if there is one.
        progress: show a progress bar.

    Raises:
        UsageError: options that do not fit each other.
        MissingInputError: no heads, images or file there.
        DataError: fewer than two generators, too few pictures of one, or a file that cannot be read.
        OutputError: the folder cannot be written.
    """
    from emonet_lightning.reporting.generators_report import print_generators, write_generators_report

    if num_draws < 2 or not 0 < level < 1 or seed < 0 or num_persons < 2 or num_folds < 2 or num_permutations < 1:
        raise UsageError(
            f"--num_persons {num_persons} --num_folds {num_folds} --num_draws {num_draws} --num_permutations "
            f"{num_permutations} --level {level} --seed {seed}: at least 2 persons, 2 folds, 2 draws and 1 shuffle, a "
            "level between 0 and 1, a seed from 0"
        )
    of_images = {
        "generators": generators, "generator-field": generator_field, "patterns": patterns, "ratings": ratings,
        "groups": groups, "split": split,
    }  # fmt: skip
    for option, value in of_images.items():
        if value is not None and images is None:
            raise UsageError(f"--{option}: is of pictures; give --images DIR")
    if images is not None and styles is not None:
        raise UsageError("evaluate generators: --styles are of rendered faces; leave --images out")
    chosen = read_names("styles", styles, table()["styles"]) or list(table()["styles"])
    if len(chosen) < 2:
        raise UsageError(f"--styles {styles}: two are needed to go from one to another")
    trained = Heads("evaluate generators", run, heads, device, weights)
    kept = KeptArrays(Path(out), trained.digest)
    if images is None:
        measured = rendered_styles(trained, kept, chosen, num_persons, seed, size, progress)
    else:
        pictures = read_pictures(images, trained.taxonomy, ratings, groups, split)
        found, where = generators_of(pictures, generators, generator_field, patterns)
        measured = given_pictures(trained, kept, pictures, *codes_of(found, where), where, progress)
    make_folder(out)
    options = {
        **{name: value if name == "generator-field" or name == "split" else value and Path(value).name
           for name, value in of_images.items()},
        "images": images and Path(images).name, "styles": None if images else chosen,
        "num_persons": None if images else num_persons, "size": None if images else size, "num_folds": num_folds,
        "num_draws": num_draws, "num_permutations": num_permutations, "seed": seed, "level": level,
    }  # fmt: skip
    content = {
        "schema": SCHEMA,
        "heads": trained.describe(),
        "options": options,
        "definitions": DEFINITIONS,
        **judge_generators(
            measured,
            trained.scores(measured.features),
            trained.describe()["emotions"],
            num_folds=num_folds,
            num_draws=num_draws,
            num_permutations=num_permutations,
            seed=seed,
            level=level,
            progress=progress,
        ),
    }
    write_generators_report(Path(out), content)
    write_json(Path(out) / RESULT_FILE, content)  # last: where it is, the report is whole
    print_generators(Path(out), content)


def judge_generators(
    measured: Measured,
    scores: np.ndarray,
    emotions: list[dict[str, str]],
    *,
    num_folds: int = 5,
    num_draws: int = 200,
    num_permutations: int = 4000,
    seed: int = 0,
    level: float = 0.95,
    progress: bool = False,
) -> dict[str, Any]:
    """Return the measured parts of generators.json from features, labels and the heads' scores [N, K]."""
    names, codes, groups = measured.names, measured.codes, measured.groups
    features = measured.features.astype(np.float64)
    drawn: dict[str, Any] = {"num_folds": num_folds, "num_draws": num_draws, "seed": seed, "level": level}
    with progress_bar("judging", 3, "parts", progress) as advance:
        probe, decided = probe_generators(features, codes, groups, names, num_permutations=num_permutations, **drawn)
        advance(1)
        transfer = None
        if measured.truth is not None:
            transfer = transfer_matrix(features, measured.truth, codes, groups, names, own=scores, **drawn)
        advance(1)
        reliance = artefacts.artefact_reliance(
            scores,
            measured.truth,
            codes,
            groups if measured.same is None else measured.same,
            names,
            features=features,
            decided=decided,
            num_permutations=num_permutations,
            seed=seed,
        )
        advance(1)
    named = [{**emotion, **found} for emotion, found in zip(emotions, reliance, strict=True)]
    return {
        "images": measured.about,
        "generators": [
            {
                "name": name,
                "num_images": int((codes == code).sum()),
                "num_groups": len(np.unique(groups[codes == code])),
            }
            for code, name in enumerate(names)
        ],
        "transfer": transfer,
        "probe": probe,
        "reliance": sorted(named, key=lambda entry: (entry["p_holm"] > 0.05, -entry["excess"])),
    }
