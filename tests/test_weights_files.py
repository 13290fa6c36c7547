"""Reading weight files: all forms of them, and files that must be refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from camsweep.methods.backbones import build_backbone
from camsweep.methods.weights import check_weights, file_sha256, read_weights
from camsweep.shards.errors import InputError


@pytest.mark.parametrize("form", ["pth", "old.pth", "wrapped.pth", "parallel.pth", "safetensors"])
def test_forms_of_a_state_dict(tmp_path: Path, form: str) -> None:
    state = {name: t.contiguous() for name, t in build_backbone("small").state_dict().items()}
    path = tmp_path / f"w.{form}"
    content: dict[str, Any] = dict(state)
    if "parallel" in form:
        content = {f"module.{name}": value for name, value in state.items()}
    if "wrapped" in form:
        content = {"state_dict": content, "epoch": 3}
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save(content, path, _use_new_zipfile_serialization="old" not in form)
    read = read_weights(path)
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], value) for name, value in state.items())
    assert check_weights(path, "small") == "backbone"
    assert len(file_sha256(path)) == 64


class Bomb:
    """A pickle of this would create a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (self.path,))  # type: ignore[return-value]


def test_a_pickle_that_wants_code_is_refused(tmp_path: Path) -> None:
    trap, path = tmp_path / "trap", tmp_path / "w.pth"
    message = r"w\.pth: a pickle that wants to run code"
    path.write_bytes(pickle.dumps(Bomb(trap)))
    with pytest.raises(InputError, match=message):
        read_weights(path)
    for zipped in (True, False):
        torch.save({"w": Bomb(trap)}, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(InputError, match=message):
            read_weights(path)
    # Numbers of NumPy beside the tensors are objects of code too.
    torch.save({"state_dict": {"w": torch.ones(2)}, "best": np.float64(1)}, path)
    with pytest.raises(InputError, match=message + r" \(numpy.*scalar\)"):
        read_weights(path)
    assert not trap.exists()


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 truncated"])
def test_files_that_are_no_weights(tmp_path: Path, content: bytes) -> None:
    for name in ("w.pth", "w.safetensors", "w.params"):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError, match=name):
            read_weights(path)


@pytest.mark.parametrize("form", ["zip.pth", "old.pth", "w.safetensors"])
def test_truncated_files_are_one_clear_line(tmp_path: Path, form: str) -> None:
    path = tmp_path / form
    state = {"a.weight": torch.ones(4000), "b.weight": torch.ones(4000)}
    if form == "w.safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip.pth")
    whole = path.read_bytes()
    for share in (0.02, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(InputError, match=rf"{form}: .*(truncated|no whole)") as caught:
            read_weights(path)
        assert "\n" not in str(caught.value)


def test_files_without_tensors(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    for content, message in (
        ({}, "no tensor"),
        ({"w": 3}, "state dict"),
        ([1], "state dict"),
        ({3: torch.ones(1)}, "state dict"),
    ):
        torch.save(content, path)
        with pytest.raises(InputError, match=message):
            read_weights(path)
    with pytest.raises(InputError, match="directory"):
        read_weights(tmp_path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        file_sha256(tmp_path / "none.pth")
    with pytest.raises(InputError, match="No such file"):
        read_weights(tmp_path / "none.pth")
