"""The leak audit as a whole: from two sets, or the splits of one, to everything that the report shows.

leaks.json (`schema`: emonet_lightning leaks 1; what is not defined is null):

    options        embeddings, seed
    encoder        name, fingerprint, weights_sha256; null without embeddings
    rule           when a pair crosses a test boundary
    definitions    term -> sentence
    sets           [{name, digest, num_images, num_test, splits {name: n}}]
    calibration    threshold, is_calibrated, false_alarm_rate, min_features, copy_features, sets [{name, num_images,
                   median, quantile, num_above, scores}] (median and
                   quantile of those without a copy in their set)
    num_compared, num_candidates, num_alike (alike by features, and no copies)
    counts         {kind: {pairs, across}}
    leaks          num_pairs, num_images [of each set, or of one]
    groups, prompts   num_shared, num_images [on either side], examples, known
    pairs          [{first, second {set, key, split}, kind, score, mirrored, scale, shift, hash_distance,
                     feature_similarity, across_test_boundary}], across a boundary first, then by kind and score
    rejected       the pairs next below the threshold, as `pairs`
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from emonet_lightning.encoders import EncoderSpec, FrozenEncoder, encoder_record
from emonet_lightning.errors import UsageError
from emonet_lightning.leakage.alignment import Alignment, align, band
from emonet_lightning.leakage.calibration import FALSE_ALARM_RATE, MAX_IMAGES, calibrate
from emonet_lightning.leakage.candidates import Index, Pairs, build_index, find_candidates
from emonet_lightning.leakage.copies import KINDS, describe, equal_pixels, sort_out
from emonet_lightning.leakage.image_sets import RULE, Comparison, ImageSet, comparisons, crosses, open_images
from emonet_lightning.leakage.prints import Prints, take_prints
from emonet_lightning.leakage.shared_names import shared_names
from emonet_lightning.progress import progress_bar

SCHEMA = "emonet_lightning leaks 1"
DEFINITIONS = {
    "score": "correlation of details (band-passed grey pictures of 64 pixels a side) once one image is laid over the "
    "other by a small affine change, -1..1",
    "threshold": "half way between 1 and the score that 1 % of images exceed with the nearest image of another "
    "group in their own set, those with a copy there left out; 0.95 where too few images can tell",
    "hash distance": "differing bits of 64 of the perceptual hash (DCT), mirrored where the copy is",
    "feature similarity": "correlation of the frozen encoder's features, less the mean of all images; an unmirrored "
    "copy whose score lies nearer to the threshold than to 1 has at least the median of nearest images of other groups",
    "alike": "pairs whose features are nearer than those of 99 % of nearest images of other groups, and whose details "
    "do not agree: one pose or light, not one picture",
    "shared groups and prompts": "equal names on both sides; two sets may use one name for two persons, so these do "
    "not decide the verdict",
    **{f"kind '{kind}'": text for kind, text in KINDS.items()},
}
_CHUNK = 64


class Audit(NamedTuple):
    """What was found, and where the images are."""

    content: dict[str, Any]
    """Of leaks.json."""
    sets: list[ImageSet]


def run_audit(paths: list[str], *, encoder: EncoderSpec | None, seed: int = 0, progress: bool = True) -> Audit:
    """Compare two sets, or the splits of one; writes nothing.

    Args:
        paths: packed sets or folders of images, one or two.
        encoder: for neighbours by features; None leaves them out.
        seed: of the images that thresholds are taken from.
        progress: show progress bars.

    Raises:
        UsageError: a negative seed.
        MissingInputError: no such set, no images in it, or nothing to compare.
        DataError: an image that cannot be read; names it.
    """
    if seed < 0:
        raise UsageError(f"--seed {seed}: 0 or more")
    sets = [open_images(path) for path in paths]
    parts = comparisons(sets)
    frozen = None if encoder is None else FrozenEncoder.load(encoder)
    sizes = [len(each.keys) for each in sets]
    with progress_bar("reading images", sum(sizes), "images", progress) as advance:
        prints = take_prints(sets, frozen, advance)
    return Audit(compare(sets, parts, prints, encoder, seed, progress), sets)


def compare(
    sets: list[ImageSet],
    parts: list[Comparison],
    prints: Prints,
    encoder: EncoderSpec | None,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """Return what leaks.json holds, from prints that were taken of the sets' images."""
    index = build_index(prints)
    starts = np.cumsum([0, *(len(each.keys) for each in sets)])
    rows_of = {
        each.name + (" (2)" if place and each.name == sets[0].name else ""): np.arange(*starts[place:][:2])
        for place, each in enumerate(sets)
    }
    groups = [group for each in sets for group in each.groups]
    drawn = sum(min(MAX_IMAGES, len(rows)) for rows in rows_of.values())
    with progress_bar("how alike other persons are", drawn, "images", progress) as advance:
        found = calibrate(index, rows_of, groups, prints.pixels_sha256, seed, advance)
    with progress_bar("finding candidates", sum(len(part.rows) for part in parts), "images", progress) as advance:
        each_part = [find_candidates(index, part, found.min_features, advance) for part in parts]
    pairs = Pairs(*(np.concatenate(column) for column in zip(*each_part, strict=True)))
    with progress_bar("laying images over each other", len(pairs.first), "pairs", progress) as advance:
        aligned = align_all(index, pairs, advance)
    exact = [pair for part in parts for pair in equal_pixels(prints, part)]
    listed, rejected, num_alike = sort_out(index, prints, pairs, aligned, exact, found)
    shown = [*listed, *rejected]
    across = crosses(sets, *(np.array([pair[side] for pair in shown], dtype=np.int64) for side in (0, 1)))
    described = [describe(pair, bool(over), sets, starts) for pair, over in zip(shown, across, strict=True)]
    kept = described[: len(listed)]
    order = list(KINDS)
    kept.sort(key=lambda pair: (not pair["across_test_boundary"], order.index(pair["kind"]), -pair["score"]))
    leaking = [pair for pair, over in zip(listed, across, strict=False) if over]
    images = {row for pair in leaking for row in pair[:2]}
    return {
        "schema": SCHEMA,
        "options": {"embeddings": encoder is not None, "seed": seed},
        "encoder": None if encoder is None else _encoder(encoder),
        "rule": RULE,
        "definitions": DEFINITIONS,
        "sets": [_describe_set(each) for each in sets],
        "calibration": {
            "threshold": found.threshold,
            "is_calibrated": found.is_calibrated,
            "false_alarm_rate": FALSE_ALARM_RATE,
            "min_features": None if encoder is None else found.min_features,
            "copy_features": found.copy_features,
            "sets": found.sets,
        },
        "num_compared": int(sum(len(part.rows) * len(part.among) for part in parts)),
        "num_candidates": len(pairs.first),
        "num_alike": num_alike,
        "counts": {
            kind: {
                "pairs": sum(pair["kind"] == kind for pair in kept),
                "across": sum(pair["kind"] == kind and pair["across_test_boundary"] for pair in kept),
            }
            for kind in KINDS
        },
        "leaks": {
            "num_pairs": len(leaking),
            "num_images": [int(sum(low <= row < high for row in images)) for low, high in pairwise(starts)],
        },
        **shared_names(sets, parts),
        "pairs": kept,
        "rejected": described[len(listed) :],
    }


def align_all(index: Index, pairs: Pairs, advance: Callable[[int], None], num_threads: int = 2) -> list[Alignment]:
    """Lay all candidates over each other."""

    def some(start: int) -> list[Alignment]:
        part = slice(start, start + _CHUNK)
        columns = zip(pairs.first[part], pairs.second[part], pairs.mirrored[part], strict=True)
        return [align(band(index.pictures[a]), band(index.pictures[b]), bool(mirrored)) for a, b, mirrored in columns]

    found: list[Alignment] = []
    with ThreadPoolExecutor(num_threads) as pool:
        try:
            for part in pool.map(some, range(0, len(pairs.first), _CHUNK)):
                found += part
                advance(len(part))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return found


def _describe_set(each: ImageSet) -> dict[str, Any]:
    names, counts = np.unique(each.splits, return_counts=True)
    return {
        "name": each.name,
        "digest": each.digest,
        "num_images": len(each.keys),
        "num_test": None if each.is_test is None else int(each.is_test.sum()),
        "splits": dict(zip(names.tolist(), counts.tolist(), strict=True)),
    }


def _encoder(spec: EncoderSpec) -> dict[str, Any]:
    record = encoder_record(spec)
    return {key: record[key] for key in ("name", "fingerprint", "weights_sha256")}
