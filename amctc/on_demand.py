"""What is imported when it is first asked for, so that what nobody asks for costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, TypeVar

T = TypeVar("T")


def imported(place: str) -> Any:
    """What lies at `module:name`."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def on_demand(package: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package whose names lie in modules: `places` says by name `module` or `module:name`.

    No module of the package may be called as one of these names: an import of it would put the module in the name's
    place.
    """

    def find(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module `{package}` has no attribute `{name}`")
        place = places[name]
        return imported(place if ":" in place else f"{place}:{name}")

    return find


class TableOnDemand(Mapping[str, T]):
    """A table by names such as `caffe.ReLU`: `places` says by their first part where the mapping of those lies.

    Its module is imported when one of its names is first looked for.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places

    def part(self, first: str) -> Mapping[str, T]:
        """The rows whose names begin with this; none where the table has none."""
        place = self._places.get(first)
        rows: Mapping[str, T] = {} if place is None else imported(place)
        return rows

    def __getitem__(self, name: str) -> T:
        return self.part(name.partition(".")[0])[name]

    def __iter__(self) -> Iterator[str]:
        return (name for first in self._places for name in self.part(first))

    def __len__(self) -> int:
        return sum(1 for _ in self)
