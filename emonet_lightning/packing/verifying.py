"""verify: reads a packed set back and finds everything that is wrong with it, not only the first of it."""

import hashlib
import time
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from emonet_lightning.errors import DataError, EmoNetError
from emonet_lightning.io import sha256_file
from emonet_lightning.packing.ratings_file import RecordedAnswers
from emonet_lightning.packing.samples import ratings_line
from emonet_lightning.progress import progress_bar

COPY_SHARD = "copy the shard again, or pack the set again"


class Readable(Protocol):
    """What is read of a packed set."""

    path: Path
    name: str
    manifest: dict[str, Any]
    num_samples: int
    label_digest: str
    keys: list[str]

    def read_image(self, row: int) -> bytes:
        """Return the encoded image of a row."""

    def read_record(self, row: int) -> dict[str, Any]:
        """Return the JSON of a row."""

    def ratings(self) -> Any:
        """Return all answers."""

    def shard_of(self, row: int) -> str:
        """Return the file that holds a row."""


class Problem(NamedTuple):
    """Something that is wrong with a packed set."""

    file: str
    sample: str
    """Key of the sample; empty where the whole file is meant."""
    wrong: str
    remedy: str


class VerifyReport(NamedTuple):
    """What was read, and what is wrong with it."""

    num_samples: int
    num_shards: int
    num_bytes: int
    seconds: float
    problems: list[Problem]


class DamagedSet(DataError):
    """A packed set with problems: the first one, how many there are, and all of them."""

    def __init__(self, packed: Readable, problems: list[Problem]) -> None:
        first = problems[0]
        of = f" of sample '{first.sample}'" if first.sample else ""
        more = f" ({len(problems)} problems in all)" if len(problems) > 1 else ""
        super().__init__(f"{packed.path / first.file}: {first.wrong}{of}; {first.remedy}{more}")
        self.problems = problems


def inspect_set(packed: Readable, progress: bool = True) -> VerifyReport:
    """Read every shard, image, record and rating, and compare it with the manifest.

    Args:
        packed: the set.
        progress: show a progress bar.

    Returns:
        Counts, and every problem in the order of the shards.
    """
    started, num_bytes, row = time.monotonic(), 0, 0
    problems: list[Problem] = []
    labels, complete = hashlib.sha256(), True
    answers, unreadable = _answers(packed)
    differing: list[Problem] = []
    with progress_bar(f"verifying {packed.name}", packed.num_samples, "images", progress) as advance:
        for shard in packed.manifest["shards"]:
            path = packed.path / shard["file"]
            rows = range(row, row + shard["n"])
            row += shard["n"]
            if not path.is_file():
                wrong = f"shard is missing, with {shard['n']} samples"
                problems.append(Problem(path.name, "", wrong, "copy it back, or pack the set again"))
                complete = False
                advance(len(rows))
                continue
            num_bytes += shard["bytes"]
            before = len(problems)
            for each in rows:
                whole = _check_sample(packed, each, labels, answers, problems, differing)
                complete = complete and whole
                advance(1)
            try:
                changed = sha256_file(path) != shard["sha256"]
            except OSError as error:
                problems.append(Problem(path.name, "", f"cannot be read ({error.strerror})", COPY_SHARD))
                continue
            if changed and len(problems) == before:
                wrong = "content changed since it was packed, outside the samples"
                problems.append(Problem(path.name, "", wrong, COPY_SHARD))
    if complete and labels.hexdigest() != packed.label_digest:
        wrong = "the records' ratings are not those that were packed"
        problems.append(Problem("manifest.json", "", wrong, "pack the set again"))
    problems += unreadable + differing
    known = {shard["file"] for shard in packed.manifest["shards"]}
    problems += [
        Problem(file.name, "", "not part of the packed set", "move it elsewhere")
        for file in sorted(packed.path.glob("*.tar"))
        if file.name not in known
    ]
    seconds = time.monotonic() - started
    return VerifyReport(packed.num_samples, len(known), num_bytes, seconds, problems)


def _answers(packed: Readable) -> tuple[RecordedAnswers | None, list[Problem]]:
    """Read the long form of the ratings; None where it cannot be, and why."""
    try:
        return RecordedAnswers(packed.ratings()), []
    except EmoNetError as error:
        wrong = str(error).removeprefix(f"{packed.path / 'ratings.parquet'}: ").partition(";")[0]
        return None, [Problem("ratings.parquet", "", wrong, "copy it again, or pack the set again")]


def _check_sample(
    packed: Readable,
    row: int,
    labels: "hashlib._Hash",
    answers: RecordedAnswers | None,
    problems: list[Problem],
    differing: list[Problem],
) -> bool:
    """Read a sample; whether its record could be read. Ratings that are not the record's go into `differing`."""
    key = packed.keys[row]
    for what in ("image", "JSON"):
        try:
            if what == "image":
                packed.read_image(row)
                continue
            recorded = packed.read_record(row).get("ratings")
            labels.update(ratings_line(key, recorded))  # type: ignore[arg-type]  # whatever it is, it is compared
            if answers is not None and not answers.agree(row, recorded):
                wrong = "answers are not those in the shard's record"
                differing.append(Problem("ratings.parquet", key, wrong, "pack the set again"))
        except EmoNetError as error:
            wrong = f"{what} is damaged" if isinstance(error, DataError) else f"{what}: {error}"
            problems.append(Problem(packed.shard_of(row), key, wrong, COPY_SHARD))
            if what == "JSON":
                return False
    return True
