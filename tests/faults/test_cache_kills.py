"""Builds of a feature cache killed at random moments and at write sites, alone and among others: the same bytes."""

import os
import random
import re
import shutil
import signal
import time

import forking
import pytest
from campaign import run_campaign

from emonet_lightning.fail_points import VARIABLE
from emonet_lightning.io import sha256_file

VIEWS = 4
KINDS = ("moment", "site", "crowd", "fit")
POINTS = ("opened", "half", "written", "synced", "renamed", "folder_synced")
HOUR = 3600


def content(folder):
    """Digest of each file of a cache, without what killed writers left."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): sha256_file(path) for path in files if "writer" not in path.name}


def leftovers(folder):
    return [path for path in folder.rglob(".*.tmp") if path.is_file()]


@pytest.fixture(scope="module")
def command(small_sets, encoder_options):
    encoder = [word.replace("--model.encoder", "--encoder") for word in encoder_options]
    changed = [f"--views={VIEWS}", "--augmentation.hflip=0.5", "--device=cpu", "--num_threads=1"]
    return lambda folder: ["embed", str(small_sets["big"]), *encoder, *changed, f"--cache_dir={folder}"]


@pytest.fixture(scope="module")
def fit(small_sets, encoder_options):
    """A run that encodes the same views as it starts."""
    changed = [f"--data.views={VIEWS}", "--data.augmentation.hflip=0.5", "--data.num_threads=1", "--seed_everything=0"]
    options = ["--model.widths=[8]", "--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--trainer.devices=1"]
    words = ["fit", "--data=SyntheticFaces", f"--data.path={small_sets['big']}", "--data.batch_size=40", *changed]
    return lambda folder: [*words, *options, *encoder_options, f"--data.cache_dir={folder}", f"--out={folder / 'run'}"]


@pytest.fixture(scope="module")
def uninterrupted(command, place):
    """Digests of a cache that nothing happened to."""
    folder = place / "cache-whole"
    code, said = forking.run(command(folder))
    assert code == 0, said[-2000:]
    expected = content(folder / "features")
    assert sum(name.endswith(".safetensors") for name in expected) == VIEWS
    return expected


def test_killed_builds_of_a_cache_end_with_the_same_bytes(command, fit, uninterrupted, place, full):
    expected = uninterrupted

    def run(trial):
        kind, drawn, folder = trial.partition(" ")[0], random.Random(trial), place / "cache"
        shutil.rmtree(folder, ignore_errors=True)
        kills = 0
        for _ in range(1 if kind == "fit" else 2):
            site = {}
            if kind == "site":
                name, times = drawn.choice([("*.safetensors", VIEWS), ("meta.json", VIEWS + 1)])
                site = {VARIABLE: f"{name}@{drawn.choice(POINTS)}=kill#{drawn.randint(1, times)}"}
            words = (fit if kind == "fit" else command)(folder)
            children = [forking.start(words, env=site) for _ in range(4 if kind == "crowd" else 1)]
            if kind != "site":
                # by what was done, not by the clock: the machine may be busy
                blocks, delay = drawn.randint(0, VIEWS - 1), drawn.uniform(0, 0.2)
                until = lambda: len(list((folder / "features").rglob("0*.safetensors"))) >= blocks  # noqa: E731, B023
                children[0].watch(120, until)
                children[0].watch(delay)
                children[0].kill(signal.SIGKILL, group=True)
            codes = [child.wait(120) for child in children]
            kills += codes.count(-signal.SIGKILL)
            if not set(codes[1:]) <= {0} or codes[0] not in (0, -signal.SIGKILL):
                return {"ok": False, "codes": codes, "said": [child.said()[-300:] for child in children]}
        finished = len(list((folder / "features").rglob("0*.safetensors")))
        left = leftovers(folder / "features")
        for path in left:
            os.utime(path, (time.time() - HOUR,) * 2)  # what is young may be another job's
        child = forking.start(command(folder))
        code = child.wait(120)
        told = child.stdout.read_text()
        encoded = re.search(r"; (\d+) encoded here", told)
        anew = 0 if "all cached already" in told else int(encoded[1])
        found = content(folder / "features")
        wrong = sorted(set(found.items()) ^ set(expected.items()))
        stale = [path.name for path in leftovers(folder / "features")]
        ok = code == 0 and not wrong and not stale and anew == 160 * (VIEWS - finished)
        return {"ok": ok, "kills": kills, "code": code, "wrong": wrong[:4], "stale": stale, "left": len(left),
                "finished": finished, "anew": anew}  # fmt: skip

    names = [f"{KINDS[number % len(KINDS)]} {number}" for number in range(50 if full else 5)]
    tally = run_campaign("cache_kills", names, run, full=full)
    assert tally.total("kills") >= (50 if full else 3)
    assert tally.failed == []
