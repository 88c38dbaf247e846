"""The command `evaluate robustness`: trained heads under harder conditions of the picture.

robustness.json (`schema`: emonet_lightning robustness 1; undefined figures are null):

    heads          folder, digest, taxonomy, encoder, emotions [K] of slug and name
    options        of the call;  definitions: name -> what it means
    faces          null, or of rendered faces: num_persons, num_faces, num_pictures, size, emotions (slugs shown),
                   anchor {value, low, high, source}, factors [SWEEP, sets, with],
                   intensity {levels, monotonicity, rising, mean_score}
    images         null, or of given pictures: name, num_images, num_groups, truth (where from, null: none), anchor,
                   corruptions [SWEEP, setting, values of severity 1 to 5]
    SWEEP          as `evaluation.degradation.judge_sweep` returns it
"""

from pathlib import Path
from typing import Any

from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.evaluation.degradation import DEFINITIONS
from emonet_lightning.io import make_folder, read_json, write_json
from emonet_lightning.progress import progress_bar
from emonet_lightning.robustness import conditions
from emonet_lightning.robustness.conditions import SEVERITIES, Corruption, Factor, names, pictures_digest, table
from emonet_lightning.robustness.kept_scores import KeptArrays
from emonet_lightning.robustness.measuring import measure_faces, measure_images
from emonet_lightning.robustness.picture_sets import PictureSet, read_pictures
from emonet_lightning.robustness.rendered import Faces
from emonet_lightning.robustness.scoring import Heads, scorer
from emonet_lightning.synthesis.expressions import load_expressions
from emonet_lightning.synthesis.renderer import IMAGE_SIZE, MAX_SIZE, MIN_SIZE

SCHEMA = "emonet_lightning robustness 1"
RESULT_FILE = "robustness.json"


def robustness_command(
    out: str,
    run: str | None = None,
    heads: str | None = None,
    factors: str | None = None,
    num_persons: int = 6,
    size: int = IMAGE_SIZE,
    images: str | None = None,
    faces: bool = True,
    corruptions: str | None = None,
    ratings: str | None = None,
    groups: str | None = None,
    split: str | None = None,
    anchor: str | None = None,
    num_draws: int = 200,
    seed: int = 0,
    level: float = 0.95,
    weights: str | None = None,
    device: str | None = None,
    progress: bool = True,
) -> None:
    """Change one condition of the picture at a time, and say where the heads' scores break.

    Rendered faces have a known truth: the same persons, expressions and scenes at every level of yaw, pitch, roll,
    light, occlusion, blur, noise, JPEG quality, resolution and intensity of the expression. Any pictures (`--images`)
    are corrupted at severities 1 to 5. Scores are kept in OUT/kept, so that a call that was killed goes on.

    Args:
        out: folder of robustness.json, robustness.md and figures/.
        run: run folder that holds the heads.
        heads: folder of exported heads, or of released .pth files (instead of `run`).
        factors: conditions of rendered faces, as `yaw,blur`; all by default.
        num_persons: rendered persons; each shows every emotion.
        size: of the rendered pictures, pixels.
        images: folder of images or packed set to be corrupted as well.
        faces: `false` leaves the rendered faces out.
        corruptions: of the images, as `jpeg,fog`; all by default.
        ratings: file of ratings of the images as `evaluate agreement` reads it; a packed set has its own.
        groups: CSV file (image, group) of the person in each image; draws are then of persons.
        split: of a packed set.
        anchor: agreement of humans to compare with: a number, or an agreement.json; by default that of simulated
            raters of the rendered faces, and of the raters of the images where these were rated.
        num_draws: bootstrap draws of persons.
        seed: of persons, expressions, scenes, corruptions and draws.
        level: coverage of the intervals.
        weights: where the encoder's weight file is now.
        device: cpu, cuda or cuda:N; default: the GPU if there is one.
        progress: show a progress bar.

    Raises:
        UsageError: unknown conditions, or options that do not fit each other.
        MissingInputError: no heads, images or file there.
        DataError: a picture or file that cannot be read.
        OutputError: the folder cannot be written.
    """
    from emonet_lightning.reporting.robustness_report import print_robustness, write_robustness_report

    if num_draws < 2 or not 0 < level < 1 or seed < 0 or num_persons < 2:
        raise UsageError(
            f"--num_persons {num_persons} --num_draws {num_draws} --level {level} --seed {seed}: at least 2 persons "
            "and 2 draws, a level between 0 and 1, a seed from 0"
        )
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise UsageError(f"--size {size}: rendered faces have {MIN_SIZE} to {MAX_SIZE} pixels")
    if not faces and images is None:
        raise UsageError("evaluate robustness: --faces false leaves nothing to do; give --images DIR")
    for option, value in (("corruptions", corruptions), ("ratings", ratings), ("groups", groups), ("split", split)):
        if value is not None and images is None:
            raise UsageError(f"--{option}: is of pictures; give --images DIR")
    chosen = conditions.factors(names("factors", factors, table()["factors"])) if faces else []
    worse = conditions.corruptions(names("corruptions", corruptions, table()["corruptions"]))
    human = None if anchor is None else read_anchor(anchor)
    trained = Heads("evaluate robustness", run, heads, device, weights)
    pictures = None if images is None else read_pictures(images, trained.taxonomy, ratings, groups, split)
    rendered = _faces(trained, num_persons, seed, size) if faces else None
    folder = make_folder(out)
    kept = KeptArrays(folder, trained.digest)
    shared: dict[str, Any] = {"anchor": human, "num_draws": num_draws, "seed": seed, "level": level}
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "heads": trained.describe(),
        "options": {
            "factors": [factor.name for factor in chosen], "num_persons": num_persons, "size": size,
            "images": None if pictures is None else pictures.name, "faces": faces,
            "corruptions": [corruption.name for corruption in worse] if pictures else [],
            "ratings": ratings and Path(ratings).name, "groups": groups and Path(groups).name, "split": split,
            "anchor": None if human is None else human[1], "num_draws": num_draws, "seed": seed, "level": level,
        },
        "definitions": DEFINITIONS,
        "faces": None,
        "images": None,
    }  # fmt: skip
    total = _num_pictures(rendered, chosen, pictures, worse)
    with progress_bar("robustness", total, "pictures", progress) as advance:
        if rendered is not None:
            columns = [trained.slugs.index(slug) for slug in rendered.slugs]
            of = [pictures_digest(), num_persons, seed, size, rendered.slugs]
            content["faces"] = measure_faces(rendered, chosen, scorer(trained, kept, of, columns, advance), **shared)
        if pictures is not None:
            of = [pictures_digest(), pictures.digest, seed]
            score = scorer(trained, kept, of, None, advance)
            content["images"] = measure_images(pictures, worse, score, trained.taxonomy, **shared)
    write_robustness_report(folder, content)
    write_json(folder / RESULT_FILE, content)  # last: where it is, the report is whole
    print_robustness(folder, content)


def read_anchor(text: str) -> tuple[float, str]:
    """Return the agreement of humans and where it is from: a number, or a file `agreement.json`.

    Raises:
        UsageError: a number outside -1..1.
        MissingInputError: no such file.
        DataError: not a report of agreement, or one whose raters have no correlation.
    """
    try:
        value = float(text)
    except ValueError:
        content = read_json(text)
        try:
            found = content["humans"]["metrics"]["spearman"]["sets"]["all"]["value"]
            name = content["ratings"]["name"]
        except (KeyError, TypeError):
            raise DataError(
                f"--anchor {text}: no agreement of humans in it; give an agreement.json or a number"
            ) from None
        if not isinstance(found, int | float):
            raise DataError(
                f"--anchor {text}: its raters have no rank correlation (too few of an image); give a number"
            ) from None
        return float(found), f"each rater of {name} against the mean of the others ({Path(text).name}), other pictures"
    if not -1 <= value <= 1:
        raise UsageError(f"--anchor {text}: a rank correlation lies between -1 and 1")
    return value, "given"


def _faces(trained: Heads, num_persons: int, seed: int, size: int) -> Faces:
    displays = load_expressions().slugs
    shown = [slug for slug in trained.slugs if slug in displays]
    if len(shown) < 2:
        raise UsageError(
            f"evaluate robustness: rendered faces show the emotions of emonet40, of which taxonomy "
            f"'{trained.taxonomy.name}' has {len(shown)}; give --faces false --images DIR"
        )
    return Faces(num_persons, seed, size, shown)


def _num_pictures(
    rendered: Faces | None, chosen: list[Factor], pictures: PictureSet | None, worse: list[Corruption]
) -> int:
    of_faces = 0 if rendered is None else len(rendered) * sum(len(factor.levels) for factor in chosen)
    return of_faces + (0 if pictures is None else len(pictures.names) * len(worse) * len(SEVERITIES))
