"""What the audit keeps of each image, from one decoding: digests, a small grey picture, its hashes, its features."""

import hashlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import cv2
import imagehash
import numpy as np
import torch
from PIL import Image

from emonet_lightning.decoding import decode_image
from emonet_lightning.encoders import CPU_BATCH, FrozenEncoder
from emonet_lightning.io import sha256_bytes
from emonet_lightning.leakage.image_sets import ImageSet
from emonet_lightning.transforms import EvalTransform

SIDE = 64
"""Pixels a side of the small picture: 4 KiB an image stay in memory."""
_AHEAD = 4 * CPU_BATCH  # images that are decoded ahead


class Prints(NamedTuple):
    """What is compared of N images."""

    bytes_sha256: list[str]
    pixels_sha256: list[str]
    """Of size and upright RGB pixels."""
    sizes: np.ndarray
    """Height and width in pixels, int64 [N, 2]."""
    pictures: np.ndarray
    """Grey, squeezed to a square, uint8 [N, SIDE, SIDE]."""
    hashes: np.ndarray
    """64-bit DCT hash of the picture and of its mirror image, uint64 [N, 2]."""
    features: np.ndarray | None
    """Of the frozen encoder, float32 [N, D]; None without one."""


class _Print(NamedTuple):
    bytes_sha256: str
    pixels_sha256: str
    size: tuple[int, int]
    picture: np.ndarray
    hashes: tuple[int, int]
    pixels: np.ndarray | None


def take_prints(
    sets: list[ImageSet], encoder: FrozenEncoder | None, advance: Callable[[int], None], num_threads: int = 2
) -> Prints:
    """Decode every image of all sets once.

    Args:
        sets: whose images follow each other in the result.
        encoder: for features; None: none are made.
        advance: told of each finished image.
        num_threads: that decode.

    Raises:
        DataError: an image that cannot be read; names it.
    """
    transform = None if encoder is None else EvalTransform(encoder.preprocess)
    images = ((each, row) for each in sets for row in range(len(each.keys)))
    found: list[_Print] = []
    features: list[np.ndarray] = []
    batch: list[np.ndarray] = []

    def encode() -> None:
        if encoder is not None and batch:
            stacked = torch.from_numpy(np.stack(batch)).to(encoder.mean.device)
            features.append(encoder.encode(stacked).cpu().numpy())
            batch.clear()

    with ThreadPoolExecutor(num_threads) as pool:
        waiting: deque[Future[_Print]] = deque()
        try:
            while True:
                while len(waiting) < _AHEAD and (image := next(images, None)) is not None:
                    waiting.append(pool.submit(_take, *image, transform))
                if not waiting:
                    break
                one = waiting.popleft().result()
                if one.pixels is not None:
                    batch.append(one.pixels)
                    if len(batch) == CPU_BATCH:
                        encode()
                found.append(one._replace(pixels=None))
                advance(1)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    encode()
    return Prints(
        [one.bytes_sha256 for one in found],
        [one.pixels_sha256 for one in found],
        np.array([one.size for one in found], dtype=np.int64),
        np.stack([one.picture for one in found]),
        np.array([one.hashes for one in found], dtype=np.uint64),
        np.concatenate(features) if features else None,
    )


def _take(images: ImageSet, row: int, transform: EvalTransform | None) -> _Print:
    content = images.read(row)
    pixels = decode_image(content, f"{images.name}: {images.keys[row]}")
    digest = hashlib.sha256(str(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    picture = small_picture(pixels)
    height, width = pixels.shape[:2]
    seen, mirrored = (int(str(imagehash.phash(Image.fromarray(view))), 16) for view in (picture, picture[:, ::-1]))
    inputs = None if transform is None else transform(pixels if pixels.flags.writeable else pixels.copy())
    return _Print(sha256_bytes(content), digest.hexdigest(), (height, width), picture, (seen, mirrored), inputs)


def small_picture(pixels: np.ndarray) -> np.ndarray:
    """Return RGB pixels [H, W, 3] uint8 as a small grey square [SIDE, SIDE] uint8, whatever their aspect."""
    return np.asarray(cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA))
