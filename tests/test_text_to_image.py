"""`synthesize images` with a real, tiny pipeline of diffusers, whose random weights are made here."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from emonet_lightning.cli import main
from emonet_lightning.errors import DataError
from emonet_lightning.io import sha256_file
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.synthesis.pipelines import Generator, Sampling, call_options, find_pipeline
from emonet_lightning.synthesis.prompts import read_prompts

for needed in ("diffusers", "transformers"):
    pytest.importorskip(needed, reason=f"{needed} is not installed: pip install 'emonet_lightning[generate]'")

from tiny_pipeline import build_pipeline  # noqa: E402  (imports the others)

FAST = ["--sampling.steps", "2", "--sampling.dtype", "float32", "--device", "cpu", "--progress", "false"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_pipeline(tmp_path_factory.mktemp("pipeline") / "tiny")


@pytest.fixture(scope="module")
def design(tmp_path_factory):
    path = tmp_path_factory.mktemp("design") / "faces.jsonl"
    assert main(["synthesize", "design", "--images", "36", "--out", str(path), "--figure", "false"]) == 0
    return path


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256_file(path) for path in files}


def images(design, model, out, *options):
    return main(["synthesize", "images", str(design), "--model", str(model), "--out", str(out), *FAST, *options])


@pytest.fixture(scope="module")
def whole(design, tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "set"
    assert images(design, tiny, out) == 0
    return out


def test_a_design_becomes_a_set_that_verify_and_embed_take(whole, design, tiny, tmp_path):
    packed = PackedSet.open(whole)
    assert main(["verify", str(whole), "--progress", "false"]) == 0
    assert main(["embed", str(whole), "--cache_dir", str(tmp_path), "--device", "cpu"]) == 0
    records = read_prompts(design).records
    assert packed.num_samples == len(records) == 36
    meta = packed.read_record(7)["meta"]
    expected = {
        "model": "tiny", "pipeline": "StableDiffusionPipeline", "scheduler": "DDIMScheduler", "steps": 2,
        "guidance": 7.5, "dtype": "float32", "attempt": 0,
    }  # fmt: skip
    assert expected.items() <= meta.items()
    assert {"prompt", "seed", "emotion", "ethnicity", "age", "gender", "template"} <= meta.keys()
    assert meta["revision"] == find_pipeline(str(tiny)).revision
    assert packed.prompted[7] == records[7]["prompted"]
    plan = json.loads((whole / "generation" / "plan.json").read_text())
    assert plan["made_with"].keys() == {"torch", "diffusers", "transformers"}


def test_noise_belongs_to_the_image_and_not_to_its_batch(tiny):
    source = find_pipeline(str(tiny))
    draw = Generator(source, Sampling(steps=2, dtype="float32"), CPU)
    texts, seeds = ["a face of joy", "a face of fear", "an old man"], [5, 6, 2**47]
    together = np.stack(draw(texts, seeds)).astype(int)
    apart = np.stack([draw([text], [seed])[0] for text, seed in zip(texts, seeds, strict=True)]).astype(int)
    assert together.shape == (3, 32, 32, 3)
    assert np.abs(together - apart).max() <= 1  # rounding
    # not Euler's, whose steps are those of DDIM
    solver = Generator(source, Sampling(steps=2, dtype="float32", scheduler="DPMSolverMultistepScheduler"), CPU)
    assert np.abs(together - np.stack(solver(texts, seeds)).astype(int)).max() > 10
    other = np.stack(draw(texts, [7, 8, 9])).astype(int)
    assert np.abs(together - other).max() > 20


def test_options_reach_the_pipeline_and_are_recorded(design, tiny, tmp_path, whole):
    options = [
        "--sampling.scheduler",
        "EulerDiscreteScheduler",
        "--sampling.width",
        "48",
        "--sampling.height",
        "32",
        "--sampling.guidance",
        "2",
    ]
    assert images(design, tiny, tmp_path / "set", *options, "--format", "png", "--splits", "train=0.75,val=0.25") == 0
    packed = PackedSet.open(tmp_path / "set")
    meta = packed.read_record(0)["meta"]
    assert (meta["scheduler"], meta["width"], meta["guidance"]) == ("EulerDiscreteScheduler", 48, 2.0)
    assert {name: len(rows) for name, rows in packed.splits.items()} == {"train": 27, "val": 9}
    content = packed.read_image(0)
    assert content.startswith(b"\x89PNG")
    assert int.from_bytes(content[16:20], "big") == 48
    assert find_pipeline(str(tiny)).scheduler == "DDIMScheduler"
    assert call_options(find_pipeline(str(tiny)), Sampling())["num_inference_steps"] == 50  # the pipeline's default


def test_a_pipeline_in_the_hubs_cache_is_found_without_network_and_recorded_by_commit(
    design, tiny, tmp_path, monkeypatch
):
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "models--someone--tiny"
    shutil.copytree(tiny, folder / "snapshots" / commit)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    source = find_pipeline("someone/tiny")
    assert source.revision == commit
    assert find_pipeline("someone/tiny", commit).folder == source.folder
    assert images(design, "someone/tiny", tmp_path / "set", "--revision", commit) == 0
    assert PackedSet.open(tmp_path / "set").read_record(0)["meta"]["model"] == "someone/tiny"


def test_without_network_a_name_of_the_hub_says_within_seconds_how_to_fetch_it(design, tmp_path, capsys):
    started = time.monotonic()
    assert images(design, "someone/other", tmp_path / "set", "--revision", "v1") == 78
    assert time.monotonic() - started < 10
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "run `hf download someone/other --revision v1 --local-dir DIR`, then give --model DIR" in error
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("safe", "pickled"),
    [
        ("unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.bin"),
        ("text_encoder/model.safetensors", "text_encoder/pytorch_model.bin"),
    ],
)
def test_weights_that_are_no_safetensors_are_refused(tiny, tmp_path, safe, pickled):
    folder = tmp_path / "pickled"
    shutil.copytree(tiny, folder)
    weights = folder / safe
    torch.save(load_file(weights), folder / pickled)
    weights.unlink()
    with pytest.raises(DataError, match="cannot be loaded"):
        Generator(find_pipeline(str(folder)), Sampling(dtype="float32"), CPU)


@pytest.mark.parametrize(
    ("index", "told"),
    [
        ({"_class_name": "NoPipeline"}, "is no pipeline of diffusers"),
        ({"_class_name": "AutoencoderKL"}, "is no pipeline of diffusers"),
        ({"_class_name": "DDPMPipeline"}, "takes no prompt"),
        ({"_class_name": "StableDiffusionPipeline", "unet": ["my_code", "UNet"]}, "part 'unet' is of 'my_code'"),
        (None, "holds no model_index.json"),
    ],
)
def test_folders_that_are_no_pipeline_or_bring_code_are_one_line(design, tmp_path, capsys, index, told):
    (tmp_path / "odd").mkdir()
    if index is not None:
        (tmp_path / "odd" / "model_index.json").write_text(json.dumps(index))
    assert images(design, tmp_path / "odd", tmp_path / "set") == 65
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert told in error
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--sampling.scheduler", "EulerDiscrete"], 2, "did you mean 'EulerDiscreteScheduler'"),
        (["--sampling.steps", "0"], 2, "--sampling.steps 0: must be 1 or more"),
        (["--quality", "101"], 2, "--quality 101"),
        (["--device", "cuda:99"], 78, "device 'cuda:99'"),
        (["--rank", "3", "--world_size", "2"], 2, "rank is 3"),
        (["--gates.attempts", "0"], 2, "--gates.attempts 0"),
        (["--revision", "main"], 2, "is a folder; only a name of the hub has revisions"),
        (["--taxonomy", "TAXONOMY"], 65, "is no emotion of taxonomy 'mine'"),
        (["--sampling.width", "33", "--sampling.height", "32"], 2, "divisible by 8"),
        (["--splits", "train=0.5,val=0.4"], 2, "the shares sum to 0.9"),
        (["--sampling.width", "48"], 2, "give both --sampling.width and --sampling.height"),
    ],
)
def test_wrong_options_are_one_line(design, tiny, tmp_path, capsys, options, code, told):
    (tmp_path / "mine.yaml").write_text("name: mine\nemotions: [Zest]\n")
    options = [str(tmp_path / "mine.yaml") if word == "TAXONOMY" else word for word in options]
    assert images(design, tiny, tmp_path / "set", *options) == code
    error = capsys.readouterr().err
    assert told in error
    assert error.strip().splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "set" / "manifest.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "point",
    [
        "round-00-block-000000.images@half=kill",
        "round-00-block-000000.images@renamed=kill",
        "round-00-block-000001.json@written=kill",
        "shard-000000.tar@half=kill",
        "manifest.json@renamed=kill",
        "dropped.jsonl@renamed=kill",
        "report.json@renamed=kill",
        "round-00-block-000001.images@opened=SIGTERM",
    ],
)
def test_killed_anywhere_the_same_command_ends_with_equal_bytes(whole, design, tiny, tmp_path, point):
    words = ["synthesize", "images", str(design), "--model", str(tiny), "--out", str(tmp_path / "set"), *FAST]
    command = [sys.executable, "-m", "emonet_lightning", *words]
    first = subprocess.run(command, env={**os.environ, "EMONET_FAILPOINT": point}, capture_output=True, text=True)
    assert first.returncode == (75 if "SIGTERM" in point else -signal.SIGKILL), first.stderr
    second = subprocess.run(command, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    assert digests(tmp_path / "set") == digests(whole)
