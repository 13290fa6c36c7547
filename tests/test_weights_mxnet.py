"""MXNet's .params files, written here field by field."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from camsweep.methods.pretrained.mxnet import read_params
from camsweep.methods.pretrained.names import backbone_shapes, recognise
from camsweep.methods.weights import read_weights
from camsweep.shards.errors import InputError

FLAGS = {"float32": 0, "float64": 1, "float16": 2, "uint8": 3, "int32": 4, "int8": 5, "int64": 6}
Array = npt.NDArray[np.generic]


def pack(array: Array, version: int) -> bytes:
    """One array; version 0 has no magic number and 32-bit sizes."""
    form = "I" if version == 0 else "q"
    head = b"" if version == 0 else struct.pack("<I", 0xF993FAC7 + version)
    storage = struct.pack("<i", 0) if version >= 2 else b""
    sizes = struct.pack(f"<I{array.ndim}{form}", array.ndim, *array.shape)
    device = struct.pack("<ii", 1, 0)
    return (
        head
        + storage
        + sizes
        + device
        + struct.pack("<i", FLAGS[str(array.dtype)])
        + array.tobytes()
    )


def write(path: Path, arrays: dict[str, Array], version: int) -> bytes:
    content = struct.pack("<QQQ", 0x112, 0, len(arrays))
    content += b"".join(pack(array, version) for array in arrays.values())
    content += struct.pack("<Q", len(arrays))
    for name in arrays:
        content += struct.pack("<Q", len(name)) + name.encode()
    path.write_bytes(content)
    return content


@pytest.fixture
def arrays() -> dict[str, Array]:
    rng = np.random.default_rng(0)
    found: dict[str, Array] = {
        f"arg:{name}": rng.normal(size=shape).astype(name) * 50
        for name, shape in zip(
            FLAGS, [(3,), (2, 3), (4, 1, 2, 2), (1,), (5,), (2,), (3, 0)], strict=True
        )
    }
    return {name: value.astype(name[4:]) for name, value in found.items()}


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_every_version_and_type(tmp_path: Path, arrays: dict[str, Array], version: int) -> None:
    path = tmp_path / "w.params"
    write(path, arrays, version)
    read = read_params(path, "w")
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert read[name].numpy().dtype == array.dtype
        np.testing.assert_array_equal(read[name].numpy(), array)


@pytest.mark.parametrize("version", [0, 2])
def test_a_truncated_file_is_one_clear_line(
    tmp_path: Path, arrays: dict[str, Array], version: int
) -> None:
    path = tmp_path / "w.params"
    whole = write(path, arrays, version)
    for size in range(8, len(whole), 5):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"w\.params: .*truncated in (its|array)") as caught:
            read_weights(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(whole)
    with pytest.raises(InputError, match=r"w\.params: arg:uint8 holds uint8 numbers"):
        read_weights(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(InputError, match="bytes after its end"):
        read_weights(path)


def test_files_without_usable_arrays(tmp_path: Path) -> None:
    path = tmp_path / "w.params"
    write(path, {}, 2)
    with pytest.raises(InputError, match=r"^w: holds no tensor$"):
        read_weights(path, "w")
    write(path, {"arg:a": np.ones(2, np.float32), "aux:b": np.array([1, np.inf])}, 2)
    with pytest.raises(InputError, match=r"^w: aux:b holds NaN or infinite numbers"):
        read_weights(path, "w")


def test_files_that_are_wrong_inside(tmp_path: Path) -> None:
    path = tmp_path / "w.params"
    one: dict[str, Array] = {"arg:w": np.ones(2, np.float32)}
    whole = write(path, one, 2)
    at = 24
    for offset, value, message in (
        (8, b"\x01", "not an MXNet list"),
        (16, b"\xff" * 6, "array 2 of"),
        (at + 4, b"\x01", "sparse"),
        (at + 8, b"\x7f", "127 dimensions"),
        (at + 8, b"\0", "0 dimensions"),
        (at + 12, b"\xff" * 7 + b"\x7f", "truncated"),
        (at + 12, b"\xff" * 8, "shape"),
        (at + 28, b"\x63", "type 99"),
        (len(whole) - 5, b"\xff" * 5, "no text"),
        (len(whole) - 21, b"\x02", "1 arrays but 2 names"),
    ):
        path.write_bytes(whole[:offset] + value + whole[offset + len(value) :])
        with pytest.raises(InputError, match=message):
            read_weights(path)


def mxnet_name(name: str) -> str:
    """``b2_1.bn_branch2a.running_mean`` -> ``aux:bn2b1_branch2a_moving_mean``."""
    *layer, leaf = name.split(".")
    norm = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean"}
    norm["running_var"] = "moving_var"
    kind = "aux" if leaf.startswith("running") else "arg"
    if layer == ["conv1a"]:
        return "arg:conv1a_weight"
    if layer == ["bn7"]:
        return f"{kind}:bn7_{norm[leaf]}"
    block, branch = layer
    stage, _, index = block[1:].partition("_")
    place = f"{stage}b{index}" if index else f"{stage}a"
    sort, branch = branch.split("_")
    return f"{kind}:{'res' if sort == 'conv' else 'bn'}{place}_{branch}_" + (
        "weight" if sort == "conv" else norm[leaf]
    )


def test_every_name_of_resnet38() -> None:
    shapes = backbone_shapes("resnet38")
    names = {mxnet_name(name): name for name in shapes}
    assert {
        "arg:res2b1_branch2a_weight",
        "aux:bn7_moving_var",
        "arg:res6a_branch2b2_weight",
    } <= set(names)
    state = {theirs: torch.zeros(()).expand(shapes[ours]) for theirs, ours in names.items()}
    state["arg:linear1000_weight"] = torch.zeros(1000, 4096)
    state["arg:linear1000_bias"] = torch.zeros(1000)
    known = recognise(state, "w.params")
    assert known.kind.name == "mxnet-resnet38"
    assert known.official == {ours: theirs for theirs, ours in names.items()}
    assert tuple(known.left_out) == ("arg:linear1000_weight", "arg:linear1000_bias")
    assert known.left_out_title == "ImageNet's classifier"
    odd = recognise({**state, "arg:odd_weight": torch.ones(1)}, "w.params")
    assert odd.official["arg:odd_weight"] == "arg:odd_weight"
