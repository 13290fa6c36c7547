"""A board for each profile and data set of a store, and the command's filters."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import synthetic_store as synthetic

from camsweep.platform.cli.main import main
from camsweep.reports.board.records import RANKED
from camsweep.reports.board.text import leaderboard_caption
from camsweep.reports.report import assemble


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    synthetic.make(folder, images=8, sweeps=("cpn/table1",))
    synthetic.make(folder, images=8, sweeps=("cpn/table1",), seeds=(0, 1), digest="ffee0011")
    return folder


def test_every_data_set_has_its_own_board(store: Path) -> None:
    report = assemble(str(store), say=lambda line: None)
    assert report.boards[0] is report.board
    assert [b.key for b in report.boards] == [
        "embedded on embedded (ab12cd34)", "embedded on embedded (ffee0011)",
    ]  # fmt: skip
    for board in report.boards:
        assert len(board.entries) == 2
        digests = {t.data_digest for e in board.entries for t in e.trials}
        assert digests == {board.selection.data_digest}
    assert [e.estimate.draws.size for e in report.boards[1].entries] == [200, 200]
    assert "Intervals from 200 resamples." in leaderboard_caption(report.boards[1])
    assert "resamples." not in leaderboard_caption(report.boards[0]).split("Ranks:")[0]


def _run(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    try:
        code = main(words) or 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    out = capsys.readouterr()
    return code, out.out, out.err


def test_the_command_filters_in_every_format(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["leaderboard", "--store", str(store), "--data", "ab12"]
    code, out, _ = _run([*base, "--method", "cam", "-m", "precision", "-f", "json"], capsys)
    (record,) = json.loads(out)
    assert code == 0
    assert (record["method"], record["stage"], record["mean"]) == (
        "cam", "raw map", record["precision"],
    )  # fmt: skip
    _, out, _ = _run([*base, "--top", "1", "-f", "csv"], capsys)
    header, row = list(csv.reader(io.StringIO(out)))
    assert tuple(header) == RANKED
    assert row[header.index("variant")].startswith("CPN")
    for form in ("table", "md", "tex"):
        _, out, _ = _run([*base, "--stage", "refined map", "-f", form], capsys)
        assert "CPN" in out
        assert "CAM" not in out
    for words, told in (
        (["--method", "cpm"], "did you mean 'cpn'?"),
        (["--metric", "iou_smal"], "did you mean 'iou_small'?"),
        (["--top", "0"], "--top 0: must be 1 or more"),
    ):
        code, _, err = _run([*base, *words], capsys)
        assert code == 2
        assert told in err
