from __future__ import annotations

import pytest
from compact_world import fill, loose, packs, seen
from s3_server import Bucket, s3, server  # noqa: F401

from camsweep.platform.cli.main import main
from camsweep.sweeps.compacting import reading
from camsweep.sweeps.compacting.compact import compact
from camsweep.sweeps.compacting.reading import open_pack, whole_where_cheaper
from camsweep.sweeps.results import add_uses, load_images, read_row
from camsweep.sweeps.store import TABLES, Store


def test_a_bucket_is_compacted(s3: Bucket, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    store = fill(Store(s3.url("results")))
    before = seen(store)
    assert main(["results", "compact", "--store", store.url]) == 0
    assert "trials: 5 files into packs; 1 packs now" in capsys.readouterr().out
    assert seen(store) == before
    assert not any(loose(store, table) for table in TABLES)
    add_uses(store, "a", [("other", "label")])
    fill(store, "x", "")
    before = seen(store)
    compact(store)
    assert seen(store) == before
    assert len(packs(store, "trials")) == 1
    row = read_row(store, "a")
    assert row is not None
    assert row["sweeps"] == ["cpn/table4", "other"]
    assert load_images(store, ["x", "b"]).num_rows == 12
    kept = [key for key in s3.objects() if key.startswith("results/leases/")]
    assert kept == []


def test_one_trial_in_parts_many_at_once(
    s3: Bucket,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = fill(Store(s3.url("results")))
    compact(store)
    (name,) = packs(store, "images")
    pack = open_pack(store, "images", name)
    assert list(pack.spots) == ["a", "b", "c", "d"]
    read: list[str] = []
    plain = Store.read
    monkeypatch.setattr(Store, "read", lambda self, n: read.append(n) or plain(self, n))
    monkeypatch.setattr(reading, "SHARE", 1)
    assert whole_where_cheaper(store, pack, ["a"]) is pack
    assert read == []
    monkeypatch.setattr(reading, "SHARE", 4)
    whole = whole_where_cheaper(store, pack, ["a"])
    assert read == [f"images/{name}"]
    both = [next(iter(p.blocks(["c"]))).table for p in (pack, whole)]
    assert both[0].equals(both[1])
