"""Names of a package that are imported when they are first asked for, so that what nobody asks for costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def on_demand(package: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package whose names lie in modules: `places` says by name `module` or `module:name`.

    No module of the package may be called as one of these names: an import of it would put the module in the name's
    place.
    """

    def find(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module `{package}` has no attribute `{name}`")
        module, _, attribute = places[name].partition(":")
        return getattr(import_module(module), attribute or name)

    return find
