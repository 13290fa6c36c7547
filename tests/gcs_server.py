"""A stand-in for Google's storage: as much of its JSON API as pyarrow uses, in a thread."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

BUCKET = "bucket"


class Storage(ThreadingHTTPServer):
    """One bucket; `objects` by key, `uploads` not finished yet by their number."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, tuple[str, bytes]] = {}

    def url(self, folder: str) -> str:
        """`gs://` for pyarrow, without credentials."""
        where = f"127.0.0.1:{self.server_address[1]}"
        query = f"scheme=http&endpoint_override={where}&retry_limit_seconds=2"
        return f"gs://anonymous@{BUCKET}/{folder}?{query}"


class Handler(BaseHTTPRequestHandler):
    """Objects are read (in ranges), listed by prefix, and uploaded in resumable pieces."""

    protocol_version = "HTTP/1.1"
    server: Storage

    def do_GET(self) -> None:
        path, query = self.split()
        if path == f"/storage/v1/b/{BUCKET}/o":
            self.answer(200, {"items": self.listed(query["prefix"])})
            return
        key = path.rpartition("/o/")[2]
        if not path.startswith(f"/storage/v1/b/{BUCKET}/o/") or key not in self.server.objects:
            self.answer(404, {})
        elif query.get("alt") == "media":
            content = self.server.objects[key]
            span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            first = int(span[1]) if span else 0
            last = min(int(span[2] or len(content)) if span else len(content), len(content) - 1)
            headers = {"Content-Range": f"bytes {first}-{last}/{len(content)}"} if span else {}
            self.send(206 if span else 200, content[first : last + 1], headers)
        else:
            self.answer(200, self.facts(key))

    def do_POST(self) -> None:
        path, query = self.split()
        if path != f"/upload/storage/v1/b/{BUCKET}/o":
            self.answer(404, {})
            return
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        number = str(len(self.server.uploads))
        self.server.uploads[number] = (query["name"], b"")
        where = f"http://127.0.0.1:{self.server.server_address[1]}/session/{number}"
        self.send(200, b"", {"Location": where})

    def do_PUT(self) -> None:
        number = self.split()[0].rpartition("/")[2]
        key, content = self.server.uploads[number]
        content += self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.uploads[number] = (key, content)
        if self.headers["Content-Range"].endswith("/*"):
            self.send(308, b"", {"Range": f"bytes=0-{len(content) - 1}"})
        else:
            self.server.objects[key] = content
            self.answer(200, self.facts(key))

    def split(self) -> tuple[str, dict[str, str]]:
        parts = urlsplit(self.path)
        return unquote(parts.path), {k: v[0] for k, v in parse_qs(parts.query).items()}

    def listed(self, prefix: str) -> list[dict[str, object]]:
        keys = [key for key in sorted(self.server.objects) if key.startswith(prefix)]
        return [self.facts(key) for key in keys if "/" not in key.removeprefix(prefix)]

    def facts(self, key: str) -> dict[str, object]:
        size = str(len(self.server.objects[key]))
        facts = {"kind": "storage#object", "bucket": BUCKET, "name": key, "size": size}
        return {**facts, "generation": "1", "metageneration": "1"}

    def answer(self, status: int, content: dict[str, object]) -> None:
        headers = {"Content-Type": "application/json"}
        self.send(status, json.dumps(content).encode(), headers)

    def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def gcs() -> Iterator[Storage]:
    """An empty bucket."""
    server = Storage()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
