"""Shared fixtures: where real data lies, and no network for any test."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
if "PYTEST_XDIST_WORKER" in os.environ:  # files share the cores: threads that wait for each other would take them away
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")

import pytest

ROOT = Path(__file__).parent.parent


TOGETHER = dict.fromkeys(
    ("tests/test_readme.py", "tests/test_quickstart.py", "tests/test_real_faces.py"), "the quickstart's run"
)
"""Files of which one process runs all, since they look at the same long run."""
LONG = (
    *TOGETHER, "tests/test_distributed.py", "tests/test_processes.py", "tests/faults/test_slurm_jobs.py",
    "tests/faults/test_write_sites.py", "tests/faults/test_signals.py",
    "tests/faults/test_wandb_mirror.py", "tests/faults/test_mutated_configs.py",
)  # fmt: skip
"""Files that take a minute or more: they begin first, so that none is left alone at the end."""


def pytest_collection_modifyitems(items):
    """Begin with what takes long."""
    for item in items:
        path = item.nodeid.partition("::")[0]
        if "quickstart" in item.fixturenames and path not in TOGETHER:
            raise pytest.UsageError(f"{path}: uses the quickstart's run; name it in TOGETHER of tests/conftest.py")
    places = {path: place for place, path in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(LONG)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keep a file's tests in one process: they share what is costly to make."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduler(LoadFileScheduling):
        def _split_scope(self, nodeid):
            path = super()._split_scope(nodeid)
            return TOGETHER.get(path, path)

    return Scheduler(config, log)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real faces, ratings and an encoder; skips where the machine has none."""
    folder = os.environ.get("EMONET_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("EMONET_REAL_DATA does not name a folder: real faces, ratings and encoder are not here")
    return Path(folder)


@pytest.fixture(scope="session")
def small_sets(tmp_path_factory) -> dict[str, Path]:
    """Rendered faces packed as the paper's three sets, small: `big` and `binary` with train and val, `hq` sealed."""
    from emonet_lightning.packing.shards import pack
    from emonet_lightning.synthesis.faces import RenderedFaces
    from emonet_lightning.taxonomy import Taxonomy

    folder = tmp_path_factory.mktemp("sets")
    for name, count in (("big", 160), ("binary", 120), ("hq", 150)):
        pack(
            RenderedFaces(name, count=count),
            folder / name,
            Taxonomy.load("emonet40"),
            splits=None if name == "hq" else {"train": 0.75, "val": 0.25},
            shard_size=50,
            sealed=name == "hq",
            hash_near_duplicates=False,
            progress=False,
        )
    return {name: folder / name for name in ("big", "binary", "hq")}


@pytest.fixture(scope="session")
def small_encoder(tmp_path_factory) -> Path:
    """Weights of a tiny timm encoder (test_efficientnet, 0.1 M parameters, 256-d), random but fixed."""
    import timm
    import torch
    from safetensors.torch import save_file

    path = tmp_path_factory.mktemp("encoder") / "test_efficientnet.safetensors"
    torch.manual_seed(0)
    save_file(timm.create_model("test_efficientnet", num_classes=0).state_dict(), path)
    return path


@pytest.fixture(scope="session")
def encoder_options(small_encoder) -> list[str]:
    """Command-line options of the tiny encoder."""
    return [
        "--model.encoder.name=timm/test_efficientnet",
        f"--model.encoder.weights={small_encoder}",
        "--model.encoder.size=64",
    ]


@pytest.fixture(scope="session")
def spec(small_encoder):
    """The tiny encoder."""
    from emonet_lightning.encoders import EncoderSpec

    return EncoderSpec("timm/test_efficientnet", weights=str(small_encoder), size=64)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A packed set of toy faces, for a file's tests to read."""
    from toy_faces import pack_toy

    return pack_toy(tmp_path_factory.mktemp("toy") / "set")


@pytest.fixture
def copied(packed, tmp_path) -> Path:
    """Folder with a copy of it, to be changed."""
    for file in packed.path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


@pytest.fixture
def model(spec):
    """Builds a small module after a fixed seed."""
    from lightning.pytorch import seed_everything

    from emonet_lightning.module import EmpathicInsightFace

    def build(**options):
        seed_everything(0, verbose=False)
        return EmpathicInsightFace(**{"encoder": spec, "widths": [8], "dropout": 0.0, "lr": 1e-2, **options})

    return build


@pytest.fixture
def big(small_sets, spec):
    """Builds the data module of generated labels: 120 rows to train on, 40 to validate."""
    from emonet_lightning.data.datamodules import SyntheticFaces

    def build(**options):
        return SyntheticFaces(str(small_sets["big"]), **{"encoder": spec, "batch_size": 40, **options})

    return build


@pytest.fixture
def binary(small_sets, spec):
    """Builds the data module of expert yes/no: two of forty questions an image."""
    from emonet_lightning.data.datamodules import ExpertBinary

    def build(**options):
        return ExpertBinary(str(small_sets["binary"]), **{"encoder": spec, "batch_size": 30, **options})

    return build


@pytest.fixture(scope="session")
def trained(tmp_path_factory, small_sets, spec):
    """A run of two epochs: its folder holds the bundle of best heads and `last.ckpt`; its module is given as well."""
    from lightning.pytorch import seed_everything
    from lightning.pytorch.callbacks import ModelCheckpoint
    from small_runs import fit

    from emonet_lightning.callbacks import BestHeads
    from emonet_lightning.data.datamodules import SyntheticFaces
    from emonet_lightning.module import EmpathicInsightFace

    folder = tmp_path_factory.mktemp("trained")
    seed_everything(0, verbose=False)
    module = EmpathicInsightFace(encoder=spec, widths=[8], lr=1e-2)
    best = BestHeads()
    best.folder = folder
    checkpoint = ModelCheckpoint(folder, filename="last", enable_version_counter=False)
    data = SyntheticFaces(str(small_sets["big"]), encoder=spec, batch_size=40)
    fit(module, data, 2, [best, checkpoint])
    return folder, module


@pytest.fixture(scope="session")
def untrained_heads(tmp_path_factory, spec) -> Path:
    """Exported heads of six emotions on the tiny encoder, untrained: for tests of what only needs some heads."""
    import torch

    from emonet_lightning.bundle import HeadsBundle
    from emonet_lightning.encoders import FrozenEncoder, encoder_fingerprint
    from emonet_lightning.heads import EmotionHeads
    from emonet_lightning.taxonomy import Taxonomy

    folder = tmp_path_factory.mktemp("untrained")
    torch.manual_seed(0)
    taxonomy = Taxonomy("six", Taxonomy.load("emonet40").dimensions[:6], 6)
    heads = EmotionHeads(6, FrozenEncoder.load(spec).dim, (8,))
    recorded = {**vars(spec), "fingerprint": encoder_fingerprint(spec)}
    HeadsBundle(heads.eval(), taxonomy, recorded).save(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory):
    """Features, embedded sets and seals of the tests are shared among them and kept away from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMONET_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.setenv("EMONET_STATE", str(tmp_path_factory.getbasetemp() / "state"))
        yield


@pytest.fixture(scope="session")
def installed(tmp_path_factory) -> Path:
    """The wheel, built from this tree and unpacked in a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy: building leaves folders behind
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".git", ".venv", "venv", "runs", "build", "*.egg-info"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    wheel = [*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source)]
    subprocess.run(wheel, check=True, timeout=300)
    (built,) = folder.glob("*.whl")
    target = folder / "site"
    install = [*pip, "install", "-q", "--no-deps", "--no-compile", "--target", str(target), str(built)]
    subprocess.run(install, check=True, timeout=300)
    return target


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory, installed) -> Path:
    """Run folder of `fit` without arguments: the installed wheel, an empty folder, an empty cache. Runs once."""
    folder = tmp_path_factory.mktemp("empty")
    cache = tmp_path_factory.getbasetemp() / "cache"
    environment = {**os.environ, "PYTHONPATH": str(installed), "EMONET_CACHE": str(cache)}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "emonet_lightning", "fit"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    (run,) = (folder / "runs" / "quickstart").iterdir()
    (folder / "output.txt").write_text(done.stdout)
    (folder / "seconds.txt").write_text(f"{time.perf_counter() - start:.1f}")
    return run
