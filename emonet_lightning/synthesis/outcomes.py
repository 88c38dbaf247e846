"""What the gates left: which images are kept, which are copies of others, what is to be tried again, and the report."""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from emonet_lightning.packing.splits import near_duplicate_clusters
from emonet_lightning.synthesis.blocks import Kept, Todo, read_block
from emonet_lightning.synthesis.gates import NEAR_DUPLICATE, Gates

_TEXTS = ("id", "cell", "prompt", "keywords", "prompted")
_MAX_LEVELS = 100  # of a field whose levels the report counts


class Outcome(NamedTuple):
    """What the gates left after some rounds."""

    kept: list[Kept]
    """By row."""
    again: list[Todo]
    """Dropped in the last round, and may be tried once more."""
    dropped: list[dict[str, Any]]
    """Every image that was made and not kept."""


def judge(rounds: list[list[Path]], records: list[dict[str, Any]], gates: Gates) -> Outcome:
    """Find copies among all images that passed the other gates; a function of the images alone.

    Of images that are near duplicates of each other the first one stays, in the order of rounds and, in a round, of
    the design: what was kept in one round is kept in all later ones.

    Args:
        rounds: blocks of each round.
        records: the design.
        gates: what is a copy, and how often a prompt is tried.

    Returns:
        The outcome.
    """
    kept: list[Kept] = []
    again: list[Todo] = []
    dropped: list[dict[str, Any]] = []
    for paths in rounds:
        new = [Kept(path, made) for path in paths for made in read_block(path)]
        for _, made in new:
            name = records[made.row]["id"]
            dropped += [{"id": name, "attempt": a, "seed": s, "reason": reason} for a, s, reason in made.rejected]
        passed = [entry for entry in new if entry.made.size]
        copies = _copies(kept, passed, gates)
        again = []
        for entry, original in zip(passed, copies, strict=True):
            if original is None:
                kept.append(entry)
                continue
            made = entry.made
            told = {"id": records[made.row]["id"], "attempt": made.attempt, "seed": made.seed}
            dropped.append({**told, "reason": NEAR_DUPLICATE, "of": records[original]["id"]})
            if made.attempt + 1 < gates.attempts:
                again.append(Todo(made.row, made.attempt + 1))
    return Outcome(sorted(kept, key=lambda entry: entry.made.row), again, dropped)


def _copies(kept: list[Kept], new: list[Kept], gates: Gates) -> list[int | None]:
    """Row of the image that each new one is a copy of; None for those that are none."""
    if gates.near_duplicates == "keep" or not new:
        return [None] * len(new)
    every = [*kept, *new]
    hashes = np.array([int(entry.made.phash, 16) for entry in every], dtype=np.uint64)
    first = near_duplicate_clusters(hashes, gates.near_duplicate_distance)
    return [None if first[place] == place else every[first[place]].made.row for place in range(len(kept), len(every))]


def reasons_of(dropped: list[dict[str, Any]]) -> dict[str, int]:
    """Return how many images were dropped for which reason, by name."""
    return dict(sorted(Counter(str(entry["reason"]) for entry in dropped).items()))


def report(outcome: Outcome, records: list[dict[str, Any]], plan: dict[str, Any]) -> dict[str, Any]:
    """Return counts of what was made, kept and dropped, by reason and by the levels of the design's axes.

    The design is balanced, what is kept of it need not be: a pipeline may fail more often on some levels than on
    others, and that is seen here.
    """
    rows = {entry.made.row for entry in outcome.kept}
    lost = [record for row, record in enumerate(records) if row not in rows]
    by_id = {record["id"]: record for record in records}
    fields = [name for name in records[0] if name not in _TEXTS and isinstance(records[0][name], str)]
    levels: dict[str, Any] = {}
    for field in fields:
        asked = Counter(str(record.get(field)) for record in records)
        if not 1 < len(asked) <= _MAX_LEVELS:
            continue
        missing = Counter(str(record.get(field)) for record in lost)
        failed = Counter(str(by_id[entry["id"]].get(field)) for entry in outcome.dropped)
        levels[field] = {
            level: {"prompts": count, "kept": count - missing[level], "dropped_images": failed[level]}
            for level, count in sorted(asked.items())
        }
    return {
        "prompts": len(records),
        "images_made": len(rows) + len(outcome.dropped),
        "kept": len(rows),
        "kept_after_another_attempt": sum(entry.made.attempt > 0 for entry in outcome.kept),
        "prompts_without_image": len(lost),
        "dropped_images": reasons_of(outcome.dropped),
        "not_looked_at": [] if plan["gates"]["face_detector"] else ["faces (no --gates.face_detector)"],
        "levels": levels,
        "made_with": plan,
    }
