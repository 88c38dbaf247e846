"""A server on this machine that speaks the few hub requests that `fetch` needs, and can fail as networks do."""

import hashlib
import http.server
import json
import urllib.parse
from typing import Any


class Hub(http.server.ThreadingHTTPServer):
    """Repositories in memory: `repos[kind/id][revision] = (commit, {path: content})`; large files are listed as LFS."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, dict[str, tuple[str, dict[str, bytes]]]] = {}
        self.downloads: list[tuple[str, str | None]] = []
        self.cut_after: int | None = None
        self.broken = False
        self.lie: bytes | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        pass

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self._answer(200, b"")

    def do_GET(self) -> None:
        path = urllib.parse.unquote(self.path.split("?")[0])
        if path.startswith("/api/"):
            kind, owner, name, _, revision = path.removeprefix("/api/").split("/", 4)
            repo = self.server.repos.get(f"{kind}/{owner}/{name}")
            if repo is None:
                return self._answer(404, b"{}", X_Error_Code="RepoNotFound")
            by_revision = repo | {commit: (commit, files) for commit, files in repo.values()}
            if revision not in by_revision:
                return self._answer(404, b"{}", X_Error_Code="RevisionNotFound")
            commit, files = by_revision[revision]
            siblings = [_sibling(path, content) for path, content in files.items()]
            return self._answer(
                200, json.dumps({"id": f"{owner}/{name}", "sha": commit, "siblings": siblings}).encode()
            )
        kind, _, rest = path[1:].partition("/") if path.startswith("/datasets/") else ("models", "", path[1:])
        owner, name, _, commit, file = rest.split("/", 4)
        files = dict(self.server.repos[f"{kind}/{owner}/{name}"].values())[commit]
        body = files[file] if self.server.lie is None else self.server.lie
        self.server.downloads.append((file, self.headers.get("Range")))
        if self.server.broken:
            return self._answer(503, b"down")
        if self.headers.get("Range"):
            start = int(self.headers["Range"].removeprefix("bytes=").split("-")[0])
            return self._answer(206, body[start:], Content_Range=f"bytes {start}-{len(body) - 1}/{len(body)}")
        if self.server.cut_after is not None and self.server.cut_after < len(body):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: self.server.cut_after])
            self.wfile.flush()
            self.server.broken = True
            self.close_connection = True
            return None
        return self._answer(200, body)


def _sibling(path: str, content: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    sibling: dict[str, Any] = {"rfilename": path, "size": len(content), "blobId": blob}
    if path.endswith((".parquet", ".pth", ".safetensors", ".bin")):
        digest = hashlib.sha256(content).hexdigest()
        sibling["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 130}
    return sibling
