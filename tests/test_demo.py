"""The whole chain in one command: every step is there, the page holds what they found, a stop loses nothing."""

import json
import random
import signal

import forking
import pytest

from emonet_lightning.cli import main
from emonet_lightning.demo.command import STEPS
from emonet_lightning.packing.packed import PackedSet

SMALL = ["--big=80", "--binary=80", "--hq=40", "--epochs=1"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    assert main(["demo", f"--out={out}", *SMALL]) == 0
    return out


def test_every_step_hands_on_to_the_next(demo):
    prompts = [json.loads(line) for line in (demo / "1-design" / "hq.jsonl").open()]
    sets = {name: PackedSet.open(demo / "4-sets" / name) for name in ("big", "binary", "hq")}
    assert sets["hq"].sealed
    assert {record["id"]: record["prompted"] for record in prompts} == dict(
        zip(sets["hq"].keys, sets["hq"].prompted, strict=True)
    )
    votes = (demo / "3-annotation" / "votes.csv").read_text().splitlines()[1:]
    assert {line.split(",")[0] for line in votes} == set(sets["binary"].keys)
    record = sets["hq"].read_record(0)["meta"]
    assert record["prompt"]
    assert record["generator"] == "rendered"
    results = json.loads((demo / "5-run" / "results.json").read_text())
    assert results["test/num_samples"] == 40
    scores = (demo / "6-study" / "scores.csv").read_text().splitlines()[1:]
    assert [line.split(",")[0] for line in scores] == sets["hq"].keys
    page = (demo / "report.html").read_text()
    for words in ("perceived", "Blind study", "Spearman with the drawn intensities", "data:image/png;base64"):
        assert words in page
    assert 'src="http' not in page
    assert f"{results['test/spearman']:.3f}" in page
    overall = json.loads((demo / "6-study" / "analysis" / "preference.json").read_text())["overall"]
    low, high = (100 * overall["clustered"][end] for end in ("low", "high"))
    assert f"[{low:.1f}, {high:.1f}] for other images and judges" in page


def test_a_folder_holds_one_demonstration_which_is_not_made_twice(demo, tmp_path, capsys):
    before = {path: path.stat().st_mtime_ns for path in demo.rglob("*.parquet")}
    assert before
    assert main(["demo", f"--out={demo}", *SMALL]) == 0
    assert {path: path.stat().st_mtime_ns for path in demo.rglob("*.parquet")} == before
    capsys.readouterr()
    assert main(["demo", f"--out={demo}", *SMALL, "--seed=1"]) == 2
    assert "holds a demonstration with" in capsys.readouterr().err
    (tmp_path / "mine.txt").touch()
    assert main(["demo", f"--out={tmp_path}"]) == 2
    assert "holds something else" in capsys.readouterr().err
    assert main(["demo", f"--out={tmp_path / 'new'}", "--hq=20"]) == 2
    assert "--hq 20: at least 40" in capsys.readouterr().err


@pytest.mark.slow
def test_a_demonstration_that_is_killed_in_every_step_ends_as_one_that_was_not(demo, tmp_path):
    """`python -m pytest -m slow -n 0 tests/test_demo.py`, about three minutes."""
    out, chance = tmp_path / "out", random.Random(0)
    for step in range(len(STEPS)):
        child = forking.start(["demo", f"--out={out}", *SMALL])

        def reached(step=step):
            state = out / "demo.json"
            return state.is_file() and len(json.loads(state.read_text())["seconds"]) >= step

        assert child.watch(200, reached) is None, child.said()
        if child.watch(chance.uniform(0, 0.5)) is None:
            child.kill(signal.SIGKILL)
            child.wait(60)
    assert main(["demo", f"--out={out}", *SMALL]) == 0
    for name in ("6-study/scores.csv", "6-study/choices.csv", "5-run/results.json", "3-annotation/votes.csv"):
        assert (out / name).read_bytes() == (demo / name).read_bytes(), name
