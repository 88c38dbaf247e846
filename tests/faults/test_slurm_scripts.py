"""Values that reach Slurm's scripts and programs do nothing there: each word arrives as it was given, or is refused."""

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from hostile_words import WORDS

from emonet_lightning import slurm
from emonet_lightning.errors import EnvironmentProblem, UsageError

SCRIPTS = sorted((Path(__file__).parents[2] / "slurm").glob("*.sbatch"))
_RECORDING = """#!/bin/bash
printf '%s\\0' "$(basename "$0")" "$@" $'\\n' >> "$RECORD"
"""
_SRUN = f"""{_RECORDING}while [[ $# -gt 0 ]]; do [[ "$1 $2" == "bash -c" ]] && exec "$@"; shift; done
"""
_HOSTS = f"{_RECORDING}echo n1\n"


@pytest.fixture
def shell(tmp_path):
    """Runs a script with programs of Slurm that note how they were called; returns exit code, errors and calls."""
    programs, work, record = tmp_path / "bin", tmp_path / "work", tmp_path / "record"
    work.mkdir()
    programs.mkdir()
    for name, text in {"srun": _SRUN, "scontrol": _HOSTS, "getent": _RECORDING, "wandb": _RECORDING}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)

    def run(script, *words, **variables):
        record.write_bytes(b"")
        environment = {
            "PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path), "RECORD": str(record), "SLURM_JOB_ID": "7",
            "SLURM_JOB_NODELIST": "n1", "SLURM_JOB_NUM_NODES": "1", "SLURM_NTASKS_PER_NODE": "2", **variables,
        }  # fmt: skip
        done = subprocess.run(
            ["bash", str(script), *words], cwd=work, env=environment, capture_output=True, timeout=30, check=False
        )
        calls = [call.split(b"\0") for call in record.read_bytes().split(b"\0\n\0") if call]
        assert not list(tmp_path.rglob("canary")), words
        return done.returncode, done.stderr.decode(), [[os.fsdecode(word) for word in call] for call in calls]

    return run


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.name for script in SCRIPTS])
def test_scripts_are_sound_and_static(script):
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    text = script.read_text()
    assert '"$@"' in text
    assert "eval" not in text
    assert "set -euo pipefail" in text


def test_sixty_words_arrive_as_they_were_given(shell):
    assert len({*WORDS}) == 60
    train, embed, sweep = (next(path for path in SCRIPTS if path.stem == name) for name in ("train", "embed", "sweep"))
    code, said, calls = shell(train, "--out", "run", *WORDS)
    assert code == 0, said
    assert calls[-1][-62:] == ["--out", "run", *WORDS]
    assert shell(embed, *WORDS)[2][-1][-60:] == WORDS
    assert shell(sweep, *WORDS)[2][-1][-60:] == WORDS
    for word in WORDS:
        for words in (["--out", word], [f"--out={word}"]):
            code, said, calls = shell(train, *words)
            assert code == 0, said
            assert calls[-1][-len(words) :] == words


NAMES = ("SLURM_JOB_NODELIST", "MASTER_ADDR", "SLURM_NTASKS_PER_NODE", "SLURM_JOB_NUM_NODES", "SLURM_CPUS_PER_TASK")


@pytest.mark.parametrize("name", NAMES)
def test_sixty_values_of_variables_do_nothing(shell, name):
    train = next(path for path in SCRIPTS if path.stem == "train")
    for word in WORDS:
        code, said, calls = shell(train, "--out", "run", **{name: word})
        assert code == 0, said
        if name != "SLURM_CPUS_PER_TASK":
            assert any(word in call for call in calls)


def test_a_cache_is_staged_between_folders_of_any_name(shell, tmp_path):
    train = next(path for path in SCRIPTS if path.stem == "train")
    for number, word in enumerate(WORDS):
        source = tmp_path / "caches" / str(number) / word.replace("/", "")
        (source / "features").mkdir(parents=True)
        (source / "features" / "block").write_bytes(word.encode())
        stage = tmp_path / "stages" / word
        code, said, _ = shell(train, "--out", "run", EMONET_CACHE=str(source), EMONET_STAGE=str(stage))
        assert code == 0, said
        assert (stage / "features" / "block").read_bytes() == word.encode()


def test_a_run_without_a_name_and_an_address_that_is_none_are_refused(shell):
    train = next(path for path in SCRIPTS if path.stem == "train")
    code, said, calls = shell(train, "--data=BIG")
    assert (code, calls) == (2, [])
    assert said.startswith("error: usage: sbatch slurm/train.sbatch --out RUN")


# -- asking to be requeued -------------------------------------------------------------------------------------------


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """Makes a scontrol of given lines, the only one; returns how it was called so far."""
    monkeypatch.setattr(slurm, "_PAUSE", 0.0)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID", raising=False)
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    calls = tmp_path / "calls"
    calls.touch()

    def make(text):
        (tmp_path / "scontrol").write_text(f'#!/bin/bash\necho "$@" >> {calls}\n{text}\n')
        (tmp_path / "scontrol").chmod(0o755)
        return lambda: calls.read_text().splitlines()

    return make


def test_sixty_ids_that_are_none_reach_no_program(scontrol, monkeypatch):
    called = scontrol("exit 0")
    for word in [*WORDS, "", "0", "-1", "1 2", "12_", "_3", "12_3_4", "१२", "12\n", " 12"]:
        for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
            with monkeypatch.context() as patch:
                patch.setenv("SLURM_ARRAY_JOB_ID", "12") if "ARRAY" in name else None
                patch.setenv("SLURM_ARRAY_TASK_ID", "3") if "ARRAY" in name else None
                patch.setenv(name, word)
                if name == "SLURM_ARRAY_TASK_ID" and word == "0":
                    continue  # the first task of an array
                with pytest.raises(EnvironmentProblem, match="is not the id of a job") as caught:
                    slurm.requeue("stopped")
                assert "\n" not in str(caught.value)
    assert called() == []


def test_a_job_and_a_task_of_an_array_are_requeued_by_their_ids(scontrol, monkeypatch, capsys):
    called = scontrol("exit 0")
    slurm.requeue("stopped")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    slurm.requeue("stopped")
    assert called() == ["requeue 12", "requeue 12_0"]
    assert "stopped; asking Slurm to put job 12_0 back into the queue" in capsys.readouterr().err
    monkeypatch.delenv("SLURM_JOB_ID")
    slurm.requeue("stopped")  # outside of Slurm
    assert len(called()) == 2


def test_a_refusal_is_an_error_after_three_tries(scontrol):
    called = scontrol("echo 'Requested operation is presently disabled' >&2; exit 1")
    with pytest.raises(EnvironmentProblem, match=r"did NOT requeue job 12 \(Requested operation is presently disabled"):
        slurm.requeue("stopped")
    assert called() == ["requeue 12"] * 3
    called = scontrol('mapfile -t calls < "${0%/*}/calls"; (( ${#calls[@]} >= 5 ))')
    slurm.requeue("stopped")  # a controller that answers late
    assert len(called()) == 5


def test_a_scontrol_that_hangs_or_is_not_there_is_an_error(scontrol, monkeypatch, tmp_path):
    monkeypatch.setattr(slurm, "_TIMEOUT", 0.2)
    scontrol("exec /bin/sleep 60")
    with pytest.raises(EnvironmentProblem, match="gave no answer within"):
        slurm.requeue("stopped")
    (tmp_path / "scontrol").unlink()
    with pytest.raises(EnvironmentProblem, match="scontrol: No such file"):
        slurm.requeue("stopped")


def test_the_end_of_the_job_does_not_end_the_question(scontrol):
    called = scontrol("kill -TERM $PPID; kill -TERM $$; exit 0")
    assert threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    slurm.requeue("stopped")
    assert called() == ["requeue 12"]
    assert signal.getsignal(signal.SIGTERM) is before


# -- tasks and processes ---------------------------------------------------------------------------------------------


@pytest.fixture
def tasks(monkeypatch):
    """Sets Slurm's numbers."""
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)

    def given(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(f"SLURM_{name}", value)

    return given


def test_tasks_that_are_not_the_trainers_processes_are_refused(tasks):
    slurm.check_launch()
    slurm.check_tasks(8, 4)
    tasks(NTASKS="4", NNODES="2", JOB_ID="7")
    with pytest.raises(UsageError, match=r"4 tasks, but one process was started; start it by srun"):
        slurm.check_launch()
    tasks(STEP_ID="0")
    with pytest.raises(UsageError, match=r"4 tasks by --ntasks; give --nodes and --ntasks-per-node"):
        slurm.check_launch()
    tasks(NTASKS_PER_NODE="2")
    slurm.check_launch()
    slurm.check_tasks(2, 2)
    with pytest.raises(
        UsageError, match=r"4 x 2 are not the 4 tasks .* give --trainer.devices 2 --trainer.num_nodes 2"
    ):
        slurm.check_tasks(4, 2)
    tasks(JOB_NAME="interactive")
    slurm.check_tasks(4, 2)


def test_numbers_that_are_none_are_refused(tasks):
    for word in WORDS:
        tasks(NTASKS=word, JOB_ID="7")
        for check in (slurm.check_launch, lambda: slurm.check_tasks(1, 1)):
            with pytest.raises(UsageError, match=r"SLURM_NTASKS: .* is not a number") as caught:
                check()
            assert "\n" not in str(caught.value)
    tasks(NTASKS="2", NTASKS_PER_NODE="2", STEP_ID="0", JOB_ID="$(touch canary)")
    with pytest.raises(EnvironmentProblem, match="is not the id of a job"):
        slurm.check_launch()
