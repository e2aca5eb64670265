"""A module as the graph that policies and passes speak of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

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
    made = export_module(
        module, inputs, input_names=input_names, output_names=output_names, dynamic_axes=dynamic_axes
    )
    return Exported(made)
