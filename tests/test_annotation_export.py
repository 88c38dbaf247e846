"""`annotate export` from recorded exports of Label Studio 1.23.2; one answer of each kind was given in its page."""

import csv
import dataclasses
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

from emonet_lightning.annotation.answers import Answer, read_export
from emonet_lightning.annotation.live import agreement, changed_minds, outcomes, rater_progress
from emonet_lightning.annotation.plan import plan_ratings
from emonet_lightning.annotation.record import RECORD, read_campaign, read_sides
from emonet_lightning.cli import main
from emonet_lightning.errors import DataError
from emonet_lightning.evaluation.vote_file import read_votes
from emonet_lightning.evaluation.votes import describe_votes
from emonet_lightning.ratings.panel_files import read_panel
from emonet_lightning.taxonomy import Taxonomy

RECORDED = Path(__file__).parent / "recorded_campaigns"
FORTY = Taxonomy.load("emonet40")


@pytest.fixture
def recorded(tmp_path):
    """A copy of the recorded campaigns, to be changed."""
    shutil.copytree(RECORDED, tmp_path / "recorded")
    return tmp_path / "recorded"


def export(folder, out, *options):
    files = [f"--files={path}" for path in sorted(folder.glob("project-*.json"))]
    return main(["annotate", "export", str(folder), "--out", str(out), *files, *options])


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def answers_in(folder):
    campaign = read_campaign(folder)
    swaps = read_sides(folder, campaign)
    found = []
    for project in campaign.projects:
        content = (folder / f"project-{project.id}.json").read_bytes()
        found += read_export(content, "export", campaign, project, swaps)
    return campaign, found


def change(folder, edit, rater="anna", round=1):
    """Edit the tasks of a rater's recorded export."""
    project = read_campaign(folder).project(rater, round)
    path = folder / f"project-{project.id}.json"
    tasks = json.loads(path.read_text())
    edit(tasks)
    path.write_text(json.dumps(tasks))
    return path


def test_recorded_votes_are_exported_as_the_released_ones(tmp_path, capsys):
    assert export(RECORDED / "votes", tmp_path) == 0
    rows = rows_of(tmp_path / "votes.csv")
    assert list(rows[0]) == ["path", "annotator", "value", "emotion", "prompted"]
    assert len(rows) == 3 + 3 + 2 + 1 + 4
    assert len({(row["path"], row["annotator"]) for row in rows}) == len(rows)
    found = describe_votes(read_votes(tmp_path / "votes.csv", FORTY, {"prompted": "prompted"}), FORTY)
    assert found["structure"]["holds"]
    counts = {key: share["count"] for key, share in found["total"]["outcomes"].items() if share["count"]}
    assert counts == {"three_yes": 1, "two_yes_then_no": 1, "yes_then_no": 1, "no": 1, "contrast_no": 4}
    typed = parquet.read_table(tmp_path / "answers.parquet").to_pylist()
    assert Counter(row["role"] for row in typed) == {"target": 9, "contrast": 4}
    assert all(row["seconds"] > 0 for row in typed)
    kept = json.loads((tmp_path / "export.json").read_text())
    assert kept["outcomes"] == {"F": 1, "TF": 1, "TTF": 1, "TTT": 1}
    assert [row["agreed"] for row in rows_of(tmp_path / "consent.csv")] == ["True"] * 4
    assert len(list((tmp_path / "label_studio").iterdir())) == 13


def test_recorded_ratings_keep_the_untouched_apart(tmp_path):
    assert export(RECORDED / "ratings", tmp_path) == 0
    rows = [
        (row["image"], row["annotator"], json.loads(row["annotations"])) for row in rows_of(tmp_path / "ratings.csv")
    ]
    on_page = {"Positive High-Energy Emotions|Amusement": 5, "Positive High-Energy Emotions|Elation": 0}
    given = [annotations for *_, annotations in rows]
    assert on_page in given
    assert {} in given
    typed = parquet.read_table(tmp_path / "answers.parquet").to_pylist()
    assert len(typed) == 6 * 40
    assert sum(row["touched"] for row in typed) == sum(map(len, given))
    assert {row["rating"] for row in typed if not row["touched"]} == {0}
    panel, _ = read_panel(str(tmp_path / "ratings.csv"), FORTY)
    assert panel.values.shape == (3, 3, 40)
    rated = panel.values[..., FORTY.index("Amusement")]
    assert sorted(rated[rated == rated].tolist()) == [0, 0, 0, 0, 0, 5]


def test_recorded_choices_are_sides_of_the_pairs_file(tmp_path):
    assert export(RECORDED / "pairs", tmp_path) == 0
    rows = rows_of(tmp_path / "preferences.csv")
    assert [(row["pair"], row["rater"], row["choice"]) for row in rows] == [
        (f"p{n}", rater, "left") for n in range(3) for rater in ("anna", "ben")
    ]
    shown = {row["shown"] for row in parquet.read_table(tmp_path / "answers.parquet").to_pylist()}
    assert shown == {"left", "right"}


def unanswer(tasks):
    tasks[0]["annotations"] = []


def skip(tasks):
    tasks[0]["annotations"][0]["was_cancelled"] = True


@pytest.mark.parametrize("edit", [unanswer, skip])
def test_a_half_finished_export_is_refused_unless_it_is_wanted(recorded, tmp_path, capsys, edit):
    change(recorded / "ratings", edit)
    out = tmp_path / "out"
    assert export(recorded / "ratings", out) == 65
    said = capsys.readouterr().err
    assert "1 questions are unanswered (anna 1)" in said
    assert said.count("\n") == 1
    assert not out.exists()
    assert export(recorded / "ratings", out, "--partial=true") == 0
    assert len(rows_of(out / "ratings.csv")) == 5


def foreign(tasks):
    tasks[0]["data"]["question"] = "q999999"


def without_question(tasks):
    tasks[0]["data"] = {"image": "x"}


def twice(tasks):
    tasks.append(tasks[0])


def two_annotations(tasks):
    tasks[0]["annotations"] *= 2


def other_account(tasks):
    tasks[0]["annotations"][0]["completed_by"] = 77


def off_the_scale(tasks):
    tasks[0]["annotations"][0]["result"] = [{"from_name": "rating_awe", "value": {"number": 8}}]


def unknown_slider(tasks):
    tasks[0]["annotations"][0]["result"] = [{"from_name": "rating_joy", "value": {"number": 3}}]


def no_result(tasks):
    del tasks[0]["annotations"][0]["result"]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (foreign, "not a task of 'anna'"),
        (without_question, "not a task of 'anna'"),
        (twice, "more than once"),
        (two_annotations, "more than once"),
        (other_account, "answered by accounts"),
        (off_the_scale, "'Awe' is 8, outside 0..7"),
        (unknown_slider, "an answer that the question does not have"),
        (no_result, "an answer that the question does not have"),
    ],
)
def test_what_is_wrong_in_an_export_is_told_in_one_line(recorded, tmp_path, capsys, edit, words):
    path = change(recorded / "ratings", edit)
    assert export(recorded / "ratings", tmp_path / "out") == 65
    said = capsys.readouterr().err
    assert words in said
    assert str(path) in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["votes", "ratings"])
def test_a_question_of_another_rater_is_foreign(recorded, tmp_path, capsys, name):
    campaign = read_campaign(recorded / name)
    other = next(q.id for q in campaign.questions if "anna" not in q.raters)

    def edit(tasks):
        tasks[0]["data"]["question"] = other

    change(recorded / name, edit)
    assert export(recorded / name, tmp_path / "out") == 65
    assert "not a task of 'anna'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'[{"id": 1, "annot', "not a whole JSON export"),
        (b'{"id": 1}', "not Label Studio's JSON export"),
        (b"[]", "without tasks"),
        (b'[{"id": 1, "annotations": [], "data": {"question": "q1"}, "project": 12345}]', "of project 12345"),
    ],
)
def test_a_file_that_is_no_export_of_the_campaign_is_told(recorded, tmp_path, capsys, content, words):
    path = change(recorded / "pairs", lambda tasks: None)
    path.write_bytes(content)
    assert export(recorded / "pairs", tmp_path / "out") == 65
    assert words in capsys.readouterr().err


def test_answers_without_consent_are_refused(recorded, tmp_path, capsys):
    change(recorded / "votes", unanswer, "ben", 0)
    assert export(recorded / "votes", tmp_path / "out", "--partial=true") == 65
    assert "'ben' has answered, but not agreed" in capsys.readouterr().err


def test_a_record_that_was_changed_is_refused(recorded, tmp_path, capsys):
    path = recorded / "votes" / RECORD
    path.write_text(path.read_text().replace('"anna"', '"anne"', 1))
    assert export(recorded / "votes", tmp_path / "out") == 65
    assert "content changed" in capsys.readouterr().err
    assert export(recorded, tmp_path / "out") == 66
    (recorded / "pairs" / "sides.json").write_text("{}")
    assert export(recorded / "pairs", tmp_path / "out") == 65


def test_progress_and_agreement_are_counted():
    campaign, answers = answers_in(RECORDED / "votes")
    rows = {row.rater: row for row in rater_progress(campaign, answers)}
    assert all(row.done == row.due for row in rows.values())
    assert sum(row.done for row in rows.values()) == 13
    assert all(row.agreed and row.kappa is None for row in rows.values())
    assert sum(row.yes["n"] for row in rows.values()) == 5
    assert sum(row.yes["count"] for row in rows.values()) == 3
    assert {row.contrast_yes["count"] for row in rows.values()} == {0}
    assert outcomes(campaign, answers) == {"F": 1, "TF": 1, "TTF": 1, "TTT": 1}
    assert "of 3 targets with two votes or more, raters agree on 33%" in agreement(campaign, answers)[0]
    assert outcomes(campaign, [a for a in answers if a.round != 1]) == {"no vote yet": 1, "F": 1, "TF": 1, "TT": 1}

    campaign, answers = answers_in(RECORDED / "pairs")
    assert [row.done for row in rater_progress(campaign, answers)] == [3, 3]
    assert agreement(campaign, answers[:3]) == ["nothing has two raters yet"]
    campaign, answers = answers_in(RECORDED / "ratings")
    assert "alpha (interval" in agreement(campaign, answers)[0]
    # two raters share one image each: no kappa is defined
    assert all(row.kappa is None for row in rater_progress(campaign, answers))


def test_live_kappa_is_that_of_the_evaluation():
    raters, rng = ["anna", "ben", "cem"], np.random.default_rng(0)
    campaign = dataclasses.replace(read_campaign(RECORDED / "ratings"), raters=raters)
    campaign.questions = plan_ratings([f"f{n}" for n in range(40)], raters, 3, 0)
    truth = {q.id: dict(zip(FORTY.slugs, rng.integers(0, 8, 40).tolist(), strict=True)) for q in campaign.questions}
    noise = {q.id: dict(zip(FORTY.slugs, rng.integers(0, 8, 40).tolist(), strict=True)) for q in campaign.questions}
    given = {"anna": truth, "ben": truth, "cem": noise}
    answers = [
        Answer(q.id, rater, 1, None, given[rater][q.id], None, None, float(n), "", 1)
        for rater in raters
        for n, q in enumerate(campaign.questions)
    ]
    rows = rater_progress(campaign, answers)
    assert [row.seconds for row in rows] == [19.5] * 3
    anna, ben, cem = (row.kappa for row in rows)
    assert anna == pytest.approx(ben)
    assert 0.4 < anna < 0.6  # the mean of 1 with ben and about 0 with cem
    assert -0.1 < cem < 0.1
    assert "40 images with two raters or more" in agreement(campaign, answers)[0]


def test_a_mind_changed_after_others_were_asked_is_noted_and_nothing_dropped(recorded, tmp_path, capsys):
    campaign, answers = answers_in(recorded / "votes")
    assert changed_minds(campaign, answers) == []
    three = next(a for a in answers if a.round == 3 and a.yes).question
    first = next(q for q in campaign.questions if q.id == three).raters[0]

    def edit(tasks):
        task = next(task for task in tasks if task["data"]["question"] == three)
        task["annotations"][0]["result"][0]["value"]["choices"] = ["no"]

    change(recorded / "votes", edit, first)
    assert changed_minds(*answers_in(recorded / "votes")) == [three]
    assert export(recorded / "votes", tmp_path / "out") == 0
    assert "1 questions went on after a yes that is a no now" in capsys.readouterr().err
    assert len(rows_of(tmp_path / "out" / "votes.csv")) == 13


def test_an_export_without_any_answer_is_told(recorded, tmp_path, capsys):
    for rater in ("anna", "ben"):
        change(recorded / "pairs", lambda tasks: [task.update(annotations=[]) for task in tasks], rater)
    assert export(recorded / "pairs", tmp_path / "out", "--partial=true") == 65
    assert "nobody has answered anything yet" in capsys.readouterr().err


def test_reading_an_export_names_the_place():
    campaign = read_campaign(RECORDED / "pairs")
    with pytest.raises(DataError, match=r"^x\.json: not a whole"):
        read_export(b"[", "x.json", campaign, campaign.projects[0], {})
