"""Small files that claim to be, or unpack to be, gigabytes: refused within 5 s and below 1 GiB."""

import gzip
import json
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import bad_images
import bad_shards
import forking
import limits
import pytest
from campaign import run_campaign
from small_inputs import face_folder

SECONDS = 5.0
GIB = 2**30


def webp(folder: Path) -> Path:
    """A lossless WebP whose header claims 16,384 x 16,384 pixels."""
    size = (16383 | 16383 << 14).to_bytes(4, "little")
    content = b"VP8L" + struct.pack("<I", 1000) + b"\x2f" + size + bytes(995)
    return image(folder, b"RIFF" + struct.pack("<I", len(content) + 4) + b"WEBP" + content)


def gif(folder: Path) -> Path:
    """A GIF of 65,535 x 65,535."""
    start = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6)
    return image(folder, start + b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x02\x02\x4c\x01\x00;")


def jpeg(folder: Path) -> Path:
    """A JPEG whose frame header claims 65,500 x 65,500."""
    content = bytearray(bad_images.jpeg())
    place = content.index(b"\xff\xc0")
    content[place + 5 : place + 9] = struct.pack(">HH", 65500, 65500)
    return image(folder, bytes(content))


def text_chunk(folder: Path) -> Path:
    """A PNG with a compressed text of 512 MB."""
    packer = zlib.compressobj(9)
    text = b"".join(packer.compress(bytes(2**20)) for _ in range(512)) + packer.flush()
    whole = bad_images.saved(bad_images.picture())
    return image(folder, whole[:33] + bad_images.chunk(b"zTXt", b"Comment\x00\x00" + text) + whole[33:])


def profile(folder: Path) -> Path:
    """A PNG with a colour profile that unpacks to 512 MB."""
    packer = zlib.compressobj(9)
    text = b"".join(packer.compress(bytes(2**20)) for _ in range(512)) + packer.flush()
    whole = bad_images.saved(bad_images.picture())
    return image(folder, whole[:33] + bad_images.chunk(b"iCCP", b"p\x00\x00" + text) + whole[33:])


def image(folder: Path, content: bytes) -> Path:
    """A folder of faces of which one is something else."""
    face_folder(folder, "a.jpg", "b.jpg", "c.jpg")
    (folder / "b.jpg").write_bytes(content)
    return folder


def zipped_tar(folder: Path) -> Path:
    """A gzip file of 1 GiB of zeros, named as a tar file."""
    with gzip.open(folder / "x.tar", "wb", 9) as stream:
        for _ in range(1024):
            stream.write(bytes(2**20))
    return folder


def claiming(folder: Path) -> Path:
    """A tar file of 10 KB with a member of 2^50 bytes."""
    (folder / "x.tar").write_bytes(bad_shards.with_size(2**50))
    return folder


def member(folder: Path, name: str, size: int, kind: bytes = tarfile.REGTYPE) -> Path:
    """A tar file that is as long as it claims, on a disk that keeps no zeros."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    with (folder / "x.tar").open("wb") as stream:
        stream.write(info.tobuf(tarfile.GNU_FORMAT))
        stream.truncate(512 + size + 10240)
    return folder


def deep_json(folder: Path) -> Path:
    """A JSON of 8 million brackets beside its image."""
    pair = (("a.jpg", bad_images.jpeg()), ("a.json", b"[" * 8_000_000))
    (folder / "x.tar").write_bytes(bad_shards.tar_bytes(*pair))
    return folder


def long_number(folder: Path) -> Path:
    """A JSON with a number of 8 million digits."""
    pair = (("a.jpg", bad_images.jpeg()), ("a.json", b'{"Awe": ' + b"7" * 8_000_000 + b"}"))
    (folder / "x.tar").write_bytes(bad_shards.tar_bytes(*pair))
    return folder


BOMBS: dict[str, Callable[[Path], Path]] = {
    "png of 4 gigapixels": lambda folder: image(folder, bad_images.png_claiming(65_000, 65_000)),
    "webp of 268 megapixels": webp,
    "gzip of 1 GiB as tar": zipped_tar,
    "tar member of 2^50 bytes": claiming,
    "gif of 4 gigapixels": gif,
    "jpeg of 4 gigapixels": jpeg,
    "png of 100 megapixels, whole": lambda folder: image(folder, bad_images.png_claiming(10_000, 10_000, 10_000)),
    "png with 512 MB of text": text_chunk,
    "png with 512 MB of colour profile": profile,
    "tar with an image of 2 GiB": lambda folder: member(folder, "a.jpg", 2 * GIB),
    "tar with a JSON of 2 GiB": lambda folder: member(folder, "a.json", 2 * GIB),
    "tar with a name of 2 GiB": lambda folder: member(folder, "././@LongLink", 2 * GIB, tarfile.GNUTYPE_LONGNAME),
    "tar with fields of 2 GiB": lambda folder: member(folder, "pax", 2 * GIB, tarfile.XHDTYPE),
    "tar with 8 million brackets": deep_json,
    "tar with a number of 8 million digits": long_number,
}
QUICK = 4


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="Linux tells the peak of memory")
def test_bombs_are_refused_in_time_and_memory(tmp_path, full):
    names = list(BOMBS)[: None if full else QUICK]

    def run(name):
        folder = tmp_path / str(names.index(name))
        (folder / "input").mkdir(parents=True)
        path = BOMBS[name](folder / "input")
        words = ["pack", str(path), f"--out={folder / 'out'}", "--progress=false", "--num_processes=1"]
        child = forking.start(words, env={limits.NOTE: str(folder / "note")}, target=limits.limited)
        code = child.wait(60)
        told = json.loads((folder / "note").read_text())
        errors = [line for line in child.said().splitlines() if line.startswith("error:")]
        plain = code == 65 and len(errors) == 1 and "Traceback" not in child.said()
        ok = plain and told["seconds"] < SECONDS and told["peak"] < GIB
        return {"ok": ok, "code": code, "took": told["seconds"], "peak_mib": told["peak"] / 2**20, "said": errors[:2]}

    tally = run_campaign("shard_bombs", names, run, full=full)
    for outcome in tally.outcomes:
        print(outcome["trial"], f"{outcome.get('took', 0):.2f} s", f"{outcome.get('peak_mib', 0):.0f} MiB")
    assert tally.failed == []
