"""A run that was stopped and went on leaves what one that never stopped leaves."""

import pytest
from lightning.pytorch import Callback
from small_runs import fit, heads_of, same

from emonet_lightning.callbacks import BestHeads, IntervalCheckpoint, RunLogger

FILES = ("heads.safetensors", "manifest.json", "metrics.jsonl")


class StopAt(Callback):
    """The power fails before a step."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, module, batches, batch_idx):
        if trainer.global_step >= self.step:
            raise RuntimeError("power cut")


@pytest.fixture
def run(model, tmp_path):
    """Trains into a folder, from its last checkpoint if there is one; returns the heads and the bytes of its files."""

    def train(name, data, *callbacks, epochs=4, checkpoints=True, **options):
        folder = tmp_path / name
        best, module = BestHeads(), model(dropout=0.5)
        best.folder = folder
        last = folder / "checkpoints" / "last.ckpt"
        keep = [best, IntervalCheckpoint(last.parent, 0)] if checkpoints else [best]
        path = last if last.is_file() else None
        fit(module, data, epochs, [*callbacks, *keep], path, logger=RunLogger(folder), **options)
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


def test_half_a_line_is_written_again(tmp_path):
    logger = RunLogger(tmp_path)
    for epoch in range(2):
        logger.log_metrics({"train/loss": 1.0, "epoch": epoch}, step=epoch)
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    logger.cut(1)
    logger.log_metrics({"train/loss": 1.0, "epoch": 1}, step=1)
    assert path.read_bytes() == whole
