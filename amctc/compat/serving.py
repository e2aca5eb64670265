"""Serving `caffe`, `amct_caffe`, `hotwheels.amct_caffe` and `amct_pytorch` to the scripts of this process."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import MappingProxyType, ModuleType

SERVED: Mapping[str, str] = MappingProxyType(
    {
        "caffe": "amctc.compat.caffe",
        "amct_caffe": "amctc.compat.amct_caffe",
        "hotwheels.amct_caffe": "amctc.compat.amct_caffe",
        "amct_pytorch": "amctc.compat.amct_pytorch",
    }
)
"""The name that scripts import, and the module that they get; modules inside go with it."""

_EMPTY = frozenset({"hotwheels"})
"""Packages that hold nothing but what is served."""


def serve() -> None:
    """Let every import of a served name get our module, from now on in this process.

    A Caffe that is installed is passed over, and one that has been imported before is exchanged. Calling it twice
    changes nothing.
    """
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder())
    roots = {name.partition(".")[0] for name in SERVED}
    for name in list(sys.modules):
        if name.partition(".")[0] in roots:
            del sys.modules[name]


class _Finder(MetaPathFinder):
    """Finds the served names, in front of everything that looks into folders."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in _EMPTY:
            return ModuleSpec(fullname, _Empty(), is_package=True)
        real = _real_name(fullname)
        if real is None or importlib.util.find_spec(real) is None:
            return None
        return ModuleSpec(fullname, _Alias(real), origin=real)


class _Alias(Loader):
    """Gives a module that has another name; it stays one module."""

    def __init__(self, real: str) -> None:
        self._real = real
        self._own: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._real)
        self._own = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has put the spec of the other name in its place.
        module.__spec__ = self._own


class _Empty(Loader):
    """Gives a package with nothing in it."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = ModuleType(spec.name, "Stands for a package of which scripts use one module.")
        module.__path__ = []
        return module

    def exec_module(self, module: ModuleType) -> None:
        pass


def _real_name(name: str) -> str | None:
    for served, real in SERVED.items():
        if name == served:
            return real
        if name.startswith(f"{served}."):
            return f"{real}{name[len(served) :]}"
    return None
