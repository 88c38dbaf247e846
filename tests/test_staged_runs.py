"""A run that is started again: what it goes on from, what it refuses, and that nothing before is lost."""

import signal

import forking
import pytest

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
