"""Small or large files of settings, tables and weights that unpack to gigabytes: refused within 5 s, below 1 GiB."""

import io
import json
import struct
import zipfile

import bad_inputs
import forking
import limits
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from campaign import run_campaign
from config_mutations import TEXT
from safetensors.torch import load_file
from small_inputs import face_folder

SECONDS, GIB = 5.0, 2**30
QUICK = ("yaml, aliases", "json, brackets", "safetensors, header of 2^60 bytes", "pth, one number as a million rows")


def safetensors(header, length=None):
    """A safetensors file with that header, or one that says it has."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text


def saved(content):
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def deflated(content, zeros):
    """A PyTorch file of which one record is so many zeros, packed."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new:
        first = next(entry for entry in old.infolist() if "/data/" in entry.filename)
        for entry in old.infolist():
            with new.open(entry.filename, "w", force_zip64=True) as member:
                if "/data/" in entry.filename:
                    for _ in range(zeros // 2**20 if entry is first else 1):
                        member.write(bytes(2**20))
                else:
                    member.write(old.read(entry))
    return stream.getvalue()


def doubled(levels):
    """A pickle of a list of twice a list of twice ..., as a PyTorch file."""
    inner = [0] * 10
    for _ in range(levels):
        inner = [inner, inner]
    return saved({"more": inner})


def packed_column():
    """A parquet file of 2 GiB of one letter, in a few hundred KB."""
    stream = io.BytesIO()
    table = pa.table({"image": pa.array(["x" * 2**20] * 256)})
    parquet.write_table(pa.concat_tables([table] * 8), stream, compression="zstd", use_dictionary=False)
    return stream.getvalue()


@pytest.fixture(scope="module")
def bombs(place, small_sets, encoder_options, small_encoder):
    """Words of a command by name; each makes its file in a folder."""
    scene = bad_inputs.Place(place / "settings", small_sets, encoder_options)
    told = bad_inputs.run([*scene.fit("--export=[released]"), f"--out={scene.folder / 'run'}"])
    assert told.code == 0, told.stderr[-800:]
    state = load_file(small_encoder)
    name = next(iter(state))
    found = {}

    def enter(title, file, content, *words):
        """`FILE` in the words stands for the file; what makes the content is called when its turn comes."""

        def make(folder):
            path = folder / file
            path.write_bytes(content() if callable(content) else content)
            return [str(word).replace("FILE", str(path)).replace("FOLDER", str(folder)) for word in words]

        found[title] = make

    config = [*scene.fit()[:-1], "--out=FOLDER/out", "--config=FILE"]
    taxonomy = [*scene.fit()[:-1], "--out=FOLDER/out", "--model.taxonomy=FILE"]
    weights = [*scene.fit()[:-1], "--out=FOLDER/out", "--model.encoder.weights=FILE"]
    checkpoint = [*scene.fit()[:-1], "--out=FOLDER/out", "--ckpt_path=FILE"]
    heads = ["predict", str(small_sets["big"]), "--out=FOLDER/o.csv", "--heads=FOLDER"]
    bomb = TEXT["alias bomb"]
    drawn = type("Drawn", (), {"randint": staticmethod(lambda a, b: b), "choice": staticmethod(lambda c: c[-1])})
    enter("yaml, aliases", "c.yaml", bomb(drawn, b""), *config)
    enter("yaml, aliases in a taxonomy", "c.yaml", bomb(drawn, b"name: mine\n"), *taxonomy)
    enter("yaml, brackets", "c.yaml", b"neutral: " + b"[" * 900_000, *config)
    enter("yaml, 500 MB", "c.yaml", lambda: b"neutral: a\n#" + b"x" * 500_000_000, *config)
    merged = "a0: &a0 {x0: 1}\n" + "".join(
        f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 10)
    )
    enter("yaml, merged mappings", "c.yaml", merged.encode(), *config)
    enter("yaml, a number of a million digits", "c.yaml", b"neutral: " + b"9" * 990_000, *config)
    enter("json, brackets", "manifest.json", b"[" * 50_000_000, *heads)
    enter("json, a number of 30 million digits", "manifest.json", b'{"format": ' + b"9" * 30_000_000 + b"}", *heads)
    enter("safetensors, header of 2^60 bytes", "w.safetensors", safetensors({}, 2**60), *weights)
    enter("safetensors, header of 90 MB", "w.safetensors", lambda: safetensors(b"[" * 90_000_000), *weights)
    huge = {name: {"dtype": "F32", "shape": [2**30, 2**30], "data_offsets": [0, 2**62]}}
    enter("safetensors, tensor of 2^62 bytes", "w.safetensors", safetensors(huge), *weights)
    overlapping = {f"t{n}": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in range(100_000)}
    enter("safetensors, 100,000 tensors of one number", "w.safetensors", safetensors(overlapping) + bytes(4), *weights)
    wide = torch.zeros(1).expand(2**20, 2**20)
    enter("pth, one number as a million rows", "w.pth", saved({**state, name: wide}), *weights)
    enter("checkpoint, one number as a million rows", "a.ckpt", saved({"state_dict": {name: wide}}), *checkpoint)
    enter("pth, 2 GiB of zeros packed", "w.pth", lambda: deflated(saved(state), 2 * GIB), *weights)
    enter("pth, a list of 2^40 numbers", "w.pth", doubled(40), *weights)
    enter("checkpoint, a list of 2^40 numbers", "a.ckpt", doubled(40), *checkpoint)
    enter(
        "pickle, a claimed string of 2^62 bytes", "w.pth", b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x.", *weights
    )
    enter("pickle, memo of 2^31", "w.pth", b"\x80\x02Nr" + struct.pack("<I", 2**31) + b".", *weights)

    def of_heads(folder):
        released = next(scene.folder.rglob("model_anger_best.pth")).parent
        for path in released.glob("model_*.pth"):
            (folder / path.name).write_bytes(path.read_bytes())
        inner = torch.load(folder / "model_anger_best.pth", weights_only=True)
        key = next(iter(inner))
        (folder / "model_anger_best.pth").write_bytes(saved({**inner, key: torch.zeros(1).expand(2**20, 2**20)}))
        return [*heads[:-1], f"--heads={folder}", "--encoder.name=embedded"]

    def of_table(content, name):
        def make(folder):
            images = face_folder(folder / "images", "a.jpg", "b.jpg", "c.jpg") or folder / "images"
            path = folder / name
            path.write_bytes(content())
            return ["pack", str(images), f"--labels={path}", f"--out={folder / 'out'}", "--progress=false"]

        return make

    found["released heads, one number as a million rows"] = lambda folder: of_heads(folder) and [
        *heads[:2], f"--out={folder / 'o.csv'}", f"--heads={folder}"]  # fmt: skip
    found["csv, a field of 200 MB"] = of_table(lambda: b"image,Awe\n" + b"x" * 200_000_000 + b",1\n", "l.csv")
    found["csv, 5 million columns"] = of_table(lambda: b"image" + b",a" * 5_000_000 + b"\n", "l.csv")
    found["csv, an open quote over 200 MB"] = of_table(lambda: b'image,Awe\n"' + b"a,1\n" * 50_000_000, "l.csv")
    found["parquet, 2 GiB of one letter"] = of_table(packed_column, "l.parquet")
    return found


def test_bombs_in_settings_tables_and_weights(bombs, tmp_path, full):
    names = list(bombs) if full else list(QUICK)

    def run(name):
        folder = tmp_path / str(names.index(name))
        folder.mkdir()
        words = bombs[name](folder)
        child = forking.start(words, env={limits.NOTE: str(folder / "note")}, target=limits.limited)
        code = child.wait(60)
        told = json.loads((folder / "note").read_text())
        errors = [line for line in child.said().splitlines() if line.startswith("error:")]
        plain = code in (2, 65) and len(errors) == 1 and "Traceback" not in child.said()
        ok = plain and told["seconds"] < SECONDS and told["peak"] < GIB
        said = errors[:2] or child.said()[-600:]
        return {
            "ok": ok,
            "code": code,
            "took": told["seconds"],
            "peak_mib": told["peak"] / 2**20,
            "said": str(said)[:600],
        }

    tally = run_campaign("settings_bombs", names, run, full=full)
    assert tally.failed == []
