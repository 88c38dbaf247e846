"""Packing killed at random moments and at write sites, alone, in processes and among others: the same bytes."""

import json
import random
import shutil
import signal

import forking
import pytest
import sites
from campaign import run_campaign
from toy_faces import encoded

from emonet_lightning.io import sha256_file
from emonet_lightning.packing.shard_writer import WORK_DIR

KILLS = 3
"""Of each set, one after the other, at most."""
FILES = {"few": (48, 6), "many": (2000, 100)}
"""Images and shard size: with many, two processes share the work."""


@pytest.fixture(scope="module")
def faces(place):
    """Folder of images in folders of classes: `faces("few")`; one is damaged, and is left out of the set."""

    def folder(name):
        root = place / f"faces {name}"
        if not root.is_dir():
            for number in range(FILES[name][0]):
                path = root / ("Awe" if number % 2 else "Anger") / f"{number:04d}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encoded(number) if number != 20 else b"not an image")
        return root

    return folder


@pytest.fixture(scope="module")
def command(faces, place):
    """Words and environment of a way to pack: `command("sealed")`."""
    out, state = place / "packed" / "set", place / "packed" / "state"

    def of(way):
        name = "many" if way == "processes" else "few"
        own = "--sealed" if way == "sealed" else "--splits=train=0.8,val=0.2"
        words = ["pack", str(faces(name)), f"--out={out}", own, f"--shard_size={FILES[name][1]}"]
        words += ["--max_bad_fraction=0.05", f"--num_processes={2 if name == 'many' else 1}"]
        return words, {"EMONET_STATE": str(state)}

    return of


def content(folder):
    """Digest of every file, those that should not be there any more included."""
    return {str(path.relative_to(folder)): sha256_file(path) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def undisturbed(command, place):
    """What a way to pack leaves if nothing happens to it, and the write sites that it passes."""
    known = {}

    def of(way):
        if way not in known:
            folder = place / "packed"
            shutil.rmtree(folder, ignore_errors=True)
            words, environment = command(way)
            passed = [] if way == "processes" else sites.sites_of("pack", words, environment, place / f"sites {way}")
            if way == "processes":
                code, said = forking.run(words, 300, env=environment)
                assert code == 0, said[-500:]
            known[way] = content(folder), passed
        return known[way]

    return of


def committed(out):
    """Shards that are written, with their notes, by name: of each the file's inode."""
    notes = [path for path in out.glob(f"{WORK_DIR}/shard-*.json") if json.loads(path.read_text())]
    shards = [out / f"{path.stem}.tar" for path in notes]
    return {path.name: path.stat().st_ino for path in shards}


def test_packing_that_was_killed_ends_with_the_bytes_of_one_that_was_not(command, undisturbed, place, full):
    folder = place / "packed"
    out = folder / "set"

    def run(trial):
        kind, way, drawn = *trial.split(" ")[:2], random.Random(trial)
        (expected, passed), (words, environment) = undisturbed(way), command(way)
        shutil.rmtree(folder, ignore_errors=True)
        where, rewritten = [], []
        for _ in range(KILLS if kind == "site" else 1):
            before, own = committed(out), {}
            if kind == "site":
                site = drawn.choice(passed)
                own = site.fails("kill", drawn.randint(1, site.times))
            children = [forking.start(words, env={**environment, **own}) for _ in range(4 if kind == "crowd" else 1)]
            struck = drawn.choice(children)
            if kind != "site" and drawn.random() < (0.5 if kind == "crowd" else 1):
                # by what is there, not by the clock: a busy machine shall not kill in the start-up alone
                wanted, delay = drawn.randint(0, 12), drawn.uniform(0, 0.05)
                struck.watch(120, lambda wanted=wanted: len(list(out.rglob("shard-*"))) >= wanted)
                struck.watch(delay)
                # sometimes all processes, sometimes only the first: its workers live on for a moment
                struck.kill(signal.SIGKILL, group=drawn.random() < 0.5)
            codes = [child.wait(300) for child in children]
            rewritten += [name for name, inode in before.items() if (out / name).stat().st_ino != inode]
            for child, code in zip(children, codes, strict=True):
                if code not in ((0, -signal.SIGKILL) if child is struck else (0,)):
                    return {"ok": False, "codes": codes, "said": child.said()[-500:], "kills": len(where)}
            if -signal.SIGKILL in codes:
                where.append(next(iter(own.values()), f"{len(before)} to {len(committed(out))} shards"))
        before = committed(out)
        code, said = forking.run(words, 300, env=environment)
        rewritten += [name for name, inode in before.items() if (out / name).stat().st_ino != inode]
        wrong = sorted(dict({*content(folder).items()} ^ {*expected.items()})) if code == 0 else [said[-500:]]
        left = [str(path.relative_to(out)) for path in [*out.rglob(".*.tmp"), *out.glob(WORK_DIR)]]
        again, said = forking.run(words, 300, env=environment)
        nothing = again == 0 and "nothing to do" in said
        ok = not (wrong or left or rewritten) and nothing
        return {"ok": ok, "kills": len(where), "where": where, "differs": wrong[:5], "left": left,
                "rewritten": rewritten, "finished_again": nothing}  # fmt: skip

    kinds = ["site plain", "moment sealed", "crowd plain", "site sealed", "moment plain", "crowd sealed"]
    trials = [f"{kinds[number % 6]} {number}" for number in range(30 if full else 3)]
    if full:
        trials[4::6] = [f"moment processes {number}" for number in range(4, 30, 6)]
    tally = run_campaign("pack_kills", trials, run, full=full)
    assert tally.failed == []
    assert tally.total("kills") >= (30 if full else 3)
