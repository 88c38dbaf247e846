"""Bad packed sets: rows 5 to 28 as far as a manifest tells what should be there."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import shard_damage
from bad_inputs import Place, refused, row, run

from emonet_lightning.io import sha256_bytes


def copied(place: Place) -> Path:
    """A packed set to damage."""
    return shutil.copytree(place.sets["binary"], place.folder / "set")


def damaged(number: int, title: str, kind: str) -> None:
    """Enter a damage to one shard of a packed set: `verify` names it."""

    @row(number, f"packed: {title}")
    def _(place: Place) -> str | None:
        folder = copied(place)
        path = folder / "shard-000001.tar"
        shard_damage.KINDS[kind](path, shard_damage.layout(path), random.Random(number))
        told = run(["verify", folder, "--progress=false"])
        wrong = refused(told, "data", r"set/shard-000001\.tar: ")
        return wrong or (None if "shard-000001.tar" in told.stdout else "no table")


damaged(5, "cut between members", "truncated_between")
damaged(6, "cut in a header", "truncated_in_header")
damaged(7, "cut in data", "truncated_in_data")
damaged(8, "bit of a header", "header_flip")
damaged(9, "bit of a payload", "payload_flip")
damaged(10, "zeroed page", "zeroed_page")
damaged(28, "run of zeros in an image", "zeroed_page")


@row(11, "packed: two shards missing, both named")
def _(place: Place) -> str | None:
    folder = copied(place)
    for number in (0, 2):
        (folder / f"shard-{number:06d}.tar").unlink()
    told = run(["verify", folder, "--progress=false"])
    if wrong := refused(told, "data", r"shard-000000\.tar: shard is missing.*2 problems in all"):
        return wrong
    named = all(f"shard-{number:06d}.tar" in told.stdout for number in (0, 2))
    return None if named else f"not both in the table: {told.stdout}"


@row(12, "packed: a shard too many")
def _(place: Place) -> str | None:
    folder = copied(place)
    shutil.copy(folder / "shard-000000.tar", folder / "shard-000009.tar")
    return refused(
        run(["verify", folder, "--progress=false"]), "data", r"shard-000009\.tar: not part of the packed set"
    )


def rewritten(number: int, title: str, edit: Callable[[dict], None], says: str) -> None:
    """Enter a manifest that was changed by somebody who made its digest anew."""

    @row(number, f"packed: {title}")
    def _(place: Place) -> str | None:
        folder = copied(place)
        path = folder / "manifest.json"
        manifest = json.loads(path.read_text())
        del manifest["sha256"]
        edit(manifest)
        body = json.dumps(manifest)[:-1] + ', "sha256": "'
        path.write_text(f'{body}{sha256_bytes(body.encode())}"\n}}\n')
        first = refused(run(["verify", folder, "--progress=false"]), "data", says)
        words = [word for word in place.fit() if not word.startswith(("--data.path", "--data=S"))]
        told = run([*words[:1], "--data=ExpertBinary", f"--data.path={folder}", *words[1:]])
        return first or refused(told, "data", says, place.out)


def _twice(manifest: dict) -> None:
    manifest["shards"][1]["file"] = manifest["shards"][0]["file"]


def _outside(manifest: dict) -> None:
    manifest["shards"][1]["file"] = "../../shard.tar"


def _huge(manifest: dict) -> None:
    manifest["index"]["image_bytes"][3] = 2**50


def _negative(manifest: dict) -> None:
    manifest["index"]["image_offset"][3] = -512


def _short(manifest: dict) -> None:
    manifest["index"]["image_sha256"].pop()


def _same_key(manifest: dict) -> None:
    manifest["index"]["key"][1] = manifest["index"]["key"][0]


rewritten(14, "shard listed twice", _twice, r"shard-000000\.tar is listed twice")
rewritten(16, "key twice", _same_key, r"index\.key: a key is given twice")
rewritten(20, "shard outside the folder", _outside, r"shards: '\.\./\.\./shard\.tar' is not the name")
rewritten(22, "image of 2^50 bytes", _huge, r"index\.image_offset: sample '[\w-]+' lies outside its shard")
rewritten(22, "image at a negative place", _negative, r"lies outside its shard")
rewritten(5, "column too short", _short, r"index\.image_sha256: 119 entries for 120 samples")
