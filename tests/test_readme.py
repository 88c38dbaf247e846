"""The README says what works: its test command is the one that CI runs, its other blocks are executed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import forked_python
import pytest

from emonet_lightning.command_table import COMMANDS, RUNS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", README, flags=re.S)
SET_UP = [text for language, text in BLOCKS if language == "bash" and "pip install" in text]


def test_two_commands_do_all_the_set_up():
    assert [text.strip().split(" && ") for text in SET_UP] == [
        ["python3 -m venv .venv", ".venv/bin/pip install .", ".venv/bin/python -m emonet_lightning fit"],
        ["python3 -m venv .venv", '.venv/bin/pip install ".[test]"', ".venv/bin/python -m pytest"],
    ]


def test_ci_runs_exactly_the_readmes_test_command():
    script = (ROOT / ".ci" / "run").read_text()
    pattern = re.search(r"sed -n 's/\^\\\((.*?)\\\)\$", script)
    assert pattern, "CI takes the command from the README"
    found = subprocess.run(
        ["sed", "-n", "s/^\\(python3 -m venv .*-m pytest\\)$/\\1/p", "README.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.strip() == SET_UP[1].strip()
    assert pattern.group(1) == "python3 -m venv .*-m pytest"


@pytest.mark.timeout(1200)  # the quickstart is part of it
def test_every_other_block_runs_in_order(quickstart, installed, tmp_path):
    folder = quickstart.parent.parent.parent  # where `fit` without arguments ran
    (folder / "configs").symlink_to(ROOT / "configs")
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": f"{installed}:{os.pathsep.join(path for path in sys.path if path.endswith('site-packages'))}",
    }
    others = [(language, text) for language, text in BLOCKS if text not in SET_UP]
    assert len(others) >= 4
    with forked_python.place(tmp_path, environment):
        for language, text in others:
            words = ["bash", "-euo", "pipefail", "-c", text] if language == "bash" else [sys.executable, "-c", text]
            done = subprocess.run(
                words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
            )
            assert done.returncode == 0, f"{text}\n{done.stderr[-2000:]}"
    assert (folder / "scores.csv").read_text().count("\n") == 501
    assert len(list((folder / "heads").glob("model_*_best.pth"))) == 40
    assert (folder / "runs" / "own" / "report.md").is_file()
    assert (folder / "runs" / "sweep" / "trials.parquet").is_file()


def test_commands_and_configurations_are_all_named():
    for name in (*RUNS, *COMMANDS):
        assert f"`{name}`" in README or f"emonet_lightning {name}" in README, name
    for path in (ROOT / "configs").glob("*.yaml"):
        assert f"`{path.name}`" in README, path.name


def test_limits_are_stated():
    for words in ("perceived", "synthetic", "AI Act", "work and in education"):
        assert words in README
