"""Names need no torch, and what they take for a method's own is the method's own."""

from __future__ import annotations

import subprocess
import sys

import synthetic_store as synthetic

from camsweep.methods.base import load_method, make_config, method_names
from camsweep.reports.known import method_defaults, method_title
from camsweep.reports.naming import variant_names


def test_what_is_kept_of_the_methods_is_what_they_say() -> None:
    told = "run: python -m camsweep.reports.known > reports/known.yaml"
    for method in method_names():
        config = make_config({"method": method, "backbone": "small", "pretrain": "none"})
        assert method_defaults(method) == config.model_dump(mode="json"), told
        assert method_title(method) == load_method(method).title, told
    assert (method_title("nobody's"), method_defaults("nobody's")) == ("nobody's", {})
    assert method_title("base") == "base", "a module that is no method"


def test_one_and_true_and_one_point_nought_are_three_values() -> None:
    names = variant_names({str(v): ("x", {"p": v}) for v in (1, True, 1.0, (1, 2))} | {
        "list": ("x", {"p": [1, 2]}), "more": ("x", {"p": [1, 2], "q": 3}),
    })  # fmt: skip
    assert names["1"].startswith("x, p=1")
    assert names["True"] == "x, p"
    assert len(set(names.values())) == 6


def test_the_leaderboard_command_loads_no_torch(tmp_path: object) -> None:
    store = synthetic.make(tmp_path, seeds=(0, 1), images=8, sweeps=("cpn/table1",))  # type: ignore[arg-type]
    code = (
        "import sys\n"
        "from camsweep.platform.cli.main import main\n"
        "try:\n"
        f"    main(['leaderboard', '--store', {store.url!r}])\n"
        "finally:\n"
        "    found = [m for m in ('torch', 'ray', 'plotly') if m in sys.modules]\n"
        "    print('LOADED', found)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert "LOADED []" in done.stdout, done.stdout + done.stderr
    assert "CPN" in done.stdout


def test_stages_after_the_maps_are_told_where_methods_differ_in_them() -> None:
    """Masks of one CAM by a CRF are no masks of another by IRN."""
    cam, sipe = {"method": "cam", "refine": "crf"}, {"method": "sipe", "refine": "irn"}
    found = variant_names({"a": ("cam", cam), "b": ("sipe", sipe)})
    assert found == {"a": "CAM, refine=crf", "b": "SIPE, refine=irn"}
    alike = variant_names({"a": ("cam", cam), "b": ("sipe", {**sipe, "refine": "crf"})})
    assert alike == {"a": "CAM", "b": "SIPE"}
