"""A manifest of exported heads that says what none can say: one line with its path and the field, and nothing built."""

import json
import os
import random
import resource
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from emonet_lightning.bundle import HeadsBundle
from emonet_lightning.cli import main
from emonet_lightning.encoders import EncoderSpec, encoder_fingerprint
from emonet_lightning.errors import DataError
from emonet_lightning.heads import EmotionHeads
from emonet_lightning.io import save_tensors
from emonet_lightning.signed_json import sign
from emonet_lightning.taxonomy import Taxonomy

TAXONOMY = Taxonomy.load("emonet40")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "face.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    torch.manual_seed(0)
    weights = folder / "vit.safetensors"
    save_tensors(weights, timm.create_model("test_vit3", num_classes=0).state_dict())
    spec = EncoderSpec(name="timm/test_vit3", weights=str(weights))
    record = {**asdict(spec), "fingerprint": encoder_fingerprint(spec)}
    HeadsBundle(EmotionHeads(40, 96, (8, 4)), TAXONOMY, record).save(folder / "heads")
    return folder / "heads"


@pytest.fixture
def heads(saved: Path, tmp_path: Path) -> Path:
    """A copy of the heads that a test may damage."""
    (tmp_path / "heads").mkdir()
    for name in ("heads.safetensors", "manifest.json"):
        (tmp_path / "heads" / name).write_bytes((saved / name).read_bytes())
    return tmp_path / "heads"


def change(folder: Path, field: str, value: Any) -> Path:
    """Set one field, named with slashes, of a folder's manifest, and sign it; returns the manifest's path."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    *way, last = field.split("/")
    inner = manifest
    for step in way:
        inner = inner[int(step) if step.isdigit() else step]
    inner[last] = value
    del manifest["sha256"]
    path.write_text(sign(json.dumps(manifest)))
    return path


WRONG = [
    ("format", [3], "format"),
    ("format", 2, "format 2, this version reads 3"),
    ("format", 4, "format 4, this version reads 3"),
    ("encoder", [1], "encoder"),
    ("encoder/name", 5, "encoder.name"),
    ("encoder/name", "a\nb", "encoder.name"),
    ("encoder/options", [1], "encoder.options"),
    ("encoder/fingerprint", 5, "encoder.fingerprint"),
    ("encoder/dtype", ["float32"], "encoder.dtype"),
    ("encoder/size", 10**9, "encoder.size"),
    ("encoder/mean", [0.5], "encoder.mean"),
    ("encoder/weights", 7, "encoder.weights"),
    ("heads", "large", "heads"),
    ("heads/in_features", 0, "heads.in_features"),
    ("heads/widths", [-1], "heads.widths"),
    ("heads/widths", [10**9], "heads.widths"),
    ("heads/widths", [2**20, 2**20], "heads"),
    ("heads/widths", [True, 4], "heads.widths"),
    ("heads/widths", "small", "heads.widths"),
    ("heads/dropout", "x", "heads.dropout"),
    ("heads/dropout", [0.1], "heads.dropout"),
    ("heads/dropout", [0.1, 1.0], "heads.dropout"),
    ("heads/output_map", "evil", "heads.output_map"),
    ("heads/output_map", ["identity"], "heads.output_map"),
    ("heads/output_map", "coral", "heads.num_thresholds"),
    ("heads/num_thresholds", 10**12, "heads.num_thresholds"),
    ("heads/num_thresholds", 2**20, "heads"),
    ("l2_normalise", "no", "l2_normalise"),
    ("neutral_means", 3, "neutral_means"),
    ("training", [], "training"),
    ("files", ["heads.safetensors"], "files"),
    ("files/heads.safetensors", 5, "files.heads.safetensors"),
    ("files/heads.safetensors", "x", "files.heads.safetensors"),
    ("files", {"heads.safetensors": "0" * 64, "../heads.onnx": "0" * 64}, "files: '../heads.onnx'"),
    ("files", {"heads.safetensors": "0" * 64, "heads.onnx": "x"}, "files.heads.onnx"),
    ("taxonomy", 1, "taxonomy"),
    ("taxonomy/digest", 5, "taxonomy.digest"),
    ("taxonomy/dimensions", [], "taxonomy.dimensions"),
    ("taxonomy/dimensions/3/slug", 5, "taxonomy.dimensions[3].slug"),
    ("taxonomy/dimensions/3/low", None, "taxonomy.dimensions[3].low"),
    ("taxonomy/dimensions/3/high", float("nan"), "taxonomy.dimensions[3].high"),
    ("taxonomy/dimensions/3/high", 10**400, "taxonomy.dimensions[3].high"),
    ("taxonomy/dimensions/3/further", 1, "taxonomy.dimensions[3]"),
    ("taxonomy/dimensions/3/high", 9.0, "another taxonomy or order"),
    ("taxonomy/dimensions/3/name", "Amusement", "'Amusement' names both"),
    ("taxonomy/num_emotions", 41, "taxonomy.num_emotions"),
]


@pytest.mark.parametrize(("field", "value", "named"), WRONG, ids=[f"{f}={str(v)[:20]!r}" for f, v, _ in WRONG])
def test_field_that_is_wrong_is_named_with_its_manifest(
    field: str, value: Any, named: str, heads: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = change(heads, field, value)
    words = ["predict", str(image), f"--heads={heads}", f"--out={tmp_path / 't.csv'}", "--device=cpu"]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert main([*words, "--progress=false"]) == 65
    said = capsys.readouterr().err.strip()
    assert said.startswith(f"error: {path}: ")
    assert named in said
    assert "\n" not in said
    assert "again" in said or "use the taxonomy" in said or "give each emotion" in said
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KiB


def test_what_is_unchanged_is_read(heads: Path, saved: Path) -> None:
    features = torch.randn(3, 96)
    assert torch.equal(HeadsBundle.load(heads).scores(features), HeadsBundle.load(saved).scores(features))


@pytest.mark.parametrize("field", ["format", "heads", "taxonomy", "encoder", "training", "files", "l2_normalise"])
def test_field_that_is_missing_is_named(field: str, heads: Path) -> None:
    manifest = json.loads((heads / "manifest.json").read_text())
    del manifest[field]
    (heads / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=field):
        HeadsBundle.load(heads)


def test_manifest_is_refused_whichever_byte_of_it_was_changed_and_however_often_it_says_its_digest(heads: Path) -> None:
    path = heads / "manifest.json"
    content = path.read_bytes()
    places = random.Random(0).sample(range(len(content)), 200)
    for place in [*places, *range(len(content) - 90, len(content) - 1)]:
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(DataError, match=r"manifest\.json"):
            HeadsBundle.load(heads)
    changed = content.replace(b"anger", b"angst")
    digest = content.rpartition(b'"sha256": ')[2].split(b"\n")[0]
    for text in (
        changed,
        changed[:-3] + b',\n"sha256": ' + digest + b"\n}\n",
        content[: content.rindex(b",")] + b"\n}",
    ):
        path.write_bytes(text)
        with pytest.raises(DataError, match=r"manifest\.json: content changed since it was written; export the heads"):
            HeadsBundle.load(heads)


def test_manifest_that_fills_the_memory_is_not_read(heads: Path) -> None:
    os.truncate(heads / "manifest.json", 2**31)
    with pytest.raises(DataError, match=r"manifest\.json: 2,147,483,648 bytes"):
        HeadsBundle.load(heads)


DAMAGE: list[tuple[Callable[[dict[str, torch.Tensor]], Any], str]] = [
    (lambda state: state.pop("layers.1.bias"), "manifest.json: heads: 'layers.1.bias'"),
    (lambda state: state.update({"layers.9.bias": torch.zeros(1)}), "manifest.json: heads: 'layers.9.bias'"),
    (lambda state: state.update(neutral_means=torch.zeros(3)), "'neutral_means' has shape"),
    (lambda state: state.update({"layers.1.bias": torch.zeros(40, 4, dtype=torch.int8)}), "of type I8"),
]


@pytest.mark.parametrize(("damage", "named"), DAMAGE, ids=[named for _, named in DAMAGE])
def test_weights_other_than_the_manifest_says_are_refused_by_their_header(
    damage: Callable[[dict[str, torch.Tensor]], Any], named: str, heads: Path
) -> None:
    state = dict(EmotionHeads(40, 96, (8, 4)).state_dict())
    damage(state)
    change(heads, "files", {"heads.safetensors": save_tensors(heads / "heads.safetensors", state)})
    with pytest.raises(DataError) as caught:
        HeadsBundle.load(heads)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
