"""Experiment loggers by configuration, without an account or a network."""

import csv
import json

import pytest

from emonet_lightning.cli import main


@pytest.fixture
def words(small_sets, encoder_options, tmp_path):
    """A short fit with a test."""
    return [
        "fit", "--data=SyntheticFaces", f"--data.path={small_sets['big']}", "--test_data=ExpertRatings",
        f"--test_data.path={small_sets['hq']}", "--model.widths=[8]", "--trainer.max_epochs=2", "--num_draws=20",
        "--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.enable_progress_bar=false",
        f"--out={tmp_path / 'run'}", *encoder_options,
    ]  # fmt: skip


def test_wandb_works_offline_and_keeps_its_files_in_the_run_folder(words, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--trainer.logger=WandbLogger", "--trainer.logger.offline=true"]) == 0
    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    content = file.read_bytes()
    for key in (b"val/score", b"train/loss/anger", b"test/spearman", b"time/rows_per_second"):
        assert key in content, key
    media = [path for path in (tmp_path / "run" / "wandb").rglob("media/**/*") if path.is_file()]
    assert any(path.suffix == ".png" and "figures" in path.name for path in media)
    (table,) = [json.loads(path.read_text()) for path in media if path.name.endswith(".table.json")]
    assert [row[0] for row in table["data"]][:2] == ["one rater with the others", "heads"]
    assert table["columns"][3:6] == ["oracle_kappa_binned", "oracle_kappa_binned/low", "oracle_kappa_binned/high"]
    assert wandb.run is None  # finished: a next stage begins a run of its own
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_an_agents_run_shows_the_last_stage(words, tmp_path, monkeypatch):
    """Its score is what the sweep compares; W&B gives all stages of a trial one run."""
    pytest.importorskip("wandb")
    for name, value in (("WANDB_SWEEP_ID", "swept"), ("WANDB_RUN_ID", "abc123")):
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stages.yaml").write_text("stages: [{name: one}, {name: two}]\n")
    logger = ["--config=stages.yaml", "--trainer.logger=WandbLogger", "--trainer.logger.offline=true"]
    short = ["--test_data=null", "--trainer.max_epochs=1", "--figures=false"]
    assert main([*words, *logger, *short]) == 0
    assert not (tmp_path / "run" / "one" / "wandb").exists()
    (file,) = (tmp_path / "run" / "two" / "wandb").glob("offline-run-*-abc123/run-abc123.wandb")
    assert b"val/score" in file.read_bytes()


def test_csv_and_tensorboard_write_into_the_run_folder(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loggers = ["--trainer.logger+=CSVLogger", "--trainer.logger.save_dir=.", "--trainer.logger+=TensorBoardLogger",
               "--trainer.logger.save_dir=."]  # fmt: skip
    assert main([*words, *loggers, "--figures=false"]) == 0
    (table,) = (tmp_path / "run").rglob("metrics.csv")
    rows = list(csv.DictReader(table.open()))
    assert sum(bool(row["val/score"]) for row in rows) == 2
    assert sum(bool(row["test/spearman"]) for row in rows) == 1
    assert list((tmp_path / "run").rglob("events.out.tfevents.*"))
    words = ["test", f"--run={tmp_path / 'run'}", "--trainer.logger=CSVLogger", "--trainer.logger.save_dir=tested"]
    assert main([*words, "--trainer.enable_progress_bar=false", "--num_draws=20", "--figures=false"]) == 0
    (table,) = (tmp_path / "tested").rglob("metrics.csv")
    (row,) = [row for row in csv.DictReader(table.open()) if row["test/spearman"]]
    assert float(row["test/spearman/low"]) <= float(row["test/spearman"]) <= float(row["test/spearman/high"])
    assert {path.name for path in tmp_path.iterdir()} == {"run", "tested"}


@pytest.mark.parametrize(("name", "when"), [("CSVLogger", "be built"), ("TensorBoardLogger", "begin")])
def test_a_logger_that_does_not_take_its_options_is_named(words, tmp_path, capsys, name, when):
    logger = {"class_path": name, "init_args": {"save_dir": str(tmp_path)}, "dict_kwargs": {"nonsense": 1}}
    assert main([*words, f"--trainer.logger={json.dumps(logger)}"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"error: trainer.logger: {name} cannot {when} (")
    assert "unexpected keyword argument 'nonsense'); mend its " in line
