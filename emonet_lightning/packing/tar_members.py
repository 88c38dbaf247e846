"""What lies in a tar file that others made: every header is looked at before any content is; nothing is unpacked.

Python's `tarfile` takes a damaged header for the end of the archive and believes any size, so the headers are walked
here first: checksums, sizes that fit the file, and an end mark behind the last member.
"""

import re
import tarfile
from pathlib import Path
from typing import BinaryIO, NamedTuple

from emonet_lightning.errors import DataError
from emonet_lightning.image_files import OTHER_SUFFIXES, SUFFIXES
from emonet_lightning.io import sha256_file
from emonet_lightning.packing.images import MAX_BYTES

_BLOCK = 512
_MAX_HEADER_BYTES = 2**20
"""Of a long name or of further fields."""
_MAX_JSON_BYTES = 16 * 2**20
_LONG_NAME_TYPES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME)
_CODE_SUFFIXES = frozenset({".pkl", ".pickle", ".pyd", ".pth", ".pt", ".ckpt", ".joblib", ".npy", ".npz", ".so", ".py"})
"""Contents that run code when they are read as what they are, or that WebDataset's decoders would unpickle."""
_OTHER_FORMATS = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"BZh": "bzip2",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"7z\xbc\xaf\x27\x1c": "7z",
}


class Part(NamedTuple):
    """Content of one member."""

    offset: int
    size: int


class TarSample(NamedTuple):
    """The two members of one name."""

    name: str
    image: Part
    json: Part


def index_tar(path: Path) -> list[TarSample]:
    """Return where images and their JSON lie in a tar file, in the order of its members.

    Raises:
        DataError: no plain tar file, damaged, cut off, or with members that are not an image or its JSON in one place.
    """
    try:
        _check_digest(path)
        with path.open("rb") as stream:
            _check_format(path, stream)
            headers = _walk(path, stream, path.stat().st_size)
            stream.seek(0)
            with tarfile.open(fileobj=stream, mode="r:") as tar:
                members = list(tar)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise DataError(f"{path}: not a readable uncompressed tar file ({error}); unpack or fetch it again") from error
    if [member.offset_data for member in members] != headers:
        raise DataError(f"{path}: fields beside the headers say otherwise than these; pack the archive again")
    return _pair(path, members)


def check_name(path: Path, name: str) -> None:
    """Refuse a member's name that leads out of the archive, or that is read differently by others.

    Raises:
        DataError: absolute, with `..`, hidden, with several dots or none, or of a file that can run code.
    """
    base = name.rpartition("/")[2]
    suffix = f".{base.rpartition('.')[2].lower()}"
    wrong = ""
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:[/\\]", name) or ".." in re.split(r"[/\\]", name):
        wrong = "leads out of the archive"
    elif suffix in _CODE_SUFFIXES:
        wrong = "can hold code, and is never read"
    elif base.startswith(".") or any(part.startswith(".") and part != "." for part in name.split("/")):
        wrong = "is hidden"
    elif base.count(".") != 1:
        wrong = "has several dots" if "." in base else "has no extension"
    elif re.search(r"[\x00-\x1f\x7f\\]", name):
        wrong = "has a backslash or control characters"
    elif suffix in OTHER_SUFFIXES:
        wrong = "is neither JPEG, PNG nor WebP"
    if wrong:
        raise DataError(f"{path}: member {name!r} {wrong}; remove or rename it (NAME.jpg beside NAME.json)")


def _pair(path: Path, members: list[tarfile.TarInfo]) -> list[TarSample]:
    images: dict[str, Part] = {}
    texts: dict[str, Part] = {}
    current, seen = "", set[str]()
    for member in members:
        if member.isdir():
            continue
        check_name(path, member.name)
        name, _, extension = member.name.removeprefix("./").rpartition(".")
        kind = texts if extension == "json" else images if f".{extension.lower()}" in SUFFIXES else None
        if kind is None:
            continue
        if name in kind:
            raise DataError(f"{path}: duplicate id '{name}'; keep one")
        if name != current and name in seen:
            raise DataError(f"{path}: the members of '{name}' do not lie together; sort the archive by name")
        current = name
        seen.add(name)
        limit = _MAX_JSON_BYTES if kind is texts else MAX_BYTES
        if member.size > limit:
            raise DataError(f"{path}: member '{member.name}' has {member.size} bytes, above {limit}; remove it")
        kind[name] = Part(member.offset_data, member.size)
    for name in images.keys() ^ texts.keys():
        what = "image without JSON" if name in images else "JSON without image"
        raise DataError(f"{path}: {what}: '{name}'; each image needs a JSON of the same name")
    return [TarSample(name, images[name], texts[name]) for name in images]


def _walk(path: Path, stream: BinaryIO, size: int) -> list[int]:
    """Read all headers; returns where the content of each member begins."""
    place, found = 0, []
    stream.seek(0)
    while True:
        block = stream.read(_BLOCK)
        if len(block) < _BLOCK:
            raise DataError(f"{path}: cut off at byte {place + len(block)}, without an end mark; fetch it again")
        if not any(block):
            break
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise DataError(f"{path}: damaged after byte {place} ({error}); fetch it again") from error
        place += _BLOCK
        end = place + -(-header.size // _BLOCK) * _BLOCK
        if header.size < 0 or place + header.size > size:
            raise DataError(
                f"{path}: member {header.name!r} claims {header.size} bytes at byte {place} of {size}: "
                "the file is cut off or damaged; fetch it again"
            )
        if header.type in _LONG_NAME_TYPES:
            if header.size > _MAX_HEADER_BYTES:
                raise DataError(f"{path}: a name of {header.size} bytes at byte {place}; fetch it again")
        elif header.type in (tarfile.REGTYPE, tarfile.AREGTYPE) or (header.type == tarfile.DIRTYPE and not header.size):
            found.append(place)
        else:
            raise DataError(f"{path}: member {header.name!r} is a link, a device or another special file; remove it")
        place = end
        stream.seek(place)
    while rest := stream.read(2**20):
        if any(rest):
            raise DataError(f"{path}: damaged after byte {place}: more follows the end mark; fetch it again")
    return found


def _check_format(path: Path, stream: BinaryIO) -> None:
    start = stream.read(_BLOCK)
    if not start:
        raise DataError(f"{path}: empty; fetch it again")
    for magic, name in _OTHER_FORMATS.items():
        if start.startswith(magic):
            raise DataError(f"{path}: a {name} file, not a plain tar file; unpack it first")
    if start.lstrip()[:1] == b"<" and b"\x00" not in start[:64]:
        raise DataError(f"{path}: an HTML or XML page, not a tar file; fetch it again")


def _check_digest(path: Path) -> None:
    """Compare a file with the digest that came beside it, as `sha256sum` writes it."""
    beside = path.with_name(f"{path.name}.sha256")
    if not beside.is_file():
        return
    expected = beside.read_bytes()[:64].decode(errors="replace").lower()
    if not re.fullmatch("[0-9a-f]{64}", expected):
        raise DataError(f"{beside}: does not begin with a sha256; write it with sha256sum, or remove it")
    found = sha256_file(path)
    if found != expected:
        raise DataError(f"{path}: sha256 is {found[:12]}, {beside.name} says {expected[:12]}: damaged; fetch it again")
