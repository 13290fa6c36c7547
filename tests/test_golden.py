"""Equality with the released code (tests/golden.py), and that its checks can fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest
from golden_data import Golden, draw_weight

from camsweep.shards.errors import InputError


def rewrite(path: Path, folder: Path, name: str | None = None, **arrays: Any) -> Path:
    """A copy of a golden file with other or more arrays (``/`` written ``__``)."""
    with np.load(path) as data:
        content = dict(data)
    content |= {key.replace("__", "/"): value for key, value in arrays.items()}
    copy = folder / (name or path.name)
    np.savez(copy, **content)
    return copy


def failed(path: Path) -> list[str]:
    return [line.name for line in golden.check(Golden(path)) if not line.passed]


@pytest.mark.parametrize(
    "prefix", ["seam", "cpn", "sipe", "evaluation", "misc", "crf", "randomwalk"]
)
def test_every_array_of_the_released_code_is_recomputed(shared: Path, prefix: str) -> None:
    paths = sorted((shared / "golden").glob(f"{prefix}.*.npz"))
    assert paths
    for path in paths:
        lines = list(golden.check(Golden(path)))
        assert [line.name for line in lines if not line.passed] == []
        assert sorted(line.name for line in lines) == sorted(golden.wanted_names(Golden(path)))


def test_a_corrupted_and_an_unknown_array_fail(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shared / "golden" / "evaluation.seed0.npz"
    assert golden.main([str(path)]) == 0
    curve = np.load(path)["cpn/class_iou"].copy()
    curve[3, 4] *= 1.001
    copy = rewrite(path, tmp_path, cpn__class_iou=curve, out__new=np.zeros(3), f64__new=np.ones(1))
    assert golden.main([str(copy), str(path)]) == 1
    printed = capsys.readouterr().out
    bad = [line.split()[0] for line in printed.splitlines() if "FAIL" in line]
    assert bad == ["cpn/class_iou", "out/new"]
    assert "not replayed" in printed


def test_inputs_count(shared: Path, tmp_path: Path) -> None:
    """Another input or seed gives other values: nothing is expected by a written number."""
    path = shared / "golden" / "misc.seed0.npz"
    maps = np.load(path)["in/norm_x"].copy()
    maps[0, 0] *= 2
    maps[0, 0, 0, 0] += 1
    found = failed(rewrite(path, tmp_path, in__norm_x=maps))
    assert {"out/cpn_max_norm_4d", "out/cpn_max_norm_3d", "out/max_norm_numpy_4d"} <= set(found)
    assert not any(name.startswith(("opt", "hide")) for name in found)
    other = failed(rewrite(path, tmp_path, "misc.seed7.npz"))
    assert {"opt_cpn/params", "opt_sipe/params"} <= set(other)
    assert not any(name.startswith(("out", "hide/ss_mask", "hide/grid")) for name in other)


def test_a_replay_that_breaks_off_fails_what_it_left_out(shared: Path, tmp_path: Path) -> None:
    path = shared / "golden" / "misc.seed0.npz"
    copy = rewrite(path, tmp_path, in__norm_x=np.zeros((2, 3), np.float32))
    lines = list(golden.check(Golden(copy)))
    passed = {line.name for line in lines if line.passed}
    assert "opt_cpn/params" in passed
    assert "out/normalized" not in passed
    assert sorted(line.name for line in lines) == sorted(golden.wanted_names(Golden(copy)))


@pytest.fixture
def stored(tmp_path: Path) -> Golden:
    """A sampled array, a loss, exact labels and gradient norms."""
    values = np.linspace(-2, 2, 60, dtype=np.float32).reshape(3, 20)
    index = np.array([0, 7, 59])
    np.savez(
        tmp_path / "made.seed5.npz",
        **{
            "out/big#shape": np.array(values.shape),
            "out/big#mean": values.mean(dtype=np.float64),
            "out/big#std": values.std(dtype=np.float64),
            "out/big#idx": index,
            "out/big#val": values.ravel()[index],
            "loss/cls": np.float32(2.0),
            "out/seeds": np.array([0.0, 1.0], np.float32),
            "cpn/nan": np.array([np.nan, 0.5]),
            "gradnorm_json": '{"a.weight": 10.0, "b.weight": 0.01}',
            "params_without_grad": '["x", "y"]',
        },
    )
    return Golden(tmp_path / "made.seed5.npz")


def test_sampled_arrays_are_compared_by_shape_samples_mean_and_deviation(stored: Golden) -> None:
    values = np.linspace(-2, 2, 60, dtype=np.float32).reshape(3, 20)
    assert golden.compare(stored, "out/big", values).passed
    assert not golden.compare(stored, "out/big", values.T).passed
    wrong = values.copy()
    wrong[0, 7] += 1e-3  # a stored sample
    assert not golden.compare(stored, "out/big", wrong).passed
    wrong = values.copy()
    wrong[1] += 1e-2  # no stored sample: only the mean tells
    assert not golden.compare(stored, "out/big", wrong).passed


@pytest.mark.parametrize(
    ("name", "ours", "passed"),
    [
        ("loss/cls", 2.0 * (1 + 9e-6), True),
        ("loss/cls", 2.0 * (1 + 1.1e-5), False),
        ("out/seeds", np.array([0.0, 1.0]), True),
        ("out/seeds", np.array([0.0, 1.0 - 1e-6]), False),
        ("cpn/nan", np.array([np.nan, 0.5]), True),
        ("cpn/nan", np.array([0.0, 0.5]), False),
        ("gradnorm_json", {"a.weight": 10.009, "b.weight": 0.01, "c": 1.0}, True),
        ("gradnorm_json", {"a.weight": 10.0, "b.weight": 0.01002}, False),
        ("gradnorm_json", {"a.weight": 10.0}, False),
        ("params_without_grad", ["y", "x"], True),
        ("params_without_grad", ["x"], False),
        ("params_without_grad", ["x", "y", "z"], False),
    ],
)
def test_tolerances(stored: Golden, name: str, ours: Any, passed: bool) -> None:
    line = golden.compare(stored, name, ours)
    assert line.passed == passed
    assert ("PASS" in str(line)) == passed


def test_names_and_seed(stored: Golden, tmp_path: Path) -> None:
    assert stored.seed == 5
    assert "out/big" in golden.wanted_names(stored)
    with pytest.raises(InputError, match="no replay; names start with one of: cpn"):
        list(golden.check(stored))
    np.savez(tmp_path / "misc.npz", x=1)
    with pytest.raises(InputError, match=r"seed0\.npz"):
        Golden(tmp_path / "misc.npz")
    (tmp_path / "misc.seed0.npz").write_bytes(b"no archive")
    assert golden.main([str(tmp_path / "misc.seed0.npz")]) == 2
    assert golden.main([]) == 2


def test_weights_follow_name_shape_and_seed() -> None:
    one = draw_weight("b3.conv_branch2a.weight", [8, 4, 3, 3], 0)
    assert one.std().item() == pytest.approx((2 / 36) ** 0.5, rel=0.2)
    assert not one.equal(draw_weight("b3.conv_branch2a.weight", [8, 4, 3, 3], 1))
    assert not one.equal(draw_weight("b4.conv_branch2a.weight", [8, 4, 3, 3], 0))
    assert draw_weight("fc8.weight", [2, 3, 1, 1], 0, 0.5).equal(
        0.5 * draw_weight("fc8.weight", [2, 3, 1, 1], 0)
    )
    assert draw_weight("bn.running_var", [50], 0).min() >= 1
    assert draw_weight("bn.weight", [200], 0).mean().item() == pytest.approx(1, abs=0.05)
    assert draw_weight("bn.num_batches_tracked", [], 0).item() == 0
