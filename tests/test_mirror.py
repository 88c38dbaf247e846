"""`mirror` on lines that are damaged or already there: one line that names them, and W&B is not started."""

import json

import pytest

from emonet_lightning import wandb_offline
from emonet_lightning.cli import main
from emonet_lightning.run_identity import run_id

LINES = [{"step": step, "epoch": step, "val/loss": 1.0 / step} for step in (1, 2, 3)]


@pytest.fixture
def run(tmp_path):
    """A folder with the lines of a run that was not tested."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return folder


DAMAGE = {
    "cut": ('{"step": 2, "epo', "not a JSON object"),
    "no object": ("[1]", "not a JSON object"),
    "nested": ("[" * 100_000, "not a JSON object"),
    "a step twice": ('{"step": 2, "step": 3}', "'step' stands twice"),
    "no step": ('{"epoch": 2, "val/loss": 0.5}', "step"),
    "word for a step": ('{"step": "2", "val/loss": 0.5}', "step"),
    "endless step": ('{"step": Infinity, "val/loss": 0.5}', "step"),
    "word for an epoch": ('{"step": 2, "epoch": "x", "val/loss": 0.5}', "epoch"),
    "word for a value": ('{"step": 2, "epoch": 2, "val/loss": {"a": 1}}', "val/loss"),
    "not text": (b'{"step": 2, "\xff": 1}', "not a JSON object"),
}


@pytest.mark.parametrize("file", ["metrics.jsonl", "timing.jsonl"])
@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_line_is_named_before_anything_is_sent(kind, file, run, capsys):
    line, named = DAMAGE[kind]
    line = line if isinstance(line, bytes) else line.encode()
    first, *rest = [json.dumps(line).encode() for line in LINES]
    (run / file).write_bytes(b"\n".join([first, b"", line, *rest, b""]))
    assert main(["mirror", str(run), "--offline"]) == 65
    said = capsys.readouterr().err.strip()
    assert said.startswith(f"error: {run / file}, line 3: ")
    assert named in said
    assert "\n" not in said
    assert not (run / "wandb").exists()


def test_line_that_was_broken_off_at_the_end_is_left_out(run, tmp_path):
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 4, "epo')
    assert main(["mirror", str(run), "--offline", f"--out={tmp_path / 'sent'}"]) == 0
    (segment,) = wandb_offline.segments(tmp_path / "sent", run_id(run))
    assert [row["trainer/global_step"] for row in wandb_offline.rows(segment)] == [1, 2, 3]


def test_lines_are_not_written_twice_under_one_id(run, tmp_path, capsys):
    assert main(["mirror", str(run), "--offline"]) == 0
    (segment,) = wandb_offline.segments(run, run_id(run))
    before = segment.read_bytes()
    capsys.readouterr()
    assert main(["mirror", str(run), "--offline"]) == 2
    said = capsys.readouterr().err.strip()
    assert str(segment.parent) in said
    assert "wandb sync" in said
    assert "--out" in said
    assert "\n" not in said
    assert wandb_offline.segments(run, run_id(run)) == [segment]
    assert segment.read_bytes() == before
    assert main(["mirror", str(run), "--offline", f"--out={tmp_path / 'other'}"]) == 0
    assert main(["mirror", str(run), "--offline", "--id=another"]) == 0


def test_of_stages_none_is_written_where_one_is_there(run, tmp_path, capsys):
    both = tmp_path / "both"
    for name in ("a", "b"):
        (both / name).mkdir(parents=True)
        (both / name / "metrics.jsonl").write_bytes((run / "metrics.jsonl").read_bytes())
    id = run_id(both)
    there = tmp_path / "out" / "wandb" / f"offline-run-20260101_000000-{id}-b"
    there.mkdir(parents=True)
    (there / f"run-{id}-b.wandb").write_bytes(b"")
    assert main(["mirror", str(both), "--offline", f"--out={tmp_path / 'out'}"]) == 2
    assert there.name in capsys.readouterr().err
    assert [path.name for path in there.parent.iterdir()] == [there.name]


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("results.json", "[1]", "results.json"),
        ("agreement.json", '{"ratings": 3}', "agreement.json"),
        ("manifest.json", "{}", "manifest.json"),
    ],
)
def test_damaged_results_of_a_test_are_named_before_anything_is_sent(file, content, named, run, capsys):
    from emonet_lightning.bundle import HeadsBundle
    from emonet_lightning.heads import EmotionHeads
    from emonet_lightning.taxonomy import Taxonomy

    HeadsBundle(EmotionHeads(40, 8, (4,)), Taxonomy.load("emonet40"), training={"steps": 3}).save(run)
    (run / "results.json").write_text('{"test/spearman": 0.5}')
    (run / file).write_text(content)
    assert main(["mirror", str(run), "--offline"]) == 65
    said = capsys.readouterr().err.strip()
    assert said.startswith(f"error: {run / named}: ")
    assert "\n" not in said
    assert not (run / "wandb").exists()
