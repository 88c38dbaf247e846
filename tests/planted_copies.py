"""Copies of images, made as they arise: the file itself, saved anew, cropped, mirrored, resized."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

KINDS = {"exact": "bytes", "encoded": "re-encoded", "cropped": "cropped", "flipped": "flipped", "resized": "resized"}
"""What is planted -> what the audit calls it."""


def copy_of(content: bytes, kind: str, rng: np.random.Generator) -> bytes:
    if kind == "exact":
        return content
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    width, height = picture.size
    quality = 90
    if kind == "encoded":
        quality = int(rng.integers(30, 96))
    elif kind == "cropped":  # 2 % on each side
        x, y = round(0.02 * width), round(0.02 * height)
        picture = picture.crop((x, y, width - x, height - y))
    elif kind == "flipped":
        picture = ImageOps.mirror(picture)
    elif kind == "resized":
        share = rng.choice([0.6, 0.75, 1.4])
        picture = picture.resize((round(share * width), round(share * height)), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def plant(folder: Path, first: list[bytes], second: list[bytes], num_each: int) -> tuple[Path, Path]:
    """Write two folders of other images each, and copies of the first's images, of every kind, into the second."""
    rng = np.random.default_rng(0)
    a, b = folder / "a", folder / "b"
    for place, images in ((a, first), (b, second)):
        place.mkdir(parents=True)
        for number, content in enumerate(images):
            (place / f"own{number:04d}.jpg").write_bytes(content)
    number = 0
    for kind in KINDS:
        for _ in range(num_each):
            row = number % len(first)
            number += 1
            (b / f"{kind}{row:04d}.jpg").write_bytes(copy_of(first[row], kind, rng))
    return a, b
