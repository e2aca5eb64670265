"""Watching what the layers of a torch module read while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

import torch
from torch import nn

from amctc.modules.wrapped import Wrapped, replace_layers

Around: TypeAlias = "Callable[[Callable[..., None]], Callable[..., None]]"
"""A decorator of what runs inside the user's call of a module."""


class Watcher(Protocol):
    """Is told of every call of a module, which is a batch, and of what the watched layers are about to read in it."""

    def begin_batch(self) -> None: ...

    def see(self, layer: str, data: torch.Tensor) -> None: ...

    def end_batch(self) -> None: ...


class Watched(Wrapped):
    """Computes what the layer does on what `sees` is shown first.

    That is the data times `multiplier`, where there is one: it has a number for each channel, and the rank of the data.
    """

    multiplier: torch.Tensor | None

    def __init__(
        self,
        layer: nn.Module,
        name: str,
        sees: Callable[[str, torch.Tensor], None],
        multiplier: torch.Tensor | None = None,
    ) -> None:
        super().__init__(layer)
        self.layer_name = name
        self._sees = sees
        self.register_buffer("multiplier", multiplier, persistent=False)

    def forward(self, data: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        read = data if self.multiplier is None else data * self.multiplier
        self._sees(self.layer_name, read)
        return self.sub_module(read, *args, **kwargs)


def watch(
    module: nn.Module,
    layers: Mapping[str, str],
    watcher: Watcher,
    *,
    multipliers: Mapping[str, torch.Tensor] | None = None,
    around: Around = lambda call: call,
) -> None:
    """Put wrappers around the layers of a module, and let its calls be batches. `module` is changed.

    `layers` are the qualified names of modules by the names of the layers; `multipliers` are by layer, too.
    """
    see, given = around(watcher.see), multipliers or {}

    def watched(name: str) -> Callable[[nn.Module], nn.Module]:
        return lambda layer: Watched(layer, name, see, given.get(name))

    replace_layers(module, {name: watched(layer) for layer, name in layers.items()})
    begin, end = around(watcher.begin_batch), around(watcher.end_batch)
    module.register_forward_pre_hook(lambda *_: begin())
    module.register_forward_hook(lambda *_: end())
