"""A module as the graph that policies and passes speak of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from amctc.diagnostics import Collector
from amctc.frontends.onnx import graph_of_model
from amctc.frontends.torch.export import export_module
from amctc.frontends.torch.layers import ModuleNode, module_nodes
from amctc.ir import Graph

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True, eq=False)
class Exported:
    """The ONNX model of a module; `load` gives a graph of it anew each time."""

    model: ModelProto

    @cached_property
    def graph(self) -> Graph:
        return self.load(Collector())

    @cached_property
    def nodes(self) -> Mapping[str, ModuleNode]:
        """The nodes that compute modules."""
        return module_nodes(self.model)

    def shapes(self, inputs: Sequence[object]) -> Mapping[str, tuple[int, ...]]:
        """The shapes of values by name, with the sizes that these inputs have where the model leaves them free."""
        sizes: dict[str, int] = {}
        tensors = [each for each in inputs if isinstance(each, torch.Tensor)]
        for value, tensor in zip(self.model.graph.input, tensors, strict=False):
            for dim, size in zip(value.type.tensor_type.shape.dim, tensor.shape, strict=False):
                sizes.setdefault(dim.dim_param, int(size))
        found: dict[str, tuple[int, ...]] = {}
        for value in (*self.model.graph.input, *self.model.graph.value_info, *self.model.graph.output):
            kind = value.type.tensor_type
            shape = [each.dim_value or sizes.get(each.dim_param, 0) for each in kind.shape.dim]
            if kind.HasField("shape") and all(shape):
                found[value.name] = tuple(shape)
        return found

    def load(self, collector: Collector) -> Graph:
        from onnx import ModelProto

        model = ModelProto()
        model.CopyFrom(self.model)
        return graph_of_model(model, self.model.graph.name or "the exported module", collector)


def exported(
    module: nn.Module,
    inputs: Any,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: Mapping[str, Mapping[int, str] | Sequence[int]] | None = None,
) -> Exported:
    """The model of a module, whose nodes have the names of its modules. Raises what `export_module` does."""
    made = export_module(module, inputs, input_names=input_names, output_names=output_names, dynamic_axes=dynamic_axes)
    return Exported(made)
