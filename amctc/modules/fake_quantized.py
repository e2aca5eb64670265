"""Layers of a torch module that compute on quantized data, and how far they get from the float ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from amctc.modules.calibration import as_array
from amctc.modules.watching import Watched
from amctc.modules.wrapped import Wrapped, replace_layers

Compare = Callable[[NDArray[np.float32], NDArray[np.float32]], float]


@dataclass(frozen=True)
class DataGrid:
    """The integer grid of a layer's data."""

    scale: float
    offset: int
    bits: int


class FakeQuantized(Wrapped):
    """Computes what the layer does on its data after a trip to the integer grid and back.

    The data are first multiplied by `multiplier`, where there is one: it has a number for each channel.
    """

    multiplier: torch.Tensor | None

    def __init__(self, layer: nn.Module, grid: DataGrid, multiplier: torch.Tensor | None = None) -> None:
        super().__init__(layer)
        self.grid = grid
        self.register_buffer("multiplier", multiplier, persistent=False)

    def forward(self, data: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        read = data if self.multiplier is None else data * self.multiplier
        least = -(1 << (self.grid.bits - 1))
        on_grid = torch.fake_quantize_per_tensor_affine(
            read.float(), self.grid.scale, self.grid.offset, least, -least - 1
        )
        return self.sub_module(on_grid.to(data.dtype), *args, **kwargs)


def quantize_data(module: nn.Module, layers: Mapping[str, str], grids: Mapping[str, DataGrid]) -> None:
    """Let the watched layers of a calibrated module compute on quantized data. `module` is changed.

    `layers` are the qualified names of modules by the names of the layers, which `grids` has the scales of.
    """
    replace_layers(module, {name: _quantizing(grids[layer]) for layer, name in layers.items()})


def _quantizing(grid: DataGrid) -> Callable[[nn.Module], nn.Module]:
    def make(watched: nn.Module) -> nn.Module:
        layer = watched.sub_module if isinstance(watched, Watched) else watched
        return FakeQuantized(layer, grid, watched.multiplier if isinstance(watched, Watched) else None)

    return make


@dataclass(eq=False)
class Likeness:
    """How alike the outputs of layers are, float and quantized: the mean over the batches, by layer."""

    compare: Compare
    _sums: dict[str, tuple[float, int]] = field(default_factory=dict[str, tuple[float, int]])

    def see(self, layer: str, data: torch.Tensor, other: torch.Tensor) -> None:
        """The outputs of one call of a layer."""
        total, count = self._sums.get(layer, (0.0, 0))
        self._sums[layer] = (total + float(self.compare(as_array(data), as_array(other))), count + 1)

    def means(self) -> dict[str, float]:
        return {layer: total / count for layer, (total, count) in self._sums.items()}


class Compared(Wrapped):
    """Gives the layer's output, and shows it beside that of its quantized twin for the same data."""

    def __init__(self, layer: nn.Module, twin: nn.Module, name: str, likeness: Likeness) -> None:
        super().__init__(layer)
        self.twin, self.layer_name = twin, name
        self._likeness = likeness

    def forward(self, data: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        output = self.sub_module(data, *args, **kwargs)
        self._likeness.see(self.layer_name, output, self.twin(data, *args, **kwargs))
        return output


def compare_layers(module: nn.Module, quantized: nn.Module, layers: Mapping[str, str], compare: Compare) -> Likeness:
    """Let a float module show how far each of some layers is from its twin in a quantized one. `module` is changed.

    Every layer reads the float data of the one before, so that what is measured is its own.
    """
    likeness = Likeness(compare)

    def beside(layer: str, name: str) -> Callable[[nn.Module], nn.Module]:
        return lambda found: Compared(found, quantized.get_submodule(name), layer, likeness)

    replace_layers(module, {name: beside(layer, name) for layer, name in layers.items()})
    return likeness
