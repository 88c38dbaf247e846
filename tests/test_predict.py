"""EmotionRecognizer and `predict` on real tiny encoders, heads and images."""

import json
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from tiny_heads import TAXONOMY, tiny_encoder, tiny_heads

from emonet_lightning.bundle import HeadsBundle
from emonet_lightning.cli import main
from emonet_lightning.data.plan import cache_root
from emonet_lightning.encoders import EncoderSpec, encoder_fingerprint
from emonet_lightning.errors import DataError, EmoNetError, MissingInputError, OutputError, UsageError
from emonet_lightning.heads import EmotionHeads
from emonet_lightning.io import atomic_write, save_tensors
from emonet_lightning.packing.samples import RawSample
from emonet_lightning.packing.seals import state_root
from emonet_lightning.packing.shards import pack
from emonet_lightning.predict import EmotionRecognizer, predict_command
from emonet_lightning.recognizer import Predictions, load_bundle
from emonet_lightning.signed_json import sign
from emonet_lightning.taxonomy import Taxonomy


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> EncoderSpec:
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def bundle(encoder: EncoderSpec) -> HeadsBundle:
    return tiny_heads(encoder)


@pytest.fixture(scope="module")
def heads_dir(bundle: HeadsBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    bundle.save(folder)
    return folder


@pytest.fixture(scope="module")
def recognizer(heads_dir: Path) -> EmotionRecognizer:
    return EmotionRecognizer.load(heads_dir, device="cpu")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pictures, two of them in a subfolder."""
    folder = tmp_path_factory.mktemp("faces")
    (folder / "b").mkdir()
    rng = np.random.default_rng(0)
    for name in ("z.png", "a.png", "b/c.png", "b/d.webp", "m.jpg"):
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((180, 150)).save(folder / name, lossless=True)
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_bytes(b"no picture either")
    return folder


FILES = ["a.png", "b/c.png", "b/d.webp", "m.jpg", "z.png"]


def test_path_pil_array_and_bytes_of_one_picture_score_the_same(recognizer: EmotionRecognizer, faces: Path) -> None:
    path = faces / "a.png"
    picture = Image.open(path)
    given = [path, str(path), picture, np.asarray(picture), path.read_bytes()]
    predictions = recognizer(given)
    assert predictions.scores.shape == (5, 44)
    assert np.ptp(predictions.scores, axis=0).max() < 1e-5
    assert np.allclose(recognizer(path).scores, predictions.scores[:1], atol=1e-5)
    assert np.allclose(recognizer(np.stack([np.asarray(picture)] * 2)).scores, predictions.scores[:2], atol=1e-5)


def test_scores_are_heads_on_encoder_features_in_the_given_order_for_any_batch_size(
    recognizer: EmotionRecognizer, faces: Path
) -> None:
    paths = [faces / name for name in ("z.png", "a.png", "b/c.png")]
    together = recognizer(paths).scores
    for row, path in enumerate(paths):
        pixels = torch.from_numpy(recognizer.transform(np.array(Image.open(path).convert("RGB"))))[None]
        expected = recognizer.bundle.scores(recognizer.encoder(pixels)).numpy()
        assert np.allclose(together[row], expected[0], atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-3
    assert np.allclose(recognizer(paths, batch_size=2).scores, together, atol=1e-5)


def test_sideways_photo_is_turned_upright_as_file_and_as_pil_image(recognizer: EmotionRecognizer, faces: Path) -> None:
    upright = Image.open(faces / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = faces.parent / "turned.png"
    upright.transpose(Image.Transpose.ROTATE_90).save(turned, exif=exif)
    assert np.allclose(recognizer([turned, Image.open(turned)]).scores, recognizer(upright).scores, atol=1e-5)


def test_top_names_the_strongest_emotions_and_no_extra_dimension() -> None:
    scores = np.zeros((1, 44), np.float32)
    scores[0, TAXONOMY.index("Awe")], scores[0, TAXONOMY.index("Fear")] = 3, 2
    scores[0, TAXONOMY.index("Arousal")] = 7
    assert Predictions(scores, TAXONOMY).top(2) == [[("Awe", 3.0), ("Fear", 2.0)]]


def test_without_neutral_means_subtracted_scores_and_softmax_are_errors(
    bundle: HeadsBundle, faces: Path, tmp_path: Path
) -> None:
    replace(bundle, neutral_means=None).save(tmp_path / "heads")
    predictions = EmotionRecognizer.load(tmp_path / "heads", "cpu")(faces / "a.png")
    for name in ("mean_subtracted", "softmax"):
        with pytest.raises(DataError, match="without neutral means"):
            getattr(predictions, name)
    with pytest.raises(DataError, match="without neutral means"):
        predict_command(str(faces), str(tmp_path / "out.csv"), heads=str(tmp_path / "heads"), values="softmax")
    assert not (tmp_path / "out.csv").exists()


def test_heads_of_another_encoder_are_refused_with_both_fingerprints(
    heads_dir: Path, encoder: EncoderSpec, tmp_path: Path
) -> None:
    torch.manual_seed(9)
    save_tensors(tmp_path / "other.safetensors", timm.create_model("test_vit3", num_classes=0).state_dict())
    other = replace(encoder, weights=str(tmp_path / "other.safetensors"))
    with pytest.raises(DataError) as caught:
        EmotionRecognizer.load(heads_dir, "cpu", encoder=other)
    assert encoder_fingerprint(encoder)[:12] in str(caught.value)
    assert encoder_fingerprint(other)[:12] in str(caught.value)


def test_same_encoder_from_another_place_is_accepted(
    heads_dir: Path, encoder: EncoderSpec, tmp_path: Path, faces: Path, recognizer: EmotionRecognizer
) -> None:
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(Path(str(encoder.weights)).read_bytes())
    for given in ({"encoder": replace(encoder, weights=str(copy))}, {"weights": str(copy)}):
        moved = EmotionRecognizer.load(heads_dir, "cpu", **given)  # type: ignore[arg-type]
        assert np.allclose(moved(faces / "a.png").scores, recognizer(faces / "a.png").scores, atol=1e-5)


def test_heads_of_an_unfinished_run_are_those_of_its_latest_stage(bundle: HeadsBundle, tmp_path: Path) -> None:
    for age, stage in ((100, "pretrain"), (0, "finetune")):
        replace(bundle, training={"stage": stage}).save(tmp_path / stage)
        for path in (tmp_path / stage).iterdir():
            os.utime(path, (1e9 - age, 1e9 - age))
    assert load_bundle(tmp_path).training == {"stage": "finetune"}


def test_unrecorded_encoder_of_another_width_is_refused(bundle: HeadsBundle, tmp_path: Path) -> None:
    wide = HeadsBundle(
        EmotionHeads(44, 128, (4,)), TAXONOMY, {k: v for k, v in bundle.encoder.items() if k != "fingerprint"}
    )
    wide.save(tmp_path)
    with pytest.raises(DataError, match="take 128 features, the encoder gives 96"):
        EmotionRecognizer.load(tmp_path, "cpu")


def test_wrong_taxonomy_or_order_is_refused_at_load(heads_dir: Path, bundle: HeadsBundle, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="another taxonomy or order"):
        EmotionRecognizer.load(heads_dir, "cpu", taxonomy=Taxonomy.load("emonet40"))
    bundle.save(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    columns = manifest["taxonomy"]["dimensions"]
    columns[0], columns[1] = columns[1], columns[0]
    del manifest["sha256"]
    (tmp_path / "manifest.json").write_text(sign(json.dumps(manifest)))
    with pytest.raises(DataError, match="another taxonomy or order"):
        EmotionRecognizer.load(tmp_path, "cpu")


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_table_of_a_folder_is_keyed_by_path_and_holds_every_score(
    suffix: str,
    heads_dir: Path,
    faces: Path,
    tmp_path: Path,
    recognizer: EmotionRecognizer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "deep" / f"table{suffix}"
    predict_command(str(faces), str(out), heads=str(heads_dir), batch_size=2, device="cpu")
    table = {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".jsonl": lambda p: pd.read_json(p, lines=True)}[suffix](
        out
    )
    assert list(table.columns) == ["file", *TAXONOMY.slugs]
    assert list(table["file"]) == FILES
    expected = recognizer([faces / name for name in FILES]).scores
    assert np.allclose(table[TAXONOMY.slugs].to_numpy(), expected, atol=1e-5)
    assert "5 images" in capsys.readouterr().err
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_softmax_table_leaves_extra_dimensions_empty(heads_dir: Path, faces: Path, tmp_path: Path) -> None:
    predict_command(
        str(faces / "a.png"), str(tmp_path / "t.jsonl"), heads=str(heads_dir), values="softmax", device="cpu"
    )
    (row,) = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert row["file"] == "a.png"
    assert row["arousal"] is None
    assert sum(row[slug] for slug in TAXONOMY.slugs[:40]) == pytest.approx(1)


class _Faces:
    kind = "dense"
    licence = "CC0"
    name = "faces"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __len__(self) -> int:
        return len(FILES)

    def __getitem__(self, index: int) -> RawSample:
        content = (self.folder / FILES[index]).read_bytes()
        split = "val" if index < 2 else "train"
        return RawSample(f"face{index}", content, {"generated": {"awe": float(index)}}, split=split)


def test_packed_set_is_scored_by_key_whole_or_one_split(
    heads_dir: Path, faces: Path, tmp_path: Path, recognizer: EmotionRecognizer
) -> None:
    pack(_Faces(faces), tmp_path / "packed", TAXONOMY, hash_near_duplicates=False, progress=False)  # type: ignore[arg-type]
    packed = str(tmp_path / "packed")
    predict_command(packed, str(tmp_path / "all.parquet"), heads=str(heads_dir), device="cpu", progress=False)
    table = pd.read_parquet(tmp_path / "all.parquet").set_index("file")
    assert sorted(table.index) == [f"face{index}" for index in range(5)]
    assert np.allclose(table.loc["face3"].to_numpy(), recognizer(faces / FILES[3]).scores[0], atol=1e-5)
    predict_command(packed, str(tmp_path / "val.csv"), heads=str(heads_dir), device="cpu", split="val", progress=False)
    assert sorted(pd.read_csv(tmp_path / "val.csv")["file"]) == ["face0", "face1"]
    with pytest.raises(UsageError, match="no split 'vall'; did you mean 'val'"):
        predict_command(packed, str(tmp_path / "x.csv"), heads=str(heads_dir), split="vall")


def test_unreadable_image_stops_with_its_name_and_leaves_no_table(heads_dir: Path, faces: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(3):
        (images / f"{number}.png").write_bytes((faces / "a.png").read_bytes())
    (images / "1.png").write_bytes((faces / "a.png").read_bytes()[:200])
    with pytest.raises(DataError, match=r"^1\.png: not a readable"):
        predict_command(str(images), str(tmp_path / "out.csv"), heads=str(heads_dir), device="cpu")
    assert not (tmp_path / "out.csv").exists()
    predict_command(str(images), str(tmp_path / "out.csv"), heads=str(heads_dir), on_error="skip", device="cpu")
    assert list(pd.read_csv(tmp_path / "out.csv")["file"]) == ["0.png", "2.png"]
    (bad,) = [json.loads(line) for line in (tmp_path / "out.csv.bad_files.jsonl").read_text().splitlines()]
    assert bad["file"] == "1.png"
    assert "not a readable" in bad["error"]


def test_each_table_of_a_folder_keeps_its_own_list_of_unreadable_images(
    heads_dir: Path, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = [tmp_path / name for name in ("a.csv", "a.jsonl", "b.csv")]
    for number, out in enumerate(tables):
        images = tmp_path / f"images{number}"
        images.mkdir()
        (images / "good.png").write_bytes((faces / "a.png").read_bytes())
        (images / f"bad{number}.png").write_bytes(b"no picture")
        predict_command(str(images), str(out), heads=str(heads_dir), on_error="skip", device="cpu", progress=False)
        assert f"1 unreadable in {out}.bad_files.jsonl" in capsys.readouterr().err
    for number, out in enumerate(tables):
        (bad,) = [json.loads(line) for line in Path(f"{out}.bad_files.jsonl").read_text().splitlines()]
        assert bad["file"] == f"bad{number}.png"


def test_file_larger_than_an_image_is_refused_unread(
    heads_dir: Path, faces: Path, tmp_path: Path, recognizer: EmotionRecognizer
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.png").write_bytes((faces / "a.png").read_bytes())
    (images / "big.jpg").write_bytes(b"\xff\xd8")
    os.truncate(images / "big.jpg", 3 * 2**29)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"^big\.jpg: 1610612736 bytes; at most 67108864") as caught:
        predict_command(str(images), str(tmp_path / "out.csv"), heads=str(heads_dir), device="cpu", progress=False)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"big\.jpg: 1610612736 bytes"):
        recognizer(images / "big.jpg")
    predict_command(
        str(images), str(tmp_path / "out.csv"), heads=str(heads_dir), on_error="skip", device="cpu", progress=False
    )
    assert list(pd.read_csv(tmp_path / "out.csv")["file"]) == ["a.png"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KiB


def test_what_a_killed_call_left_of_this_table_is_removed_and_of_others_is_not(
    heads_dir: Path, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "out"
    with monkeypatch.context() as killed:  # a process that is killed removes nothing
        killed.setattr(os, "replace", kill)
        killed.setattr(Path, "unlink", lambda *_, **__: None)
        for name in ("a.csv", "a.csv", "a.csv.bad_files.jsonl", "b.csv", "ba.csv", "a.csv.b"):
            with pytest.raises(KeyboardInterrupt):
                atomic_write(folder / name, b"whole")
    assert len(list(folder.iterdir())) == 6
    predict_command(str(faces / "a.png"), str(folder / "a.csv"), heads=str(heads_dir), device="cpu", progress=False)
    kept = sorted(path.name for path in folder.iterdir())
    assert [name.rsplit(".", 2)[0] for name in kept[:-1]] == [".a.csv.b", ".b.csv", ".ba.csv"]
    assert kept[-1] == "a.csv"


def test_home_of_a_user_who_is_not_there_is_one_line(
    heads_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"--heads={heads_dir}", f"--out={tmp_path / 'out.csv'}", "--progress=false"]
    assert main(["predict", "~nosuchuser/x", *words]) == 66
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: ~nosuchuser/x: ")
    assert "full path" in said
    assert "\n" not in said
    monkeypatch.setenv("EMONET_CACHE", "~nosuchuser/cache")
    with pytest.raises(MissingInputError, match="~nosuchuser/cache: "):
        cache_root(None)
    monkeypatch.setenv("EMONET_STATE", "~nosuchuser/state")
    with pytest.raises(MissingInputError, match=r"^~nosuchuser/state: '~nosuchuser' is nobody's home"):
        state_root()


def test_bad_input_is_one_line_that_names_it(heads_dir: Path, faces: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "in_the_way").write_text("")
    (tmp_path / "folder.csv").mkdir()
    heads, out, image = str(heads_dir), str(tmp_path / "out.csv"), str(faces / "a.png")
    cases: list[tuple[type[EmoNetError], str, dict[str, str]]] = [
        (MissingInputError, "no such file or folder", {"input": str(tmp_path / "absent")}),
        (MissingInputError, "no images", {"input": str(tmp_path / "empty")}),
        (DataError, "notes.txt: not a readable", {"input": str(faces / "notes.txt")}),
        (UsageError, "'.csv'", {"out": str(tmp_path / "out.cvs")}),
        (OutputError, "in_the_way", {"out": str(tmp_path / "in_the_way" / "out.csv"), "heads": "read later"}),
        (OutputError, "folder.csv", {"out": str(tmp_path / "folder.csv"), "heads": "read later"}),
        (MissingInputError, "absent", {"heads": str(tmp_path / "absent")}),
        (MissingInputError, "no heads were exported", {"heads": str(tmp_path / "empty")}),
        (UsageError, "either --run DIR or --heads DIR", {"run": heads}),
        (UsageError, "device 'gpu'", {"device": "gpu"}),
    ]
    for kind, text, changed in cases:
        with pytest.raises(kind) as caught:
            predict_command(**({"input": image, "out": out, "heads": heads} | changed))
        assert text in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.csv").exists()


def test_wrong_array_is_named_with_its_type_and_shape(recognizer: EmotionRecognizer) -> None:
    with pytest.raises(DataError, match=r"image 1: .* got float64 \[8, 8, 3\]"):
        recognizer([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3))])


def test_recognizer_works_without_importing_lightning(heads_dir: Path, faces: Path) -> None:
    code = (
        "import sys\n"
        "from emonet_lightning.predict import EmotionRecognizer\n"
        f"print(EmotionRecognizer.load({str(heads_dir)!r}, 'cpu')({str(faces / 'a.png')!r}).scores.shape)\n"
        "import emonet_lightning.export\n"
        "print(sorted({n.split('.')[0] for n in sys.modules} & {'lightning', 'pytorch_lightning'}))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, timeout=120)
    assert result.stdout.splitlines() == ["(1, 44)", "[]"], result.stderr


def test_command_line_writes_the_values_that_were_asked_for(heads_dir: Path, faces: Path, tmp_path: Path) -> None:
    written = {}
    for values in ("scores", "mean_subtracted", "softmax"):
        out = tmp_path / f"{values}.csv"
        words = ["predict", str(faces), f"--heads={heads_dir}", f"--out={out}", "--device=cpu", f"--values={values}"]
        assert main([*words, "--progress=false"]) == 0
        written[values] = pd.read_csv(out).drop(columns="file").to_numpy()
    assert not np.allclose(written["scores"], written["mean_subtracted"])
    assert np.allclose(np.nansum(written["softmax"], axis=1), 1, atol=1e-6)


def test_pictures_of_other_formats_are_named_when_left_out(
    heads_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.gif", "c.bmp"):
        Image.new("RGB", (40, 40), "grey").save(tmp_path / "in" / name)
    predict_command(str(tmp_path / "in"), str(tmp_path / "t.csv"), heads=str(heads_dir), device="cpu", progress=False)
    assert "left out" in (said := capsys.readouterr().err)
    assert "1 .bmp, 1 .gif" in said
