"""A small hub on the loopback, for the real huggingface_hub client, with faults by path.

Speaks api/{datasets,models}/<id>/revision/<rev>, /tree/<rev>, /paths-info/<rev>, and resolve/<rev>/<path> with HEAD,
GET, ranges and the redirect of large files to another path ("CDN"), as the hub does.
"""

import contextlib
import hashlib
import http.server
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from openai_server import Listening

COMMIT = "c0ffee" + "0" * 34
HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"


@dataclass
class Hub:
    """What the server holds, what goes wrong with it, and what it was asked.

    Attributes:
        files: "<datasets or models>/<owner>/<name>" -> path -> bytes.
        faults: path (of any repository) -> what is done in place of an answer: "404", "401", "gated", "html", "page",
            "stall", "wrong bytes", "wrong size", ["503", times], ["503 GET", times], ["cut", times].
        large: bytes from which a file is a large one (LFS: known by its sha256, and redirected).
        ranges: whether a part of a file can be asked for.
        needs: the token without which all is refused, or None.
        asked: (method, path, Range header or None) of each request for a file.
    """

    files: dict[str, dict[str, bytes]]
    faults: dict[str, Any] = field(default_factory=dict)
    large: int = 1000
    ranges: bool = True
    needs: str | None = None
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    endpoint: str = ""
    released: threading.Event = field(default_factory=threading.Event)

    def info(self, repository: str, path: str) -> dict[str, Any]:
        """An entry of the tree."""
        content = self.files[repository][path]
        sha1 = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
        found = {"type": "file", "path": path, "size": len(content), "oid": sha1}
        if len(content) >= self.large:
            lfs = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
            found["lfs"] = lfs
        return found

    def count(self, method: str, path: str) -> int:
        return sum((method, path) == each[:2] for each in self.asked)


@contextlib.contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """The hub at `hub.endpoint`, a port of its own."""
    server = Listening(("127.0.0.1", 0), _handler(hub))
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.released.set()
        server.shutdown()
        server.server_close()


def _handler(hub: Hub) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self._serve()

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def _serve(self) -> None:
            path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                if found := re.fullmatch(
                    r"/api/((?:datasets|models)/[^/]+/[^/]+)/(revision|tree|paths-info)/(.+)", path
                ):
                    self._api(*found.groups(), body)
                elif found := re.fullmatch(r"/(cdn/)?(datasets/|models/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                    cdn, kind, name, revision, file = found.groups()
                    self._file(f"{kind or 'models/'}{name}", revision, file, bool(cdn))
                else:
                    self._answer(404, b"")

        def _refused(self, repository: str) -> bool:
            if repository not in hub.files:
                self._error(401, "RepoNotFound")
            elif hub.needs and self.headers.get("Authorization") != f"Bearer {hub.needs}":
                self._error(401, "GatedRepo")
            else:
                return False
            return True

        def _api(self, repository: str, what: str, revision: str, body: str) -> None:
            if self._fault(f"api/{what}") or self._refused(repository):
                return
            if revision.split("/")[0] not in ("main", COMMIT):
                self._error(404, "RevisionNotFound")
            elif what == "revision":
                self._json({"id": repository.split("/", 1)[1], "sha": COMMIT, "siblings": [], "private": False})
            else:
                paths = list(hub.files[repository])
                if what == "paths-info":
                    paths = [path for path in urllib.parse.parse_qs(body)["paths"] if path in paths]
                else:
                    paths = [path for path in paths if "/" not in path]
                self._json([hub.info(repository, path) for path in paths])

        def _file(self, repository: str, revision: str, file: str, cdn: bool) -> None:
            hub.asked.append((self.command, file, self.headers.get("Range")))
            if not cdn and self._refused(repository):
                return
            fault = hub.faults.get(file)
            if not (cdn and isinstance(fault, str) and fault in ("404", "401", "gated")) and self._fault(file):
                return
            if file not in hub.files[repository]:
                self._error(404, "EntryNotFound")
                return
            content, info = hub.files[repository][file], hub.info(repository, file)
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{info["oid"]}"', "Accept-Ranges": "bytes"}
            if "lfs" in info and not cdn:
                linked = {"X-Linked-Etag": f'"{info["lfs"]["oid"]}"', "X-Linked-Size": str(len(content))}
                place = f"{hub.endpoint}/cdn/{repository}/resolve/{revision}/{file}"
                self._answer(302, b"", {**headers, **linked, "Location": place})
                return
            if self.command == "GET":
                if fault == "wrong bytes":
                    content = content[:-1] + bytes([content[-1] ^ 1])
                elif fault == "wrong size":
                    content = content[:-1]
                elif fault == "page":  # a page that does not say so
                    content = HTML.ljust(len(content))
            self._content(file, content, headers)

        def _content(self, file: str, content: bytes, headers: dict[str, str]) -> None:
            status, start = 200, 0
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            if asked and hub.ranges:
                status, start = 206, int(asked[1])
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            content = content[start:]
            fault = hub.faults.get(file)
            if self.command == "GET" and (
                fault == "stall" or (isinstance(fault, list) and fault[0] == "cut" and fault[1])
            ):
                self._answer(status, content[: len(content) // 2], headers, length=len(content))
                self.wfile.flush()
                if fault == "stall":
                    hub.released.wait()
                else:
                    fault[1] -= 1
                self.close_connection = True
            else:
                self._answer(status, content, headers)

        def _fault(self, path: str) -> bool:
            """Whether a fault of this path was the answer."""
            fault = hub.faults.get(path)
            if fault == "404":
                self._error(404, "EntryNotFound")
            elif fault == "401":
                self._error(401, "")
            elif fault == "gated":
                self._error(403, "GatedRepo")
            elif fault == "html":
                self._answer(200, HTML, {"Content-Type": "text/html; charset=utf-8"})
            elif isinstance(fault, list) and fault[0] in ("503", f"503 {self.command}") and fault[1]:
                fault[1] -= 1
                self._answer(503, b"busy")
            else:
                return False
            return True

        def _error(self, status: int, code: str) -> None:
            self._answer(status, b"{}", {"X-Error-Code": code, "X-Repo-Commit": COMMIT} if code else {})

        def _json(self, value: Any) -> None:
            self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def _answer(
            self, status: int, content: bytes, headers: dict[str, str] | None = None, length: int | None = None
        ) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": "application/octet-stream", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content) if length is None else length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    return Handler
