"""The command `evaluate confusion`: which emotions a system cannot tell apart, beside the raters."""

from typing import Any, Literal

from emonet_lightning.errors import UsageError
from emonet_lightning.evaluation.confusion import FUSED_FROM, TOLD_FROM, judge_confusion
from emonet_lightning.evaluation.panel_input import read_panel_input
from emonet_lightning.io import make_folder, write_json
from emonet_lightning.progress import progress_bar
from emonet_lightning.ratings.systems import Duplicates, Missing
from emonet_lightning.taxonomy import Taxonomy

RESULT_FILE = "confusion.json"
DEFINITIONS = {
    "correlation": "Spearman's, over images, of the scores of two emotions, and of their mean ratings; ranks are taken "
    "once over all images",
    "partial": "correlation of the ranks of two emotions with those of all others held fixed: from the inverse of the "
    "correlations, shrunk toward 0 as Ledoit and Wolf (2004) propose (the graphical model of ranks); the shrinkage of "
    "the sample is kept in the draws",
    "difference": "system minus raters, on the same draws, with percentile interval",
    "excess": "how much more two emotions go together in scores than in ratings: the system's correlation minus the "
    "raters', where a negative one of the raters counts as 0, since noise alone brings it there",
    "p (Holm)": "of the excess: Student's t with the standard deviation of its draws, corrected "
    "for all pairs of emotions (Holm)",
    "told apart": "correlation of the difference of two emotions' scores with the difference of their ratings in the "
    "mean of all raters but one, on the images of that one, mean over raters; beside it that one rater's own "
    "difference in place of the scores. All of them are ranks, in units of their standard deviation. Around 0: the "
    "scores do not say which of the two it is",
    "blurred": "scores go together more than ratings do (p below 0.05), and the system tells the pair apart less than "
    "a rater does (the interval of that difference is below 0). The first alone shows no confusion: scores have less "
    "noise than ratings, and noise hides that emotions go together. Where no rater rated all emotions of an image, or "
    "there are more than 60 raters, the second is: the interval of 'told apart' is below "
    f"{TOLD_FROM:g}, a medium correlation (Cohen 1988)",
    "fused": f"blurred, and the correlation of the scores is at least {FUSED_FROM:g}",
    "tree": "average linkage on 1 - correlation, leaves in the order that puts like ones side by side",
    "cophenetic correlation": "of the heights at which two emotions meet, in the one tree and in the other; p by "
    "permuted emotions",
    "adjusted Rand index": "likeness of two divisions of the emotions: 1 the same, 0 as by chance",
    "interval": "of each figure alone; the pairs shown are picked from all, so their differences are flattered. Draws "
    "are of images: raters are held fixed, and other raters may put other emotions together",
}


def confusion_command(
    ratings: str,
    out: str,
    system: str | None = None,
    images: str | None = None,
    taxonomy: str = "emonet40",
    pairs: int = 10,
    examples: int = 2,
    groups: str | None = None,
    human: Literal["all"] | None = None,
    untouched: Literal["zero", "missing"] | None = None,
    missing: Missing = "missing",
    duplicates: Duplicates = "mean",
    columns: dict[str, str] | str | None = None,
    index_map: str | None = None,
    num_draws: int = 500,
    seed: int = 0,
    level: float = 0.95,
    progress: bool = True,
) -> None:
    """Find the emotions that a system cannot tell apart and the raters can.

    Writes confusion.json, confusion.md and figures: correlations of emotions in the system's scores and in the ratings,
    trees of both, the pairs that the system fuses, with example images.

    Args:
        ratings: experts' ratings, as for `evaluate agreement`.
        out: folder for the report.
        system: `NAME=FILE`, scores of a system; or the name of a system in the file of ratings, by default its first.
        images: folder of the rated images, or packed set: shows examples of the worst pairs.
        taxonomy: `emonet40`, or a YAML file of your own emotions.
        pairs: how many of the worst pairs are shown.
        examples: images of each pair and direction.
        groups: CSV file (image, group) of the person in each image; draws are then of persons.
        human: as for `evaluate agreement`.
        untouched: as for `evaluate agreement`.
        missing: as for `evaluate agreement`.
        duplicates: as for `evaluate agreement`.
        columns: names of the file's columns, as `--columns image=foto,rater=who`.
        index_map: JSON of file name to row number.
        num_draws: bootstrap draws of images, or of persons.
        seed: of draws and permutations.
        level: coverage of the intervals.
        progress: show a progress bar.

    Raises:
        UsageError: options that do not fit each other.
        MissingInputError: a file or image that is not there.
        DataError: wrong content; names the line, image or emotion.
        OutputError: the folder cannot be written.
    """
    from rich.console import Console

    from emonet_lightning.reporting.confusion_report import console_table, write_report
    from emonet_lightning.reporting.example_images import ImageFinder

    if num_draws < 20 or not 0 < level < 1 or pairs < 1 or not 1 <= examples <= 6 or seed < 0:
        raise UsageError(
            f"--num_draws {num_draws} --level {level} --pairs {pairs} --examples {examples} --seed {seed}: at least 20 "
            "draws, a level between 0 and 1, at least 1 pair, 1 to 6 examples and a seed from 0"
        )
    finder = None if images is None else ImageFinder(images)
    spec = Taxonomy.load(taxonomy)
    panel, judged, _ = read_panel_input(
        ratings,
        system,
        spec,
        human=human,
        untouched=untouched,
        missing=missing,
        duplicates=duplicates,
        columns=columns,
        index_map=index_map,
        persons=groups,
        progress=progress,
    )
    if judged is None:
        raise UsageError(f"evaluate confusion: {ratings} holds no system; name one with --system NAME=FILE")
    with progress_bar("comparing", 3, "steps", progress) as advance:
        content = judge_confusion(
            panel,
            judged,
            spec,
            num_pairs=pairs,
            num_examples=examples,
            num_draws=num_draws,
            seed=seed,
            level=level,
            advance=advance,
        )
    options: dict[str, Any] = {
        "ratings": ratings, "system": system, "images": images, "taxonomy": taxonomy, "pairs": pairs,
        "examples": examples, "groups": groups, "untouched": untouched, "missing": missing, "duplicates": duplicates,
        "num_draws": num_draws, "seed": seed, "level": level,
    }  # fmt: skip
    content = {"schema": content.pop("schema"), "options": options, "definitions": DEFINITIONS, **content}
    folder = make_folder(out)
    write_report(folder, content, finder)
    write_json(folder / RESULT_FILE, content)  # last: where it is, the report is whole
    console = Console()
    console.print(console_table(content))
    for one in content["left_out"]:
        console.print(f"left out: {one['slug']} ({one['reason']})", highlight=False, markup=False)
    console.print(f"{folder / 'confusion.md'}, {folder / RESULT_FILE}", highlight=False, markup=False, soft_wrap=True)
