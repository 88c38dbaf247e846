import hashlib
import json
import os
import socket
import time
from dataclasses import replace

import numpy as np
import open_clip
import pytest
import timm
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import save_file
from torch.utils._python_dispatch import TorchDispatchMode

from emonet_lightning.encoder_files import embedded_path, save_encoder_file
from emonet_lightning.encoders import (
    CPU_BATCH,
    EncoderSpec,
    FrozenEncoder,
    encoder_fingerprint,
    encoder_identity,
    feature_dim,
    preprocess_spec,
)
from emonet_lightning.errors import DataError, EmoNetError, EnvironmentProblem, MissingInputError, UsageError
from emonet_lightning.transforms import EvalTransform

SMALL = {"embed_dim": 48, "depth": 2, "num_heads": 3, "img_size": 32, "patch_size": 8}
SIGLIP = "timm/vit_base_patch16_siglip_224"
PAPER = ("timm/vit_so400m_patch16_siglip_384.v2_webli", "open_clip/ViT-SO400M-16-SigLIP2-384:webli")


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EMONET_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Files of weights: a small SigLIP tower and a network with batch normalisation."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    save_file(timm.create_model(SIGLIP[5:], num_classes=0, **SMALL).state_dict(), folder / "siglip.safetensors")
    save_file(timm.create_model("test_resnet").state_dict(), folder / "resnet.safetensors")
    return folder


@pytest.fixture
def small(weights):
    return EncoderSpec(SIGLIP, weights=str(weights / "siglip.safetensors"), options=SMALL)


def images(count, size):
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (count, 3, size, size), dtype=np.uint8))


def test_timm_and_open_clip_builds_of_one_architecture_agree(tmp_path):
    torch.manual_seed(0)
    tower = timm.create_model("test_vit3", num_classes=0, global_pool="map")
    save_file(tower.state_dict(), tmp_path / "timm.safetensors")
    text = {"text.token_embedding.weight": torch.zeros(2, 2), "logit_scale": torch.zeros(())}
    save_file({f"visual.trunk.{k}": v for k, v in tower.state_dict().items()} | text, tmp_path / "clip.safetensors")
    vision = {"image_size": 160, "timm_model_name": "test_vit3", "timm_pool": "map", "timm_proj": "none"}
    config = {"embed_dim": 96, "vision_cfg": vision, "text_cfg": {"context_length": 8, "vocab_size": 8, "width": 8}}
    (tmp_path / "Tiny-SigLIP.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "Tiny-SigLIP.json")

    of_clip = EncoderSpec("open_clip/Tiny-SigLIP", weights=str(tmp_path / "clip.safetensors"))
    pixels = preprocess_spec(of_clip)
    of_timm = EncoderSpec(
        "timm/test_vit3",
        weights=str(tmp_path / "timm.safetensors"),
        options={"global_pool": "map"},
        resize=pixels.resize,
        mean=list(pixels.mean),
        std=list(pixels.std),
    )
    assert preprocess_spec(of_timm) == pixels
    assert feature_dim(of_timm) == feature_dim(of_clip) == 96
    batch = images(3, 160)
    features = FrozenEncoder.load(of_timm).encode(batch)
    assert torch.equal(features, FrozenEncoder.load(of_clip).encode(batch))
    with torch.no_grad():
        plain = tower.eval()(batch.float() / 127.5 - 1)
    assert torch.allclose(features, plain, atol=1e-5)


def test_the_papers_encoder_has_equal_preprocessing_in_both_libraries():
    first, second = (preprocess_spec(EncoderSpec(name)) for name in PAPER)
    assert first == second
    assert (first.size, first.resize, first.mean, first.std) == (384, "squash", (0.5,) * 3, (0.5,) * 3)
    assert [feature_dim(EncoderSpec(name)) for name in PAPER] == [1152, 1152]


@pytest.mark.parametrize("name", ["ViT-SO400M-16-SigLIP2-384:webli", "ViT-B-32:laion2b_s34b_b79k"])
def test_pixels_are_those_of_open_clips_own_transform(name):
    architecture, tag = name.split(":")
    spec = preprocess_spec(EncoderSpec(f"open_clip/{name}"))
    known = {k: v for k, v in open_clip.get_pretrained_cfg(architecture, tag).items() if hasattr(PreprocessCfg(), k)}
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 45, 3), dtype=np.uint8)).resize((450, 600))
    theirs = image_transform_v2(PreprocessCfg(size=spec.size, **known), is_train=False)(image).numpy()
    ours = EvalTransform(spec)(np.array(image)) / 255
    ours = (ours - np.array(spec.mean)[:, None, None]) / np.array(spec.std)[:, None, None]
    assert np.abs(ours - theirs).max() <= 2.1 / 255 / min(spec.std)


@pytest.mark.parametrize("name", ["mobilenetv2_100.ra_in1k", "test_vit3.r160_in1k"])
def test_pixels_are_those_of_timms_own_transform(name):
    spec = preprocess_spec(EncoderSpec(f"timm/{name}"))
    config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 45, 3), dtype=np.uint8)).resize((450, 600))
    theirs = timm.data.create_transform(**config, is_training=False)(image).numpy()
    ours = EvalTransform(spec)(np.array(image)) / 255
    ours = (ours - np.array(spec.mean)[:, None, None]) / np.array(spec.std)[:, None, None]
    assert np.abs(ours - theirs).max() <= 2.1 / 255 / min(spec.std)


def test_encoder_stays_in_eval_and_frozen_after_train(weights):
    encoder = FrozenEncoder.load(EncoderSpec("timm/test_resnet", weights=str(weights / "resnet.safetensors")))
    torch.nn.ModuleList([encoder]).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    features = encoder(images(4, 160))
    assert not any(module.training for module in encoder.modules())
    assert not features.requires_grad
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_features_of_a_row_do_not_depend_on_how_many_there_are(small):
    encoder = FrozenEncoder.load(small)
    batches = []
    encoder.module.register_forward_pre_hook(lambda module, inputs: batches.append(len(inputs[0])))
    batch = images(2 * CPU_BATCH + 7, 32)
    features = encoder.encode(batch)
    assert features.shape == (2 * CPU_BATCH + 7, encoder.dim)
    assert torch.equal(encoder.encode(batch[:5]), features[:5])
    assert torch.equal(encoder.encode(batch[CPU_BATCH:]), features[CPU_BATCH:])
    assert encoder.encode(batch[:0]).shape == (0, encoder.dim)
    assert set(batches) == {CPU_BATCH}


def test_heads_can_be_trained_on_what_is_encoded(small):
    head = torch.nn.Linear(48, 1)
    head(FrozenEncoder.load(small).encode(images(3, 32))).sum().backward()
    assert head.weight.grad is not None
    assert head.weight.grad.abs().sum() > 0


class _Operations(TorchDispatchMode):
    """Names of the operations that run."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.names.append(str(operation))
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_attention_is_fused(small, dtype):
    encoder = FrozenEncoder.load(replace(small, dtype=dtype))
    with _Operations() as operations:
        encoder.encode(images(2, 32))
    assert sum("scaled_dot_product" in name for name in operations.names) == 3  # two blocks and the pooling head
    assert not any("softmax" in name for name in operations.names)


def test_width_is_that_of_the_output_not_num_features():
    assert feature_dim(EncoderSpec("timm/test_mambaout")) == 256


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_low_precision_gives_float32_features_near_the_exact_ones(small, dtype):
    exact = FrozenEncoder.load(small).encode(images(4, 32))
    low = FrozenEncoder.load(EncoderSpec(**{**vars(small), "dtype": dtype})).encode(images(4, 32))
    assert low.dtype == torch.float32
    assert 0 < (low - exact).norm() / exact.norm() < 0.05


def test_size_override_interpolates_learnt_positions(small):
    larger = EncoderSpec(small.name, weights=small.weights, options={**SMALL, "img_size": 48})
    encoder = FrozenEncoder.load(larger)
    assert encoder.preprocess.size == 48
    assert encoder.encode(images(2, 48)).shape == (2, 48)
    assert preprocess_spec(EncoderSpec(PAPER[0], size=256)).size == 256
    assert feature_dim(EncoderSpec(PAPER[0], size=256)) == 1152


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"dtype": "bfloat16"}, False),
        ({"interpolation": "bilinear"}, False),
        ({"resize": "crop", "crop_pct": 0.9}, False),
        ({"mean": [0.4, 0.5, 0.5]}, False),
        ({"std": [0.4, 0.5, 0.5]}, False),
        ({"options": {**SMALL, "global_pool": "avg"}}, False),
        ({"compile": True}, False),
        ({"resize_on": "device"}, False),
        ({"resize_on": "host"}, True),
    ],
)
def test_fingerprint_changes_with_everything_that_changes_features(small, change, same):
    changed = EncoderSpec(**{**vars(small), **change})
    assert (encoder_fingerprint(changed) == encoder_fingerprint(small)) is same


def test_options_that_are_off_are_not_named_in_the_identity(small):
    # else the caches of earlier releases would be lost
    assert set(encoder_identity(small)) == {"library", "architecture", "options", "dtype", "preprocess", "sha256"}


def test_unknown_place_of_resizing_is_refused(small):
    with pytest.raises(UsageError, match="resize_on 'gpu' is unknown"):
        preprocess_spec(replace(small, resize_on="gpu"))


def test_fingerprint_by_name_is_that_of_the_loaded_encoder(small):
    assert FrozenEncoder.load(small).fingerprint == encoder_fingerprint(small)


def test_self_describing_file_needs_no_library_name(tmp_path, small):
    reference = FrozenEncoder.load(small)
    path = tmp_path / "mine.safetensors"
    digest = save_encoder_file(
        path,
        reference.module.state_dict(),
        architecture=small.name[5:],
        options=SMALL,
        preprocess={**reference.preprocess.to_dict(), "interpolation": "bilinear"},
    )
    spec = EncoderSpec(str(path), sha256=digest)
    encoder = FrozenEncoder.load(spec)
    assert preprocess_spec(spec).interpolation == "bilinear"
    assert encoder.identity["sha256"] == digest
    assert next(encoder.parameters()).dtype == torch.float32
    batch = images(3, 32)
    assert torch.allclose(encoder.encode(batch), reference.encode(batch), atol=2e-2)


def test_embedded_encoder_is_the_packages_file_read_as_any_local_one():
    if not embedded_path().is_file():
        pytest.skip("the package carries no embedded encoder yet")
    assert encoder_fingerprint(EncoderSpec()) == encoder_fingerprint(EncoderSpec(str(embedded_path())))
    size = preprocess_spec(EncoderSpec()).size
    assert FrozenEncoder.load(EncoderSpec()).encode(images(2, size)).shape == (2, feature_dim(EncoderSpec()))


@pytest.mark.parametrize("name", PAPER)
def test_without_network_the_command_to_run_elsewhere_is_printed_at_once(name):
    started = time.monotonic()
    with pytest.raises(EnvironmentProblem) as caught:
        FrozenEncoder.load(EncoderSpec(name, revision="abc"))
    assert time.monotonic() - started < 5
    assert f"python -m emonet_lightning fetch encoder {name} --dir DIR --revision abc" in str(caught.value)
    assert "--model.encoder.weights DIR/" in str(caught.value)


def test_hub_that_never_answers_is_given_up_within_5_s(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        started = time.monotonic()
        with pytest.raises(EnvironmentProblem, match=r"no answer within|timed out"):
            encoder_fingerprint(EncoderSpec(PAPER[0]))
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("timm/mobilnetv2_100", "'mobilenetv2_100'"),
        ("timm/mobilenetv2_100.ra_in2k", "'mobilenetv2_100.ra_in1k'"),
        ("open_clip/ViT-SO400M-16-SigLIP2-385:webli", "'ViT-SO400M-16-SigLIP2-384'"),
        ("open_clip/ViT-B-32:opnai", "'openai'"),
        ("mobilenetv2_100", "timm/NAME"),
    ],
)
def test_unknown_encoder_offers_the_nearest_names(name, offered):
    with pytest.raises(UsageError) as caught:
        preprocess_spec(EncoderSpec(name))
    assert offered in str(caught.value)


def _other_width(weights):
    return EncoderSpec(SIGLIP, weights=str(weights / "siglip.safetensors"), options={**SMALL, "embed_dim": 60})


def _too_deep(weights):
    return EncoderSpec(SIGLIP, weights=str(weights / "siglip.safetensors"), options={**SMALL, "depth": 1})


def _too_shallow(weights):
    return EncoderSpec(SIGLIP, weights=str(weights / "siglip.safetensors"), options={**SMALL, "depth": 3})


def _pinned_to_another(weights):
    return EncoderSpec(SIGLIP, weights=str(weights / "siglip.safetensors"), options=SMALL, sha256="0" * 64)


def _not_weights(weights):
    (weights / "text.safetensors").write_text("not weights")
    return EncoderSpec(SIGLIP, weights=str(weights / "text.safetensors"), options=SMALL)


def _says_nothing_of_itself(weights):
    return EncoderSpec(str(weights / "siglip.safetensors"))


def _unknown_option(weights):
    return EncoderSpec(SIGLIP, weights=str(weights / "siglip.safetensors"), options={"no_such_option": 1})


def _absent(weights):
    return EncoderSpec(SIGLIP, weights=str(weights / "absent.safetensors"))


@pytest.mark.parametrize(
    ("make", "kind", "complaint"),
    [
        (_other_width, DataError, "has another shape"),
        (_too_deep, DataError, "is not part of it"),
        (_too_shallow, DataError, "is missing"),
        (_pinned_to_another, DataError, "pinned to 0000"),
        (_not_weights, DataError, "not readable as weights"),
        (_says_nothing_of_itself, DataError, "--model.encoder.name timm/NAME"),
        (_unknown_option, UsageError, "no_such_option"),
        (_absent, MissingInputError, "no such weight file"),
    ],
)
def test_wrong_weights_are_one_line_that_names_the_file(weights, make, kind, complaint):
    spec = make(weights)
    with pytest.raises(EmoNetError) as caught:
        FrozenEncoder.load(spec)
    assert type(caught.value) is kind
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(spec.weights or spec.name) in str(caught.value) or kind is UsageError


def test_weights_damaged_after_first_use_are_noticed(tmp_path, weights):
    path = tmp_path / "siglip.safetensors"
    path.write_bytes((weights / "siglip.safetensors").read_bytes())
    spec = EncoderSpec(SIGLIP, weights=str(path), options=SMALL)
    before = encoder_fingerprint(spec)
    stat = path.stat()
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(DataError, match="changed since first use"):
        FrozenEncoder.load(spec)
    os.utime(path)  # a new time is no reason to trust it
    with pytest.raises(DataError, match="changed since first use"):
        encoder_fingerprint(spec)
    replaced = replace(spec, sha256=hashlib.sha256(content).hexdigest())  # replaced on purpose: another encoder
    assert encoder_fingerprint(replaced) != before
    assert encoder_fingerprint(spec) == encoder_fingerprint(replaced)


def test_digest_of_first_use_is_kept_for_later_processes(tmp_path, weights):
    path = tmp_path / "siglip.safetensors"
    path.write_bytes((weights / "siglip.safetensors").read_bytes())
    identity = FrozenEncoder.load(EncoderSpec(SIGLIP, weights=str(path), options=SMALL)).identity
    (record,) = [json.loads(file.read_text()) for file in (tmp_path / "cache" / "weights").glob("*.json")]
    assert (record["path"], record["sha256"]) == (str(path), identity["sha256"])


def test_real_pretrained_encoder_gives_timms_own_features(real_data):
    path = str(real_data / "encoders" / "mobilenetv2_100.safetensors")
    spec = EncoderSpec(
        "timm/mobilenetv2_100", weights=path, options={"pad_type": "same"}, mean=[0.5] * 3, std=[0.5] * 3
    )
    encoder = FrozenEncoder.load(spec)
    assert feature_dim(spec) == encoder.dim == 1280
    reference = timm.create_model("mobilenetv2_100", pad_type="same", checkpoint_path=path).eval()
    batch = images(4, 224)
    with torch.no_grad():
        pooled = reference.forward_head(reference.forward_features(batch.float() / 127.5 - 1), pre_logits=True)
    assert torch.allclose(encoder(batch), pooled, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [{"checkpoint_path": "x.bin"}, {"pretrained": True}, {"pretrained_cfg": {"file": "x"}}, {"cache_dir": "x"}, [1],
     {"img_size": {"a": 1}}],
    ids=str,
)  # fmt: skip
def test_options_do_not_make_a_library_load_files(tmp_path, small, options):
    path = tmp_path / "mine.safetensors"
    state = FrozenEncoder.load(small).module.state_dict()
    preprocess = preprocess_spec(small).to_dict()
    save_encoder_file(path, state, architecture=small.name[5:], options=options, preprocess=preprocess)
    with pytest.raises(DataError, match=r"mine\.safetensors: option"):
        FrozenEncoder.load(EncoderSpec(str(path)))
    if isinstance(options, dict):
        with pytest.raises(DataError, match="option"):
            FrozenEncoder.load(replace(small, options=options))


@pytest.mark.parametrize("name", ["hf-hub:someone/model", "timm/hf-hub:someone", "local-dir:x", "open_clip/none", "no"])
def test_a_file_names_an_architecture_that_is_installed(tmp_path, small, name):
    path = tmp_path / "mine.safetensors"
    state = FrozenEncoder.load(small).module.state_dict()
    save_encoder_file(path, state, architecture=name, options=SMALL, preprocess=preprocess_spec(small).to_dict())
    with pytest.raises(DataError, match=r"mine\.safetensors: its header names"):
        FrozenEncoder.load(EncoderSpec(str(path)))
