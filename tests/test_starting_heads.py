"""Starting from heads and checkpoints: the function is kept, what does not belong is refused."""

from dataclasses import replace

import pytest
import torch
import yaml
from small_runs import FORTY, fit, heads_of, same

from emonet_lightning.bundle import HeadsBundle
from emonet_lightning.data.datamodules import ExpertBinary
from emonet_lightning.encoders import encoder_fingerprint
from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.module import EmpathicInsightFace
from emonet_lightning.taxonomy import Taxonomy


@pytest.fixture(scope="session")
def swapped(tmp_path_factory):
    """The released taxonomy with two emotions swapped."""
    names = [{"name": d.name, "slug": d.slug, "aliases": list(d.aliases)} for d in FORTY.dimensions]
    names[3], names[4] = names[4], names[3]
    path = tmp_path_factory.mktemp("taxonomy") / "swapped.yaml"
    path.write_text(yaml.safe_dump({"name": "swapped", "levels": [0, 7], "emotions": names}))
    return str(path)


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


def test_another_order_of_emotions_is_refused_wherever_columns_meet(model, big, spec, small_sets, trained, swapped):
    message = r"columns are those of another taxonomy or order \(digest [0-9a-f]{12}, 'swapped' has [0-9a-f]{12}\)"
    with pytest.raises(DataError, match=message):  # labels
        fit(model(taxonomy=swapped), big(taxonomy=swapped))
    with pytest.raises(DataError, match=message):  # heads
        HeadsBundle.load(trained[0], Taxonomy.load(swapped))
    module = model(taxonomy=swapped)
    with pytest.raises(DataError, match=message):  # checkpoint
        module.on_load_checkpoint(torch.load(trained[0] / "last.ckpt", weights_only=True))


def test_a_checkpoint_of_another_layout_is_refused(model, trained):
    checkpoint = torch.load(trained[0] / "last.ckpt", weights_only=True)
    checkpoint["emonet_lightning"]["format"] = 1
    with pytest.raises(DataError, match="written by another release"):
        model().on_load_checkpoint(checkpoint)


def test_fewer_emotions_are_another_taxonomy(big, model, tmp_path):
    path = tmp_path / "first.yaml"
    path.write_text(yaml.safe_dump({"name": "first", "emotions": FORTY.names[:30]}))
    with pytest.raises(DataError, match="another taxonomy"):
        fit(model(taxonomy=str(path)), big(taxonomy=str(path)))


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
