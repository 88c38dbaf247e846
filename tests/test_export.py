"""`export`: what it writes loads and scores as the heads it came from, and nothing is written that does not fit."""

import json
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch

import emonet_lightning.export
from emonet_lightning.bundle import HeadsBundle
from emonet_lightning.cli import main
from emonet_lightning.encoders import EncoderSpec, FrozenEncoder, encoder_fingerprint
from emonet_lightning.errors import DataError, EnvironmentProblem, OutputError, UsageError
from emonet_lightning.export import export_bundle, export_command
from emonet_lightning.heads import EmotionHeads
from emonet_lightning.io import save_tensors, sha256_file
from emonet_lightning.recognizer import load_bundle
from emonet_lightning.taxonomy import Taxonomy

TAXONOMY = Taxonomy.load("emonet40")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> EncoderSpec:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("encoder") / "resnet.safetensors"
    save_tensors(path, timm.create_model("test_resnet", num_classes=0).state_dict())
    return EncoderSpec(name="timm/test_resnet", weights=str(path), size=64)


def _bundle(encoder: EncoderSpec, output_map: str = "identity", num_thresholds: int = 0) -> HeadsBundle:
    """Heads whose scores spread over 0..7, as trained ones do."""
    torch.manual_seed(1)
    heads = EmotionHeads(40, 96, (16, 8), num_thresholds=num_thresholds)
    with torch.no_grad():
        heads.stack[-1].weight.mul_(30)
        heads.stack[-1].bias.add_(2)
    recorded = {**asdict(encoder), "fingerprint": encoder_fingerprint(encoder)}
    return HeadsBundle(heads.eval(), TAXONOMY, recorded, output_map=output_map)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def heads_dir(encoder: EncoderSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    _bundle(encoder).save(folder)
    return folder


def _run(path: Path, name: str, inputs: torch.Tensor) -> np.ndarray:
    return onnxruntime.InferenceSession(str(path)).run(None, {name: inputs.numpy()})[0]


def test_exported_folder_loads_and_scores_the_same(heads_dir: Path, tmp_path: Path) -> None:
    export_command(str(tmp_path), heads=str(heads_dir))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "heads.safetensors", "manifest.json"]
    features = torch.randn(5, 96)
    before, after = HeadsBundle.load(heads_dir), HeadsBundle.load(tmp_path)
    assert torch.equal(after.scores(features), before.scores(features))
    assert after.encoder == before.encoder


def test_released_layout_round_trips_and_is_what_a_plain_sequential_loads(heads_dir: Path, tmp_path: Path) -> None:
    assert main(["export", "--heads", str(heads_dir), "--released", "--out", str(tmp_path)]) == 0
    names = {path.name for path in tmp_path.glob("*.pth")}
    assert names == {f"model_{slug}_best.pth" for slug in TAXONOMY.slugs}
    for extra in ("manifest.json", "heads.safetensors"):
        (tmp_path / extra).unlink()
    features = torch.randn(5, 96)
    expected = HeadsBundle.load(heads_dir).scores(features)
    assert torch.equal(load_bundle(tmp_path).scores(features), expected)
    module = torch.nn.Module()
    linear, relu, drop = torch.nn.Linear, torch.nn.ReLU(), torch.nn.Dropout(0.1)
    module.layers = torch.nn.Sequential(linear(96, 16), relu, drop, linear(16, 8), relu, drop, linear(8, 1))
    module.load_state_dict(torch.load(tmp_path / "model_pride_best.pth", weights_only=True), strict=True)
    scores = module.eval().layers(torch.nn.functional.normalize(features))[:, 0]
    assert torch.allclose(scores, expected[:, TAXONOMY.index("pride")], atol=1e-5)


def test_onnx_heads_agree_with_pytorch_for_any_batch_and_name_their_columns(
    encoder: EncoderSpec, tmp_path: Path
) -> None:
    bundle = _bundle(encoder, "coral", 7)
    (_, line) = export_bundle(bundle, tmp_path, onnx=True)
    assert "largest difference" in line
    for batch in (1, 2, 33):
        features = torch.randn(batch, 96) * 20
        expected = bundle.scores(features).numpy()
        assert np.ptp(expected) > 1
        assert np.abs(_run(tmp_path / "heads.onnx", "features", features) - expected).max() < 1e-4
    properties = {entry.key: json.loads(entry.value) for entry in onnx.load(tmp_path / "heads.onnx").metadata_props}
    assert [column["slug"] for column in properties["taxonomy"]["dimensions"]] == TAXONOMY.slugs
    assert properties["encoder"]["fingerprint"] == encoder_fingerprint(encoder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["heads.onnx", "heads.safetensors", "manifest.json"]


def test_onnx_of_encoder_and_heads_takes_resized_images_and_is_float32_whatever_the_heads_saw(
    encoder: EncoderSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(emonet_lightning.export, "_INLINE_BYTES", 0)  # as for an encoder of gigabytes
    bundle = _bundle(replace(encoder, dtype="bfloat16"))
    bundle.save(tmp_path / "heads")
    out = tmp_path / "out"
    export_command(str(out), heads=str(tmp_path / "heads"), onnx_images=True)
    assert "trained on bfloat16 features" in capsys.readouterr().err
    assert (out / "recognizer.onnx.data").stat().st_size > 100_000
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    expected = bundle.scores(FrozenEncoder.load(encoder)(images)).numpy()
    assert np.abs(_run(out / "recognizer.onnx", "images", images) - expected).max() < 1e-4


def test_encoder_that_cannot_become_a_graph_is_one_line_and_leaves_nothing(
    encoder: EncoderSpec, tmp_path: Path
) -> None:
    half = replace(encoder, dtype="bfloat16")  # onnxruntime has no such convolution
    with pytest.raises(DataError, match=r"recognizer\.onnx: .*cannot become an ONNX graph") as caught:
        export_bundle(_bundle(half), tmp_path, encoder=FrozenEncoder.load(half))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_graph_that_disagrees_is_not_written(
    encoder: EncoderSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emonet_lightning.export, "PARITY", -1.0)
    with pytest.raises(DataError, match=r"heads\.onnx: not written"):
        export_bundle(_bundle(encoder), tmp_path, onnx=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", [{"output_map": "sigmoid"}, {"l2_normalise": False}])
def test_released_layout_is_refused_with_the_reason_where_it_cannot_hold_the_scores(
    change: dict[str, object], encoder: EncoderSpec, tmp_path: Path
) -> None:
    bundle = replace(_bundle(encoder), **change)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"released \.pth files") as caught:
        export_bundle(bundle, tmp_path / "out", released=True)
    assert "export safetensors or ONNX" in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_missing_onnx_package_is_named_with_the_command_that_installs_it(
    package: str, heads_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EnvironmentProblem) as caught:
        export_command(str(tmp_path / "out"), heads=str(heads_dir), onnx=True)
    assert str(caught.value) == f'export to ONNX needs {package}; pip install "emonet-lightning[onnx]"'
    assert not (tmp_path / "out").exists()


def test_neither_and_both_sources_and_an_unwritable_folder_are_refused(heads_dir: Path, tmp_path: Path) -> None:
    for given in ({}, {"run": str(heads_dir), "heads": str(heads_dir)}):
        with pytest.raises(UsageError, match="either --run DIR or --heads DIR"):
            export_command(str(tmp_path), **given)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        export_command(str(tmp_path / "file" / "out"), heads=str(heads_dir))


def test_manifest_pins_all_that_was_written_and_what_an_earlier_export_wrote_is_removed(
    heads_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".onnx-killed").mkdir()
    export_command(str(tmp_path), heads=str(heads_dir), onnx=True, released=True)
    files = json.loads((tmp_path / "manifest.json").read_text())["files"]
    unpinned = ("manifest.json", "README.md")
    assert files == {path.name: sha256_file(path) for path in tmp_path.iterdir() if path.name not in unpinned}
    assert len(files) == 42
    export_command(str(tmp_path / "again"), heads=str(heads_dir), released=True)
    again = json.loads((tmp_path / "again" / "manifest.json").read_text())["files"]
    assert again.items() <= files.items(), "equal heads are equal files"
    shutil.rmtree(tmp_path / "again")
    kept = tmp_path / "model_anger_best.pth"
    kept.write_bytes(b"somebody's own")
    (tmp_path / "notes.txt").write_text("mine")
    capsys.readouterr()
    export_command(str(tmp_path), heads=str(heads_dir))
    assert "removed heads.onnx, model_affection_best.pth, model_amusement_best.pth ..." in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "README.md", "heads.safetensors", "manifest.json", kept.name, "notes.txt",
    ]  # fmt: skip
    assert list(json.loads((tmp_path / "manifest.json").read_text())["files"]) == ["heads.safetensors"]


def test_damaged_heads_are_not_exported(heads_dir: Path, tmp_path: Path) -> None:
    for name in ("heads.safetensors", "manifest.json"):
        (tmp_path / name).write_bytes((heads_dir / name).read_bytes())
    content = bytearray((tmp_path / "heads.safetensors").read_bytes())
    content[-5] ^= 1
    (tmp_path / "heads.safetensors").write_bytes(content)
    with pytest.raises(DataError, match="content changed"):
        export_command(str(tmp_path / "out"), heads=str(tmp_path))
    assert not (tmp_path / "out").exists()
