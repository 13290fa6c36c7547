from __future__ import annotations

import hashlib
import multiprocessing
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pytest
from s3_server import Bucket, s3, server

from camsweep.shards.errors import InputError
from camsweep.shards.places import ChangedFile, LostFile, Place, as_place
from camsweep.shards.places.errors import clear_error
from camsweep.sweeps.results import add_uses, load_trials, write_trial
from camsweep.sweeps.store import Store
from camsweep.sweeps.tables import trial_table

__all__ = ["s3", "server"]

CONTENT = bytes(range(256)) * 500


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# Places


def test_read_write_and_list(s3: Bucket, tmp_path: Path) -> None:
    place = as_place(s3.url("deep/voc12"))
    assert place.sizes() == {}
    assert place.size("manifest.json") is None
    with pytest.raises(FileNotFoundError):
        place.read("manifest.json")
    place.write("manifest.json", b"{}")
    place.write("empty", b"")
    (tmp_path / "a.tar").write_bytes(CONTENT)
    (tmp_path / "nothing").write_bytes(b"")
    place.upload(tmp_path / "a.tar", "a.tar")
    place.upload(tmp_path / "nothing", "superpixels/nothing")
    assert s3.get("deep/voc12/a.tar") == CONTENT
    assert place.sizes() == {"a.tar": len(CONTENT), "empty": 0, "manifest.json": 2}
    assert place.read("manifest.json") == b"{}"
    assert (place.read("empty"), place.size("empty")) == (b"", 0)
    assert place.exists("superpixels/nothing")
    root = as_place(s3.url("").replace("/?", "?"))
    assert root.read("deep/voc12/manifest.json") == b"{}"


def test_an_object_of_many_parts(s3: Bucket, tmp_path: Path) -> None:
    content = CONTENT * 200  # 25 MB: more than one part, more than one piece to read
    (tmp_path / "a.tar").write_bytes(content)
    place = as_place(s3.url("x"))
    place.upload(tmp_path / "a.tar", "a.tar")
    assert place.size("a.tar") == len(content)
    path = place.fetch("a.tar", len(content), sha256(content))
    assert path.read_bytes() == content


def test_a_fetched_shard_is_asked_for_once(s3: Bucket, cache: Path) -> None:
    s3.put("x/a.tar", CONTENT)
    place = as_place(s3.url("x"))
    path = place.fetch("a.tar", len(CONTENT), sha256(CONTENT))
    assert path == cache / "shards" / f"{sha256(CONTENT)}.tar"
    s3.delete("x/a.tar")
    assert place.fetch("a.tar", len(CONTENT), sha256(CONTENT)).read_bytes() == CONTENT


def test_an_object_that_vanished_or_changed_is_named(s3: Bucket, cache: Path) -> None:
    s3.put("x/a.tar", CONTENT)
    place = as_place(s3.url("x"))
    shard = f"s3://{s3.name}/x/a.tar"
    with pytest.raises(ChangedFile, match=f"{shard}: SHA-256 .*, its manifest says 0000"):
        place.fetch("a.tar", len(CONTENT), "0" * 64)
    with pytest.raises(ChangedFile, match=f"{shard}: at least 128,000 bytes, its manifest says 5"):
        place.fetch("a.tar", 5, sha256(CONTENT))
    s3.delete("x/a.tar")
    with pytest.raises(LostFile, match=rf"{shard}: cannot be read \(not there\)"):
        place.fetch("a.tar", len(CONTENT), sha256(CONTENT)[::-1])
    assert not list((cache / "shards").glob("*.tar"))


def test_a_damaged_object_is_downloaded_again_when_it_was_replaced(s3: Bucket) -> None:
    place, digest = as_place(s3.url("x")), sha256(CONTENT)
    s3.put("x/a.tar", bytes(len(CONTENT)))
    for _ in range(2):
        with pytest.raises(ChangedFile):
            place.fetch("a.tar", len(CONTENT), digest)
    s3.put("x/a.tar", CONTENT)  # within the same second, with the same size
    assert place.fetch("a.tar", len(CONTENT), digest).read_bytes() == CONTENT


def test_wrong_credentials_are_no_loss_of_a_file(s3: Bucket, refusing: str) -> None:
    place = as_place(f"s3://bucket/x?endpoint_override={refusing}")
    with pytest.raises(InputError, match=r"x/a: cannot be read \(access refused") as caught:
        place.fetch("a", 5, "0" * 64)
    assert not isinstance(caught.value, LostFile)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The methods of the requests that the server gets from now on."""
    from werkzeug.serving import WSGIRequestHandler

    requests: list[str] = []
    run = WSGIRequestHandler.run_wsgi

    def counted(self: WSGIRequestHandler) -> None:
        requests.append(self.command)
        run(self)

    monkeypatch.setattr(WSGIRequestHandler, "run_wsgi", counted)
    return requests


def test_few_requests(s3: Bucket, asked: list[str]) -> None:
    store, place = Store(s3.url("results")), as_place(s3.url("results"))
    store.exists("connect")
    for act, wanted in (
        (lambda: store.write_table("trials/a.arrow", row("a")), ["PUT"]),
        (lambda: store.read_table("trials/a.arrow"), ["HEAD", "GET"]),
        (lambda: place.write("b", b"1"), ["PUT"]),
        (lambda: place.read("b", checked=True), ["HEAD", "GET"]),
        (lambda: store.delete("nothing"), ["HEAD"]),
    ):
        asked.clear()
        act()
        assert asked == wanted


def test_an_object_without_an_md5_is_read_whole(s3: Bucket, tmp_path: Path) -> None:
    """Written in parts: its tag says nothing about its content."""
    content = CONTENT * 200
    (tmp_path / "a").write_bytes(content)
    place = as_place(s3.url("x"))
    place.upload(tmp_path / "a", "a")
    head = s3.client().head_object(Bucket=s3.name, Key="x/a")  # type: ignore[attr-defined]
    assert "-" in head["ETag"]
    assert place.read("a") == content


def test_an_object_deleted_meanwhile_is_deleted(
    s3: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyarrow raises FileNotFoundError for an object that another process deleted."""
    store = Store(s3.url("results"))
    monkeypatch.setattr(Store, "exists", lambda self, name: True)
    store.delete("trials/nothing")


def test_an_overwritten_object_is_read_whole(s3: Bucket) -> None:
    """Readers meet the old content or the new one, whatever their sizes."""
    place = as_place(s3.url("x"))
    contents = [b"a" * 10, b"b" * 3000, b"c" * 200]
    place.write("row", contents[0])
    assert place.read("row") == contents[0]  # shows that tags are MD5s here
    stop = threading.Event()

    def overwrite() -> None:
        while not stop.is_set():
            for content in contents:
                place.write("row", content)

    writer = threading.Thread(target=overwrite)
    writer.start()
    try:
        seen = {place.read("row") for _ in range(60)}
    finally:
        stop.set()
        writer.join()
    assert seen <= set(contents)
    assert len(seen) > 1


def test_a_missing_bucket_is_one_line(s3: Bucket) -> None:
    place = as_place(s3.url("x").replace(s3.name, "camsweep-nobody"))
    with pytest.raises(FileNotFoundError, match="no such bucket: 's3://camsweep-nobody/x/a'"):
        place.write("a", b"1")


def test_the_endpoint_may_come_from_the_environment(
    s3: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    as_place(f"s3://{s3.name}/x").write("a", b"1")
    assert s3.get("x/a") == b"1"


def test_a_query_that_pyarrow_does_not_know_is_one_line(s3: Bucket) -> None:
    with pytest.raises(OSError, match="regoin"):
        as_place(s3.url("x", regoin="eu-west-1")).read("a")


class Refusing(BaseHTTPRequestHandler):
    """An S3 server for which every key is wrong."""

    def refuse(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = (
            b"<?xml version='1.0'?><Error><Code>SignatureDoesNotMatch</Code>"
            b"<Message>the signature is wrong</Message><RequestId>1</RequestId></Error>"
        )
        self.send_response(403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = refuse  # noqa: N815

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def refusing() -> Iterator[str]:
    running = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_address[1]}"
    running.shutdown()
    running.server_close()


def test_wrong_credentials_are_one_line(s3: Bucket, refusing: str) -> None:
    place = as_place(f"s3://bucket/x?endpoint_override={refusing}")
    for act in (lambda: place.read("a"), lambda: place.write("a", b"1"), place.sizes):
        with pytest.raises(PermissionError, match=r"access refused .*AWS_ACCESS_KEY_ID") as error:
            act()
        assert "\n" not in str(error.value)
        assert "AKIATEST" not in str(error.value)


def test_a_library_error_becomes_short_and_names_the_file() -> None:
    """The words are pyarrow's, met without a server (where its retries take six seconds)."""
    words = (
        "When getting information for key 'a' in bucket 'b': AWS Error NETWORK_CONNECTION during "
        "HeadObject operation: curlCode: 7, Could not connect (Request ID: 1)\nmore"
    )
    error = clear_error(OSError(words), "s3://b/a")
    assert str(error) == ("[Errno 5] no connection (curlCode: 7, Could not connect): 's3://b/a'")
    signed = "GET https://b.s3.amazonaws.com/a?X-Amz-Signature=hunter2 failed"
    assert "hunter2" not in str(clear_error(OSError(signed), "s3://b/a"))


# Processes


class Fetching:
    """A data set whose samples are objects of a bucket."""

    def __init__(self, place: Place, shards: list[tuple[str, int, str]]) -> None:
        self.place = place
        self.shards = shards

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, index: int) -> bytes:
        return self.place.fetch(*self.shards[index]).read_bytes()


def test_forked_loader_workers_open_connections_of_their_own(s3: Bucket) -> None:
    from torch.utils.data import DataLoader

    contents = [bytes([number]) * 1000 for number in range(6)]
    for number, content in enumerate(contents):
        s3.put(f"x/{number}.tar", content)
    place = as_place(s3.url("x"))
    assert place.read("0.tar") == contents[0]  # the parent has a connection before it forks
    shards = [(f"{number}.tar", 1000, sha256(content)) for number, content in enumerate(contents)]
    loader = DataLoader(
        Fetching(place, shards),  # type: ignore[arg-type]
        batch_size=None,
        num_workers=2,
        multiprocessing_context="fork",
        timeout=60,
    )
    assert list(loader) == contents
    assert place.read("5.tar") == contents[5]


def test_a_place_travels_to_a_new_process(s3: Bucket) -> None:
    s3.put("x/a", CONTENT)
    place = as_place(s3.url("x"))
    assert place.exists("a")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(place.read, "a").result(60) == CONTENT


# The store


def row(trial_id: str, status: str = "done") -> pa.Table:
    return trial_table({"id": trial_id, "sweeps": ["mine"], "labels": ["a"], "status": status})


def test_store_round_trip(s3: Bucket) -> None:
    store = Store(s3.url("results"))
    with pytest.raises(InputError, match=f"--store s3://{s3.name}/results: no results there"):
        store.require()
    store.require_writable()
    assert load_trials(store).num_rows == 0
    for trial_id in ("b", "a"):
        write_trial(store, trial_id, {"trials": row(trial_id)})
    store.require()
    assert s3.objects() == ["results/trials/a.arrow", "results/trials/b.arrow"]
    assert store.names("trials", ".arrow") == ["a.arrow", "b.arrow"]
    assert load_trials(store)["id"].to_pylist() == ["a", "b"]
    add_uses(store, "a", [("other", "b")])
    assert load_trials(store)["sweeps"].to_pylist() == [["mine", "other"], ["mine"]]
    store.delete("trials/a.arrow")
    store.delete("trials/nothing")
    store.delete_folder("trials")
    assert not store.exists("trials/b.arrow")
    assert pickle.loads(pickle.dumps(store)) == store
    assert str(store) == f"s3://{s3.name}/results"
    assert store.local is None


def test_a_row_rewritten_while_others_read_it(s3: Bucket) -> None:
    store = Store(s3.url("results"))
    tables = [row("a"), row("a", "failed: " + "x" * 3000)]
    write_trial(store, "a", {"trials": tables[0]})
    store.read_table("trials/a.arrow")  # shows that tags are MD5s here
    stop = threading.Event()

    def overwrite() -> None:
        while not stop.is_set():
            for table in tables:
                write_trial(store, "a", {"trials": table})

    writer = threading.Thread(target=overwrite)
    writer.start()
    try:
        seen = {store.read_table("trials/a.arrow")["status"][0].as_py() for _ in range(40)}
    finally:
        stop.set()
        writer.join()
    assert seen == {table["status"][0].as_py() for table in tables}


def test_store_errors_are_one_line(s3: Bucket, refusing: str) -> None:
    missing = Store(s3.url("x").replace(s3.name, "camsweep-nobody"))
    told = r"--store s3://camsweep-nobody/x: not writable \(no such bucket\)"
    with pytest.raises(InputError, match=told):
        missing.require_writable()
    denied = Store(f"s3://bucket/x?endpoint_override={refusing}")
    with pytest.raises(InputError, match=r"--store s3://bucket/x: not writable \(access refused"):
        denied.require_writable()
    with pytest.raises(PermissionError, match=r"access refused .*'s3://bucket/x/trials'"):
        denied.exists("trials")
    for url in ("s3://AKIDEXAMPLE:hunter2@bucket/x", "s3://bucket/x?secret_key=hunter2"):
        with pytest.raises(InputError, match=r"--store s3://bucket/x: .*environment") as error:
            Store(url)
        assert "hunter2" not in str(error.value)
    with pytest.raises(InputError, match="--store https://host/x: is read-only"):
        Store("https://host/x")
    with pytest.raises(InputError, match=r"--store s3://bucket/x: .*regoin.*; name a folder"):
        Store("s3://bucket/x?regoin=eu").require()
