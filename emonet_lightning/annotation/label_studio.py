"""Label Studio over HTTP: the few calls that a campaign needs, on a server of this machine only.

httpx, not the server's own client library: that pins OpenCV below the version used here and brings 20 packages more.
"""

import contextlib
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from emonet_lightning.errors import DataError, EnvironmentProblem, UsageError
from emonet_lightning.io import sha256_bytes

if TYPE_CHECKING:
    import httpx

URL, TOKEN = "LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY"
DEFAULT_URL = "http://localhost:8080"
_LOCAL = {"localhost", "127.0.0.1", "::1"}
_SECONDS = 300.0  # a server with one process and SQLite may be busy with another rater's export
_PAGE = 500


class LabelStudio:
    """A server that a token was given for.

    Tokens of both kinds are understood: personal access tokens (the default since 1.18; exchanged for one that lives
    for minutes) and legacy ones.
    """

    def __init__(self, url: str, token: str) -> None:
        try:
            import httpx
        except ImportError as error:
            raise EnvironmentProblem("httpx is not installed; install it with: pip install '.[annotate]'") from error
        if urlsplit(url).hostname not in _LOCAL:
            raise UsageError(
                f"{URL}: the server must be on this machine (localhost): faces are not sent to another one; raters "
                "elsewhere reach it through a tunnel"
            )
        self.url, self._token = url.rstrip("/"), token
        self._client = httpx.Client(
            base_url=self.url,
            timeout=_SECONDS,
            transport=httpx.HTTPTransport(retries=2),
            trust_env=False,  # no proxy sees them either
        )

    @classmethod
    def from_environment(cls) -> "LabelStudio":
        """Open the server that LABEL_STUDIO_URL names, with the token in LABEL_STUDIO_API_KEY.

        Raises:
            UsageError: no token, or a server on another machine.
            EnvironmentProblem: httpx is not installed.
        """
        token = os.environ.get(TOKEN, "").strip()
        if not token:
            raise UsageError(f"{TOKEN} is not set; copy a token from Label Studio (Account & Settings) into it")
        return cls(os.environ.get(URL, "").strip() or DEFAULT_URL, token)

    def projects(self) -> dict[str, int]:
        """Return description -> id of all projects with a description."""
        found: dict[str, int] = {}
        for page in itertools.count(1):
            answer = self._json("GET", "/api/projects/", params={"page": page, "page_size": _PAGE})
            found |= {project["description"]: project["id"] for project in answer["results"] if project["description"]}
            if not answer["next"]:
                break
        return found

    def create_project(self, title: str, description: str, config: str, instructions: str) -> int:
        """Create a project; returns its id."""
        options = {
            "title": title,
            "description": description,
            "label_config": config,
            "expert_instruction": instructions,
            "show_instruction": bool(instructions),
            "show_skip_button": False,
            "show_annotation_history": False,
            "maximum_annotations": 1,
            "sampling": "Sequential sampling",
        }
        number: int = self._json("POST", "/api/projects/", json=options)["id"]
        return number

    def serve_folder(self, project: int, folder: Path) -> None:
        """Let the server show the images of a folder to who may see a project; does nothing where it does so already.

        Raises:
            EnvironmentProblem: the server may not serve this folder.
        """
        path = str(folder.resolve())
        stores = self._json("GET", "/api/storages/localfiles/", params={"project": project})
        if any(store["path"] == path for store in stores):
            return
        store = {"project": project, "path": path, "title": folder.name, "use_blob_urls": True}
        response = self._send("POST", "/api/storages/localfiles/", json=store)
        if response.is_error:
            raise EnvironmentProblem(
                f"Label Studio may not serve {path} ({_reason(response)}); start it with "
                f"LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT="
                f"{folder.resolve().parent}"
            )

    def address_of(self, image: Path) -> str:
        """Return the path under which the server shows a file of a served folder, by asking for it.

        It is relative to the server's document root, which only the server knows.

        Raises:
            EnvironmentProblem: it shows the file under none.
        """
        content = image.read_bytes()
        parts = image.resolve().parts[1:]
        for first in range(len(parts) - 2, -1, -1):
            place = "/".join(parts[first:])
            response = self._send("GET", "/data/local-files/", params={"d": place})
            if response.is_success and sha256_bytes(response.content) == sha256_bytes(content):
                return f"/data/local-files/?d={quote(place)}"
        raise EnvironmentProblem(f"Label Studio does not show {image}; start it with its document root above it")

    def tasks(self, project: int) -> list[dict[str, Any]]:
        """Return the tasks of a project: `id`, `data`, `total_annotations`."""
        found: list[dict[str, Any]] = []
        for page in itertools.count(1):
            query: dict[str, str | int] = {"project": project, "page": page, "page_size": _PAGE, "fields": "task_only"}
            answer = self._json("GET", "/api/tasks/", params=query)
            found += answer["tasks"]
            if len(found) >= answer["total"]:
                break
        return found

    def import_tasks(self, project: int, data: list[dict[str, Any]]) -> None:
        """Add tasks to a project."""
        self._json("POST", f"/api/projects/{project}/import", json=[{"data": task} for task in data])

    def delete_task(self, task: int) -> None:
        """Delete a task."""
        self._checked(self._send("DELETE", f"/api/tasks/{task}/"))

    def export(self, project: int) -> bytes:
        """Return the JSON export of a project, tasks without answer included.

        Raises:
            DataError: it is not there any more.
        """
        query = {"exportType": "JSON", "download_all_tasks": "true"}
        response = self._send("GET", f"/api/projects/{project}/export", params=query)
        if response.status_code == 404:
            raise DataError(
                f"{self.url}: has no project {project}, which the campaign made; it was deleted there (take it from a "
                f"backup), or {URL} names another server"
            )
        return self._checked(response).content

    def _json(self, method: str, path: str, **options: Any) -> Any:
        return self._checked(self._send(method, path, **options)).json()

    def _checked(self, response: "httpx.Response") -> "httpx.Response":
        if response.is_error:
            raise DataError(
                f"Label Studio refused {response.request.method} {response.request.url.path}: "
                f"{response.status_code} {_reason(response)}"
            )
        return response

    def _send(self, method: str, path: str, **options: Any) -> "httpx.Response":
        with self._connection_errors():
            if "Authorization" not in self._client.headers:
                self._authorise()
            response = self._client.request(method, path, **options)
            if response.status_code == 401:  # the short-lived token has expired
                self._authorise()
                response = self._client.request(method, path, **options)
        if response.status_code == 401:
            raise UsageError(f"{self.url}: Label Studio does not know the token in {TOKEN}; copy it anew")
        return response

    def _authorise(self) -> None:
        if not self._token.startswith("eyJ"):  # JSON in base64, as every personal access token begins
            self._client.headers["Authorization"] = f"Token {self._token}"
            return
        response = self._client.post("/api/token/refresh/", json={"refresh": self._token})
        if response.is_error:
            raise UsageError(f"{self.url}: Label Studio does not take the token in {TOKEN}; copy it anew")
        self._client.headers["Authorization"] = f"Bearer {response.json()['access']}"

    @contextlib.contextmanager
    def _connection_errors(self) -> Iterator[None]:
        import httpx

        try:
            yield
        except httpx.TransportError as error:
            raise EnvironmentProblem(
                f"{self.url}: no answer from Label Studio ({type(error).__name__}); start it, or set {URL}; "
                "what is done is kept, the same command goes on"
            ) from error


def _reason(response: "httpx.Response") -> str:
    """What the server says about an error, on one line."""
    try:
        content = response.json()
    except json.JSONDecodeError:
        return " ".join(response.text.split())[:200]
    details = (
        content.get("validation_errors") or content.get("detail") or content if isinstance(content, dict) else content
    )
    return " ".join(json.dumps(details, ensure_ascii=False).split())[:300]
