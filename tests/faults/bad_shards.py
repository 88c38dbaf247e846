"""Bad archives of others: rows 1 to 24 as far as they speak of raw tar files; refused by rule, never unpacked."""

import gzip
import io
import json
import lzma
import pickle
import shutil
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from bad_inputs import Place, Told, refused, row, run, taken
from small_inputs import face_folder
from toy_faces import encoded

RECORD = json.dumps({"emotions": {"Awe": 3}}).encode()
Edit = Callable[[tarfile.TarInfo], None]
Member = tuple[str, bytes] | tuple[str, bytes, Edit]


def tar_bytes(*members: Member) -> bytes:
    """A tar file; a member is a name, its content, and what is done to its header."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content, *edits in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for edit in edits:
                edit(info)
            tar.addfile(info, io.BytesIO(content) if info.isfile() else None)
    return stream.getvalue()


def pairs(*names: str) -> list[Member]:
    """An image and its JSON for each name."""
    return [
        (f"{name}.{end}", content)
        for number, name in enumerate(names)
        for end, content in (("jpg", encoded(number)), ("json", RECORD))
    ]


def pack(place: Place, *contents: bytes) -> Told:
    """Pack tar files of these contents."""
    folder = place.folder / "tars"
    folder.mkdir()
    for number, content in enumerate(contents):
        (folder / f"part-{number}.tar").write_bytes(content)
    return run(["pack", folder, f"--out={place.out}", "--progress=false", "--near_duplicates=ignore"])


def bad(number: int, title: str, content: Callable[[], bytes], says: str, quick: bool = True) -> None:
    """Enter a tar file that has to be refused, within a second of the command's own time."""

    @row(number, title, quick)
    def _(place: Place) -> str | None:
        good = pack(place, tar_bytes(*pairs("a", "b")))
        if wrong := taken(good):
            return f"a good one is not taken: {wrong}"
        shutil.rmtree(place.out)
        shutil.rmtree(place.folder / "tars")
        started = time.monotonic()
        wrong = refused(pack(place, content()), "data", says, place.out)
        seconds = time.monotonic() - started
        return wrong or (f"took {seconds:.1f} s" if seconds > 3 else None)


def as_type(kind: bytes) -> Edit:
    """Make a member a link, device or pipe that points to a file of the system."""

    def edit(info: tarfile.TarInfo) -> None:
        info.type, info.linkname, info.size = kind, "/etc/passwd", 0

    return edit


def with_size(size: int) -> bytes:
    """An archive whose first header claims a size, as base-256 where octal has no room, with a right checksum."""
    content = bytearray(tar_bytes(*pairs("a", "b")))
    if 0 <= size < 8**11:
        content[124:136] = b"%011o\x00" % size
    else:
        content[124:136] = (b"\x80" if size > 0 else b"\xff") + (size % 2**88).to_bytes(11, "big")
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\x00 " % sum(content[:512])
    return bytes(content)


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.jpg", encoded(0))
    return stream.getvalue()


class Canary:
    """A pickle that would write a file."""

    path = Path("/tmp/emonet-canary-of-shards")

    def __reduce__(self):
        return (Path.touch, (self.path,))


def good_tar() -> bytes:
    return tar_bytes(*pairs("a", "b", "c"))


def cut(where: int) -> bytes:
    return good_tar()[:where]


bad(1, "zero bytes", lambda: b"", r"part-0\.tar: empty")
bad(2, "HTML page", lambda: b"<!DOCTYPE html><html><body>404</body></html>", r"part-0\.tar: an HTML or XML page")
bad(3, "zip file", zipped, r"part-0\.tar: a zip file")
bad(3, "text", lambda: b"not a tar\n" * 200, r"part-0\.tar: damaged after byte 0")
bad(4, "gzip", lambda: gzip.compress(good_tar()), r"a gzip file, not a plain tar")
bad(4, "xz", lambda: lzma.compress(good_tar()), r"a xz file, not a plain tar")
bad(4, "Zstandard", lambda: b"\x28\xb5\x2f\xfd" + good_tar(), r"a Zstandard file, not a plain tar")
with tarfile.open(fileobj=io.BytesIO(good_tar())) as _tar:
    _members = _tar.getmembers()
bad(5, "cut between members", lambda: cut(_members[4].offset), r"part-0\.tar: cut off at byte \d+")
bad(6, "cut in a header", lambda: cut(_members[4].offset + 100), r"part-0\.tar: cut off at byte \d+")
bad(7, "cut in data", lambda: cut(_members[4].offset_data + 100), r"part-0\.tar: member 'c\.jpg' claims")
bad(15, "key twice in a shard", lambda: tar_bytes(*pairs("a", "b"), *pairs("a")), r"duplicate id 'a'")
bad(18, "fields not together", lambda: tar_bytes(*sorted(pairs("a", "b"), key=lambda m: m[0][-4:])), r"'\w' do not lie")
bad(19, "dotted name", lambda: tar_bytes(*pairs("a", "b.v2")), r"'b\.v2\.jpg' has several dots")
bad(19, "hidden name", lambda: tar_bytes(*pairs("a", ".b")), r"'\.b\.jpg' is hidden")
bad(19, "hidden folder", lambda: tar_bytes(*pairs("a", ".x/b")), r"'\.x/b\.jpg' is hidden")
bad(19, "no extension", lambda: tar_bytes(*pairs("a"), ("b", b"x")), r"'b' has no extension")
bad(19, "newline in a name", lambda: tar_bytes(*pairs("a", "b\nc")), r"'b\\nc\.jpg' has a backslash or control")
bad(19, "picture of another format", lambda: tar_bytes(*pairs("a"), ("b.gif", b"x")), r"'b\.gif' is neither JPEG")
bad(20, "absolute name", lambda: tar_bytes(*pairs("a", "/etc/b")), r"'/etc/b\.jpg' leads out")
bad(20, "name with ..", lambda: tar_bytes(*pairs("a", "../b")), r"'\.\./b\.jpg' leads out")
bad(20, "name with .. inside", lambda: tar_bytes(*pairs("a", "x/../../b")), r"leads out")
bad(20, "name of a Windows drive", lambda: tar_bytes(*pairs("a", "C:\\b")), r"leads out")
for _title, _kind in (
    ("symbolic link", tarfile.SYMTYPE), ("hard link", tarfile.LNKTYPE), ("device", tarfile.CHRTYPE),
    ("block device", tarfile.BLKTYPE), ("FIFO", tarfile.FIFOTYPE), ("sparse file", tarfile.GNUTYPE_SPARSE),
):  # fmt: skip
    bad(21, _title, lambda kind=_kind: tar_bytes(*pairs("a"), ("b.jpg", b"", as_type(kind))), r"is a link, a device")
bad(22, "member of 2^50 bytes", lambda: with_size(2**50), r"'a\.jpg' claims 1125899906842624 bytes")
bad(22, "member of 2^80 bytes", lambda: with_size(2**80), r"'a\.jpg' claims")
bad(22, "member of -1 bytes", lambda: with_size(-1), r"'a\.jpg' claims -1 bytes")
bad(22, "member of -512 bytes", lambda: with_size(-512), r"'a\.jpg' claims -512 bytes")
for _suffix in ("pkl", "pickle", "pyd", "pth"):
    _payload = pickle.dumps(Canary())

    @row(23, f"member .{_suffix}")
    def _(place: Place, suffix: str = _suffix, payload: bytes = _payload) -> str | None:
        Canary.path.unlink(missing_ok=True)
        content = tar_bytes(*pairs("a"), (f"a.{suffix}", payload))
        wrong = refused(pack(place, content), "data", rf"'a\.{suffix}' can hold code, and is never read", place.out)
        return wrong or ("the pickle ran" if Canary.path.exists() else None)


@row(16, "key in two shards")
def _(place: Place) -> str | None:
    told = pack(place, tar_bytes(*pairs("a", "b")), tar_bytes(*pairs("c", "a")))
    return refused(told, "data", r"duplicate id 'a': .*part-0\.tar: a' and .*part-1\.tar: a'", place.out)


@row(17, "equal images under two keys are counted")
def _(place: Place) -> str | None:
    content = tar_bytes(("a.jpg", encoded(1)), ("a.json", RECORD), ("b.jpg", encoded(1)), ("b.json", RECORD))
    folder = place.folder / "tars"
    folder.mkdir()
    (folder / "x.tar").write_bytes(content)
    return taken(run(["pack", folder, f"--out={place.out}"]), r"1 exact copies")


@row(17, "equal images in two splits")
def _(place: Place) -> str | None:
    folder = face_folder(place.folder / "faces", "a.jpg", "b.jpg", "c.jpg")
    (folder / "b.jpg").write_bytes((folder / "a.jpg").read_bytes())
    labels = place.folder / "labels.csv"
    labels.write_text("image,rater,emotion,rating,part\na.jpg,r,Awe,1,train\nb.jpg,r,Awe,2,val\nc.jpg,r,Awe,2,val\n")
    words = ["pack", folder, f"--labels={labels}", "--columns.split=part", f"--out={place.out}", "--progress=false"]
    return refused(run([*words, "--splits", "train=0.5,val=0.5"]), "data", r"'a' must go to split 'train' and 'b' to")


@row(13, "pattern of names")
def _(place: Place) -> str | None:
    pattern = place.folder / "part-{000000..000009}.tar"
    return refused(
        run(["pack", pattern, f"--out={place.out}"]), "missing", r"part-\{000000\.\.000009\}\.tar: no such file"
    )


for _scheme in ("pipe:touch /tmp/emonet-canary-of-shards", "hf:owner/set", "gs://bucket/x.tar", "https://x.invalid/x.tar",
                "s3://bucket/x", "file:///etc/passwd", "data:,x"):  # fmt: skip
    for _command in ("pack", "verify", "embed", "fit"):

        @row(24, f"{_command} {_scheme}", quick=_command == "pack" or _scheme.startswith("pipe"))
        def _(place: Place, scheme: str = _scheme, command: str = _command) -> str | None:
            Canary.path.unlink(missing_ok=True)
            if command == "fit":
                words = [word for word in place.fit() if not word.startswith("--data.path")] + [f"--data.path={scheme}"]
            else:
                words = [command, scheme, *([f"--out={place.out}"] if command == "pack" else [])]
            name = scheme.partition(":")[0]
            told, known = run(words), scheme.startswith("hf:")  # one that looks like no address is known by its name
            says = (
                rf"'{name}:' is not read, only files and folders" if known else rf"'{name}:.*is an address; nothing is"
            )
            wrong = refused(told, "data" if known else "usage", says, place.out)
            return wrong or ("the command ran" if Canary.path.exists() else None)
