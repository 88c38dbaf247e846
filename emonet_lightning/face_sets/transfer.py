"""From a folder of real faces to everything that the transfer report shows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emonet_lightning.errors import UsageError
from emonet_lightning.evaluation.class_maps import ClassMap
from emonet_lightning.evaluation.image_transfer import Faces, judge_faces
from emonet_lightning.evaluation.transfer_protocol import check_draws, describe_map
from emonet_lightning.face_sets.description import FaceSet
from emonet_lightning.face_sets.features import encode_faces
from emonet_lightning.face_sets.reading import read_face_set
from emonet_lightning.local_paths import expand_home
from emonet_lightning.messages import say
from emonet_lightning.recognizer import load_bundle


def run_image_transfer(
    folder: Path,
    faces: str,
    heads: str,
    *,
    map: str | None = None,
    only: Mapping[str, str] | None = None,
    num_folds: int = 5,
    skip: bool = False,
    weights: str | None = None,
    device: str = "auto",
    num_threads: int | None = None,
    progress: bool = True,
    num_draws: int = 500,
    num_permutations: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """Return what transfer.json holds, as primitives; writes nothing but the feature cache.

    Args:
        folder: where the set lies.
        faces: shipped description, YAML or CSV file.
        heads: run, exported or released heads.
        map: of emotions to classes; default: the description's.
        only: column -> value; other images are left out.
        skip: leave unreadable images out, with a note.
        weights: where the encoder's weight file is now; other options as for `transfer_command`.

    Raises:
        UsageError: options that do not fit each other.
        MissingInputError: a folder, file or image that is not there.
        DataError: wrong content; names file or line, and the remedy.
    """
    check_draws(num_draws, num_permutations, seed, level)
    if num_folds < 2:
        raise UsageError(f"--num-folds {num_folds}: at least 2")
    described = FaceSet.load(faces)
    source = map or described.map
    if source is None:
        raise UsageError(f"faces '{described.name}' names no map of emotions to its classes: give --map MAP")
    bundle = load_bundle(heads)
    class_map = ClassMap.load(source, bundle.taxonomy)
    found = read_face_set(
        described, expand_home(str(folder)), class_map, {key: (value,) for key, value in (only or {}).items()}
    )
    for note in found.notes:
        say(f"{folder}: {note}")
    encoded = encode_faces(
        found,
        bundle,
        heads,
        weights=weights,
        skip=skip,
        device=device,
        num_threads=num_threads,
        progress=progress,
    )
    images = encoded.images
    content, chosen = judge_faces(
        Faces(encoded.scores, encoded.features, images.labels, images.persons, images.groups, images.level_order),
        class_map,
        num_folds=num_folds,
        num_draws=num_draws,
        num_permutations=num_permutations,
        seed=seed,
        level=level,
        progress=progress,
    )
    content["images"]["notes"] = [*images.notes, *content["images"]["notes"]]
    return {
        "schema": content.pop("schema"),
        "options": {
            "faces": described.name,
            "map": chosen.name,
            "only": dict(only or {}),
            "num_folds": num_folds,
            "on_error": "skip" if skip else "stop",
        },
        "set": {
            "name": described.name,
            "source": described.source,
            "digest": described.digest,
            "folder": folder.name,
            "images_digest": images.digest,
        },
        "map": describe_map(chosen, bundle.taxonomy),
        "taxonomy": {"name": bundle.taxonomy.name, "digest": bundle.taxonomy.digest},
        "heads": encoded.description,
        **content,
    }
