"""A run that never gets further is given up; one that is asked to stop, or that gains, is not."""

import json
import signal

import forking
import pytest
import yaml
from small_runs import newest

from emonet_lightning.attempts import INTERRUPTED, begin_attempt, end_attempt
from emonet_lightning.cli import main
from emonet_lightning.errors import CrashLoopError, InterruptedRunError
from emonet_lightning.resuming import attempt
from emonet_lightning.same_run import decisive


def crash(folder, progress, how=None):
    begin_attempt(folder, progress, 3)
    if how:
        end_attempt(folder, how)


def test_the_third_restart_without_progress_ends_with_70_and_the_next_is_free(tmp_path):
    for how in ("DataError: x", None, "DataError: y"):
        crash(tmp_path, [0, 5, 2], how)
    with pytest.raises(CrashLoopError, match=r"started 3 times without getting further \(DataError: y\)") as found:
        begin_attempt(tmp_path, [0, 5, 2], 3)
    assert found.value.exit_code == 70
    begin_attempt(tmp_path, [0, 5, 2], 3)


@pytest.mark.parametrize("case", ["gains", "asked to stop", "no limit", "half a line"])
def test_other_starts_go_on(tmp_path, case):
    for step in range(6):
        begin_attempt(tmp_path, [0, step if case == "gains" else 1, 0], 0 if case == "no limit" else 3)
        if case == "asked to stop":
            end_attempt(tmp_path, INTERRUPTED)
        if case == "half a line":
            path = tmp_path / "attempts.jsonl"
            path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("line", ["5", "[]", "null", '"start"', "{}"])
def test_lines_that_are_no_entries_are_skipped(tmp_path, line):
    for _ in range(3):
        crash(tmp_path, [0, 1, 0])
        with (tmp_path / "attempts.jsonl").open("a") as stream:
            stream.write(f"{line}\n")
    with pytest.raises(CrashLoopError):
        begin_attempt(tmp_path, [0, 1, 0], 3)


@pytest.fixture
def words(small_sets, encoder_options, tmp_path):
    return [
        "fit", "--data=SyntheticFaces", f"--data.path={small_sets['big']}", "--trainer.accelerator=cpu",
        "--trainer.devices=1", "--trainer.max_epochs=2", "--trainer.enable_progress_bar=false",
        "--figures=false", "--model.widths=[8]",
        *encoder_options, f"--out={tmp_path / 'run'}",
    ]  # fmt: skip


def test_a_run_that_crashes_at_one_place_ends_with_70(words, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EMONET_FAILPOINT", "step=*@written=ENOSPC#1")
    from emonet_lightning import fail_points

    words = [*words, f"--data.cache_dir={tmp_path / 'cache'}"]
    codes = []
    for _ in range(5):
        fail_points._times.clear()
        codes.append(main(words))
    assert codes == [74, 74, 74, 74, 70], "the first start has encoded, which is progress"
    assert "started 3 times without getting further (OutputError" in capsys.readouterr().err
    monkeypatch.delenv("EMONET_FAILPOINT")
    assert main(words) == 0


def test_starts_that_encode_further_are_no_crash_loop(words, tmp_path):
    """Each start is killed once it has finished another block of features."""
    words = [*words, "--data.views=3", "--data.augmentation.hflip=0.5", f"--data.cache_dir={tmp_path / 'cache'}"]
    words.append("--max_stuck_restarts=1")
    killed = {"EMONET_FAILPOINT": "000000.safetensors@folder_synced=kill"}
    codes = [forking.run(words, env=killed)[0] for _ in range(3)]
    assert codes == [-signal.SIGKILL] * 3
    code, said = forking.run(words)
    assert code == 0, said


def test_resume_says_what_must_be_there(words, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert main(words) == 66
    assert "holds no run to go on with (--resume required" in capsys.readouterr().err
    assert not (tmp_path / "run" / "run.json").exists()
    assert main([*words, "--resume=auto"]) == 0
    first = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "DONE").unlink()
    for found in (tmp_path / "run" / "checkpoints").glob("*.ckpt"):
        found.write_bytes(b"")
    monkeypatch.delenv("SLURM_RESTART_COUNT")
    assert main(words) == 65
    assert "no checkpoint can be used" in capsys.readouterr().err
    assert main([*words, "--resume=never"]) == 0
    assert newest(tmp_path / "run" / "checkpoints") is not None
    assert json.loads((tmp_path / "run" / "run.json").read_text()) == first
    assert main([*words, "--resume=sometimes"]) == 2


@pytest.mark.parametrize(
    ("resume", "job", "message"),
    [
        ("never", None, "x: stopped; the same command goes on if --resume never is left out"),
        ("never", "7", "x: stopped; the same command goes on"),
        ("auto", None, "x: stopped; the same command goes on"),
    ],
)
def test_an_interrupted_run_says_how_it_goes_on(tmp_path, monkeypatch, resume, job, message):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    if job is not None:
        monkeypatch.setenv("SLURM_JOB_ID", job)
    options = {"resume": resume, "ckpt_path": None, "max_stuck_restarts": 3}
    with pytest.raises(InterruptedRunError) as found, attempt(tmp_path, [tmp_path], options, []):
        raise InterruptedRunError("x: stopped; the same command goes on")
    assert str(found.value) == message
    assert json.loads((tmp_path / "attempts.jsonl").read_text().splitlines()[-1])["outcome"] == INTERRUPTED


def test_a_checkpoint_of_another_run_is_refused(words, tmp_path, capsys):
    assert main(words) == 0
    path = newest(tmp_path / "run" / "checkpoints")
    other = [*words[:-1], f"--out={tmp_path / 'other'}"]
    assert main([*other, "--ckpt_path", str(path)]) == 65
    said = capsys.readouterr().err.strip().splitlines()[-1]
    own, theirs = (json.loads((tmp_path / name / "run.json").read_text())["id"] for name in ("other", "run"))
    assert own in said
    assert theirs in said
    assert main([*other, "--ckpt_path", str(path), "--resume=auto"]) == 2


def test_a_precision_is_the_same_however_it_is_spelled():
    def decided(precision):
        trainer = {"max_epochs": 1, "max_steps": -1, "precision": precision}
        return decisive({"seed_everything": 0, "trainer": trainer, "model": {}, "data": {}})

    single, double = (None, "32-true", "32", 32), ("64-true", "64", 64)
    assert all(decided(spelled) == decided(None) for spelled in single)
    assert all(decided(spelled) == decided("64-true") for spelled in double)
    assert decided("64-true") != decided(None)


def test_options_that_decide_what_is_trained_stay_the_same(words, tmp_path, capsys):
    stop = '[{"class_path": "EarlyStopping", "init_args": {"monitor": "val/score"}}]'
    changes = [
        "trainer.limit_train_batches=1", "trainer.limit_val_batches=0.5", "trainer.val_check_interval=0.5",
        "trainer.check_val_every_n_epoch=2", "trainer.min_epochs=2", "trainer.min_steps=3", "trainer.precision=64-true",
        f"trainer.callbacks={stop}", "best_heads.patience=1",
    ]  # fmt: skip
    assert main(words) == 0
    for change in changes:
        assert main([*words, f"--{change}"]) == 2, change
        option = change.partition("=")[0]
        assert f"holds a run with {option} " in capsys.readouterr().err.strip().splitlines()[-1]
    same = ["--trainer.limit_train_batches=1.0", "--trainer.precision=32-true", "--trainer.num_sanity_val_steps=1"]
    assert main([*words, *same]) == 0
    path = tmp_path / "run" / "run.yaml"
    older = yaml.safe_load(path.read_text())
    older.pop("best_heads")
    for change in changes:
        older["trainer"].pop(change.partition("=")[0].removeprefix("trainer."), None)
    path.write_text(yaml.safe_dump(older))
    assert main(words) == 0
    assert main([*words, "--best_heads.patience=1"]) == 2
    assert "best_heads.patience 0, now it is 1;" in capsys.readouterr().err
