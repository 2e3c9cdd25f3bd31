"""A stand-in for the Hugging Face hub on this machine: what its own library asks for to push and pull small files."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

COMMIT = "0" * 40
Repositories = dict[str, dict[str, bytes]]  # the files of each repository, by name


class Hub(BaseHTTPRequestHandler):
    """Repositories in memory. Pushing asks for a token; whatever it is, it is taken."""

    repositories: Repositories
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "Bearer" not in self.headers.get("Authorization", ""):
            self._answer(401, {"error": "Invalid username or password."})
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            self.repositories.setdefault(name, {})
            self._answer(200, {"url": f"http://{self.headers['Host']}/{name}", "name": name})
        elif self.path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self._answer(200, {"files": files})
        else:
            self._commit(self.path.removeprefix("/api/models/").partition("/commit/")[0], body)

    def _commit(self, repository: str, body: bytes) -> None:
        for line in map(json.loads, body.decode().splitlines()):
            if line["key"] == "file":
                content = base64.b64decode(line["value"]["content"])
                self.repositories[repository][line["value"]["path"]] = content
        self._answer(
            200, {"commitOid": COMMIT, "commitUrl": f"http://{self.headers['Host']}/{repository}/commit/{COMMIT}"}
        )

    def do_GET(self) -> None:
        if self.path.startswith("/api/models/"):
            self._answer(200, {"id": "a/b", "sha": COMMIT, "siblings": []})
            return
        repository, _, file = self.path.lstrip("/").partition("/resolve/main/")
        if repository not in self.repositories:
            self._answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return
        content = self.repositories[repository].get(file.partition("?")[0])
        if content is None:
            self._answer(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        else:
            etag = hashlib.sha256(content).hexdigest()
            self._answer(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

    do_HEAD = do_GET

    def _answer(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            **(headers or {}),
            "Content-Length": str(len(body)),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""


@contextmanager
def serving() -> Iterator[tuple[str, Repositories]]:
    """Within the block a hub answers at the address that is given, with the repositories it holds."""
    repositories: Repositories = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Served", (Hub,), {"repositories": repositories}))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", repositories
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
