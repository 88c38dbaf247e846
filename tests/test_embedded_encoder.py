"""The encoder that the package carries: small, described truthfully, loaded as any local file, and not blind."""

import json

import numpy as np
import pytest
import torch

from emonet_lightning.encoder_files import embedded_path, read_encoder_header
from emonet_lightning.encoders import EncoderSpec, FrozenEncoder
from emonet_lightning.io import sha256_file
from emonet_lightning.synthesis.actions import ACTION_INDEX
from emonet_lightning.synthesis.pretrain_encoder import pretrain_encoder_command, train_encoder
from emonet_lightning.synthesis.pretraining_faces import GROUPS, TARGETS, describe_face, random_face, render_faces
from emonet_lightning.synthesis.readout import macro_auc, macro_spearman, ridge
from emonet_lightning.transforms import PreprocessSpec


@pytest.fixture(scope="module")
def card() -> dict:
    return json.loads(embedded_path().with_suffix(".json").read_text())


def test_card_tells_the_digest_size_and_licence_of_the_file(card: dict):
    path = embedded_path()
    assert card["sha256"] == sha256_file(path)
    assert card["bytes"] == path.stat().st_size <= 2 * 1024**2
    assert card["num_parameters"] <= 1_000_000
    assert card["licence"] == "MIT"
    assert card["command"].startswith("python -m emonet_lightning")
    header = read_encoder_header(path)
    assert {key: header[key] for key in ("architecture", "options", "preprocess")} == {
        key: card[key] for key in ("architecture", "options", "preprocess")
    }


def test_embedded_encoder_and_the_same_file_by_path_are_one():
    encoder = FrozenEncoder.load(EncoderSpec())
    assert sum(parameter.numel() for parameter in encoder.parameters()) <= 1_000_000
    by_path = FrozenEncoder.load(EncoderSpec(str(embedded_path())))
    pixels = torch.randint(0, 256, (3, 3, encoder.preprocess.size, encoder.preprocess.size), dtype=torch.uint8)
    assert torch.equal(encoder.encode(pixels), by_path.encode(pixels))
    assert encoder.fingerprint == by_path.fingerprint


def test_embedded_encoder_sees_a_smile_and_a_turned_head():
    encoder = FrozenEncoder.load(EncoderSpec())
    faces = render_faces(400, encoder.preprocess, seed=5, num_processes=1)  # other persons than it was trained on
    features = encoder.encode(torch.from_numpy(faces.pixels)).numpy().astype(np.float64)
    columns = [ACTION_INDEX[name] for name in ("lip_corner_pull", "brow_lower", "jaw_drop", "head_yaw")]
    read = ridge(features[:320], faces.targets[:320, columns], features[320:])
    correlation = [np.corrcoef(read[:, k], faces.targets[320:, column])[0, 1] for k, column in enumerate(columns)]
    assert min(correlation) > 0.6


def test_targets_hold_no_emotion_and_actions_are_drawn_independently():
    assert len(TARGETS) == max(columns.stop for columns in GROUPS.values())
    actions = np.stack([random_face(0, index).actions for index in range(600)])
    correlation = np.corrcoef(actions.T) - np.eye(actions.shape[1])
    assert np.abs(correlation).max() < 0.2


def test_pretraining_faces_do_not_depend_on_how_they_are_dealt_out(monkeypatch: pytest.MonkeyPatch):
    spec = PreprocessSpec(32)
    whole = render_faces(6, spec, seed=3, num_processes=1, start=2)
    monkeypatch.setattr("emonet_lightning.synthesis.pretraining_faces._CHUNK", 4)
    pieces = render_faces(6, spec, seed=3, num_processes=1, start=2)
    np.testing.assert_array_equal(whole.pixels, pieces.pixels)
    np.testing.assert_array_equal(whole.targets, pieces.targets)
    np.testing.assert_array_equal(whole.targets[0], describe_face(random_face(3, 2)))


def test_pretraining_repeats_bit_for_bit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("emonet_lightning.synthesis.pretrain_encoder._NUM_VALIDATION", 16)
    faces = render_faces(32, PreprocessSpec(96), seed=1, num_processes=1)
    first, _ = train_encoder(faces, steps=2, batch_size=4, learning_rate=1e-3, seed=0)
    second, _ = train_encoder(faces, steps=2, batch_size=4, learning_rate=1e-3, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_pretraining_command_writes_a_loadable_file_with_its_card(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("emonet_lightning.synthesis.pretrain_encoder._NUM_VALIDATION", 16)
    card = pretrain_encoder_command(tmp_path / "tiny.safetensors", num_faces=16, steps=1, batch_size=8, num_processes=1)
    assert json.loads((tmp_path / "tiny.json").read_text()) == card
    assert card["sha256"] == sha256_file(tmp_path / "tiny.safetensors")
    assert FrozenEncoder.load(EncoderSpec(str(tmp_path / "tiny.safetensors"))).dim == card["features"]


def test_readout_figures_are_those_of_scikit_learn_and_scipy():
    metrics = pytest.importorskip("sklearn.metrics")
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    scores, positive = rng.normal(size=(50, 3)), rng.random((50, 3)) < 0.3
    assert macro_auc(scores, positive) == pytest.approx(metrics.roc_auc_score(positive, scores, average="macro"))
    level = rng.integers(0, 4, size=(50, 3)).astype(float)
    expected = np.mean([stats.spearmanr(scores[:, k], level[:, k]).statistic for k in range(3)])
    assert macro_spearman(scores, level) == pytest.approx(expected)
