"""A real Label Studio server for tests, as the README starts it, and raters who answer over its API."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from emonet_lightning.annotation.label_studio import TOKEN, URL

EXECUTABLE = "EMONET_LABEL_STUDIO"
QUIET = {"COLLECT_ANALYTICS": "false", "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": "", "LATEST_VERSION_CHECK": "false"}
EMAIL, PASSWORD = "rater@example.org", "a-password-of-tests"


def executable():
    """Path of the server's command; skips where there is none."""
    found = os.environ.get(EXECUTABLE) or shutil.which("label-studio")
    if not found or not Path(found).is_file():
        pytest.skip(f"no Label Studio here: {EXECUTABLE} names no executable, and none is on PATH")
    return found


@contextlib.contextmanager
def serving(folder):
    """Start a server that the commands are told of by their variables; stop it at the end."""
    running = Server(folder)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(URL, running.url)
            patch.setenv(TOKEN, running.token)
            yield running
    finally:
        running.stop()


class Server:
    """A running server: `url`, `token`, `root` (what it may serve) and a client that is logged in."""

    def __init__(self, folder):
        self.root = folder / "served"
        self.root.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        environment = {
            **{name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "LABEL_STUDIO_URL")},
            **QUIET,
            "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
            "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(self.root),
            "LABEL_STUDIO_BASE_DATA_DIR": str(folder / "data"),
        }
        self.log = folder / "server.log"
        words = [executable(), "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port),
                 "--data-dir", str(folder / "data"), "--username", EMAIL, "--password", PASSWORD]  # fmt: skip
        with self.log.open("wb") as stream:
            self.process = subprocess.Popen(words, stdout=stream, stderr=stream, env=environment, cwd=folder)
        self.client = self._log_in()
        answer = self.client.post("/api/token/", headers=self._csrf())
        answer.raise_for_status()
        self.token = answer.json()["token"]

    def _log_in(self):
        import httpx

        client = httpx.Client(base_url=self.url, follow_redirects=True, headers={"Referer": self.url}, timeout=120)
        for _ in range(300):
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            try:
                if client.get("/health").is_success:
                    break
            except httpx.TransportError:
                time.sleep(1)
        page = client.get("/user/login/").text
        csrf = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[1]
        form = {"csrfmiddlewaretoken": csrf, "email": EMAIL, "password": PASSWORD}
        client.post("/user/login/", data=form).raise_for_status()
        return client

    def _csrf(self):
        return {"X-CSRFToken": self.client.cookies["csrftoken"]}

    def tasks(self, project):
        """All tasks of a project."""
        found = self.client.get("/api/tasks/", params={"project": project, "page_size": 1000, "fields": "task_only"})
        return found.json()["tasks"]

    def answer(self, task, result, seconds=2.5):
        """Submit an answer to a task, as the page does."""
        body = {"result": result, "lead_time": seconds}
        self.client.post(f"/api/tasks/{task}/annotations/", json=body, headers=self._csrf()).raise_for_status()

    def add_task(self, project, data):
        """Import a task as somebody could by hand."""
        body = [{"data": data}]
        self.client.post(f"/api/projects/{project}/import", json=body, headers=self._csrf()).raise_for_status()

    def delete(self, project):
        """Delete a project."""
        self.client.delete(f"/api/projects/{project}/", headers=self._csrf()).raise_for_status()

    def project_ids(self):
        """Ids of all projects."""
        return [p["id"] for p in self.client.get("/api/projects/", params={"page_size": 1000}).json()["results"]]

    def stop(self):
        """End the server."""
        self.process.terminate()
        self.process.wait(60)


def chosen(value, name="answer", to="image"):
    """Result of a choice."""
    return [{"from_name": name, "to_name": to, "type": "choices", "value": {"choices": [value]}}]


def rated(levels):
    """Result of sliders: name of the slider -> level."""
    return [
        {"from_name": name, "to_name": "image", "type": "number", "value": {"number": level}}
        for name, level in levels.items()
    ]
