"""Sweeps from the command line: what is recorded, that nothing is lost or repeated, early stops, the shipped files.

The long ones: `python -m pytest -m slow -n 0 tests/test_sweeping.py` (all shipped files).
"""

import json
import signal

import forking
import pyarrow.parquet as parquet
import pytest
from sweep_files import LR, QUICK, SHIPPED, TWO, outcome, shipped, write_sweep

from emonet_lightning.cli import main
from emonet_lightning.folder_lock import LOCK_FILE
from emonet_lightning.sweeping.record import FAILED, FINISHED, STOPPED, Record, best_of, values_of

INTERRUPTED = 75


@pytest.fixture(scope="module")
def words(small_sets, encoder_options):
    widths = "--model.widths=[8]"
    return ["--data=SyntheticFaces", f"--data.path={small_sets['big']}", *encoder_options, *QUICK, widths]


@pytest.fixture(scope="module")
def swept(tmp_path_factory, words):
    """Three random trials on two workers: file and folder."""
    folder = tmp_path_factory.mktemp("swept")
    cache = f"--data.cache_dir={folder / 'cache'}"
    path = write_sweep(folder / "lr.yaml", [*words, "--trainer.logger=WandbLogger", cache], TWO)
    assert main(["sweep", "run", str(path), "--trials=3", "--workers=2", f"--out={folder / 'out'}"]) == 0
    return path, folder / "out"


def test_a_sweep_records_every_trial(swept):
    _, folder = swept
    trials = Record(folder).trials
    assert [trial.number for trial in trials] == [0, 1, 2]
    for trial in trials:
        lines = (trial.folder(folder) / "metrics.jsonl").read_text().splitlines()
        scores = [line["val/score"] for line in map(json.loads, lines) if "val/score" in line]
        assert trial.state == FINISHED
        assert trial.score == max(scores)
        assert (trial.folder(folder) / "heads.safetensors").is_file()
        assert not (trial.folder(folder) / "wandb").exists()  # W&B's agents use that logger, here it is left out
        assert trial.seconds > 0
        assert trial.starts == 1
    table = parquet.read_table(folder / "trials.parquet").to_pydict()
    assert table["score"] == [trial.score for trial in trials]
    assert table["parameters/model.lr"] == [trial.parameters["model.lr"] for trial in trials]
    figures = {path.name for path in (folder / "figures").iterdir()}
    assert {"best_so_far.png", "parallel_coordinates.png", "importance.png", "importance.pdf"} <= figures
    assert not (folder / LOCK_FILE).exists()


def test_images_are_encoded_by_one_trial(swept):
    """Two begin at once; whoever comes second waits for the features."""
    _, folder = swept
    encoded = ["encode timm/test_efficientnet" in trial.log(folder).read_text() for trial in Record(folder).trials]
    assert sorted(encoded) == [False, False, True]


def test_status_names_the_best_trial(swept, capsys):
    _, folder = swept
    assert main(["sweep", "status", str(folder)]) == 0
    said = capsys.readouterr().out
    best = max(Record(folder).trials, key=lambda trial: trial.score)
    assert "3 of 3 trials are over (3 finished)" in said
    assert f"best: trial {best.number}, val/score {best.score:.4f}" in said
    assert main(["sweep", "status", str(folder.parent)]) == 66


def test_a_folder_holds_one_sweep(swept, tmp_path, words, capsys):
    path, folder = swept
    other = write_sweep(tmp_path / "other.yaml", words, LR)
    run = ["sweep", "run", f"--out={folder}", "--trials=3"]
    before = outcome(folder)
    assert main([*run, str(other)]) == 2
    assert "holds the sweep of another file" in capsys.readouterr().err
    assert main([*run, str(path), "--seed=1"]) == 2
    assert "holds a sweep with --seed 0" in capsys.readouterr().err
    grid = write_sweep(tmp_path / "grid.yaml", words, {"model.dropout": {"values": [0.0, 0.3]}}, "grid")
    for options, status in (["--one_at_a_time", "--trials=1"], 0), (["--trials=1"], 2):
        assert main(["sweep", "run", str(grid), *options, f"--out={tmp_path / 'one'}"]) == status
    assert "holds a sweep with --one_at_a_time=true" in capsys.readouterr().err
    assert main([*run, str(path)]) == 0
    assert "all 3 trials are over; nothing to do" in capsys.readouterr().err
    (folder / "trials.parquet").unlink()  # as if it had been killed after its last trial
    assert main([*run, str(path)]) == 0
    assert (folder / "trials.parquet").is_file()
    assert main([*run[:2], str(other), "--trials=1", f"--out={path.parent}"]) == 2
    assert "holds something else than a sweep" in capsys.readouterr().err
    assert outcome(folder) == before


def test_a_trial_that_is_not_among_the_best_stops_at_its_rung(tmp_path, words):
    """The second rate is too small to learn anything; as soon as the first trial was better at a rung, it stops."""
    early = {"type": "hyperband", "min_iter": 6, "eta": 3, "strict": True}
    parameters = {"model.lr": {"values": [3e-2, 1e-9]}}
    long = [*(word for word in words if "encoder" not in word), "--trainer.max_epochs=80"]  # the embedded one
    path = write_sweep(tmp_path / "s.yaml", long, parameters, "grid", early_terminate=early)
    assert main(["sweep", "run", str(path), f"--out={tmp_path / 'out'}"]) == 0
    good, bad = Record(tmp_path / "out").trials
    assert good.state == FINISHED
    assert set(good.rungs) == {6, 18, 54}
    assert bad.state == STOPPED
    rung = bad.stopped.rung
    for number, found in bad.rungs.items():
        assert found.kept is (found.value >= good.rungs[number].value) is (number != rung)
    lines = [json.loads(line) for line in (bad.folder(tmp_path / "out") / "metrics.jsonl").open()]
    scores = [line["val/score"] for line in lines if "val/score" in line]
    assert bad.score == max(scores[: rung + 1])
    assert len(scores) < 80
    assert main(["sweep", "status", str(tmp_path / "out")]) == 0


def test_a_trial_that_fails_is_recorded_and_tried_again_when_asked(tmp_path, words, capsys):
    path = write_sweep(tmp_path / "s.yaml", words, {"data.train_split": {"values": ["train", "trian"]}}, "grid")
    run = ["sweep", "run", str(path), f"--out={tmp_path / 'out'}"]
    assert main(run) == 0
    assert "trial 1: failed" in capsys.readouterr().err
    good, bad = Record(tmp_path / "out").trials
    assert (good.state, bad.state, bad.score) == (FINISHED, FAILED, None)
    assert "no rows in split 'trian'" in bad.reason
    assert main([*run, "--retry_failed"]) == 0
    assert [trial.starts for trial in Record(tmp_path / "out").trials] == [1, 2]


# -- stops and kills --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_a_sweep_that_was_stopped_or_killed_ends_as_if_it_never_was(number, swept, tmp_path):
    path, whole = swept
    folder = tmp_path / "out"
    words = ["sweep", "run", str(path), "--trials=3", "--workers=2", f"--out={folder}"]
    child = forking.start(words)
    assert child.watch(120, lambda: (folder / "trials" / "0001" / "run.json").is_file()) is None, child.said()
    child.kill(number)
    assert child.wait(60) == (INTERRUPTED if number == signal.SIGTERM else -number)
    assert ("the same command goes on" in child.said()) is (number == signal.SIGTERM)
    assert main(words) == 0
    assert outcome(folder) == outcome(whole)
    events = [json.loads(line) for line in (folder / "trials.jsonl").open()]
    assert [event["trial"] for event in events if event["event"] == "proposed"] == [0, 1, 2]


# -- the shipped files ------------------------------------------------------------------------------------------------


def _run_shipped(name, tmp_path, monkeypatch, small_sets, small_encoder, encoder_options) -> Record:
    for kind, place in small_sets.items():
        (tmp_path / kind).symlink_to(place)
    monkeypatch.setenv("EMONET_DATA", str(tmp_path))
    monkeypatch.setenv("EMONET_ENCODER", str(small_encoder))
    monkeypatch.chdir(SHIPPED.parent)
    (tmp_path / "file").mkdir()
    small = ["--data.batch_size=32", "--trainer.max_epochs=2", "--trainer.accelerator=cpu", "--model.widths=[8]"]
    small = [*small, *encoder_options, "--model.encoder.dtype=float32"]
    values = None
    if name == "encoder.yaml":
        values = {"model.encoder.name": ["embedded", str(_second_encoder(tmp_path))], "model.l2_normalise": [True]}
        small = [*small[:4], "--model.encoder.weights=null"]
    if name == "ablation.yaml":
        small.append(f"--data.path={small_sets['big']}")
    if name in ("ablation.yaml", "heads.yaml"):
        small.remove("--model.widths=[8]")
    path = shipped(name, tmp_path / "file", small, values)
    out = tmp_path / "out"
    assert main(["sweep", "run", str(path), "--trials=2", "--workers=2", f"--out={out}"]) == 0
    assert all(trial.score is not None for trial in Record(out).trials)
    return Record(out)


def _second_encoder(folder):
    """A tiny encoder in a file that describes itself."""
    import timm

    from emonet_lightning.encoder_files import save_encoder_file
    from emonet_lightning.encoder_sources import EncoderSpec, resolve

    pixels = resolve(EncoderSpec("timm/test_efficientnet", size=64)).preprocess.to_dict()
    state = timm.create_model("test_efficientnet", num_classes=0).state_dict()
    path = folder / "second.safetensors"
    save_encoder_file(path, state, architecture="timm/test_efficientnet", options={}, preprocess=pixels)
    return path


@pytest.mark.parametrize("name", ["optim.yaml", "encoder.yaml"])
def test_shipped_sweep_runs_two_trials(name, tmp_path, monkeypatch, small_sets, small_encoder, encoder_options):
    record = _run_shipped(name, tmp_path, monkeypatch, small_sets, small_encoder, encoder_options)
    assert len({repr(trial.parameters) for trial in record.trials}) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ablation", "augment", "heads", "labels", "loss", "seeds", "stages"])
def test_every_other_shipped_sweep_runs_two_trials(
    name, tmp_path, monkeypatch, small_sets, small_encoder, encoder_options
):
    """About half a minute each: `python -m pytest -m slow -n 0 tests/test_sweeping.py -k shipped`."""
    record = _run_shipped(f"{name}.yaml", tmp_path, monkeypatch, small_sets, small_encoder, encoder_options)
    assert len({repr(trial.parameters) for trial in record.trials}) == 2


def test_a_sweep_is_reported_and_what_it_cannot_be_compared_by_is_named(swept, tmp_path, capsys):
    _, folder = swept
    assert main(["sweep", "report", str(folder), "--num_draws=20", f"--out={tmp_path / 'report'}"]) == 0
    said = capsys.readouterr()
    assert "best of 3 trials that saw the 40 validation images: trial " in said.out
    text = (tmp_path / "report" / "ablation.md").read_text()
    assert "3 trials saw these images, 3 finished" in text
    assert "`model.dropout`" in text
    assert main(["sweep", "report", str(folder), "--baseline={model.lrr: 0.1}"]) == 2
    assert capsys.readouterr().err.startswith("error: --baseline: 'model.lrr' is no factor of this sweep; did you mean")
    assert main(["sweep", "report", str(tmp_path)]) == 66
    assert "not the folder of a sweep" in capsys.readouterr().err


def test_stacked_trials_end_as_single_runs_do_and_those_that_cannot_be_stacked_take_turns(words, tmp_path, capsys):
    parameters = {
        "model.lr": {"values": [1e-3, 1e-2]}, "model.widths": {"values": ["[8]", "[4]"]},
        "data.batch_size": {"values": [60, 40]},
    }  # fmt: skip
    words = [word for word in words if not word.startswith(("--model.widths", "--data.batch_size"))]
    words += ["--model.dropout=0", f"--data.cache_dir={tmp_path / 'cache'}"]
    path = write_sweep(tmp_path / "grid.yaml", words, parameters, method="grid")
    assert main(["sweep", "run", str(path), "--stacked", "--stack_size=3", f"--out={tmp_path / 'stacked'}"]) == 0
    said = capsys.readouterr()
    assert "data.batch_size: trials that differ in it take turns (all train on the same batches" in said.err
    assert said.err.count("stacked: 3 configurations") == 2, "of the four of each batch size"
    assert "8 of 8 trials are over (8 finished)" in said.out
    stacked = outcome(tmp_path / "stacked")
    for number in (0, 5):
        _, point, state, score, epoch = stacked[number]
        single = tmp_path / f"single{number}"
        assert (
            main(["fit", *words, *[f"--{k}={v}" for k, v in point.items()], "--figures=false", f"--out={single}"]) == 0
        )
        assert (state, epoch) == (FINISHED, best_of(values_of(single / "metrics.jsonl", "val/score"), True)[0])
        assert score == pytest.approx(best_of(values_of(single / "metrics.jsonl", "val/score"), True)[1], abs=1e-6)
    assert main(["sweep", "run", str(path), "--stacked", f"--out={tmp_path / 'stacked'}"]) == 0
    assert "nothing to do" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("parameters", "keys", "options", "said"),
    [
        (LR, {"method": "bayes"}, ["--stacked", "--trials=2"], "method bayes: each trial is proposed from those"),
        (LR, {"early_terminate": {"type": "hyperband", "min_iter": 1}}, ["--stacked", "--trials=2"], "by --halving"),
        ({"data.batch_size": {"values": [60, 40]}}, {"method": "grid"}, ["--stacked"], "none of data.batch_size is an"),
        (LR, {}, ["--stacked", "--workers=2", "--trials=2"], "--workers 2: stacked trials train in one process"),
        (LR, {}, ["--halving", "--trials=2"], "--halving: is for stacked trials"),
    ],
)
def test_what_cannot_be_stacked_is_refused_before_anything_is_written(
    words, tmp_path, capsys, parameters, keys, options, said
):
    path = write_sweep(tmp_path / "sweep.yaml", words, parameters, **keys)
    assert main(["sweep", "run", str(path), *options, f"--out={tmp_path / 'out'}"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert said in last
    assert not (tmp_path / "out").exists()


def test_halved_trials_are_stopped_early_and_the_best_goes_on(words, tmp_path):
    parameters = {"model.lr": {"values": [1e-6, 1e-3, 1e-2, 3e-2]}}
    words = [*words, "--trainer.max_epochs=8", f"--data.cache_dir={tmp_path / 'cache'}"]
    path = write_sweep(tmp_path / "lr.yaml", words, parameters, method="grid")
    assert main(["sweep", "run", str(path), "--stacked", "--halving", f"--out={tmp_path / 'out'}"]) == 0
    trials = Record(tmp_path / "out").trials
    assert sorted(trial.state for trial in trials) == [FINISHED, STOPPED, STOPPED, STOPPED]
    epochs = [len(values_of(t.folder(tmp_path / "out") / "metrics.jsonl", "val/score")) for t in trials]
    assert sorted(epochs) == [1, 1, 2, 8]
