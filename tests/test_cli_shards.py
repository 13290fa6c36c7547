from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from camsweep.platform.cli.shards import app
from camsweep.shards.errors import InputError
from camsweep.shards.node.cores import usable_cores

run = CliRunner().invoke


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "embedded"
    options = ["--train", "6", "--val", "3", "--superpixels", "20", "--shard-samples", "4"]
    result = run(app, ["build", "embedded", "--out", str(out), *options])
    assert result.exit_code == 0, result.output
    return out


def text(result: Result) -> str:
    return " ".join(result.output.split())


def test_build_embedded(data: Path) -> None:
    manifest = json.loads((data / "manifest.json").read_text())
    assert {name: split["count"] for name, split in manifest["splits"].items()} == {
        "train": 6,
        "val": 3,
    }
    assert manifest["superpixels"] == [20]


def test_verify_clean_then_damaged(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "d"
    shutil.copytree(data, copy)
    result = run(app, ["verify", str(copy)])
    assert result.exit_code == 0
    assert "9 samples, all well" in text(result)
    shard = copy / "train-000001.tar"
    content = bytearray(shard.read_bytes())
    content[2000] ^= 1
    shard.write_bytes(content)
    result = run(app, ["verify", str(copy)])
    assert result.exit_code == 2
    assert "train-000001.tar: SHA-256 differs" in result.output
    assert "all well" not in result.output


def test_info(data: Path) -> None:
    result = run(app, ["info", str(data)])
    assert result.exit_code == 0
    manifest = json.loads((data / "manifest.json").read_text())
    shown = text(result)
    assert manifest["digest"] in shown
    assert "superpixels in the shards: 20" in shown
    for name in (*manifest["classes"], "train", "val"):
        assert name in shown


def test_build_voc(shared: Path, tmp_path: Path) -> None:
    source = shared / "voc-mini"
    root = tmp_path / "mini"
    ids = (source / "ImageSets/Segmentation/val.txt").read_text().split()[:3]
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/val.txt").write_text("\n".join(ids))
    for folder, ending in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
        (root / folder).mkdir()
        for name in ids:
            shutil.copy(source / folder / f"{name}.{ending}", root / folder)
    shutil.copy(source / "cls_labels.npy", root)
    out = tmp_path / "d"
    command = ["build", "voc", "--root", str(root), "--out", str(out), "--labels", "npy"]
    result = run(app, command)
    assert result.exit_code == 0, result.output
    assert "mini, 3 val" in text(result)
    assert run(app, ["verify", str(out)]).exit_code == 0


def test_by_default_there_are_as_many_workers_as_cores_that_may_be_used(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def noted(*_: object, workers: int, **__: object) -> Any:
        seen.append(workers)
        return SimpleNamespace(problems=[], samples=9)

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr("camsweep.shards.verify.verify", noted)
    assert run(app, ["verify", str(data)]).exit_code == 0
    assert run(app, ["verify", str(data), "--workers", "2"]).exit_code == 0
    monkeypatch.setattr("camsweep.shards.superpixels.precompute", lambda *a, **k: noted(**k) and [])
    assert run(app, ["superpixels", str(data), "--s-n", "20"]).exit_code == 0
    assert seen == [3, 2, 3]
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == 64


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["info", "{tmp}"], "no manifest.json here"),
        (["verify", "{tmp}"], "no manifest.json here"),
        (["build", "voc", "--root", "{tmp}", "--out", "{tmp}/d"], "not a VOC folder"),
        (["build", "embedded", "--out", "{tmp}/d", "--superpixels", "ten"], "100,200 are right"),
        (["build", "embedded", "--out", "{tmp}/d", "--superpixels", "1"], "S_N = 1"),
    ],
)
def test_wrong_input_is_one_line(tmp_path: Path, arguments: list[str], line: str) -> None:
    result = run(app, [argument.format(tmp=tmp_path) for argument in arguments])
    assert isinstance(result.exception, InputError)
    assert line in str(result.exception)
    assert "\n" not in str(result.exception)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["build", "voc"], ["build", "embedded"], ["info"], ["verify"]])
def test_help_has_an_example(command: list[str]) -> None:
    result = run(app, [*command, "--help"])
    assert result.exit_code == 0
    assert f"camsweep shards {' '.join(command)}" in text(result)


def test_info_lists_the_superpixels_beside_the_shards(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "d")
    words = ["superpixels", str(tmp_path / "d"), "--s-n", "9", "--split", "val"]
    assert run(app, words).exit_code == 0
    shown = text(run(app, ["info", str(tmp_path / "d")]))
    assert "superpixels beside them: S_N 9 of val (modern, compactness 10), digest " in shown
