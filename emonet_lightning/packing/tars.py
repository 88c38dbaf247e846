"""Tar files of images with a JSON each (the layout of WebDataset) as a source; members are read in place."""

import hashlib
import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from emonet_lightning.errors import DataError, nearest
from emonet_lightning.io import fingerprint
from emonet_lightning.packing.folders import unique_keys
from emonet_lightning.packing.released import ROLES, prompted_from_text
from emonet_lightning.packing.samples import RawSample
from emonet_lightning.packing.tar_members import index_tar
from emonet_lightning.ratings.answers import Answers, check_kind, parse_answers
from emonet_lightning.ratings.long_form import Kind
from emonet_lightning.taxonomy import Taxonomy


class Member(NamedTuple):
    """Where one image and its JSON lie."""

    tar: int
    name: str
    image_offset: int
    image_bytes: int
    json_offset: int
    json_bytes: int


class TarSource:
    """Source over tar files; each sample is `NAME.jpg` (or png, webp) beside `NAME.json`."""

    def __init__(
        self,
        files: list[Path],
        taxonomy: Taxonomy,
        columns: dict[str, str],
        *,
        name: str,
        licence: str,
        kind: Kind | None = None,
        group: list[str] | None = None,
    ) -> None:
        """Index the members.

        Args:
            files: uncompressed tar files, in order.
            taxonomy: columns of the ratings.
            columns: names in the JSON for `annotations` and `prompted`.
            name: of the set.
            licence: of the set.
            kind: instead of the one that the first sample shows.
            group: fields of the JSON whose values together name a group.

        Raises:
            DataError: damaged, compressed, an image without JSON or the reverse, or a name given twice.
        """
        self.files = files
        self.taxonomy = taxonomy
        self.name = name
        self.licence = licence
        self._columns = columns
        self._group = group or []
        self._kind_given = kind is not None
        self.members = [
            Member(number, sample.name, *sample.image, *sample.json)
            for number, file in enumerate(files)
            for sample in index_tar(file)
        ]
        if not self.members:
            raise DataError(f"{files[0]}: no image with a JSON in it")
        names = [member.name for member in self.members]
        places = [f"{files[m.tar]}: {m.name}" for m in self.members]
        self.keys = unique_keys(names, places, self.name)
        self.kind: Kind = kind or self._answers(0, self._record(0)).kind

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, index: int) -> RawSample:
        member = self.members[index]
        record = self._record(index)
        facts = {**{k: v for k, v in record.items() if not isinstance(v, dict)}, **_inner(record)}
        for field in self._group:
            if field not in facts:
                raise DataError(f"{self._where(index)}: no field '{field}' to group by; {nearest(field, facts)}")
        group = "/".join(str(facts[field]) for field in self._group if facts[field] not in (None, ""))
        answers = self._answers(index, record)
        if not self._kind_given:
            check_kind(answers, self.kind, self._where(index))
        asked = self._columns.get("prompted", "prompted" if facts.get("prompted") else "emotion")
        prompted = facts.get(asked)
        return RawSample(
            key=self.keys[index],
            image=self._read(index, member.image_offset, member.image_bytes),
            ratings=answers.ratings,
            prompted=self.taxonomy.slugs[self.taxonomy.index(prompted, self._where(index))]
            if isinstance(prompted, str) and prompted
            else prompted_from_text(str(facts.get("prompt", "")), self.taxonomy),
            group=group or None,
            meta={
                **{name: value for name, value in facts.items() if isinstance(value, str | int | float)},
                "file": member.name,
            },
        )

    def fingerprint(self) -> str:
        """Digest of names, places and sizes of all members, and of what the JSONs say: a label may change in place."""
        said = hashlib.sha256()
        for tar, members in itertools.groupby(self.members, key=lambda member: member.tar):
            with self.files[tar].open("rb") as stream:
                for member in members:
                    stream.seek(member.json_offset)
                    said.update(stream.read(member.json_bytes))
        names = [file.name for file in self.files]
        return fingerprint([names, self.members, self._columns, self._group, said.hexdigest()])

    def _record(self, index: int) -> dict[str, Any]:
        member = self.members[index]
        content = self._read(index, member.json_offset, member.json_bytes)
        try:
            record = json.loads(content, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{self._where(index)}: not valid JSON ({error})") from error
        if not isinstance(record, dict):
            raise DataError(f"{self._where(index)}: a JSON object is needed, not {type(record).__name__}")
        return record

    def _answers(self, index: int, record: dict[str, Any]) -> Answers:
        where = self._where(index)
        named = self._columns.get("annotations")
        if named is not None and named not in record:
            raise DataError(f"{where}: no field '{named}' (given as columns.annotations); {nearest(named, record)}")
        field = named or next((name for name in ROLES["annotations"] if name in record), None)
        if field not in (None, "emotions"):
            return parse_answers(record[field], self.taxonomy, where)
        try:
            if field is None and any(isinstance(v, dict) and "rating" not in v for v in record.values()):
                raise DataError("no annotations")
            return parse_answers(record, self.taxonomy, where)
        except DataError as error:
            raise DataError(
                f"{where}: unknown layout; fields found: {', '.join(record)}; name the annotations with "
                "--columns.annotations=NAME"
            ) from error

    def _read(self, index: int, offset: int, size: int) -> bytes:
        with self.files[self.members[index].tar].open("rb") as stream:
            stream.seek(offset)
            content = stream.read(size)
        if len(content) != size:
            raise DataError(f"{self._where(index)}: the file ends early; fetch it again")
        return content

    def _where(self, index: int) -> str:
        member = self.members[index]
        return f"{self.files[member.tar]}, sample '{member.name}'"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that is there twice: which of its values is meant?"""
    found = dict(pairs)
    if len(found) < len(pairs):
        name = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"key '{name}' is there twice")
    return found


def _inner(record: dict[str, Any]) -> dict[str, Any]:
    """Fields of `demographics` and `meta`, lifted to the top."""
    return {
        name: value
        for struct in ("demographics", "meta")
        if isinstance(record.get(struct), dict)
        for name, value in record[struct].items()
    }
