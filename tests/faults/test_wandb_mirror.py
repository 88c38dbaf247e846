"""W&B is a mirror: it may be killed, unreachable or without a key, and a run ends the same; each line is sent once."""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import forking
import pytest
import runs

from emonet_lightning import wandb_offline
from emonet_lightning.cli import main
from emonet_lightning.run_identity import run_id

KEY = "0123456789abcdef" * 2 + "01234567"
"""Looks like one of W&B's keys, and is none."""
MIRRORED = ["--trainer.logger=WandbLogger"]
OFFLINE = [*MIRRORED, "--trainer.logger.offline=true"]


@pytest.fixture
def scene(scenes):
    """A run of some seconds, mirrored offline."""
    found = scenes["cached"]
    return runs.Scene([*found.words, *OFFLINE], found.environment)


def local(out):
    """Lines of a run's own files, as W&B should have them: (step, names of the metrics)."""
    files = [out / "metrics.jsonl", out / "timing.jsonl"]
    lines = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    return sorted((line["step"], *sorted({*line} - {"step", "epoch"})) for line in lines)


def mirrored(found):
    """The same of W&B's rows."""
    own = ("_", "mirror/", "trainer/", "epoch")
    return sorted((row["trainer/global_step"], *sorted(key for key in row if not key.startswith(own))) for row in found)


def rows_of(out):
    """Rows of all of a run's segments, with a test's left out."""
    found = [row for path in wandb_offline.segments(out, run_id(out)) for row in wandb_offline.rows(path)]
    return [row for row in found if not any(key.startswith("test/") for key in row)]


def lines_in_segment(out, number):
    """Whether W&B's service has taken and written a line of the start of that number."""
    if not (out / "run.json").is_file():
        return False
    found = wandb_offline.segments(out, run_id(out))
    return len(found) > number and any(True for _ in wandb_offline.rows(found[number]))


def services(pid):
    """W&B's service processes among the descendants of a process."""
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            words = stat.read_text().rpartition(")")[2].split()
            children.setdefault(int(words[1]), []).append(int(stat.parent.name))
    found, todo = [], [pid]
    while todo:
        own = children.get(todo.pop(), [])
        todo += own
        for child in own:
            if is_service(child):
                found.append(child)
    return found


def is_service(pid):
    """Whether the process is W&B's service, and lives: a dead one that nobody waited for has no command line."""
    try:
        return b"wandb-core" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def until(condition, timeout=60):
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, "not within its time"
        time.sleep(0.005)
    return found


@pytest.mark.slow
def test_each_line_is_sent_once_over_five_killed_segments(scene, place):
    out = place / "mirrored"
    words = [word for word in scene.command(out) if "max_epochs" not in word] + ["--trainer.max_epochs=300"]
    for kill in range(5):
        child = forking.start(words, env=scene.environment)
        until(lambda kill=kill: lines_in_segment(out, kill))
        service = services(child.pid)
        assert child.kill(signal.SIGKILL, group=True), child.said()[-2000:]
        if kill % 2:  # with the service, which else writes what it was given and ends
            for pid in service:
                os.kill(pid, signal.SIGKILL)
        child.wait(60)
        until(lambda service=service: not any(map(is_service, service)))
    code, said = forking.run(words, 120, env=scene.environment)
    assert code == 0, said[-2000:]
    segments = wandb_offline.segments(out, run_id(out))
    assert len(segments) == 6
    assert sum(any(True for _ in wandb_offline.rows(path)) for path in segments) >= 5
    rows = rows_of(out)
    assert len(rows) > 120
    assert mirrored(rows) == local(out)
    steps = [row["_step"] for row in rows]
    assert sorted(steps) == list(range(len(rows)))


def test_a_run_does_not_notice_that_the_service_dies(scene, place, scenes):
    out = place / "service"
    child = forking.start(scene.command(out), env=scene.environment)
    pids = until(lambda: services(child.pid))
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert child.wait(120) == 0, child.said()[-2000:]
    assert child.said().count("W&B ") == 1
    assert "the run goes on without it" in child.said()
    assert mirrored(rows_of(out)) == local(out), "a second sender sent what the first one could not"


@pytest.mark.parametrize(
    "key", [pytest.param("", id="no key"), pytest.param(KEY, id="no network", marks=pytest.mark.slow)]
)
def test_a_run_without_key_or_network_logs_offline(scenes, place, key):
    out = place / f"unreachable-{bool(key)}"
    found = scenes["cached"]
    environment = {
        **found.environment, "WANDB_MODE": "online", "WANDB_API_KEY": key, "WANDB_BASE_URL": "http://127.0.0.1:9",
        "HOME": str(place), "NETRC": str(place / "netrc"),
    }  # fmt: skip
    words = [word for word in found.command(out) if "max_epochs" not in word] + ["--trainer.max_epochs=3"]
    started = time.monotonic()
    code, said = forking.run([*words, *MIRRORED], 120, env=environment)
    assert code == 0, said[-2000:]
    assert said.count("W&B ") == 1
    assert len((out / "metrics.jsonl").read_text().splitlines()) >= 3
    assert time.monotonic() - started < 60
    assert KEY.encode() not in b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())


def test_one_run_is_made_again_of_the_lines(whole, tmp_path, capsys):
    out = whole("tested")
    assert main(["mirror", str(out), "--offline", f"--out={tmp_path}"]) == 0
    assert f"sent to W&B run {run_id(out)}" in capsys.readouterr().out
    (segment,) = wandb_offline.segments(tmp_path, run_id(out))
    rows = list(wandb_offline.rows(segment))
    assert mirrored([row for row in rows if not any(key.startswith("test/") for key in row)]) == local(out)
    (tested,) = [row for row in rows if "test/spearman" in row]
    assert tested["test/spearman"] == json.loads((out / "results.json").read_text())["test/spearman"]
    assert {"test/systems", "test/figures"} <= {key.partition(".")[0] for key in tested}


def test_a_folder_without_lines_is_refused(tmp_path, capsys):
    assert main(["mirror", str(tmp_path), "--offline"]) == 66
    assert "holds no metrics.jsonl" in capsys.readouterr().err
