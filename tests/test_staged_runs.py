"""A run that is started again: what it goes on from, what it refuses, and that nothing before is lost."""

import fcntl
import signal

import forking
import pytest
from faults import moments
from small_runs import newest

from emonet_lightning import stages
from emonet_lightning.cli import main
from emonet_lightning.folder_lock import claimed

STOP = {"EMONET_FAILPOINT": "step=*@renamed=SIGTERM#2"}
STAGES = """stages:
- name: first
  overrides: {trainer: {max_epochs: 2}}
- name: second
  overrides: {trainer: {max_epochs: 3}}
"""


@pytest.fixture
def words(small_sets, encoder_options, tmp_path):
    """A short fit of one stage."""
    return [
        "fit", "--data=SyntheticFaces", f"--data.path={small_sets['big']}", "--data.batch_size=24", *encoder_options,
        "--model.widths=[8]", "--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.enable_progress_bar=false",
        "--figures=false",
        "--checkpoint_every=0", "--num_draws=20", "--max_stuck_restarts=0", f"--out={tmp_path / 'run'}",
    ]  # fmt: skip


@pytest.fixture
def staged(words, tmp_path):
    """The same in two stages."""
    config = tmp_path / "two.yaml"
    config.write_text(STAGES)
    return [words[0], f"--config={config}", *words[1:]]


def test_a_run_killed_after_its_last_stage_is_finished_by_the_same_command(staged, tmp_path):
    killed = {"EMONET_FAILPOINT": "report.md@opened=kill"}
    assert forking.run(staged, env=killed)[0] == -signal.SIGKILL
    assert (tmp_path / "run" / "second" / "DONE").is_file()
    code, said = forking.run(staged)
    assert code == 0, said
    assert (tmp_path / "run" / "DONE").is_file()


def test_a_folder_with_another_kind_of_run_is_refused_and_left_as_it_is(words, staged, tmp_path):
    record = tmp_path / "run" / "run.yaml"
    single = [*words, "--trainer.max_epochs=3"]
    assert forking.run(staged, env=STOP)[0] == 75
    before = record.read_bytes()
    code, said = forking.run(single)
    assert code == 2, said
    assert "run: holds a run of the stages first, second, now it is one of no stages; choose another --out" in said
    renamed = tmp_path / "renamed.yaml"
    renamed.write_text(STAGES.replace("second", "third"))
    code, said = forking.run([staged[0], f"--config={renamed}", *staged[2:]])
    assert code == 2, said
    assert "now it is one of the stages first, third; choose another --out" in said
    assert record.read_bytes() == before

    other = [*single[:-1], f"--out={tmp_path / 'other'}"]
    assert forking.run(other, env=STOP)[0] == 75
    code, said = forking.run([*staged[:-1], f"--out={tmp_path / 'other'}"])
    assert code == 2, said
    assert "other: holds a run of no stages, now it is one of the stages first, second; choose another --out" in said
    assert not (tmp_path / "other" / "first").exists()


@pytest.mark.parametrize("content", ["", "model: 3\n", "stages: 3\n", "stages: [{name: [a]}]\n"])
def test_a_damaged_record_of_a_run_is_named(words, tmp_path, content, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.yaml").write_text(content)
    assert main(words) == 65
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"{tmp_path / 'run' / 'run.yaml'}: is no record of a run; " in said


def test_a_locked_folder_is_left_as_it_is(staged, tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    with (folder / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert main(staged) == 2
    assert "another fit is running in this folder" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_a_lock_whose_file_was_removed_meanwhile_is_taken_again(tmp_path, monkeypatch):
    """Whoever held the folder removes the file between this process's opening and locking it."""
    path, lock = tmp_path / ".lock", fcntl.flock

    def late(file, how):
        monkeypatch.setattr(fcntl, "flock", lock)
        path.unlink()
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with claimed(tmp_path, "it is held"), path.open("w") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert not path.exists()


def test_a_run_that_another_process_finished_meanwhile_is_left_alone(words, tmp_path, monkeypatch, capsys):
    make_folder = stages.make_folder

    def late(folder):
        (make_folder(folder) / "DONE").touch()

    monkeypatch.setattr(stages, "make_folder", late)
    assert main(words) == 0
    assert "this run is finished; nothing to do" in capsys.readouterr().err
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_checkpoint_beside_stages_is_refused_at_once(staged, tmp_path, capsys):
    checkpoint = tmp_path / "a.ckpt"
    checkpoint.touch()
    assert main([*staged, f"--ckpt_path={checkpoint}"]) == 2
    assert f"--ckpt_path {checkpoint}: " in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_that_began_anew_goes_on_after_a_restart_by_slurm(words, tmp_path):
    anew = [*words, "--trainer.max_epochs=4", "--resume=never"]
    code, said = forking.run(anew, env=STOP)
    assert code == 75
    assert f"the same command with --out {tmp_path / 'run'} goes on if --resume never is left out\n" in said
    step = newest(tmp_path / "run" / "checkpoints")
    code, said = forking.run(anew, env={"SLURM_RESTART_COUNT": "1"})
    assert code == 0, said
    assert f"unfinished; going on from {step}" in said
    assert not (tmp_path / "run" / "checkpoints" / "replaced").exists()


def test_to_begin_anew_is_to_begin_finished_stages_anew(staged, tmp_path):
    assert forking.run(staged, env={"EMONET_FAILPOINT": "DONE@renamed=SIGTERM"})[0] == 75
    assert (tmp_path / "run" / "first" / "DONE").is_file()
    code, said = forking.run([*staged, "--resume=never"])
    assert code == 0, said
    assert "this stage is finished" not in said
    assert "== stage first ==" in said


def test_a_run_that_goes_on_from_a_named_checkpoint_is_not_sent_back_to_it(words, tmp_path):
    words = [*words, "--trainer.max_epochs=6"]
    checkpoints = tmp_path / "run" / "checkpoints"
    assert forking.run(words, env=STOP)[0] == 75
    named = newest(checkpoints)
    kept = tmp_path / named.name
    kept.write_bytes(named.read_bytes())
    from_kept = [*words, f"--ckpt_path={kept}"]
    assert forking.run(from_kept, env=STOP)[0] == 75
    later = newest(checkpoints)
    assert later.name > named.name
    code, said = forking.run(from_kept, env={**STOP, "SLURM_RESTART_COUNT": "1"})
    assert code == 75, said
    assert f"going on from {later}, which is newer than --ckpt_path {kept}" in said
    later = newest(checkpoints)
    kept.unlink()  # as the oldest ones are in the run's own folder
    code, said = forking.run(from_kept)
    assert code == 0, said
    assert f"going on from {later}, which is newer than --ckpt_path {kept}" in said


@pytest.mark.parametrize("function", ["judge_heads", "write_report"])
def test_a_signal_after_the_last_batch_stops_the_run(words, small_sets, tmp_path, function):
    words = [*words, "--trainer.max_epochs=1"]
    if function == "judge_heads":
        words += ["--test_data=ExpertRatings", f"--test_data.path={small_sets['hq']}"]
    moment = moments.at(function, 1, "SIGTERM", tmp_path / "note")
    code, said = forking.run(words, env=moment, target=moments.signalled)
    assert code == 75, said
    assert not (tmp_path / "run" / "DONE").exists()
    code, said = forking.run(words)
    assert code == 0, said
    assert (tmp_path / "run" / "DONE").is_file()


def test_features_that_another_job_encodes_are_no_progress(words, tmp_path):
    """Each start is killed at its first step, while another job adds features of its own to the same folder."""
    cache = tmp_path / "cache"
    words = [*words, f"--data.cache_dir={cache}", "--max_stuck_restarts=2"]
    killed = {"EMONET_FAILPOINT": "step=*@opened=kill"}
    codes = []
    for number in range(3):
        codes.append(forking.run(words, env=killed)[0])
        other = cache / "features" / f"another{number}" / "000000.safetensors"
        other.parent.mkdir()
        other.touch()
    # the first start began without features, and the second one with them
    assert codes == [-signal.SIGKILL] * 3
    code, said = forking.run(words)
    assert code == 70, said
    assert "started 2 times without getting further" in said
