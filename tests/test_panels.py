"""A file of ratings becomes a panel of people and the scores of systems; what does not fit is one line."""

import ast
import json
import time

import numpy as np
import pandas as pd
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from made_up_hq import SYSTEMS, write_hq_csv
from small_inputs import images, write, write_parquet
from toy_faces import TAXONOMY

from emonet_lightning.errors import DataError, EmoNetError, MissingInputError, UsageError
from emonet_lightning.ratings import parquet_rows
from emonet_lightning.ratings.answers import flat_numbers
from emonet_lightning.ratings.files import open_table
from emonet_lightning.ratings.index_map import read_index_map
from emonet_lightning.ratings.panel import slots
from emonet_lightning.ratings.panel_files import read_panel
from emonet_lightning.ratings.systems import read_scores
from emonet_lightning.taxonomy import Taxonomy

AWE, ANGER, HELPLESS = (TAXONOMY.slugs.index(slug) for slug in ("awe", "anger", "helplessness"))
HUME = {"Hume Face*": 7.0}


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    return write_hq_csv(tmp_path_factory.mktemp("hq") / "hq.csv", seed=1, num_images=120)


def hq(tmp_path, *rows, header="image,annotator,human,annotations"):
    """An hq.csv of rows (image, annotator, human, dict)."""
    lines = [f'{image},{who},{human},"{answers}"' for image, who, human, answers in rows]
    return write(tmp_path / "hq.csv", "\n".join([header, *lines, ""]))


def test_a_made_up_hq_csv_reads_as_the_released_notebook_pivots_it(made_up):
    panel, systems = read_panel(made_up.path, TAXONOMY, missing="zero", rescale=HUME)
    frame = pd.read_csv(made_up.path)
    keys = [f"{d.family}|{d.name}" for d in TAXONOMY.dimensions]
    long = pd.DataFrame([{key: row.get(key, 0) for key in keys} for row in map(ast.literal_eval, frame["annotations"])])
    long.loc[frame["annotator"] == "Hume Face*"] *= 7
    pivot = long.groupby([frame["annotator"], frame["image"]]).mean()
    assert panel.images == sorted(made_up.images)
    assert panel.raters == [f"human-{number}" for number in range(1, 9)]
    for column, rater in enumerate(panel.raters):
        expected = pivot.loc[rater].reindex(panel.images)[keys].to_numpy()
        np.testing.assert_array_equal(panel.values[:, column], expected)
    assert [system.name for system in systems] == list(SYSTEMS)
    for system in systems:
        expected = pivot.loc[system.name].reindex(panel.images)[keys].to_numpy()
        np.testing.assert_allclose(system.scores, expected, rtol=0, atol=1e-12)


def test_rater_positions_follow_the_rows_of_the_file(made_up):
    panel, _ = read_panel(made_up.path, TAXONOMY)
    frame = pd.read_csv(made_up.path)
    frame = frame[frame["human"]]
    assert slots(panel).shape == (120, 4, 40)
    for image in (0, 57, 119):
        rows = frame[frame["image"] == panel.images[image]]
        in_file = [panel.raters[r] for r in np.argsort(panel.order[image]) if panel.order[image, r] >= 0]
        assert in_file == rows["annotator"].tolist()
        first = ast.literal_eval(rows["annotations"].iloc[0])
        assert slots(panel)[image, 0, AWE] == first.get("Positive High-Energy Emotions|Awe", 0)


def test_what_systems_leave_out_stays_missing_and_is_counted(made_up):
    panel, systems = read_panel(made_up.path, TAXONOMY, rescale=HUME)
    by_name = {system.name: system for system in systems}
    assert any("rater left untouched count as 0" in note for note in panel.notes)
    assert not np.isnan(panel.values[panel.order >= 0]).any()
    hume = by_name["Hume Face*"]
    assert np.isnan(hume.scores).all(axis=0).sum() == 9
    assert hume.notes[0] == "scores are multiplied by 7, as asked for"
    assert hume.notes[1].startswith("9 emotions without any score are missing (Anger, ")
    assert np.nanmax(hume.scores) > 1
    assert by_name["Empathic Insight Face Large"].notes == ("27 images were scored more than once: mean taken",)
    assert (~np.isnan(by_name["Qwen Plus ZS"].scores)).sum(axis=1).tolist() == [25] * 120
    assert "1800 scores of emotions that some rows do not name are missing" in by_name["Qwen Plus ZS"].notes
    assert np.nanmax(by_name["Pixtral Large ZS"].scores) == 9
    assert np.nanmin(by_name["Empathic Insight Face Small"].scores) < 0


def test_the_whole_file_is_read_in_seconds(tmp_path):
    made = write_hq_csv(tmp_path / "hq.csv")
    assert made.num_human_rows + sum(made.num_system_rows.values()) == 44_771
    start = time.perf_counter()
    panel, systems = read_panel(made.path, TAXONOMY)
    assert time.perf_counter() - start < 25
    assert (panel.values.shape, len(systems)) == ((2500, 8, 40), 14)
    assert (panel.order >= 0).sum() == 10_000


@pytest.mark.parametrize(
    "text",
    [
        "{'Positive Low-Energy Emotions|Pride': 3, 'Awe': -0.25, 'Doubt': 1e-05, 'x': -0, 'big': 12345678901234567890}",
        '{"Awe": 2, "Rock \'n roll": 1.5}',
        "{}",
        " {'Awe':1 ,\n'Fear' : 2} ",
    ],
)
def test_the_quick_reader_of_dicts_equals_literal_eval(text):
    quick, slow = flat_numbers(text), ast.literal_eval(text)
    assert quick == slow
    assert quick is not None
    assert [type(value) for value in quick.values()] == [type(value) for value in slow.values()]


@pytest.mark.parametrize(
    "text",
    ["{'a': True}", "{'a': true}", "{'a': NaN}", "{'a': 1e999}", "{'a': '3'}", "{'a': {'b': 1}}", "[1]", "{'a': 1}}",
     "{'a': 1, 'a': 2}", r"{'a\x41': 1}", "{'a': 1 + 1}", "{'a': 01}", "{'it''s': 1}", "{'a': None}", "3",
     "{'a': 1" + "0" * 400 + "}"],
)  # fmt: skip
def test_the_quick_reader_of_dicts_leaves_everything_else_to_the_strict_one(text):
    assert flat_numbers(text) is None


FEW = [("a.jpg", "human-1", "True", "{'Awe': 4}"), ("a.jpg", "human-2", "True", "{'Awe': 2, 'Anger': 1}"),
       ("b.jpg", "human-2", "True", "{'Awe': 7}"), ("b.jpg", "GPT", "False", "{'Awe': 3}")]  # fmt: skip


BAD_ROWS = {
    "negative": ("{'Awe': -1}", r"line 6: rating -1 of 'human-1' on 'Awe' is outside 0\.\.7; correct it"),
    "eight": ("{'Anger': 8}", r"line 6: rating 8 of 'human-1' on 'Anger' is outside 0\.\.7"),
    "a little more": ("{'Awe': 7.0001}", r"line 6: rating 7\.0001 of 'human-1'"),
    "infinite": ("{'Awe': 1e999}", "line 6: 'Awe': inf is not a finite number"),
    "comma": ("{'Awe': '3,5'}", "line 6: 'Awe': '3,5' is not a number"),
    "other digit": ("{'Awe': '٣'}", "line 6: 'Awe': '٣' is not a number"),
    "unknown": ("{'Cognitive States|Confusoin': 1}", "line 6: unknown emotion .*did you mean 'Confusion'"),
    "named twice": ("{'Awe': 1, 'Awe': 5}", "line 6: 'Awe' is answered twice"),
    "alias twice": ("{'Hopelessness': 1, 'Helplessness': 5}", "line 6: .* answered 'Helplessness' twice"),
    "code": ("{'Awe': __import__('os').getpid()}", "line 6: annotations are neither JSON nor a Python literal"),
    "huge": ("{'Awe': 1" + "," * 1_000_001 + "}", r"line 6: annotations of 1000011 characters; at most 1000000"),
    "broken": ("{'Awe': 1, 'Ang", r"line 6: annotations are neither .*\{'Awe': 1, 'Ang'"),
    "a list for a name": ("{['Awe']: 1}", "line 6: annotations are neither JSON nor a Python literal"),
    "400 digits": ("{'Awe': 1" + "0" * 400 + "}", r"line 6: 'Awe': 10+ \.\.\. 0+ is not a finite number"),
    "no dict inside": ("[{'annotator': 'a', 'annotations': 3}]", "line 6: annotations of an unknown form: .*: 3"),
    "pairs of lists": ("[(['Awe'], 3)]", "line 6: annotations of an unknown form"),
    "a number of extras": ("{'emotions': {'Awe': 1}, 'extra_dimensions': 3}", "line 6: annotations of an unknown form"),
    "too deep": ("{'human-1': {'Awe': {'a': 1}}}", "line 6: 'Awe': no rating in .*; name it 'rating'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_of_a_human_is_one_line_that_names_it(tmp_path, case):
    answers, message = BAD_ROWS[case]
    path = hq(tmp_path, *FEW, ("c.jpg", "human-1", "True", answers))
    with pytest.raises(DataError, match=message) as caught:
        read_panel(path, TAXONOMY)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}, line 6: ")


def test_rows_of_systems_may_hold_any_finite_number(tmp_path):
    path = hq(tmp_path, *FEW, ("a.jpg", "GPT", "False", "{'Awe': -12.5, 'Anger': 900}"))
    _, (gpt,) = read_panel(path, TAXONOMY)
    assert gpt.scores[:, [AWE, ANGER]].tolist()[0] == [-12.5, 900]
    with pytest.raises(DataError, match="inf is not a finite number"):
        read_panel(hq(tmp_path, *FEW, ("a.jpg", "GPT", "False", "{'Awe': 1e999}")), TAXONOMY)


def test_hopelessness_is_known_by_the_alias_table_alone(tmp_path):
    path = hq(tmp_path, ("a.jpg", "human-1", "True", "{'Negative Low-Energy Emotions|Hopelessness': 4}"))
    panel, _ = read_panel(path, TAXONOMY)
    assert panel.values[0, 0, HELPLESS] == 4
    bare = Taxonomy.from_dict(TAXONOMY.to_dict())  # without aliases
    with pytest.raises(DataError, match=r"unknown emotion .*Hopelessness.*did you mean 'Helplessness'"):
        read_panel(path, bare)


def test_a_rater_who_repeats_the_same_answers_counts_once(tmp_path):
    panel, _ = read_panel(hq(tmp_path, *FEW, FEW[1]), TAXONOMY)
    assert "1 rows that repeat the rater's own are counted once" in panel.notes
    assert panel.order.tolist() == [[0, 1], [-1, 0]]
    text = "image,rater,emotion,rating\na,r1,Awe,1\na,r2,Awe,2\na,r1,Awe,1.0\n"
    panel, _ = read_panel(write(tmp_path / "long.csv", text), TAXONOMY)
    assert panel.notes == ("1 ratings that repeat the rater's own are counted once",)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ("{'Awe': 3, 'Anger': 1}", r"line 6: 'human-2' rated 'Awe' of .* twice and differently \(3, and 2 in line 3\)"),
        ("{'Awe': 2}", "line 6: image 'a.jpg' is rated twice by one rater, on other emotions in line 3"),
        ("{'Awe': 2, 'Anger': 1, 'Fear': 1}", "line 6: image 'a.jpg' is rated twice by one rater"),
    ],
)  # fmt: skip
def test_a_rater_who_answered_twice_and_differently_is_refused(tmp_path, answers, message):
    path = hq(tmp_path, *FEW, ("a.jpg", "human-2", "True", answers))
    with pytest.raises(DataError, match=message):
        read_panel(path, TAXONOMY)


def test_who_is_human_must_be_told(tmp_path):
    rows = [(f"{image},{who}", answers) for image, who, _, answers in FEW]
    path = write(tmp_path / "hq.csv", "image,annotator,annotations\n" + "".join(f'{a},"{b}"\n' for a, b in rows))
    with pytest.raises(DataError, match=r"no column 'human'.*--columns\.human=NAME, or say --human all"):
        read_panel(path, TAXONOMY)
    assert read_panel(path, TAXONOMY, human="all")[0].raters == ["GPT", "human-1", "human-2"]
    path = hq(tmp_path, *FEW, header="image,annotator,person,annotations")
    panel, systems = read_panel(path, TAXONOMY, columns={"human": "person"})
    assert (panel.raters, [system.name for system in systems]) == (["human-1", "human-2"], ["GPT"])
    with pytest.raises(UsageError, match="--human all, but 1 rows say that they are not human"):
        read_panel(hq(tmp_path, *FEW), TAXONOMY, human="all")
    with pytest.raises(DataError, match="line 6: 'GPT' is human here but not in every row"):
        read_panel(hq(tmp_path, *FEW, ("a.jpg", "GPT", "True", "{}")), TAXONOMY)
    with pytest.raises(DataError, match="line 6: column 'human' is '1'; write True or False"):
        read_panel(hq(tmp_path, *FEW, ("a.jpg", "x", "1", "{}")), TAXONOMY)
    with pytest.raises(DataError, match="no row of a human"):
        read_panel(hq(tmp_path, FEW[3]), TAXONOMY)


def test_ids_and_rater_names_stay_text(tmp_path):
    text = "image,rater,emotion,rating\n00012,NA,Awe,1\n12,null,Awe,2\n1e5,nan,Awe,3\n00012,007,Awe,\n00012,7,Awe,4\n"
    panel, _ = read_panel(write(tmp_path / "long.csv", text), TAXONOMY)
    assert panel.images == ["00012", "12", "1e5"]
    assert panel.raters == ["7", "NA", "nan", "null"]
    assert panel.values[0, :, AWE].tolist()[:2] == [4, 1]
    assert np.isnan(panel.values).sum() == panel.values.size - 4


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_other_delimiters_line_ends_and_a_byte_order_mark_read_the_same(tmp_path, end, delimiter, mark):
    rows = [["image", "rater", "emotion", "rating"], ["a", "r1", "Jealousy & Envy", "1.5"], ["b", "r2", "Awe", "7"]]
    path = tmp_path / "long.csv"
    path.write_bytes((mark + end.join(delimiter.join(row) for row in rows) + end).encode())
    panel, _ = read_panel(path, TAXONOMY)
    assert (panel.images, panel.raters) == (["a", "b"], ["r1", "r2"])
    assert panel.values[1, 1, AWE] == 7
    assert panel.notes == ("1 ratings lie between two levels",)


LONG = "image,rater,emotion,rating\na.jpg,r1,Awe,1\nb.jpg,r2,Anger,2\n"
BAD_LONG = {
    "negative": ("a.jpg,r2,Awe,-1\n", r"line 4: rating -1 of 'r2' on 'Awe' is outside 0\.\.7"),
    "comma": ('a.jpg,r2,Awe,"3,5"\n', "line 4: '3,5' is not a number; write digits with a decimal point"),
    "other digit": ("a.jpg,r2,Awe,٣\n", "line 4: '٣' is not a number"),
    "infinite": ("a.jpg,r2,Awe,inf\n", "line 4: 'inf' is not a number"),
    "too large": ("a.jpg,r2,Awe,1e400\n", "line 4: a number beyond 1.8e308 is not finite"),
    "unknown": ("a.jpg,r2,Angr,1\n", "line 4: unknown emotion 'Angr' .*did you mean 'Anger'"),
    "twice": ("a.jpg,r1,Awe,2\n", r"line 4: 'r1' rated 'Awe' .* twice and differently \(2, and 1 in line 2\)"),
    "no rater": ("a.jpg,,Awe,2\n", "line 4: no rater; fill column 'rater'"),
    "space": ("a.jpg,r1 ,Awe,2\n", "line 4: rater 'r1 ' is empty or has spaces around it"),
    "cut": ("a.jpg,r1", "line 4: 2 cells, the header has 4; .*may be truncated: fetch it again"),
    "cut in a name": ("a.jpg,r1,Aw,2", "line 4: unknown emotion 'Aw'.*may be truncated: fetch it again"),
    "cut in quotes": ('a.jpg,r1,"Aw', "line 4: not a readable CSV file"),
    "yes": ("a.jpg,r2,Awe,True\n", "mixes True and False with numbers"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_LONG)
def test_a_bad_line_of_a_plain_table_is_one_line_that_names_it(tmp_path, case):
    line, message = BAD_LONG[case]
    with pytest.raises(DataError, match=message) as caught:
        read_panel(write(tmp_path / "long.csv", LONG + line), TAXONOMY)
    assert "\n" not in str(caught.value)


def test_a_file_cut_in_its_last_dict_is_said_to_be_truncated(made_up, tmp_path):
    text = made_up.path.read_text()
    with pytest.raises(DataError, match=r"line \d+: not a readable CSV file \(unexpected end of data\)"):
        read_panel(write(tmp_path / "cut.csv", text[:-40]), TAXONOMY)
    unquoted = "image;annotator;human;annotations\na;h1;True;{'Awe': 3}\nb;h1;True;{'Awe': 3, 'Fe"
    with pytest.raises(DataError, match=r"line 3: .*the file ends in the middle of a line and may be truncated"):
        read_panel(write(tmp_path / "cut.csv", unquoted), TAXONOMY)


def test_an_expert_on_zero_to_one_is_refused_until_told(tmp_path):
    rows = [*FEW, ("a.jpg", "human-3", "True", "{'Awe': 0.5, 'Anger': 1}")]
    with pytest.raises(
        DataError, match=r"'human-3' lie within 0..1, the scale is 0..7; .*--rescale '\{\"human-3\": 7\}'"
    ):
        read_panel(hq(tmp_path, *rows), TAXONOMY)
    panel, _ = read_panel(hq(tmp_path, *rows), TAXONOMY, rescale={"human-3": 7.0})
    assert panel.values[0, 2, [AWE, ANGER]].tolist() == [3.5, 7]
    assert "ratings of 'human-3' are multiplied by 7, as asked for" in panel.notes
    assert read_panel(hq(tmp_path, *rows[:-1]), TAXONOMY)[0].values[0, 0, AWE] == 4


def test_a_system_on_zero_to_one_is_scaled_only_when_it_is_named(tmp_path):
    path = hq(tmp_path, *FEW[:3], ("a.jpg", "Hume Face*", "False", "{'Awe': 0.5, 'Anger': 1}"))
    _, (plain,) = read_panel(path, TAXONOMY)
    assert plain.scores[0, AWE] == 0.5
    assert any("lie within 0..1 on a scale of 0..7; --rescale" in note for note in plain.notes)
    assert read_panel(path, TAXONOMY, rescale=HUME)[1][0].scores[0, AWE] == 3.5
    with pytest.raises(DataError, match=r"no annotator 'Hume Face' to rescale; did you mean 'Hume Face\*'"):
        read_panel(path, TAXONOMY, rescale={"Hume Face": 7.0})


def test_repeated_rows_of_a_system_are_averaged_or_the_last_counts(tmp_path):
    rows = [("a.jpg", "GPT", "False", "{'Awe': 1, 'Anger': 4}"), ("a.jpg", "GPT", "False", "{'Awe': 2}")]
    path = hq(tmp_path, *FEW[:3], *rows)

    def score(**options):
        (gpt,) = read_panel(path, TAXONOMY, **options)[1]
        return [None if np.isnan(value) else value for value in gpt.scores[0, [AWE, ANGER]].tolist()]

    assert score() == [1.5, 4]
    assert score(missing="zero") == [1.5, 2]
    assert score(duplicates="last") == [2, None]
    assert score(duplicates="last", missing="zero") == [2, 0]


def test_untouched_emotions_are_zero_in_dicts_and_unknown_in_tables(tmp_path):
    values = read_panel(hq(tmp_path, *FEW), TAXONOMY)[0].values
    assert values[0, 0, ANGER] == 0
    assert np.isnan(values[1, 0]).all()
    assert np.isnan(read_panel(hq(tmp_path, *FEW), TAXONOMY, untouched="missing")[0].values[0, 0, ANGER])
    long = write(tmp_path / "long.csv", LONG)
    assert np.isnan(read_panel(long, TAXONOMY)[0].values[0, 0, ANGER])
    assert read_panel(long, TAXONOMY, untouched="zero")[0].values[0, 0, ANGER] == 0
    silent = hq(tmp_path, *FEW, ("c.jpg", "human-1", "True", "{}"))
    assert read_panel(silent, TAXONOMY)[0].values[2, 0].tolist() == [0] * 40
    traits = Taxonomy.load(write(tmp_path / "t.yaml", "{name: t, levels: [1, 7], emotions: [Awe, Anger]}"))
    assert np.isnan(read_panel(hq(tmp_path, *FEW), traits)[0].values[0, 0, 1])
    with pytest.raises(UsageError, match="levels of 't' begin at 1; set --untouched missing"):
        read_panel(hq(tmp_path, *FEW), traits, untouched="zero")


def test_splits_groups_and_prompted_emotions_come_from_columns(tmp_path):
    text = (
        "image,rater,emotion,rating,split,group,asked\n"
        "a,r1,Awe,1,val,anna,Awe\nb,r1,Awe,2,test,anna,Hopelessness\nc,r1,Awe,3,test,,\n"
    )
    path = write(tmp_path / "long.csv", text)
    panel, _ = read_panel(path, TAXONOMY, split="test", columns={"prompted": "asked"})
    assert (panel.images, panel.groups, panel.prompted) == (["b", "c"], ["anna", None], ["helplessness", None])
    with pytest.raises(DataError, match="split 'train' is empty: no row of a human; splits found: 'test', 'val'"):
        read_panel(path, TAXONOMY, split="train")
    with pytest.raises(
        DataError, match=r"line 5: image 'a' is in split 'test' and in 'val' \(line 2\); keep it in one"
    ):
        read_panel(write(tmp_path / "two.csv", text + "a,r2,Awe,1,test,anna,Awe\n"), TAXONOMY)
    with pytest.raises(DataError, match="line 5: image 'a' has group 'bob' and 'anna'"):
        read_panel(write(tmp_path / "two.csv", text + "a,r2,Awe,1,val,bob,Awe\n"), TAXONOMY)
    with pytest.raises(UsageError, match="--split test, but no column 'split'"):
        read_panel(write(tmp_path / "none.csv", LONG), TAXONOMY, split="test")


def test_a_wide_table_keeps_raters_apart(tmp_path):
    path = write(tmp_path / "wide.csv", "file,rater,Awe,Anger,split\na.jpg,r1,1,2,x\na.jpg,r2,3,,x\n")
    panel, _ = read_panel(path, TAXONOMY)
    assert panel.values[0, :, AWE].tolist() == [1, 3]
    assert np.isnan(panel.values[0, 1, ANGER])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "path,annotator,value,emotion\na,h,True,Awe\n",
            "holds yes/no votes, not ratings; 'evaluate votes' reads them",
        ),
        ("image,Awe\na,1\n", r"names no raters.*columns found: image, Awe; .*--columns\.rater=NAME"),
        ("image,label\na,Awe\n", "names no raters"),
        ("", "empty; a header line"),
        ("image,rater,Awe\n", "a header but no rows"),
        ("image,rater,emotion,rating\na,r,Awe,\n", "no rating of a human"),
    ],
)
def test_a_file_that_is_no_panel_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_panel(write(tmp_path / "x.csv", text), TAXONOMY)


def test_missing_files_are_named(tmp_path):
    for name in ("x.csv", "x.parquet"):
        with pytest.raises(MissingInputError, match=rf"{name}: no such file"):
            read_panel(tmp_path / name, TAXONOMY)


LABELS = [
    [{"human-2": {"Cognitive States|Confusion": 4}}, {"human-1": {"Awe": 2, "Extra Dimensions|Arousal": 3}}],
    [{"human-1": {"Awe": 7}}],
]


def hq_parquet(path):
    columns = {
        "path": images(2, named=False),
        "prompt": ["x", "y"],
        "emotion": [1, 0],
        "label": list(map(repr, LABELS)),
    }
    return write_parquet(path, columns, {"emotion": ["Awe", "Confusion"]})


def test_label_strings_of_the_released_parquet_become_a_panel(tmp_path):
    panel, systems = read_panel(hq_parquet(tmp_path / "hq.parquet"), TAXONOMY)
    assert (panel.images, panel.raters, systems) == (["000000", "000001"], ["human-1", "human-2"], [])
    assert panel.order.tolist() == [[1, 0], [0, -1]]
    assert panel.values[:, 0, AWE].tolist() == [2, 7]
    assert panel.prompted == ["confusion", "awe"]


def test_a_truncated_or_broken_parquet_file_is_one_line(tmp_path):
    path = hq_parquet(tmp_path / "hq.parquet")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="not a readable Parquet file"):
        read_panel(path, TAXONOMY)
    columns = {"path": images(2), "label": ["[{'human-1': {'Awe': 3}}]", "[{'human-1': {'Awe': 9}}]"]}
    path = write_parquet(tmp_path / "bad.parquet", columns)
    with pytest.raises(DataError, match=r"bad\.parquet, row 1: rating 9 of 'human-1' on 'Awe'"):
        read_panel(path, TAXONOMY)


def test_an_index_map_finds_an_image_by_name_and_by_row(tmp_path):
    index_map = read_index_map(write(tmp_path / "map.json", '{"mj_1.jpg": 1, "flux dev.2.jpg": 0, "unrated.jpg": 5}'))
    by_row, _ = read_panel(hq_parquet(tmp_path / "hq.parquet"), TAXONOMY, index_map=index_map)
    assert by_row.images == ["flux dev.2.jpg", "mj_1.jpg"]
    rows = [("mj_1.jpg", "human-1", "True", "{'Awe': 7}"), ("flux dev.2.jpg", "human-1", "True", "{'Awe': 2}")]
    by_name, _ = read_panel(hq(tmp_path, *rows), TAXONOMY, index_map=index_map)
    assert by_name.images == by_row.images
    assert by_name.values[:, 0, AWE].tolist() == by_row.values[:, 0, AWE].tolist() == [2, 7]
    assert by_name.notes[0] == "1 images of the index map have no ratings"
    unnamed, _ = read_panel(hq_parquet(tmp_path / "hq.parquet"), TAXONOMY)
    for panel in (by_name, by_row, unnamed):
        for names in ("mj_1.jpg,flux dev.2.jpg", "000001,000000", "x/mj_1,x/flux dev.2.png", "mj_1,flux-dev-2"):
            one, two = names.split(",")
            scores = write(tmp_path / "s.csv", f"file,Awe\n{one},0.1\n{two},0.2\n")
            found = read_scores(scores, TAXONOMY, panel.images, "x", index_map=index_map).scores
            assert found[:, AWE].tolist() == [0.2, 0.1], (panel.images, names)
    with pytest.raises(DataError, match=r"the index map names no row for image 'other\.jpg'"):
        read_panel(hq(tmp_path, ("other.jpg", "human-1", "True", "{}")), TAXONOMY, index_map=index_map)


def prediction_table():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(3, 40)), columns=TAXONOMY.slugs)
    table.insert(0, "file", ["x/c.jpg", "x/a.jpg", "x/z.jpg"])
    return table


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_tables_that_predict_writes_are_read_as_scores(tmp_path, suffix):
    from emonet_lightning.predict_table import write_table

    table, path = prediction_table(), tmp_path / f"scores{suffix}"
    write_table(table, path)
    scores = read_scores(path, TAXONOMY, ["a.jpg", "b.jpg", "c.jpg"], "ours")
    np.testing.assert_allclose(scores.scores[[2, 0]], table[TAXONOMY.slugs].to_numpy()[:2], atol=1e-8)
    assert np.isnan(scores.scores[1]).all()
    assert scores.notes == (
        "2 images were found by name without folder and extension, or by row",
        "1 images that nobody rated are left out",
    )


def test_released_json_lines_are_read_as_scores(real_data):
    path = real_data / "ferd.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    names = [line["image_path"] for line in lines]
    for value in ("raw", "mean_subtracted"):
        scores = read_scores(path, TAXONOMY, names, "released", value=value).scores
        expected = [[line["results"][f"model_{slug}_best"][value] for slug in TAXONOMY.slugs] for line in lines]
        np.testing.assert_array_equal(scores, expected)
    with pytest.raises(DataError, match=r"line 1: .* has no value 'sofmax'; did you mean 'softmax'"):
        read_scores(path, TAXONOMY, names, "released", value="sofmax")


BAD_SCORES = {
    "other images": ("x.csv", "file,Awe\nq.jpg,1\n", r"none of its 1 images is among the 2 rated ones \('q"),
    "unknown emotion": ("x.csv", "file,Awe,Angr\na.jpg,1,2\n", "unknown emotion 'Angr'.*did you mean 'Anger'"),
    "infinite": ("x.csv", "file,Awe\na.jpg,inf\n", "line 2, column 'Awe': 'inf' is not a number"),
    "too large": ("x.csv", "file,Awe\na.jpg,1e400\n", "line 2: a number beyond 1.8e308 is not finite"),
    "beyond squares": ("x.csv", "file,Awe\na.jpg,1e200\n", r"scores of 'x' are beyond 1e\+150; scale them"),
    "two folders": ("x.csv", "file,Awe\n1/a.jpg,1\n2/a.jpg,2\n", "'1/a.jpg' and '2/a.jpg' both fit image 'a.jpg'"),
    "two annotators": ("x.csv", "image,annotator,emotion,rating\na.jpg,m1,Awe,1\na.jpg,m2,Awe,1\n", "2 annotators"),
    "not JSON": ("x.jsonl", '{"file": "a.jpg", "awe": 1}\n{"file": "b.j', "line 2: not a JSON object"),
    "no image": ("x.jsonl", '{"awe": 1}\n', r"line 1: no image name; keys found: awe; .*--columns\.image"),
    "classes": ("x.csv", "image,label\na.jpg,Awe\n", "holds classes, not scores"),
    "nothing": ("x.jsonl", "\n", "empty; one JSON object per image"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_SCORES)
def test_bad_score_files_are_one_line(tmp_path, case):
    name, text, message = BAD_SCORES[case]
    with pytest.raises(EmoNetError, match=message) as caught:
        read_scores(write(tmp_path / name, text), TAXONOMY, ["a.jpg", "b.jpg"], "x")
    assert "\n" not in str(caught.value)


def test_an_image_found_by_its_own_name_takes_no_score_of_one_that_is_called_alike(tmp_path):
    path = write(tmp_path / "x.csv", "file,Awe\na.jpg,1\nother/a.jpg,7\n")
    found = read_scores(path, TAXONOMY, ["a.jpg", "b.jpg"], "x")
    assert found.scores[0, AWE] == 1
    assert "1 images that nobody rated are left out" in found.notes


def test_extra_dimensions_that_the_taxonomy_lacks_are_left_out(tmp_path):
    wide = write(tmp_path / "wide.csv", "file,Awe,arousal,Extra Dimensions|Valence\na,1,2,-3\n")
    long = write(tmp_path / "long.csv", "file,emotion,score\na,Awe,1\na,Emotional Vulnerability,5\n")
    for path in (wide, long):
        assert np.nansum(read_scores(path, TAXONOMY, ["a"], "x").scores) == 1
    extra = Taxonomy.load("emonet40", extra_dimensions=True)
    scores = read_scores(wide, extra, ["a"], "x", missing="zero").scores
    assert scores[0, [extra.slugs.index("arousal"), extra.slugs.index("valence")]].tolist() == [2, -3]
    assert np.isnan(scores[0, extra.slugs.index("dominance")])  # 0 is not the resting state of an extra dimension


def test_scores_in_long_form_repeat_per_emotion(tmp_path):
    path = write(tmp_path / "x.csv", "image,emotion,score\na,Awe,1\na,Awe,2\na,Anger,5\nb,Anger,0\n")
    scores = read_scores(path, TAXONOMY, ["a", "b"], "x")
    assert scores.scores[0, [AWE, ANGER]].tolist() == [1.5, 5]
    assert "1 images were scored more than once: mean taken" in scores.notes
    assert read_scores(path, TAXONOMY, ["a", "b"], "x", duplicates="last").scores[0, AWE] == 2


def test_3dsk_ratings_become_a_panel_of_two_hundred_raters(real_data, tmp_path):
    traits = Taxonomy.load(
        write(tmp_path / "t.yaml", "{name: t, levels: [1, 7], emotions: [att, dom, sexdim, health, trust]}")
    )
    panel, _ = read_panel(real_data / "faces" / "ratings_3dsk.csv", traits)
    frame = pd.read_csv(real_data / "faces" / "ratings_3dsk.csv")
    assert panel.values.shape == (100, frame["rater"].nunique(), 5)
    assert (~np.isnan(panel.values)).sum() == 100_000
    expected = frame.groupby(["image", "trait"])["rating"].mean().unstack().loc[panel.images, traits.names]
    np.testing.assert_allclose(np.nanmean(panel.values, axis=1), expected.to_numpy(), atol=1e-12)


def test_only_label_columns_of_a_parquet_file_are_read(tmp_path):
    path = tmp_path / "hq.parquet"
    struct = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    parquet.write_table(
        arrow.table({
            "path": arrow.array([{"bytes": b"not read " * 1000, "path": "a.jpg"}], struct),
            "label": ["[{'human-1': {'Awe': 3}}]"],
        }),
        path, compression="NONE", use_dictionary=False,
    )  # fmt: skip
    content = bytearray(path.read_bytes())
    start = content.index(b"not read ")
    content[start - 30 : start + 5000] = bytes(5030)  # pages of the pictures are destroyed
    path.write_bytes(content)
    assert read_panel(path, TAXONOMY)[0].images == ["a.jpg"]
    start = content.index(b"[{'human-1'")
    content[start - 40 : start] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"hq\.parquet: damaged in column '.*fetch it again"):
        read_panel(path, TAXONOMY)


def not_text():
    offsets, content = np.array([0, 2], dtype=np.int32).tobytes(), b"\xff\xfe"
    return arrow.Array.from_buffers(arrow.string(), 1, [None, arrow.py_buffer(offsets), arrow.py_buffer(content)])


@pytest.mark.parametrize(
    ("table", "statistics", "told"),
    [
        (lambda: arrow.table([[1], [2]], ["awe", "awe"]), True, "column 'awe' is there twice; rename one"),
        (lambda: arrow.table({"awe": not_text()}), True, "holds text that is not UTF-8 .*invalid start byte"),
        (lambda: arrow.table({"awe": not_text()}), False, "damaged in column 'awe' .*invalid start byte"),
    ],
)
def test_a_parquet_file_that_cannot_be_a_table_is_one_line(tmp_path, table, statistics, told):
    parquet.write_table(table(), tmp_path / "a.parquet", write_statistics=statistics)
    with pytest.raises(DataError, match=rf"a\.parquet: {told}"):
        open_table(tmp_path / "a.parquet", {})


def test_a_parquet_file_of_too_many_rows_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "a.parquet"  # 16 KB
    parquet.write_table(arrow.table({"rating": np.zeros(10_000_001, dtype=np.int8)}), path)
    with pytest.raises(DataError, match=r"a\.parquet: 10,000,001 rows; a table has at most 10,000,000: split it"):
        open_table(path, {})


@pytest.mark.parametrize(("limit", "told"), [("MAX_VALUES", "101 values"), ("MAX_UNPACKED", "bytes before packing")])
def test_what_lists_and_texts_hold_counts_and_images_do_not(tmp_path, monkeypatch, limit, told):
    content = {"image": [{"bytes": bytes(10_000), "path": "a.jpg"}], "text": ["x" * 5000], "awe": [[0.5] * 100]}
    parquet.write_table(arrow.table(content), tmp_path / "a.parquet", compression="zstd", use_dictionary=False)
    monkeypatch.setattr(parquet_rows, limit, {"MAX_VALUES": 101, "MAX_UNPACKED": 9000}[limit])
    assert open_table(tmp_path / "a.parquet", {})[0].rows[0][0] == "a.jpg"
    monkeypatch.setattr(parquet_rows, limit, 100)
    with pytest.raises(DataError, match=told):
        open_table(tmp_path / "a.parquet", {})


def test_equal_cells_of_a_parquet_file_are_in_memory_once(tmp_path, monkeypatch):
    path, text = tmp_path / "a.parquet", "x" * 1000
    kinds = [arrow.string(), arrow.large_string(), arrow.float64(), arrow.dictionary(arrow.uint8(), arrow.string())]
    columns = [
        arrow.array([value] * 3 + [None], kind) for kind, value in zip(kinds, [text, text, 1.5, text], strict=True)
    ]
    parquet.write_table(
        arrow.table([*columns, arrow.array([[1], [2], None, [1]])], ["image", "b", "c", "d", "e"]), path
    )
    rows = open_table(path, {})[0].rows
    assert rows == [[text, text, "1.5", text, cell] for cell in ("[1]", "[2]", "")] + [["", "", "", "", "[1]"]]
    assert all(len({id(row[column]) for row in rows[:3]}) == 1 for column in range(4))
    monkeypatch.setattr(parquet_rows, "MAX_CELL", 999)
    with pytest.raises(DataError, match=r"a\.parquet: a cell of column 'image' is longer than 999"):
        open_table(path, {})


def test_a_long_text_that_stands_in_many_rows_is_unpacked_once(tmp_path):
    texts = arrow.DictionaryArray.from_arrays(np.zeros(400, dtype=np.int32), ["x" * 2**18])
    parquet.write_table(arrow.table({"image": texts.cast(arrow.string())}), tmp_path / "a.parquet")
    before, pool = arrow.default_memory_pool(), arrow.proxy_memory_pool(arrow.default_memory_pool())
    arrow.set_memory_pool(pool)
    try:
        assert len(open_table(tmp_path / "a.parquet", {})[0].rows[399][0]) == 2**18
    finally:
        arrow.set_memory_pool(before)
    assert 2**18 < pool.max_memory() < 2**24  # of 100 MiB
