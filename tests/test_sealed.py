"""Honest testing: sealed images are refused under any name, every test is counted, test figures choose nothing."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from toy_faces import TAXONOMY, encoded

from emonet_lightning.cli import main
from emonet_lightning.errors import DataError
from emonet_lightning.io import sha256_bytes
from emonet_lightning.packing import ledger, seals
from emonet_lightning.packing.commands import pack_command
from emonet_lightning.packing.samples import RawSample
from emonet_lightning.packing.shards import PackedSet, pack
from emonet_lightning.synthesis.faces import RenderedFaces

QUICK = ["--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.max_epochs=1", "--model.widths=[8]",
         "--trainer.enable_progress_bar=false", "--figures=false", "--num_draws=20"]  # fmt: skip
SPLITS = {"train": 0.6, "val": 0.4}


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch, small_sets):
    """A state folder of this test's own, that knows the sealed `hq`."""
    monkeypatch.setenv("EMONET_STATE", str(tmp_path / "state"))
    PackedSet.open(small_sets["hq"])
    return tmp_path / "state"


@pytest.fixture
def sealed_copy(small_sets, tmp_path):
    """The sealed set in a folder of the test's own, with a ledger of its own."""
    return Path(shutil.copytree(small_sets["hq"], tmp_path / "hq", ignore=shutil.ignore_patterns("*.jsonl")))


class Images:
    """Bare images of a packed set, under new names, with one dense label each."""

    licence, name, kind = "CC0-1.0", "borrowed", "dense"

    def __init__(self, *sources, rename="face"):
        self.rows = [(packed, row) for packed, rows in sources for row in rows]
        self.rename = rename

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        packed, row = self.rows[index]
        return RawSample(f"{self.rename}{index:04d}", packed.read_image(row), {"me": {"awe": float(index % 8)}})


def repacked(out, *sources, splits=SPLITS):
    return pack(Images(*sources), out, TAXONOMY, splits=splits, hash_near_duplicates=False, progress=False).path


def words(path, encoder_options, *more, data="SyntheticFaces"):
    return [f"--data={data}", f"--data.path={path}", *QUICK, *encoder_options, *more]


@pytest.fixture
def refused(tmp_path, capsys, encoder_options, trained):
    """Run `fit` and `validate` on a set: both must end with one line and code 65, before anything is encoded."""

    def run(path, *more, data="SyntheticFaces", command="both"):
        lines, cache = [], tmp_path / "cache"
        options = [*words(path, encoder_options, *more, data=data), f"--data.cache_dir={cache}"]
        if command in ("both", "fit"):
            assert main(["fit", *options, f"--out={tmp_path / 'run'}"]) == 65
            lines.append(capsys.readouterr().err.strip().splitlines()[-1])
        if command in ("both", "validate"):
            options = [*options, f"--model.init_heads_from={trained[0]}", f"--out={tmp_path / 'run'}"]
            assert main(["validate", *options]) == 65
            lines.append(capsys.readouterr().err.strip().splitlines()[-1])
        assert not (tmp_path / "run").exists()
        assert not list(cache.rglob("*")), "something was encoded"
        return lines

    return run


def test_a_sealed_set_is_neither_trained_nor_validated_on_whole_or_in_folds(refused, small_sets):
    for folds in ([], ["--data.num_folds=3", "--data.val_share=0.3"]):
        fit, validate = refused(small_sets["hq"], *folds, data="ExpertRatings")
        assert "this set is sealed, for testing only; train on another" in fit
        assert "this set is sealed, for testing only; validate on another" in validate


def test_a_copy_and_a_renamed_copy_of_a_sealed_set_are_refused(refused, sealed_copy, small_sets, monkeypatch, tmp_path):
    for line in refused(sealed_copy, data="ExpertRatings"):
        assert "this set is sealed" in line
    # edited: the manifest no longer says that it is sealed, and its digest was made anew
    text = (sealed_copy / "manifest.json").read_text().replace('"sealed": true', '"sealed": false')
    text = text.replace('"test": 150', '"train": 75, "val": 75').replace('"hq"', '"mine"')
    head, mark, _ = text.rpartition('"sha256": "')
    index = json.loads(text)["index"]["split"]
    assert set(index) == {"test"}
    head = head.replace(json.dumps(index), json.dumps(["train", "val"] * 75))
    (sealed_copy / "manifest.json").write_text(f'{head}{mark}{sha256_bytes((head + mark).encode())}"\n}}\n')
    assert not PackedSet.open(sealed_copy).sealed
    for line in refused(sealed_copy.rename(tmp_path / "mine"), data="ExpertRatings"):
        assert "sealed test set" in line
        assert str(small_sets["hq"]) in line


def test_a_sealed_set_packed_again_without_its_seal_is_refused(refused, small_sets, tmp_path):
    hq = PackedSet.open(small_sets["hq"])
    path = repacked(tmp_path / "again", (hq, range(150)))
    fit, validate = refused(path)
    assert f"{path}: 150 of the 150 images to train or validate on (e.g. 'face0000') are those of the sealed" in fit
    assert "pack the set again without them" in fit
    assert "60 of the 60" in validate
    (fit,) = refused(path, "--data.num_folds=3", "--data.val_share=0.3", command="fit")
    assert "are those of the sealed" in fit


def test_a_few_sealed_images_among_many_others_are_refused_in_either_split(refused, small_sets, tmp_path):
    hq, big = (PackedSet.open(small_sets[name]) for name in ("hq", "big"))
    path = repacked(tmp_path / "mixed", (big, range(160)), (hq, range(7)))
    assert "7 of the 167 images" in refused(path, command="fit")[0]
    splits = PackedSet.open(path).splits
    hidden = {name: int((rows >= 160).sum()) for name, rows in splits.items()}
    assert 0 < hidden["val"] < 7, "the example should have some in both splits"
    assert f"{hidden['val']} of the {len(splits['val'])} images" in refused(path, command="validate")[0]
    # a combination is looked at part by part
    parts = [{"path": str(small_sets["big"])}, {"path": str(path)}]
    (line,) = refused(path, "--data=CombinedFaces", f"--data.parts={json.dumps(parts)}", command="fit")
    assert "7 of the 167 images" in line


def test_other_images_and_sealed_ones_that_only_test_are_free(small_sets, encoder_options, tmp_path):
    hq, big = (PackedSet.open(small_sets[name]) for name in ("hq", "big"))

    class Own(Images):
        def __getitem__(self, index):
            split = "test" if index >= 160 else "val" if index % 16 < 4 else "train"
            return super().__getitem__(index)._replace(split=split)

    path = pack(Own((big, range(160)), (hq, range(7))), tmp_path / "set", TAXONOMY, splits={}, progress=False).path
    test = ["--test_data=ExpertRatings", f"--test_data.path={small_sets['hq']}"]
    assert main(["fit", *words(path, encoder_options, *test), f"--out={tmp_path / 'run'}"]) == 0
    assert main(["validate", f"--run={tmp_path / 'run'}", *QUICK[:2]]) == 0


def test_within_one_run_the_seal_holds_without_a_state_folder(
    small_sets, encoder_options, tmp_path, monkeypatch, capsys
):
    path = repacked(tmp_path / "again", (PackedSet.open(small_sets["hq"]), range(150)))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EMONET_STATE", str(tmp_path / "file" / "state"))
    seals.warn_once.cache_clear()
    test = ["--test_data=ExpertRatings", f"--test_data.path={small_sets['hq']}"]
    assert main(["fit", *words(path, encoder_options, *test), f"--out={tmp_path / 'run'}"]) == 65
    *_, line = capsys.readouterr().err.strip().splitlines()
    assert "sealed test set" in line
    assert not (tmp_path / "run").exists()
    # also when another stage tests on it
    stages = [
        {"name": "a", "overrides": {"data": {"class_path": "SyntheticFaces", "init_args": {"path": str(path)}}}},
        {
            "name": "b",
            "overrides": {
                "data": {"class_path": "SyntheticFaces", "init_args": {"path": str(small_sets["big"])}},
                "test_data": {"class_path": "ExpertRatings", "init_args": {"path": str(small_sets["hq"])}},
            },
        },
    ]
    (tmp_path / "two.yaml").write_text(yaml.safe_dump({"stages": stages}))
    arguments = [f"--config={tmp_path / 'two.yaml'}", *QUICK, *encoder_options, f"--out={tmp_path / 'run'}"]
    assert main(["fit", *arguments]) == 65
    assert "sealed test set" in capsys.readouterr().err
    seals.warn_once.cache_clear()
    # without it, a run on honest data works, and says what it could not look up
    assert main(["fit", *words(small_sets["big"], encoder_options), f"--out={tmp_path / 'run'}"]) == 0
    assert "copies of sealed sets are not recognised" in capsys.readouterr().err


def test_packing_with_a_seal_remembers_the_images_once(state, tmp_path, small_sets):
    before = {path.name: path.read_bytes() for path in (state / "seals").iterdir()}
    assert len(before) == 1
    source = RenderedFaces("hq", count=20, seed=5)
    packed = pack(source, tmp_path / "new", TAXONOMY, sealed=True, progress=False)
    (new,) = {path.name for path in (state / "seals").iterdir()} - before.keys()
    known = next(seal for seal in seals.registered() if seal.path == str(tmp_path / "new"))
    assert known.images == {digest[:32] for digest in packed.image_sha256}
    again = pack(source, tmp_path / "again", TAXONOMY, sealed=True, progress=False)
    assert again.sealed
    assert {path.name for path in (state / "seals").iterdir()} == {*before, new}
    assert not [path for path in (state / "seals").iterdir() if path.suffix != ".json"]


def test_packing_goes_on_where_no_seal_can_be_kept_and_says_so(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0.jpg").write_bytes(encoded(0))
    (tmp_path / "ratings.csv").write_text("image,rater,emotion,rating\n0.jpg,a,Awe,1\n")
    words = ["pack", "images", "--out=set", "--labels=ratings.csv", "--sealed=true", "--progress=false"]
    done = subprocess.run(  # in a process of its own: there Lightning is not imported
        [sys.executable, "-m", "emonet_lightning", *words],
        cwd=tmp_path,
        env={**os.environ, "EMONET_STATE": "ratings.csv/state", "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    (line,) = done.stderr.strip().splitlines()
    assert "copies of the sealed set 'images' cannot be recognised in later runs" in line
    assert done.returncode == 0


def test_a_damaged_seal_is_told_and_renewed_when_the_set_is_opened(state, small_sets, capsys):
    (path,) = (state / "seals").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-200])
    seals.warn_once.cache_clear()
    assert seals.registered() == []
    assert "open the sealed set (`verify`) to renew it" in capsys.readouterr().err
    assert main(["verify", str(small_sets["hq"]), "--progress=false"]) == 0
    assert path.read_bytes() == whole


def test_two_hundred_thousand_images_are_compared_with_many_seals_within_a_second():
    digests = [sha256_bytes(str(number).encode()) for number in range(228_000)]
    rows = np.arange(203_000)
    big = SimpleNamespace(name="big", path=Path("big"), keys=rows.astype(str).tolist(), image_sha256=digests[:203_000])
    short = [digest[:32] for digest in digests]
    many = [seals.Seal("hq", "hq", frozenset(short[n : n + 2_500])) for n in range(203_000, 228_000, 2_500)]
    start = time.perf_counter()
    seals.refuse_sealed(big, rows, many)
    assert time.perf_counter() - start < 1
    many.append(seals.Seal("last", "hq", frozenset([short[202_999]])))
    with pytest.raises(DataError, match=r"1 of the 203,000 images .*'202999'.* sealed test set 'last'"):
        seals.refuse_sealed(big, rows, many)


# -- the ledger ------------------------------------------------------------------------------------------------------


def entries(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_test_is_counted_beside_the_set_and_told_in_report_and_table(
    sealed_copy, small_sets, encoder_options, tmp_path, capsys
):
    run = tmp_path / "runs" / "first"
    test = ["--test_data=ExpertRatings", f"--test_data.path={sealed_copy}"]
    assert main(["fit", *words(small_sets["big"], encoder_options, *test), f"--out={run}"]) == 0
    assert "was used once (1 set of heads)" in (run / "report.md").read_text()
    assert "was used once" in " ".join(capsys.readouterr().out.split())
    assert not (run / "figures").exists(), "--figures=false"
    for report in ("report.md", "agreement.md"):
        text = (run / report).read_text()
        assert "## Emotions" in text
        assert "![" not in text
    results = (run / "results.json").read_bytes()
    assert main(["test", f"--run={run}", *QUICK[:2], *QUICK[-3:]]) == 0
    assert "was used 2 times (1 set of heads)" in " ".join(capsys.readouterr().out.split())
    assert (run / "results.json").read_bytes() == results, "results do not hold the count"
    other = [*words(small_sets["big"], encoder_options, *test), "--seed_everything=1", f"--out={tmp_path / 'second'}"]
    assert main(["fit", *other]) == 0
    assert "was used 3 times (2 different heads)" in (tmp_path / "second" / "report.md").read_text()
    moved = shutil.copytree(small_sets["big"], tmp_path / "moved")
    assert main(["fit", *words(moved, encoder_options, *test), f"--out={tmp_path / 'third'}"]) == 0
    first, second, third, fourth = found = entries(sealed_copy / ledger.LEDGER_FILE)
    assert [entry["use"] for entry in found] == [1, 2, 3, 4]
    assert (first["config"], first["heads"]) == (fourth["config"], fourth["heads"]), "where a set lies is no option"
    assert first["heads"] == second["heads"] != third["heads"]
    assert first["config"] != third["config"]
    assert first["run"] == "runs/first"
    assert {entry["split"] for entry in found} == {"test"}
    assert {entry["set"] for entry in found} == {PackedSet.open(sealed_copy).digest}
    assert all(entry["time"].endswith("+00:00") and entry["num_samples"] == 150 for entry in found)
    assert PackedSet.open(sealed_copy).verify(progress=False).num_samples == 150


def record(path, number, split="test"):
    packed = PackedSet.open(path)
    return ledger.record_test(packed, packed.splits[split], run=f"r{number}", config="c", heads=f"h{number % 3}")


def test_splits_and_sets_are_counted_apart_and_sets_that_are_not_sealed_too(small_sets, tmp_path):
    path = Path(shutil.copytree(small_sets["big"], tmp_path / "big"))
    assert [record(path, n, "train").num_uses for n in range(3)] == [1, 2, 3]
    assert record(path, 3, "val")[1:] == ("val", 1, 1)
    packed = PackedSet.open(path)
    part = ledger.record_test(packed, np.arange(5), run="r", config="c", heads="h")
    assert part.num_uses == 1
    assert part.split.startswith("5 rows ")
    assert record(path, 4, "train")[2:] == (4, 3)


def test_parts_of_a_sealed_set_are_counted_together(sealed_copy):
    packed = PackedSet.open(sealed_copy)
    for number, rows in enumerate((np.arange(75), np.arange(75, 150), packed.splits["test"], np.arange(75)), 1):
        assert ledger.record_test(packed, rows, run="r", config="c", heads="h").num_uses == number


def test_lines_that_are_no_tests_are_passed_over(sealed_copy):
    record(sealed_copy, 0)
    digest, path = PackedSet.open(sealed_copy).digest, sealed_copy / ledger.LEDGER_FILE
    odd = [b"\xff\xfe", b"null", b"[1]", json.dumps({"set": digest, "split": "test", "heads": [1]}).encode()]
    with path.open("ab") as stream:
        stream.write(b"\n".join(odd))
    assert record(sealed_copy, 1)[2:] == (2, 2)
    assert path.read_bytes().splitlines()[1:-1] == odd


def test_a_line_broken_off_by_a_kill_stays_and_costs_no_other(sealed_copy):
    record(sealed_copy, 0)
    path = sealed_copy / ledger.LEDGER_FILE
    broken = b'{"time": "2026-01-01T00:00:00+00:00", "run": "r'
    with path.open("ab") as stream:
        stream.write(broken)
    assert record(sealed_copy, 1).num_uses == 2
    lines = path.read_bytes().splitlines()
    assert lines[1] == broken
    assert json.loads(lines[2])["use"] == 2


def _record_many(path, number, state):
    os.environ["EMONET_STATE"] = state
    for _ in range(25):
        record(path, number)


def test_writers_at_once_lose_nothing_and_each_has_its_number(sealed_copy, state):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_record_many, args=(sealed_copy, n, str(state))) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    found = entries(sealed_copy / ledger.LEDGER_FILE)
    assert [entry["use"] for entry in found] == list(range(1, 101))
    assert {entry["run"]: sum(e["run"] == entry["run"] for e in found) for entry in found} == dict.fromkeys(
        ("r0", "r1", "r2", "r3"), 25
    )


def test_a_killed_writer_leaves_a_ledger_that_the_next_one_goes_on_with(sealed_copy, state):
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_sealed as t\n"
    code += f"while True: t.record(t.Path({str(sealed_copy)!r}), 0)"
    writer = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "EMONET_STATE": str(state)})
    path = sealed_copy / ledger.LEDGER_FILE
    deadline = time.monotonic() + 30
    while (not path.is_file() or path.stat().st_size < 3000) and time.monotonic() < deadline:
        time.sleep(0.02)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    whole = len(path.read_bytes().splitlines())
    assert whole > 5
    assert record(sealed_copy, 1).num_uses == whole + 1


def test_beside_a_set_that_cannot_be_written_the_state_folder_counts(sealed_copy, state, capsys):
    record(sealed_copy, 0)
    path = sealed_copy / ledger.LEDGER_FILE
    seals.warn_once.cache_clear()
    kept = path.read_bytes()
    path.unlink()
    path.mkdir()  # who may write anything (root) cannot append to a folder either
    assert record(sealed_copy, 1).num_uses == 1
    apart = state / "ledgers" / f"{PackedSet.open(sealed_copy).digest}.jsonl"
    assert f"this test is counted in {apart}" in capsys.readouterr().err
    assert record(sealed_copy, 2).num_uses == 2
    assert capsys.readouterr().err == "", "once is enough"
    path.rmdir()
    path.write_bytes(kept)
    assert record(sealed_copy, 3)[2:] == (4, 3), "both are counted"
    assert len(entries(apart)) == 2


def test_a_test_goes_on_where_no_ledger_can_be_written(
    sealed_copy, trained, encoder_options, tmp_path, monkeypatch, capsys
):
    (sealed_copy / ledger.LEDGER_FILE).mkdir()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EMONET_STATE", str(tmp_path / "file" / "state"))
    options = words(sealed_copy, encoder_options, f"--model.init_heads_from={trained[0]}", data="ExpertRatings")
    assert main(["test", *options, f"--out={tmp_path / 'out'}"]) == 0
    told = capsys.readouterr()
    assert "this test is not counted anywhere" in told.err
    assert "was used" not in told.out
    assert (tmp_path / "out" / "results.json").is_file()


# -- figures of test data choose nothing -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("callback", "figure"),
    [
        ("EarlyStopping", "test/spearman"),
        ("EarlyStopping", "val/oracle_kappa_binned"),
        ("ModelCheckpoint", "oracle_kappa_binned"),
    ],
)
def test_a_figure_of_test_data_cannot_be_monitored(small_sets, encoder_options, tmp_path, capsys, callback, figure):
    init = {"monitor": figure, **({"dirpath": "test/x"} if callback == "ModelCheckpoint" else {})}
    trainer = {"callbacks": [{"class_path": f"lightning.pytorch.callbacks.{callback}", "init_args": init}]}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"trainer": trainer}))
    run = ["fit", f"--config={config}", *words(small_sets["big"], encoder_options), f"--out={tmp_path / 'run'}"]
    assert main(run) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"monitor: '{figure}' is a figure of test data; monitor one of validation, as val/score" in line
    assert not (tmp_path / "run").exists()


def test_a_figure_of_validation_can_be_monitored(small_sets, encoder_options, tmp_path):
    init = {"monitor": "val/score", "mode": "max"}
    trainer = {"callbacks": [{"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": init}]}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"trainer": trainer}))
    run = ["fit", f"--config={config}", *words(small_sets["big"], encoder_options), f"--out={tmp_path / 'run'}"]
    assert main(run) == 0


def test_packing_what_several_rated_offers_the_seal(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    rows = ["image,rater,emotion,rating"]
    for number in range(6):
        (tmp_path / "images" / f"{number}.jpg").write_bytes(encoded(number))
        rows += [f"{number}.jpg,{rater},Awe,{number}" for rater in ("a", "b")]
    (tmp_path / "ratings.csv").write_text("\n".join(rows) + "\n")
    options = {"labels": str(tmp_path / "ratings.csv"), "num_processes": 1}
    pack_command(str(tmp_path / "images"), str(tmp_path / "open"), **options)
    assert "pack it with --sealed" in capsys.readouterr().out
    pack_command(str(tmp_path / "images"), str(tmp_path / "sealed"), sealed=True, **options)
    assert "--sealed" not in capsys.readouterr().out


def test_neutral_means_are_not_taken_from_the_faces_of_the_test(small_sets, encoder_options, tmp_path, capsys):
    shutil.copytree(small_sets["hq"], tmp_path / "calm")
    words = ["fit", "--data=SyntheticFaces", f"--data.path={small_sets['big']}", "--test_data=ExpertRatings"]
    words += [f"--test_data.path={small_sets['hq']}", f"--neutral={tmp_path / 'calm'}", f"--out={tmp_path / 'run'}"]
    assert main([*words, *QUICK, *encoder_options]) == 65
    assert "sealed test set" in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "run").exists()
