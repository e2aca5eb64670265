"""A layer in a wrapper, which is to be taken for the layer by the module around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn


class Wrapped(nn.Module):
    """Has the layer as `sub_module`, under which name its parameters stand in a `state_dict`, as in AMCT.

    What the wrapper itself has not is looked up in the layer, so that code which asks a layer for its weight or its
    sizes goes on working.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.sub_module = layer

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "sub_module":  # not there yet, while a copy is being made
                raise
            return getattr(self.sub_module, name)


def replace_layers(module: nn.Module, makers: Mapping[str, Callable[[nn.Module], nn.Module]]) -> None:
    """Put what is made of a layer in its place, under every name that the module has for it.

    `makers` are by the qualified name of the layer. `module` is changed.
    """
    names: dict[int, list[str]] = {}
    for name, each in module.named_modules(remove_duplicate=False):
        names.setdefault(id(each), []).append(name)
    for name, make in makers.items():
        layer = module.get_submodule(name)
        made = make(layer)
        for alias in names[id(layer)]:
            module.set_submodule(alias, made)


def is_rewritten(module: nn.Module) -> bool:
    """Whether a module has layers that amctc has put into wrappers."""
    return any(isinstance(each, Wrapped) for each in module.modules())
