"""EmpathicInsightFace in real runs on small sets: what moves, and what stays as it is."""

import math

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from small_runs import FORTY, Log, fit, heads_of, same

from emonet_lightning.data.datamodules import ExpertBinary, SyntheticFaces
from emonet_lightning.encoders import FrozenEncoder
from emonet_lightning.losses import LOSSES, OUTPUT_MAP, elementwise_loss
from emonet_lightning.packing.samples import RawSample
from emonet_lightning.packing.shards import pack
from emonet_lightning.synthesis.faces import RenderedFaces
from emonet_lightning.taxonomy import Taxonomy


def test_encoder_stays_in_eval_and_its_batch_statistics_do_not_move(model, big, spec):
    module = model(standardise=False)
    before = FrozenEncoder.load(spec).state_dict()

    class Watch(Callback):
        def on_train_batch_start(self, trainer, module, batches, batch_idx):
            (batch,) = batches
            assert batch.inputs.dtype == torch.uint8
            assert module.heads.training
            assert not any(part.training for part in module.encoder.modules())

    start = heads_of(module)
    fit(module, big(mode="images"), callbacks=[Watch()])
    after = module.encoder.state_dict()
    assert any("running_mean" in name for name in after)
    assert same(before, after)
    assert not any(parameter.requires_grad for parameter in module.encoder.parameters())
    assert not any(name.startswith(("encoder", "_encoder")) for name in module.state_dict())
    assert not same(start, heads_of(module))


class Steps(Callback):
    """For every step: which heads had labels, and which moved."""

    def __init__(self):
        self.labelled, self.moved = [], []

    def on_train_batch_start(self, trainer, module, batches, batch_idx):
        (batch,) = batches
        self.labelled.append(batch.num_labels > 0)
        self._before = heads_of(module)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        after = heads_of(module)
        changes = [(after[name] != value).flatten(1).any(1) for name, value in self._before.items()]
        self.moved.append(torch.stack(changes).any(0))


def test_a_head_without_labels_in_a_step_is_neither_stepped_nor_decayed(model, small_sets, spec):
    steps = Steps()
    data = ExpertBinary(str(small_sets["binary"]), encoder=spec, batch_size=10, consensus="mean")
    fit(model(weight_decay=0.5), data, 3, [steps])
    labelled, moved = torch.stack(steps.labelled), torch.stack(steps.moved)
    assert torch.equal(labelled, moved)
    earlier = labelled.cumsum(0) - labelled.int() > 0
    assert (earlier & ~labelled).sum() > 100, "heads with momentum from an earlier step were among them"


def test_a_head_trains_as_if_it_were_alone(model, big, small_sets, spec, tmp_path):
    """The objective is a sum over heads: one emotion's taxonomy gives the head that forty give."""

    class OneHead(Callback):
        def on_train_batch_start(self, trainer, module, batches, batch_idx):
            (batch,) = batches
            batch.num_labels[1:] = 0
            batch.mask[:, 1:] = False
            batches[0] = batch._replace(idle=tuple(range(1, 40)))

    together, alone = model(), model()
    start = heads_of(alone)
    fit(together, big(), 2)
    fit(alone, big(), 2, [OneHead()])
    for name, value in heads_of(alone).items():
        assert torch.allclose(value[0], heads_of(together)[name][0], atol=1e-6)
        assert torch.equal(value[1:], start[name][1:])


@pytest.mark.parametrize("loss", LOSSES)
def test_each_loss_trains_and_its_score_is_defined(model, big, loss):
    log = Log()
    module = model(loss=loss, lr=2e-2)
    run = fit(module, big(), 6, [log])
    assert log.lines[-1]["train/loss"] < 0.8 * log.lines[0]["train/loss"]
    assert -1 <= run.callback_metrics["val/score"] <= 1
    assert math.isfinite(run.callback_metrics["val/score"])
    assert {f"val/score/{slug}" for slug in FORTY.slugs} & set(log.lines[-1])
    scores = module.scores(torch.randn(20, 256))
    assert scores.shape == (20, 40)
    if OUTPUT_MAP[loss] != "identity":
        assert 0 <= scores.min() <= scores.max() <= 7


def test_scores_learn_the_order_of_the_training_labels(model, big):
    """Enough epochs on few faces must fit them: the path from label to score has no twist."""
    data = big()
    module = model(widths=[32], lr=3e-2)
    fit(module, data, 25)
    rows = torch.from_numpy(data.rows["train"])
    scores = module.scores(data.features[0][rows]).detach().numpy()
    truth = data.train_labels().truth
    both = [np.corrcoef(scores[:, k], truth[:, k])[0, 1] for k in range(40) if np.ptp(truth[:, k])]
    assert np.median(both) > 0.8


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_bad_target_of_one_head_does_not_touch_the_others(model, big, poison):
    class Poison(Callback):
        def on_train_batch_start(self, trainer, module, batches, batch_idx):
            (batch,) = batches
            batch.target[0, 7] = poison

    clean, dirty = model(), model()
    start = heads_of(dirty)
    fit(clean, big(), 2)
    with pytest.warns(UserWarning, match=rf"non-finite gradient, step skipped for {FORTY.names[7]}"):
        run = fit(dirty, big(), 2, [Poison()])
    others = [k for k in range(40) if k != 7]
    for name, value in heads_of(dirty).items():
        assert torch.equal(value[others], heads_of(clean)[name][others]), name
        assert torch.equal(value[7], start[name][7]), name
    assert math.isfinite(run.callback_metrics["train/loss"])


def test_balanced_weights_are_the_odds_against_a_label_above_rest(model, big):
    module, data = model(imbalance="balanced", max_positive_weight=4.0), big(batch_size=120)
    seen = []

    class Watch(Callback):
        def on_train_batch_start(self, trainer, module, batches, batch_idx):
            (batch,) = batches
            raw, target = module(batch.inputs).detach(), batch.target
            loss = elementwise_loss("mse", raw, target, module.low, module.high)
            weights = torch.where(target > 0, module.positive_weight[1], module.positive_weight[0])
            seen.append(((loss * weights).mean(0).sum().item(), weights.mean(0)))

        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            assert outputs["loss"].item() == pytest.approx(seen[-1][0], rel=1e-5)

    fit(module, data, 1, [Watch()])
    share = data.train_labels().positive_share(FORTY)
    odds = module.positive_weight[1] / module.positive_weight[0]
    expected = np.clip((1 - share) / np.maximum(share, 1e-9), 1, 4)
    np.testing.assert_allclose(odds.numpy(), expected, rtol=1e-5)
    assert (expected > 1).any()
    # their mean over the labels is 1: the learning rate keeps its meaning
    torch.testing.assert_close(seen[0][1], torch.ones(40), rtol=1e-4, atol=1e-4)


class FacesWithExtras:
    """Rendered faces, with all extra dimensions rated as well."""

    kind = "dense"
    licence = "MIT"
    name = "with-extras"

    def __init__(self):
        self.faces = RenderedFaces("big", count=48, size=96)

    def __len__(self):
        return len(self.faces)

    def __getitem__(self, index) -> RawSample:
        sample = self.faces[index]
        rng = np.random.default_rng(index)
        extras = {"valence": rng.integers(-3, 4), "arousal": rng.integers(0, 8), "dominance": rng.integers(-3, 4)}
        ratings = {"machine": {**sample.ratings["machine"], **{slug: float(value) for slug, value in extras.items()}}}
        return sample._replace(ratings=ratings)


@pytest.fixture(scope="session")
def extras_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extras") / "set"
    taxonomy = Taxonomy.load("emonet40", extra_dimensions=True)
    splits = {"train": 0.6, "val": 0.4}
    pack(FacesWithExtras(), folder, taxonomy, splits=splits, hash_near_duplicates=False, progress=False)
    return folder


def test_extra_dimensions_train_beside_the_emotions_and_stay_out_of_the_mean(model, extras_set, spec):
    module, log = model(extra_dimensions=True), Log()
    start = heads_of(module)
    data = SyntheticFaces(str(extras_set), encoder=spec, extra_dimensions=True, batch_size=12)
    fit(module, data, 2, [log])
    slugs = module.taxonomy.slugs
    assert module.heads.num_heads == len(slugs) == 44
    figures = log.lines[-1]
    defined = [figures[f"val/score/{slug}"] for slug in slugs[:40] if f"val/score/{slug}" in figures]
    assert figures["val/score"] == pytest.approx(np.mean(defined))
    assert {"val/score/valence", "val/score/arousal", "val/score/dominance"} <= figures.keys()
    assert len(defined) > 5
    moved = [not same({"w": start["layers.0.weight"][k]}, {"w": module.heads.layers[0].weight[k]}) for k in range(44)]
    unlabelled = slugs.index("emotional_vulnerability")
    assert moved == [k != unlabelled for k in range(44)]
    valence = slugs.index("valence")
    assert data.train_labels().target[:, valence].min() < 0
    assert "train/loss/emotional_vulnerability" not in figures


def test_forty_heads_train_on_a_set_with_extra_dimensions_and_the_reverse(model, extras_set, big, spec):
    fit(model(), SyntheticFaces(str(extras_set), encoder=spec))
    module = model(extra_dimensions=True)
    start = heads_of(module)
    fit(module, big(extra_dimensions=True))
    for name, value in heads_of(module).items():
        assert torch.equal(value[40:], start[name][40:])
