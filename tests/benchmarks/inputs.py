"""Made-up inputs: photograph-like JPEGs of faces, packed sets of them, and sets whose features are cached already.

Everything is a pure function of its arguments and kept in the working folder, so that rows share it.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from measuring import Settings

from emonet_lightning.encoders import EncoderSpec
from emonet_lightning.io import sha256_bytes
from emonet_lightning.packing.packed import PackedSet
from emonet_lightning.packing.samples import RawSample
from emonet_lightning.packing.shards import pack
from emonet_lightning.ratings.long_form import Kind
from emonet_lightning.synthesis.expressions import load_expressions
from emonet_lightning.synthesis.faces import RenderedFaces
from emonet_lightning.taxonomy import Taxonomy

GRAIN = {512: 4.0, 1024: 3.0}
"""Deviation of the texture, grey levels, at which a JPEG of quality 92 takes 60-70 kB (512 px) or about 200 kB."""


@cache
def texture(size: int) -> np.ndarray:
    """Return a field [2 size, 2 size] float32 of unit deviation with the 1/f spectrum of photographs."""
    noise = np.fft.rfft2(np.random.default_rng(0).standard_normal((2 * size, 2 * size)))
    frequency = np.hypot(np.fft.fftfreq(2 * size)[:, None], np.fft.rfftfreq(2 * size)[None])
    field = np.fft.irfft2(noise / np.maximum(frequency, 0.5 / size) ** 0.6)
    return ((field - field.mean()) / field.std()).astype(np.float32)


class PhotoLikeFaces:
    """Rendered faces, enlarged and textured until their JPEGs weigh what photographs do; a source for `pack`."""

    licence = "MIT"
    kind: Kind = "dense"

    def __init__(self, count: int, size: int = 512) -> None:
        self.name = f"photo-like-{size}"
        self.count = count
        self.size = size
        self.faces = RenderedFaces("big", count=count, size=256)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> RawSample:
        sample = self.faces[index]
        return sample._replace(image=self._photograph(sample.image, index))

    def fingerprint(self) -> str:
        """Digest of what decides the samples."""
        return sha256_bytes(f"{self.name}/{self.count}/{GRAIN}/{self.faces.fingerprint()}".encode())

    def _photograph(self, image: bytes, index: int) -> bytes:
        size = self.size
        pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
        pixels = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_CUBIC)
        x, y = np.random.default_rng(index).integers(size, size=2)
        grain = GRAIN[size] * texture(size)[y : y + size, x : x + size]
        pixels = cv2.add(pixels, cv2.merge([grain, grain, grain]), dtype=cv2.CV_8U)
        return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()


class TwoQuestions:
    """The same faces with yes/no answers to two of forty emotions: the prompted one, and one drawn at random.

    A yes is an intensity of at least 2; three experts agree on each answer.
    """

    licence = "MIT"
    kind: Kind = "binary"

    def __init__(self, dense: PackedSet) -> None:
        self.dense = dense
        self.name = f"{dense.name}-asked"

    def __len__(self) -> int:
        return self.dense.num_samples

    def fingerprint(self) -> str:
        """Digest of what decides the samples."""
        return sha256_bytes(f"{self.name}/{self.dense.digest}/{self.dense.label_digest}".encode())

    def __getitem__(self, index: int) -> RawSample:
        record, slugs = self.dense.read_record(index), load_expressions().slugs
        (intensity,) = record["ratings"].values()
        other = slugs[int(np.random.default_rng([index, 1]).integers(len(slugs)))]
        answers = {slug: float(intensity.get(slug, 0) >= 2) for slug in (record["prompted"], other)}
        image = self.dense.read_image(index)
        ratings = {f"expert-{number}": answers for number in range(3)}
        return RawSample(record["key"], image, ratings, record["prompted"], record["group"])


def photo_set(settings: Settings, kind: Literal["dense", "binary"] = "dense", count: int = 0) -> PackedSet:
    """Return 4,000 photograph-like faces of 512 px (600 in a quick run), with intensities or answers to two questions.

    As many as the embedded default pre-trains on; one set for all rows, unless `count` says otherwise.
    """
    dense = PhotoLikeFaces(count or settings.pick(4000, 600))
    return packed_set(settings.work, dense if kind == "dense" else TwoQuestions(packed_set(settings.work, dense)))


def packed_set(work: str, source: PhotoLikeFaces | TwoQuestions | RenderedFaces) -> PackedSet:
    """Return a source as a packed set, 85 % to train on and 15 % to validate; made at first use."""
    started = time.monotonic()
    made = pack(
        source,
        Path(work) / "sets" / f"{source.name}-{len(source)}-{source.fingerprint()[:8]}",
        Taxonomy.load("emonet40"),
        splits={"train": 0.85, "val": 0.15},
        shard_size=max(1, len(source) // 6),  # at least as many shards as a loader has workers
        num_processes=2,
        hash_near_duplicates=False,
        progress=False,
    )
    if time.monotonic() - started > 1:
        mean = np.mean(made.manifest["index"]["image_bytes"]) / 1e3
        print(f"    made {len(made)} JPEGs of {mean:.0f} kB in {time.monotonic() - started:.0f} s", flush=True)
    return made


def photographs(work: str, count: int, size: int) -> list[bytes]:
    """Return so many photograph-like JPEGs, each of another person."""
    source = PhotoLikeFaces(4 * count, size)
    return [source[4 * number].image for number in range(count)]


def labelled_cells(kind: Literal["dense", "binary"], num_rows: int, num_dimensions: int) -> Iterator[np.ndarray]:
    """Yield row, dimension and value of made-up answers: five intensities a row, or two yes/no answers."""
    rng = np.random.default_rng(3)
    each = 5 if kind == "dense" else 2
    yield np.repeat(np.arange(num_rows, dtype=np.int32), each)
    first = rng.integers(num_dimensions, size=(num_rows, 1))
    yield ((first + np.arange(each) * 7) % num_dimensions).astype(np.int16).ravel()  # 7: distinct in a row
    values = rng.integers(1, 8, num_rows * each) if kind == "dense" else rng.integers(0, 2, num_rows * each)
    yield values.astype(np.float32)


def write_set_without_images(folder: Path, kind: Literal["dense", "binary"], num_rows: int) -> PackedSet:
    """Write ratings and manifest of a packed set that has labels but no shards, for runs on cached features."""
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    from emonet_lightning.packing.manifest import _manifest_text
    from emonet_lightning.packing.packed import FORMAT, MANIFEST, RATINGS, VERSION, samples_digest

    if (folder / MANIFEST).is_file():
        return PackedSet.open(folder)
    folder.mkdir(parents=True, exist_ok=True)
    taxonomy = Taxonomy.load("emonet40")
    row, slug, value = labelled_cells(kind, num_rows, len(taxonomy))
    columns = {"row": row, "rater": np.zeros(len(row), np.int32), "slug": slug, "value": value}
    parquet.write_table(arrow.table(columns), folder / RATINGS, compression="zstd")
    keys = [f"{number:06d}" for number in range(num_rows)]
    digests = [hashlib.sha256(f"{folder.name}/{key}".encode()).hexdigest() for key in keys]
    none, zeros = [None] * num_rows, [0] * num_rows
    places = {column: zeros for column in ("shard", "image_offset", "image_bytes", "json_offset", "json_bytes")}
    ratings = {"sha256": sha256_bytes((folder / RATINGS).read_bytes()), "raters": ["made-up"], "silent": []}
    content = {
        "format": FORMAT,
        "version": VERSION,
        "name": folder.name,
        "kind": kind,
        "licence": "MIT",
        "sealed": False,
        "num_samples": num_rows,
        "splits": {"train": num_rows},
        "digest": samples_digest(keys, digests),
        "label_digest": sha256_bytes(json.dumps([kind, num_rows]).encode()),
        "taxonomy": taxonomy.to_dict(),
        "ratings": {**ratings, "slugs": list(taxonomy.slugs)},
        "shards": [{"file": "none.tar", "bytes": 0, "sha256": "", "n": num_rows}],
        "index": {
            "key": keys,
            **places,
            "image_sha256": digests,
            "phash": None,
            "split": ["train"] * num_rows,
            "group": none,
            "prompted": none,
        },
    }
    (folder / MANIFEST).write_text(_manifest_text(content))
    return PackedSet.open(folder)


def so400m(work: str) -> EncoderSpec:
    """Return the paper's encoder by name, 1152 features, with a weight file that is only ever hashed, never loaded."""
    weights = Path(work) / "no_weights.safetensors"
    if not weights.exists():
        weights.write_bytes(b"stands for weights: features are cached already")
    return EncoderSpec("timm/vit_so400m_patch16_siglip_384.v2_webli", weights=str(weights))


def cached_set(work: str, kind: Literal["dense", "binary"], num_rows: int, spec: EncoderSpec) -> dict[str, str]:
    """Return `path` and `cache_dir` of a set without images, whose features lie in the cache as after an encode pass.

    Features are Gaussian with a common part, so that they are as alike as an encoder's.
    """
    from emonet_lightning.data.cache_blocks import save_block
    from emonet_lightning.data.embeddings import _missing_metas, plan_cache
    from emonet_lightning.io import write_json

    packed = write_set_without_images(Path(work) / "sets" / f"cached-{kind}-{num_rows}", kind, num_rows)
    cache_dir = Path(work) / "cache"
    plan = plan_cache(packed, spec, cache_dir / "features", 1, None, 0)
    if not (plan.path / "made").exists():
        for folder, meta in _missing_metas(plan):
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "meta.json", meta)
        generator = torch.Generator().manual_seed(4)
        common = torch.randn(plan.dim, generator=generator)
        for block in plan.blocks[0]:
            own = torch.randn(block.stop - block.start, plan.dim, generator=generator)
            save_block(block, (common + 0.5 * own).half())
        (plan.path / "made").touch()
    return {"path": str(packed.path), "cache_dir": str(cache_dir)}
