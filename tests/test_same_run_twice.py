"""The same run again: from images, from the cache, after a stop, with several views."""

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from small_runs import Log, fit, heads_of, same

from emonet_lightning.callbacks import BestHeads
from emonet_lightning.transforms import Augmentation


def test_images_and_cached_features_train_to_the_same_figures(model, big):
    results = {}
    for mode in ("cached", "images"):
        log = Log()
        module = model(standardise=False, dropout=0.5)
        fit(module, big(mode=mode), 2, [log])
        results[mode] = (log.lines, heads_of(module))
    assert results["cached"][0] == results["images"][0]
    assert same(results["cached"][1], results["images"][1])


def test_the_run_that_fills_the_cache_and_the_next_one_are_equal(model, big, tmp_path):
    runs = []
    for _ in range(2):
        module = model(dropout=0.5)
        fit(module, big(cache_dir=str(tmp_path)), 2)
        runs.append(heads_of(module))
    assert same(*runs)


def test_a_resumed_run_ends_as_one_that_was_never_stopped(model, big, tmp_path):
    class Stop(Callback):
        def on_train_epoch_start(self, trainer, module):
            if trainer.current_epoch == 2:
                raise RuntimeError("power cut")

    def run(name, log, *callbacks, ckpt_path=None):
        best = BestHeads()
        best.folder = tmp_path / name
        module = model(dropout=0.5)
        checkpoint = ModelCheckpoint(best.folder / "checkpoints", filename="last", enable_version_counter=False)
        fit(module, big(), 4, [log, best, checkpoint, *callbacks], ckpt_path=ckpt_path)
        return heads_of(module)

    log, later = Log(), Log()
    whole = run("whole", log)
    with pytest.raises(RuntimeError, match="power cut"):
        run("stopped", Log(), Stop())
    resumed = run("stopped", later, ckpt_path=tmp_path / "stopped" / "checkpoints" / "last.ckpt")
    assert same(resumed, whole)
    assert later.lines == log.lines[2:]
    for name in ("heads.safetensors", "manifest.json"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("steps", [1, 2])
def test_a_run_that_goes_on_within_an_epoch_ends_as_one_that_was_never_stopped(model, binary, tmp_path, steps):
    class Stop(Callback):
        def on_train_batch_start(self, trainer, module, batches, batch_idx):
            if trainer.global_step >= 10:
                raise RuntimeError("power cut")

    def run(log, *callbacks, ckpt_path=None):
        module = model(dropout=0.5, steps_per_call=steps)
        fit(module, binary(batch_size=15), 3, [log, *callbacks], ckpt_path=ckpt_path)
        return heads_of(module)

    log, later = Log(), Log()
    whole = run(log)
    with pytest.raises(RuntimeError, match="power cut"):  # six steps an epoch
        run(Log(), ModelCheckpoint(tmp_path, filename="within", every_n_train_steps=10), Stop())
    assert same(run(later, ckpt_path=tmp_path / "within.ckpt"), whole)
    assert later.lines[-2:] == log.lines[-2:]


def test_a_run_that_only_lacked_its_last_words_says_the_same(model, big, tmp_path):
    """Stopped after its last epoch: nothing is left to train, and the heads are those of the run."""

    class Stop(Callback):
        def on_train_end(self, trainer, module):
            raise RuntimeError("power cut")

    def run(*callbacks, ckpt_path=None):
        best = BestHeads()
        best.folder = tmp_path
        checkpoint = ModelCheckpoint(tmp_path / "checkpoints", filename="last", enable_version_counter=False)
        fit(model(), big(), 2, [best, checkpoint, *callbacks], ckpt_path=ckpt_path)
        return (tmp_path / "heads.safetensors").read_bytes(), (tmp_path / "manifest.json").read_bytes()

    expected = run()
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(RuntimeError, match="power cut"):
        run(Stop())
    assert run(ckpt_path=tmp_path / "checkpoints" / "last.ckpt") == expected


def test_cached_views_are_chosen_anew_each_epoch_and_evaluation_sees_the_clean_one(model, big):
    data = big(views=3, augmentation=Augmentation())
    clean = big()
    seen = []

    class Watch(Callback):
        def on_train_batch_start(self, trainer, module, batches, batch_idx):
            (batch,) = batches
            order = batch.key.argsort()
            seen.append((batch.key[order], batch.inputs[order]))

        def on_validation_batch_start(self, trainer, module, batches, batch_idx, dataloader_idx=0):
            for batch in batches:
                rows = batch.key[batch.key >= 0]
                assert torch.equal(batch.inputs[: len(rows)], data.features[0][rows])

    fit(model(), data, 3, [Watch()], limit_train_batches=3)
    fit(model(), clean, 1)
    assert data.features.shape == (3, 160, 256)
    assert torch.equal(data.features[0], clean.features[0])
    assert not torch.equal(data.features[1], data.features[2])
    for mean, other in zip(data.feature_statistics(True), clean.feature_statistics(True), strict=True):
        assert torch.equal(mean, other), "statistics are those of the clean view"
    epochs = []
    for epoch in range(3):
        keys, inputs = (torch.cat(parts) for parts in zip(*seen[3 * epoch : 3 * epoch + 3], strict=True))
        order = keys.argsort()
        views = (data.features[:, keys] == inputs).all(2).int().argmax(0)
        epochs.append(views[order])
    assert all(len(set(views.tolist())) == 3 for views in epochs)
    assert not torch.equal(epochs[0], epochs[1])
