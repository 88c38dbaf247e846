"""Campaigns on a running Label Studio server: round trips over its API, kills, and what it does not take."""

import csv
import json
import os
import subprocess
import sys
from collections import Counter

import pyarrow.parquet as parquet
import pytest
from label_studio_server import chosen, rated, serving

from emonet_lightning.annotation.label_studio import TOKEN, URL
from emonet_lightning.annotation.record import read_campaign
from emonet_lightning.cli import main
from emonet_lightning.data.labels import binary_labels
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.taxonomy import Taxonomy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
FORTY = Taxonomy.load("emonet40")
PATTERNS = ["TTT", "TTF", "TF", "F"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("label_studio")) as running:
        yield running


def begin(server, packed, name, *options, raters="anna,ben,cem,dora"):
    out = server.root / name
    words = ["annotate", "campaign", str(packed), "--out", str(out), "--name", name, "--raters", raters, *options]
    return out, main([*words, "--progress=false"])


def open_tasks(server, campaign):
    for project in campaign.projects:
        for task in server.tasks(project.id):
            if not task["total_annotations"]:
                yield project, task


def agree(server, out):
    for project, task in open_tasks(server, read_campaign(out)):
        if project.round == 0:
            server.answer(task["id"], chosen("yes", "agreed", "text"))


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def planted(campaign):
    """Pattern of votes of each target, in turn."""
    targets = sorted(question.id for question in campaign.questions if question.role == "target")
    return {name: PATTERNS[n % len(PATTERNS)] for n, name in enumerate(targets)}


def test_planted_votes_come_back_as_targets_to_train_on(server, small_sets, tmp_path, capsys):
    out, code = begin(server, small_sets["binary"], "votes", "--kind", "binary", "--num_images", "12")
    assert code == 0
    agree(server, out)
    campaign = read_campaign(out)
    wanted, roles = planted(campaign), {question.id: question.role for question in campaign.questions}
    seen = Counter()
    for _ in range(4):
        for project, task in open_tasks(server, read_campaign(out)):
            name = task["data"]["question"]
            yes = roles[name] == "target" and wanted[name][project.round - 1] == "T"
            server.answer(task["id"], chosen("yes" if yes else "no"))
            seen[project.rater, task["data"]["image"]] += 1
        assert main(["annotate", "advance", str(out), "--progress=false"]) == 0
    assert set(seen.values()) == {1}  # nobody was shown an image twice
    assert main(["annotate", "status", str(out)]) == 0
    assert "F 3, TF 3, TTF 3, TTT 3" in capsys.readouterr().out

    tables = tmp_path / "tables"
    assert main(["annotate", "export", str(out), "--out", str(tables)]) == 0
    votes = rows_of(tables / "votes.csv")
    assert len(votes) == 3 * (3 + 3 + 2 + 1) + 12
    assert json.loads((tables / "export.json").read_text())["outcomes"] == dict.fromkeys(sorted(PATTERNS), 3)
    assert {row["agreed"] for row in rows_of(tables / "consent.csv")} == {"True"}
    typed = parquet.read_table(tables / "answers.parquet").to_pylist()
    assert len(typed) == len(votes)
    assert {row["seconds"] for row in typed} == {2.5}

    words = ["evaluate", "votes", "--votes", str(tables / "votes.csv"), "--columns", "prompted=prompted"]
    assert main([*words, "--out", str(tmp_path / "report")]) == 0
    found = json.loads((tmp_path / "report" / "votes.json").read_text())
    assert found["structure"]["holds"]
    counts = {key: value["count"] for key, value in found["total"]["outcomes"].items() if value["count"]}
    assert counts == {"three_yes": 3, "two_yes_then_no": 3, "yes_then_no": 3, "no": 3, "contrast_no": 12}

    words = ["pack", str(small_sets["binary"]), "--labels", str(tables / "votes.csv"), "--unmatched", "skip"]
    assert main([*words, "--out", str(tmp_path / "voted"), "--progress=false"]) == 0
    packed = PackedSet.open(tmp_path / "voted")
    labels = binary_labels(packed.ratings(), len(packed), FORTY)
    target, mask = labels.target, labels.mask
    for question in campaign.questions:
        cell = packed.keys.index(question.image), FORTY.slugs.index(question.subject)
        outcome = wanted.get(question.id, "contrast")
        assert mask[cell] == (outcome in ("TTT", "F", "contrast"))
        assert target[cell] == (7 if outcome == "TTT" else 0)
    assert mask.sum() == 12 + 6


def test_untouched_sliders_are_told_from_zeros_and_ratings_are_judged(server, small_sets, tmp_path, capsys):
    options = ["--kind", "rating", "--per_image", "2", "--num_images", "6", "--consent", "none"]
    out, code = begin(server, small_sets["hq"], "rated", *options, raters="anna,ben,cem")
    assert code == 0
    campaign, given = read_campaign(out), {}
    image_of = {question.id: question.image for question in campaign.questions}
    for n, (project, task) in enumerate(open_tasks(server, campaign)):
        levels = {f"rating_{slug}": -1 for slug in FORTY.slugs}  # as the page sends it
        own = {"elation": n % 8, "jealousy_&_envy": 0} if n else {}
        server.answer(task["id"], rated({**levels, **{f"rating_{slug}": v for slug, v in own.items()}}))
        given[image_of[task["data"]["question"]], project.rater] = own
    tables = tmp_path / "tables"
    assert main(["annotate", "export", str(out), "--out", str(tables)]) == 0
    typed = parquet.read_table(tables / "answers.parquet").to_pylist()
    assert len(typed) == 12 * 40
    for row in typed:
        own = given[row["image"], row["rater"]]
        assert row["touched"] == (row["emotion"] in own)
        assert row["rating"] == own.get(row["emotion"], 0)
    assert sorted({(row["image"], row["annotator"]) for row in rows_of(tables / "ratings.csv")}) == sorted(given)

    words = ["evaluate", "agreement", "--ratings", str(tables / "ratings.csv"), "--num_draws", "10"]
    assert main([*words, "--out", str(tmp_path / "agreement"), "--progress=false"]) == 0
    words = ["pack", str(small_sets["hq"]), "--labels", str(tables / "ratings.csv"), "--unmatched", "skip"]
    assert main([*words, "--out", str(tmp_path / "set"), "--sealed", "--progress=false"]) == 0
    packed = PackedSet.open(tmp_path / "set")
    ratings = packed.ratings()
    assert packed.kind == "rated"
    assert len(ratings.value) == sum(map(len, given.values()))
    assert len(ratings.silent) == 1
    assert main(["annotate", "status", str(out)]) == 0
    assert "alpha (interval" in capsys.readouterr().out


def test_choices_come_back_as_sides_of_the_pairs_file(server, small_sets, tmp_path):
    keys = PackedSet.open(small_sets["hq"]).keys[:6]
    pairs = tmp_path / "pairs.jsonl"
    lines = [{"pair": f"p{n}", "image": key, "left": ["Awe"], "right": ["Fear", "Pain"]} for n, key in enumerate(keys)]
    pairs.write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = ["--kind", "preference", "--pairs", str(pairs), "--swap_sides=true", "--consent", "none"]
    out, code = begin(server, small_sets["hq"], "pairs", *options, raters="anna,ben")
    assert code == 0
    shown = Counter()
    for _, task in open_tasks(server, read_campaign(out)):  # all choose what says awe
        side = "left" if task["data"]["left1"] == "Awe" else "right"
        shown[side] += 1
        server.answer(task["id"], chosen(side))
    assert shown["left"]
    assert shown["right"]
    assert main(["annotate", "export", str(out), "--out", str(tmp_path / "tables")]) == 0
    rows = rows_of(tmp_path / "tables" / "preferences.csv")
    assert [(row["pair"], row["rater"], row["choice"], row["seconds"]) for row in rows] == [
        (f"p{n}", rater, "left", "2.500") for n in range(6) for rater in ("anna", "ben")
    ]


@pytest.mark.parametrize(
    "moment", ["campaign.json@opened=kill#3", "campaign.json@renamed=kill#2", "*.jpg@renamed=kill#3"]
)
def test_a_campaign_that_was_killed_goes_on_and_makes_nothing_twice(server, small_sets, moment):
    name = f"killed {moment[-18:-7]}".replace("@", " ")
    packed = small_sets["hq"]
    before = set(server.project_ids())
    words = ["annotate", "campaign", str(packed), "--out", str(server.root / name), "--name", "k", "--num_images", "8"]
    words += ["--kind", "rating", "--raters", "anna,ben,cem", "--per_image", "2"]
    killed = subprocess.run(
        [sys.executable, "-m", "emonet_lightning", *words],
        env={**os.environ, "EMONET_FAILPOINT": moment}, capture_output=True, check=False,
    )  # fmt: skip
    assert killed.returncode == -9, killed.stderr
    for _ in range(2):
        assert main([*words, "--progress=false"]) == 0
    campaign = read_campaign(server.root / name)
    assert {project.id for project in campaign.projects} == set(server.project_ids()) - before
    assert len(campaign.projects) == 6
    asked = Counter(
        (p.rater, task["data"]["question"]) for p in campaign.projects if p.round for task in server.tasks(p.id)
    )
    assert asked == Counter((rater, q.id) for q in campaign.questions for rater in q.raters)


def test_a_task_that_a_call_left_twice_is_deleted_unless_it_was_answered(server, small_sets):
    options = ["--kind", "rating", "--num_images", "2", "--consent", "none"]
    out, code = begin(server, small_sets["hq"], "doubles", *options, raters="anna")
    assert code == 0
    (project,) = read_campaign(out).projects
    first = server.tasks(project.id)[0]
    server.add_task(project.id, first["data"])
    again = max(task["id"] for task in server.tasks(project.id))
    server.answer(again, rated({"rating_awe": 3}))
    assert begin(server, small_sets["hq"], "doubles", *options, raters="anna")[1] == 0
    left = [task["id"] for task in server.tasks(project.id)]
    assert again in left
    assert first["id"] not in left
    assert len(left) == 2


def refusal(capsys, *words):
    code = main(list(words))
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: ")
    return code, said


def test_what_does_not_fit_is_one_line_and_nothing_is_lost(server, small_sets, tmp_path, capsys, monkeypatch):
    options = ["--kind", "rating", "--num_images", "2", "--per_image", "1"]
    out, code = begin(server, small_sets["hq"], "refused", *options, raters="anna,ben")
    assert code == 0
    tables = str(tmp_path / "tables")
    campaign = read_campaign(out)
    part = next(project for project in campaign.projects if project.round)
    server.answer(server.tasks(part.id)[0]["id"], rated({"rating_awe": 3}))
    code, said = refusal(capsys, "annotate", "export", str(out), "--out", tables, "--partial=true")
    assert (code, "not agreed" in said) == (65, True)
    agree(server, out)
    code, said = refusal(capsys, "annotate", "export", str(out), "--out", tables)
    assert (code, "1 questions are unanswered (ben 1)" in said) == (65, True)
    assert not (tmp_path / "tables").exists()
    assert main(["annotate", "export", str(out), "--out", tables, "--partial=true"]) == 0
    assert len(rows_of(tmp_path / "tables" / "ratings.csv")) == 1
    kept = (tmp_path / "tables" / "ratings.csv").read_bytes()

    server.add_task(part.id, {"question": "q999999", "image": "x"})
    code, said = refusal(capsys, "annotate", "export", str(out), "--out", tables, "--partial=true")
    assert (code, "not a task of 'anna'" in said) == (65, True)
    assert (tmp_path / "tables" / "ratings.csv").read_bytes() == kept

    other = small_sets["binary"]
    assert begin(server, other, "refused", *options, raters="anna,ben")[1] == 2
    assert "holds another campaign" in capsys.readouterr().err
    server.delete(part.id)
    code, said = refusal(capsys, "annotate", "status", str(out))
    assert (code, f"has no project {part.id}" in said) == (65, True)
    monkeypatch.setenv(TOKEN, "not-a-token-of-this-server")
    assert refusal(capsys, "annotate", "status", str(out))[0] == 2
    monkeypatch.setenv(URL, "http://127.0.0.1:9")
    assert refusal(capsys, "annotate", "status", str(out))[0] == 78


def test_a_folder_that_the_server_may_not_serve_is_told_with_the_remedy(server, small_sets, tmp_path, capsys):
    words = ["--kind", "rating", "--raters", "anna", "--num_images", "2", "--out", str(tmp_path / "elsewhere")]
    code, said = refusal(capsys, "annotate", "campaign", str(small_sets["hq"]), *words, "--progress=false")
    assert code == 78
    assert f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={tmp_path / 'elsewhere'}" in said


def test_every_image_is_shown_by_the_server_as_it_was_packed(server, small_sets):
    options = ["--kind", "rating", "--num_images", "3", "--consent", "none"]
    out, code = begin(server, small_sets["hq"], "served", *options, raters="anna")
    assert code == 0
    packed, campaign = PackedSet.open(small_sets["hq"]), read_campaign(out)
    image_of = {question.id: question.image for question in campaign.questions}
    for _, task in open_tasks(server, campaign):
        key = image_of[task["data"]["question"]]
        shown = server.client.get(task["data"]["image"])
        assert shown.headers["content-type"] == "image/jpeg"
        assert shown.content == packed.read_image(packed.keys.index(key))
        assert key not in json.dumps(task["data"])  # names of rendered faces name the emotion
