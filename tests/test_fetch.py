"""`fetch` against a hub on this machine."""

import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
from local_hub import Hub

from emonet_lightning.errors import DataError, EnvironmentProblem, MissingInputError, OutputError, UsageError
from emonet_lightning.fetch import encoder_source, fetch_command
from emonet_lightning.hub import PARTIAL_DIR, probe_hub


def _commit(character: str) -> str:
    return character * 40


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    server.repos["datasets/laion/emonet-face-binary"] = {
        "main": (
            _commit("a"),
            {
                ".gitattributes": b"* text",
                "README.md": b"# card\n",
                "data/train-00000.parquet": bytes(range(256)) * 4000,
                "data/train-00001.parquet": b"second" * 1000,
            },
        )
    }
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # 10 MB: the unit that survives a cut
    yield server
    server.shutdown()
    server.server_close()


def _record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "fetched.json").read_text())


def test_data_arrives_whole_with_commit_and_sha256_recorded(hub: Hub, tmp_path: Path) -> None:
    fetch_command("data", "binary", str(tmp_path / "binary"))
    files = hub.repos["datasets/laion/emonet-face-binary"]["main"][1]
    record = _record(tmp_path / "binary")
    assert record["complete"]
    assert record["commit"] == _commit("a")
    assert record["revision"] == "main"
    assert sorted(record["files"]) == ["README.md", "data/train-00000.parquet", "data/train-00001.parquet"]
    for path, entry in record["files"].items():
        assert (tmp_path / "binary" / path).read_bytes() == files[path]
        assert entry["sha256"] == hashlib.sha256(files[path]).hexdigest()
    assert not (tmp_path / "binary" / PARTIAL_DIR).exists()


def test_second_call_verifies_without_network_and_downloads_nothing(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch_command("data", "binary", str(tmp_path))
    before = len(hub.downloads)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    fetch_command("data", "binary", str(tmp_path))
    assert len(hub.downloads) == before
    assert "complete and verified" in capsys.readouterr().err


def test_damaged_file_is_fetched_again_and_the_others_are_not(hub: Hub, tmp_path: Path) -> None:
    fetch_command("data", "binary", str(tmp_path))
    damaged = tmp_path / "data" / "train-00001.parquet"
    damaged.write_bytes(damaged.read_bytes().replace(b"second", b"sEcond", 1))
    hub.downloads.clear()
    fetch_command("data", "binary", str(tmp_path))
    assert hub.downloads == [("data/train-00001.parquet", None)]
    assert damaged.read_bytes() == b"second" * 1000


def test_interrupted_download_continues_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    hub.cut_after = 300_000
    del hub.repos["datasets/laion/emonet-face-binary"]["main"][1]["data/train-00001.parquet"]
    with pytest.raises(EnvironmentProblem, match="what arrived is kept"):
        fetch_command("data", "binary", str(tmp_path), num_connections=1)
    assert not (tmp_path / "data" / "train-00000.parquet").exists()
    assert not _record(tmp_path)["complete"]
    hub.cut_after, hub.broken = None, False
    hub.downloads.clear()
    fetch_command("data", "binary", str(tmp_path))
    assert ("data/train-00000.parquet", "bytes=300000-") in hub.downloads
    assert (tmp_path / "data" / "train-00000.parquet").read_bytes() == bytes(range(256)) * 4000


def test_spoilt_partial_file_is_discarded_and_fetched_from_the_start(hub: Hub, tmp_path: Path) -> None:
    hub.cut_after = 300_000
    with pytest.raises(EnvironmentProblem):
        fetch_command("data", "binary", str(tmp_path), num_connections=1)
    partials = [path for path in (tmp_path / PARTIAL_DIR).iterdir() if path.stat().st_size]
    partials[0].write_bytes(b"\0" * partials[0].stat().st_size)
    hub.cut_after, hub.broken = None, False
    fetch_command("data", "binary", str(tmp_path))
    assert (tmp_path / "data" / "train-00000.parquet").read_bytes() == bytes(range(256)) * 4000


def test_content_that_the_hub_does_not_list_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.lie = b"x" * 6000
    del hub.repos["datasets/laion/emonet-face-binary"]["main"][1]["data/train-00000.parquet"]
    del hub.repos["datasets/laion/emonet-face-binary"]["main"][1]["README.md"]
    with pytest.raises(DataError, match=r"train-00001.parquet: what arrived is not what"):
        fetch_command("data", "binary", str(tmp_path))
    assert not (tmp_path / "data").exists()


def test_folder_stays_at_its_commit_until_another_revision_is_asked_for(hub: Hub, tmp_path: Path) -> None:
    repo = hub.repos["datasets/laion/emonet-face-binary"]
    fetch_command("data", "binary", str(tmp_path))
    old = repo["main"]
    repo["v1"] = old
    repo["main"] = (_commit("b"), old[1] | {"README.md": b"# new card\n"})
    (tmp_path / "README.md").unlink()
    fetch_command("data", "binary", str(tmp_path))
    assert _record(tmp_path)["commit"] == _commit("a")
    assert (tmp_path / "README.md").read_bytes() == b"# card\n"
    hub.downloads.clear()
    fetch_command("data", "binary", str(tmp_path), revision=_commit("b"))
    assert _record(tmp_path)["commit"] == _commit("b")
    assert hub.downloads == [("README.md", None)]


def test_released_heads_and_encoder_come_from_their_repositories(hub: Hub, tmp_path: Path) -> None:
    hub.repos["models/laion/Empathic-Insight-Face-Small"] = {
        "main": (_commit("c"), {"model_jealousy_&_envy_best.pth": b"weights", "README.md": b"card"})
    }
    fetch_command("heads", "small", str(tmp_path / "small"))
    assert (tmp_path / "small" / "model_jealousy_&_envy_best.pth").read_bytes() == b"weights"
    hub.repos["models/timm/test_vit3.r160_in1k"] = {
        "main": (_commit("d"), {"config.json": b"{}", "pytorch_model.bin": b"old", "model.safetensors": b"safe"})
    }
    fetch_command("encoder", "timm/test_vit3", str(tmp_path / "vit"))
    assert sorted(_record(tmp_path / "vit")["files"]) == ["config.json", "model.safetensors"]


def test_encoder_names_map_to_the_repositories_of_their_libraries() -> None:
    timm = encoder_source("timm/vit_so400m_patch16_siglip_384.v2_webli")
    assert (timm.repo_id, timm.weights[0]) == ("timm/vit_so400m_patch16_siglip_384.v2_webli", "model.safetensors")
    clip = encoder_source("open_clip/ViT-SO400M-16-SigLIP2-384:webli")
    assert (clip.repo_id, clip.weights[0]) == ("timm/ViT-SO400M-16-SigLIP2-384", "open_clip_model.safetensors")


@pytest.mark.parametrize(
    ("name", "offer"),
    [
        ("timm/mobilenet_v2", "mobilenetv2_100"),
        ("open_clip/ViT-SO400M-16-SigLIP2-383:webli", "ViT-SO400M-16-SigLIP2-384"),
        ("open_clip/ViT-SO400M-16-SigLIP2-384:webly", "'webli'"),
        ("siglip2", "timm/NAME"),
        ("embedded", "part of the package"),
    ],
)
def test_unknown_encoder_is_one_line_with_the_nearest_names(name: str, offer: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        fetch_command("encoder", name, str(tmp_path))
    assert offer in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_network_fails_within_five_seconds_and_prints_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with socket.socket() as silent:  # accepts, never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("HF_ENDPOINT", address)
        started = time.monotonic()
        with pytest.raises(EnvironmentProblem) as caught:
            fetch_command("heads", "large", str(tmp_path / "my heads"), timeout=1.0)
        assert time.monotonic() - started < 5
    assert address in str(caught.value)
    assert f"python -m emonet_lightning fetch heads large --dir '{tmp_path}/my heads'" in str(caught.value)
    assert not list(tmp_path.rglob("*.*"))


def test_name_resolution_that_hangs_does_not_hold_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: time.sleep(4) or [])
    started = time.monotonic()
    assert probe_hub("http://hub.invalid", 0.3) == "no answer within 0.3 s"
    assert time.monotonic() - started < 2


def test_refused_connection_and_offline_switch_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    assert "refused" in str(probe_hub("http://127.0.0.1:9", 2.0)).lower()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert probe_hub("http://127.0.0.1:9", 2.0) == "HF_HUB_OFFLINE is set"


def test_unknown_name_repository_and_revision_are_one_line_errors(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'large'"):
        fetch_command("heads", "larg", str(tmp_path))
    with pytest.raises(MissingInputError, match="laion/emonet-face-hq"):
        fetch_command("data", "hq", str(tmp_path / "hq"))
    with pytest.raises(MissingInputError, match="no revision 'v9'"):
        fetch_command("data", "binary", str(tmp_path / "binary"), revision="v9")


def test_folder_of_another_download_is_refused(hub: Hub, tmp_path: Path) -> None:
    fetch_command("data", "binary", str(tmp_path))
    with pytest.raises(UsageError, match="holds data binary already"):
        fetch_command("data", "hq", str(tmp_path))


@pytest.mark.parametrize("absolute", [False, True])
def test_recorded_path_outside_the_folder_is_refused_and_nothing_there_is_touched(
    hub: Hub, tmp_path: Path, absolute: bool
) -> None:
    fetch_command("data", "binary", str(tmp_path / "inner"))
    bystander = tmp_path / "bystander.txt"
    bystander.write_text("not of this folder")
    record = _record(tmp_path / "inner")
    path = str(bystander) if absolute else "../bystander.txt"
    record["files"][path] = {"sha256": "0" * 64, "size": 18, "oid": "0" * 40}
    (tmp_path / "inner" / "fetched.json").write_text(json.dumps(record | {"complete": False}))
    with pytest.raises(DataError, match=r"inner/fetched.json: .*bystander.txt.* --dir"):
        fetch_command("data", "binary", str(tmp_path / "inner"))
    assert bystander.read_text() == "not of this folder"


_ENTRY = {"sha256": "0" * 64, "size": 1, "oid": "0" * 40}


@pytest.mark.parametrize(
    "record",
    [
        "[1, 2]",
        "null",
        "{",
        "{}",
        {"what": ["data"], "files": {}},
        {"complete": True, "files": {"a": _ENTRY}},
        {"complete": True, "revision": "main", "files": {"a": _ENTRY}},
        {"complete": True, "revision": "main", "commit": "a" * 40, "files": {"a": _ENTRY}},
        {"complete": True, "revision": "main", "commit": "a" * 40, "repo_id": "a/b", "files": {}},
        {"complete": "yes", "files": {}},
        {"commit": 5, "files": {}},
        {},
        {"files": ["README.md"]},
        {"files": {"README.md": "whole"}},
        {"files": {"README.md": {"sha256": "0" * 64}}},
        {"files": {"README.md": {"sha256": "0" * 64, "size": "7"}}},
        {"files": {"README.md": {"size": 7}}},
        {"files": {"": _ENTRY}},
        {"files": {".": _ENTRY}},
        {"files": {"a\0b": _ENTRY}},
    ],
)
def test_record_that_fetch_did_not_write_is_one_line_with_the_remedy(
    hub: Hub, tmp_path: Path, record: str | dict[str, Any]
) -> None:
    text = record if isinstance(record, str) else json.dumps({"what": "data", "name": "binary"} | record)
    (tmp_path / "fetched.json").write_text(text)
    with pytest.raises(DataError) as caught:
        fetch_command("data", "binary", str(tmp_path))
    assert str(caught.value).startswith(f"{tmp_path}/fetched.json: ")
    assert "another --dir" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "fetched.json").read_text() == text
    assert hub.downloads == []


def test_folder_with_files_of_another_kind_is_refused_and_they_stay(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(UsageError, match=rf"^{tmp_path}: holds README.md .*another --dir"):
        fetch_command("data", "binary", str(tmp_path))
    assert (tmp_path / "README.md").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_folder_that_holds_only_what_a_killed_fetch_left_is_used(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / PARTIAL_DIR).mkdir()
    (tmp_path / PARTIAL_DIR / "half").write_bytes(b"ha")
    (tmp_path / ".fetched.json.k2j3h4.tmp").write_text("{")
    fetch_command("data", "binary", str(tmp_path))
    assert _record(tmp_path)["complete"]


def test_folder_in_the_place_of_a_file_that_the_hub_dropped_is_an_output_error(hub: Hub, tmp_path: Path) -> None:
    fetch_command("data", "binary", str(tmp_path))
    record = _record(tmp_path)
    record["files"]["gone.txt"] = _ENTRY
    (tmp_path / "fetched.json").write_text(json.dumps(record))
    (tmp_path / "gone.txt").mkdir()
    with pytest.raises(OutputError, match=r"gone.txt"):
        fetch_command("data", "binary", str(tmp_path))


def test_password_in_the_hubs_address_is_used_and_not_recorded(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.address.replace("//", "//someone:s3same@"))
    fetch_command("data", "binary", str(tmp_path / "binary"))
    record = (tmp_path / "binary" / "fetched.json").read_text()
    assert "s3same" not in record
    assert hub.address.removeprefix("http://") in record
    with pytest.raises(MissingInputError) as missing:
        fetch_command("data", "hq", str(tmp_path / "hq"))
    assert "s3same" not in str(missing.value)
    monkeypatch.setenv("HF_ENDPOINT", "http://someone:s3same@127.0.0.1:9")
    with pytest.raises(EnvironmentProblem) as unreachable:
        fetch_command("data", "hq", str(tmp_path / "hq"))
    assert "s3same" not in str(unreachable.value)


def test_file_name_that_leaves_the_folder_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.repos["datasets/laion/emonet-face-binary"]["main"][1]["../outside.txt"] = b"x"
    with pytest.raises(DataError, match="outside its own folder"):
        fetch_command("data", "binary", str(tmp_path / "inner"))
    assert not (tmp_path / "outside.txt").exists()


def test_unwritable_folder_is_an_output_error(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="file"):
        fetch_command("data", "binary", str(tmp_path / "file" / "below"))
