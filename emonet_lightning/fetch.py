"""The command `fetch`: bring released data, heads or an encoder to this machine, for nodes that have a network.

A folder is pinned: the first call resolves the revision to a commit and writes it, with the sha256 of every file, to
`DIR/fetched.json`; a later call continues that commit, and verifies without the network once it is complete.
"""

import contextlib
import os
import shlex
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from emonet_lightning.errors import DataError, EnvironmentProblem, OutputError, UsageError, nearest
from emonet_lightning.hub import (
    PARTIAL_DIR,
    RECORD,
    RemoteFile,
    Wanted,
    download_file,
    hub_endpoint,
    hub_errors,
    list_files,
    probe_hub,
)
from emonet_lightning.io import TEMPORARY, make_folder, read_json, sha256_file, write_errors, write_json
from emonet_lightning.redaction import redact

REPOSITORIES = {
    "data": {
        "hq": "laion/emonet-face-hq",
        "binary": "laion/emonet-face-binary",
        "big": "laion/emonet-face-big",
    },
    "heads": {
        "small": "laion/Empathic-Insight-Face-Small",
        "large": "laion/Empathic-Insight-Face-Large",
    },
}
DEFAULT_REVISION = "main"


def encoder_source(name: str) -> Wanted:
    """Map `timm/NAME` or `open_clip/NAME:TAG` to its hub repository through the library's own table.

    Raises:
        UsageError: unknown name or tag (the nearest are offered), or weights that are not on the hub.
    """
    library, _, rest = name.partition("/")
    if library == "timm" and rest:
        return _timm_source(name, rest)
    if library == "open_clip" and rest:
        return _open_clip_source(name, rest)
    if name == "embedded":
        raise UsageError("encoder 'embedded' is part of the package; there is nothing to fetch")
    raise UsageError(f"encoder '{name}': write timm/NAME or open_clip/NAME:TAG")


def _timm_source(name: str, architecture: str) -> Wanted:
    import timm
    from timm.models import get_pretrained_cfg

    found = get_pretrained_cfg(architecture)
    if found is None or not found.has_weights:
        raise UsageError(
            f"encoder '{name}': timm has no such pretrained model; {nearest(architecture, timm.list_pretrained())}"
        )
    if not found.hf_hub_id:
        raise UsageError(f"encoder '{name}': its weights are not on the hub; download {found.url} and pass that file")
    repo_id, _, revision = found.hf_hub_id.partition("@")
    weights = _preferred(found.hf_hub_filename or "pytorch_model.bin")
    return Wanted(repo_id, "model", weights, revision or None)


def _open_clip_source(name: str, rest: str) -> Wanted:
    import open_clip

    architecture, _, tag = rest.partition(":")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if not tags:
        known = sorted({model for model, _ in open_clip.list_pretrained()})
        raise UsageError(f"encoder '{name}': open_clip has no such pretrained model; {nearest(architecture, known)}")
    if tag not in tags:
        raise UsageError(f"encoder '{name}': no weights of tag '{tag}'; {nearest(tag, tags)}")
    found = open_clip.get_pretrained_cfg(architecture, tag)
    if not found.get("hf_hub"):
        raise UsageError(
            f"encoder '{name}': its weights are not on the hub; download {found.get('url')} and pass that file"
        )
    repo_id, filename = os.path.split(found["hf_hub"])
    return Wanted(repo_id, "model", _preferred(filename or "open_clip_pytorch_model.bin"))


def _preferred(filename: str) -> tuple[str, ...]:
    """Weight files in the order in which both libraries look: safetensors first."""
    if filename in ("pytorch_model.bin", "open_clip_pytorch_model.bin"):
        return (filename.replace("pytorch_", "").replace(".bin", ".safetensors"), filename)
    return tuple(dict.fromkeys((filename.rsplit(".", 1)[0] + ".safetensors", filename)))


def fetch_command(
    what: Literal["encoder", "data", "heads"],
    name: str,
    dir: str,
    revision: str | None = None,
    num_connections: int = 4,
    timeout: float = 3.0,
) -> None:
    """Download an encoder, a released data set or the released heads into a folder, pinned and verified.

    Args:
        what: `encoder`, `data` or `heads`.
        name: encoder: timm/NAME or open_clip/NAME:TAG; data: hq, binary or big; heads: small or large.
        dir: target folder, one per download; a call that was interrupted continues where it stopped.
        revision: branch, tag or commit; default: the commit recorded in DIR/fetched.json, else `main` of now.
        num_connections: files downloaded at once.
        timeout: seconds to wait for the hub's first answer.

    Raises:
        UsageError: unknown name, or a folder that holds another download or other files.
        MissingInputError: the hub has no such repository or revision.
        EnvironmentProblem: no network; the message holds the command to run where there is one.
        DataError: what arrived is not what the hub lists, or DIR/fetched.json is not what this command writes.
    """
    folder = Path(dir)
    arguments = ["fetch", what, name, "--dir", dir, *(["--revision", revision] if revision else [])]
    command = shlex.join(["python", "-m", "emonet_lightning", *arguments])
    if what == "encoder":
        wanted = encoder_source(name)
    else:
        if name not in REPOSITORIES[what]:
            raise UsageError(f"fetch {what} '{name}': unknown; {nearest(name, REPOSITORIES[what])}")
        wanted = Wanted(REPOSITORIES[what][name], "dataset" if what == "data" else "model")
    record = _read_record(folder, what, name)
    if record.get("complete") and revision in (None, record["revision"], record["commit"]):
        damaged = [path for path, entry in record["files"].items() if not _is_whole(folder / path, entry)]
        if not damaged:
            print(f"{folder}: complete and verified, {_summary(record)}", file=sys.stderr)
            return
        print(f"{folder}: {len(damaged)} damaged or missing ({damaged[0]} ...); fetching again", file=sys.stderr)
    pinned = revision or record.get("commit") or wanted.revision or DEFAULT_REVISION
    make_folder(folder)
    try:
        _fetch(folder, wanted, pinned, record, max(1, num_connections), timeout)
    except EnvironmentProblem as problem:
        with contextlib.suppress(OSError):
            folder.rmdir()  # if nothing arrived
        raise EnvironmentProblem(f"{problem}; where there is a network run: {command}") from problem
    print(f"{folder}: fetched {_summary(record)}", file=sys.stderr)


def _read_record(folder: Path, what: str, name: str) -> dict[str, Any]:
    path = folder / RECORD
    if not path.exists():
        _refuse_other_files(folder)
        return {"what": what, "name": name, "complete": False, "files": {}}
    remedy = "give another --dir, or delete that folder and fetch again"
    try:
        record = read_json(path)
    except DataError as error:
        raise DataError(f"{error}; {remedy}") from error
    if isinstance(record, dict) and isinstance(record.get("what"), str) and isinstance(record.get("name"), str):
        if (record["what"], record["name"]) != (what, name):
            raise UsageError(
                f"{folder}: holds {record['what']} {record['name']} already; give {what} {name} another --dir"
            )
        fault = _fault(record)
    else:
        fault = "does not say what was fetched"
    if fault is not None:
        raise DataError(f"{path}: is not what fetch writes ({fault}); {remedy}")
    return dict(record)


def _refuse_other_files(folder: Path) -> None:
    """Raise UsageError where a download could overwrite files that no fetch brought."""
    if not folder.is_dir():
        return
    with write_errors(folder):
        names = sorted(path.name for path in folder.iterdir())
    # a fetch that was killed before its first record leaves that record's temporary file
    others = [n for n in names if n != PARTIAL_DIR and not (n.startswith(f".{RECORD}.") and n.endswith(TEMPORARY))]
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise UsageError(
            f"{folder}: holds {others[0]}{more} but no {RECORD}, so fetch might overwrite files that it did not bring; "
            "give another --dir"
        )


def _fault(record: dict[str, Any]) -> str | None:
    """What of a record is not as `_fetch` writes it: files are deleted by what it says, and anyone may have edited it.

    Paths are held to the rule that `list_files` holds the hub to.
    """
    complete, files = record.get("complete", False), record.get("files")
    if not isinstance(complete, bool):
        return "'complete' is neither true nor false"
    for key in ("repo_id", "revision", "commit"):
        value = record.get(key)
        if not isinstance(value, str) and (complete or value is not None):
            return f"'{key}' is missing or no text"
    if not isinstance(files, dict) or (complete and not files):
        return "'files' holds no files by path"
    for file, entry in files.items():
        pure = PurePosixPath(file)
        if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\0" in file:
            return f"{file!r} is no path inside of the folder"
        if not isinstance(entry, dict) or type(entry.get("size")) is not int or type(entry.get("sha256")) is not str:
            return f"{file!r} has no size or no sha256"
    return None


def _is_whole(path: Path, entry: dict[str, Any]) -> bool:
    return path.is_file() and path.stat().st_size == entry["size"] and sha256_file(path) == entry["sha256"]


def _summary(record: dict[str, Any]) -> str:
    size = sum(entry["size"] for entry in record["files"].values())
    return f"{record['repo_id']}@{record['commit'][:12]}: {len(record['files'])} files, {size / 1e6:,.1f} MB"


def _fetch(
    folder: Path, wanted: Wanted, revision: str, record: dict[str, Any], num_connections: int, timeout: float
) -> None:
    endpoint = hub_endpoint()
    shown = redact(endpoint)  # it may hold a password
    reason = probe_hub(endpoint, timeout)
    if reason is not None:
        raise EnvironmentProblem(f"{shown}: not reachable ({redact(reason)})")
    with hub_errors(wanted, revision, shown):
        commit, files = list_files(wanted, revision, endpoint)
    recorded = record["files"]
    same = {file.path for file in files if recorded.get(file.path, {}).get("oid") == file.oid}
    missing = [f for f in files if not (f.path in same and _is_whole(folder / f.path, recorded[f.path]))]
    absent = {file.path for file in missing}
    for path in recorded.keys() - {file.path for file in files}:
        with write_errors(folder / path):
            (folder / path).unlink(missing_ok=True)
    record |= {
        "complete": False,
        "endpoint": shown,
        "repo_id": wanted.repo_id,
        "repo_type": wanted.repo_type,
        "revision": revision,
        "commit": commit,
        "files": {file.path: recorded[file.path] for file in files if file.path not in absent},
    }
    needed, free = sum(file.size for file in missing), shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(f"{folder}: {needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free; choose another --dir")
    write_json(folder / RECORD, record)
    lock = threading.Lock()

    def bring(file: RemoteFile) -> None:
        with hub_errors(wanted, revision, shown):
            digest = download_file(folder, wanted, commit, file, endpoint)
        with lock:
            record["files"][file.path] = {"sha256": digest, "size": file.size, "oid": file.oid}
            write_json(folder / RECORD, record)

    with ThreadPoolExecutor(num_connections) as pool:
        outcomes = [pool.submit(bring, file) for file in missing]
        try:
            for outcome in outcomes:
                outcome.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    shutil.rmtree(folder / PARTIAL_DIR, ignore_errors=True)
    record["files"] = dict(sorted(record["files"].items()))
    record["complete"] = True
    write_json(folder / RECORD, record)
