"""The commands `preference design` and `preference analyse`."""

from pathlib import Path
from typing import Literal

from emonet_lightning.annotation import preference
from emonet_lightning.annotation.pairs import read_pairs
from emonet_lightning.annotation.preference import EXPERTS, MOST, read_key, system_named
from emonet_lightning.annotation.preference_analysis import analyse
from emonet_lightning.annotation.preference_answers import read_answers
from emonet_lightning.errors import UsageError
from emonet_lightning.evaluation.columns import median_rating
from emonet_lightning.io import write_json
from emonet_lightning.messages import say
from emonet_lightning.ratings.image_facts import image_facts
from emonet_lightning.ratings.index_map import read_index_map
from emonet_lightning.ratings.panel import SystemScores
from emonet_lightning.ratings.panel_files import read_panel
from emonet_lightning.ratings.systems import read_named_scores
from emonet_lightning.taxonomy import Taxonomy


def design_command(
    ratings: str,
    out: str,
    key: str,
    system: list[str] | None = None,
    among: list[str] | None = None,
    experts: bool = True,
    taxonomy: str = "emonet40",
    human: Literal["all"] | None = None,
    untouched: Literal["zero", "missing"] | None = None,
    index_map: str | None = None,
    prompts: str | None = None,
    least: float = 0.0,
    most: int = MOST,
    num_images: int | None = None,
    show_empty: bool = False,
    seed: int | None = None,
) -> None:
    """Make the pairs of a blind preference study, and the sealed key that tells who is who.

    Each line of the pairs file is for a judge: an image and two lists of up to five emotions, the strongest first,
    sides at random. Two equal lists are not shown, nor (without --show_empty) an empty one; both are counted.

    Args:
        ratings: experts' ratings, as for `evaluate agreement`; their median is the system `experts`.
        out: pairs file (JSON lines), for the judges.
        key: key file (JSON), in another folder; only its owner can read it, and the analysis needs it.
        system: `NAME=FILE`, scores of a system, as for `evaluate agreement`; may be given several times.
        among: name of a system that stands in the file of ratings; may be given several times.
        experts: let the experts' median compete.
        taxonomy: `emonet40`, or a YAML file of your own emotions.
        human: `all` where every row of the ratings is a person's and the file has no column `human`.
        untouched: what an emotion that a rater left out means: `zero` or `missing`.
        index_map: JSON of file name to row number, to join `hq.csv` and HQ Parquet.
        prompts: CSV file (image, emotion) of what each image was made for; else images are sorted under the first
            emotion of the first system.
        least: only scores above this are listed; subtract neutral means beforehand.
        most: emotions in a list.
        num_images: draw so many images (the published study had 250 a project); all by default.
        show_empty: show lists without an emotion, too.
        seed: of images, sides and order; without it nobody can repeat them, not even from the code.
    """
    if most < 1 or (num_images is not None and num_images < 1) or (seed is not None and seed < 0):
        raise UsageError(f"--most {most} --num_images {num_images} --seed {seed}: at least 1, 1 and 0")
    spec = Taxonomy.load(taxonomy)
    rows = None if index_map is None else read_index_map(Path(index_map))
    panel, found = read_panel(ratings, spec, human=human, untouched=untouched, index_map=rows)
    own = [read_named_scores(word, spec, panel.images, rows, "missing", "mean") for word in system or []]
    inside = [found[system_named(name, [s.name for s in found], "--among")] for name in among or []]
    median = [SystemScores(EXPERTS, median_rating(panel.values))] if experts else []
    prompted = panel.prompted
    if prompts is not None:
        asked = image_facts(prompts, "emotion", panel.images, rows)
        prompted = [spec.slugs[spec.index(name, prompts)] for name in asked]
    study = preference.design(
        panel.images,
        [*median, *own, *inside],
        spec,
        prompted=prompted,
        least=least,
        most=most,
        num_images=num_images,
        show_empty=show_empty,
        seed=seed,
    )
    files = dict(word.split("=", 1) for word in system or [])
    preference.write_study(study, Path(out), Path(key), {"ratings": ratings, **files})
    for entry in study.key["left_out"]:
        say(
            f"{entry['first']} and {entry['second']}: {entry['shown']} pairs; not shown: {entry['equal']} with equal "
            f"lists, {entry['empty']} with an empty one, {entry['not_scored']} not scored by both"
        )
    say(f"{len(study.pairs)} pairs: {out}; key: {key} (keep it from the judges)")


def analyse_command(
    answers: str,
    pairs: str,
    key: str,
    out: str,
    subject: str | None = None,
    reference: str | None = None,
    num_draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> None:
    """Analyse the answers of a preference study: `preference.json`, `preference.md` and `figures/`.

    Args:
        answers: CSV file with `pair`, `rater`, `choice` (left or right) and, where measured, `seconds`.
        pairs: pairs file of the study.
        key: its key.
        out: folder of the report.
        subject: system whose share is told; the second of the key by default.
        reference: system that it is compared with; the first of the key by default.
        num_draws: bootstrap draws of images and judges.
        seed: of the draws.
        level: coverage of the intervals.
    """
    from emonet_lightning.reporting.preference_report import print_preference, write_preference_report

    if num_draws < 2 or not 0 < level < 1 or seed < 0:
        raise UsageError(f"--num_draws {num_draws} --level {level} --seed {seed}: at least 2, between 0 and 1, from 0")
    secret = read_key(Path(key), Path(pairs))
    names = list(secret["systems"])
    first = 0 if reference is None else system_named(reference, names, "--reference")
    second = (1 if first == 0 else 0) if subject is None else system_named(subject, names, "--subject")
    if first == second:
        raise UsageError(f"--subject '{names[second]}': is the reference itself; name two systems")
    given = read_answers(Path(answers), read_pairs(Path(pairs)), secret)
    found = analyse(given, secret, second, first, num_draws, seed, level)
    taxonomy = secret["taxonomy"]
    write_preference_report(found, Path(out), _names(taxonomy))
    write_json(Path(out) / "preference.json", found)  # last: where it is, the report is whole
    print_preference(found, Path(out))


def _names(taxonomy: dict[str, str]) -> dict[str, str]:
    """Return the emotions' names by slug where the taxonomy is a built-in one."""
    spec = Taxonomy.load("emonet40")
    return dict(zip(spec.slugs, spec.names, strict=True)) if spec.digest == taxonomy["digest"] else {}
