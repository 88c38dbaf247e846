"""Blind preference study: pairs of short lists of emotions for one image, and a sealed key that tells whose they are.

As in the EmoNet-Face study: up to five emotions a side, the strongest first, names only, sides at random, a forced
choice of left or right. The pairs file is for the judges and knows nothing of the systems; the key stays with whoever
analyses. What is decided where the published study is silent: two equal lists are not shown, since no preference can be
told; an empty list is not shown unless asked for, since it would give its system away; an image that a system did not
score is left out of that system's pairs. All three are counted in the key.
"""

import json
import secrets
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emonet_lightning.annotation.pairs import Pair
from emonet_lightning.errors import DataError, UsageError, nearest
from emonet_lightning.io import atomic_write, json_text, sha256_bytes, sha256_file
from emonet_lightning.ratings.panel import SystemScores
from emonet_lightning.signed_json import read_signed, sign
from emonet_lightning.taxonomy import Taxonomy

SCHEMA = "emonet_lightning preference key 1"
EXPERTS = "experts"
"""Name of the median of the experts among the systems."""
MOST = 5


class Study(NamedTuple):
    """Pairs in the order in which they are shown, and who is who."""

    pairs: list[Pair]
    key: dict[str, Any]


def top_emotions(scores: NDArray[np.float64], names: Sequence[str], least: float = 0.0, most: int = MOST) -> list[str]:
    """Return the names of the strongest emotions of one image, the strongest first, ties in alphabetical order.

    Args:
        scores: [K]; NaN is no score.
        names: of the emotions [K].
        least: only scores above this are listed.
        most: length of the list.
    """
    chosen = [k for k in range(len(names)) if scores[k] > least]
    return [names[k] for k in sorted(chosen, key=lambda k: (-scores[k], names[k]))[:most]]


def design(
    images: Sequence[str],
    systems: Sequence[SystemScores],
    taxonomy: Taxonomy,
    *,
    prompted: Sequence[str | None] | None = None,
    least: float = 0.0,
    most: int = MOST,
    num_images: int | None = None,
    show_empty: bool = False,
    seed: int | None = None,
) -> Study:
    """Make the pairs of a study: every two systems, on every image that both scored.

    Args:
        images: [N].
        systems: scores [N, K] each, columns of the taxonomy; the first is the reference that images are sorted under
            by its first emotion, where it is not known what they were made for.
        taxonomy: names of the emotions.
        prompted: slug of the emotion that each image was made for [N].
        least: only scores above this are listed.
        most: emotions in a list.
        num_images: draw so many images; all by default.
        show_empty: show a list without an emotion, too.
        seed: of images, sides and order; by default drawn from the operating system, so that nobody can repeat it.

    Raises:
        UsageError: fewer than two systems, or two of one name.
        DataError: no image has two lists that can be compared.
    """
    names = [system.name for system in systems]
    if len(names) < 2 or len(set(names)) < len(names):
        raise UsageError(f"a study compares two or more systems of different names, not {', '.join(names) or 'none'}")
    seed = secrets.randbits(63) if seed is None else seed
    rng = np.random.default_rng(seed)
    rows = np.arange(len(images))
    if num_images is not None and num_images < len(images):
        rows = np.sort(rng.choice(rows, size=num_images, replace=False))
    emotions = taxonomy.names[: taxonomy.num_emotions]
    lists = [
        [top_emotions(system.scores[row, : len(emotions)], emotions, least, most) for row in rows] for system in systems
    ]
    scored = [np.asarray((~np.isnan(system.scores[rows, : len(emotions)])).any(axis=1)) for system in systems]
    found: list[tuple[str, list[str], list[str], dict[str, Any]]] = []
    left_out: dict[tuple[int, int], Counter[str]] = {}
    for a, b in combinations(range(len(systems)), 2):
        count = left_out[a, b] = Counter()
        shown = []
        for place in range(len(rows)):
            first, second = lists[a][place], lists[b][place]
            if not (scored[a][place] and scored[b][place]):
                what = "not_scored"
            elif first == second:
                what = "equal"
            else:
                what = "shown" if show_empty or (first and second) else "empty"
            count[what] += 1
            shown += [place] if what == "shown" else []
        # half of them turned round, at random: a habit of one side favours neither system
        turned = rng.permutation((np.arange(len(shown)) + rng.integers(2)) % 2)
        for place, is_turned in zip(shown, turned.tolist(), strict=True):
            about = None if prompted is None else prompted[rows[place]]
            about = about or taxonomy.slugs[taxonomy.index((lists[0][place] or lists[a][place] or lists[b][place])[0])]
            left, right = (b, a) if is_turned else (a, b)
            image = images[rows[place]]
            secret = {"image": image, "emotion": about, "left": names[left], "right": names[right]}
            found.append((image, lists[left][place], lists[right][place], secret))
    if not found:
        raise DataError(
            f"no image has two lists of {' and '.join(names)} that differ; lower --least, or check the files"
        )
    order = rng.permutation(len(found)).tolist()
    ids = _ids(rng, len(found))
    pairs = [Pair(ids[n], *found[place][:3]) for n, place in enumerate(order)]
    key = {
        "schema": SCHEMA,
        "seed": seed,
        "systems": names,
        "taxonomy": {"name": taxonomy.name, "digest": taxonomy.digest},
        "about": "prompted" if prompted is not None else f"first emotion of '{names[0]}'",
        "least": least,
        "most": most,
        "num_images": len(rows),
        "left_out": [
            {
                "first": names[a],
                "second": names[b],
                **{key: count[key] for key in ("shown", "equal", "empty", "not_scored")},
            }
            for (a, b), count in left_out.items()
        ],
        "pairs": {ids[n]: found[place][3] for n, place in enumerate(order)},
    }
    return Study(pairs, key)


def write_study(study: Study, pairs_path: Path, key_path: Path, inputs: dict[str, str]) -> None:
    """Write the pairs (JSON lines) and the key, which only its owner can read.

    Args:
        study: from `design`.
        pairs_path: for the judges.
        key_path: in another folder, that is never given away.
        inputs: name -> path of the files the lists come from; their digests go into the key.

    Raises:
        UsageError: the key would lie beside or below the pairs, or a study is there already.
        OutputError: not writable.
    """
    shown, hidden = pairs_path.resolve().parent, key_path.resolve().parent
    if hidden == shown or shown in hidden.parents:
        raise UsageError(f"--key {key_path}: lies with the pairs ({shown}); keep it in a folder that no judge is given")
    for path in (pairs_path, key_path):
        if path.exists():
            raise UsageError(f"{path}: there is a study already, and answers to it would be lost; name another file")
    digests = [
        {"name": name, "file": Path(path).name, "sha256": sha256_file(path) if Path(path).is_file() else None}
        for name, path in inputs.items()
    ]
    text = "".join(_line(pair) for pair in study.pairs)
    # the key first: pairs without a key could not be analysed
    head = {"schema": study.key["schema"], "pairs_sha256": sha256_bytes(text.encode()), "inputs": digests}
    atomic_write(key_path, sign(json_text(head | study.key)), mode=0o600)
    atomic_write(pairs_path, text)


def read_key(path: Path, pairs_path: Path) -> dict[str, Any]:
    """Read the key of a pairs file.

    Raises:
        MissingInputError: no such file.
        DataError: it was changed, is no key, or is that of other pairs.
    """
    key = read_signed(path, "restore the key that the study was designed with")
    if not isinstance(key, dict) or key.get("schema") != SCHEMA:
        raise DataError(f"{path}: not the key of a preference study; give the file that 'preference design' wrote")
    if key["pairs_sha256"] != sha256_file(pairs_path):
        found = sha256_file(pairs_path)
        raise DataError(
            f"{path}: is the key of other pairs, or {pairs_path} was changed (its sha256 {found[:12]}, the key's "
            f"{key['pairs_sha256'][:12]}); give the two files of one design"
        )
    return key


def system_named(name: str, systems: Sequence[str], option: str) -> int:
    """Return the place of a system of the key; raises UsageError with the nearest names."""
    if name not in systems:
        raise UsageError(f"{option} '{name}': no such system in the key; {nearest(name, systems)}")
    return list(systems).index(name)


def _ids(rng: np.random.Generator, count: int) -> list[str]:
    """Draw ids that say nothing, each once."""
    found: dict[str, None] = {}
    while len(found) < count:
        found[rng.bytes(5).hex()] = None
    return list(found)


def _line(pair: Pair) -> str:

    return json.dumps(pair._asdict(), ensure_ascii=False) + "\n"
