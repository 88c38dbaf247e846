"""Every file in configs/ through the real command line, on small sets and a tiny encoder."""

import shutil
from pathlib import Path

import pytest
import yaml

from emonet_lightning.cli import main
from emonet_lightning.composition import EMBEDDED_CONFIG
from emonet_lightning.judging import run_config
from emonet_lightning.packing.shards import pack
from emonet_lightning.synthesis.faces import RenderedFaces
from emonet_lightning.taxonomy import Taxonomy

CONFIGS = Path(__file__).parent.parent / "configs"
QUICK = [
    "--trainer.max_epochs=1",
    "--trainer.accelerator=cpu",
    "--trainer.devices=1",
    "--model.widths=[8]",
    "--num_draws=20",
]
QUIET = ["--trainer.enable_progress_bar=false", "--figures=false"]


@pytest.fixture(scope="module")
def data(tmp_path_factory, small_sets):
    """A folder as EMONET_DATA names it."""
    folder = tmp_path_factory.mktemp("data")
    for name, path in small_sets.items():
        (folder / name).symlink_to(path)
    (folder / "emotions.yaml").write_text("name: mine\nemotions: [Anger, Elation, Sadness]\n")

    class Own(RenderedFaces):
        """Faces with labels on three emotions only."""

        def __getitem__(self, index):
            sample = super().__getitem__(index)
            kept = {
                "labeller": {slug: float((index + k) % 8) for k, slug in enumerate(("anger", "elation", "sadness"))}
            }
            return sample._replace(ratings=kept, prompted=None)

    pack(
        Own("big", count=60),
        folder / "own",
        Taxonomy.load(str(folder / "emotions.yaml")),
        splits={"train": 0.6, "val": 0.2, "test": 0.2},
        hash_near_duplicates=False,
        progress=False,
    )
    return folder


@pytest.fixture(autouse=True)
def places(monkeypatch, data, small_encoder):
    """What the configurations read from the environment."""
    monkeypatch.setenv("EMONET_DATA", str(data))
    monkeypatch.setenv("EMONET_ENCODER", str(small_encoder))
    monkeypatch.setenv("EMONET_TAXONOMY", str(data / "emotions.yaml"))
    monkeypatch.setenv("EMONET_DEBUG_DATA", str(data / "big"))


def test_quickstart_is_the_embedded_default():
    assert (CONFIGS / "quickstart.yaml").read_text() == EMBEDDED_CONFIG.read_text()


@pytest.mark.parametrize("name", ["pretrain_big", "finetune_binary", "two_stage", "own_images", "debug"])
def test_config_fits(name, tmp_path, encoder_options):
    words = ["fit", "--config", str(CONFIGS / f"{name}.yaml"), "--out", str(tmp_path / "run")]
    small = ["--data.batch_size=32", "--model.encoder.dtype=float32"]
    assert main([*words, *QUICK, *QUIET, *small, *encoder_options]) == 0
    assert Path(run_config(tmp_path / "run")["data"]["init_args"]["path"]).is_dir()  # the variable was resolved
    assert (tmp_path / "run" / "heads.safetensors").is_file()


def test_run_file_runs_again_and_gives_the_same_figures(tmp_path, encoder_options):
    words = ["--config", str(CONFIGS / "pretrain_big.yaml"), *QUICK, *QUIET, "--model.encoder.dtype=float32"]
    assert main(["fit", *words, *encoder_options, "--out", str(tmp_path / "first")]) == 0
    assert main(["fit", "--config", str(tmp_path / "first" / "run.yaml"), "--out", str(tmp_path / "again")]) == 0
    for name in ("metrics.jsonl", "heads.safetensors"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_test_hq_judges_a_run(tmp_path, encoder_options):
    run = tmp_path / "run"
    words = ["--config", str(CONFIGS / "pretrain_big.yaml"), *QUICK, *QUIET, "--model.encoder.dtype=float32"]
    assert main(["fit", *words, *encoder_options, "--out", str(run)]) == 0
    assert main(["test", "--run", str(run), "--config", str(CONFIGS / "test_hq.yaml"), *QUIET]) == 0
    assert "test/spearman" in (run / "results.json").read_text()
    shutil.rmtree(run / "checkpoints")  # heads alone are enough
    assert main(["validate", "--run", str(run), *QUIET, "--out", str(tmp_path / "val")]) == 0
    assert "val/score" in (tmp_path / "val" / "results.json").read_text()


def test_override_of_a_base_key_reaches_what_refers_to_it(tmp_path, data, encoder_options):
    base = yaml.safe_load((CONFIGS / "pretrain_big.yaml").read_text())
    base["data"]["init_args"]["cache_dir"] = "${.path}_features"
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(base))
    words = ["fit", "--config", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "run"), *QUICK, *QUIET]
    moved = tmp_path / "moved"
    shutil.copytree((data / "big").resolve(), moved)
    assert main([*words, *encoder_options, "--model.encoder.dtype=float32", f"--data.path={moved}"]) == 0
    assert (tmp_path / "moved_features").is_dir()
