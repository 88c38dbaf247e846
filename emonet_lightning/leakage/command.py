"""`verify --leaks`: the audit, its report, and its verdict as an exit code."""

import csv
import io
from pathlib import Path
from typing import Any

from rich.console import Console

from emonet_lightning.encoders import EncoderSpec
from emonet_lightning.errors import DataError
from emonet_lightning.io import atomic_write, make_folder, write_json
from emonet_lightning.leakage.audit import run_audit

RESULT_FILE, TABLE_FILE = "leaks.json", "leaks.csv"
COLUMNS = (
    "first_set", "first", "first_split", "second_set", "second", "second_split", "kind", "score", "scale", "shift",
    "hash_distance", "feature_similarity", "across_test_boundary",
)  # fmt: skip


def audit_leaks(paths: list[str], out: str | None, encoder: EncoderSpec | None, seed: int, progress: bool) -> None:
    """Compare two sets, or the splits of one, print what they share, and write a report if a folder is given.

    Raises:
        MissingInputError: no such set, no images in it, or nothing to compare.
        DataError: an image that cannot be read; or, once all is written, images shared across a test boundary.
        OutputError: the folder cannot be written.
    """
    from emonet_lightning.reporting.leaks_report import console_table, write_report

    folder = None if out is None else make_folder(out)
    found = run_audit(paths, encoder=encoder, seed=seed, progress=progress)
    content = found.content
    console = Console(soft_wrap=True)
    if folder is not None:
        write_json(folder / RESULT_FILE, content)
        write_table(folder / TABLE_FILE, content)
        write_report(folder, content, found.sets)
    console.print(console_table(content))
    if folder is not None:
        console.print(f"{folder / 'leaks.md'}, {folder / RESULT_FILE}", highlight=False, markup=False)
    leaks = content["leaks"]
    if leaks["num_pairs"]:
        pair = content["pairs"][0]
        names = " and ".join(dict.fromkeys(f"'{each['name']}'" for each in content["sets"]))
        where = f"{folder / TABLE_FILE} lists them" if folder is not None else "list them with --out DIR"
        raise DataError(
            f"{names}: {leaks['num_pairs']} pairs of copies across a test boundary, e.g. '{pair['first']['key']}' and "
            f"'{pair['second']['key']}' ({pair['kind']}); {where}; leave these images out of training and pack again"
        )


def write_table(path: Path, content: dict[str, Any]) -> None:
    """Write all pairs as CSV, those across a test boundary first."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(COLUMNS)
    for pair in content["pairs"]:
        ends = [
            value
            for side in ("first", "second")
            for value in (content["sets"][pair[side]["set"]]["name"], pair[side]["key"], pair[side]["split"])
        ]
        writer.writerow([*ends, *(pair[column] for column in COLUMNS[6:])])
    atomic_write(path, stream.getvalue())
