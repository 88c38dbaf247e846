"""EmpathicInsightFace in real runs on small sets: what moves, what stays, what is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from emonet_lightning.bundle import HeadsBundle
from emonet_lightning.callbacks import BestHeads
from emonet_lightning.data.datamodules import CombinedFaces, ExpertBinary, ExpertRatings, Part, SyntheticFaces
from emonet_lightning.data.samples import RawSample
from emonet_lightning.data.shards import pack
from emonet_lightning.encoders import EncoderSpec, FrozenEncoder, encoder_fingerprint
from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.losses import LOSSES, OUTPUT_MAP, elementwise_loss
from emonet_lightning.module import EmpathicInsightFace
from emonet_lightning.synthesis.faces import RenderedFaces
from emonet_lightning.taxonomy import Taxonomy
from emonet_lightning.transforms import Augmentation

FORTY = Taxonomy.load("emonet40")


@pytest.fixture(scope="session")
def spec(small_encoder):
    return EncoderSpec("timm/test_efficientnet", weights=str(small_encoder), size=64)


@pytest.fixture(scope="session")
def swapped(tmp_path_factory):
    """The released taxonomy with two emotions swapped."""
    names = [{"name": d.name, "slug": d.slug, "aliases": list(d.aliases)} for d in FORTY.dimensions]
    names[3], names[4] = names[4], names[3]
    path = tmp_path_factory.mktemp("taxonomy") / "swapped.yaml"
    path.write_text(yaml.safe_dump({"name": "swapped", "levels": [0, 7], "emotions": names}))
    return str(path)


@pytest.fixture
def model(spec):
    """Builds a small module after a fixed seed."""

    def build(**options):
        seed_everything(0, verbose=False)
        return EmpathicInsightFace(**{"encoder": spec, "widths": [8], "dropout": 0.0, "lr": 1e-2, **options})

    return build


@pytest.fixture
def big(small_sets, spec):
    """Builds the data module of generated labels: 120 rows to train on, 40 to validate."""

    def build(**options):
        return SyntheticFaces(str(small_sets["big"]), **{"encoder": spec, "batch_size": 40, **options})

    return build


def trainer(epochs=1, callbacks=(), **options):
    return Trainer(
        **{
            "max_epochs": epochs,
            "accelerator": "cpu",
            "devices": 1,
            "logger": False,
            "enable_checkpointing": any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "use_distributed_sampler": False,
            "callbacks": list(callbacks),
            **options,
        }
    )


def fit(module, data, epochs=1, callbacks=(), ckpt_path=None, **options):
    """Train; returns the Trainer, whose `callback_metrics` hold the last epoch's figures."""
    run = trainer(epochs, callbacks, **options)
    run.fit(module, datamodule=data, ckpt_path=ckpt_path)
    return run


class Log(Callback):
    """The figures of every epoch."""

    def __init__(self):
        self.lines = []

    def on_train_epoch_start(self, trainer, module):
        if trainer.callback_metrics:  # those of the epoch before: the module logs after the callbacks were asked
            self.on_train_end(trainer, module)

    def on_train_end(self, trainer, module):
        self.lines.append({key: float(value) for key, value in trainer.callback_metrics.items()})


def heads_of(module):
    return {name: value.detach().clone() for name, value in module.heads.state_dict().items()}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, small_sets, spec):
    """A run of two epochs: its folder holds the bundle of best heads and `last.ckpt`; its module is given as well."""
    folder = tmp_path_factory.mktemp("trained")
    seed_everything(0, verbose=False)
    module = EmpathicInsightFace(encoder=spec, widths=[8], lr=1e-2)
    best = BestHeads()
    best.folder = folder
    checkpoint = ModelCheckpoint(folder, filename="last", enable_version_counter=False)
    data = SyntheticFaces(str(small_sets["big"]), encoder=spec, batch_size=40)
    fit(module, data, 2, [best, checkpoint])
    return folder, module


# -- what moves and what stays -------------------------------------------------------------------------------------


def test_encoder_stays_in_eval_and_its_batch_statistics_do_not_move(model, big, spec):
    module = model(standardise=False)
    before = FrozenEncoder.load(spec).state_dict()

    class Watch(Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
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

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.labelled.append(batch.num_labels > 0)
        self._before = heads_of(module)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        after = heads_of(module)
        changes = [(after[name] != value).flatten(1).any(1) for name, value in self._before.items()]
        self.moved.append(torch.stack(changes).any(0))


def test_a_head_without_labels_in_a_step_is_neither_stepped_nor_decayed(model, small_sets, spec):
    steps = Steps()
    data = ExpertBinary(str(small_sets["binary"]), encoder=spec, batch_size=10, consensus="fraction")
    fit(model(weight_decay=0.5), data, 3, [steps])
    labelled, moved = torch.stack(steps.labelled), torch.stack(steps.moved)
    assert torch.equal(labelled, moved)
    earlier = labelled.cumsum(0) - labelled.int() > 0
    assert (earlier & ~labelled).sum() > 100, "heads with momentum from an earlier step were among them"


def test_a_head_trains_as_if_it_were_alone(model, big, small_sets, spec, tmp_path):
    """The objective is a sum over heads: one emotion's taxonomy gives the head that forty give."""

    class OneHead(Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            batch.num_labels[1:] = 0
            batch.mask[:, 1:] = False

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
    module = model(loss=loss)
    run = fit(module, big(), 12, [log])
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
    module = model(widths=[32])
    fit(module, data, 60)
    rows = torch.from_numpy(data.rows["train"])
    scores = module.scores(data.features[0][rows]).detach().numpy()
    truth = data.train_labels().truth
    both = [np.corrcoef(scores[:, k], truth[:, k])[0, 1] for k in range(40) if np.ptp(truth[:, k])]
    assert np.median(both) > 0.8


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_bad_target_of_one_head_does_not_touch_the_others(model, big, poison):
    class Poison(Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
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
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
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


# -- the same run twice ---------------------------------------------------------------------------------------------


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

    whole = model(dropout=0.5)
    log = Log()
    fit(whole, big(), 4, [log])
    checkpoint = ModelCheckpoint(tmp_path, filename="last", enable_version_counter=False)
    with pytest.raises(RuntimeError, match="power cut"):
        fit(model(dropout=0.5), big(), 4, [checkpoint, Stop()])
    resumed, later = model(dropout=0.5), Log()
    fit(resumed, big(), 4, [later], ckpt_path=tmp_path / "last.ckpt")
    assert same(heads_of(resumed), heads_of(whole))
    assert later.lines == log.lines[2:]


def test_cached_views_are_chosen_anew_each_epoch_and_evaluation_sees_the_clean_one(model, big):
    data = big(views=3, augmentation=Augmentation())
    clean = big()
    seen = []

    class Watch(Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            order = batch.key.argsort()
            seen.append((batch.key[order], batch.inputs[order]))

        def on_validation_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0):
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


# -- starting from heads --------------------------------------------------------------------------------------------


def start_from(folder, module, data):
    """Set a run up, and train nothing."""
    fit(module, data, epochs=0)
    return module


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("l2_normalise", [True, False])
def test_a_stage_starts_from_exactly_the_function_of_its_heads(
    model, small_sets, spec, tmp_path, trained, standardise, l2_normalise
):
    bundle = replace(HeadsBundle.load(trained[0]), l2_normalise=l2_normalise)
    bundle.save(tmp_path)
    data = ExpertBinary(str(small_sets["binary"]), encoder=spec, batch_size=40)
    options = {"standardise": standardise, "l2_normalise": l2_normalise, "init_heads_from": str(tmp_path)}
    module = start_from(tmp_path, model(**options), data).eval()
    assert bool((module.feature_std != 1).any()) == standardise
    expected = bundle.scores(data.features[0])
    tolerance = {"rtol": 0, "atol": 1e-5 * float(expected.abs().max())}
    with torch.no_grad():
        torch.testing.assert_close(module.scores(data.features[0]), expected, **tolerance)
    # and back again
    torch.testing.assert_close(module.to_bundle().scores(data.features[0]), expected, **tolerance)


def test_other_maps_to_scores_are_refused_unless_the_last_layer_is_drawn_anew(model, big, trained):
    folder = str(trained[0])
    for loss in ("bce", "coral"):
        with pytest.raises(UsageError, match=rf"'identity' of their outputs, loss '{loss}' takes .*reinit_last_layer"):
            start_from(folder, model(loss=loss, init_heads_from=folder), big())
        module = start_from(folder, model(loss=loss, init_heads_from=folder, reinit_last_layer=True), big())
        bundle, known = module.to_bundle(), HeadsBundle.load(folder)
        assert torch.allclose(bundle.heads.layers[0].weight, known.heads.layers[0].weight, rtol=1e-4, atol=1e-6)
        assert not torch.isclose(bundle.heads.layers[1].weight, known.heads.layers[1].weight).any(dim=1).all()
    for loss in ("mae", "huber"):
        start_from(folder, model(loss=loss, init_heads_from=folder), big())


def test_ordinal_heads_keep_their_thresholds_when_a_stage_starts_from_them(model, big, tmp_path):
    first = model(loss="coral")
    data = big()
    fit(first, data, 1)
    first.to_bundle().save(tmp_path)
    second = start_from(tmp_path, model(loss="coral", init_heads_from=str(tmp_path)), big())
    assert torch.equal(second.heads.thresholds, first.heads.thresholds)
    torch.testing.assert_close(second.scores(data.features[0]), first.scores(data.features[0]), rtol=1e-4, atol=1e-4)


def test_heads_of_another_encoder_are_refused_with_both_fingerprints(model, big, spec, trained):
    other = replace(spec, interpolation="bilinear")
    module = model(encoder=other, init_heads_from=str(trained[0]))
    with pytest.raises(DataError) as caught:
        start_from(trained[0], module, big(encoder=other))
    for fingerprint in (encoder_fingerprint(spec), encoder_fingerprint(other)):
        assert fingerprint[:12] in str(caught.value)


@pytest.mark.parametrize("change", [{"widths": [9]}, {"l2_normalise": False}])
def test_heads_of_another_shape_or_scaling_are_refused(model, big, trained, change):
    with pytest.raises(DataError, match="do not fit this model's"):
        start_from(trained[0], model(init_heads_from=str(trained[0]), **change), big())


# -- order of the columns -------------------------------------------------------------------------------------------


def test_another_order_of_emotions_is_refused_wherever_columns_meet(model, big, spec, small_sets, trained, swapped):
    message = r"columns are those of another taxonomy or order \(digest [0-9a-f]{12}, 'swapped' has [0-9a-f]{12}\)"
    with pytest.raises(DataError, match=message):  # labels
        fit(model(taxonomy=swapped), big(taxonomy=swapped))
    with pytest.raises(DataError, match=message):  # heads
        HeadsBundle.load(trained[0], Taxonomy.load(swapped))
    module = model(taxonomy=swapped)
    with pytest.raises(DataError, match=message):  # checkpoint
        module.on_load_checkpoint(torch.load(trained[0] / "last.ckpt", weights_only=True))


def test_fewer_emotions_are_another_taxonomy(big, model, tmp_path):
    path = tmp_path / "first.yaml"
    path.write_text(yaml.safe_dump({"name": "first", "emotions": FORTY.names[:30]}))
    with pytest.raises(DataError, match="another taxonomy"):
        fit(model(taxonomy=str(path)), big(taxonomy=str(path)))


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


# -- checkpoints -----------------------------------------------------------------------------------------------------


def test_hyper_parameters_are_primitives_and_a_checkpoint_loads_without_code(trained):
    checkpoint = torch.load(trained[0] / "last.ckpt", weights_only=True)

    def primitive(value):
        if isinstance(value, dict):
            return all(isinstance(key, str) and primitive(inner) for key, inner in value.items())
        if isinstance(value, list | tuple):
            return all(primitive(inner) for inner in value)
        return value is None or type(value) in (bool, int, float, str)

    assert primitive(dict(checkpoint["hyper_parameters"]))
    assert checkpoint["hyper_parameters"]["encoder"]["name"] == "timm/test_efficientnet"
    module = EmpathicInsightFace.load_from_checkpoint(trained[0] / "last.ckpt", weights_only=True)
    assert same(heads_of(module), heads_of(trained[1]))
    assert torch.equal(module.feature_mean, trained[1].feature_mean)
    features = torch.randn(5, 256)
    with torch.no_grad():
        assert torch.equal(module.eval().scores(features), trained[1].eval().scores(features))


@pytest.fixture
def changed(trained, tmp_path):
    """Writes a copy of the checkpoint with a change."""

    def write(change):
        checkpoint = torch.load(trained[0] / "last.ckpt", weights_only=True)
        change(checkpoint)
        torch.save(checkpoint, tmp_path / "changed.ckpt")
        return tmp_path / "changed.ckpt"

    return write


@pytest.mark.parametrize("key", ["heads.layers.0.weight", "heads.layers.1.bias", "feature_mean"])
def test_a_checkpoint_without_one_of_the_heads_tensors_is_refused(model, big, changed, key):
    path = changed(lambda checkpoint: checkpoint["state_dict"].pop(key))
    with pytest.raises((RuntimeError, DataError), match=key.replace(".", r"\.")):
        fit(model(), big(), 3, ckpt_path=path)
    with pytest.raises((RuntimeError, DataError), match=key.replace(".", r"\.")):
        EmpathicInsightFace.load_from_checkpoint(path, weights_only=True)


def test_a_checkpoint_of_another_encoder_or_project_is_refused(model, big, spec, changed, trained):
    other = replace(spec, size=96)
    with pytest.raises(DataError) as caught:
        fit(model(encoder=other), big(encoder=other), 3, ckpt_path=trained[0] / "last.ckpt")
    for fingerprint in (encoder_fingerprint(spec), encoder_fingerprint(other)):
        assert fingerprint[:12] in str(caught.value)
    path = changed(lambda checkpoint: checkpoint.pop("emonet_lightning"))
    with pytest.raises(DataError, match="not one of emonet_lightning"):
        fit(model(), big(), 3, ckpt_path=path)


# -- best heads ------------------------------------------------------------------------------------------------------


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


# -- data modules ----------------------------------------------------------------------------------------------------


def test_parts_of_a_combination_keep_their_own_rules(model, small_sets, spec):
    parts = [Part(str(small_sets["big"])), Part(str(small_sets["binary"]), consensus="fraction", yes_value=5.0)]
    data = CombinedFaces(parts, encoder=spec, batch_size=50)
    log = Log()
    fit(model(), data, 1, [log])
    labels = data.train_labels()
    assert len(labels.target) == 120 + 90
    assert labels.mask[:120].all()
    assert set(labels.mask[120:].sum(1).tolist()) == {2}
    assert labels.target[120:].max() == 5
    assert data.score_metric == "average_precision"
    assert set(data.rows["val"].tolist()) <= set(range(160, 280))
    assert data.features.shape[1] == 280
    assert "val/score" in log.lines[0]


def test_folds_are_the_same_for_every_seed_and_a_person_is_in_one(small_sets, spec):
    def rows(seed, fold, cls=SyntheticFaces):
        data = cls(str(small_sets["big"]), encoder=spec, seed=seed, num_folds=4, fold=fold, val_share=0.25)
        data.setup("fit")
        return data

    tested = []
    for fold in range(4):
        data = rows(0, fold)
        groups = np.array(data.sets[0].groups)
        found = [set(groups[data.rows[name]].tolist()) for name in ("train", "val", "test")]
        assert not found[0] & found[1]
        assert not found[0] & found[2]
        assert not found[1] & found[2]
        assert sum(len(data.rows[name]) for name in ("train", "val", "test")) == 160
        tested += data.rows["test"].tolist()
        other = rows(9, fold)
        for name in ("train", "val", "test"):
            np.testing.assert_array_equal(data.rows[name], other.rows[name])
    assert sorted(tested) == list(range(160))


def test_a_batch_larger_than_the_set_is_reduced_with_a_warning(model, big):
    data = big(batch_size=1000)
    with pytest.warns(UserWarning, match="1000 is more than the 120 training rows; reduced to 120"):
        run = fit(model(), data)
    assert run.global_step == 1


def test_a_sealed_set_and_a_set_of_another_kind_are_refused_before_anything_is_encoded(
    model, small_sets, spec, tmp_path, monkeypatch
):
    def build(cls, name):
        return cls(str(small_sets[name]), encoder=spec, cache_dir=str(tmp_path))

    with pytest.raises(DataError, match="this set is sealed, for testing only"):
        fit(model(), build(ExpertRatings, "hq"))
    with pytest.raises(DataError, match=r"kind 'binary', SyntheticFaces reads 'dense'; .*class_path: ExpertBinary"):
        fit(model(), build(SyntheticFaces, "binary"))
    with pytest.raises(DataError, match=r"kind 'dense', ExpertBinary reads 'binary'; .*class_path: SyntheticFaces"):
        fit(model(), build(ExpertBinary, "big"))
    assert not list(tmp_path.iterdir())


def test_every_rater_of_a_test_set_is_kept_apart(small_sets, spec):
    data = ExpertRatings(str(small_sets["hq"]), encoder=spec)
    data.setup("test")
    found = data.test_data()
    assert found.ratings.shape == (150, 8, 40)
    assert (~np.isnan(found.ratings).any(2)).sum(1).tolist() == [4] * 150
    np.testing.assert_allclose(found.truth, np.nanmean(found.ratings, axis=1))
    assert found.num_filled == np.count_nonzero(~np.isnan(found.ratings)) - len(data.sets[0].ratings().value)
