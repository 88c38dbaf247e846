"""Bad feature caches: rows 119 to 128. Only what is bad is made anew, it is said, and the bytes are as they were."""

import shutil
from pathlib import Path

import torch
from bad_inputs import Place, refused, row, run, run_bound, taken
from safetensors import safe_open
from safetensors.torch import save_file


def embed(place: Place, *words: str) -> list[str]:
    encoder = [word.replace("--model.encoder.", "--encoder.") for word in place.encoder]
    return ["embed", str(place.sets["big"]), f"--cache_dir={place.folder / 'cache'}", *encoder, *words]


def blocks(place: Place) -> dict[Path, bytes]:
    found = sorted((place.folder / "cache").rglob("*.safetensors"))
    return {path: path.read_bytes() for path in found if path.name[0].isdigit()}


def damaged(number: int, title: str, damage) -> None:
    """Enter a way to damage a block: the next build says so and makes it anew."""

    @row(number, title)
    def _(place: Place) -> str | None:
        wrong = taken(run(embed(place)))
        if wrong:
            return wrong
        before = blocks(place)
        path = next(iter(before))
        damage(path)
        told = run(embed(place))
        if told.code != 0:
            return f"exit code {told.code}: {told.stderr[-300:]}"
        return None if blocks(place) == before else "other bytes than before"


def parts(path: Path) -> tuple[torch.Tensor, dict[str, str]]:
    with safe_open(path, "pt") as stream:
        return stream.get_tensor("features").clone(), stream.metadata()


def change(edit):
    def damage(path: Path) -> None:
        features, metadata = parts(path)
        save_file({"features": edit(features)}, path, metadata)

    return damage


def zero(features: torch.Tensor) -> torch.Tensor:
    features[3:9] = 0
    return features


def nan(features: torch.Tensor) -> torch.Tensor:
    features[5] = float("nan")
    return features


damaged(119, "block missing", lambda path: path.unlink())
damaged(120, "rows of zeros", change(zero))
damaged(121, "row of NaN", change(nan))
damaged(122, "another dimension", change(lambda features: features[:, :-1].contiguous()))
damaged(122, "another dtype", change(lambda features: features.float()))
damaged(125, "rows in another order", change(lambda features: features.flip(0).contiguous()))
damaged(126, "block cut short", lambda path: path.write_bytes(path.read_bytes()[:-50]))
damaged(126, "empty block", lambda path: path.write_bytes(b""))


@row(123, "features of another encoder are not taken")
def _(place: Place) -> str | None:
    first, second = run(embed(place)), run([*embed(place), "--encoder.dtype=bfloat16"])
    folders = {path.parent for path in blocks(place)}
    return taken(first) or taken(second) or (None if len(folders) == 2 else f"{len(folders)} folders of features")


@row(123, "a block moved into another cache is not taken")
def _(place: Place) -> str | None:
    other = [*embed(place), "--encoder.dtype=bfloat16"]
    wrong = taken(run(embed(place)))
    if wrong:
        return wrong
    (first,) = blocks(place)
    wrong = taken(run(other))
    if wrong:
        return wrong
    before = blocks(place)
    (second,) = before.keys() - {first}
    shutil.copy(first, second)
    return taken(run(other)) or (None if blocks(place) == before else "the other cache's features were taken")


@row(124, "features of another set are not taken")
def _(place: Place) -> str | None:
    wrong = taken(run(embed(place)))
    if wrong:
        return wrong
    told = run([word.replace(str(place.sets["big"]), str(place.sets["hq"])) for word in embed(place)])
    folders = {path.parent for path in blocks(place)}
    return taken(told) or (None if len(folders) == 2 else "one folder for two sets")


@row(127, "four builders at once", quick=False)
def _(place: Place) -> str | None:
    import forking

    children = [forking.start(embed(place), env={}) for _ in range(4)]
    codes = [child.wait(180) for child in children]
    if codes != [0, 0, 0, 0]:
        return f"exit codes {codes}: {children[0].said()[-300:]}"
    together = {path.name: data for path, data in blocks(place).items()}
    shutil.rmtree(place.folder / "cache")
    wrong = taken(run(embed(place)))
    alone = {path.name: data for path, data in blocks(place).items()}
    return wrong or (None if together == alone else "other bytes than one builder makes")


@row(128, "complete cache that cannot be written is used", quick=False)
def _(place: Place) -> str | None:
    wrong = taken(run(embed(place)))
    if wrong:
        return wrong
    before = blocks(place)
    for path in (place.folder / "cache").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    told = run_bound(embed(place))
    return taken(told) or (None if blocks(place) == before else "changed")


@row(128, "incomplete cache that cannot be written is an error", quick=False)
def _(place: Place) -> str | None:
    wrong = taken(run(embed(place)))
    if wrong:
        return wrong
    next(iter(blocks(place))).unlink()
    for path in [place.folder / "cache", *(place.folder / "cache").rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    return refused(run_bound(embed(place)), "io", r"cannot be written")
