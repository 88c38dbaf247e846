"""Bad checkpoints: rows 99 to 118. An automatic restart takes the next good one (campaign of damaged checkpoints)."""

import gzip
import io
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch
from bad_inputs import Place, Told, refused, row, run
from small_runs import newest

from emonet_lightning.bundle import WEIGHTS_FILE

_made: dict[Path, Path] = {}


def run_of(place: Place) -> Path:
    """Folder of a finished small run of two epochs; made once."""
    key = place.sets["big"]
    if key not in _made:
        out = place.folder.parent / "good"
        told = run(
            [
                *place.fit("--trainer.max_epochs=2", "--checkpoint_every=0")[:-3],
                "--trainer.max_epochs=2",
                "--checkpoint_every=0",
                f"--out={out}",
            ]
        )
        assert told.code == 0, told.stderr[-800:]
        _made[key] = out
    return _made[key]


def go_on(place: Place, path: Path | str) -> Told:
    return run(place.fit("--trainer.max_epochs=2", f"--ckpt_path={path}"))


def content_of(place: Place) -> dict[str, Any]:
    found = newest(run_of(place) / "checkpoints")
    assert found is not None
    return torch.load(found, weights_only=True)


def saved(content: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def bad(number: int, title: str, make: Any, says: str, kind: str = "data", quick: bool = True) -> None:
    """Enter bytes that are no checkpoint to go on from."""

    @row(number, title, quick)
    def _(place: Place) -> str | None:
        path = place.folder / "bad.ckpt"
        path.write_bytes(make(place) if callable(make) else make)
        return refused(go_on(place, path), kind, says, place.out)


class Run:
    """Makes a file when it is read as a pickle."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return Path.touch, (self.canary,)


def whole(place: Place) -> bytes:
    return saved(content_of(place))


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    return stream.getvalue()


def with_state(place: Place, change: Any) -> bytes:
    content = content_of(place)
    change(content)
    return saved(content)


NOT_READ = r"bad\.ckpt: not a checkpoint that can be read without running code"
bad(99, "empty checkpoint", b"", NOT_READ)
bad(100, "checkpoint cut short", lambda place: whole(place)[:-500], NOT_READ)
bad(101, "text for a checkpoint", b"weights", NOT_READ)
bad(102, "web page for a checkpoint", b"<!DOCTYPE html><html>404</html>", NOT_READ)
bad(103, "gzip for a checkpoint", gzip.compress(b"x" * 1000), NOT_READ)
bad(104, "zip without content", zipped(), NOT_READ)


@row(107, "code in a checkpoint")
def _(place: Place) -> str | None:
    path, canary = place.folder / "bad.ckpt", place.folder / "was-run"
    path.write_bytes(saved({**content_of(place), "more": Run(canary)}))
    torch.load(path, weights_only=False)
    assert canary.exists()
    canary.unlink()
    wrong = refused(go_on(place, path), "data", NOT_READ, place.out)
    return "the code was run" if canary.exists() else wrong


@row(108, "instantiator in a checkpoint")
def _(place: Place) -> str | None:
    """Lightning would call what it names; here it is a key of another run's checkpoint, and never looked at."""
    path = place.folder / "bad.ckpt"
    content = content_of(place)
    content["hyper_parameters"] = {**content["hyper_parameters"], "_instantiator": "antigravity.fly"}
    path.write_bytes(saved({**content, "_instantiator": "antigravity.fly"}))
    wrong = refused(go_on(place, path), "data", r"run [0-9a-f]{16}, this run has [0-9a-f]{16}", place.out)
    return "the module was imported" if "antigravity" in sys.modules else wrong


bad(
    111,
    "weights of another shape",
    lambda place: with_state(place, lambda c: c["state_dict"].update(feature_mean=torch.zeros(3))),
    r"feature_mean|shape",
)
bad(
    112,
    "a weight missing",
    lambda place: with_state(place, lambda c: c["state_dict"].pop("heads.layers.0.weight")),
    r"heads\.layers\.0\.weight",
)
bad(
    112,
    "a weight too many",
    lambda place: with_state(place, lambda c: c["state_dict"].update(more=torch.zeros(3))),
    r"more",
)
bad(
    113,
    "a weight that is not a number",
    lambda place: with_state(
        place, lambda c: c["state_dict"]["heads.layers.0.weight"].view(-1)[:1].fill_(float("nan"))
    ),
    r"heads\.layers\.0\.weight' holds values that are not finite",
)
bad(
    114,
    "another encoder",
    lambda place: with_state(place, lambda c: c["emonet_lightning"].update(encoder="0" * 64)),
    r"encoder 000000000000, this run's is",
)
bad(
    115,
    "another order of emotions",
    lambda place: with_state(place, lambda c: c["emonet_lightning"].update(taxonomy="0" * 64)),
    r"taxonomy|emotions",
)
bad(
    116,
    "a future format",
    lambda place: with_state(place, lambda c: c["emonet_lightning"].update(format=99)),
    r"another release",
)
for step in (10**18, -1):
    bad(
        117,
        f"step {step}",
        lambda place, step=step: with_state(place, lambda c: c.update(global_step=step)),
        rf"impossible checkpoint: global_step is {step}",
    )


@row(105, "one bit of a named checkpoint")
def _(place: Place) -> str | None:
    good = newest(run_of(place) / "checkpoints")
    data = bytearray(good.read_bytes())
    data[len(data) // 3] ^= 8
    path = place.folder / good.name
    path.write_bytes(data)
    return refused(go_on(place, path), "data", r"damaged checkpoint \(sha256", place.out)


@row(106, "checkpoint without its digest: hashed at first use, of another run all the same")
def _(place: Place) -> str | None:
    path = place.folder / "bad.ckpt"
    path.write_bytes(whole(place))
    return refused(go_on(place, path), "data", r"run [0-9a-f]{16}, this run has [0-9a-f]{16}", place.out)


@row(109, "address for a checkpoint")
def _(place: Place) -> str | None:
    told = go_on(place, "http://127.0.0.1:9/last.ckpt")
    return refused(told, "missing" if told.code == 66 else "usage", r"http://127\.0\.0\.1:9/last\.ckpt", place.out)


@row(118, "checkpoint of another run")
def _(place: Place) -> str | None:
    told = go_on(place, newest(run_of(place) / "checkpoints"))
    return refused(told, "data", r"run [0-9a-f]{16}, this run has [0-9a-f]{16}", place.out)


def header(length: int, text: bytes) -> bytes:
    return struct.pack("<Q", length % 2**64) + text


for title, data in {
    "huge header": header(2**60, b"{}"),
    "negative header": header(-1, b"{}"),
    "overlapping tensors": header(
        130,
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}'.ljust(
            130
        ),
    )
    + bytes(12),
    "text": b"weights",
    "nothing": b"",
}.items():

    @row(110, f"heads with {title}")
    def _(place: Place, data: bytes = data) -> str | None:
        import shutil

        heads = place.folder / "heads"
        shutil.copytree(run_of(place), heads, ignore=shutil.ignore_patterns("checkpoints", "DONE"))
        (heads / WEIGHTS_FILE).write_bytes(data)
        told = run(["export", f"--run={heads}", f"--out={place.folder / 'exported'}"])
        return refused(told, "data", r"heads\.safetensors", place.folder / "exported")


@row(110, "heads whose manifest was changed", quick=False)
def _(place: Place) -> str | None:
    import shutil

    heads = place.folder / "heads"
    shutil.copytree(run_of(place), heads, ignore=shutil.ignore_patterns("checkpoints", "DONE"))
    (heads / "manifest.json").write_text((heads / "manifest.json").read_text().replace("anger", "angst"))
    told = run(["export", f"--run={heads}", f"--out={place.folder / 'exported'}"])
    return refused(told, "data", r"manifest\.json|taxonomy", place.folder / "exported")
