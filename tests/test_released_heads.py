"""What was published: folders of `model_<slug>_best.pth` (random weights of the exact layouts) and real outputs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from emonet_lightning.errors import DataError, MissingInputError
from emonet_lightning.recognizer import Predictions, load_bundle
from emonet_lightning.taxonomy import Taxonomy, released_neutral_means

TAXONOMY = Taxonomy.load("emonet40", extra_dimensions=True)


def _save_released(
    folder: Path, widths: tuple[int, ...], slugs: list[str], dim: int = 1152
) -> dict[str, torch.nn.Module]:
    """Published layout: one state dict a file, an attribute `layers` = [Linear, ReLU, Dropout] * n + Linear."""
    torch.manual_seed(3)
    folder.mkdir()
    modules = {}
    for slug in slugs:
        parts: list[torch.nn.Module] = []
        size = dim
        for width in widths:
            parts += [torch.nn.Linear(size, width), torch.nn.ReLU(), torch.nn.Dropout(0.1)]
            size = width
        module = torch.nn.Module()
        module.layers = torch.nn.Sequential(*parts, torch.nn.Linear(size, 1))
        torch.save(module.state_dict(), folder / f"model_{slug}_best.pth")
        modules[slug] = module.layers.eval()
    return modules


def test_released_small_heads_score_as_their_own_modules_on_l2_normalised_features(tmp_path: Path) -> None:
    modules = _save_released(tmp_path / "small", (128, 32), TAXONOMY.slugs[:40])
    bundle = load_bundle(tmp_path / "small")
    assert bundle.heads.num_parameters_per_head == 151_745
    assert bundle.taxonomy.digest == Taxonomy.load("emonet40").digest
    assert bundle.encoder["name"].endswith("siglip_384.v2_webli")
    assert bundle.neutral_means is None
    features = torch.randn(3, 1152) * 15
    normalised = torch.nn.functional.normalize(features)
    expected = torch.cat([modules[slug](normalised) for slug in bundle.taxonomy.slugs], dim=1)
    assert torch.allclose(bundle.scores(features), expected, atol=1e-6)


def test_released_large_heads_are_known_by_their_layers_and_bring_the_released_neutral_means(tmp_path: Path) -> None:
    keys = {"layers.0": (1024, 1152), "layers.3": (512, 1024), "layers.6": (256, 512), "layers.9": (1, 256)}
    state = {}
    for name, shape in keys.items():
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.zeros(shape), torch.zeros(shape[0])
    first, *others = (tmp_path / f"model_{slug}_best.pth" for slug in TAXONOMY.slugs)  # with the extra dimensions there
    torch.save(state, first)
    for path in others:
        path.hardlink_to(first)
    bundle = load_bundle(tmp_path)
    assert bundle.heads.num_parameters_per_head == 1_837_057
    assert len(bundle.taxonomy) == 44
    assert bundle.neutral_means is not None
    assert bundle.neutral_means.tolist() == pytest.approx(released_neutral_means(TAXONOMY))


def test_released_folder_with_a_missing_head_or_a_foreign_layout_is_refused(tmp_path: Path) -> None:
    _save_released(tmp_path / "short", (4,), TAXONOMY.slugs[:39], dim=8)
    with pytest.raises(MissingInputError, match="jealousy_&_envy"):
        load_bundle(tmp_path / "short")
    _save_released(tmp_path / "foreign", (4,), TAXONOMY.slugs[:40], dim=8)
    odd = tmp_path / "foreign" / "model_awe_best.pth"
    torch.save({"net.0.weight": torch.zeros(1, 8), "net.0.bias": torch.zeros(1)}, odd)
    with pytest.raises(DataError, match=r"model_awe_best\.pth"):
        load_bundle(tmp_path / "foreign")


def test_softmax_and_mean_subtraction_reproduce_the_released_outputs(real_data: Path) -> None:
    rows = [json.loads(line)["results"] for line in (real_data / "ferd.jsonl").read_text().splitlines()]

    def column(field: str) -> np.ndarray:
        values = [[row[f"model_{slug}_best"][field] for slug in TAXONOMY.slugs] for row in rows]
        return np.array(values, dtype=float)

    means = np.array(released_neutral_means(TAXONOMY))
    predictions = Predictions(column("raw").astype(np.float32), TAXONOMY, means)
    assert len(predictions) == 152
    assert np.abs(predictions.mean_subtracted - column("mean_subtracted")).max() < 1e-6
    assert np.abs(predictions.softmax - column("softmax"))[:, :40].max() < 1e-6
    assert np.isnan(predictions.softmax[:, 40:]).all()
    assert np.isnan(column("softmax")[:, 40:]).all()
