"""Checkpoints: whole or absent, looked at before they are trusted, the newest good one taken."""

import errno
import os
import shutil

import pytest
import torch
from small_runs import fit, newest

from emonet_lightning import checkpoints, encoder_files, resuming
from emonet_lightning.callbacks import BestHeads
from emonet_lightning.checkpoints import (
    DamagedCheckpoint,
    VerifiedCheckpointIO,
    checkpoint_name,
    load_verified,
    named_checkpoints,
    newest_valid,
    replace_all,
)
from emonet_lightning.errors import DataError, MissingInputError, OutputError, UsageError
from emonet_lightning.saving import IntervalCheckpoint

IDENTITY = {"run": "1" * 16, "taxonomy": "t" * 16}


@pytest.fixture(scope="module")
def saved(tmp_path_factory, small_sets, spec):
    """A folder with the checkpoints of the last two epochs."""
    from emonet_lightning.data.datamodules import SyntheticFaces
    from emonet_lightning.module import EmpathicInsightFace

    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    best = BestHeads()
    best.folder = folder.parent
    data = SyntheticFaces(str(small_sets["big"]), encoder=spec, batch_size=40)
    module = EmpathicInsightFace(encoder=spec, widths=[8])
    fit(module, data, 3, [best, IntervalCheckpoint(folder, 0, IDENTITY)])
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "checkpoints")


def content_of(folder):
    return torch.load(newest(folder), weights_only=True)


def save(folder, content, step=None):
    path = folder / checkpoint_name(content["global_step"] if step is None else step)
    VerifiedCheckpointIO().save_checkpoint(content, path)
    return newest(folder)


def test_two_are_kept_and_say_what_they_are(folder):
    assert [found.step for found in named_checkpoints(folder)] == [9, 6]
    assert newest_valid(folder, IDENTITY) == newest(folder)
    content = load_verified(newest(folder))
    assert content["global_step"] == 9
    assert {key: content["run"][key] for key in IDENTITY} == IDENTITY
    assert content["run"]["data"]


@pytest.mark.parametrize("name", [None, "mine.ckpt"])
def test_what_says_its_step_is_not_read_for_it(folder, monkeypatch, name):
    last, before = (found.path for found in named_checkpoints(folder))
    asked, read = folder.parent / (name or before.name), []
    shutil.copy(before, asked)
    for module in (checkpoints, resuming):
        monkeypatch.setattr(module, "load_verified", lambda path: read.append(path) or load_verified(path))
    start = resuming.Attempt(IDENTITY["run"], "auto")
    assert start.checkpoint(folder.parent, IDENTITY, str(asked)) == last
    assert read == ([asked, last] if name else [last])


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "text", "foreign"])
def test_a_bad_newest_is_set_aside_by_name_and_the_one_before_taken(folder, capsys, damage):
    bad, good = (found.path for found in named_checkpoints(folder))
    data = bytearray(bad.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    elif damage == "cut":
        data = data[:-100]
    elif damage == "empty":
        data = b""
    elif damage == "text":
        data = b"<html>404</html>"
    if damage == "foreign":
        bad.unlink()
        bad = save(folder, {**torch.load(good, weights_only=True), "global_step": 9, "run": {"run": "2" * 16}})
    else:
        bad.write_bytes(data)
    assert newest_valid(folder, IDENTITY) == good
    assert not bad.exists()
    assert (folder / "set_aside" / bad.name).is_file()
    said = capsys.readouterr().err
    assert bad.name in said
    if damage == "foreign":
        assert "2" * 16 in said
        assert "1" * 16 in said


def test_none_that_is_good_is_an_error_until_the_run_begins_anew(folder):
    for found in named_checkpoints(folder):
        found.path.write_bytes(b"")
    for _ in range(2):  # also when all have been set aside
        with pytest.raises(DataError, match=r"no checkpoint can be used .*--resume never"):
            newest_valid(folder, IDENTITY)
    replace_all(folder)
    assert newest_valid(folder, IDENTITY) is None
    assert len(list((folder / "replaced").iterdir())) == 2


def test_another_taxonomy_is_refused_with_both_and_nothing_is_moved(folder):
    with pytest.raises(DataError, match=f"taxonomy {'t' * 16}, this run has {'u' * 16}"):
        newest_valid(folder, {**IDENTITY, "taxonomy": "u" * 16})
    assert len(named_checkpoints(folder)) == 2


def test_a_checkpoint_whose_best_heads_are_gone_is_not_taken(folder):
    step = named_checkpoints(folder)[0].step
    name = load_verified(newest(folder))["callbacks"]["BestHeads"]["file"]["name"]
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(data)
    older = load_verified(named_checkpoints(folder)[1].path)["callbacks"]["BestHeads"]["file"]["name"]
    if older == name:
        with pytest.raises(DataError, match="best heads of the checkpoint of step"):
            newest_valid(folder, IDENTITY)
    else:
        assert named_checkpoints(folder)[1].path == newest_valid(folder, IDENTITY)
    assert step not in [found.step for found in named_checkpoints(folder)]


@pytest.mark.parametrize(
    ("key", "value"),
    [("global_step", 10**18), ("global_step", -1), ("global_step", True), ("epoch", -5), ("epoch", 1.5)],
)
def test_impossible_counters_are_refused(folder, key, value):
    path = save(folder, {**content_of(folder), key: value}, step=99)
    with pytest.raises(DamagedCheckpoint, match=f"impossible checkpoint: {key} is {value}"):
        load_verified(path)


@pytest.mark.parametrize("place", ["weight", "moment"])
def test_values_that_are_not_finite_are_refused_by_name(folder, place):
    content = content_of(folder)
    state = content["state_dict"] if place == "weight" else content["optimizer_states"][0]["state"][0]
    name = next(key for key, value in state.items() if value.is_floating_point() and value.ndim > 1)
    state[name].view(-1)[3] = float("nan")
    path = save(folder, {**content, "global_step": 99})
    with pytest.raises(DamagedCheckpoint, match=f"{name}' holds values that are not finite"):
        load_verified(path)


def test_addresses_and_absent_files_are_no_checkpoints(tmp_path):
    with pytest.raises(UsageError, match="a checkpoint is a local file"):
        load_verified("http://127.0.0.1:9/x.ckpt")
    with pytest.raises(MissingInputError):
        load_verified(tmp_path / "x.ckpt")


def test_a_foreign_file_is_hashed_at_first_use_and_compared_ever_after(folder):
    path = newest(folder).rename(folder / "mine.ckpt")
    assert load_verified(path)["global_step"] == 9
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(DamagedCheckpoint, match="content changed since first use"):
        load_verified(path)


@pytest.mark.parametrize("killed", [False, True])
def test_a_run_may_write_a_checkpoint_under_one_name_again(folder, monkeypatch, killed):
    path, content = folder / "last.ckpt", content_of(folder)
    VerifiedCheckpointIO().save_checkpoint(content, path)
    assert load_verified(path)["global_step"] == 9
    if killed:  # after the file was renamed, before its digest was kept
        monkeypatch.setattr(checkpoints, "remember_digest", lambda *_: None)
    VerifiedCheckpointIO().save_checkpoint({**content, "global_step": 12}, path)
    encoder_files._digests.clear()  # as in another process
    assert load_verified(path)["global_step"] == 12
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedCheckpoint, match=r"content changed since first use.* checkpoint") as caught:
        load_verified(path)
    assert "encoder" not in str(caught.value)


def test_one_that_cannot_be_read_is_named_and_the_one_before_taken(folder, monkeypatch, capsys):
    bad, good = (found.path for found in named_checkpoints(folder))
    other, digest = folder / "last.ckpt", checkpoints.sha256_file
    shutil.copy(bad, other)

    def failing(path):
        if path in (bad, other):
            raise OSError(errno.EIO, "Input/output error")
        return digest(path)

    monkeypatch.setattr(checkpoints, "sha256_file", failing)
    monkeypatch.setattr(encoder_files, "sha256_file", failing)
    assert newest_valid(folder, IDENTITY) == good
    said = capsys.readouterr().err
    for path in (bad, other):
        assert f"{path}: cannot be read (Input/output error); the one before is tried" in said
        assert path.is_file()
    monkeypatch.setattr(checkpoints, "sha256_file", lambda path: failing(bad))
    with pytest.raises(DataError, match=r"no checkpoint can be used .*cannot be read"):
        newest_valid(folder, IDENTITY)


def test_best_heads_that_cannot_be_read_are_named_and_the_checkpoint_before_taken(folder, monkeypatch, capsys):
    names = [load_verified(found.path)["callbacks"]["BestHeads"]["file"]["name"] for found in named_checkpoints(folder)]
    digest = checkpoints.sha256_file

    def failing(path):
        if path.name == names[0]:
            raise OSError(errno.EIO, "Input/output error")
        return digest(path)

    monkeypatch.setattr(checkpoints, "sha256_file", failing)
    if names[0] == names[1]:
        with pytest.raises(DataError, match="no checkpoint can be used"):
            newest_valid(folder, IDENTITY)
    else:
        assert newest_valid(folder, IDENTITY) == named_checkpoints(folder)[1].path
    assert f"{folder / names[0]}: cannot be read" in capsys.readouterr().err
    assert len(named_checkpoints(folder)) == 2


def test_a_checkpoint_that_does_not_fit_is_not_begun(folder, monkeypatch):
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    before = sorted(folder.iterdir())
    with pytest.raises(OutputError, match=r"0 MiB are free, a checkpoint takes"):
        save(folder, {**content_of(folder), "global_step": 99})
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("point", ["opened", "half", "written", "synced"])
def test_a_save_that_fails_is_an_error_and_leaves_what_was(folder, monkeypatch, point):
    before = sorted(folder.iterdir())
    monkeypatch.setenv("EMONET_FAILPOINT", f"step=*@{point}=ENOSPC")
    with pytest.raises(OutputError, match="No space left"):
        save(folder, {**content_of(folder), "global_step": 99})
    assert sorted(folder.iterdir()) == before
