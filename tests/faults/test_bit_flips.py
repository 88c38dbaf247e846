"""One bit of exported heads or of an encoder's weights is another one: never taken."""

import os
import random

import bad_inputs
import pytest
from campaign import run_campaign
from safetensors.torch import load_file

from emonet_lightning import encoder_files
from emonet_lightning.bundle import WEIGHTS_FILE, HeadsBundle
from emonet_lightning.encoder_files import save_encoder_file
from emonet_lightning.encoders import EncoderSpec, FrozenEncoder, encoder_fingerprint, preprocess_spec
from emonet_lightning.errors import DataError
from emonet_lightning.recognizer import load_bundle


def flipped(content, drawn):
    """A copy with one bit changed."""
    content = bytearray(content)
    bit = drawn.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    return bytes(content), bit


def taken(load):
    """Whether something is loaded, and what is said if not."""
    try:
        load()
    except DataError as error:
        return {"ok": True, "said": str(error)[:200]}
    return {"ok": False, "said": "taken"}


def count(full):
    return 500 if full else 25


@pytest.fixture(scope="module")
def heads(place, small_sets, encoder_options):
    scene = bad_inputs.Place(place / "flips", small_sets, encoder_options)
    told = bad_inputs.run([*scene.fit("--export=[released]"), f"--out={scene.folder / 'run'}"])
    assert told.code == 0, told.stderr[-800:]
    return scene.folder / "run"


def test_flips_in_exported_heads(heads, full):
    """Half of them in the safetensors file, half in released .pth heads, whose digests are those of the first use."""
    released = sorted(heads.rglob("model_*_best.pth"))
    folder = released[0].parent
    (folder / "manifest.json").unlink(missing_ok=True)
    load_bundle(folder)
    HeadsBundle.load(heads)

    def run(trial):
        kind, _ = trial.split(" ")
        drawn = random.Random(trial)
        path = heads / WEIGHTS_FILE if kind == "safetensors" else drawn.choice(released)
        before, stat = path.read_bytes(), path.stat()
        content, bit = flipped(before, drawn)
        path.write_bytes(content)
        if drawn.random() < 0.5:
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        found = taken(lambda: HeadsBundle.load(heads) if kind == "safetensors" else load_bundle(folder))
        path.write_bytes(before)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        return {**found, "file": path.name, "bit": bit}

    trials = [f"{('safetensors', 'pth')[n % 2]} {n}" for n in range(count(full))]
    tally = run_campaign("flips_heads", trials, run, full=full)
    HeadsBundle.load(heads)
    load_bundle(folder)
    assert tally.failed == []


def test_flips_in_an_encoders_weights(place, small_encoder, full):
    """Half of them in a file that describes itself, half in a library's."""
    folder = place / "encoders"
    folder.mkdir(exist_ok=True)
    foreign = folder / "foreign.safetensors"
    foreign.write_bytes(small_encoder.read_bytes())
    of_library = EncoderSpec("timm/test_efficientnet", weights=str(foreign), size=64)
    described = folder / "described.safetensors"
    save_encoder_file(
        described, load_file(small_encoder), architecture="test_efficientnet", options={"num_classes": 0},
        preprocess=preprocess_spec(of_library).to_dict(),
    )  # fmt: skip
    specs = {"foreign": of_library, "described": EncoderSpec(str(described))}
    fingerprints = {kind: FrozenEncoder.load(spec).fingerprint for kind, spec in specs.items()}

    def run(trial):
        kind, _ = trial.split(" ")
        drawn = random.Random(trial)
        path = foreign if kind == "foreign" else described
        before, stat = path.read_bytes(), path.stat()
        content, bit = flipped(before, drawn)
        path.write_bytes(content)
        if drawn.random() < 0.5:
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        encoder_files._digests.clear()  # as a process that begins
        found = taken(lambda: FrozenEncoder.load(specs[kind]))
        path.write_bytes(before)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        return {**found, "file": path.name, "bit": bit}

    trials = [f"{('foreign', 'described')[n % 2]} {n}" for n in range(count(full))]
    tally = run_campaign("flips_encoder", trials, run, full=full)
    encoder_files._digests.clear()
    assert {kind: encoder_fingerprint(spec) for kind, spec in specs.items()} == fingerprints
    assert tally.failed == []
