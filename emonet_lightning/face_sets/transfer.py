"""From a folder of real faces to everything that the transfer report shows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from emonet_lightning.data.plan import cache_root
from emonet_lightning.errors import DataError, UsageError
from emonet_lightning.evaluation.class_maps import ClassMap
from emonet_lightning.evaluation.image_transfer import Faces, judge_faces
from emonet_lightning.evaluation.transfer_protocol import check_draws, describe_map
from emonet_lightning.face_sets.description import FaceSet
from emonet_lightning.face_sets.features import encode_faces, require_neutral_means
from emonet_lightning.face_sets.framing import FaceCrops, Looked, look_for_faces, shown_beside_faces
from emonet_lightning.face_sets.reading import FaceImages, read_face_set, require_files
from emonet_lightning.faces.crops import CropOptions, FaceCropper, told_of_other_crops
from emonet_lightning.local_paths import expand_home
from emonet_lightning.messages import say
from emonet_lightning.recognizer import load_bundle


def run_image_transfer(
    folder: Path,
    face_set: str,
    heads: str,
    *,
    faces: Literal["off", "largest"] = "off",
    crop: CropOptions = CropOptions(),
    no_face: Literal["skip", "whole"] = "skip",
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
        face_set: shipped description, YAML or CSV file.
        heads: run, exported or released heads.
        faces: `largest` encodes the largest face of each image, cut out; `off` whole images.
        crop: how faces are found and cut out.
        no_face: with `largest`, an image without a face is left out, or encoded whole.
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
    described = FaceSet.load(face_set)
    source = map or described.map
    if source is None:
        raise UsageError(f"set '{described.name}' names no map of emotions to its classes: give --map MAP")
    bundle = load_bundle(heads)
    require_neutral_means(bundle, heads)
    class_map = ClassMap.load(source, bundle.taxonomy)
    found = read_face_set(
        described, expand_home(str(folder)), class_map, {key: (value,) for key, value in (only or {}).items()}
    )
    for note in found.notes:
        say(f"{folder}: {note}")
    if not skip:
        require_files(found)
    cropper = FaceCropper("largest", crop)
    cut = faces == "largest"
    looked = look_for_faces(
        found, cropper, cache_root(None) / "faces", cut=cut, num_threads=num_threads, progress=progress
    )
    num_without = int((looked.readable & ~looked.has_face).sum())
    if differs := told_of_other_crops(bundle.training, cropper if cut else None):
        say(differs)
        found = found.take(range(found.num_samples), differs)
    elif not cut:
        say("whole images are scored, no face is cut out; heads know close portraits: see --faces largest")
    if cut:
        found, looked = _with_faces(found, looked, no_face)
    encoded = encode_faces(
        found,
        bundle,
        heads,
        pictures=FaceCrops(found, looked, cropper) if cut else None,
        weights=weights,
        skip=skip,
        device=device,
        num_threads=num_threads,
        progress=progress,
    )
    images = encoded.images
    content, chosen = judge_faces(
        Faces(
            encoded.scores,
            encoded.features,
            images.labels,
            images.persons,
            images.groups,
            images.level_order,
            shown_beside_faces(looked.take(encoded.rows)),
            cut,
        ),
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
            "set": described.name,
            "map": chosen.name,
            "only": dict(only or {}),
            "num_folds": num_folds,
            "on_error": "skip" if skip else "stop",
            "faces": faces,
            "no_face": no_face,
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
        "faces": {
            "cut": cut,
            "crop": cropper.recorded(),
            "fingerprint": cropper.fingerprint,
            "num_without": num_without,
            "no_face": no_face,
        },
        **content,
    }


def _with_faces(images: FaceImages, looked: Looked, no_face: Literal["skip", "whole"]) -> tuple[FaceImages, Looked]:
    """Return the images that are encoded where faces are cut out, with a note of those without one."""
    without = looked.readable & ~looked.has_face
    everything = list(range(images.num_samples))
    if not without.any():
        return images, looked
    count = f"{without.sum()} of {len(without)} images show no face"
    if no_face == "whole":
        return images.take(everything, f"{count}: they are scored whole"), looked
    if not looked.has_face.any():
        raise DataError(f"{images.folder}: {count}; lower --crop.threshold, or use --no_face whole")
    kept = [row for row in everything if not without[row]]
    return images.take(kept, f"{count}: they are left out"), looked.take(kept)
