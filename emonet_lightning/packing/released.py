"""Parquet sets of images and annotations: the three released ones as Hugging Face stores them, and sets like them."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as arrow

from emonet_lightning.errors import DataError, nearest
from emonet_lightning.io import fingerprint, sha256_bytes
from emonet_lightning.packing.folders import answers_of, ratings_fingerprint, unique_keys
from emonet_lightning.packing.samples import RawSample
from emonet_lightning.ratings.answers import GENERATED, Answers, check_kind, parse_answers
from emonet_lightning.ratings.classes import class_answers, class_emotions
from emonet_lightning.ratings.long_form import Kind, Ratings
from emonet_lightning.ratings.parquet_rows import ParquetRows
from emonet_lightning.taxonomy import Taxonomy

ROLES = {
    "image": ("image", "path", "img", "jpg", "picture"),
    "annotations": ("annotations", "label", "labels", "ratings", "emotions"),
    "prompted": ("emotion", "Emotion"),
}
"""Column names recognised for each role, unless `columns` names another."""
_PROMPT = re.compile(r"(?:experienc(?:e|es|ing)|expression of|feeling)\s+([^,.]+)", re.IGNORECASE)


class JoinedRatings(NamedTuple):
    """Ratings from a label file for a set that holds only the images."""

    ratings: Ratings
    """`row` counts the set's rows."""
    kind: Kind


class ParquetSource:
    """Source over Parquet files that hold images."""

    def __init__(
        self,
        rows: ParquetRows,
        taxonomy: Taxonomy,
        columns: dict[str, str],
        *,
        name: str,
        licence: str,
        kind: Kind | None = None,
        classes: dict[str, str] | None = None,
        group: list[str] | None = None,
        names: dict[int, str] | None = None,
        joined: JoinedRatings | None = None,
    ) -> None:
        """Find the columns and name the images.

        Args:
            rows: of the files.
            taxonomy: columns of the ratings.
            columns: the set's names for `image`, `annotations`, `prompted`, `split` and `key` (`row` numbers the keys);
                `none` as a name leaves the role out.
            name: of the set.
            licence: of the set.
            kind: instead of the one that the first row shows.
            classes: class name -> emotion, where the annotations are class labels.
            group: columns whose values together name a group.
            names: row -> file name, where the set has lost it.
            joined: ratings from elsewhere.

        Raises:
            DataError: an unknown layout; lists the columns found.
        """
        self.rows = rows
        self.taxonomy = taxonomy
        self.name = name
        self.licence = licence
        self._group = group or []
        self._classes = classes or {}
        self._joined = joined
        self._kind_given = kind is not None
        self._starts = np.empty(0) if joined is None else np.searchsorted(joined.ratings.row, np.arange(len(rows) + 1))
        self._find_roles(columns)
        self.keys, self.file_names = self._make_keys(columns, names)
        self.kind: Kind = kind or (joined.kind if joined else self._answers(rows[0], 0).kind)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> RawSample:
        record = self.rows[index]
        where = self._where(index)
        if self._joined is not None:
            ratings = answers_of(self._joined.ratings, self._starts, index)
        else:
            answers = self._answers(record, index)
            if not self._kind_given:
                check_kind(answers, self.kind, where)
            ratings = answers.ratings
        facts = self._facts(record)
        for column in self._group:
            if column not in facts:
                raise DataError(f"{where}: no column '{column}' to group by; {nearest(column, facts)}")
        group = "/".join(str(facts[column]) for column in self._group if facts[column] not in (None, ""))
        return RawSample(
            key=self.keys[index],
            image=self._image_bytes(record, where),
            ratings=ratings,
            prompted=self._prompted_slug(facts, where),
            group=group or None,
            split=str(facts[self._split]) if self._split else None,
            meta={
                **{name: value for name, value in facts.items() if isinstance(value, str | int | float)},
                "file": self.file_names[index],
                "row": index,
            },
        )

    def fingerprint(self) -> str:
        """Digest of the files' footers, of the roles of columns, and of joined ratings."""
        joined = "" if self._joined is None else ratings_fingerprint(self._joined.ratings)
        roles = [self._image, self._annotations, self._prompted, self._split, self._group, self._wide, self._classes]
        return fingerprint([self.rows.footers, roles, sha256_bytes("\n".join(self.keys).encode()), joined])

    def _find_roles(self, columns: dict[str, str]) -> None:
        schema = self.rows.schema
        for role, column in columns.items():
            if column not in (*schema.names, "none", "row"):
                raise DataError(
                    f"{self.rows.files[0]}: no column '{column}' (given as columns.{role}); "
                    f"{nearest(column, schema.names)}"
                )

        def pick(role: str, fits: Callable[[arrow.DataType], bool]) -> str | None:
            if role in columns:
                return None if columns[role] == "none" else columns[role]
            return next((c for c in ROLES[role] if c in schema.names and fits(schema.field(c).type)), None)

        image = pick("image", _is_image)
        if image is None or not _is_image(schema.field(image).type):
            raise self._unknown_layout("image")
        self._image = image
        self._split = columns.get("split")
        self._wide: dict[str, str] = {}
        self._annotations = None if self._joined else pick("annotations", lambda kind: not arrow.types.is_integer(kind))
        if self._annotations is None and self._joined is None and columns.get("annotations") != "none":
            if "label" in self.rows.class_names:
                self._annotations = "label"
            else:
                self._wide = self._emotion_columns()
        self._prompted = pick("prompted", lambda kind: True)
        if self._prompted in self._wide:
            self._prompted = None

    def _emotion_columns(self) -> dict[str, str]:
        wide = {}
        for field in self.rows.schema:
            if arrow.types.is_integer(field.type) or arrow.types.is_floating(field.type):
                try:
                    wide[field.name] = self.taxonomy.slugs[self.taxonomy.index(field.name)]
                except DataError:
                    continue
        if not wide:
            raise self._unknown_layout("annotations")
        return wide

    def _unknown_layout(self, role: str) -> DataError:
        return DataError(
            f"{self.rows.files[0]}: unknown layout, no column for '{role}'; columns found: "
            f"{self.rows.columns_found()}; name it with --columns.{role}=NAME"
        )

    def _make_keys(self, columns: dict[str, str], names: dict[int, str] | None) -> tuple[list[str], list[str]]:
        numbers = [f"{row:06d}" for row in range(len(self.rows))]
        files, key = numbers, columns.get("key")
        kind = self.rows.schema.field(self._image).type
        if names is not None:
            if missing := [row for row in range(len(self.rows)) if row not in names]:
                raise DataError(f"{self.rows.files[0]}: the index map names no file for row {missing[0]}")
            files = [names[row] for row in range(len(self.rows))]
        elif key is not None and key not in ("row", "none"):
            files = [str(value) for value in self.rows.column(key)]
        elif key is None and arrow.types.is_struct(kind) and kind.get_field_index("path") >= 0:
            stored = self.rows.column(f"{self._image}.path")
            files = [path or number for path, number in zip(stored, numbers, strict=True)]
        stems = [re.sub(r"\.\w{2,5}$", "", file) for file in files]
        try:
            return unique_keys(stems, files, str(self.rows.files[0])), files
        except DataError as error:
            raise DataError(f"{error}, or set --columns.key=COLUMN (--columns.key=row numbers the rows)") from None

    def _answers(self, record: dict[str, Any], index: int) -> Answers:
        where = self._where(index)
        if self._annotations is None:
            return parse_answers({name: record[name] for name in self._wide}, self.taxonomy, where)
        value = record[self._annotations]
        if value is None:
            raise DataError(f"{where}: image without label: column '{self._annotations}' is empty")
        if self._annotations in self.rows.class_names:
            names = self.rows.class_names[self._annotations]
            emotions = class_emotions(names, self.taxonomy, self._classes, str(self.rows.files[0]))
            if not 0 <= value < len(names):
                raise DataError(f"{where}: class {value} of column '{self._annotations}' has no name in the file")
            return Answers("dense", {GENERATED: class_answers(names[value], emotions, self.taxonomy)})
        return parse_answers(value, self.taxonomy, where)

    def _image_bytes(self, record: dict[str, Any], where: str) -> bytes:
        value = record[self._image]
        content = value.get("bytes") if isinstance(value, dict) else value
        if not content:
            raise DataError(f"{where}: column '{self._image}' holds no image bytes; take a set that embeds its images")
        return content

    def _facts(self, record: dict[str, Any]) -> dict[str, Any]:
        """Everything but image and ratings, classes by name, fields of structs (`demographics`) lifted to the top."""
        facts: dict[str, Any] = {}
        for name, value in record.items():
            if name in (self._image, self._annotations) or name in self._wide:
                continue
            names = self.rows.class_names.get(name)
            if names is not None and value is not None:
                value = names[value] if 0 <= value < len(names) else None
            if isinstance(value, dict):
                facts.update({inner: found for inner, found in value.items() if inner not in record})
            else:
                facts[name] = value
        return facts

    def _prompted_slug(self, facts: dict[str, Any], where: str) -> str | None:
        value = facts.get(self._prompted) if self._prompted else None
        if isinstance(value, str) and value:
            return self.taxonomy.slugs[self.taxonomy.index(value, f"{where}, column '{self._prompted}'")]
        if value not in (None, ""):
            raise DataError(
                f"{where}: column '{self._prompted}' holds class numbers and the file does not name the classes; "
                "set --columns.prompted=none"
            )
        prompt = next((facts[name] for name in ("prompt", "Prompt") if isinstance(facts.get(name), str)), "")
        return prompted_from_text(prompt, self.taxonomy)

    def _where(self, index: int) -> str:
        return f"{self.rows.file_of(index)}, row {index} ('{self.file_names[index]}')"


def prompted_from_text(prompt: str, taxonomy: Taxonomy) -> str | None:
    """Recover the emotion that a released prompt asks for: the one whose first keyword opens its keyword list."""
    first = {d.keywords[0].casefold(): d.slug for d in taxonomy.dimensions if d.keywords}
    for found in _PROMPT.finditer(prompt):
        if (slug := first.get(found[1].strip().casefold())) is not None:
            return slug
    return None


def _is_image(kind: arrow.DataType) -> bool:
    if arrow.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return arrow.types.is_binary(kind) or arrow.types.is_large_binary(kind)
