"""Files, class paths, addresses and names that would run code: none is run, nothing is connected to."""

import itertools
import random
import shutil
import sys

import bad_inputs
import forking
import payloads
import pytest
import torch
from campaign import run_campaign
from safetensors.torch import load_file
from small_runs import newest

from emonet_lightning.checkpoints import FOLDER
from emonet_lightning.io import sha256_file

QUICK = 20
CLASS_PATHS = (
    "os.system", "builtins.eval", "builtins.exec", "pickle.loads", "torch.hub.load", "torch.load", "subprocess.Popen",
    "evil_module.Heads", "evil_package.inner.Heads", "runpy.run_path",
)  # fmt: skip


@pytest.fixture(scope="module")
def canary(place):
    return place / "canary"


@pytest.fixture(scope="module")
def listener():
    found = payloads.Listener()
    yield found
    found.close()


@pytest.fixture(scope="module")
def scene(place, small_sets, encoder_options):
    """A finished small run, and what belongs to it."""
    found = bad_inputs.Place(place / "malicious", small_sets, encoder_options)
    told = bad_inputs.run([*found.fit("--export=[released]"), f"--out={found.folder / 'run'}"])
    assert told.code == 0, told.stderr[-800:]
    return found


@pytest.fixture(scope="module")
def trials(scene, canary, listener, small_encoder):
    """Functions by name: each makes a bait and returns the words of a command, and whether it must be refused."""
    found = {}
    url = f"http://127.0.0.1:{listener.port}/bait"
    work, run = scene.folder / "bait", scene.folder / "run"
    checkpoint = torch.load(newest(run / FOLDER), weights_only=True)
    state = load_file(small_encoder)
    heads = run / "export" / "released"
    heads = heads if heads.is_dir() else next(run.rglob("model_anger_best.pth")).parent
    images = work.parent / "images"
    images.mkdir()
    packed = scene.sets["big"]

    numbers = itertools.count()

    def file(name, content):
        path = work / str(next(numbers)) / name  # the digest of a file's first use is kept by its path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def enter(name, make, refused=True):
        found[name] = (make, refused)

    def of_heads(content):
        folder = file("model_anger_best.pth", content).parent
        for path in heads.glob("model_*.pth"):
            if not (folder / path.name).exists():
                shutil.copy(path, folder)
        return ["predict", str(packed), f"--out={work / 'o.csv'}", f"--heads={folder}", "--encoder.name=embedded"]

    def of_run(content):
        """In place of a run's newest checkpoint, under the name that its content has."""
        out = work / "resumed"
        shutil.copytree(run, out)
        (out / "DONE").unlink()
        old = newest(out / FOLDER)
        path = file("new.ckpt", content)
        old.unlink()
        path.rename(old.with_name(f"{old.name.partition('-')[0]}-{sha256_file(path)}.ckpt"))
        return [*scene.fit()[:-1], f"--out={out}"]

    def of_shard(name, content):
        shutil.copytree(packed, work / "set")
        payloads.with_member(sorted((work / "set").rglob("*.tar"))[0], name, content)
        return ["verify", str(work / "set")]

    for name, call in payloads.calls(canary, url).items():
        made = payloads.containers(call, checkpoint)
        weights = payloads.containers(call, state)
        for form in ("zip", "legacy", "pickle") if name in ("os.system", "connection") else ("zip",):
            enter(f"checkpoint, {form}, {name}",
                  lambda content=made[form]: [*scene.fit(), f"--ckpt_path={file('a.ckpt', content)}"])  # fmt: skip
        for form in ("zip, first", "protocol 0", "npy") if name == "exec" else ("zip",):
            enter(f"weights, {form}, {name}", lambda content=weights[form]: [
                *scene.fit(), f"--model.encoder.weights={file('w.pth', content)}"])  # fmt: skip
        enter(f"released heads, {name}", lambda content=weights["zip"]: of_heads(content))
        if name in ("eval", "pathlib"):
            enter(f"newest checkpoint of a run, {name}", lambda content=made["zip"]: of_run(content), refused=False)
            enter(f"safetensors by name, {name}",
                  lambda content=weights["pickle"]:
                  [*scene.fit(), f"--model.encoder.weights={file('w.safetensors', content)}"])  # fmt: skip
            for suffix in ("pkl", "pyd", "pth", "npy"):
                content = weights["npy" if suffix == "npy" else "protocol 0"]
                enter(f"member .{suffix} of a shard, {name}", lambda n=suffix, c=content: of_shard(f"000000.{n}", c))
    for name, text in payloads.yaml_texts(canary).items():
        enter(f"YAML tag, {name}", lambda text=text: [*scene.fit(), f"--config={file('c.yaml', text)}"])
    tag = payloads.yaml_texts(canary)["apply"]
    enter("YAML tag in a taxonomy", lambda: [*scene.fit(), f"--model.taxonomy={file('t.yaml', tag)}"])
    enter("YAML tag in a file of options", lambda: [*scene.fit(), f"--model={file('m.yaml', tag)}"])
    for name in CLASS_PATHS:
        at = random.Random(name).choice(["trainer.callbacks+", "trainer.logger", "trainer.profiler", "data"])
        value = f'{{"class_path": "{name}", "init_args": {{"command": "touch {canary}"}}}}'
        enter(f"class path {name}", lambda at=at, value=value: [*scene.fit(), f"--{at}={value}"])
    enter("instantiator in a checkpoint", lambda: [*scene.fit(), "--ckpt_path=" + str(file("a.ckpt", payloads._saved(
        {**checkpoint, "hyper_parameters": {"_instantiator": "evil_module.build"}, "_instantiator": "evil_module.build"}
    )))])  # fmt: skip
    options = ("ckpt_path", "model.encoder.weights", "model.init_heads_from", "data.path", "model.taxonomy", "config")
    for option in options:
        enter(f"address as {option}", lambda option=option: [*scene.fit(), f"--{option}={url}"])
    enter("address as heads", lambda: ["predict", str(packed), f"--out={work / 'o.csv'}", f"--heads={url}"])
    enter("address as images", lambda: ["predict", url, f"--out={work / 'o.csv'}", f"--run={run}"])
    enter("pipe as a set", lambda: [*scene.fit(), f"--data.path=pipe:touch {canary}"])
    enter("resolver that runs", lambda: [*scene.fit(), f"--model.taxonomy=${{python:open('{canary}','w')}}"])
    for name in (f"$(touch {canary})", f"`touch {canary}`", f"; touch {canary} ;", f"| touch {canary}"):
        enter(f"name of an image {name[:8]}", lambda name=name: [
            "predict", str(file(f"images/{name.replace('/', '_')}.jpg", next(iter(_images(packed)))).parent),
            f"--out={work / 'o.csv'}", f"--run={run}"], refused=False)  # fmt: skip
    return found


def _images(packed):
    from emonet_lightning.packing.packed import PackedSet

    opened = PackedSet.open(packed)
    return (opened.read_image(row) for row in range(3))


@pytest.fixture(scope="module", autouse=True)
def evil(place, canary):
    """Modules in the working folder that leave a canary when they are imported."""
    folder = place / "cwd"
    (folder / "evil_package").mkdir(parents=True)
    source = f"open({str(canary)!r}, 'w').close()\nclass Heads: pass\ndef build(*a, **k): pass\n"
    for name in ("evil_module.py", "evil_package/__init__.py", "evil_package/inner.py"):
        (folder / name).write_text(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        yield folder


def test_a_reader_that_trusts_does_run_them(canary, listener, tmp_path):
    """The baits work: else a campaign in which none is run would say nothing."""
    for name, call in payloads.calls(canary, f"http://127.0.0.1:{listener.port}/").items():
        before = listener.connections
        for content in payloads.containers(call, {}).values():
            (tmp_path / "x").write_bytes(content)
        (tmp_path / "x").write_bytes(payloads.containers(call, {})["zip"])
        try:
            torch.load(tmp_path / "x", weights_only=False)
        except Exception:  # the listener hangs up
            assert name == "connection"
        assert canary.exists() or listener.connections > before, name
        canary.unlink(missing_ok=True)


def test_nothing_is_run_and_nothing_is_connected_to(trials, scene, canary, listener, full):
    names = sorted(trials)
    if not full:
        names = random.Random(0).sample(names, QUICK)

    def run(trial):
        make, must_be_refused = trials[trial]
        for folder in ("bait", "out"):
            shutil.rmtree(scene.folder / folder, ignore_errors=True)
        (scene.folder / "bait").mkdir()
        words = make()
        canary.unlink(missing_ok=True)
        before = listener.connections
        told = bad_inputs.run(words)
        executed, connections = canary.exists(), listener.connections - before
        canary.unlink(missing_ok=True)
        imported = [name for name in sys.modules if name.startswith("evil")]
        fine = told.code in (2, 65, 66) if must_be_refused else told.code in (0, 65)
        last = told.stderr.strip().splitlines()[-1:] if must_be_refused else []
        fine &= all(line.startswith("error: ") for line in last) and "Traceback" not in told.stderr
        return {
            "ok": fine and not executed and not connections and not imported, "code": told.code, "executed": executed,
            "connections": connections, "said": "".join(last)[:400] or told.stderr[-400:],
        }  # fmt: skip

    tally = run_campaign("malicious_files", names, run, full=full)
    assert tally.total("executed") == 0
    assert tally.total("connections") == 0
    assert tally.failed == []


def test_modules_in_the_working_folder_do_not_stand_in_for_libraries(evil, canary, scene):
    for name in ("timm", "yaml", "jsonargparse", "rich", "pandas"):
        (evil / f"{name}.py").write_text(f"open({str(canary)!r}, 'w').close()\n")
    child = forking.start(["doctor"], cwd=evil, fresh=True)
    child.wait(120)
    for name in ("timm", "yaml", "jsonargparse", "rich", "pandas"):
        (evil / f"{name}.py").unlink()
    assert not canary.exists(), child.said()[-500:]
    assert "Traceback" not in child.said()


@pytest.mark.parametrize("command", [["fit"], ["doctor"], ["predict", "x", "--out=y", "--run=z"]])
def test_a_variable_that_turns_the_guard_off_is_refused(command, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    told = bad_inputs.run(command)
    assert told.code == 78
    assert told.stderr.startswith("error: TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set")
