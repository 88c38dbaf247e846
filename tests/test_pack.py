"""Packing: equal bytes however it is done, and wrong samples refused by name."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from toy_faces import SPLITS, Listed, ToyFaces, digests, encoded, pack_toy

from emonet_lightning.errors import DataError, MissingInputError, OutputError, UsageError
from emonet_lightning.io import sha256_file
from emonet_lightning.packing import shards
from emonet_lightning.packing.claiming import claimed
from emonet_lightning.packing.commands import pack_command, verify_command
from emonet_lightning.packing.shard_writer import read_notes
from emonet_lightning.packing.shards import PackedSet, RawSample


def test_packing_twice_and_with_two_processes_gives_equal_bytes(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MIN_IMAGES_PER_PROCESS", 1)
    pack_toy(tmp_path / "again")
    pack_toy(tmp_path / "two", num_processes=2)
    expected = digests(packed.path)
    assert list(expected) == ["manifest.json", "ratings.parquet", *(f"shard-{n:06d}.tar" for n in range(4))]
    assert digests(tmp_path / "again") == expected
    assert digests(tmp_path / "two") == expected


def test_a_killed_run_resumes_with_its_finished_shards_and_ends_with_equal_bytes(packed, tmp_path):
    out = tmp_path / "set"
    script = (
        "from toy_faces import *; from emonet_lightning.packing.shards import pack; "
        f"pack(ToyFaces(delay=0.02), {str(out)!r}, TAXONOMY, splits={SPLITS}, shard_size=16, progress=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parent)
    deadline = time.monotonic() + 60
    while not (out / ".packing" / "shard-000001.json").is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "manifest.json").exists()
    with pytest.raises(MissingInputError, match="packing did not finish"):
        PackedSet.open(out)
    before = os.stat(out / "shard-000000.tar").st_mtime_ns
    pack_toy(out, ToyFaces())
    assert os.stat(out / "shard-000000.tar").st_mtime_ns == before
    assert digests(out) == digests(packed.path)


def test_a_second_call_waits_for_the_first_and_finds_its_work_done(packed, tmp_path, capsys):
    threads = [threading.Thread(target=pack_toy, args=(tmp_path, ToyFaces(delay=0.01)), kwargs={"progress": True})]
    threads[0].start()
    while not (tmp_path / ".packing" / "plan.json").is_file():
        time.sleep(0.005)
    pack_toy(tmp_path, progress=True)
    threads[0].join()
    assert "another call packs into it; waiting" in capsys.readouterr().err
    assert digests(tmp_path) == digests(packed.path)


def test_calls_that_begin_as_others_end_hold_a_folder_one_at_a_time(tmp_path):
    inside, errors = [], []

    def call(number):
        try:
            for _ in range(15):
                with claimed(tmp_path, "same", Console(quiet=True)):
                    inside.append(number)
                    assert inside == [number]
                    time.sleep(0.001)
                    inside.remove(number)
        except Exception as error:
            errors.append(repr(error))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert list(tmp_path.iterdir()) == []


def test_a_shard_damaged_before_the_resume_is_written_again(packed, tmp_path):
    class Breaks(ToyFaces):
        def __getitem__(self, index: int) -> RawSample:
            if index == 40:
                raise DataError("stop here")
            return super().__getitem__(index)

    breaks = Breaks()
    breaks.name = "toy"
    with pytest.raises(DataError, match="stop here"):
        pack_toy(tmp_path, breaks)
    shard = tmp_path / "shard-000001.tar"
    content = bytearray(shard.read_bytes())
    content[1000] ^= 1
    shard.write_bytes(content)
    pack_toy(tmp_path)
    assert digests(tmp_path) == digests(packed.path)


def test_a_shard_whose_notes_changed_before_the_resume_is_written_again(packed, tmp_path, monkeypatch):
    def stop(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shards, "finish", stop)
        with pytest.raises(KeyboardInterrupt):
            pack_toy(tmp_path)
    notes = tmp_path / ".packing" / "shard-000001.json"
    text = notes.read_text()
    assert '"awe": 0.5' in text
    for changed in (text.replace('"awe": 0.5', '"awe": 0.6', 1), text[: len(text) // 2], "{}", "[]", ""):
        notes.write_text(changed)
        with pytest.raises(DataError, match=r"shard-000001\.json: content changed since it was written; run the same"):
            read_notes(tmp_path, 1)
        with monkeypatch.context() as patched:
            patched.setattr(shards, "finish", stop)
            with pytest.raises(KeyboardInterrupt):
                pack_toy(tmp_path)
        assert notes.read_text() == text
    notes.write_text(text.replace('"awe": 0.5', '"awe": 0.6', 1))
    pack_toy(tmp_path)
    assert digests(tmp_path) == digests(packed.path)


def test_packing_a_finished_set_again_changes_nothing_and_says_so(packed, copied, capsys):
    before = {path: path.stat().st_mtime_ns for path in copied.iterdir()}
    again = pack_toy(copied, progress=True)
    assert "nothing to do" in capsys.readouterr().err
    assert again.digest == packed.digest
    assert {path: path.stat().st_mtime_ns for path in copied.iterdir()} == before


def test_a_folder_that_holds_something_else_is_refused(copied, tmp_path_factory):
    with pytest.raises(UsageError, match="already holds the packed set 'toy'"):
        pack_toy(copied, ToyFaces(50))
    for options in ({"seed": 1}, {"shard_size": 20}, {"splits": {"train": 1.0}}, {"sealed": True}):
        with pytest.raises(UsageError, match="already holds the packed set 'toy'"):
            pack_toy(copied, **options)
    other = tmp_path_factory.mktemp("other")
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds other files \(thesis.txt\)"):
        pack_toy(other)
    assert [p.name for p in other.iterdir()] == ["thesis.txt"]


def test_near_duplicates_of_another_person_stay_in_one_split(tmp_path):
    rng = np.random.default_rng(0)
    samples = []
    for number in range(40):
        blocks = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize(
            (96, 96), Image.Resampling.NEAREST
        )
        for copy, quality in enumerate((95, 85)):
            stream = io.BytesIO()
            blocks.save(stream, "JPEG", quality=quality)
            samples.append(RawSample(f"k{number}-{copy}", stream.getvalue(), {}))
    grouped = pack_toy(tmp_path / "grouped", Listed(*samples), splits={"a": 0.5, "b": 0.5})
    side = {row: name for name, rows in grouped.splits.items() for row in rows.tolist()}
    assert all(side[row] == side[row + 1] for row in range(0, 80, 2))
    ignored = pack_toy(tmp_path / "ignored", Listed(*samples), splits={"a": 0.5, "b": 0.5}, near_duplicates="ignore")
    side = {row: name for name, rows in ignored.splits.items() for row in rows.tolist()}
    assert any(side[row] != side[row + 1] for row in range(0, 80, 2))
    with pytest.raises(DataError, match="'k0-0' and 'k0-1' differ in at most 4 of 64 bits"):
        pack_toy(tmp_path / "error", Listed(*samples), near_duplicates="error")


def test_a_sealed_set_says_so_and_is_all_test(tmp_path):
    sealed = pack_toy(tmp_path, sealed=True, splits=None)
    assert sealed.sealed
    assert {name: len(rows) for name, rows in sealed.splits.items()} == {"test": 60}


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (RawSample("a.b", encoded(0), {}), "cannot be a sample's key"),
        (RawSample("a/b", encoded(0), {}), "cannot be a sample's key"),
        (RawSample("__a", encoded(0), {}), "cannot be a sample's key"),
        (RawSample("a", encoded(0)[:-200], {}), "sample 'a': not a readable JPEG"),
        (RawSample("a", b"hello", {}), "sample 'a': not a readable JPEG"),
        (RawSample("a", encoded(0, "GIF"), {}), "sample 'a': not a readable JPEG"),
        (RawSample("a", encoded(0), {"r": {"awee": 1.0}}), "unknown 'awee'; did you mean 'awe'"),
        (RawSample("a", encoded(0), {"r": {"awe": 7.5}}), "'awe': value 7.5 is not 0 to 7"),
        (RawSample("a", encoded(0), {"r": {"awe": float("nan")}}), "value nan is not 0 to 7"),
        (RawSample("a", encoded(0), {"r": {"awe": float("inf")}}), "value inf is not 0 to 7"),
        (RawSample("a", encoded(0), {"r": {}, "s": {}}), "2 raters in a dense set"),
        (RawSample("a", encoded(0), {}, prompted="hunger"), "unknown prompted emotion"),
        (RawSample("a", encoded(0), {}, meta={"x": float("nan")}), "cannot be written as JSON"),
    ],
)
def test_a_wrong_sample_is_one_line_that_names_it(tmp_path, sample, message):
    with pytest.raises(DataError, match=message) as caught:
        pack_toy(tmp_path, Listed(sample))
    assert "\n" not in str(caught.value)


def test_yes_and_no_are_one_and_zero(tmp_path):
    with pytest.raises(DataError, match="is not 0 or 1"):
        pack_toy(tmp_path, Listed(RawSample("a", encoded(0), {"r": {"awe": 0.5}}), kind="binary"))


def test_a_picture_that_would_fill_the_memory_is_refused_by_its_header(tmp_path):
    stream = io.BytesIO()
    Image.new("1", (9000, 9000)).save(stream, "PNG")
    with pytest.raises(DataError, match=r"9000 x 9000 pixels"):
        pack_toy(tmp_path, Listed(RawSample("bomb", stream.getvalue(), {})))


@pytest.mark.parametrize("apart", [1, 20])
def test_duplicate_keys_are_found_within_and_across_shards(tmp_path, apart):
    class Doubled(ToyFaces):
        def __getitem__(self, index: int) -> RawSample:
            return super().__getitem__(index)._replace(key="face003" if index == 3 + apart else f"face{index:03d}")

    with pytest.raises(DataError, match="duplicate key 'face003'"):
        pack_toy(tmp_path, Doubled())


def test_an_output_path_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file" / "set", Path("/proc/set")):
        with pytest.raises(OutputError, match=r"cannot be written .*check permission and free space"):
            pack_toy(out)


def test_commands_pack_and_verify_report_to_people(tmp_path, capsys):
    faces = tmp_path / "faces"
    for number in range(20):
        folder = faces / ("Awe" if number % 2 else "Anger")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(encoded(number, "PNG"))
    out = str(tmp_path / "set")
    pack_command(str(faces), out, splits=SPLITS, licence="CC0-1.0", num_processes=1)
    told = capsys.readouterr()
    assert "train 16, val 4" in told.out
    assert "awe 10/20, anger 10/20" in told.out
    assert "images/s" in told.out
    assert "largest cluster of duplicates: 1" in told.err
    verify_command(out)
    assert "whole; 20 images in 1 shards" in capsys.readouterr().out


def test_generated_faces_are_packed_without_loss(real_data, tmp_path):
    folder = real_data / "faces" / "sfhq_unlabelled"
    pack_command(str(folder), str(tmp_path / "set"), licence="MIT", num_processes=1, progress=False)
    opened = PackedSet.open(tmp_path / "set")
    files = sorted(folder.iterdir())
    assert opened.num_samples == len(files) == 1588
    assert opened.image_sha256 == [sha256_file(file) for file in files]
    assert opened.verify(progress=False).num_samples == 1588
