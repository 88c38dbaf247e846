"""What goes into a packed set: one sample, and the source of samples."""

import json
import re
from typing import NamedTuple, Protocol, runtime_checkable

from emonet_lightning.errors import DataError, nearest
from emonet_lightning.ratings.long_form import Kind
from emonet_lightning.taxonomy import Taxonomy

_KEY = re.compile(r"(?!__|\.)[^\s./\\\x00-\x1f\x7f][^./\\\x00-\x1f\x7f]*")
_MAX_KEY_BYTES = 200


class RawSample(NamedTuple):
    """One image as found, with all its answers."""

    key: str
    """Unique name, valid in a tar shard (see `normalise_key`)."""
    image: bytes
    """Encoded file as found: JPEG, PNG or WebP."""
    ratings: dict[str, dict[str, float]]
    """Rater -> {slug: value}; a yes is 1.0, a no 0.0; only answers really given."""
    prompted: str | None = None
    """Slug of the emotion that the generator was asked for."""
    group: str | None = None
    """Person or prompt; samples of one group never straddle splits."""
    split: str | None = None
    """Split that the sample must go to."""
    meta: dict[str, str | float | int] = {}  # noqa: RUF012  (never mutated)
    """Whatever else is known, kept in the sample's JSON."""


def ratings_line(key: str, ratings: dict[str, dict[str, float]]) -> bytes:
    """Return the canonical bytes of one sample's answers, over which `label_digest` runs."""
    return json.dumps([key, ratings], sort_keys=True, separators=(",", ":")).encode() + b"\n"


class Source(Protocol):
    """Random access to samples; picklable, so that any number of processes can pack it."""

    kind: Kind
    licence: str
    name: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> RawSample: ...


@runtime_checkable
class Fingerprinted(Protocol):
    """A source that tells cheaply whether it would yield the same samples again."""

    def fingerprint(self) -> str:
        """Hex digest of names, sizes and label files."""
        ...


def normalise_key(name: str) -> str:
    """Turn a file name or path (without its extension) into a key that tar shards and WebDataset keep whole.

    WebDataset cuts a member's name at the first dot and reads slashes as folders, so both are replaced: '/' and '\\'
    by '__', '.' and white space by '-'. The name as found belongs in `RawSample.meta`.

    Raises:
        DataError: nothing usable is left.
    """
    key = re.sub(r"[\x00-\x1f\x7f]", "", name)
    key = re.sub(r"[/\\]+", "__", key.strip("/\\ "))
    key = re.sub(r"[.\s]", "-", key).lstrip("_")
    check_key(key, name)
    return key


def check_key(key: str, where: str) -> None:
    """Refuse a key that a tar shard or WebDataset would change.

    Raises:
        DataError: empty, longer than 200 bytes, starting with '__', or holding dots, slashes or control characters.
    """
    if not _KEY.fullmatch(key) or len(key.encode(errors="surrogateescape")) > _MAX_KEY_BYTES:
        raise DataError(
            f"{where}: {key!r} cannot be a sample's key; use 1 to {_MAX_KEY_BYTES} bytes "
            "without dots, slashes or control characters, not starting with '__'"
        )
    try:
        key.encode()
    except UnicodeEncodeError:
        raise DataError(f"{where}: {key!r} is not valid Unicode; rename the file") from None


def check_sample(sample: RawSample, kind: Kind, taxonomy: Taxonomy) -> None:
    """Refuse a sample whose key, emotions or values do not fit.

    Raises:
        DataError: names the sample, the rater and the emotion.
    """
    check_key(sample.key, f"sample {sample.key!r}")
    bounds = {d.slug: (d.low, d.high) for d in taxonomy.dimensions}
    if sample.prompted is not None and sample.prompted not in bounds:
        raise DataError(f"sample '{sample.key}': unknown prompted emotion; {nearest(sample.prompted, bounds)}")
    if kind == "dense" and len(sample.ratings) > 1:
        raise DataError(f"sample '{sample.key}': {len(sample.ratings)} raters in a dense set; pack it as kind 'rated'")
    for rater, answers in sample.ratings.items():
        for slug, value in answers.items():
            if slug not in bounds:
                raise DataError(f"sample '{sample.key}', rater '{rater}': unknown '{slug}'; {nearest(slug, bounds)}")
            low, high = (0.0, 1.0) if kind == "binary" else bounds[slug]
            if not low <= value <= high or (kind == "binary" and value not in (0, 1)):  # NaN is in no range
                allowed = "0 or 1" if kind == "binary" else f"{low:g} to {high:g}"
                raise DataError(
                    f"sample '{sample.key}', rater '{rater}', emotion '{slug}': value {value} is not {allowed}; "
                    "correct it, or use a taxonomy with other levels"
                )


def stratum(sample: RawSample) -> str | None:
    """Return the slug that splits are stratified by: the prompted emotion, else the one rated highest on average."""
    if sample.prompted is not None:
        return sample.prompted
    values: dict[str, list[float]] = {}
    for answers in sample.ratings.values():
        for slug, value in answers.items():
            values.setdefault(slug, []).append(value)
    means = {slug: sum(given) / len(given) for slug, given in values.items()}
    best = max(means, key=lambda slug: (means[slug], slug), default=None)
    return best if best is not None and means[best] > 0 else None
