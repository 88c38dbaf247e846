"""Files that are whole or absent, whatever the disk says and when; progress as lines."""

import errno
import os

import pytest

from emonet_lightning import hashing_stream, io, progress
from emonet_lightning.errors import OutputError


def test_what_the_disk_says_while_a_stream_is_still_written_is_not_lost(tmp_path, monkeypatch):
    """The error of an early sync is told once, to whoever synced: the sync at the end would succeed."""
    synced = []

    def refuse(handle):
        synced.append(handle)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(hashing_stream, "_EARLY_BYTES", 10)
    monkeypatch.setattr(os, "fdatasync", refuse)

    def write(stream):
        for _ in range(5):
            stream.write(b"123456")

    with pytest.raises(OutputError, match=r"whole\.bin: cannot be written \(Input/output error\)"):
        io.atomic_write_stream(tmp_path / "whole.bin", write)
    assert synced
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    monkeypatch.setattr(hashing_stream, "_EARLY_BYTES", 10)
    assert io.atomic_write_stream(tmp_path / "whole.bin", write) == io.sha256_bytes(b"123456" * 5)
    assert (tmp_path / "whole.bin").read_bytes() == b"123456" * 5


def test_a_line_of_progress_before_the_first_item_says_that_the_time_is_unknown(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_LINE_SECONDS", 0.0)
    with progress.progress_bar("encode", 4, "images", show=True) as advance:
        advance(0)
        advance(2)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "encode: 0/4 images, 0 images/s, unknown time left"
    assert second.startswith("encode: 2/4 images, ")
    assert second.endswith(" 0:00:00 left")
