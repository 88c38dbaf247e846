"""Ways in which a tar shard is damaged: on the disk, on the way, or by whoever copied it."""

import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

PAGE = 4096


class Layout(NamedTuple):
    """Where things lie in a shard.

    Args:
        headers: start of each member's header.
        payloads: start and stop of each member's content.
        images: those of images.
    """

    headers: list[int]
    payloads: list[tuple[int, int]]
    images: list[tuple[int, int]]


def layout(path: Path) -> Layout:
    """Read where the members of a shard lie."""
    headers, payloads, images = [], [], []
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            part = (member.offset_data, member.offset_data + member.size)
            headers.append(member.offset)
            payloads.append(part)
            if not member.name.endswith(".json"):
                images.append(part)
    return Layout(headers, payloads, images)


def header_flip(path: Path, found: Layout, drawn: random.Random) -> None:
    """Flip one bit of a header's fields (its last 12 bytes are not used)."""
    _flip(path, drawn.choice(found.headers) + drawn.randrange(500), drawn)


def truncated_between(path: Path, found: Layout, drawn: random.Random) -> None:
    """Cut the file where a member begins."""
    _cut(path, drawn.choice(found.headers))


def truncated_in_header(path: Path, found: Layout, drawn: random.Random) -> None:
    """Cut the file within a header."""
    _cut(path, drawn.choice(found.headers) + drawn.randrange(1, 512))


def truncated_in_data(path: Path, found: Layout, drawn: random.Random) -> None:
    """Cut the file within a member's content."""
    start, stop = drawn.choice(found.payloads)
    _cut(path, drawn.randrange(start + 1, stop))


def zeroed_page(path: Path, found: Layout, drawn: random.Random) -> None:
    """Zero a page of the file, as a disk that lost it does."""
    content = bytearray(path.read_bytes())
    used = found.payloads[-1][1]  # behind it the file is zero as it is
    start = PAGE * drawn.randrange(-(-used // PAGE))
    stop = min(start + PAGE, len(content))
    content[start:stop] = bytes(stop - start)
    path.write_bytes(content)


def payload_flip(path: Path, found: Layout, drawn: random.Random) -> None:
    """Flip one bit of any member's content."""
    start, stop = drawn.choice(found.payloads)
    _flip(path, drawn.randrange(start, stop), drawn)


def image_flip(path: Path, found: Layout, drawn: random.Random) -> None:
    """Flip one bit of an image's content, behind its header: most decoders do not notice."""
    start, stop = drawn.choice(found.images)
    _flip(path, drawn.randrange(min(start + 700, stop - 3), stop - 2), drawn)


def removed_or_doubled(path: Path, found: Layout, drawn: random.Random) -> None:
    """Remove the shard, put another one in its place, or its copy beside it under a new name."""
    others = sorted(other for other in path.parent.glob("*.tar") if other != path)
    how = drawn.choice(["removed", "replaced", "copied"]) if others else drawn.choice(["removed", "copied"])
    if how == "removed":
        path.unlink()
    elif how == "replaced":
        path.write_bytes(drawn.choice(others).read_bytes())
    else:
        path.with_name(f"shard-{drawn.randrange(100, 1000):06d}.tar").write_bytes(path.read_bytes())


KINDS: dict[str, Callable[[Path, Layout, random.Random], None]] = {
    "header_flip": header_flip,
    "truncated_between": truncated_between,
    "truncated_in_header": truncated_in_header,
    "truncated_in_data": truncated_in_data,
    "zeroed_page": zeroed_page,
    "payload_flip": payload_flip,
    "image_flip": image_flip,
    "removed_or_doubled": removed_or_doubled,
}


def _flip(path: Path, position: int, drawn: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << drawn.randrange(8)
    path.write_bytes(content)


def _cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])
