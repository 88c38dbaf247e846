"""Both stacks under the same faults: the plain one of Lightning and webdataset, and this project's."""

import random
import shutil
import signal
from collections import Counter
from pathlib import Path

import forking
import naive
import pytest
import runs
import shard_damage
import torch
from campaign import run_campaign
from safetensors.torch import load_file, save_file

from emonet_lightning.checkpoints import FOLDER, load_verified, named_checkpoints
from emonet_lightning.errors import EmoNetError
from emonet_lightning.io import load_tensors, sha256_file
from emonet_lightning.packing.packed import PackedSet

KILLS, EPOCHS = 3, 4


@pytest.fixture(scope="module")
def stacks(scenes, small_sets, small_encoder):
    """How each stack trains into a folder: arguments of `forking.start`."""
    plain = [str(small_sets["big"]), str(small_encoder)]
    scene = scenes["images"]
    short = f"--trainer.max_epochs={EPOCHS}"
    return {
        "naive": lambda out: {"argv": [*plain, str(out), str(EPOCHS)], "target": naive.main},
        "ours": lambda out: {"argv": [*scene.command(out), short], "env": scene.environment},
    }


def heads(stack, out) -> dict[str, torch.Tensor]:
    if stack == "ours":
        return load_file(out / "heads.safetensors")
    return torch.load(out / "heads.pt", weights_only=True)


@pytest.fixture(scope="module")
def unharmed(stacks, place):
    """Folder of each stack's run that nothing happened to; the plain one gives the same heads when it is run twice."""
    folders = {}
    for name, arguments in stacks.items():
        again = [place / f"unharmed {name} again"] if name == "naive" else []
        for out in (place / f"unharmed {name}", *again):
            child = forking.start(**arguments(out))
            assert child.wait(200) == 0, child.said()[-800:]
        folders[name] = place / f"unharmed {name}"
        assert not runs.unequal(heads(name, folders[name]), heads(name, out)), f"{name}: not the same twice"
    return folders


def loss_lines(stack, out):
    """How often each epoch's loss stands in the log that is left at the end."""
    if stack == "ours":
        text = (out / "metrics.jsonl").read_text()
        return [line for line in text.splitlines() if "train/loss" in line]
    found = [line for path in out.rglob("metrics.csv") for line in path.read_text().splitlines()[1:]]
    return [line for line in found if line.strip()]


def test_killed_at_the_same_moments(stacks, unharmed, place, full):
    def train(stack, trial):
        out, drawn, crashes, kills = place / f"compared {stack}", random.Random(trial), 0, 0
        shutil.rmtree(out, ignore_errors=True)
        for _ in range(KILLS):
            child = forking.start(**stacks[stack](out))
            child.watch(120, lambda: any(out.rglob("*.ckpt")))  # before that, beginning anew is all there is to do
            if child.watch(drawn.uniform(0, 1.5)) is None:
                child.kill(signal.SIGKILL, group=True)
                child.wait(60)
                kills += 1
        child = forking.start(**stacks[stack](out))
        crashes += child.wait(200) != 0
        same = not crashes and not runs.unequal(heads(stack, out), heads(stack, unharmed[stack]))
        lines, expected = (len(loss_lines(stack, place)) for place in (out, unharmed[stack]))
        log = f"{lines} lines for {expected} epochs"
        return {"good": same and lines == expected, "kills": kills, "crashed": crashes, "same_bits": same, "log": log}

    def run(trial):
        found = {stack: train(stack, trial) for stack in stacks}
        return {"ok": found["ours"]["good"], "naive_ok": found["naive"]["good"], **found}

    tally = run_campaign("compare_sigkill", [f"kills {n}" for n in range(20 if full else 1)], run, full=full)
    assert tally.failed == []


def test_asked_to_stop(stacks, place, full):
    """SIGTERM in the middle of training: is anything kept of the epoch, and does the exit code say so?"""

    def stop(stack, trial):
        out, drawn = place / f"asked {stack}", random.Random(trial)
        shutil.rmtree(out, ignore_errors=True)
        child = forking.start(**stacks[stack](out))
        before = child.watch(120, lambda: any(out.rglob("*.ckpt")))
        assert before is None, child.said()[-500:]
        child.watch(drawn.uniform(0.05, 0.3))
        child.kill(signal.SIGTERM)
        code = child.wait(120)
        return {"code": code, "finished": (out / "DONE").is_file() or (out / "heads.pt").is_file()}

    def run(trial):
        found = {stack: stop(stack, trial) for stack in stacks}
        good = {stack: one["finished"] or one["code"] not in (0, None) for stack, one in found.items()}
        return {"ok": good["ours"], "naive_ok": good["naive"], **found}

    tally = run_campaign("compare_sigterm", [f"term {n}" for n in range(10 if full else 1)], run, full=full)
    assert tally.failed == []


def naive_outcome(folder, good):
    """Read all samples of damaged shards with webdataset: `loud`, `silent loss`, `silent wrong content` or `none`."""
    found, seen = {}, 0
    try:
        for seen, sample in enumerate(naive.samples(folder), start=1):  # noqa: B007
            found[sample["__key__"]] = (sample["jpg"].tobytes(), str(sample["json"]))
    except Exception:
        return "loud"
    if (
        any(key in found and found[key] != value for key, value in good.items())
        or set(found) - set(good)
        or seen > len(found)
    ):
        return "silent wrong content"
    return "silent loss" if len(found) < len(good) else "none"


def contents(packed):
    """Image and record of each sample."""
    rows = range(packed.num_samples)
    return {packed.keys[row]: (packed.read_image(row), packed.read_record(row)) for row in rows}


def our_outcome(folder, good):
    """The same of the packed set."""
    try:
        packed = PackedSet.open(folder)
        rows = {
            packed.keys[row]: (packed.read_image(row), packed.read_record(row)) for row in range(packed.num_samples)
        }
    except EmoNetError:
        return "loud"
    if any(rows.get(key) != value for key, value in good.items() if key in rows):
        return "silent wrong content"
    return "silent loss" if len(rows) < len(good) else "none"


def test_the_same_shard_mutations(small_sets, tmp_path, full):
    source = small_sets["big"]
    packed = PackedSet.open(source)
    ours = contents(packed)
    plain = {s["__key__"]: (s["jpg"].tobytes(), str(s["json"])) for s in naive.samples(source)}
    assert len(plain) == len(ours) == packed.num_samples

    def run(trial):
        drawn, folder = random.Random(trial), tmp_path / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
        path = drawn.choice(sorted(folder.glob("*.tar")))
        shard_damage.KINDS[trial.split(" ")[0]](path, shard_damage.layout(path), drawn)
        found = {"naive": naive_outcome(folder, plain), "ours": our_outcome(folder, ours)}
        return {"ok": "silent" not in found["ours"], "naive_ok": "silent" not in found["naive"], **found}

    trials = [f"{kind} {n}" for kind in shard_damage.KINDS for n in range(50 if full else 3)]
    tally = run_campaign("compare_shards", trials, run, full=full)
    print(
        Counter(outcome["naive"] for outcome in tally.outcomes), Counter(outcome["ours"] for outcome in tally.outcomes)
    )
    assert tally.failed == []


def test_the_same_flipped_bits(scenes, stacks, unharmed, place, full):
    checkpoint = named_checkpoints(unharmed["ours"] / FOLDER)[0].path
    last = next(unharmed["naive"].glob("last.ckpt"))
    tensors, digest = unharmed["ours"] / "heads.safetensors", sha256_file(unharmed["ours"] / "heads.safetensors")
    plain = place / "heads of naive.safetensors"
    save_file(heads("naive", unharmed["naive"]), plain)
    readers = {
        "checkpoint": ((last, lambda path: torch.load(path, weights_only=True)), (checkpoint, load_verified)),
        "safetensors": ((plain, load_file), (tensors, lambda path: load_tensors(path, digest))),
    }

    def accepted(path: Path, read, drawn):
        content = bytearray(path.read_bytes())
        bit = drawn.randrange(8 * len(content))
        content[bit // 8] ^= 1 << bit % 8
        flipped = place / "flipped" / path.name
        flipped.parent.mkdir(exist_ok=True)
        flipped.write_bytes(content)
        try:
            read(flipped)
        except Exception:
            return False
        return True

    def run(trial):
        (theirs, read), (own, own_read) = readers[trial.split(" ")[0]]
        found = {
            "naive": accepted(theirs, read, random.Random(trial)),
            "ours": accepted(own, own_read, random.Random(trial)),
        }
        return {"ok": not found["ours"], "naive_ok": not found["naive"], **found}

    trials = [f"{kind} {n}" for kind in readers for n in range(300 if full else 10)]
    tally = run_campaign("compare_flips", trials, run, full=full)
    assert tally.failed == []
