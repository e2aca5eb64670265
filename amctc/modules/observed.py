"""The wrapper of a layer whose data input is looked at while the module runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import nn

from amctc.modules.wrapped import Wrapped

Sees: TypeAlias = Callable[[str, torch.Tensor], None]
"""Is given the name of a layer and what the layer is about to read."""


class Observed(Wrapped):
    """Computes what the layer does, and shows what it reads to `sees` first."""

    def __init__(self, layer: nn.Module, name: str, sees: Sees) -> None:
        super().__init__(layer)
        self.layer_name = name
        self._sees = sees

    def forward(self, data: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        self._sees(self.layer_name, data)
        return self.sub_module(data, *args, **kwargs)
