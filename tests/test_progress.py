"""The live view: by node and trial, whole at 80 x 24, in words where there is more."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from camsweep.platform.context import Progress
from camsweep.platform.monitor import Monitor, NodeState
from camsweep.platform.nodeview import NodeLine, by_number, shortened, snapshot
from camsweep.platform.progress import live_table, view
from camsweep.sweeps.plan import make_plan
from camsweep.sweeps.profile import load_profile
from camsweep.sweeps.spec import load_sweep


def monitor(seeds: int) -> Monitor:
    sweeps = [load_sweep("cpn/table4"), load_sweep("cpn/fig6")]
    return Monitor(make_plan(sweeps, load_profile("embedded"), "digest", seeds=seeds))


def busy(nodes: int, slots: int, seeds: int, ended: int = 0) -> Monitor:
    """A run with every slot of its nodes taken, after some trials have ended."""
    run = monitor(seeds)
    run.slots = nodes * slots
    if nodes > 1:
        run.nodes = {f"node-{n}": NodeState(slots) for n in range(nodes)}
    ids = list(run.trials)
    for place, trial_id in enumerate(ids[: ended + nodes * slots]):
        node = f"node-{place % nodes}" if nodes > 1 else None
        run.progress(Progress(trial_id, "train", 2, 6, 0.125, 50.0, node=node))
        if place < ended:
            run.trials[trial_id].began -= 60  # type: ignore[operator]
            failed = {"id": trial_id, "status": "failed", "cause": "out of memory: " + 20 * "long "}
            done = {"id": trial_id, "status": "done", "metric.miou": 0.4321}
            run.finished(failed if place % 5 == 4 else done)
    return run


def drawn(run: Monitor, width: int = 80, height: int = 24) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(live_table(run, width, height))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize(
    ("nodes", "slots", "seeds", "ended"),
    [(1, 2, 1, 0), (1, 30, 3, 10), (2, 2, 1, 3), (5, 8, 4, 20), (12, 2, 4, 10), (40, 4, 15, 50)],
)
@pytest.mark.parametrize(("width", "height"), [(80, 24), (132, 50), (60, 12)])
def test_it_fits_the_terminal(
    nodes: int, slots: int, seeds: int, ended: int, width: int, height: int
) -> None:
    lines = drawn(busy(nodes, slots, seeds, ended), width, height)
    assert len(lines) < height
    assert max(map(len, lines)) <= width


def test_nodes_tell_what_they_do_and_hold_their_trials() -> None:
    run = busy(3, 2, 1, ended=4)
    text = drawn(run, 100, 40)
    heads = [line for line in text if line.startswith("node-")]
    assert heads == [
        "node-0  2 of 2 busy, 2 ended",
        "node-1  2 of 2 busy, 1 ended",
        "node-2  2 of 2 busy, 1 ended",
    ]
    first = text.index(heads[0])
    shown = text[first + 1 : first + 3]
    mine = [t.title for t in run.trials.values() if t.state == "running" and t.progress is not None
            and t.progress.node == "node-0"]  # fmt: skip
    for line, title in zip(shown, mine, strict=True):
        assert line.startswith(f"  {title}")
        assert "train 2/6" in line
        assert "0.125" in line
        assert line.split()[-3:-1] == ["50", "60"], "images a second, then the time left"


def test_one_machine_has_no_headings() -> None:
    text = drawn(busy(1, 2, 1))
    assert not any("busy" in line for line in text)
    assert sum("train 2/6" in line for line in text) == 2


def test_what_has_no_line_is_counted() -> None:
    text = "\n".join(drawn(busy(40, 4, 15, ended=50)))
    shown = text.count("\nnode-")
    assert 1 < shown < 20
    assert f"and {40 - shown} more nodes: {4 * (40 - shown)} of {4 * (40 - shown)} busy" in text
    assert text.count("train 2/6") >= shown - 1
    alone = "\n".join(drawn(busy(1, 30, 3)))
    assert f"and {30 - alone.count('train 2/6')} more running" in alone
    several = "\n".join(drawn(busy(2, 20, 4)))
    hidden = 40 - several.count("train 2/6")
    assert (
        sum(int(part.split()[0]) for part in several.split(", ") if "not shown" in part) == hidden
    )


def test_a_node_tells_how_busy_it_is() -> None:
    assert NodeLine("a", 4, ["x"], 3).text().plain == "a  1 of 4 busy, 3 ended"
    assert NodeLine("", 0, ["x"]).text().plain == "this machine  1 running, 0 ended"


def test_nodes_are_sorted_as_people_count() -> None:
    names = sorted((NodeLine(f"node-{n}") for n in (11, 2, 1)), key=by_number)
    assert [node.name for node in names] == ["node-1", "node-2", "node-11"]


def test_trials_of_a_node_that_is_gone_are_still_shown() -> None:
    run = busy(2, 2, 1)
    run.nodes["node-1"].slots = 0
    assert [n.name for n in snapshot(run).nodes] == ["node-0", "node-1"]
    for trial_id in list(snapshot(run).nodes[1].running):
        run.progress(Progress(trial_id, "train", 3, 6, node="node-0"))
    assert [n.name for n in snapshot(run).nodes] == ["node-0"]


def test_a_title_keeps_its_seed() -> None:
    title = "sipe/table5 a long label of an arm, lr=0.01 seed 12"
    cut = shortened(title, 30)
    assert len(cut) == 30
    assert cut.startswith("sipe/table5")
    assert cut.endswith("seed 12")
    assert shortened("short", 30) == "short"


def test_plain_lines_name_the_node() -> None:
    run = monitor(1)
    run.nodes = {"a": NodeState(1), "b": NodeState(1)}
    console = Console(file=io.StringIO(), width=200)
    with view(run, console):
        run.progress(Progress(next(iter(run.trials)), "train", 1, 6, node="b"))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "p_h=0.1 seed 0 on b" in said
    assert "\x1b" not in said


def test_trials_of_another_driver_are_counted() -> None:
    run = busy(1, 1, 1)
    assert not any("another driver" in line for line in drawn(run))
    run.elsewhere(list(run.trials)[1:3])
    assert "2 at another driver" in drawn(run)[0]
    run.finished({"id": list(run.trials)[1], "status": "done", "metric.miou": 0.5})
    assert "1 at another driver" in drawn(run)[0]


def test_labels_are_no_markup() -> None:
    run = busy(1, 1, 1)
    next(iter(run.trials.values())).title = "[red]x[/red] seed 0"
    assert any("[red]x[/red] seed 0" in line for line in drawn(run))
