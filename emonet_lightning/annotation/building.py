"""A campaign from a packed set and options: which images, what is asked, what raters see."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from emonet_lightning.annotation import texts
from emonet_lightning.annotation.campaigns import pair_lines, store_images, title_of
from emonet_lightning.annotation.interface import keywords_of, pair_config, slider_config, yes_no_config
from emonet_lightning.annotation.pairs import draw_swaps, read_pairs
from emonet_lightning.annotation.plan import CampaignKind, Question, plan_pairs, plan_ratings, plan_votes
from emonet_lightning.annotation.record import (
    IMAGES,
    RECORD,
    Campaign,
    new_id,
    read_campaign,
    write_campaign,
    write_sides,
)
from emonet_lightning.errors import DataError, UsageError, nearest
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.ratings.contrasts import contrast_pairs
from emonet_lightning.taxonomy import Taxonomy

_LAST_ROUND = 3


class Options(NamedTuple):
    """What the user asked for; see `commands.campaign_command`."""

    kind: CampaignKind
    raters: list[str]
    per_image: int | None
    contrasts: str
    contrast_raters: list[str]
    pairs: str | None
    taxonomy: str
    split: str | None
    num_images: int | None
    instructions: str | None
    consent: str | None
    name: str | None
    seed: int
    swap_sides: bool


def build_campaign(packed: PackedSet, options: Options) -> Campaign:
    """Return the campaign that options ask for, without projects.

    Raises:
        UsageError: options that do not fit each other or the set.
        DataError: no image to ask about, or one whose emotion is not known where it must be.
    """
    taxonomy = Taxonomy.load(options.taxonomy)
    taxonomy.check_digest(packed.taxonomy["digest"], f"{packed.path} (name its taxonomy with --taxonomy)")
    _check_options(options)
    rows = _chosen_rows(packed, options)
    questions, asks = _questions(packed, rows, options, taxonomy)
    config = {"binary": yes_no_config, "rating": lambda: slider_config(taxonomy), "preference": pair_config}
    row_of = {key: row for row, key in enumerate(packed.keys)}
    used = dict.fromkeys(question.image for question in questions)
    campaign = Campaign(
        id=new_id(),
        name=options.name or packed.name,
        kind=options.kind,
        seed=options.seed,
        set_digest=packed.digest,
        taxonomy=taxonomy.to_dict(),
        raters=list(dict.fromkeys([*options.raters, *options.contrast_raters])),
        config=config[options.kind](),
        asks=asks,
        instructions=texts.instructions(options.kind, options.instructions),
        consent=texts.consent(options.consent),
        questions=questions,
        files={},
        prompted={key: slug for key in used if (slug := packed.prompted[row_of[key]]) is not None},
    )
    for rater in campaign.raters:
        title_of(campaign, rater, _LAST_ROUND)
        title_of(campaign, rater, 0)
    return campaign


def existing_or_new(folder: Path, planned: Campaign, swap_sides: bool, packed: PackedSet, progress: bool) -> Campaign:
    """Return the campaign that a folder holds, or begin the planned one there; its images are in the folder then.

    Raises:
        UsageError: the folder holds another one; names what differs.
    """
    if (folder / RECORD).is_file():
        found = read_campaign(folder)
        old, new = found.identity(), planned.identity()
        differing = [key for key in new if old[key] != new[key]]
        if (found.sides_sha256 is not None) != swap_sides:
            differing.append("swap_sides")
        if differing:
            raise UsageError(
                f"{folder}: holds another campaign (it differs in {', '.join(differing)}); give the options it began "
                "with, or another --out"
            )
        if not all((folder / IMAGES / name).is_file() for name in found.files.values()):
            store_images(packed, list(found.files), folder / IMAGES, progress)
        return found
    if swap_sides:
        swaps = draw_swaps([(q.id, q.raters) for q in planned.questions], planned.seed)
        planned.sides_sha256 = write_sides(folder, swaps, planned.seed)
    keys = list(dict.fromkeys(question.image for question in planned.questions))
    planned.files = store_images(packed, keys, folder / IMAGES, progress)
    write_campaign(folder, planned)
    return planned


def _check_options(options: Options) -> None:
    misplaced = {
        "swap_sides": options.swap_sides and options.kind != "preference",
        "pairs": options.pairs is not None and options.kind != "preference",
        "contrast_raters": bool(options.contrast_raters) and options.kind != "binary",
        "per_image": options.per_image is not None and options.kind == "binary",
        "num_images": options.num_images is not None and options.kind == "preference",
    }
    for name, is_wrong in misplaced.items():
        if is_wrong:
            raise UsageError(f"--{name} does not go with --kind {options.kind}; leave it out")
    if options.kind == "preference" and options.pairs is None:
        raise UsageError("--kind preference needs --pairs FILE.jsonl: what stands left and right of each image")
    if options.seed < 0:
        raise UsageError(f"--seed {options.seed}: a whole number from 0 is needed")


def _chosen_rows(packed: PackedSet, options: Options) -> list[int]:
    rows = list(range(packed.num_samples))
    if options.split is not None:
        if options.split not in packed.splits:
            raise UsageError(f"--split '{options.split}': no such split; {nearest(options.split, packed.splits)}")
        rows = packed.splits[options.split].tolist()
    if options.num_images is not None:
        if not 1 <= options.num_images <= len(rows):
            raise UsageError(f"--num_images {options.num_images}: the set has {len(rows)} to ask about")
        drawn = np.random.default_rng([options.seed, 2]).permutation(len(rows))[: options.num_images]
        rows = [rows[i] for i in sorted(drawn)]
    if not rows:
        raise DataError(f"{packed.path}: no image to ask about; name a set, or a split of it, that has some")
    return rows


def _questions(
    packed: PackedSet, rows: list[int], options: Options, taxonomy: Taxonomy
) -> tuple[list[Question], dict[str, dict[str, str]]]:
    keys = [packed.keys[row] for row in rows]
    if options.kind == "rating":
        each = min(4, len(options.raters)) if options.per_image is None else options.per_image
        return plan_ratings(keys, options.raters, each, options.seed), {}
    if options.kind == "preference":
        found = list(read_pairs(str(options.pairs), keys).values())
        each = len(options.raters) if options.per_image is None else options.per_image
        asks = {pair.pair: pair_lines([("left", pair.left), ("right", pair.right)]) for pair in found}
        return plan_pairs(found, options.raters, each, options.seed), asks
    images = []
    for row in rows:
        slug = packed.prompted[row]
        if slug is None:
            raise DataError(
                f"{packed.path}: sample '{packed.keys[row]}' does not say which emotion it was made for, so there is "
                "nothing to ask; pack it with --columns prompted=COLUMN"
            )
        images.append((packed.keys[row], slug))
    partners = contrast_pairs(options.contrasts, taxonomy)
    questions = plan_votes(images, partners, options.raters, options.contrast_raters, options.seed)
    asks = {d.slug: {"ask": d.name, "keywords": keywords_of(d.keywords)} for d in taxonomy.dimensions}
    return questions, asks
