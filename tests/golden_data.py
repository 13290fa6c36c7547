"""Golden files: stored inputs and outputs of released code, and the weights they were made with."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from camsweep.methods.weights import load_into
from camsweep.shards.errors import InputError

Array = npt.NDArray[Any]


def draw_weight(key: str, shape: list[int], seed: int, gain: float = 1.0) -> Tensor:
    """One weight by the rule of the golden data's README.

    Args:
        key: its official name; name and seed decide the draw.
        shape: its shape.
        seed: the file's seed.
        gain: factor of the file's ``gain`` table.

    Returns:
        float32 (int64 zeros for ``num_batches_tracked``).
    """
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    drawn = np.random.RandomState(zlib.crc32(f"{key}:{seed}".encode())).standard_normal(shape)
    leaf = key.rsplit(".", 1)[-1]
    if leaf in ("running_mean", "bias"):
        drawn = 0.1 * drawn
    elif leaf == "running_var":
        drawn = 1 + 0.1 * np.abs(drawn)
    elif len(shape) == 1:
        drawn = 1 + 0.1 * drawn
    else:
        drawn = drawn * np.sqrt(2 / np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(drawn * gain, np.float32))


class Golden:
    """One golden file.

    Attributes:
        path: the file.
        prefix: its kind, the first part of its name: ``seam``, ``cpn``, ``sipe``, ...
        seed: ``in/seed``, or the number in the file's name.
    """

    def __init__(self, path: Path) -> None:
        """Open a file.

        Args:
            path: ``PREFIX.seedS.npz``, or any name that starts with ``PREFIX.`` where the file
                stores ``in/seed``.

        Raises:
            InputError: no such file, not an npz archive, or its seed is nowhere.
        """
        self.path = path
        self.prefix = path.name.split(".")[0]
        try:
            self._data = np.load(path, allow_pickle=False)
            self.keys: list[str] = list(self._data.files)
        except (OSError, EOFError, ValueError, AttributeError, BadZipFile) as error:
            raise InputError(f"{path}: not a golden .npz file ({error})") from None
        named = re.search(r"seed(\d+)", path.name)
        if "in/seed" in self.keys:
            self.seed = int(self._data["in/seed"])
        elif named is not None:
            self.seed = int(named[1])
        else:
            raise InputError(
                f"{path}: no in/seed and no seedS in the name; name it {self.prefix}.seed0.npz"
            )

    def __contains__(self, key: str) -> bool:
        return key in self.keys

    def array(self, key: str) -> Array:
        """A stored array."""
        return np.asarray(self._data[key])

    def tensor(self, key: str) -> Tensor:
        """A stored array as a tensor."""
        return torch.from_numpy(self.array(key))

    def json(self, key: str) -> Any:
        """A stored JSON text, parsed."""
        return json.loads(str(self._data[key]))

    def state(self) -> dict[str, Tensor]:
        """The network's weights under their official names."""
        gain = self.json("gain")
        return {
            key: draw_weight(key, shape, self.seed, gain.get(key, 1.0))
            for key, shape in self.json("state_dict_keys")
        }

    def load(self, net: nn.Module) -> dict[str, nn.Parameter]:
        """Load the weights as a user would load an official checkpoint; the network ends in eval.

        Returns:
            The network's parameters by official name. They are matched by value, which is
            independent of the table of names that the loading uses.

        Raises:
            InputError: the weights are not those of the whole network.
        """
        state = self.state()
        if load_into(net, state, str(self.path)) != "network":
            raise InputError(f"{self.path}: its weights are a backbone's, not a whole network's")
        net.eval()
        official = {_fingerprint(value): key for key, value in state.items()}
        return {official[_fingerprint(p)]: p for p in net.parameters()}


def _fingerprint(value: Tensor) -> tuple[tuple[int, ...], bytes]:
    # The first numbers of different draws never agree; hashing whole weights would take seconds.
    return tuple(value.shape), value.detach().flatten()[:8].numpy().tobytes()


def gradients(parameters: dict[str, nn.Parameter], prefix: str = "") -> dict[str, Any]:
    """What golden files keep of the gradients, by stored name.

    Args:
        parameters: by official name, after ``backward()``.
        prefix: ``"_b"`` where the names have it (``grad_b/``, ``gradnorm_b_json``).

    Returns:
        ``grad/NAME`` of all parameters, ``gradnorm_json`` of all, ``gradnorm_total`` and
        ``params_without_grad``.
    """
    found = {name: p.grad for name, p in parameters.items() if p.grad is not None}
    norms = {name: float(grad.double().norm()) for name, grad in found.items()}
    return {
        **{f"grad{prefix}/{name}": grad for name, grad in found.items()},
        f"gradnorm{prefix}_json": norms,
        f"gradnorm{prefix}_total": float(np.sqrt(sum(norm**2 for norm in norms.values()))),
        f"params_without_grad{prefix}": sorted(parameters.keys() - found.keys()),
    }
