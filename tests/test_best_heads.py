"""Which heads a run keeps, and what its manifest says of them."""

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from small_runs import FORTY, fit, same

from emonet_lightning.bundle import HeadsBundle
from emonet_lightning.callbacks import BestHeads
from emonet_lightning.errors import DataError


def test_without_any_defined_score_the_last_heads_are_kept(model, big, tmp_path):
    """Validation rows without labels tell nothing: the first epoch is no better than the last."""

    class Blind(Callback):
        def on_validation_epoch_start(self, trainer, module):
            trainer.datamodule.labels.truth[:] = np.nan

    best = BestHeads()
    best.folder = tmp_path
    module = model()
    fit(module, big(), 3, [Blind(), best])
    found = HeadsBundle.load(tmp_path)
    expected = module.to_bundle()
    assert same(found.heads.state_dict(), expected.heads.state_dict())
    assert {(choice["by"], choice["epoch"]) for choice in found.training["best"].values()} == {("last", 2)}
    (data,) = found.training["data"]
    assert {key: data[key] for key in ("licence", "kind", "num_samples")} == {
        "licence": "MIT", "kind": "dense", "num_samples": 160,
    }  # fmt: skip


def test_without_validation_rows_the_last_heads_are_kept_and_said_so(model, big, tmp_path):
    best = BestHeads()
    best.folder = tmp_path
    module = model()
    fit(module, big(val_split="nothing"), 2, [best])
    found = HeadsBundle.load(tmp_path)
    assert same(found.heads.state_dict(), module.to_bundle().heads.state_dict())
    assert {(choice["by"], choice["epoch"]) for choice in found.training["best"].values()} == {("last", 1)}


def test_heads_that_are_constant_are_named_in_the_manifest_if_they_are_the_ones_kept(model, big, tmp_path):
    """What the manifest says is of the heads in it, not of the last epoch's."""
    data = big()
    data.setup("fit")
    support = (data.labels.truth[data.rows["val"]] > 0).sum(0)
    dead = [int(support.argmin()), int(support.argmax())]
    assert support[dead[1]] >= 5, "an emotion that may choose its own epoch"

    class Kill(Callback):
        def on_validation_start(self, trainer, module):
            with torch.no_grad():  # dead in every epoch, or in the last epoch only
                module.heads.layers[-1].weight[dead[0]] = 0
                if trainer.current_epoch == 2:
                    module.heads.layers[-1].weight[dead[1]] = 0

    best = BestHeads()
    best.folder = tmp_path
    module = model()
    with pytest.warns(UserWarning, match="same score"):
        fit(module, data, 3, [Kill(), best])
    bundle = HeadsBundle.load(tmp_path)
    scores = bundle.scores(data.features[0][torch.from_numpy(data.rows["val"])])
    constant = [FORTY.slugs[k] for k in range(40) if np.ptp(scores[:, k].numpy()) < 1e-6]
    assert constant == [FORTY.slugs[dead[0]]]
    assert bundle.training["constant_heads"] == constant


def test_diverged_heads_are_never_written(model, big, tmp_path):
    class Break(Callback):
        def on_train_end(self, trainer, module):
            best.state["layers.0.weight"][4] = float("nan")

    best = BestHeads()
    best.folder = tmp_path
    with pytest.raises(DataError, match=r"training diverged.*lower model.lr"):
        fit(model(), big(), 1, [best, Break()])
    assert not (tmp_path / "manifest.json").exists()
