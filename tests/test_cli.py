import json

import pytest

from emonet_lightning.cli import main
from emonet_lightning.command_table import COMMANDS, RUNS


def test_one_help_lists_every_command_and_exit_code(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name in (*RUNS, *COMMANDS):
        assert f"\n  {name} " in text
    for code in ("0 done", "2 usage", "65 data", "66 missing input", "74 I/O", "75 interrupted", "78"):
        assert code in text


@pytest.mark.parametrize(
    "name", ["pack", "predict", "export", "fetch", "verify", "embed", "doctor", "pretrain-encoder"]
)
def test_each_tool_command_explains_its_options(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([name, "--help"])
    assert stopped.value.code in (0, None)
    text = capsys.readouterr().out
    assert f"python -m emonet_lightning {name}" in text
    assert "Args:" not in text


def test_hyphens_in_options_are_underscores(capsys, tmp_path):
    assert main(["pack", "nowhere", f"--out={tmp_path / 'set'}", "--num-processes", "1"]) == 66
    assert "nowhere" in capsys.readouterr().err


def test_abbreviated_options_are_unknown_with_the_nearest_name(capsys, tmp_path):
    assert main(["pack", "nowhere", f"--out={tmp_path}", "--taxonom", "emonet40"]) == 2
    assert "unknown option 'taxonom'; did you mean 'taxonomy'" in capsys.readouterr().err


def test_doctor_prints_json_with_a_bare_flag(capsys):
    code = main(["doctor", "--json", "--timeout", "0.5"])
    found = json.loads(capsys.readouterr().out)
    assert (code == 0) == found["fit"]


@pytest.mark.parametrize("option", ["--scores", "--scores+"])
def test_an_option_that_is_a_list_may_be_repeated_in_either_spelling(tmp_path, capsys, option):
    words = ["evaluate", "transfer", option, f"a={tmp_path}/a.jsonl", option, f"a={tmp_path}/b.jsonl"]
    assert main([*words, "--map", "ferd", "--out", str(tmp_path / "out")]) == 2
    assert "two systems are named 'a'" in capsys.readouterr().err
