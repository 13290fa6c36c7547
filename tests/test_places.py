from __future__ import annotations

import errno
import hashlib
import multiprocessing
import pickle
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from tiny import build_data

from camsweep.shards.errors import InputError
from camsweep.shards.places import ChangedFile, LostFile, Place, as_place, redact
from camsweep.shards.reader import open_split
from camsweep.shards.verify import verify

SECRETS = ("hunter2", "AKIDEXAMPLE")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# What a user may write


def test_a_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place = as_place("data/voc12/")
    assert place.local == tmp_path / "data" / "voc12"
    assert str(place) == str(tmp_path / "data" / "voc12")
    assert place.name("a.tar") == f"{tmp_path}/data/voc12/a.tar"
    assert as_place(Path("data/voc12")) == place == as_place(place)
    assert as_place((tmp_path / "data" / "voc12").as_uri()) == place


def test_a_place_is_equal_hashable_and_picklable() -> None:
    place = as_place("s3://bucket/voc12/?endpoint_override=http://127.0.0.1:1&region=eu-west-1")
    assert place.url == "s3://bucket/voc12?endpoint_override=http://127.0.0.1:1&region=eu-west-1"
    assert place.local is None
    assert str(place) == "s3://bucket/voc12"
    assert place.name("a.tar") == "s3://bucket/voc12/a.tar"
    assert pickle.loads(pickle.dumps(place)) == place
    assert len({place, pickle.loads(pickle.dumps(place))}) == 1


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s4://bucket/x", r"s4://bucket/x: unknown scheme 's4'; did you mean 's3'\?"),
        ("ftp://host/x", "unknown scheme 'ftp'"),
        ("s3:///x", "names no bucket"),
        ("https://", "names no host"),
        ("s3://bucket/x#1", "'#'"),
        ("", "empty name"),
        ("~nobody-of-this-name/x", "~nobody-of-this-name/x: "),
    ],
)
def test_a_wrong_url_is_one_line(url: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as error:
        as_place(url)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIDEXAMPLE:hunter2@bucket/x",
        "s3://bucket/x?access_key=AKIDEXAMPLE&secret_key=hunter2",
        "s3://bucket/x?endpoint_override=http://AKIDEXAMPLE:hunter2@host:9000",
        "s3://bucket/x?endpoint_override=http%3A%2F%2FAKIDEXAMPLE%3Ahunter2%40host",
        "https://user:hunter2@host/x",
        "https://bucket.s3.amazonaws.com/x?X-Amz-Credential=AKIDEXAMPLE&X-Amz-Signature=hunter2",
        "https://storage.googleapis.com/b/x?x-goog-signature=hunter2",
        "https://host/x?token=hunter2",
        "https://host/x?v=1&sig=hunter2",
        "s3://AKIDEXAMPLE:hunter2/more@bucket/x",
        "s3://AKIDEXAMPLE:hunter2/x",
        "s3://AKIDEXAMPLE%3Ahunter2%40bucket/x",
        "https://me:hunter2/more@host.example/x",
        "https://me:hunter2?more@host.example/x",
        "https://me:more/hunter2%40host.example/x",
        "s3://bucket/x?endpoint_override=https://me:hunter2/more@host:9",
        "s3://bucket/x?endpoint_override=me:hunter2/more%2540host:9",
        "s3://bucket/x?Expires=1&Sign=hunter2",
    ],
)
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InputError, match=r"belong in the environment \(AWS_ACCESS_KEY_ID") as error:
        as_place(url)
    assert not [secret for secret in SECRETS if secret in str(error.value)]
    assert not [secret for secret in SECRETS if secret in redact(f"camsweep run --store {url} -v")]


def test_what_holds_no_credentials_is_accepted() -> None:
    assert as_place("gs://anonymous@bucket/x").url == "gs://anonymous@bucket/x"
    assert (
        as_place("https://host:8080/~me/data?version=2").name("a") == "https://host:8080/~me/data/a"
    )
    assert as_place("S3://bucket/x").url == "s3://bucket/x"


def test_redact(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "camsweep run cpn --store s3://b/x?region=eu-west-1 --data '/data/voc 12' --seeds 1,2"
    assert redact(line) == line
    signed = "camsweep run cpn --data https://b/x?version=2&X-Amz-Signature=abc --seeds 1,2"
    assert redact(signed) == "camsweep run cpn --data https://b/x?... --seeds 1,2"
    assert redact(redact(signed)) == redact(signed)
    assert redact("see http://me:pw@host/a and https://h/b") == "see http://host/a and https://h/b"
    assert redact("aws_secret_access_key = abc; lr=0.1") == "aws_secret_access_key = ...; lr=0.1"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    assert redact("body: wJalrXUtnFEMI.") == "body: ...."
    assert redact("camsweep run --set key=1 tokens=4") == "camsweep run --set key=1 tokens=4"
    assert redact("key sample 2007_000032: damaged") == "key sample 2007_000032: damaged"


# A local folder


def test_local_read_and_write(tmp_path: Path) -> None:
    place = as_place(tmp_path / "new" / "data")
    assert place.sizes() == {}
    assert place.size("a.json") is None
    assert not place.exists("a.json")
    place.write("a.json", b"{}")
    assert place.read("a.json") == b"{}"
    assert (place.size("a.json"), place.exists("a.json")) == (2, True)
    (tmp_path / "b").write_bytes(b"content")
    place.upload(tmp_path / "b", "superpixels/b.tar")
    assert place.read("superpixels/b.tar") == b"content"
    assert place.sizes() == {"a.json": 2}
    with pytest.raises(FileNotFoundError):
        place.read("c")


def test_a_failed_local_upload_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    place = as_place(tmp_path / "data")
    place.write("a", b"before")
    (tmp_path / "b").write_bytes(b"after")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space") as error:
        place.upload(tmp_path / "b", "a")
    assert error.value.filename == str(tmp_path / "data" / "a")
    assert place.read("a") == b"before"
    assert place.sizes() == {"a": 6}


def test_local_fetch_is_the_file_itself(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"content")
    place = as_place(tmp_path)
    assert place.fetch("a.tar", 7, sha256(b"content")) == tmp_path / "a.tar"
    with pytest.raises(InputError, match=r"a\.tar: 7 bytes, its manifest says 8"):
        place.fetch("a.tar", 8, sha256(b"content"))
    with pytest.raises(InputError, match=r"b\.tar: cannot be read \(No such file"):
        place.fetch("b.tar", 8, sha256(b"content"))


# A web server


class Handler(SimpleHTTPRequestHandler):
    """Files of a folder; what is asked for is counted."""

    protocol_version = "HTTP/1.1"
    asked: list[str] = []  # noqa: RUF012 (one list for the one server of the test)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/secret"):
            self.send_error(403)
        elif self.path.startswith("/broken"):
            self.send_error(500)
        elif self.path.startswith("/half"):
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"x" * 50)
            self.close_connection = True
        else:
            super().do_GET()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """The address of a web server, and the folder that it shows."""
    folder = tmp_path / "web"
    folder.mkdir()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "cache"))
    Handler.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", folder
    server.shutdown()
    server.server_close()


def test_web_read_and_fetch(web: tuple[str, Path]) -> None:
    address, folder = web
    content = bytes(range(256)) * 1000
    (folder / "a.tar").write_bytes(content)
    place = as_place(f"{address}?version=1")
    assert place.read("a.tar") == content
    assert place.size("a.tar") == len(content)
    assert place.size("b.tar") is None
    assert place.sizes() is None
    with pytest.raises(FileNotFoundError):
        place.read("b.tar")
    path = place.fetch("a.tar", len(content), sha256(content))
    assert path.read_bytes() == content
    asked = len(Handler.asked)
    assert place.fetch("a.tar", len(content), sha256(content)) == path
    assert len(Handler.asked) == asked
    assert Handler.asked[0] == "/a.tar?version=1"


def test_the_web_is_read_only(web: tuple[str, Path], tmp_path: Path) -> None:
    place = as_place(web[0])
    with pytest.raises(InputError, match="is read-only; name a folder"):
        place.write("a", b"")
    with pytest.raises(InputError, match="is read-only"):
        place.upload(tmp_path, "a")


def test_what_the_web_refuses_or_breaks_off_is_one_line(web: tuple[str, Path]) -> None:
    address, folder = web
    with pytest.raises(PermissionError, match="access refused") as error:
        as_place(f"{address}/secret").read("a")
    assert error.value.filename == f"{address}/secret/a"
    with pytest.raises(InputError, match=rf"{address}/half/a: cannot be read"):
        as_place(f"{address}/half").fetch("a", 100, sha256(b"x" * 100))
    (folder / "a").write_bytes(b"other")
    with pytest.raises(InputError, match=rf"{address}/a: SHA-256 .*, its manifest says"):
        as_place(address).fetch("a", 5, sha256(b"wrong"))
    with pytest.raises(InputError, match=rf"{address}/a: 5 bytes, its manifest says 6"):
        as_place(address).fetch("a", 6, sha256(b"wrong"))


def test_an_error_of_the_server_is_one_clear_reason_and_no_missing_file(
    web: tuple[str, Path],
) -> None:
    place = as_place(f"{web[0]}/broken")
    reason = "the server answered 500: Internal Server Error"
    for act in (lambda: place.read("a"), lambda: place.size("a")):
        with pytest.raises(OSError, match=reason) as caught:
            act()
        assert caught.value.strerror == reason
    with pytest.raises(InputError, match=rf"broken/a: cannot be read \({reason}\)") as error:
        place.fetch("a", 3, "0" * 64)
    assert not isinstance(error.value, LostFile)
    with pytest.raises(LostFile, match=r"b: cannot be read \(not there\)"):
        as_place(web[0]).fetch("b", 3, "0" * 64)


def test_a_damaged_file_of_a_web_server_is_kept_until_it_is_replaced(
    web: tuple[str, Path],
) -> None:
    address, folder = web
    place, content = as_place(address), b"content"
    (folder / "a.tar").write_bytes(b"CONTENTS")
    for _ in range(2):
        with pytest.raises(ChangedFile) as caught:
            place.fetch("a.tar", 7, sha256(content))
        assert caught.value.path is not None
        assert caught.value.path.read_bytes() == b"CONTENTS"
    assert Handler.asked.count("/a.tar") == 1
    (folder / "a.tar").write_bytes(content)
    assert place.fetch("a.tar", 7, sha256(content)).read_bytes() == content


def test_a_forked_process_opens_its_own_connection(web: tuple[str, Path]) -> None:
    address, folder = web
    content = b"x" * 1000
    (folder / "a.tar").write_bytes(content)
    place = as_place(address)
    assert place.read("a.tar") == content
    got = multiprocessing.get_context("fork").SimpleQueue()

    def child() -> None:
        got.put(place.read("a.tar") + place.fetch("a.tar", 1000, sha256(content)).read_bytes())

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(20)
    alive = process.is_alive()
    process.kill()
    assert not alive, "hangs in the parent's connection"
    assert got.get() == content * 2


def test_data_are_read_from_the_web(web: tuple[str, Path], tmp_path: Path) -> None:
    local = build_data(tmp_path, 6, 2)
    for path in local.iterdir():
        shutil.copyfile(path, web[1] / path.name)
    remote, here = open_split(web[0], "train"), open_split(local, "train")
    assert remote.keys == here.keys
    for theirs, ours in zip(remote, here, strict=True):
        assert np.array_equal(theirs.image, ours.image)
    assert verify(web[0]).problems == []


def test_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("http_proxy", raising=False)
    with pytest.raises(OSError, match=r"127\.0\.0\.1:1/data/a") as error:
        Place("http://127.0.0.1:1/data").read("a")
    assert "\n" not in str(error.value)
