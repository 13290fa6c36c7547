from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from gcs_server import Storage, gcs

from camsweep.shards.errors import InputError
from camsweep.shards.places import as_place
from camsweep.sweeps.store import Store

__all__ = ["gcs"]

CONTENT = bytes(range(256)) * 500


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "cache"))


def test_read_write_and_list(gcs: Storage, tmp_path: Path) -> None:
    place = as_place(gcs.url("voc12"))
    assert str(place) == "gs://bucket/voc12"
    assert place.size("manifest.json") is None
    with pytest.raises(FileNotFoundError):
        place.read("manifest.json")
    place.write("manifest.json", b"{}")
    (tmp_path / "a.tar").write_bytes(CONTENT)
    place.upload(tmp_path / "a.tar", "a.tar")
    assert gcs.objects == {"voc12/manifest.json": b"{}", "voc12/a.tar": CONTENT}
    assert place.sizes() == {"a.tar": len(CONTENT), "manifest.json": 2}
    assert place.read("manifest.json") == b"{}"


def test_fetch(gcs: Storage) -> None:
    gcs.objects["voc12/a.tar"] = CONTENT
    place = as_place(gcs.url("voc12"))
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert place.fetch("a.tar", len(CONTENT), digest).read_bytes() == CONTENT
    with pytest.raises(InputError, match=r"gs://bucket/voc12/b\.tar: cannot be read \(not there\)"):
        place.fetch("b.tar", 1, "0" * 64)


def test_store(gcs: Storage) -> None:
    store = Store(gcs.url("results"))
    store.write("trials/a.arrow", b"1")
    assert store.names("trials") == ["a.arrow"]
    assert store.read("trials/a.arrow") == b"1"
    assert not store.exists("trials/b.arrow")


def test_no_server_is_one_line() -> None:
    query = "scheme=http&endpoint_override=127.0.0.1:1&retry_limit_seconds=0.1"
    with pytest.raises(OSError, match=r"no connection .*'gs://bucket/x/a'") as error:
        as_place(f"gs://anonymous@bucket/x?{query}").read("a")
    assert "\n" not in str(error.value)
