"""The hub's few operations that `fetch` and `doctor` need: is it there, what does a revision hold, bring one file.

Bytes are read over plain HTTP ranges and not by `snapshot_download`, because huggingface_hub 2 drops the partial
file of a killed download, and one file of the BIG set is gigabytes.
"""

import contextlib
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from emonet_lightning.errors import DataError, EmoNetError, EnvironmentProblem, MissingInputError, OutputError
from emonet_lightning.io import atomic_write, make_folder, sha256_bytes, sha256_file, write_errors

PARTIAL_DIR = ".fetch-partial"
RECORD = "fetched.json"


@dataclass(frozen=True)
class Wanted:
    """A hub repository and which of its files are wanted.

    `weights` lists the weight files that the library would try, best first; empty means every file.
    """

    repo_id: str
    repo_type: Literal["model", "dataset"]
    weights: tuple[str, ...] = ()
    revision: str | None = None


@dataclass(frozen=True)
class RemoteFile:
    """One file of a commit."""

    path: str
    size: int
    oid: str
    """What the hub says of the content: sha256 for large files, git's blob sha1 for small ones."""


def hub_endpoint() -> str:
    """Return the hub's address: HF_ENDPOINT, or the public one."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def probe_hub(endpoint: str, timeout: float) -> str | None:
    """Ask the hub for any answer; return None if it gave one, else the reason in a few words.

    Runs in a thread that is abandoned after `timeout` seconds: name resolution has no time limit of its own.
    """
    from huggingface_hub import get_session, is_offline_mode

    if is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    outcome: list[str | None] = []

    def ask() -> None:
        try:
            get_session().head(endpoint, timeout=timeout)
            outcome.append(None)
        except Exception as error:  # the client's errors differ by huggingface_hub version
            outcome.append(_one_line(error) or type(error).__name__)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout)
    return outcome[0] if outcome else f"no answer within {timeout:g} s"


def list_files(wanted: Wanted, revision: str, endpoint: str) -> tuple[str, list[RemoteFile]]:
    """Return the commit that a revision means now, and the wanted files in it.

    Raises:
        MissingInputError: none of the wanted files is there.
        DataError: a file name would leave the target folder.
    """
    from huggingface_hub import HfApi

    info: Any = HfApi(endpoint=endpoint).repo_info(
        wanted.repo_id, revision=revision, repo_type=wanted.repo_type, files_metadata=True, timeout=30
    )
    listed = {}
    for entry in info.siblings or []:
        if PurePosixPath(entry.rfilename).is_absolute() or ".." in PurePosixPath(entry.rfilename).parts:
            raise DataError(f"{wanted.repo_id}: lists a file outside its own folder ({entry.rfilename!r}); not fetched")
        oid = entry.lfs.sha256 if entry.lfs else entry.blob_id
        if oid is None or not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", oid):
            raise DataError(f"{wanted.repo_id}: the hub gives no digest for {entry.rfilename!r}; not fetched")
        if entry.rfilename not in (".gitattributes", RECORD):
            listed[entry.rfilename] = RemoteFile(entry.rfilename, int(entry.size or 0), oid)
    if wanted.weights:
        chosen = next((path for path in wanted.weights if path in listed), None)
        if chosen is None:
            raise MissingInputError(f"{wanted.repo_id}@{revision}: holds none of {', '.join(wanted.weights)}")
        listed = {path: file for path, file in listed.items() if path == chosen or path.endswith((".json", ".md"))}
    if not listed:
        raise MissingInputError(f"{wanted.repo_id}@{revision}: holds no files")
    return str(info.sha), list(listed.values())


def download_file(folder: Path, wanted: Wanted, commit: str, file: RemoteFile, endpoint: str) -> str:
    """Download one file into `folder`, continuing a partial one; returns its sha256.

    Raises:
        DataError: the content's digest is not what the hub lists.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(wanted.repo_id, file.path, repo_type=wanted.repo_type, revision=commit, endpoint=endpoint)
    partial = make_folder(folder / PARTIAL_DIR) / f"{file.oid}-{sha256_bytes(file.path.encode())[:8]}"
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}  # a compressed answer has no length and no ranges
    for _ in range(2):
        with partial.open("ab") as stream:
            begun = stream.tell()
            if begun < file.size:
                http_get(
                    url,
                    stream,
                    resume_size=begun,
                    headers=headers,
                    expected_size=file.size,
                    displayed_filename=file.path,
                )
        if _content_oid(partial, file.oid) == file.oid:
            with write_errors(folder / file.path):
                return atomic_write(folder / file.path, lambda temporary: os.replace(partial, temporary))
        partial.unlink()
        if not begun:  # a resumed file may have been spoilt before this call; a fresh one was not
            break
    raise DataError(f"{file.path}: what arrived is not what {endpoint} lists (digest differs); run the command again")


def _content_oid(path: Path, oid: str) -> str:
    if len(oid) == 64:
        return sha256_file(path)
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    digest.update(path.read_bytes())
    return digest.hexdigest()


@contextlib.contextmanager
def hub_errors(wanted: Wanted, revision: str, endpoint: str) -> Iterator[None]:
    """Turn what the hub client raises into one line."""
    from huggingface_hub import errors

    try:
        yield
    except EmoNetError:
        raise
    except errors.GatedRepoError as error:
        raise EnvironmentProblem(
            f"{wanted.repo_id}: needs its terms accepted on {endpoint} and a token (`hf auth login`)"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise MissingInputError(f"{endpoint}: has no {wanted.repo_type} '{wanted.repo_id}' for you") from error
    except (errors.RevisionNotFoundError, errors.BadRequestError) as error:
        raise MissingInputError(
            f"{wanted.repo_id}: no revision '{revision}'; give a branch, a tag or a full commit id"
        ) from error
    except errors.HfHubHTTPError as error:
        raise EnvironmentProblem(f"{endpoint}: {_one_line(error)}; what arrived is kept") from error
    except json.JSONDecodeError as error:
        raise EnvironmentProblem(f"{endpoint}: does not answer as a hub ({_one_line(error)})") from error
    except OSError as error:
        if error.errno is None:
            raise EnvironmentProblem(f"{endpoint}: {_one_line(error)}; what arrived is kept") from error
        raise OutputError(
            f"{error.filename or 'target folder'}: {error.strerror}; check permission and space"
        ) from error
    except Exception as error:  # the HTTP library below huggingface_hub differs by version
        if type(error).__module__.split(".")[0] in ("httpx", "httpx2", "httpcore", "requests"):
            raise EnvironmentProblem(f"{endpoint}: {_one_line(error)}; what arrived is kept") from error
        raise


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
