"""Packed sets whose files fit each other's digests and are wrong all the same: each fault is one line that names it."""

import json
from pathlib import Path

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from toy_faces import Listed, encoded, pack_toy

from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.io import sha256_bytes, sha256_file
from emonet_lightning.packing.shards import PackedSet, RawSample


def rewrite(folder: Path, edit) -> None:
    """Change a manifest and make its digest anew, as a program that knows the format would."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["sha256"]
    changed = edit(manifest)
    body = json.dumps(manifest if changed is None else changed)
    body = body[:-1] + ', "sha256": "' if body.startswith("{") else body[:-1] + ', {"sha256": "'
    path.write_text(f'{body}{sha256_bytes(body.encode())}"}}' + ("" if body.startswith("{") else "]"))


def give_ratings(folder: Path, table: arrow.Table) -> None:
    """Put another file of ratings into a set, whose manifest says so."""
    parquet.write_table(table, folder / "ratings.parquet")
    digest = sha256_file(folder / "ratings.parquet")
    rewrite(folder, lambda manifest: manifest["ratings"].update(sha256=digest))


def putting(field: str, value: object):
    """An edit that puts a value into a field; `...` removes the field."""

    def edit(manifest):
        *path, last = [int(part) if part.isdigit() else part for part in field.split(".")]
        for part in path:
            manifest = manifest[part]
        if value is ...:
            del manifest[last]
        else:
            manifest[last] = value

    return edit


_LACKING = (
    "name",
    "kind",
    "licence",
    "sealed",
    "num_samples",
    "digest",
    "label_digest",
    "splits",
    "taxonomy",
    "ratings",
    "shards",
    "index",
    "index.key",
    "index.image_sha256",
    "index.phash",
    "index.split",
    "index.group",
    "index.json_bytes",
    "ratings.sha256",
    "ratings.raters",
    "ratings.slugs",
    "ratings.file",
    "taxonomy.name",
    "taxonomy.digest",
    "taxonomy.num_emotions",
    "taxonomy.dimensions",
    "taxonomy.dimensions.2.slug",
    "shards.1.n",
    "shards.1.sha256",
)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[(field, ...) for field in _LACKING],
        ("name", 3),
        ("kind", "vague"),
        ("licence", "\ud800"),
        ("sealed", "no"),
        ("num_samples", 60.0),
        ("num_samples", True),
        ("splits", [["train", "val"]]),
        ("splits", {"train": 60}),
        ("splits.train", "many"),
        ("taxonomy", "emonet40"),
        ("taxonomy.num_emotions", 41),
        ("taxonomy.dimensions.3", "awe"),
        ("taxonomy.dimensions.3.high", "7"),
        ("inputs", 1),
        ("ratings", []),
        ("ratings.raters", "generated"),
        ("ratings.raters", [1]),
        ("ratings.slugs", ["awe"]),
        ("ratings.silent", [[0, 5]]),
        ("ratings.silent", [[0.5, 0]]),
        ("shards", {}),
        ("shards", []),
        ("shards.0", "shard-000000.tar"),
        ("shards.0.n", -1),
        ("shards.0.bytes", 2**70),
        ("index", []),
        ("index.phash", ["zz"] * 60),
        ("index.phash.4", None),
        ("index.key.4", 4),
        ("index.key.4", "a\nb"),
        ("index.group.4", 4),
        ("index.prompted.4", "hunger"),
        ("index.split.4", None),
        ("index.split.4", "tset"),
        ("index.shard.4", 0.0),
        ("index.image_sha256.4", "zz"),
        ("index.json_sha256.4", None),
        ("index.image_offset.4", 512.0),
        ("index.image_offset.4", 2**63 - 1),
        ("index.image_offset.4", 2**70),
        ("index.image_bytes.4", True),
    ],
)
def test_a_manifest_with_a_field_missing_or_of_another_type_is_one_line_that_names_it(copied, field, value):
    rewrite(copied, putting(field, value))
    with pytest.raises(DataError, match=r"manifest\.json: not a manifest that `pack` wrote \(") as caught:
        PackedSet.open(copied)
    assert "\n" not in str(caught.value)
    told = str(caught.value).partition("wrote (")[2]
    assert told.startswith((field.partition(".")[0], "splits"))
    assert value is not ... or f"{field.split('.')[-1]}: is missing" in told


def test_a_manifest_that_is_a_list_or_goes_on_after_its_digest_is_refused(copied):
    text = (copied / "manifest.json").read_text()
    rewrite(copied, lambda manifest: [manifest])
    with pytest.raises(DataError, match=r"manifest\.json: "):
        PackedSet.open(copied)
    (copied / "manifest.json").write_text(text.rstrip()[:-1] + ', "sealed": true}')
    with pytest.raises(DataError, match="content changed"):
        PackedSet.open(copied)
    body = '[{"sha256": "'
    (copied / "manifest.json").write_text(f'{body}{sha256_bytes(body.encode())}"}}]')
    with pytest.raises(DataError, match=r"manifest\.json: "):
        PackedSet.open(copied)


def test_a_manifest_without_what_packing_again_needs_is_opened_and_is_no_set_to_go_on_with(copied):
    rewrite(copied, putting("inputs", ...))
    assert PackedSet.open(copied).num_samples == 60
    with pytest.raises(UsageError, match="already holds the packed set 'toy'"):
        pack_toy(copied)


@pytest.mark.parametrize("name", ["row", "rater", "slug", "value"])
def test_a_file_of_ratings_that_is_another_table_is_refused(copied, name):
    path = copied / "ratings.parquet"
    good = parquet.read_table(path)
    column = good.schema.get_field_index(name)
    wrong = [float("nan")] if name == "value" else [-1, 60 if name == "row" else 40]
    tables = [good.drop_columns([name]), good.append_column(name, good[name])]
    tables.append(good.set_column(column, name, good[name].cast("string")))
    for value in (None, *wrong):
        values = [value, *good[name].to_pylist()[1:]]
        tables.append(good.set_column(column, name, arrow.array(values, good[name].type)))
    for table in tables:
        give_ratings(copied, table)
        with pytest.raises(DataError, match=rf"ratings\.parquet: .*'{name}'.*; pack the set again") as caught:
            PackedSet.open(copied).ratings()
        assert "\n" not in str(caught.value)
        with pytest.raises(DataError, match=r"ratings\.parquet: .*; copy it again, or pack the set again"):
            PackedSet.open(copied).verify(progress=False)


def test_a_file_of_ratings_that_is_no_table_is_refused(copied):
    (copied / "ratings.parquet").write_bytes(b"PAR1 and nothing")
    digest = sha256_file(copied / "ratings.parquet")
    rewrite(copied, putting("ratings.sha256", digest))
    with pytest.raises(DataError, match=r"ratings\.parquet: not a Parquet file"):
        PackedSet.open(copied).ratings()


def test_verify_finds_ratings_that_are_not_those_of_the_records(packed, copied):
    good = parquet.read_table(copied / "ratings.parquet")
    value = good["value"].to_pylist()
    value[6] += 1  # one answer, of the fourth sample
    slug = good["slug"].to_pylist()
    slug[8] = 39
    changed = good.set_column(3, "value", arrow.array(value, "float32"))
    changed = changed.set_column(2, "slug", arrow.array(slug, "int16"))
    give_ratings(copied, changed)
    with pytest.raises(DataError, match=r"ratings\.parquet: answers are not those .* of sample 'face\d+'") as caught:
        PackedSet.open(copied).verify(progress=False)
    wrong = {packed.keys[good["row"][cell].as_py()] for cell in (6, 8)}
    assert {problem.sample for problem in caught.value.problems} == wrong
    for table in (good.slice(1), arrow.concat_tables([good, good.slice(0, 1)])):  # one too few, one twice
        give_ratings(copied, table)
        with pytest.raises(DataError, match="'face000'; pack the set again"):
            PackedSet.open(copied).verify(progress=False)
    give_ratings(copied, good)
    PackedSet.open(copied).verify(progress=False)
    rewrite(copied, putting("ratings.silent", [[5, 0]]))
    with pytest.raises(DataError, match="of sample 'face005'"):
        PackedSet.open(copied).verify(progress=False)


def test_raters_who_answered_nothing_are_compared_too(tmp_path):
    samples = [RawSample(f"k{n}", encoded(n), {"a": {"awe": 3.0} if n else {}, "b": {}}) for n in range(3)]
    whole = pack_toy(tmp_path, Listed(*samples, kind="rated"), splits=None)
    assert whole.verify(progress=False).problems == []
    rewrite(tmp_path, putting("ratings.silent", [[0, 0], [0, 1], [1, 1]]))
    with pytest.raises(DataError, match="of sample 'k2'"):
        PackedSet.open(tmp_path).verify(progress=False)
