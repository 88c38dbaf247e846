"""A run that was stopped and went on leaves what one that never stopped leaves."""

import json
import signal

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping
from small_runs import fit, heads_of, newest, same

from emonet_lightning import interruption
from emonet_lightning.callbacks import BestHeads, RunLogger
from emonet_lightning.errors import InterruptedRunError, UsageError
from emonet_lightning.sample_ledger import SampleLedger
from emonet_lightning.saving import IntervalCheckpoint

FILES = ("heads.safetensors", "manifest.json", "metrics.jsonl")


class StopAt(Callback):
    """The power fails before a step."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, module, batches, batch_idx):
        if trainer.global_step >= self.step:
            raise RuntimeError("power cut")


class Ask(Callback):
    """A signal comes while something is at work."""

    def __init__(self, step, hook="on_train_batch_start"):
        self.step = step
        setattr(self, hook, self._hook)

    def _hook(self, trainer, *args):
        if trainer.global_step >= self.step and interruption.requested() is None:
            signal.raise_signal(signal.SIGUSR1)


@pytest.fixture(autouse=True)
def signals():
    interruption.install()
    yield
    interruption.uninstall()


@pytest.fixture
def run(model, tmp_path):
    """Trains into a folder, from its last checkpoint if there is one; returns the heads and the bytes of its files."""

    def train(name, data, *callbacks, epochs=4, checkpoints=True, steps_per_call=1, patience=0, **options):
        folder = tmp_path / name
        best, module = BestHeads(patience), model(dropout=0.5, steps_per_call=steps_per_call)
        best.folder = folder
        keep = [SampleLedger(), best]  # the ledger stops a run whose rows do not add up
        keep += [IntervalCheckpoint(folder / "checkpoints", 0)] if checkpoints else []
        fit(
            module,
            data,
            epochs,
            [*callbacks, *keep],
            newest(folder / "checkpoints"),
            logger=RunLogger(folder),
            **options,
        )
        return heads_of(module), [(folder / file).read_bytes() for file in FILES]

    return train


@pytest.mark.parametrize(
    ("stop", "options"),
    [
        (7, {"check_val_every_n_epoch": 2}),
        (5, {"check_val_every_n_epoch": 3}),
        (11, {"val_check_interval": 2}),
        (5, {"checkpoints": False}),
    ],
    ids=str,
)
def test_files_are_those_of_a_run_never_stopped(run, big, stop, options):
    heads, files = run("whole", big(), **options)
    with pytest.raises(RuntimeError, match="power cut"):
        run("stopped", big(), StopAt(stop), **options)
    again, again_files = run("stopped", big(), **options)
    assert same(again, heads)
    assert again_files == files


@pytest.mark.parametrize("hook", ["on_train_batch_start", "on_validation_batch_start", "on_train_epoch_end"])
@pytest.mark.parametrize(
    "options",
    [{}, {"val_check_interval": 2}, {"check_val_every_n_epoch": 3}, {"max_steps": 8}, {"patience": 1}],
    ids=str,
)
def test_a_run_stopped_anywhere_goes_on_to_the_same_bits(run, big, tmp_path, hook, options):
    heads, files = run("whole", big(), **options)
    stops, step = 0, 1
    while not (tmp_path / "stopped" / "manifest.json").is_file():
        try:
            again, again_files = run("stopped", big(), Ask(step, hook), **options)
        except InterruptedRunError:
            interruption.install()
            stops, step = stops + 1, torch.load(newest(tmp_path / "stopped" / "checkpoints"))["global_step"] + 1
    assert stops
    assert same(again, heads)
    assert again_files == files


class Finish(Callback):
    """Some heads finish after the first epoch."""

    def __init__(self, heads):
        self.heads = heads

    def on_validation_end(self, trainer, module):
        if trainer.current_epoch == 0:
            module.finish(self.heads)


@pytest.mark.parametrize(("kind", "stop"), [("rows", 6), ("sparse", 6), ("balanced", 60)])
def test_finished_heads_stay_finished_and_the_others_go_on(run, big, binary, kind, stop):
    def data():
        return (
            big(sampling="balanced", batch_size=160) if kind == "balanced" else {"rows": big, "sparse": binary}[kind]()
        )

    some = Finish(range(3, 37))
    heads, files = run("whole", data(), some)
    with pytest.raises(RuntimeError, match="power cut"):
        run("stopped", data(), some, StopAt(stop))
    again, again_files = run("stopped", data(), some)
    assert same(again, heads)
    assert again_files == files


def test_a_run_whose_heads_have_all_finished_trains_no_more(run, big):
    heads, files = run("one", big(), Finish(range(40)))
    again, again_files = run("one", big())  # stopped before its heads were written
    assert same(again, heads)
    assert again_files == files


class StopAtTheEnd(Callback):
    """The power fails after the last checkpoint, before the heads are written."""

    def on_train_end(self, trainer, module):
        raise RuntimeError("power cut")


@pytest.mark.parametrize("options", [{}, {"val_check_interval": 2}, {"min_epochs": 5}], ids=str)
def test_a_run_that_was_stopped_early_trains_no_more(run, big, options):
    def early():
        return EarlyStopping("val/score", mode="min", patience=1)

    heads, files = run("whole", big(), early(), epochs=9, **options)
    assert json.loads(files[-1].splitlines()[-1])["epoch"] < 8
    with pytest.raises(RuntimeError, match="power cut"):
        run("stopped", big(), early(), StopAtTheEnd(), epochs=9, **options)
    again, again_files = run("stopped", big(), early(), epochs=9, **options)
    assert same(again, heads)
    assert again_files == files


@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 1), (2, 5)])
def test_a_run_goes_on_within_an_epoch_with_any_number_of_steps_a_call(run, big, tmp_path, before, after):
    """The number may come out differently, since a call is bounded by a second."""
    heads, files = run("whole", big(batch_size=15))
    with pytest.raises(InterruptedRunError, match="in training"):
        run("stopped", big(batch_size=15), Ask(8), steps_per_call=before)
    interruption.install()
    assert torch.load(newest(tmp_path / "stopped" / "checkpoints"), weights_only=True)["global_step"] % 8
    again, again_files = run("stopped", big(batch_size=15), steps_per_call=after)
    assert same(again, heads)
    assert again_files == files


@pytest.mark.parametrize("steps_per_call", [1, 4])
def test_a_run_that_max_steps_ended_within_an_epoch_is_not_made_longer(run, big, tmp_path, steps_per_call):
    def train(steps):
        return run("run", big(batch_size=20), max_steps=steps, steps_per_call=steps_per_call)

    first = train(11)  # of the 12 of two epochs, the last but one of a call
    again = train(11)
    assert same(again[0], first[0])
    assert again[1] == first[1]
    for steps in (20, -1):
        with pytest.raises(UsageError, match="ended at step 11, within an epoch"):
            train(steps)


def test_a_run_that_max_steps_ended_after_an_epoch_can_be_made_longer(run, big):
    run("run", big(batch_size=20), max_steps=12)
    _, files = run("run", big(batch_size=20), max_steps=20)
    assert json.loads(files[-1].splitlines()[-1])["epoch"] == 3


def test_half_a_line_is_written_again(tmp_path):
    logger = RunLogger(tmp_path)
    for epoch in range(2):
        logger.log_metrics({"train/loss": 1.0, "epoch": epoch}, step=epoch)
    path = tmp_path / "metrics.jsonl"
    whole, sizes = path.read_bytes(), {"metrics.jsonl": path.read_bytes().index(b"\n") + 1}
    path.write_bytes(whole[:-9])
    logger.cut(sizes)
    logger.log_metrics({"train/loss": 1.0, "epoch": 1}, step=1)
    assert path.read_bytes() == whole


def test_lines_that_are_gone_are_said(tmp_path, capsys):
    logger = RunLogger(tmp_path)
    logger.log_metrics({"train/loss": 1.0, "epoch": 0}, step=0)
    sizes = logger.sizes()
    logger.cut(sizes)
    assert capsys.readouterr().err == ""
    (tmp_path / "metrics.jsonl").unlink()
    logger.cut(sizes)
    (line,) = capsys.readouterr().err.splitlines()
    assert "metrics.jsonl" in line
    assert "the log has a gap" in line
