"""Designs of prompts: balanced in any size, the same for the same seed, and errors that name what is wrong."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emonet_lightning.cli import main
from emonet_lightning.errors import DataError
from emonet_lightning.synthesis.balance import balanced_levels, measure
from emonet_lightning.synthesis.prompt_axes import load_prompts
from emonet_lightning.synthesis.prompts import attempt_seed, image_seed, make_design, read_prompts, write_design
from emonet_lightning.taxonomy import Taxonomy

SHIPPED = [40, 14, 7, 3]


@pytest.fixture(scope="module")
def spec():
    return load_prompts(Taxonomy.load("emonet40"))


def spreads(sizes, num, seed=0):
    levels = balanced_levels(sizes, num, seed)
    assert levels.shape == (num, len(sizes))
    return measure(levels, [str(axis) for axis in range(len(sizes))], sizes)


def uneven(sizes, num, seed=0):
    return [spread.axes for spread in spreads(sizes, num, seed) if not spread.is_best]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(1, 400), st.integers(0, 2**32))
def test_up_to_three_axes_are_balanced_in_every_size(sizes, num, seed):
    assert uneven(sizes, num, seed) == []


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 30_000), st.integers(0, 2**32))
def test_the_shipped_axes_are_balanced_in_every_size(num, seed):
    assert uneven(SHIPPED, num, seed) == []


@pytest.mark.parametrize("num", [1, 39, 98, 560, 1680, 5880, 11_759, 11_760, 11_761, 203_201])
def test_the_shipped_axes_are_balanced_where_it_is_tightest(num):
    found = spreads(SHIPPED, num)
    assert len(found) == 4 + 6 + 1
    assert all(spread.is_best and spread.largest - spread.smallest <= 1 for spread in found)


def test_measured_balance_is_that_of_a_count_by_hand():
    levels = np.array([[0, 0], [0, 1], [1, 0], [1, 0], [1, 0]])
    first, second, both = measure(levels, ["a", "b"], [2, 2])
    assert (first.smallest, first.largest, first.deviation, first.least_deviation, first.is_best) == (
        2,
        3,
        0.5,
        0.5,
        True,
    )
    assert (second.smallest, second.largest, second.is_best) == (1, 4, False)
    assert (both.smallest, both.largest, both.deviation, both.least_deviation) == (0, 3, 1.75, 0.75)


def test_where_no_balanced_design_exists_axes_are_even_and_the_miss_is_reported():
    """Four factors of two levels in four rows: only three columns are orthogonal."""
    found = spreads([2, 2, 2, 2], 4)
    assert all(spread.is_best for spread in found if len(spread.axes) == 1)
    missed = [spread for spread in found if len(spread.axes) == 2 and not spread.is_best]
    assert len(missed) == 1
    assert missed[0].deviation == 1


def test_a_design_is_a_function_of_its_seed_and_its_digest_of_its_lines(spec, tmp_path):
    files = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        files.append(tmp_path / f"{name}.jsonl")
        write_design(make_design(spec, 500, seed), files[-1])
    assert files[0].read_bytes() == files[1].read_bytes()
    read, other = read_prompts(files[0]), read_prompts(files[2])
    assert {record["id"] for record in read.records} != {record["id"] for record in other.records}
    lines = []
    for line in files[0].read_text().splitlines():
        record = json.loads(line)
        assert record.pop("design") == read.digest
        lines.append(json.dumps(record, ensure_ascii=False))
    assert hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest() == read.digest != other.digest


def test_equal_ids_mean_equal_prompts_and_seeds_and_whole_copies_are_in_every_larger_design(tmp_path):
    spec = load_prompts(Taxonomy.load("emonet40"), only=["emotion=Anger,Fear", "ethnicity=White,Asian"])
    whole = 2 * 2 * 7 * 3
    found = {}
    for num in (whole, 100, 300):
        write_design(make_design(spec, num), tmp_path / "d.jsonl")
        found[num] = {record["id"]: record for record in read_prompts(tmp_path / "d.jsonl").records}
        assert len(found[num]) == num
    for larger in (100, 300):
        assert all(found[larger][name] == record for name, record in found[whole].items())
        assert list(found[larger])[:whole] == list(found[whole])  # in the same order, too


def test_a_prompt_holds_its_levels_and_its_emotions_keywords(spec, tmp_path):
    write_design(make_design(spec, 300), tmp_path / "d.jsonl")
    assert len({record["seed"] for record in read_prompts(tmp_path / "d.jsonl").records}) == 300
    for record in read_prompts(tmp_path / "d.jsonl").records:
        emotion = spec.taxonomy.dimensions[spec.taxonomy.index(record["emotion"])]
        assert record["prompted"] == emotion.slug
        assert record["prompt"] == (
            f"close-up photo of a {record['ethnicity']} {record['gender']} of {record['age']} years, who seems to "
            f"genuinely experience {', '.join(emotion.keywords)}. Strong facial expression of "
            f"{', '.join(emotion.keywords)}. No wrinkles"
        )
        assert record["seed"] == image_seed(0, record["id"]) == attempt_seed(record, 0)
        assert len({attempt_seed(record, attempt) for attempt in range(20)}) == 20


def test_wordings_are_an_axis_that_is_balanced_too(tmp_path):
    spec = load_prompts(
        Taxonomy.load("emonet40"), templates=["binary", "hq_closeup", "a {gender}: {emotion}, {ethnicity}, {age}"]
    )
    design = make_design(spec, 1001)
    counts = np.bincount(design.levels[:, -1])
    assert sorted(counts.tolist()) == [333, 334, 334]
    write_design(design, tmp_path / "d.jsonl")
    told = [record for record in read_prompts(tmp_path / "d.jsonl").records if record["template"] == "given_3"]
    assert told[0]["prompt"] == "a {gender}: {emotion}, {ethnicity}, {age}".format_map(told[0])


OWN = """
axes:
  emotion: [Anger, fear]
  age: [5, 15]
  light: [daylight, candle light, neon]
templates:
  plain: "a face of {age} years in {light}, {keyword}"
"""


def test_axes_of_ones_own_replace_the_shipped_ones(tmp_path, capsys):
    (tmp_path / "own.yaml").write_text(OWN)
    out = tmp_path / "d.jsonl"
    assert main(["synthesize", "design", "--images", "9", "--axes", str(tmp_path / "own.yaml"), "--out", str(out)]) == 0
    records = read_prompts(out).records
    assert {record["prompt"] for record in records} <= {
        f"a face of {age} years in {light}, {word}"
        for age in (5, 15) for light in ("daylight", "candle light", "neon") for word in ("anger", "fear")
    }  # fmt: skip
    assert "ethnicity" not in records[0]
    shown = capsys.readouterr().out
    assert "emotion x light" in shown
    assert "no design is more even" in shown
    facts = json.loads(out.with_suffix(".balance.json").read_text())
    assert facts["axes"]["emotion"] == ["Anger", "Fear"]
    assert out.with_suffix(".balance.png").stat().st_size > 5000


def test_a_changed_design_is_refused_and_prompts_of_ones_own_are_read(spec, tmp_path):
    path = tmp_path / "d.jsonl"
    write_design(make_design(spec, 50), path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(DataError, match="is not the design that was written"):
        read_prompts(path)
    path.write_text('{"id": "a", "prompt": "a face", "light": "dim"}\n{"id": "b", "prompt": "a face", "seed": 7}\n')
    first, second = read_prompts(path).records
    assert first["seed"] == image_seed(0, "a")
    assert second["seed"] == 7
    for line, told in (
        ('{"id": "a"}', "'id' and 'prompt' must be texts"),
        ('{"id": "a.b", "prompt": "x"}', "cannot be a sample's key"),
        ('{"id": "a", "prompt": "x", "seed": -1}', "'seed' must be a whole number"),
        ('{"id": "a", "prompt": "x", "note": [1]}', "field 'note' is neither text nor a number"),
        ('{"id": "a", "prompt": "x"}\n{"id": "a", "prompt": "y"}', "id 'a' stands twice"),
    ):
        path.write_text(line + "\n")
        with pytest.raises(DataError, match=told):
            read_prompts(path)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--images", "0"], 2, "--images 0: must be 1 to 10,000,000"),
        (["--images", "-5"], 2, "--images -5: must be 1 to 10,000,000"),
        (["--images", "9000000000"], 2, "must be 1 to 10,000,000"),
        (["--images", "10", "--templates", "binry"], 2, "unknown 'binry'; did you mean 'binary'?"),
        (["--images", "10", "--templates", "{emotion} {etnicity}"], 65, "'{etnicity}'; did you mean 'ethnicity'?"),
        (["--images", "10", "--templates", "{emotion.name} {age}"], 65, "unknown slot '{emotion.name}'"),
        (["--images", "10", "--templates", "{emotion:>5} {age}"], 65, "unknown slot"),
        (["--images", "10", "--templates", "{emotion} {age"], 65, "write a slot as {age}"),
        (["--images", "10", "--templates", "{keywords} {age} {gender}"], 65, "has no slot for axis 'ethnicity'"),
        (["--images", "10", "--only", "agee=20"], 2, "unknown axis 'agee'; did you mean 'age'"),
        (["--images", "10", "--only", "gender=men"], 2, "axis 'gender' has no level 'men'; did you mean 'man'"),
        (["--images", "10", "--only", "emotion=Angr"], 65, "unknown emotion 'Angr'"),
        (["--images", "10", "--only", "age"], 2, "write --only AXIS=LEVEL,LEVEL"),
        (["--images", "10", "--out", "prompts.csv"], 2, "must end with .jsonl"),
        (["--images", "10", "--seed", "-1"], 2, "--seed -1"),
        (["--images", "10", "--axes", "none.yaml"], 66, "none.yaml"),
    ],
)  # fmt: skip
def test_wrong_options_are_one_line(words, code, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["synthesize", "design", *words]) == code
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert told in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("axes: [a]", "'axes' must map names to lists"),
        ("axes: {seed: [1, 2]}", "has the name of a field that every prompt has"),
        ("axes: {Light: [a]}", "use lower-case letters"),
        ("axes: {light: []}", "must be a list of at least one level"),
        ("axes: {light: [a, a]}", "axis 'light' has 'a' twice"),
        ("axes: {emotion: [Angst]}", "unknown emotion 'Angst'"),
        ("axis: {light: [a]}", "unknown key 'axis'; did you mean 'axes'?"),
        ("templates: {plain: 5}", "a lower-case name and a text with slots are needed"),
        ("axes: {light: [a, b]}", "unknown slot '{ethnicity}'"),
    ],
)
def test_wrong_files_of_axes_are_one_line(text, told, tmp_path, capsys):
    (tmp_path / "own.yaml").write_text(text)
    words = [
        "synthesize",
        "design",
        "--images",
        "5",
        "--axes",
        str(tmp_path / "own.yaml"),
        "--out",
        str(tmp_path / "d.jsonl"),
    ]
    assert main(words) == 65
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert told in error
    assert not (tmp_path / "d.jsonl").exists()
