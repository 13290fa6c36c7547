"""A mapping whose values are made when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from camsweep.shards.errors import InputError, nearest

T = TypeVar("T")


class MissingError(InputError, KeyError):
    """There is no such table, figure or exhibit. The message is one line with the nearest name."""

    def __str__(self) -> str:
        return str(self.args[0])


class LazyMapping(Mapping[str, T]):
    """Values by name; ``what`` they are is told where there is none of a name."""

    def __init__(self, what: str, makers: Mapping[str, Callable[[], T]]) -> None:
        self._what = what
        self._makers = makers
        self._made: dict[str, T] = {}

    def __getitem__(self, key: str) -> T:
        if key not in self._makers:
            raise MissingError(f"{key}: no such {self._what}{nearest(key, list(self._makers))}")
        if key not in self._made:
            self._made[key] = self._makers[key]()
        return self._made[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def __repr__(self) -> str:
        return f"{self._what}s: {', '.join(self._makers) or 'none'}"
